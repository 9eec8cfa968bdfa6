"""The line in front of a server: connections that the system keeps until they are taken."""

from __future__ import annotations

import contextlib
import socket
from typing import Any


def lengthen(http_server: Any, backlog: int) -> int:
    """Let the operating system keep more connections in line for a server that listens already.

    Tornado listens with 128. Who comes when that many wait gets no answer at all, and asks again
    after 1, 3, 7, 15, 31 and 63 seconds: after a restart the last of some thousand clients are back
    minutes later, with a server that has long had nothing to do. To listen again on a socket that
    listens changes the length of its line and nothing else (POSIX, `listen`); the system may have a
    limit of its own (Linux: `net.core.somaxconn`).

    Args:
        http_server: Tornado's; it has no public way to what it listens on.
        backlog: Connections that may wait.

    Returns:
        How many sockets were changed.
    """
    changed = 0
    sockets: dict[int, socket.socket] = getattr(http_server, "_sockets", {})
    for sock in sockets.values():
        with contextlib.suppress(OSError):  # it has its line of before
            sock.listen(backlog)
            changed += 1
    return changed
