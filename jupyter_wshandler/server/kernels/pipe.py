"""The server's end of the pipe to one kernel, from its offer to its end."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from ...kernels.batches import MAX_CONTENT, NotABatch
from ...kernels.pipe import Pipe
from .door import Door, open_door


class KernelPipe:
    """A pipe that a kernel may come in with, and afterwards that pipe.

    A kernel that takes the offer does so before it says anything else; one that speaks elsewhere
    has not taken it. So all that both say travels on one way, in its order.

    Args:
        loop: The event loop.
        received: Gets the JSON and the buffers of each message.
        ended: Called when the kernel has ended the pipe, or with what is wrong with what it sends.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        received: Callable[[bytes, list[bytes]], object],
        ended: Callable[[NotABatch | None], object],
    ) -> None:
        self._loop = loop
        self._received = received
        self._ended = ended
        self._door: Door | None = None
        self._pipe: Pipe | None = None
        self.open = False
        """Whether the kernel has come in."""

    def offer_to(self, kernel: Any, begun: Callable[[], object]) -> dict[str, Any]:
        """Return what the kernel is told of the pipe; nothing where it cannot have one.

        Args:
            kernel: Its kernel manager.
            begun: Called when the kernel has come in.
        """
        self._door = open_door(self._loop, kernel, partial(self._let_in, begun))
        return {} if self._door is None else {"pipe": self._door.offer}

    def _let_in(self, begun: Callable[[], object], sock: socket.socket) -> None:
        self._door = None
        self._pipe = Pipe(self._loop, sock, self._received, self._ended, largest=MAX_CONTENT)
        self.open = True
        begun()

    def close_door(self) -> None:
        """Let the kernel in no more, where it has not come in."""
        door, self._door = self._door, None
        if door is not None:
            door.close()

    def send(self, content: bytes, buffers: Sequence[bytes]) -> None:
        """Send a message; see `Pipe.send`."""
        if self._pipe is not None:
            self._pipe.send(content, buffers)

    def beat(self) -> None:
        """Send a batch that says nothing, unless the kernel has not taken what it was sent."""
        if self._pipe is not None and not self._pipe.waits:
            self._pipe.send(b"{}")

    def was_used(self) -> bool:
        """Return whether the kernel has said anything on it since the last call."""
        pipe = self._pipe
        if pipe is None or not pipe.used:
            return False
        pipe.used = False
        return True

    def close(self) -> None:
        """End the pipe, or the offer; another may follow."""
        self.close_door()
        self.open = False
        pipe, self._pipe = self._pipe, None
        if pipe is not None:
            pipe.close()
