"""What all connections of one event loop share: the receive buffer and the joined writes."""

from __future__ import annotations

import asyncio
from typing import Protocol

RECEIVE_SIZE = 65536
"""Bytes read from one connection before another gets a turn."""


class Flushable(Protocol):
    """Be a carrier whose queued frames can be sent."""

    def flush(self) -> None:
        """Send what is queued, as far as the operating system takes it."""


class LoopIO:
    """Own the receive buffer of one event loop and join the writes of one loop turn.

    One buffer serves every connection: ``recv_into`` a buffer that exists costs a quarter of a
    ``recv`` that allocates its own. While a batch is open, carriers queue their frames instead
    of sending each at once, and the end of the turn sends one joined chunk per connection.

    Args:
        loop: The event loop that all connections of this object run on.
    """

    __slots__ = ("_dirty", "batching", "buffer", "loop", "view")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.buffer = bytearray(RECEIVE_SIZE)
        self.view = memoryview(self.buffer)
        self.batching = False
        self._dirty: list[Flushable] = []

    def begin_batch(self) -> None:
        """Queue frames until the end of this loop turn, so that each connection sends once."""
        if not self.batching:
            self.batching = True
            self.loop.call_soon(self.end_batch)

    def add(self, carrier: Flushable) -> None:
        """Remember a carrier that has queued its first frame in this batch."""
        self._dirty.append(carrier)

    def end_batch(self) -> None:
        """Send what the batch has queued."""
        self.batching = False
        dirty, self._dirty = self._dirty, []
        for carrier in dirty:
            carrier.flush()
