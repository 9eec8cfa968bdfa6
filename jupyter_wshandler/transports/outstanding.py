"""What a peer was sent and has not taken yet, and whether it goes on taking it."""

from __future__ import annotations

import socket
import sys
from typing import Protocol

from ..types import Outstanding

if sys.platform == "linux":
    import fcntl
    import termios

BYTES_ACKED = slice(120, 128)
"""Where Linux has `tcpi_bytes_acked` in its `struct tcp_info` (tcp(7), linux/tcp.h)."""


class Sock(Protocol):
    """What is asked of a socket; asyncio's own stand-in for one has it, too."""

    def fileno(self) -> int:
        """Return the descriptor."""

    def getsockopt(self, level: int, optname: int, buflen: int, /) -> bytes:
        """Return an option."""


def outstanding(sock: Sock | None, queued: int) -> Outstanding:
    """Return what a peer was sent and has not taken: in our own queue, and in the system's.

    The system is asked on Linux only; elsewhere our own queue says it.

    Args:
        sock: The socket that leads to the peer; None where there is none.
        queued: Bytes in our own queue.
    """
    size = queued + _held_by_system(sock)
    taken = _acknowledged(sock) if size else None
    # Where nobody counts what was taken, what is still there tells of it, as far as it can.
    return Outstanding(size, -size if taken is None else taken)


def _held_by_system(sock: Sock | None) -> int:
    if sys.platform != "linux" or sock is None:
        return 0
    try:
        # SIOCOUTQ (tcp(7)): what the peer has not acknowledged; for a Unix socket, not read.
        count = fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4))
    except (OSError, ValueError):  # it is closed, or no stream
        return 0
    return int.from_bytes(count, sys.byteorder)


def _acknowledged(sock: Sock | None) -> int | None:
    if sys.platform != "linux" or sock is None:
        return None
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, BYTES_ACKED.stop)
    except (AttributeError, OSError, TypeError):  # it is no TCP, or a stand-in that cannot say
        return None
    if len(info) < BYTES_ACKED.stop:
        return None
    return int.from_bytes(info[BYTES_ACKED], sys.byteorder)


class Taking:
    """Whether a peer takes what stood before something that it shall answer.

    Only that counts: of what is sent later, the peer's system acknowledges much that its program,
    which is stopped perhaps, will never read.

    Args:
        before: What was outstanding when it was sent.
    """

    __slots__ = ("_size", "_taken", "rest")

    def __init__(self, before: Outstanding) -> None:
        self._size, self._taken = before
        self.rest = self._size  # bytes of it, at the last look

    def goes_on(self, now: Outstanding) -> bool:
        """Return whether less of it is outstanding than at the last look.

        Args:
            now: What is outstanding.
        """
        rest = max(0, self._size - (now.taken - self._taken)) if now.size else 0
        less = rest < self.rest
        self.rest = rest
        return less
