"""The event loop that a callback in a thread finds: it hands over to the server's.

Code written for Tornado and Gramex sets timers wherever it is: ``IOLoop.current().call_later``,
``PeriodicCallback(...).start()``, ``asyncio.get_event_loop()``, ``ensure_future``. There, callbacks
run on the loop; here a ``def`` runs in a thread, whose own loop nobody would ever run. So the
threads of the pool get a loop that passes on what it is told to the loop which serves the
connections, and that ends it with the connection for which it was set.
"""

# asyncio types what a loop takes more narrowly than one that only hands over has to, and nothing of
# what a handle keeps.
# mypy: disable-error-code="override,assignment,attr-defined"

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import sys
import threading
from collections.abc import Callable, Coroutine
from threading import get_ident
from typing import Any, NoReturn, TypeVar

from ..connection.background import Background
from ..connection.current import current_connection
from ..errors import ConnectionClosed
from ..guard import guarded, sheltered

T = TypeVar("T")


class LateHandle(asyncio.TimerHandle):
    """A timer, or a call, that was asked for in a thread; `cancel` works from any thread.

    Args:
        loop: The loop that it was asked of.
        when: When it is due, by the time of that loop, in seconds.
        callback: What to call.
        args: What it gets.
        context: What the call runs in; it names the connection whose end cancels it.
    """

    __slots__ = ("_owner", "_real")

    def __init__(
        self,
        loop: ThreadLoop,
        when: float,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        context: contextvars.Context,
    ) -> None:
        super().__init__(when, callback, args, loop, context)
        self._owner: Background | None = None
        self._real: asyncio.TimerHandle | None = None

    def arm(self) -> None:
        """Set the real timer; on the loop's own thread."""
        if self._cancelled:
            return
        loop: ThreadLoop = self._loop
        connection = self._context.get(current_connection)
        if connection is not None:
            # What `on_close` sets belongs to nobody: a bot may clean up later on.
            self._owner = connection.background_while_open()
            if self._owner is not None:
                self._owner.hold(self)
        self._real = loop.real.call_at(self._when, self._run, context=self._context)

    def _run(self) -> None:
        owner, self._real = self._owner, None
        if owner is not None:
            owner.let_go(self)
        callback, args = self._callback, self._args
        if self._cancelled or callback is None:
            return
        try:
            sheltered(_name(callback), callback, *args)
        except ConnectionClosed:
            pass  # the client has left, which a timer need not know
        except Exception as error:
            if owner is None:
                raise
            owner.failed(f"timer {_name(callback)}", error)

    def cancel(self) -> None:
        """Do not call any more; without effect where it has run."""
        if not self._cancelled:
            super().cancel()
            loop: ThreadLoop = self._loop
            loop.on_loop(self._disarm)

    def _disarm(self) -> None:
        if self._owner is not None:
            self._owner.let_go(self)
        if self._real is not None:
            self._real.cancel()
            self._real = None


