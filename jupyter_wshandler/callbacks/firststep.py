"""The first step of a connection's work without a task of its own: most callbacks never wait.

A task costs more than the whole answer to a short message: it is made, named, entered in the list
of all tasks, and begins a turn of the loop later. So the work is stepped at once, by hand, where it
was woken; only where it waits for something a task goes on with it.

Code that asks for its task before that (`asyncio.timeout`, `TaskGroup`, anyio) has to find one, and
the one that will go on: a task that was made beforehand, in stock, and whose coroutine is a `Turn`.
It stays in stock where the work has ended within its first step, unless somebody has kept it, named
it, or waits for its end: what is keyed by it must not reach the next connection's callback.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
from asyncio.tasks import _enter_task, _leave_task  # see "Extending" in asyncio's documentation
from collections.abc import Callable, Coroutine, Generator
from sys import getrefcount
from types import FrameType
from typing import Any, NoReturn
from weakref import getweakrefcount

from ..routes import Route

UNTRIED = 32
"""Times that work of a route which has waited is given to a task at once: to take it over from its
first step costs more than to begin with it."""

IN_STOCK = "wshandler turn"
"""Name of the task that waits for work which waits."""


class Turn(Coroutine[Any, Any, None]):
    """What a task in stock runs: nothing at first, then the rest of a coroutine that has begun.

    Args:
        loop: The event loop.
    """

    __slots__ = ("_begun", "_context", "_coroutine", "_loop", "_over", "_parked", "_waits_for")

    __name__ = "turn"

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._parked: asyncio.Future[None] | None = None
        self._coroutine: Coroutine[Any, Any, None] | None = None
        self._context: contextvars.Context | None = None
        self._waits_for: Any = None
        self._begun = False  # it runs what it has taken over
        self._over = False

    def take_over(
        self, coroutine: Coroutine[Any, Any, None], context: contextvars.Context, waits_for: Any
    ) -> None:
        """Go on with a coroutine from the next turn of the loop on.

        Args:
            coroutine: It has taken its first step.
            context: What it runs in.
            waits_for: What that step has yielded.
        """
        self._coroutine, self._context, self._waits_for = coroutine, context, waits_for
        self._leave_parking()

    def end(self) -> None:
        """End without having run anything."""
        self._over = True
        self._leave_parking()

    def _leave_parking(self) -> None:
        # One that has not begun yet, or that somebody has cancelled, is on its way already.
        if self._parked is not None and not self._parked.done():
            self._parked.set_result(None)

    def send(self, value: None) -> Any:
        """Run until the coroutine waits for something, and return that; called by the task."""
        coroutine, context = self._coroutine, self._context
        if coroutine is None or context is None:
            return self._park()
        if not self._begun:
            return self._begin()
        return context.run(coroutine.send, value)

    def _park(self) -> Any:
        if self._over:
            raise StopIteration
        self._parked = self._loop.create_future()
        return next(self._parked.__await__())

    def _begin(self) -> Any:
        self._begun = True
        waits_for, self._waits_for = self._waits_for, None
        return waits_for

    def throw(self, kind: Any, value: Any = None, traceback: Any = None) -> Any:
        """Raise something in the coroutine where it waits; called by the task."""
        error = kind if value is None else value
        coroutine, context = self._coroutine, self._context
        task = asyncio.current_task()
        # Cancelled and taken back, in a step that did not wait: it is nobody's any more.
        taken_back = (
            isinstance(error, asyncio.CancelledError) and task is not None and not task.cancelling()
        )
        if coroutine is None or context is None:
            if taken_back:
                return self._park()
            raise error
        if not self._begun:
            # As a task does that is cancelled while it waits: first what it waits for.
            waits_for = self._begin()
            if taken_back or (isinstance(error, asyncio.CancelledError) and _cancel(waits_for)):
                return waits_for
        return context.run(coroutine.throw, error)

    def close(self) -> None:
        """End what was taken over."""
        if self._coroutine is not None and self._context is not None:
            self._context.run(self._coroutine.close)

    def __await__(self) -> Generator[Any, None, NoReturn]:
        raise TypeError("a turn belongs to its task")

    @property
    def cr_frame(self) -> FrameType | None:
        """Where it stands, for `asyncio.Task.get_stack`."""
        frame: FrameType | None = getattr(self._coroutine, "cr_frame", None)
        return frame


def _cancel(waits_for: Any) -> bool:
    return waits_for is not None and bool(waits_for.cancel())


class StockTask(asyncio.Task[None]):
    """The task in stock, which notes what a callback leaves with it: the next must not find it.

    Attributes:
        is_used: Whether somebody has named it, or has something done at its end.
    """

    __slots__ = ("is_used",)

    def __init__(
        self, turn: Turn, loop: asyncio.AbstractEventLoop, context: contextvars.Context
    ) -> None:
        super().__init__(turn, loop=loop, name=IN_STOCK, context=context)
        self.is_used = False

    def set_name(self, value: object) -> None:
        """Name it."""
        self.is_used = True
        super().set_name(value)

    def add_done_callback(
        self,
        function: Callable[[Any], object],
        /,
        *,
        context: contextvars.Context | None = None,
    ) -> None:
        """Have a function called at its end."""
        self.is_used = True
        super().add_done_callback(function, context=context)


class FirstSteps:
    """Takes the first step of work, and gives what waits then to a task.

    Args:
        loop: The event loop.
        context: What the tasks in stock run in; the work runs in its own.
    """

    __slots__ = (
        "_context",
        "_known",
        "_loop",
        "_stepping",
        "_task",
        "_turn",
        "_waiting",
        "_weakly_known",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, context: contextvars.Context) -> None:
        self._loop = loop
        self._context = context
        self._turn = Turn(loop)
        self._task: StockTask | None = None
        # Whether the one in stock is some callback's now: within its first step an event loop may
        # be run that lets itself be run by its own callbacks (nest_asyncio's), and other work come.
        self._stepping = False
        self._known = self._weakly_known = 0  # who refers to the task in stock
        self._waiting: dict[str, int] = {}  # of which routes it is not tried, how many times more

    def may_take(self, route: Route) -> bool:
        """Say whether a first step may be the last: work of the route has not waited lately."""
        if self._stepping:
            return False
        if not self._waiting:
            return True
        left = self._waiting.get(route.config.name, 0)
        if left:
            self._waiting[route.config.name] = left - 1
        return not left

    def it_waits(self, route: Route) -> None:
        """Take note that work of a route has waited: such work is given to a task at once."""
        self._waiting[route.config.name] = UNTRIED

    def take(
        self, coroutine: Coroutine[Any, Any, None], context: contextvars.Context, name: str
    ) -> asyncio.Task[None] | None:
        """Step a coroutine that has not begun; return the task that goes on with it, if it waits.

        Nobody but the coroutine may hold what `in_stock` has returned.

        Args:
            coroutine: What to run, made after a call of `in_stock`. It raises nothing but what ends
                the loop, or is a fault of ours.
            context: What it runs in.
            name: What the task is called after "wshandler".
        """
        task = self._task
        assert task is not None
        loop = self._loop
        _enter_task(loop, task)
        self._stepping = True
        try:
            waits_for = context.run(coroutine.send, None)
        except StopIteration:
            pass
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            loop.call_exception_handler({"message": f"wshandler {name} failed", "exception": error})
        else:
            self._task = None
            task.set_name(f"wshandler {name}")
            self._turn.take_over(coroutine, context, waits_for)
            return task
        finally:
            self._stepping = False
            _leave_task(loop, task)
        # One more than it was: this function's own.
        if (
            task.is_used
            or getrefcount(task) != self._known + 1
            or getweakrefcount(task) != self._weakly_known
        ):
            self._let_go()  # somebody has kept it
        return None

    def in_stock(self) -> asyncio.Task[None]:
        """Return the task that the next coroutine finds, and that goes on with it."""
        if self._task is not None:
            self._known, self._weakly_known = getrefcount(self._task), getweakrefcount(self._task)
            return self._task
        self._turn = Turn(self._loop)
        self._task = StockTask(self._turn, self._loop, self._context)
        return self.in_stock()

    def _let_go(self) -> None:
        self._task = None
        self._turn.end()

    async def stop(self) -> None:
        """End the task in stock."""
        task = self._task
        if task is not None:
            self._let_go()
            await asyncio.wait([task])


async def yield_turn(task: asyncio.Task[Any]) -> None:
    """Give others a turn, and take back every request to cancel the worker itself.

    A callback may cancel the task that it runs in, or swallow our cancellation; neither is to
    hit the connection's next callback.
    """
    while task.cancelling():
        task.uncancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.sleep(0)


def own_task() -> asyncio.Task[Any]:
    """Return the task that runs."""
    task = asyncio.current_task()
    assert task is not None
    return task
