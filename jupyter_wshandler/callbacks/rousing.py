"""When threads are woken to which the loop has given messages: together, behind what it reads.

A thread that wakes while the loop still reads and writes takes the interpreter at each of the
loop's system calls, and gives it back: two switches a message, of which each costs more than most
messages. So threads are woken when a turn of the loop has read nothing more. And what they send
waits until the last of them has done all that it was woken for; see `LoopIO.hold`. A callback that
blocks delays nobody by that: whatever else wakes the loop has it sent, as does a timer.

That is for threads in which connections are gathered (`gathering`). Of those that are spread each
has little to do, and holds one of few shares meanwhile, so it is woken at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Protocol

from ..errors import ConnectionClosed
from .job import Worker

STALL = 0.001
"""Seconds in which a thread that was woken has to end a call; else what it sends goes at once."""

LATEST = 0.0005
"""Seconds after which threads are woken though the loop reads on."""


class Relay(Protocol):
    """The way of what threads send to the event loop; `transports.loop.LoopIO` is one."""

    def hold(self, thread: int) -> None:
        """Let a thread hold back what it sends."""

    def holds(self, thread: int) -> bool:
        """Say whether a thread does."""

    def let_go(self, thread: int) -> None:
        """Let a thread hold back no more; the last of them has the loop woken for all."""


class Rousing:
    """What wakes the threads of a pool. All but `done` belongs to the event loop's thread.

    Args:
        relay: Where threads hold back what they send; None where they send nothing, and are woken
            at once.
    """

    __slots__ = ("_given", "_loop", "_relay", "_seen", "_timer", "_until", "_woken", "count")

    def __init__(self, relay: Relay | None) -> None:
        self.count = 0
        """Grows with each turn that the pool is given."""
        self._relay = relay
        self._loop: asyncio.AbstractEventLoop | None = None
        self._given: list[Worker] = []
        self._woken: dict[Worker, int] = {}
        self._seen = 0
        self._until = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def wake(self, worker: Worker, loop: asyncio.AbstractEventLoop) -> None:
        """Wake a thread that was given a turn, when the loop has read what there is.

        Args:
            worker: The thread.
            loop: The event loop.
        """
        if self._relay is None:
            worker.wake.release()
            return
        if not self._given:
            self._loop = loop
            self._seen = self.count
            self._until = time.monotonic() + LATEST
            loop.call_soon(self._rouse)
        self._given.append(worker)

    def end(self) -> None:
        """Wake now all that wait for it, and look after nobody any more: another loop may come."""
        for worker in self._given:
            worker.wake.release()
        for worker in self._woken:
            self.done(worker)
        self._given.clear()
        self._woken.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def done(self, worker: Worker) -> None:
        """Have the loop woken for what a thread has sent that has done all; from any thread."""
        thread = worker.thread.ident
        if self._relay is not None and thread is not None and self._relay.holds(thread):
            with contextlib.suppress(ConnectionClosed):  # the loop has ended
                self._relay.let_go(thread)

    def _rouse(self) -> None:
        loop, relay = self._loop, self._relay
        if loop is None or relay is None:
            return
        if self.count != self._seen and time.monotonic() < self._until:
            self._seen = self.count
            loop.call_soon(self._rouse)  # once more: this turn of the loop may read more
            return
        given, self._given = self._given, []
        for worker in given:
            if worker.thread.ident is not None:
                relay.hold(worker.thread.ident)
            self._woken[worker] = worker.ended
        for worker in given:
            worker.wake.release()
        if self._timer is None and self._woken:
            self._timer = loop.call_later(STALL, self._look)

    def _look(self) -> None:
        """See to it that nothing is held back by a thread that stands still."""
        self._timer = None
        loop, relay, woken = self._loop, self._relay, self._woken
        if loop is None or relay is None:
            return
        for worker, ended in tuple(woken.items()):
            thread = worker.thread.ident
            if thread is None or not relay.holds(thread):
                del woken[worker]
            elif worker.ended == ended:
                del woken[worker]
                relay.let_go(thread)
            else:
                woken[worker] = worker.ended
        if woken:
            self._timer = loop.call_later(STALL, self._look)
