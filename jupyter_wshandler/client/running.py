"""The Jupyter servers of this machine: what their runtime files say, and whose process this is."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from .addresses import Server, netloc_of, with_slash


def runtime_dir() -> Path:
    """Return the folder in which Jupyter servers leave their runtime files."""
    from jupyter_core.paths import jupyter_runtime_dir

    return Path(jupyter_runtime_dir())


def running_servers() -> list[Server]:
    """Return the servers whose runtime file is here and whose process is alive."""
    found = (_from_file(path) for path in sorted(runtime_dir().glob("jpserver-*.json")))
    return [server for server in found if server and _alive(server)]


def _from_file(path: Path) -> Server | None:
    try:
        info = json.loads(path.read_text("utf-8"))
        base = with_slash(str(info["base_url"]))
        if info.get("sock"):
            url = str(info["url"])
        else:
            scheme = "https" if info.get("secure") else "http"
            url = f"{scheme}://{netloc_of(str(info['hostname']), int(info['port']))}{base}"
        return Server(
            url=with_slash(url),
            token=str(info.get("token") or ""),
            source=f"the runtime file {path.name}",
            alias=with_slash(str(info.get("url") or url)),
            root_dir=str(info.get("root_dir") or ""),
            pid=int(info["pid"]),
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        # Being written, removed in between, or another program's: not a server to talk to.
        return None


def _alive(server: Server) -> bool:
    if server.pid <= 0:
        return False
    if os.name == "nt":
        # Windows has no signal that only asks; os.kill would end the process.
        parts = urlsplit(server.url)
        try:
            socket.create_connection((parts.hostname, parts.port), timeout=1).close()
        except OSError:
            return False
        return True
    return is_running(server.pid)


def is_running(pid: int) -> bool:
    """Return whether a process of this user's is there; never on Windows, where asking ends it."""
    if os.name == "nt":
        return False
    try:
        os.kill(pid, 0)
    except (OSError, OverflowError):
        # Also where the number has gone to a process of another user's: that wrote no file here.
        return False
    return True


def starter_pid() -> int:
    """Return the process that has started this kernel; 0 where this is none, or nobody knows."""
    pid = os.environ.get("JPY_PARENT_PID", "")
    return int(pid) if pid.isdecimal() else 0


def related_pids() -> Iterator[int]:
    """Yield the processes whose server this may be, the surest first."""
    yield os.getpid()
    parent = starter_pid()
    if parent:
        yield parent
    yield from _line_of(os.getppid())
    # Something may stand between a kernel and its starter that has no parent itself.
    yield from _line_of(parent)


def _line_of(pid: int) -> Iterator[int]:
    """Yield a process and its ancestors."""
    while pid > 0:
        yield pid
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
        except OSError:
            return  # No /proc on this system: the parent is all that is known.
        # The second field is a name in parentheses and may hold anything, parentheses too.
        pid = int(stat.rpartition(")")[2].split()[1])
