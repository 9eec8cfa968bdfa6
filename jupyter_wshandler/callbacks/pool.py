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
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from ..errors import PoolBusy
from ..forks import leave_if_copy
from .fairness import NOBODY, Owner
from .job import Clock, Job, Keeper, Mailbox, Turn, Worker, deliverable
from .rousing import Relay
from .waits import Bound, Waits
from .workers import HELD, Workers

LOOK = HELD / 2
"""Seconds after which it is looked again at threads whose calls others wait for."""

_NO_CONTEXT = contextvars.Context()

_JOIN = 1.0
"""Seconds to wait for a thread that has already said goodbye."""


def _never_bound(keeper: Any, args: tuple[Any, ...]) -> bool:
    return False


class ThreadPool:
    """A bounded number of daemon threads that run functions; they start on demand.

    All methods belong to the event loop's thread. An idle thread is used again, the last one to
    become idle first.

    A connection (`Keeper`) has a thread to come back to, its home: threads become homes in turn. A
    call waits for its home while that has a young call (`waits.YOUNG`); behind an older one it goes
    to another thread, which is its home from then on. One that is bound, as `bound` says, waits for
    its home in any case.

    Args:
        size: Most threads at a time.
        name: Threads are called ``<name>-1``, ``<name>-2``, and so on.
        patience: Seconds that a call waits for a thread before it fails with `PoolBusy`.
        shared: Whether one route, or one user, may hold only a share; see `fairness.Shares`.
        bound: Says whether a call is bound to its home; see `waits.Bound`. It is asked only
            where its home is held by another's call.
        relay: Where threads hold back what they send; see `rousing`.
    """

    def __init__(
        self,
        size: int = 16,
        *,
        name: str = "wshandler",
        patience: float = 30.0,
        shared: bool = False,
        bound: Bound = _never_bound,
        relay: Relay | None = None,
    ) -> None:
        if size < 1:
            raise ValueError(f"expected a pool of at least 1 thread, found {size}")
        self.size = size
        self.name = name
        self._workers = Workers(
            size,
            name=name,
            shared=shared,
            run=self._run,
            line_up=self._line_up_turn,
            relay=relay,
        )
        self._lock = self._workers.lock
        self._waits = Waits(self._workers, patience, bound)
        self._box: Mailbox | None = None
        self._left: asyncio.Event | None = None
        self._look: asyncio.TimerHandle | None = None

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
        self._line_up(job, loop)
        assert isinstance(job.future, asyncio.Future)
        return job.future

    def run(self, turn: Turn, owner: Owner) -> None:
        """Run a turn in a thread; it is told itself what becomes of it.

        Args:
            turn: Several calls of one connection, one after the other.
            owner: For whom they count.
        """
        loop = asyncio.get_running_loop()
        box = self._box
        if box is None or box.loop is not loop:
            box = self._change_loop(loop)
        workers, keeper = self._workers, turn.keeper
        turn.owner = owner
        workers.rousing.count += 1
        home = keeper.thread_home
        if home is None:
            home = workers.gathering.home_of(owner.route)
            if home is not None:
                keeper.keep_to_thread(home, gathered=True)
        if home is not None and home.job is not None:
            with self._lock:
                comes_along = workers.takes_along(turn, home)
            if comes_along:
                if self._look is None:
                    self._look = loop.call_later(LOOK, self._look_for_held, loop)
                return
        self._line_up(_job_of(turn, box), loop)
        begun = keeper.thread_home
        if home is None and begun is not None and workers.gathering.begin(owner.route, begun):
            keeper.keep_to_thread(begun, gathered=True)

    def _look_for_held(self, loop: asyncio.AbstractEventLoop) -> None:
        """Have the turns wait in line that came along with a call which takes long."""
        look, self._look = self._look, None
        box = self._box
        if look is None or box is None or box.loop is not loop:
            return
        late = loop.time() - look.when() > LOOK / 2
        with self._lock:
            held = self._workers.held_up(time.monotonic(), late=late)
            others = any(worker.turns for worker in self._workers.threads)
        for turn in held:
            self._line_up(_job_of(turn, box), loop)
        if others:
            self._look = loop.call_later(LOOK, self._look_for_held, loop)

    def _line_up_turn(self, turn: Turn) -> None:
        """Put a turn in line that its thread could not do: its owner holds too many already."""
        if self._box is not None and not turn.done():
            self._line_up(_job_of(turn, self._box), self._box.loop)

    def _line_up(self, job: Job, loop: asyncio.AbstractEventLoop) -> None:
        workers = self._workers
        if job.home is not None and job.home not in workers.idle:
            self._waits.may_move(job, job.home)
        with self._lock:
            stopped = workers.stopped
            if not stopped and not workers.take(job):
                workers.queue(job)
                job.rest()
                self._waits.begin(job, loop)
        if stopped:  # whoever is told may ask for another thread
            busy = PoolBusy(f"the threads have ended; {job.label} did not run")
            job.future.set_exception(busy)

    def busy(self) -> list[tuple[str, float]]:
        """Return who holds the threads: label and seconds, the longest first."""
        now = time.monotonic()
        with self._lock:
            jobs = [worker.job for worker in self._workers.threads if worker.job is not None]
        jobs.sort(key=lambda job: job.since)
        return [(job.label, now - job.since) for job in jobs]

    def holders(self) -> list[str]:
        """Return the routes whose calls hold the threads, those that hold most first."""
        with self._lock:
            held = Counter(w.job.owner.route for w in self._workers.threads if w.job is not None)
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
            for job in self._workers.waiting():
                if job.future is future:
                    self._workers.dequeue(job)
                    return True
            return all(w.job is None or w.job.future is not future for w in self._workers.threads)

    def abandon(self, future: asyncio.Future[Any] | Turn) -> bool:
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
        workers = self._workers
        with self._lock:
            for job in workers.waiting():
                if job.future is future:
                    workers.dequeue(job)
                    return False
            if workers.leave_behind(future):
                return False
            worker = workers.running(future)
            if worker is None or len(workers.abandoned) >= self.size:
                return worker is not None
            others = workers.others_of(worker)
            workers.write_off(worker)
            workers.refill()
        if self._box is not None:
            for turn in others:
                self._line_up(_job_of(turn, self._box), self._box.loop)
        return True

    def retire(self) -> None:
        """End each thread as soon as it has nothing to do; what was submitted still runs."""
        with self._lock:
            self._workers.retired = True
            self._workers.wake_idle()

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
            self._workers.stopped = True
            pending = [(job.future, job.label) for job in self._workers.waiting()]
            pending += [(turn, turn.label) for w in self._workers.threads for turn in w.turns]
            self._workers.forget_waiting()
            workers = [*self._workers.threads]
            self._left = asyncio.Event()
            self._box = Mailbox(asyncio.get_running_loop())
            self._workers.wake_idle()
        self._workers.rousing.end()
        self._waits.cancel()
        if self._look is not None:
            self._look.cancel()
        for future, label in pending:
            if not future.done():
                future.set_exception(PoolBusy(f"the threads end; {label} did not run"))
        try:
            async with asyncio.timeout(timeout):
                while self._workers.threads:
                    self._left.clear()
                    if self._workers.threads:
                        await self._left.wait()
        except TimeoutError:
            pass
        with self._lock:
            running = [worker for worker in self._workers.threads if worker.job is not None]
            labels = sorted(worker.job.label for worker in running if worker.job is not None)
            for worker in running:
                self._workers.write_off(worker)
        for worker in workers:
            if worker not in running:
                worker.thread.join(_JOIN)
        return labels

    def _change_loop(self, loop: asyncio.AbstractEventLoop) -> Mailbox:
        """Work for another event loop; what the one before still waited for is dropped."""
        with self._lock:
            self._workers.forget_waiting()
        self._workers.rousing.end()
        self._waits.forget()
        self._look = None
        self._box = Mailbox(loop)
        return self._box

    # ---- in the threads ------------------------------------------------------------------

    def _run(self, worker: Worker) -> None:
        job = worker.job
        process = os.getpid()
        while job is not None:
            result, error = None, None
            try:
                if not job.future.cancelled():
                    result = job.run()
            except BaseException as raised:
                leave_if_copy(process, raised)
                error = deliverable(raised, job.label)
            told = job.turn is not None
            if not told:
                leave_if_copy(process)
            else:  # a turn looks for that itself, after each call
                job.tell(result, error)
                worker.ended += 1
            # Before the result is handed over: a caller that answers it with another call finds
            # this thread idle.
            is_idle = False
            with self._lock:
                following = self._workers.next_turn(worker) if told else None
                if following is None:
                    following, is_idle = self._workers.next_for(worker)
            if following is None or following.turn is None:
                self._workers.rousing.done(worker)
            if not told:
                job.tell(result, error)
            # An idle thread must not keep alive what its last call worked on.
            job = result = error = None
            if is_idle:
                worker.wake.acquire()
                following = worker.job  # None: the pool stops
            job, following = following, None
        with self._lock:
            self._workers.left(worker)
            box, left = self._box, self._left
        if box is not None and left is not None:
            box.call(left.set)


def _job_of(turn: Turn, box: Mailbox) -> Job:
    return Job(
        box, turn.run, (), turn.label, _NO_CONTEXT, turn.owner, turn.keeper, turn.clock, turn
    )
