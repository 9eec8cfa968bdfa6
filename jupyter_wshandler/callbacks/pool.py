"""A bounded pool of daemon threads for callbacks that may block.

`concurrent.futures` would not do: it joins its threads when the interpreter exits, so a callback
that never returns would keep the server from ending.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

from ..errors import PoolBusy
from ..forks import leave_if_copy
from ..guard import kind_of, tamed
from .fairness import NOBODY, Line, Owner, Shares
from .threadloop import ThreadLoop

_JOIN = 1.0
"""Seconds to wait for a thread that has already said goodbye."""


class _Job:
    """One call: what to run, and whom to tell."""

    __slots__ = ("args", "box", "context", "function", "future", "label", "owner", "since")

    def __init__(
        self,
        box: _Mailbox,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        label: str,
        context: contextvars.Context,
        owner: Owner,
    ) -> None:
        self.owner = owner
        self.box = box
        self.future: asyncio.Future[Any] = box.loop.create_future()
        self.function = function
        self.args = args
        self.label = label
        self.context = context
        self.since = time.monotonic()


class _Mailbox:
    """Bring results from the threads to one event loop; a burst of them costs one wake-up."""

    __slots__ = ("_results", "_scheduled", "loop", "thread_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.thread_loop = ThreadLoop(loop)  # type: ignore[abstract] # its refusals are made by a loop
        self._results: deque[tuple[asyncio.Future[Any], Any, Exception | None]] = deque()
        self._scheduled = False

    def post(self, future: asyncio.Future[Any], result: Any, error: Exception | None) -> None:
        """Hand over one result; called in the threads."""
        self._results.append((future, result, error))
        # `_deliver` clears the flag before it looks into the box: whoever still finds the flag
        # set has put the result there in time.
        if not self._scheduled:
            self._scheduled = True
            self.call(self._deliver)

    def call(self, function: Callable[[], object]) -> None:
        """Call a function on the loop; a loop that is closed needs no results any more."""
        try:
            self.loop.call_soon_threadsafe(function)
        except RuntimeError:
            self._results.clear()

    def _deliver(self) -> None:
        self._scheduled = False
        results = self._results
        while results:
            future, result, error = results.popleft()
            if future.done():  # cancelled, or given up
                continue
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)


class _Worker:
    """One thread. `job` is what it runs; `wake` is released to give it another one."""

    __slots__ = ("abandoned", "job", "thread", "wake")

    def __init__(self, job: _Job) -> None:
        self.job: _Job | None = job
        self.abandoned = False
        self.wake = threading.Lock()
        self.wake.acquire()
        self.thread: threading.Thread


class ThreadPool:
    """Run functions in a bounded number of daemon threads, which start on demand.

    All methods belong to the event loop's thread. An idle thread is used again, the last one to
    become idle first.

    Args:
        size: Most threads at a time.
        name: Threads are called ``<name>-1``, ``<name>-2``, and so on.
        patience: Seconds that a call waits for a thread before it fails with `PoolBusy`.
        shared: Whether one route, or one user, may hold only a share; see `fairness.Shares`.
    """

    def __init__(
        self,
        size: int = 16,
        *,
        name: str = "wshandler",
        patience: float = 30.0,
        shared: bool = False,
    ) -> None:
        if size < 1:
            raise ValueError(f"expected a pool of at least 1 thread, found {size}")
        self.size = size
        self.name = name
        self.patience = patience
        self._lock = threading.Lock()  # guards what follows, up to `_retired`
        self._workers: set[_Worker] = set()
        self._abandoned: set[_Worker] = set()
        self._idle: list[_Worker] = []
        self._pending: Line[_Job] = Line()
        self._shares = Shares(size, shared=shared)
        self._stopped = False
        self._retired = False
        self._box: _Mailbox | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._started = 0
        self._left: asyncio.Event | None = None

    def submit(
        self,
        function: Callable[..., Any],
        *args: Any,
        label: str,
        context: contextvars.Context | None = None,
        owner: Owner = NOBODY,
    ) -> asyncio.Future[Any]:
        """Run a function in a thread.

        Args:
            function: What to run.
            args: What it gets.
            label: Its name in `busy` and in what `stop` returns.
            context: What it runs in; a copy of the current context where None.
            owner: For whom it counts; of those that wait the owners come in turn.

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
        job = _Job(box, function, args, label, context, owner)
        with self._lock:
            if self._stopped:
                job.future.set_exception(PoolBusy(f"the threads have ended; {label} did not run"))
            elif not (self._idle or len(self._workers) < self.size) or not self._shares.take(owner):
                self._wait(job, loop)
            elif self._idle:
                worker = self._idle.pop()
                worker.job = job
                worker.wake.release()
            elif not self._start(job):
                self._wait(job, loop)
        return job.future

    def _wait(self, job: _Job, loop: asyncio.AbstractEventLoop) -> None:
        self._pending.add(job)
        if self._timer is None:
            self._timer = loop.call_later(self.patience, self._expire)

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
            for job in self._pending:
                if job.future is future:
                    self._pending.remove(job)
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
            pending = [*self._pending]
            self._pending.clear()
            workers = [*self._workers]
            self._left = asyncio.Event()
            self._box = _Mailbox(asyncio.get_running_loop())
            for worker in self._idle:
                worker.wake.release()
            self._idle.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
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

    def _change_loop(self, loop: asyncio.AbstractEventLoop) -> _Mailbox:
        """Work for another event loop; what the one before still waited for is dropped."""
        with self._lock:
            self._pending.clear()
        self._timer = None
        self._box = _Mailbox(loop)
        return self._box

    def _start(self, job: _Job) -> bool:
        """Start a thread with its first job; return whether there is any thread for it.

        It has been counted for its owner, and is so no more where there is none.
        """
        worker = _Worker(job)
        self._started += 1
        worker.thread = threading.Thread(
            target=self._run, args=(worker,), name=f"{self.name}-{self._started}", daemon=True
        )
        self._workers.add(worker)
        try:
            worker.thread.start()
        except RuntimeError as error:  # the operating system's limit
            self._workers.discard(worker)
            self._shares.give_back(job.owner)
            self._started -= 1
            if self._workers:
                return False
            if not job.future.done():
                job.future.set_exception(PoolBusy(f"no thread can be started: {error}"))
        return True

    def _write_off(self, worker: _Worker) -> None:
        worker.abandoned = True
        if worker.job is not None:
            self._shares.give_back(worker.job.owner)
        self._workers.discard(worker)
        self._abandoned.add(worker)

    def _refill(self) -> None:
        """Give calls that wait to threads that are idle, or to new ones where there is room."""
        while self._pending and (self._idle or len(self._workers) < self.size):
            job = self._pending.take(self._shares)
            if job is None:
                return
            waited_since, job.since = job.since, time.monotonic()
            if self._idle:
                worker = self._idle.pop()
                worker.job = job
                worker.wake.release()
            elif not self._start(job):
                job.since = waited_since
                self._pending.add(job)
                return

    def _expire(self) -> None:
        """Fail the calls that waited too long; look again when the next one will have."""
        self._timer = None
        now = time.monotonic()
        with self._lock:
            late = [job for job in self._pending if job.since + self.patience <= now + 0.001]
            for job in late:
                self._pending.remove(job)
            if self._pending and not self._stopped:
                job = min(self._pending, key=lambda job: job.since)
                delay = max(0.0, job.since + self.patience - now)
                self._timer = job.box.loop.call_later(delay, self._expire)
        for job in late:
            if not job.future.done():
                job.future.set_exception(
                    PoolBusy(
                        f"{job.label} waited {self.patience:g} s for one of {self.size} threads"
                    )
                )

    # ---- in the threads ------------------------------------------------------------------

    def _run(self, worker: _Worker) -> None:
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
                error = _deliverable(raised, job.label)
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

    def _next(self, worker: _Worker) -> tuple[_Job | None, bool]:
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
            job = self._pending.take(self._shares) if self._pending else None
            if job is None:
                if self._retired and not self._pending:
                    return None, False
                self._idle.append(worker)
                return None, True
            worker.job = job
            job.since = time.monotonic()
            if self._pending:
                self._refill()  # what ended may have made room for a route and for a user
            return job, False

    def _leave(self, worker: _Worker) -> None:
        with self._lock:
            self._workers.discard(worker)
            self._abandoned.discard(worker)
            box, left = self._box, self._left
        if box is not None and left is not None:
            box.call(left.set)


def _deliverable(error: BaseException, label: str) -> Exception:
    """Return an exception that a future can hold and that does not end the event loop."""
    error = tamed(error, label)
    if isinstance(error, Exception) and not isinstance(error, (StopIteration, StopAsyncIteration)):
        return error
    wrapped = RuntimeError(f"{label} raised {kind_of(error)}")
    wrapped.__cause__ = error
    return wrapped