class ThreadLoop(asyncio.AbstractEventLoop):
    """The event loop that a thread finds: it hands over to the real one what it is asked.

    Timers and calls return handles, tasks and futures `concurrent.futures.Future`; what only the
    loop itself can do raises, with what to write instead.

    Args:
        real: The event loop that serves the connections.
    """

    def __init__(self, real: asyncio.AbstractEventLoop) -> None:
        self.real = real
        self._tornado_knows = False
        self._lock = threading.Lock()

    def enter(self) -> None:
        """Be the calling thread's event loop, for Tornado too.

        Called before each call of a pool: `asyncio.run` in a callback takes it away.
        """
        try:
            is_there = asyncio.get_event_loop_policy().get_event_loop() is self
        except RuntimeError:  # there is none
            is_there = False
        if is_there:
            return
        asyncio.set_event_loop(self)
        if not self._tornado_knows and "tornado.ioloop" in sys.modules:
            with self._lock:  # two threads at once would make two, which Tornado refuses
                sys.modules["tornado.ioloop"].IOLoop.current()
                self._tornado_knows = True

    def __repr__(self) -> str:
        return f"<ThreadLoop, hands over to {self.real!r}>"

    def on_loop(self, function: Callable[[], object]) -> None:
        """Call a function on the real loop's thread, now where that is the calling one."""
        if get_ident() == getattr(self.real, "_thread_id", None):
            function()
        else:
            self.real.call_soon_threadsafe(function)

    # ---- what is handed over ----------------------------------------------------------------

    def time(self) -> float:
        """Return the real loop's time, in seconds."""
        return self.real.time()

    def is_running(self) -> bool:
        """Return whether the real loop runs."""
        return self.real.is_running()

    def is_closed(self) -> bool:
        """Return whether the real loop is closed."""
        return self.real.is_closed()

    def get_debug(self) -> bool:
        """Return whether the real loop is in debug mode."""
        return self.real.get_debug()

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        # A handle of asyncio's own tells its loop; ours is the real one's business.
        pass

    def call_at(
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        """Call a function at a time; see `asyncio.loop.call_at`. The connection's end cancels it.

        Args:
            when: The loop's time, in seconds.
            callback: What to call, on the loop.
            args: What it gets.
            context: What it runs in; a copy of the current one where None.
        """
        context = contextvars.copy_context() if context is None else context
        handle = LateHandle(self, when, callback, args, context)
        self.on_loop(handle.arm)
        return handle

    def call_later(
        self,
        delay: float,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        """Call a function after some seconds; see `call_at`."""
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_soon(
        self,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.Handle:
        """Call a function soon; see `call_at`."""
        return self.call_at(self.time(), callback, *args, context=context)

    call_soon_threadsafe = call_soon

    def create_future(self) -> asyncio.Future[Any]:
        """Return a future of this loop; its callbacks are handed over."""
        return asyncio.Future(loop=self)

    def create_task(
        self, coro: Coroutine[Any, Any, T], *, name: str | None = None, **options: Any
    ) -> concurrent.futures.Future[T]:
        """Run a coroutine on the loop, beside the callbacks; the connection's end cancels it.

        Args:
            coro: What to run.
            name: The task's name, for log lines.
            options: Ignored; `asyncio.loop.create_task` has them.

        Returns:
            What the coroutine will have returned; ``result()`` waits for it in this thread.
        """
        future: concurrent.futures.Future[T] = concurrent.futures.Future()
        label = name or f"task {_name(coro)}"
        context = contextvars.copy_context()

        def start() -> None:
            connection = current_connection.get(None)
            owner = None if connection is None else connection.background_while_open()
            if owner is None:
                task = self.real.create_task(guarded(coro, label), name=label)
            else:
                task = owner.start(coro, label)
            task.add_done_callback(lambda task: _hand_over(task, future))
            future.add_done_callback(
                lambda future: self.on_loop(task.cancel) if future.cancelled() else None
            )

        self.on_loop(lambda: context.run(start))
        return future

    def run_until_complete(self, future: Any) -> Any:
        """Run a coroutine on the loop and wait for its result in this thread.

        Args:
            future: A coroutine, or a future of `create_task`.

        Raises:
            RuntimeError: It was called on the loop itself, which would wait for itself.
        """
        if get_ident() == getattr(self.real, "_thread_id", None):
            raise RuntimeError("run_until_complete() on the loop would wait for itself; await it")
        if asyncio.iscoroutine(future):
            future = self.create_task(future)
        if isinstance(future, asyncio.Future):
            self._refuse("run_until_complete of a future of the loop")
        return future.result()

    def run_in_executor(
        self, executor: Any, func: Callable[..., T], *args: Any
    ) -> concurrent.futures.Future[T]:
        """Run a function in another thread; see `asyncio.loop.run_in_executor`."""

        async def run() -> T:
            return await self.real.run_in_executor(executor, func, *args)

        return self.create_task(run())

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Tell the real loop of an exception that nobody has caught."""
        self.real.call_soon_threadsafe(self.real.call_exception_handler, context)

    def stop(self) -> None:
        """Refuse: other connections need the loop."""
        self._refuse("stop")

    def close(self) -> None:
        """Do nothing: the loop goes on for other connections."""

    # ---- what is not ------------------------------------------------------------------------

    def _refuse(self, what: str) -> NoReturn:
        raise RuntimeError(
            f"{what}() belongs to the event loop, and this callback runs in a thread; make the "
            "callback `async def`"
        )


def _name(function: Any) -> str:
    return getattr(function, "__qualname__", type(function).__name__)


def _hand_over(task: asyncio.Task[T], future: concurrent.futures.Future[T]) -> None:
    if future.cancelled() or not future.set_running_or_notify_cancel():
        return
    if task.cancelled():
        future.set_exception(concurrent.futures.CancelledError())
    elif (error := task.exception()) is not None:
        future.set_exception(error)
    else:
        future.set_result(task.result())


def _refusing(name: str) -> Any:
    def refuse(self: ThreadLoop, *args: Any, **kwargs: Any) -> NoReturn:
        self._refuse(name)

    refuse.__name__ = name
    return refuse


# All other methods of an event loop: Python's own would raise a NotImplementedError without a word.
for _method in sorted(set(dir(asyncio.AbstractEventLoop)) - set(vars(ThreadLoop))):
    if not _method.startswith("_") and callable(getattr(asyncio.AbstractEventLoop, _method)):
        setattr(ThreadLoop, _method, _refusing(_method))
