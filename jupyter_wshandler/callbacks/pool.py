"""A bounded pool of daemon threads for callbacks that may block.

`concurrent.futures` would not do: it joins its threads when the interpreter exits, so a callback
that never returns would keep the server from ending.

The calls of one connection keep to one thread, its home, as far as that keeps nobody waiting for
long; see `ThreadPool`.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from ..errors import PoolBusy
from ..forks import leave_if_copy
from .fairness import NOBODY, Line, Owner, Shares
from .job import Clock, Job, Keeper, Mailbox, Worker, deliverable

_JOIN = 1.0
"""Seconds to wait for a thread that has already said goodbye."""

YOUNG = 0.1
"""Seconds that a thread's call may have lasted for another connection of the thread to wait for
its end. Behind an older one it goes on in another thread, unless it is bound to its own."""

LONGEST = 1.0
"""Seconds after which a call does not wait for its own thread any more while another one is free:
that thread has many young calls."""

LOOK = 0.01
"""Seconds at a time to find out which of the calls that wait are bound to their threads."""

STREAK = 0.02
"""Seconds that a thread takes the calls of its own connections one after the other, which costs no
wake-up, before it looks who has waited in line for longest; then every second is one of its own."""


def _never_bound(keeper: Any, args: tuple[Any, ...]) -> bool:
    return False


class ThreadPool:
    """Run functions in a bounded number of daemon threads, which start on demand.

    All methods belong to the event loop's thread. An idle thread is used again, the last one to
    become idle first.

    A connection (`Keeper`) has a thread of its own choice to come back to, its home: threads
    become homes in turn. A call waits for its home while that has a young call (`YOUNG`); behind
    an older one it goes to another thread, which is its home from then on. One that is bound, as
    `bound` says, waits for its home in any case.

    Args:
        size: Most threads at a time.
        name: Threads are called ``<name>-1``, ``<name>-2``, and so on.
        patience: Seconds that a call waits for a thread before it fails with `PoolBusy`.
        shared: Whether one route, or one user, may hold only a share; see `fairness.Shares`.
        bound: Says of a keeper, and of what its call gets, whether no other thread can run it.
            It is asked only where its home is held by another's call.
    """

    def __init__(
        self,
        size: int = 16,
        *,
        name: str = "wshandler",
        patience: float = 30.0,
        shared: bool = False,
        bound: Callable[[Any, tuple[Any, ...]], bool] = _never_bound,
    ) -> None:
        if size < 1:
            raise ValueError(f"expected a pool of at least 1 thread, found {size}")
        self.size = size
        self.name = name
        self.patience = patience
        self._lock = threading.Lock()  # guards what follows, up to `_retired`
        self._workers: set[Worker] = set()
        self._abandoned: set[Worker] = set()
        self._idle: dict[Worker, None] = {}  # in the order in which they became idle
        self._pending: Line[Job] = Line()  # of calls that any thread may run
        self._starved: dict[Worker, None] = {}  # idle; calls in their own lines wait for a share
        self._shares = Shares(size, shared=shared)
        self._stopped = False
        self._retired = False
        self._box: Mailbox | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._look: asyncio.TimerHandle | None = None
        self._is_bound = bound
        self._homed = 0
        self._started = 0
        self._left: asyncio.Event | None = None

    def submit(
        self,
        function: Callable[..., Any],
        *args: Any,
        label: str,
        context: contextvars.Context | None = None,
        owner: Owner = NOBODY,
        keeper: Keeper | None = None,
        clock: Clock | None = None,
    ) -> asyncio.Future[Any]:
        """Run a function in a thread.

        Args:
            function: What to run.
            args: What it gets.
            label: Its name in `busy` and in what `stop` returns.
            context: What it runs in; a copy of the current context where None.
            owner: For whom it counts; of those that wait the owners come in turn.
            keeper: What stays on one thread; its calls come one after the other.
            clock: Told when it has to wait for a thread, and when it begins then.

        Returns:
            A future of the running event loop. It fails with `PoolBusy` if no thread took the
            call within `patience`, and with RuntimeError where the function raised something
            that is no Exception or that a future cannot hold (SystemExit, StopIteration).
        """
        box = self._box
        loop = asyncio.get_running_loop()
        if box is None or box.loop is not loop:
            box = self._change_loop(loop)
        if context is None:
            context = contextvars.copy_context()
        job = Job(box, function, args, label, context, owner, keeper, clock)
        if job.home is not None and job.home not in self._idle:
            self._may_move(job, job.home)
        with self._lock:
            home = job.home
            if home is not None and home not in self._idle and self._is_gone(home):
                home = job.home = None
            if self._stopped:
                job.future.set_exception(PoolBusy(f"the threads have ended; {label} did not run"))
            elif (
                not (self._has_room() if home is None else home in self._idle)
                or not self._shares.take(owner)
                or not self._place(job)
            ):
                self._wait(job, loop)
        return job.future

    # ---- in line -----------------------------------------------------------------------------

    def _wait(self, job: Job, loop: asyncio.AbstractEventLoop) -> None:
        self._queue(job)
        job.rest()
        if self._timer is None:
            self._timer = loop.call_later(self.patience, self._expire)
        if self._look is None and job.home is not None:
            self._look = loop.call_later(YOUNG, self._look_again)

    def _queue(self, job: Job) -> None:
        home = job.home
        job.waits = True
        (self._pending if home is None else home.line).add(job)
        if home is not None and home in self._idle:
            self._starved[home] = None

    def _dequeue(self, job: Job) -> None:
        home = job.home
        job.waits = False
        line = self._pending if home is None else home.line
        line.remove(job)
        if home is not None and not line:
            self._starved.pop(home, None)

    def _in_line(self) -> Iterator[Job]:
        """Return the calls that wait."""
        yield from self._pending
        for worker in self._workers:
            yield from worker.line

    def _clear(self) -> None:
        self._pending.clear()
        self._starved.clear()
        for worker in self._workers:
            worker.line.clear()

    # ---- which thread ------------------------------------------------------------------------

    def _may_move(self, job: Job, home: Worker) -> None:
        """Free a new call whose home is held by an old call of another's."""
        running = home.job
        if running is not None and job.since - running.since >= YOUNG and not self._binds(job):
            job.home = None

    def _binds(self, job: Job) -> bool:
        if job.bound is None:
            job.bound = self._is_bound(job.keeper, job.args)
        return job.bound

    def _free(self, job: Job) -> None:
        """Let a call that waits for its home run in any thread."""
        self._dequeue(job)
        job.home = None
        self._queue(job)

    def _look_again(self) -> None:
        """Free the calls whose homes are held for too long by now."""
        self._look = None
        now = time.monotonic()
        with self._lock:
            busy = [w for w in self._workers if w.line and w.job is not None]
            held = [job for w in busy if _is_old(w, now) for job in w.line]
            late = [job for w in busy for job in w.line if now - job.since >= LONGEST]
        for job in (*held, *late):
            if time.monotonic() - now < LOOK:
                self._binds(job)
        with self._lock:
            if self._stopped:
                return
            for job in held:
                if job.waits and job.bound is False:
                    self._free(job)
            self._refill()
            for job in late:
                if not self._has_room():
                    break
                if (
                    job.waits
                    and job.home is not None
                    and job.bound is False
                    and self._shares.allow(job.owner)
                ):
                    self._free(job)
                    self._refill()
            if any(worker.line for worker in self._workers) and self._box is not None:
                self._look = self._box.loop.call_later(YOUNG, self._look_again)

    def _has_room(self) -> bool:
        return bool(self._idle) or len(self._workers) < self.size

    def _is_gone(self, home: Worker) -> bool:
        """Return whether a thread takes no calls any more, or is another pool's."""
        return home not in self._workers or (home.job is None and home not in self._idle)

    def _place(self, job: Job, here: Worker | None = None) -> bool:
        """Give a call to a thread: its home, the calling one, or one in turn.

        Its home is idle, or it has none and there is room. It has been counted for its owner, and
        is so no more where there is no thread for it.
        """
        idle = self._idle
        home = job.home
        if home is not None and home in idle:
            self._give(job, home, here)
            return True
        # The thread that is at work goes on without a wake-up; but it would be the home of many
        # that come at once, and that wait in line while each of them is opened.
        if here is not None and here in idle and not _is_new(job):
            self._give(job, here, here)
            return True
        worker: Worker | None = None
        if idle:
            # Homes are spread; what has none is done by the thread that was at work last.
            worker = next(reversed(idle)) if job.keeper is None else min(idle, key=_homed)
        if worker is None or (
            job.keeper is not None and worker.homed and len(self._workers) < self.size
        ):
            error = self._start(job)
            if error is None:
                return True
            if worker is None:
                self._shares.give_back(job.owner)
                return self._gave_up(job, error)
        self._give(job, worker, here)
        return True

    def _give(self, job: Job, worker: Worker, here: Worker | None = None) -> None:
        """Give a call to a thread that is idle; wake it where it is not the calling one."""
        self._rouse(worker)
        worker.job = job
        if job.home is not worker:
            self._settle(job, worker)
        if worker is not here:
            worker.fresh = job.since
            worker.wake.release()

    def _rest(self, worker: Worker) -> None:
        self._idle[worker] = None
        if worker.line:
            self._starved[worker] = None

    def _rouse(self, worker: Worker) -> None:
        del self._idle[worker]
        if self._starved:
            self._starved.pop(worker, None)

    def _settle(self, job: Job, worker: Worker) -> None:
        job.home = worker
        if job.keeper is not None:
            job.keeper.keep_to_thread(worker)
            self._homed += 1
            worker.homed = self._homed

    def busy(self) -> list[tuple[str, float]]:
        """Return who holds the threads: label and seconds, the longest first."""
        now = time.monotonic()
        with self._lock:
            jobs = [worker.job for worker in self._workers if worker.job is not None]
        jobs.sort(key=lambda job: job.since)
        return [(job.label, now - job.since) for job in jobs]

    def holders(self) -> list[str]:
        """Return the routes whose calls hold the threads, those that hold most first."""
        with self._lock:
            held = Counter(w.job.owner.route for w in self._workers if w.job is not None)
        return sorted(filter(None, held), key=lambda route: (-held[route], route))

    def drop(self, future: asyncio.Future[Any]) -> bool:
        """Drop a call that waits for a thread; one that runs goes on, and holds its thread.

        Args:
            future: What `submit` returned.

        Returns:
            Whether it has been dropped, or had ended.
        """
        future.cancel()
        with self._lock:
            for job in self._in_line():
                if job.future is future:
                    self._dequeue(job)
                    return True
            return all(w.job is None or w.job.future is not future for w in self._workers)

    def abandon(self, future: asyncio.Future[Any]) -> bool:
        """Give up a call: its result is no longer wanted, whatever it may be.

        A call that waits is dropped. The thread of one that runs is written off: another may
        start in its place, and it ends when its function returns. At most `size` threads are
        written off at a time; past that the thread goes on to hold its place.

        Args:
            future: What `submit` returned.

        Returns:
            Whether a thread is still running the call.
        """
        future.cancel()
        with self._lock:
            for job in self._in_line():
                if job.future is future:
                    self._dequeue(job)
                    return False
            for worker in tuple(self._workers):
                if worker.job is not None and worker.job.future is future:
                    if len(self._abandoned) < self.size:
                        self._write_off(worker)
                        self._refill()
                    return True
        return False

    def retire(self) -> None:
        """End each thread as soon as it has nothing to do; what was submitted still runs."""
        with self._lock:
            self._retired = True
            for worker in self._idle:
                worker.wake.release()
            self._idle.clear()

    async def stop(self, timeout: float) -> list[str]:
        """End the threads.

        Calls that wait for a thread fail with `PoolBusy`; those that run may finish in time.

        Args:
            timeout: Seconds to wait for them.

        Returns:
            The labels of those that still run; their threads are left to themselves and do not
            keep the process from ending.
        """
        with self._lock:
            self._stopped = True
            pending = [*self._in_line()]
            self._clear()
            workers = [*self._workers]
            self._left = asyncio.Event()
            self._box = Mailbox(asyncio.get_running_loop())
            for worker in self._idle:
                worker.wake.release()
            self._idle.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._look is not None:
            self._look.cancel()
            self._look = None
        for job in pending:
            if not job.future.done():
                job.future.set_exception(PoolBusy(f"the threads end; {job.label} did not run"))
        try:
            async with asyncio.timeout(timeout):
                while self._workers:
                    self._left.clear()
                    if self._workers:
                        await self._left.wait()
        except TimeoutError:
            pass
        with self._lock:
            running = [worker for worker in self._workers if worker.job is not None]
            labels = sorted(worker.job.label for worker in running if worker.job is not None)
            for worker in running:
                self._write_off(worker)
        for worker in workers:
            if worker not in running:
                worker.thread.join(_JOIN)
        return labels

    def _change_loop(self, loop: asyncio.AbstractEventLoop) -> Mailbox:
        """Work for another event loop; what the one before still waited for is dropped."""
        with self._lock:
            self._clear()
        self._timer = self._look = None
        self._box = Mailbox(loop)
        return self._box

    def _start(self, job: Job) -> RuntimeError | None:
        """Start a thread with its first job; return why there is none."""
        worker = Worker(job)
        self._started += 1
        worker.thread = threading.Thread(
            target=self._run, args=(worker,), name=f"{self.name}-{self._started}", daemon=True
        )
        worker.fresh = job.since
        self._workers.add(worker)
        try:
            worker.thread.start()
        except RuntimeError as error:  # the operating system's limit
            self._workers.discard(worker)
            self._started -= 1
            return error
        self._settle(job, worker)
        return None

    def _gave_up(self, job: Job, error: RuntimeError) -> bool:
        """Fail a call for which no thread could be started, where there is none at all."""
        if self._workers:
            return False
        if not job.future.done():
            job.future.set_exception(PoolBusy(f"no thread can be started: {error}"))
        return True

    def _write_off(self, worker: Worker) -> None:
        worker.abandoned = True
        if worker.job is not None:
            self._shares.give_back(worker.job.owner)
        self._workers.discard(worker)
        self._abandoned.add(worker)
        for job in [*worker.line]:
            worker.line.remove(job)
            job.home = None
            self._pending.add(job)

    def _refill(self, here: Worker | None = None) -> None:
        """Give calls that wait to threads that are idle, or to new ones where there is room.

        Args:
            here: The calling thread, which is idle.
        """
        while True:
            job = None
            if self._pending and self._has_room():
                job = self._pending.next(self._shares)
            for worker in self._starved:
                other = worker.line.next(self._shares)
                if other is not None and (job is None or other.since < job.since):
                    job = other
            if job is None:
                return
            self._dequeue(job)
            self._shares.take(job.owner)
            waited_since = job.since
            job.begin()
            if not self._place(job, here):
                job.since = waited_since
                job.rest()
                self._queue(job)
                return

    def _expire(self) -> None:
        """Fail the calls that waited too long; look again when the next one will have."""
        self._timer = None
        now = time.monotonic()
        with self._lock:
            late = [job for job in self._in_line() if job.since + self.patience <= now + 0.001]
            for job in late:
                self._dequeue(job)
            first = min(self._in_line(), key=lambda job: job.since, default=None)
            if first is not None and not self._stopped:
                delay = max(0.0, first.since + self.patience - now)
                self._timer = first.box.loop.call_later(delay, self._expire)
        for job in late:
            if not job.future.done():
                job.future.set_exception(
                    PoolBusy(
                        f"{job.label} waited {self.patience:g} s for "
                        + ("its own thread" if job.bound else f"one of {self.size} threads")
                    )
                )

    # ---- in the threads ------------------------------------------------------------------

    def _run(self, worker: Worker) -> None:
        job = worker.job
        process = os.getpid()
        while job is not None:
            result, error = None, None
            try:
                if not job.future.cancelled():
                    job.box.thread_loop.enter()
                    result = job.context.run(job.function, *job.args)
            except BaseException as raised:
                leave_if_copy(process, raised)
                error = deliverable(raised, job.label)
            leave_if_copy(process)
            following, is_idle = self._next(worker)
            job.box.post(job.future, result, error)
            # An idle thread must not keep alive what its last call worked on.
            job = result = error = None
            if is_idle:
                worker.wake.acquire()
                following = worker.job  # None: the pool stops
            job, following = following, None
        self._leave(worker)

    def _next(self, worker: Worker) -> tuple[Job | None, bool]:
        """Take the next call that waits, or become idle; say whether the thread is idle.

        This comes before the result is handed over, so that a caller that answers the result
        with another call finds this thread idle.
        """
        with self._lock:
            if worker.job is not None and not worker.abandoned:
                self._shares.give_back(worker.job.owner)
            worker.job = None
            if self._stopped or worker.abandoned:
                return None, False
            if worker.line or self._pending or self._starved:
                now = time.monotonic()
                worker.own_turn = not worker.own_turn
                if worker.line and (worker.own_turn or now - worker.fresh < STREAK):
                    job = worker.line.next(self._shares)
                    if job is not None:
                        self._dequeue(job)
                        self._shares.take(job.owner)
                        job.begin()
                        worker.job = job
                        return job, False
                worker.fresh = now
                self._rest(worker)
                self._refill(worker)  # what ended may have made room for a route and for a user
                if worker.job is not None:
                    return worker.job, False
                self._rouse(worker)
            if self._retired and not worker.line:
                return None, False
            self._rest(worker)
            return None, True

    def _leave(self, worker: Worker) -> None:
        with self._lock:
            self._workers.discard(worker)
            self._abandoned.discard(worker)
            box, left = self._box, self._left
        if box is not None and left is not None:
            box.call(left.set)


def _is_new(job: Job) -> bool:
    return job.keeper is not None and job.keeper.thread_home is None


def _homed(worker: Worker) -> int:
    return worker.homed


def _is_old(worker: Worker, now: float) -> bool:
    return worker.job is not None and now - worker.job.since >= YOUNG
