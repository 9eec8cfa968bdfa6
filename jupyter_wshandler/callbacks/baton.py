"""Which of the threads that have been given calls is awake: one after the other, while all is well.

To wake a thread for each of the messages that one turn of the loop has read would have them fight
for the interpreter, and wait for each other at that. So one is woken, works through its calls, and
wakes the next when it has done; the last wakes the loop. A callback that blocks delays nobody by
more than `STALL` or two: where nothing has moved for so long, all that wait are woken at once, and
a thread whose last call took long is woken without waiting for the others next time.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from typing import Protocol

from .job import Worker

STALL = 0.001
"""Seconds without any call's end after which the others are woken, too."""

SLOW = 0.002
"""Seconds that a call may take for its thread to wait for its turn to be woken the next time."""


class Relay(Protocol):
    """The way of what threads send to the event loop; `transports.loop.LoopIO` is one."""

    def hold(self) -> None:
        """Hold back what the calling thread asks for."""

    def let_go(self, wake: bool = True) -> None:
        """Hold back no more; have the loop do what was held back, or leave that to a thread."""

    def flush_held(self) -> None:
        """Have done now what the calling thread holds back."""

    def take_late(self) -> None:
        """Do what threads hold back, on the event loop."""

    def let_all_go(self) -> None:
        """Do what threads hold back, on the event loop, and let none of them hold back more."""


class Baton:
    """What one thread hands on to the next. Methods are called with the pool's lock held.

    Args:
        lock: The pool's.
        relay: Where threads hold back what they send; None where they send nothing.

    Attributes:
        holder: The thread that wakes the next one; None where none is awake for that.
    """

    def __init__(self, lock: threading.Lock, relay: Relay | None) -> None:
        self.holder: Worker | None = None
        self._lock = lock
        self._relay = relay
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: deque[Worker] = deque()
        self._due = False
        self._moves = self._seen = 0
        self._timer: asyncio.TimerHandle | None = None

    def use(self, loop: asyncio.AbstractEventLoop) -> None:
        """Belong to another event loop from now on."""
        self.wake_all()
        self._timer = None
        self._due = False
        self._loop = loop

    def wake(self, worker: Worker, here: Worker | None) -> None:
        """Wake a thread that has been given a call, when it is its turn.

        Args:
            worker: The thread.
            here: The calling thread; None for the event loop's.
        """
        if worker.is_slow or self._loop is None or (here is not None and here is not self.holder):
            worker.wake.release()
            return
        self._waiting.append(worker)
        if self.holder is None and not self._due:
            # At the end of this turn of the loop: what it reads meanwhile comes along.
            self._due = True
            self._loop.call_soon(self._begin)

    def moved(self) -> None:
        """Take note that a call has ended."""
        self._moves += 1

    def pass_on(self, worker: Worker) -> bool:
        """Wake the next thread, as one has nothing to do any more; return whether there was one."""
        if worker is not self.holder:
            return False
        self.holder = None
        return self._wake_next()

    def wake_all(self) -> None:
        """Wake all that wait for their turn."""
        self.holder = None
        while self._waiting:
            self._waiting.popleft().wake.release()

    def cancel(self) -> None:
        """End the timer, and wake all."""
        self.wake_all()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wake_next(self) -> bool:
        if not self._waiting:
            return False
        self._moves += 1
        self.holder = self._waiting.popleft()
        self.holder.wake.release()
        return True

    # ---- on the event loop, without the lock ----------------------------------------------------

    def _begin(self) -> None:
        with self._lock:
            self._due = False
            if self.holder is None and self._wake_next() and self._timer is None:
                self._set_timer()

    def _set_timer(self) -> None:
        if self._loop is not None:
            self._timer = self._loop.call_later(STALL, self._look)

    def _look(self) -> None:
        """See that all goes on, and that nothing is held back for long."""
        with self._lock:
            self._timer = None
            if self.holder is None:
                return
            stands_still = self._moves == self._seen
            self._seen = self._moves
            if stands_still:
                self.wake_all()
            else:
                self._set_timer()
        if self._relay is not None:
            if stands_still:
                self._relay.let_all_go()
            else:
                self._relay.take_late()
