"""What the machine offers: cores to pin to, file descriptors, versions to report."""

from __future__ import annotations

import os
import platform
import resource
import sys
from importlib.metadata import PackageNotFoundError, version

CONNECTIONS = 6000
"""File descriptors that the largest scenario needs in one process, with room to spare."""


class BenchmarkError(Exception):
    """Say why a measurement cannot be made or cannot be trusted."""


class NothingMeasured(BenchmarkError):
    """Say that no message came back in the time of a measurement."""


def require_linux() -> None:
    """Raise BenchmarkError where the load client (epoll, /proc) cannot work."""
    if not sys.platform.startswith("linux"):
        raise BenchmarkError(f"the load client needs Linux (epoll); this is {sys.platform}")


def choose_cores() -> tuple[int, int] | None:
    """Return a core for the servers and one for the client, or None where there is only one.

    The first and the last core are chosen: neighbours are often two halves of one.
    """
    cores = sorted(os.sched_getaffinity(0))
    return (cores[0], cores[-1]) if len(cores) > 1 else None


def raise_file_limit() -> None:
    """Let this process and those it starts open as many files as the system permits."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < CONNECTIONS:
        raise BenchmarkError(f"{CONNECTIONS} open files are needed; the limit here is {hard}")
    if soft == resource.RLIM_INFINITY or soft >= CONNECTIONS:
        return
    resource.setrlimit(resource.RLIMIT_NOFILE, (CONNECTIONS, hard))


def package_version(name: str) -> str | None:
    """Return the installed version of a distribution, or None."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def processor() -> str:
    """Return the processor's name as the kernel gives it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            for line in lines:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.machine()
