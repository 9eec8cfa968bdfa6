"""The parts of a pool of threads: a call, a thread, and the way back of what calls return."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from ..guard import kind_of, tamed
from .fairness import Line, Owner
from .threadloop import ThreadLoop

WAITING = float("inf")
"""Since when a call runs that waits for a thread."""


class Clock(Protocol):
    """What is told since when a call runs: a connection's work, which has a time limit.

    Attributes:
        since: When it began, by the event loop's clock, in seconds.
    """

    since: float


class Keeper(Protocol):
    """What stays on one thread: a connection."""

    @property
    def thread_home(self) -> Any:
        """Its thread; None as long as it has had none."""

    @property
    def is_gathered(self) -> bool:
        """Whether it came there with the others of its route; see `gathering`."""

    def keep_to_thread(self, worker: Any, gathered: bool = False) -> None:
        """Stay on a thread from now on."""


class Turn(Protocol):
    """What runs several calls, one after the other, and says itself what became of them.

    Attributes:
        owner: For whom they count.
    """

    owner: Owner

    @property
    def label(self) -> str:
        """Its name."""

    @property
    def keeper(self) -> Keeper:
        """Whose calls they are."""

    @property
    def clock(self) -> Clock:
        """What is told when it has to wait for a thread, and when it begins then."""

    def run(self, enter: Callable[[], object]) -> None:
        """Run them in the calling thread; `enter` gives it its event loop before each."""

    def post(self, error: BaseException | None) -> None:
        """Hand over what has become of them, in the calling thread."""

    def done(self) -> bool:
        """Whether nobody waits for it any more."""

    def cancelled(self) -> bool:
        """Whether it need not begin."""

    def cancel(self) -> object:
        """Wait for it no longer."""

    def set_exception(self, error: BaseException) -> object:
        """Take note, on the event loop, why no thread has taken it."""


class Job:
    """One call, or one turn of several: what to run, and whom to tell."""

    __slots__ = (
        "args",
        "bound",
        "box",
        "clock",
        "context",
        "function",
        "future",
        "home",
        "keeper",
        "label",
        "owner",
        "since",
        "turn",
        "waits",
    )

    def __init__(
        self,
        box: Mailbox,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        label: str,
        context: contextvars.Context,
        owner: Owner,
        keeper: Keeper | None,
        clock: Clock | None = None,
        turn: Turn | None = None,
    ) -> None:
        self.turn = turn
        self.owner = owner
        self.clock = clock
        self.keeper = keeper
        self.home: Worker | None = None if keeper is None else keeper.thread_home
        self.bound: bool | None = None  # whether no other thread may run it, where that is known
        self.waits = False  # in a line
        self.box = box
        self.future: asyncio.Future[Any] | Turn = turn or box.loop.create_future()
        self.function = function
        self.args = args
        self.label = label
        self.context = context
        self.since = time.monotonic()

    def run(self) -> Any:
        """Run it in the calling thread; return what is to be told."""
        enter = self.box.thread_loop.enter
        if self.turn is not None:
            return self.turn.run(enter)
        enter()
        return self.context.run(self.function, *self.args)

    def tell(self, result: Any, error: Exception | None) -> None:
        """Tell what has become of it, in the thread that has run it."""
        if self.turn is not None:
            self.turn.post(error)
        else:
            assert isinstance(self.future, asyncio.Future)
            self.box.post(self.future, result, error)

    def go_on_with(self, turn: Turn) -> None:
        """Become the job of another turn, in the same thread."""
        self.turn = self.future = turn
        self.owner = turn.owner
        self.keeper, self.label, self.clock = turn.keeper, turn.label, turn.clock
        self.bound = None
        self.since = time.monotonic()

    def rest(self) -> None:
        """Take note that it has to wait for a thread."""
        if self.clock is not None:
            self.clock.since = WAITING

    def begin(self) -> None:
        """Take note that a thread has taken it, after it had to wait for one."""
        self.since = time.monotonic()
        if self.clock is not None:
            self.clock.since = self.box.loop.time()


class Mailbox:
    """The way of results from the threads to one event loop; a burst costs one wake-up."""

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


class Worker:
    """One thread. `job` is what it runs; `wake` is released to give it another one.

    `line` are the calls that wait for it, as those of their connections before. `turns` are done
    with the job that it has, as they are of the same owner.
    """

    __slots__ = (
        "abandoned",
        "ended",
        "fresh",
        "gathers",
        "held_at",
        "homed",
        "job",
        "line",
        "own_turn",
        "seen_at",
        "thread",
        "turns",
        "wake",
    )

    def __init__(self, job: Job) -> None:
        self.job: Job | None = job
        self.abandoned = False
        self.ended = 0  # turns
        self.seen_at = self.held_at = -1  # after how many; see `is_held`
        self.gathers = False  # connections of a route begin here; see `gathering`
        self.turns: deque[Turn] = deque()
        self.line: Line[Job] = Line()
        self.fresh = 0.0  # when it was woken, or has last looked who waits
        self.own_turn = False  # whether the last call came from its own line
        self.homed = 0  # grows with each thread that becomes a home; 0: it never was one
        self.wake = threading.Lock()
        self.wake.acquire()
        self.thread: threading.Thread

    @property
    def is_held(self) -> bool:
        """Whether a turn was seen to take long, and takes longer."""
        return self.held_at == self.ended


def deliverable(error: BaseException, label: str) -> Exception:
    """Return an exception that a future can hold and that does not end the event loop."""
    error = tamed(error, label)
    if isinstance(error, Exception) and not isinstance(error, (StopIteration, StopAsyncIteration)):
        return error
    wrapped = RuntimeError(f"{label} raised {kind_of(error)}")
    wrapped.__cause__ = error
    return wrapped
