"""The door that a kernel of this machine may come in by: a Unix socket that waits for it alone."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import secrets
import shutil
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ...kernels.pipe import SECRET

PROOF = 5.0
"""Seconds that whoever has come in has for the proof that it is the kernel."""

LOCAL = ("127.0.0.1", "::1", "localhost")
"""Where a kernel of this machine listens."""


class Door:
    """A Unix socket in a folder that only this user may enter, for one kernel to come in by.

    Whoever comes has to bring a secret, which the kernel is told in a signed message. The first who
    does is let in, and the door is closed.

    Args:
        loop: The event loop.
        let_in: Gets the connected socket.

    Raises:
        OSError: There can be no such socket here.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, let_in: Callable[[socket.socket], object]
    ) -> None:
        self._loop = loop
        self._let_in = let_in
        self._secret = secrets.token_bytes(SECRET)
        self._proof = b""
        self._guest: socket.socket | None = None
        self._patience: asyncio.TimerHandle | None = None
        self._closed = False
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._folder = ""
        try:
            self._sock.setblocking(False)
            self._folder = tempfile.mkdtemp(prefix="wshandler-")  # for its owner only
            self._path = str(Path(self._folder) / "kernel")
            self._sock.bind(self._path)
            self._sock.listen(1)
        except BaseException:
            self._sock.close()
            self._remove()
            raise
        loop.add_reader(self._sock, self._knocked)

    @property
    def offer(self) -> dict[str, str]:
        """What the kernel is told; see `pipe.connect`."""
        return {"path": self._path, "secret": self._secret.hex()}

    def _knocked(self) -> None:
        if self._guest is not None:
            return  # one after the other
        try:
            self._guest, _ = self._sock.accept()
        except OSError:
            return
        self._loop.remove_reader(self._sock)  # until it is known who that is
        self._guest.setblocking(False)
        self._proof = b""
        self._loop.add_reader(self._guest, self._proven)
        self._patience = self._loop.call_later(PROOF, self._turn_away)

    def _proven(self) -> None:
        guest = self._guest
        assert guest is not None
        try:
            # No byte more than that: what follows is the pipe's to read.
            came = guest.recv(SECRET - len(self._proof))
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            came = b""
        self._proof += came
        if came and len(self._proof) < SECRET:
            return
        if not hmac.compare_digest(self._proof, self._secret):
            self._turn_away()
            return
        self._loop.remove_reader(guest)
        self._guest = None
        self.close()
        self._let_in(guest)

    def _turn_away(self) -> None:
        self._show_out()
        if not self._closed:
            self._loop.add_reader(self._sock, self._knocked)

    def _show_out(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
        guest, self._guest = self._guest, None
        if guest is not None:
            self._loop.remove_reader(guest)
            guest.close()

    def _remove(self) -> None:
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)

    def close(self) -> None:
        """Let nobody in any more."""
        if self._closed:
            return
        self._closed = True
        self._show_out()
        with contextlib.suppress(RuntimeError):  # the loop is closed already
            self._loop.remove_reader(self._sock)
        self._sock.close()
        self._remove()


def open_door(
    loop: asyncio.AbstractEventLoop, kernel: Any, let_in: Callable[[socket.socket], object]
) -> Door | None:
    """Return a door for a kernel, or None where it cannot be on this machine.

    Args:
        loop: The event loop.
        kernel: Its kernel manager.
        let_in: See `Door`.
    """
    is_here = getattr(kernel, "transport", "") == "ipc" or getattr(kernel, "ip", "") in LOCAL
    if not is_here or not hasattr(socket, "AF_UNIX"):
        return None
    try:
        return Door(loop, let_in)
    except (NotImplementedError, OSError):  # Jupyter's channels are always there
        return None
