"""How long a call waits for a thread: for its own one, and for any.

Two timers of the event loop see to it, each set only while calls wait: one frees calls whose own
thread is held for too long, the other fails those that no thread has taken in time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from ..errors import PoolBusy
from .job import Job, Worker
from .workers import Workers

YOUNG = 0.1
"""Seconds that a thread's call may have lasted for another connection of the thread to wait for
its end. Behind an older one it goes on in another thread, unless it is bound to its own."""

LONGEST = 1.0
"""Seconds after which a call does not wait for its own thread any more while another one is free:
that thread has many young calls."""

LOOK = 0.01
"""Seconds at a time to find out which of the calls that wait are bound to their threads."""

Bound = Callable[[Any, tuple[Any, ...]], bool]
"""Says of a keeper, and of what its call gets, whether no other thread can run it."""


class Waits:
    """The limits of the calls that wait. All methods belong to the event loop's thread.

    Args:
        workers: The threads, and the calls in line.
        patience: Seconds that a call waits for a thread before it fails with `PoolBusy`.
        bound: See `Bound`. It is asked as rarely as possible, and never with the lock held: to
            look through what a connection keeps takes a while.
    """

    def __init__(self, workers: Workers, patience: float, bound: Bound) -> None:
        self.patience = patience
        self._workers = workers
        self._is_bound = bound
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._look: asyncio.TimerHandle | None = None

    def begin(self, job: Job, loop: asyncio.AbstractEventLoop) -> None:
        """Set the timers for a call that has been put in line.

        Args:
            job: The call.
            loop: The running event loop.
        """
        self._loop = loop
        if self._timer is None:
            self._timer = loop.call_later(self.patience, self._expire)
        if self._look is None and job.home is not None:
            self._look = loop.call_later(YOUNG, self._look_again)

    def cancel(self) -> None:
        """End the timers."""
        for timer in (self._timer, self._look):
            if timer is not None:
                timer.cancel()
        self.forget()

    def forget(self) -> None:
        """Forget the timers of a loop that is no longer used, and may be closed."""
        self._timer = self._look = None

    def may_move(self, job: Job, home: Worker) -> None:
        """Free a new call whose home is held by an old call of another's.

        Who came there with the others of its route need not wait for `YOUNG` behind a call that
        was seen to take long; who came by itself may have made something there, and is told that
        it stays while calls are short.
        """
        running = home.job
        if running is None:
            return
        is_parted = job.keeper is not None and job.keeper.is_gathered and home.is_held
        if job.since - running.since < YOUNG and not is_parted:
            return
        if not self._binds(job):
            job.home = None

    def _binds(self, job: Job) -> bool:
        if job.bound is None:
            job.bound = self._is_bound(job.keeper, job.args)
        return job.bound

    def _look_again(self) -> None:
        """Free the calls whose homes are held for too long by now."""
        self._look = None
        now = time.monotonic()
        workers = self._workers
        with workers.lock:
            busy = [w for w in workers.threads if w.line and w.job is not None]
            held = [job for w in busy if _is_old(w, now) for job in w.line]
            late = [job for w in busy for job in w.line if now - job.since >= LONGEST]
        for job in (*held, *late):
            if time.monotonic() - now < LOOK:  # the rest is asked at the next look
                self._binds(job)
        with workers.lock:
            if workers.stopped:
                return
            for job in held:
                if job.waits and job.bound is False:
                    workers.free(job)
            workers.refill()
            for job in late:
                if not workers.has_room():
                    break
                if (
                    job.waits
                    and job.home is not None
                    and job.bound is False
                    and workers.shares.allow(job.owner)
                ):
                    workers.free(job)
                    workers.refill()
            if any(worker.line for worker in workers.threads) and self._loop is not None:
                self._look = self._loop.call_later(YOUNG, self._look_again)

    def _expire(self) -> None:
        """Fail the calls that waited too long; look again when the next one will have."""
        self._timer = None
        now = time.monotonic()
        workers = self._workers
        with workers.lock:
            late = [job for job in workers.waiting() if job.since + self.patience <= now + 0.001]
            for job in late:
                workers.dequeue(job)
            first = min(workers.waiting(), key=lambda job: job.since, default=None)
            if first is not None and not workers.stopped:
                delay = max(0.0, first.since + self.patience - now)
                self._timer = first.box.loop.call_later(delay, self._expire)
        for job in late:
            if not job.future.done():
                job.future.set_exception(
                    PoolBusy(
                        f"{job.label} waited {self.patience:g} s for "
                        + ("its own thread" if job.bound else f"one of {workers.size} threads")
                    )
                )


def _is_old(worker: Worker, now: float) -> bool:
    return worker.job is not None and now - worker.job.since >= YOUNG
