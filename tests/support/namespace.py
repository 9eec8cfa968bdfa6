"""A network namespace with one cable to this one: a machine whose cable a test can pull."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from support.need import SEARCH

# Addresses for tests between networks, which are not routed (RFC 2544, RFC 6890).
HERE = "198.18.77.1"
THERE = "198.18.77.2"


@dataclass(frozen=True)
class Namespace:
    """Name the namespace and the two ends of its cable."""

    name: str
    ip: str
    here: str = HERE
    there: str = THERE

    def command(self, *words: str) -> list[str]:
        """Return the command that runs another one inside."""
        return [self.ip, "netns", "exec", self.name, *words]

    def pull_the_cable(self) -> None:
        """Take the link down at the far end: packets vanish, and nobody is told."""
        run(self.ip, "-n", self.name, "link", "set", "there", "down")


def run(*words: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; fail with what it says."""
    done = subprocess.run(words, capture_output=True, text=True, timeout=20)
    assert done.returncode == 0, f"{' '.join(words)}: {done.stderr.strip()}"
    return done


@contextmanager
def network_namespace() -> Iterator[Namespace]:
    """Make a namespace and its cable, and remove both at the end.

    Only root may: the test is skipped for others. Where root may not either (a container
    without CAP_NET_ADMIN), it is skipped too, but fails where CI=true.
    """
    ip = shutil.which("ip", path=SEARCH)
    if os.geteuid() != 0:
        pytest.skip("only root can make a network namespace")
    name = f"wsh{os.getpid()}"
    made = ip and subprocess.run([ip, "netns", "add", name], capture_output=True, text=True)
    if not made or made.returncode:
        why = made.stderr.strip() if made else "ip is not installed: apt-get install iproute2"
        sentence = f"this root cannot make a network namespace: {why}"
        if os.environ.get("CI") == "true":
            pytest.fail(sentence)
        pytest.skip(sentence)
    space, cable = Namespace(name, ip), f"{name}h"
    try:
        run(ip, "link", "add", cable, "type", "veth", "peer", "name", "there", "netns", name)
        run(ip, "addr", "add", f"{HERE}/30", "dev", cable)
        run(ip, "link", "set", cable, "up")
        run(ip, "-n", name, "addr", "add", f"{THERE}/30", "dev", "there")
        run(ip, "-n", name, "link", "set", "there", "up")
        yield space
    finally:
        subprocess.run([ip, "link", "del", cable], capture_output=True, timeout=20)
        subprocess.run([ip, "netns", "del", name], capture_output=True, timeout=20)
