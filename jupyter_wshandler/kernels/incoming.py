"""What comes from one kernel: its batches in their order, some of them at a time.

A batch may hold much, and a kernel sends what it likes. So the events wait here, and the server's
loop takes them in slices of a few milliseconds, between which everybody else has a turn. A batch is
confirmed when it has been handled: a kernel that keeps to the rules can never fill this queue.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Container, Iterator, Sequence
from typing import Any

import msgspec

from ..transports.loop import LoopIO
from .batches import Batch, NotABatch, about, read_event
from .courier import KERNEL_IN_FLIGHT, Courier, OutOfStep
from .events import BUFFERED_FROM_KERNEL, Binary, FromKernel, Long, Ping, Say, SayTo

SLICE = 0.003
"""Seconds of the server's loop that what one kernel says takes at a time."""


class _Waiting:
    """A batch of the kernel that has not been handled to its end."""

    def __init__(self, batch: Batch, buffers: Sequence[Any]) -> None:
        self.number = batch.number
        self.buffers = iter(buffers)
        self._events = iter(batch.events)
        self._taken = dict(batch.taken)

    def add(self, taken: dict[str, int]) -> None:
        """Add what a later message says of handled messages."""
        for name, count in taken.items():
            self._taken[name] = self._taken.get(name, 0) + count

    def step(self) -> msgspec.Raw | tuple[str, int] | None:
        """Return the next event, or the next count of handled messages; None at the end."""
        event = next(self._events, None)
        if event is not None:
            return event
        return self._taken.popitem() if self._taken else None


class Incoming:
    """The batches of a kernel that have not been handled to their end.

    Args:
        io: The event loop.
        courier: Confirms what has been handled.
        do: Does what an event says, with the payload that travelled beside it.
        taken: Hears how many messages of a connection the kernel has handled.
        wrong: Hears of an event that makes no sense or cannot be done: what it is, whom it is
            about, and why.
        failed: Hears of one that has met a fault of ours: what it is, and whom it is about.
        lost: Hears what `receive` raises where it comes out after its end.
    """

    def __init__(
        self,
        io: LoopIO,
        courier: Courier,
        *,
        do: Callable[[FromKernel, bytes], object],
        taken: Callable[[str, int], object],
        wrong: Callable[[str, str, str], object],
        failed: Callable[[str, str], object],
        lost: Callable[[Exception], object],
    ) -> None:
        self._io = io
        self._courier = courier
        self._do = do
        self._taken = taken
        self._wrong = wrong
        self._failed = failed
        self._lost = lost
        self._waiting: deque[_Waiting] = deque()
        self._turn: asyncio.Handle | None = None
        self._ended = False

    def receive(self, batch: Batch, buffers: Sequence[Any], known: Container[str]) -> None:
        """Handle a batch, soon and in the order of the batches.

        Args:
            batch: What the kernel's courier has sent.
            buffers: The payloads of its events that travel beside the JSON, in order.
            known: The connections of the kernel, by id.

        Raises:
            OutOfStep: A batch is missing, so that nothing of this kernel can be relied on.
            NotABatch: The kernel sends more than one that keeps to the rules would.
        """
        self._courier.accept(batch.number, batch.got)
        if batch.number is not None:
            if len(self._waiting) >= KERNEL_IN_FLIGHT:
                raise NotABatch(f"more than {KERNEL_IN_FLIGHT} batches at once")
            self._waiting.append(_Waiting(batch, buffers))
        elif self._waiting:
            # What was sent before is handled before; unknown names must not pile up meanwhile.
            self._waiting[-1].add({n: c for n, c in batch.taken.items() if n in known})
        else:
            self._waiting.append(_Waiting(batch, ()))
        if self._turn is None:
            self._work()

    def _work(self) -> None:
        """Handle what waits for a few milliseconds; the rest in the next turn of the loop."""
        self._turn = None
        until = time.monotonic() + SLICE
        self._io.begin_batch()
        while self._waiting and not self._ended:
            waiting = self._waiting[0]
            step = waiting.step()
            if step is None:
                self._waiting.popleft()
                if waiting.number is not None:
                    self._courier.handled(waiting.number)
            elif isinstance(step, tuple):
                self._taken(*step)
            else:
                self._handle(step, waiting.buffers)
            if time.monotonic() >= until:
                break
        if self._waiting and not self._ended:
            self._turn = self._io.loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        try:
            self._work()
        except (OutOfStep, NotABatch) as error:
            self._waiting.clear()
            self._lost(error)

    def _handle(self, event: msgspec.Raw, buffers: Iterator[Any]) -> None:
        """Do what one event says; what is wrong with it costs whom it is about, and nobody else."""
        try:
            said = read_event(event)
        except ValueError as error:
            what, name = about(event)
            if what in BUFFERED_FROM_KERNEL:
                _next(buffers)  # the next event has the next buffer
            self._wrong(what, name, str(error))
            return
        # Taken also for a connection that is gone.
        buffer = _next(buffers) if isinstance(said, (Long, Binary, Ping, Say, SayTo)) else b""
        try:
            self._do(said, buffer)
        except (OutOfStep, NotABatch):
            raise
        except ValueError as error:
            self._wrong(said.what, said.name, str(error))
        except Exception:
            self._failed(said.what, said.name)

    def end(self) -> None:
        """Handle nothing any more."""
        self._ended = True
        self._waiting.clear()
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None


def _next(buffers: Iterator[Any]) -> bytes:
    try:
        return bytes(next(buffers))
    except StopIteration:
        raise OutOfStep("a buffer is missing") from None
