"""Work that a callback leaves behind: tasks and timers that end with their connection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from ..guard import guarded

GRACE = 1.0
"""Seconds for a task to end after its connection has."""

MIN_TURN, MAX_TURN = 0.01, 1e9
"""Seconds between two turns of a timer: a shorter one would keep the loop awake all the time."""

TIMERS = 1000
"""Timers that one connection may set."""

TASKS = 1000
"""Tasks of one connection that may run beside its callbacks: thousands hold up the loop."""

EVERY = "every "
"""What a route calls a timer of its own, before the seconds."""


class Timer:
    """A callback that is due again and again, in order with the connection's messages.

    A turn that is due while the last one has not run yet is left out, so a slow callback is
    never called twice in a row for one wait.

    Args:
        background: Owns the timer; None for a turn that is due once, and is delivered by others.
        seconds: Time between two turns.
        callback: A `types.Callback` for the connection.
    """

    __slots__ = ("_handle", "_seconds", "callback", "waiting")

    def __init__(self, background: Background | None, seconds: float, callback: Any) -> None:
        self._seconds = seconds
        self.callback = callback
        self.waiting = False
        self._handle: asyncio.TimerHandle | None = None
        if background is not None:
            self._arm(background)

    def _arm(self, background: Background) -> None:
        self._handle = background.loop.call_later(self._seconds, self._due, background)

    def _due(self, background: Background) -> None:
        self._arm(background)
        if not self.waiting:
            self.waiting = True
            background.deliver(self)

    def cancel(self) -> None:
        """Deliver no more turns."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None


class Background:
    """The tasks and timers of one connection.

    Args:
        loop: The event loop.
        deliver: Puts a turn of a timer in line with the connection's messages.
        failed: Called with a task's name and exception.
    """

    __slots__ = ("_handles", "_tasks", "_timers", "deliver", "failed", "loop")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        deliver: Callable[[Timer], object],
        failed: Callable[[str, BaseException], None],
    ) -> None:
        self.loop = loop
        self.deliver = deliver
        self.failed = failed
        self._handles: set[asyncio.TimerHandle] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._timers: list[Timer] = []

    def start(self, coroutine: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Start a task that is cancelled when the connection ends; its failure is logged.

        Args:
            coroutine: What to run.
            name: The task's name.
        """
        task = self.loop.create_task(guarded(coroutine, name), name=name)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        task.add_done_callback(lambda _: coroutine.close())  # one that was never begun
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self.failed(task.get_name(), task.exception())  # type: ignore[arg-type]

    def every(self, seconds: float, callback: Any) -> Timer:
        """Deliver a callback every so many seconds, for as long as the connection lives.

        Args:
            seconds: Time between two turns, above 0.
            callback: A `types.Callback`.
        """
        timer = Timer(self, seconds, callback)
        self._timers.append(timer)
        return timer

    @property
    def tasks(self) -> int:
        """How many tasks have not ended."""
        return len(self._tasks)

    @property
    def timers(self) -> int:
        """How many timers it has that deliver callbacks."""
        return len(self._timers)

    def hold(self, handle: asyncio.TimerHandle) -> None:
        """Cancel a timer of the user's own when the connection ends."""
        self._handles.add(handle)

    def let_go(self, handle: asyncio.TimerHandle) -> None:
        """Forget a timer that has run or was cancelled."""
        self._handles.discard(handle)

    def end(self) -> None:
        """Cancel everything."""
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        for handle in tuple(self._handles):
            handle.cancel()
        for task in tuple(self._tasks):
            task.cancel()
        if self._tasks:
            self.loop.call_later(GRACE, self._name_those_left)

    def _name_those_left(self) -> None:
        for task in self._tasks:
            self.failed(
                task.get_name(),
                TimeoutError(
                    f"it was cancelled with its connection and has not ended within {GRACE:g} s; "
                    "it is left to itself"
                ),
            )
