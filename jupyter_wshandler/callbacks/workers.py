"""The threads of a pool, and which call goes to which of them.

Three rules pull in different directions, and the code below weighs them. A connection keeps to one
thread, its home, since what it made there (an `sqlite3` connection) may be of use in that thread
only. No route and no user keeps the threads from the others: see `fairness`. And a thread that has
just ended a call goes on with the next one by itself: to wake another costs more than many calls.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from functools import partial

from ..errors import PoolBusy
from .fairness import Line, Owner, Shares
from .gathering import Gathering
from .job import Job, Turn, Worker
from .rousing import Relay, Rousing

STREAK = 0.02
"""Seconds that a thread takes the calls of its own connections one after the other, which costs no
wake-up, before it looks who has waited in line for longest; then every second is one of its own."""


ALONG = 64
"""Turns that a thread may have to do with one job, at most."""

FRESH = 0.005
"""Seconds after it was woken in which a thread takes turns along of others than its job's owner."""

HELD = 0.01
"""Seconds that a call may last for the turns that came along with it to wait for its end."""

HELD_IF_LATE = 0.1
"""Seconds where the event loop is late itself: the process gets little of the processor."""


class Workers:
    """The threads of a pool, and the calls that run in them or wait for one.

    All methods are called with `lock` held, on the event loop or in one of the threads.

    Args:
        size: Most threads at a time.
        name: Threads are called ``<name>-1``, ``<name>-2``, and so on.
        shared: Whether one route, or one user, may hold only a share; see `fairness.Shares`.
        run: What a thread does from its start to its end.
        line_up: Puts a turn in line, on the event loop.
        relay: Where threads hold back what they send; see `rousing`.

    Attributes:
        lock: Guards all that follows.
        threads: The threads that count; not those that were written off.
        abandoned: Those that were written off and still run their last call.
        idle: Those that wait for a call, in the order in which they became idle.
        shares: How many threads each route and each user holds.
        stopped: Whether no call is taken any more.
        retired: Whether a thread ends as soon as it has nothing to do.
    """

    def __init__(
        self,
        size: int,
        *,
        name: str,
        shared: bool,
        run: Callable[[Worker], None],
        line_up: Callable[[Turn], object],
        relay: Relay | None = None,
    ) -> None:
        self.size = size
        self.lock = threading.Lock()
        self.threads: set[Worker] = set()
        self.abandoned: set[Worker] = set()
        self.idle: dict[Worker, None] = {}
        self.shares = Shares(size, shared=shared)
        self.stopped = False
        self.retired = False
        self.rousing = Rousing(relay)
        self.gathering = Gathering(self.threads)
        self._name = name
        self._run = run
        self._line_up = line_up
        self._pending: Line[Job] = Line()  # calls that any thread may run
        # Idle threads, with calls in their own lines that wait for a share. Every other idle
        # thread has an empty line, so that `refill` need not look at all of them.
        self._starved: dict[Worker, None] = {}
        self._homed = 0
        self._started = 0

    # ---- calls that wait -----------------------------------------------------------------------

    def queue(self, job: Job) -> None:
        """Put a call in line: of its home, or where it has none, of all threads."""
        home = job.home
        job.waits = True
        (self._pending if home is None else home.line).add(job)
        if home is not None and home in self.idle:
            self._starved[home] = None

    def dequeue(self, job: Job) -> None:
        """Take a call out of its line."""
        home = job.home
        job.waits = False
        line = self._pending if home is None else home.line
        line.remove(job)
        if home is not None and not line:
            self._starved.pop(home, None)

    def free(self, job: Job) -> None:
        """Let a call that waits for its home run in any thread."""
        self.dequeue(job)
        job.home = None
        self.queue(job)

    def waiting(self) -> Iterator[Job]:
        """Return the calls that wait."""
        yield from self._pending
        for worker in self.threads:
            yield from worker.line

    def forget_waiting(self) -> None:
        """Forget the calls that wait."""
        self._pending.clear()
        self._starved.clear()
        for worker in self.threads:
            worker.line.clear()
            worker.turns.clear()

    # ---- a thread for a call -------------------------------------------------------------------

    def has_room(self) -> bool:
        """Return whether a thread is idle, or another one may be started."""
        return bool(self.idle) or len(self.threads) < self.size

    def take(self, job: Job) -> bool:
        """Give a new call to a thread; return False where it has to wait for one."""
        home = job.home
        if home is not None and home not in self.idle and self._is_gone(home):
            home = job.home = None
        return (
            (self.has_room() if home is None else home in self.idle)
            and self.shares.take(job.owner)
            and self._place(job)
        )

    def refill(self, here: Worker | None = None) -> None:
        """Give calls that wait to threads that are idle, or to new ones where there is room.

        Args:
            here: The calling thread, which is idle.
        """
        while True:
            job = None
            if self._pending and self.has_room():
                job = self._pending.next(self.shares)
            for worker in self._starved:
                other = worker.line.next(self.shares)
                if other is not None and (job is None or other.since < job.since):
                    job = other
            if job is None:
                return
            self.dequeue(job)
            self.shares.take(job.owner)
            waited_since = job.since
            job.begin()
            if not self._place(job, here):
                job.since = waited_since
                job.rest()
                self.queue(job)
                return

    def takes_along(self, turn: Turn, home: Worker) -> bool:
        """Have a thread do a turn with the job that it has; return False where it cannot.

        Nobody else waits for the thread; and others than the owner of its job come along only
        where it was idle a moment ago, as of those that wait in line the owners come in turn.
        """
        job = home.job
        if (
            job is None
            or job.turn is None
            or home.abandoned
            or home.is_held
            or home.line
            or self._pending
            or self.stopped
            or len(home.turns) >= ALONG
            or (job.owner != turn.owner and not self._takes_others(home, turn.owner))
        ):
            return False
        home.turns.append(turn)
        return True

    def _takes_others(self, home: Worker, owner: Owner) -> bool:
        return time.monotonic() - home.fresh < FRESH and self.shares.allow(owner)

    def next_turn(self, worker: Worker) -> Job | None:
        """Return a thread's job with the next turn that came along; None where none did."""
        job, turns = worker.job, worker.turns
        if not turns or job is None or self.stopped or worker.abandoned:
            return None
        turn = turns.popleft()
        while turn.owner is not job.owner and turn.owner != job.owner:
            if self.shares.pass_on(job.owner, turn.owner):
                break
            job.box.call(partial(self._line_up, turn))
            if not turns:
                return None
            turn = turns.popleft()
        job.go_on_with(turn)
        return job

    def held_up(self, now: float, *, late: bool = False) -> list[Turn]:
        """Take out the turns that came along with a call which takes long, to wait in line.

        A call does so that was seen twice by a loop that was in time: a thread that waits for the
        processor, or collects garbage, is no slower than the event loop then.

        Args:
            now: The time, in seconds.
            late: Whether the event loop has come late to this.
        """
        limit = HELD_IF_LATE if late else HELD
        found: list[Turn] = []
        for worker in self.threads:
            job = worker.job
            if not worker.turns or job is None or now - job.since < HELD / 2:
                continue
            if worker.seen_at != worker.ended:
                worker.seen_at = worker.ended
            elif now - job.since >= limit:
                worker.held_at = worker.ended
                if worker.gathers:
                    self.gathering.spread(job.owner.route, worker, now)
                found += self.others_of(worker)
        return found

    def others_of(self, worker: Worker) -> list[Turn]:
        """Take out the turns that came along with a thread's job."""
        turns = [*worker.turns]
        worker.turns.clear()
        return turns

    def leave_behind(self, turn: object) -> bool:
        """Take out one turn that came along; return whether it did, and has not begun."""
        for worker in self.threads:
            for one in worker.turns:
                if one is turn:
                    worker.turns.remove(one)
                    return True
        return False

    def running(self, future: object) -> Worker | None:
        """Return the thread that runs a call."""
        for worker in self.threads:
            if worker.job is not None and worker.job.future is future:
                return worker
        return None

    def next_for(self, worker: Worker) -> tuple[Job | None, bool]:
        """End a thread's call; return its next one, and whether the thread is idle instead.

        Where it is not idle and has no call, it ends.
        """
        if worker.job is not None and not worker.abandoned:
            self.shares.give_back(worker.job.owner)
        worker.job = None
        if self.stopped or worker.abandoned:
            return None, False
        if worker.line or self._pending or self._starved:
            now = time.monotonic()
            worker.own_turn = not worker.own_turn
            if worker.line and (worker.own_turn or now - worker.fresh < STREAK):
                job = worker.line.next(self.shares)
                if job is not None:
                    self.dequeue(job)
                    self.shares.take(job.owner)
                    job.begin()
                    worker.job = job
                    return job, False
            worker.fresh = now
            self._rest(worker)
            self.refill(worker)  # what ended may have made room for a route and for a user
            if worker.job is not None:
                return worker.job, False
            self._rouse(worker)
        if self.retired and not worker.line:
            return None, False
        self._rest(worker)
        return None, True

    def write_off(self, worker: Worker) -> None:
        """Count a thread no more: it may never end. The calls that wait for it go elsewhere."""
        worker.abandoned = True
        if worker.job is not None:
            self.shares.give_back(worker.job.owner)
        self.threads.discard(worker)
        self.abandoned.add(worker)
        for job in [*worker.line]:
            worker.line.remove(job)
            job.home = None
            self._pending.add(job)

    def wake_idle(self) -> None:
        """Let the threads that are idle end."""
        for worker in self.idle:
            worker.wake.release()
        self.idle.clear()

    def left(self, worker: Worker) -> None:
        """Forget a thread that ends."""
        self.threads.discard(worker)
        self.abandoned.discard(worker)

    def _is_gone(self, home: Worker) -> bool:
        """Return whether a thread takes no calls any more, or is another pool's."""
        return home not in self.threads or (home.job is None and home not in self.idle)

    def _place(self, job: Job, here: Worker | None = None) -> bool:
        """Give a call to a thread: its home, the calling one, or one in turn.

        Its home is idle, or it has none and there is room. It has been counted for its owner, and
        is so no more where there is no thread for it.
        """
        idle = self.idle
        home = job.home
        if home is not None and home in idle:
            self._give(job, home, here)
            return True
        # The thread that is at work goes on with it, which saves a wake-up. Not with the first call
        # of a connection: it would become the home of many that come at once, and each of them
        # would wait until those before it are opened.
        if here is not None and here in idle and not _is_new(job):
            self._give(job, here, here)
            return True
        worker: Worker | None = None
        if idle:
            # Homes are spread; what has none is done by the thread that was at work last.
            worker = next(reversed(idle)) if job.keeper is None else min(idle, key=_homed)
        if worker is None or (
            job.keeper is not None and worker.homed and len(self.threads) < self.size
        ):
            error = self._start(job)
            if error is None:
                return True
            if worker is None:
                self.shares.give_back(job.owner)
                return self._gave_up(job, error)
        self._give(job, worker, here)
        return True

    def _give(self, job: Job, worker: Worker, here: Worker | None = None) -> None:
        """Give a call to a thread that is idle; wake it where it is not the calling one."""
        self._rouse(worker)
        worker.job = job
        if job.home is not worker:
            self._make_home(job, worker)
        if worker is not here:
            worker.fresh = job.since
            if here is None and job.turn is not None and worker.gathers:
                self.rousing.wake(worker, job.box.loop)
            else:
                worker.wake.release()

    def _rest(self, worker: Worker) -> None:
        self.idle[worker] = None
        if worker.line:
            self._starved[worker] = None

    def _rouse(self, worker: Worker) -> None:
        del self.idle[worker]
        if self._starved:
            self._starved.pop(worker, None)

    def _make_home(self, job: Job, worker: Worker) -> None:
        job.home = worker
        if job.keeper is not None:
            job.keeper.keep_to_thread(worker)
            self._homed += 1
            worker.homed = self._homed

    def _start(self, job: Job) -> RuntimeError | None:
        """Start a thread with its first job; return why there is none."""
        worker = Worker(job)
        self._started += 1
        worker.thread = threading.Thread(
            target=self._run, args=(worker,), name=f"{self._name}-{self._started}", daemon=True
        )
        worker.fresh = job.since
        self.threads.add(worker)
        try:
            worker.thread.start()
        except RuntimeError as error:  # the operating system's limit
            self.threads.discard(worker)
            self._started -= 1
            return error
        self._make_home(job, worker)
        return None

    def _gave_up(self, job: Job, error: RuntimeError) -> bool:
        """Fail a call for which no thread could be started, where there is none at all."""
        if self.threads:
            return False
        if not job.future.done():
            job.future.set_exception(PoolBusy(f"no thread can be started: {error}"))
        return True


def _is_new(job: Job) -> bool:
    return job.keeper is not None and job.keeper.thread_home is None


def _homed(worker: Worker) -> int:
    return worker.homed
