"""Run the callbacks of connections: in order, on the loop or in a thread, with deadlines.

A connection has at most one worker task, and only while it has work: `open` first, then each
message, then `on_close`. An idle connection costs no task.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
import logging
import os
import secrets
import sys
import time
from collections.abc import AsyncIterator, Callable
from types import CoroutineType, FrameType, TracebackType
from typing import Any

import msgspec

from ..connection.background import Timer
from ..connection.connection import Connection
from ..connection.sending import CLOSED, OPEN
from ..engine.frames import MAX_REASON
from ..engine.payload import in_its_thread
from ..engine.protocol import Pong
from ..errors import ConnectionClosed, NoAnswer, PoolBusy
from ..forks import leave_if_copy
from ..guard import guarded, is_being_closed, is_interrupt, tamed
from ..metrics import Metrics
from ..types import Callback, CloseCode, Question
from .advice import advise
from .errorlog import ErrorLog, ErrorSink, Failure
from .job import WAITING
from .threadloop import current_connection
from .threads import CallbackThreads

SLOW = 10.0
"""Seconds after which a callback that still runs is named in a warning, once."""

THREAD_TIMEOUT = 300.0
"""Seconds that a callback in a thread may take where the route says nothing else."""

OPEN_TIMEOUT = 10.0
"""Seconds that `open` may take where the route says nothing else: messages wait for its end."""

CLOSER_TIMEOUT = 30.0
"""Seconds that an `on_close` on the event loop may take where the route says nothing else."""

ANSWER_TIMEOUT = 20.0
"""Seconds that a client of a handshake waits for an answer, where nothing else is said."""

GRACE = 1.0
"""Seconds for a callback that was interrupted to end, before it is left to itself."""

BURST = 64
"""Messages of one connection that are handled before others get a turn."""

_DONE = object()

_Log = logging.Logger | logging.LoggerAdapter[Any]


class _Starting:
    """Stand for a worker whose first step is running."""

    def cancel(self) -> None:
        """Do nothing: a step that runs cannot be interrupted."""


_STARTING: Any = _Starting()


class CallbackRunner:
    """Own the worker tasks and the threads that run callbacks.

    Args:
        loop: The event loop.
        log: Where errors and warnings go.
        context: The context that callbacks start from; it names the manager.
        finished: Called when a connection's last callback has run.
        metrics: Counts the failures.
        threads: Size of the thread pool that routes share.
        patience: Seconds that a callback waits for a free thread.
        answer_timeout: Seconds that a function has which takes part in a handshake, where the
            route has no `timeout`.
        errors: Takes what callbacks raise; None writes it to the log.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        log: _Log,
        context: contextvars.Context,
        finished: Callable[[Connection], None],
        metrics: Metrics,
        *,
        threads: int = 16,
        patience: float = 30.0,
        answer_timeout: float = ANSWER_TIMEOUT,
        errors: ErrorSink | None = None,
    ) -> None:
        self._loop = loop
        self._log = log
        self._context = context
        self._finished = finished
        self._metrics = metrics
        self._errors = errors or ErrorLog(log)
        self._answer_timeout = answer_timeout
        self._process = os.getpid()
        self._threads = CallbackThreads(log, threads, patience, answer_timeout)
        self._warned_slow: set[tuple[str, str]] = set()
        self._warned_late: set[str] = set()
        self._left: set[asyncio.Task[Any]] = set()  # written off; see `write_off`
        self._asking: set[asyncio.Task[Any]] = set()
        # Python 3.12 can run a task's first step at once, which saves a turn of the loop.
        self._eager: dict[str, Any] = {"eager_start": True} if sys.version_info >= (3, 12) else {}

    def wake(self, connection: Connection) -> None:
        """Start the worker of a connection that has work and no worker."""
        if connection._task is None and not connection._finished:
            connection._task = _STARTING
            task = asyncio.Task(
                self._work(connection),
                loop=self._loop,
                name=f"wshandler {connection.id}",
                context=self._context_of(connection).copy(),
                **self._eager,
            )
            # Its first step may have been its last, and may have started the next worker.
            if not task.done():
                connection._task = task

    def _context_of(self, c: Connection) -> contextvars.Context:
        """Return the context that a connection's callbacks start from; it names the connection.

        Kept, as to set a variable costs more than to copy a context; until a reload brings
        another one with the route.
        """
        base = c._route.context or self._context
        kept = c._context
        if kept is None or kept[0] is not base:
            kept = c._context = (base, _naming(c, base))
        return kept[1]

    async def _work(self, c: Connection) -> None:
        task = asyncio.current_task() if c._task is _STARTING else c._task
        assert task is not None
        io = c._host.io
        try:
            if not c._opened:
                opener = c._route.callbacks.get("open")
                if opener is not None:
                    await self._call(c, task, opener, c)
                    if self._left and task in self._left:
                        return
                    if c._answers is not None:
                        await c._answers.finish()
                c._opened = True  # only now: a reload during `open` would start the timers, too
                c.start_timers()
            handled = 0
            while (message := c._next_message()) is not None:
                if c._inbox and not io.batching:
                    io.begin_batch()
                if type(message) is Timer:
                    message.waiting = False
                    await self._call(c, task, message.callback, c)
                    if self._left and task in self._left:
                        return
                    if c._answers is not None:
                        await c._answers.finish()
                    continue
                if type(message) is Pong:
                    callback = c._route.callbacks.get("on_pong")
                    argument: object = message.payload
                else:
                    callback = c._route.callbacks.get("on_message")
                    argument = message
                    if c._answers is not None and type(message) is Question:
                        argument = c._answers.begin(message)
                if callback is not None:
                    await self._call(c, task, callback, c, argument)
                elif type(message) is not Pong:
                    c.close(CloseCode.UNSUPPORTED_DATA, "this route takes no messages")
                if self._left and task in self._left:
                    return
                if c._answers is not None:
                    await c._answers.finish()
                if c._in_hand:
                    # What is large takes its time to be read and answered: others get a turn.
                    await _yield_turn(task)
                # The next one is read when this one is gone: two large ones would be too many.
                message = argument = None
                handled += 1
                if handled % BURST == 0:
                    await _yield_turn(task)
            if c._phase == CLOSED and not c._finished:  # in a forked child it never is
                c._finished = True
                closer = c._route.callbacks.get("on_close")
                if closer is not None:
                    await self._call(c, task, closer, c)
                    if self._left and task in self._left:
                        return
                c._context = None  # it names the connection
                self._finished(c)
        finally:
            abandoned = bool(self._left) and task in self._left
            if not abandoned:
                c._task = None
        if abandoned:
            return
        c.settle()
        if c._inbox or (c._phase == CLOSED and not c._finished):
            self.wake(c)

    async def _call(
        self, c: Connection, task: asyncio.Task[Any], callback: Callback, *args: Any
    ) -> None:
        """Run one callback to its end, with all that it yields; never raises."""
        c._running = callback
        c._since = self._loop.time()
        try:
            if callback.inline:
                result = callback.call(*args)
                if type(result) is CoroutineType:  # the common case: an `async def`
                    result = await result
                if result is not None:
                    await self._result(c, callback, result, None)
            else:
                context = contextvars.copy_context()
                sends = self._sends(c, callback)
                function = _called if sends else callback.call
                given = (callback, *args) if sends else args
                result = await self._threads.call(c, callback, context, function, *given)
                if result is not None:
                    await self._result(c, callback, result, context)
        except asyncio.CancelledError as error:
            await _yield_turn(task)
            if self._left and task in self._left:
                return
            if c._cancel_reason is None:  # it is the callback's own doing
                await self._failed(c, task, callback, error, args)
        except BaseException as raised:
            problem = tamed(raised, callback.name)
            # In a forked child the answer of a callback that has returned cannot be sent.
            leave_if_copy(self._process, None if isinstance(problem, ConnectionClosed) else problem)
            if is_interrupt(problem) or is_being_closed(problem):
                raise
            if self._left and task in self._left:
                return  # the connection is another worker's by now
            await self._ended_with(c, task, callback, problem, args)
        finally:
            if not self._left or task not in self._left:
                c._running = None
        if self._left and task in self._left:
            return
        if task.cancelling():  # it asked for its own cancellation, or took ours for its own
            await _yield_turn(task)
        if c._cancel_reason is not None:
            self._interrupted(c, callback)

    async def ask(
        self,
        c: Connection,
        callback: Callback,
        *args: Any,
        gone: asyncio.Future[None] | None = None,
    ) -> Any:
        """Call a function that takes part in the handshake, and return what it says.

        Args:
            c: A connection that is not open yet.
            callback: The function.
            args: What it gets after the connection.
            gone: Done when nobody waits for the answer any more.

        Raises:
            Exception: Whatever the function raises.
            NoAnswer: It took longer than the route's `timeout`, or `answer_timeout`.
            PoolBusy: No thread became free for it in time.
            ConnectionClosed: `gone` is done. What waits for a thread does not begin; what runs in
                one may end by itself.
        """
        if gone is not None and gone.done():
            raise ConnectionClosed("the client has gone")
        task = self._loop.create_task(
            guarded(self._ask(c, callback, *args), callback.name),
            name=f"wshandler {callback.event} {c.id}",
            context=_naming(c, self._context),
        )
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)
        timeout = c._route.config.timeout
        limit = self._answer_timeout if timeout is msgspec.UNSET else timeout
        limit = limit or self._answer_timeout
        try:
            await asyncio.wait(
                [task] if gone is None else [task, gone],
                timeout=limit,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if not task.done():
                await self._end_question(c, callback, task, limit, gone)
        except asyncio.CancelledError:
            task.cancel()
            raise
        if task.cancelled():
            raise RuntimeError(f"{callback.name} was cancelled")
        return task.result()

    async def _end_question(
        self,
        c: Connection,
        callback: Callback,
        task: asyncio.Task[Any],
        limit: float,
        gone: asyncio.Future[None] | None,
    ) -> None:
        """End a question whose answer is not waited for any longer, and raise why."""
        if gone is not None and gone.done():
            c._cancel_reason = "closed"
            task.cancel()
            task.add_done_callback(_look_at)
            raise ConnectionClosed("the client has gone")
        if c._since == WAITING:
            task.cancel()
            raise PoolBusy(f"{callback.name} waited {limit:g} s for a thread")
        task.cancel()
        await asyncio.wait([task], timeout=GRACE)
        if not task.done():
            self._leave(c, callback, task)
        elif not task.cancelled():
            task.exception()  # too late, whatever it says
        raise NoAnswer(f"{callback.name} took longer than {limit:g} s")

    async def _ask(self, c: Connection, callback: Callback, *args: Any) -> Any:
        try:
            if callback.inline:
                result = callback.call(c, *args)
            else:
                context = contextvars.copy_context()
                result = await self._threads.call(c, callback, context, callback.call, c, *args)
            return await result if inspect.isawaitable(result) else result
        except BaseException as error:
            leave_if_copy(self._process, error)
            advise(error)
            raise

    # ---- what a callback returns ------------------------------------------------------------

    async def _result(
        self, c: Connection, callback: Callback, result: Any, context: contextvars.Context | None
    ) -> None:
        if inspect.isawaitable(result):
            result = await result
            if result is None:
                return
        if isinstance(result, AsyncIterator):
            await self._stream_async(c, callback, result)
        elif inspect.isgenerator(result):
            await self._stream(c, callback, result, context)
        else:
            self._returned(c, callback, result)

    def _sends(self, c: Connection, callback: Callback) -> bool:
        """Say whether what a callback returns is sent."""
        # Gramex authors end an `open` with whatever: nothing is made of it.
        return callback.event not in ("open", "on_close") and c._route.config.returns == "send"

    def _returned(self, c: Connection, callback: Callback, result: Any) -> None:
        if not self._sends(c, callback):
            return
        try:
            c.write_message(result)
        except TypeError as error:
            raise TypeError(f"{callback.name} returned what cannot be sent: {error}") from None

    async def _stream_async(self, c: Connection, callback: Callback, items: Any) -> None:
        """Send each item that an async generator yields; closing the connection closes it."""
        c._streaming = callback.event != "on_close"
        try:
            async for item in items:
                if not await self._yielded(c, callback, items, item):
                    return
        finally:
            self._streamed(c, callback)
            if hasattr(items, "aclose"):  # an iterator that is no generator has none
                await items.aclose()

    def _streamed(self, c: Connection, callback: Callback) -> None:
        """Take note that a generator sends no more; it may still have to clean up."""
        if self._left and asyncio.current_task() in self._left:
            return
        c._streaming = False
        if c._cancel_reason is None and c._phase != OPEN and callback.event != "on_close":
            # Nobody listens: from now on its cleaning up is timed; see `check`.
            c._cancel_reason, c._cancelled_at = "closed", self._loop.time()

    async def _stream(
        self, c: Connection, callback: Callback, items: Any, context: contextvars.Context | None
    ) -> None:
        """Send each item that a generator yields, each step where the callback runs."""
        sends = callback.event != "on_close" and c._route.config.returns == "send"
        step = _stepped if sends else _next
        try:
            while True:
                if context is None:
                    item = next(items, _DONE)
                else:
                    item = await self._threads.call(c, callback, context, step, items, callback)
                if item is _DONE or not await self._yielded(c, callback, items, item):
                    return
        finally:
            self._streamed(c, callback)
            # One that still runs, in a thread left to itself, is closed when it is let go.
            if inspect.getgeneratorstate(items) == inspect.GEN_SUSPENDED:
                if context is None:
                    items.close()
                else:
                    await self._threads.call(c, callback, context, items.close)

    async def _yielded(self, c: Connection, callback: Callback, items: Any, item: Any) -> bool:
        """Send one item; return whether there is anybody to send the next one to."""
        if self._left and asyncio.current_task() in self._left:
            return False
        c._since = self._loop.time()
        if callback.event != "on_close":
            if c._phase != OPEN:
                return False
            if item is not None and c._route.config.returns == "send":
                answers = c._answers
                try:
                    sent = c.write_message(item) if answers is None else answers.write(item)
                except TypeError as error:
                    unsent = TypeError(f"{callback.name} yielded what cannot be sent: {error}")
                    raise unsent.with_traceback(_at_its_yield(items)) from None
                await sent
        # A generator need not await anything, and would keep the loop to itself.
        await asyncio.sleep(0)
        return c._answers is None or c._answers.goes_on()

    # ---- what goes wrong ----------------------------------------------------------------------

    async def _ended_with(
        self,
        c: Connection,
        task: asyncio.Task[Any],
        callback: Callback,
        error: BaseException,
        args: tuple[Any, ...],
    ) -> None:
        if type(error) is ConnectionClosed:  # ours: it can be shown
            await self._not_sent(c, task, callback, error, args)
        elif isinstance(error, PoolBusy):
            self._busy(c, callback)
        else:
            await self._failed(c, task, callback, error, args)

    async def _failed(
        self,
        c: Connection,
        task: asyncio.Task[Any],
        callback: Callback,
        error: BaseException,
        args: tuple[Any, ...],
    ) -> None:
        if c._answers is not None:
            c._answers.failed()
        message = args[1] if callback.event in ("on_message", "on_pong") else None
        error_id = self._write_down(c, callback.name, message, error)
        handler = c._route.callbacks.get("on_error")
        if handler is not None and callback.event != "on_error":
            await self._call(c, task, handler, c, error)
        if c.closed or (self._left and task in self._left):
            return
        if c._route.config.on_error_close:
            c.close(CloseCode.INTERNAL_ERROR, f"internal error, id {error_id}")
        elif callback.event != "on_error":
            c.write_message({"error": "internal error", "id": error_id})

    def failed_beside(self, connection: Connection, label: str, error: BaseException) -> None:
        """Write what a task or a timer has raised that runs beside a connection's callbacks.

        Args:
            connection: Whose it is.
            label: What it is called in the log.
            error: What it has raised.
        """
        c = connection
        if type(error) is ConnectionClosed and c.closed:
            if c.route not in self._warned_late:
                self._warned_late.add(c.route)
                self._log.warning(
                    "Route %s: %s goes on after connection %s has ended: %s; stop it in on_close",
                    c.route,
                    label,
                    c.id,
                    error,
                )
            return
        self._write_down(c, label, None, error)

    def _write_down(self, c: Connection, name: str, message: Any, error: BaseException) -> str:
        """Count and write an error; return the reference that a client may be told."""
        advise(error)
        error_id = secrets.token_hex(4)
        self._metrics.errors[c.route] += 1
        failure = Failure(c, message, error, name, time.time(), error_id)
        try:
            self._errors.write(failure, self._loop.time())
        except BaseException as unwritten:  # an exception whose own `__str__` raises, say
            if is_interrupt(unwritten):
                raise
            self._log.error(
                "Error %s in %s, route %s, connection %s: %s, which cannot be shown: %s",
                error_id,
                name,
                c.route,
                c.id,
                type(error).__name__,
                type(unwritten).__name__,
            )
        return error_id

    async def _not_sent(
        self,
        c: Connection,
        task: asyncio.Task[Any],
        callback: Callback,
        error: ConnectionClosed,
        args: tuple[Any, ...],
    ) -> None:
        if callback.event == "on_close":
            self._log.warning("Route %s: %s ended early: %s", c.route, callback.name, error)
        elif c.closed:
            self._log.debug("Route %s: %s: %s", c.route, callback.name, error)
        else:
            # It is another connection that is closed.
            await self._failed(c, task, callback, error, args)

    def _interrupted(self, c: Connection, callback: Callback) -> None:
        reason, c._cancel_reason = c._cancel_reason, None
        if reason == "timeout":
            self._log.error(
                "Route %s: %s took longer than its timeout; closing connection %s",
                c.route,
                callback.name,
                c.id,
            )
            c.close(CloseCode.INTERNAL_ERROR, "timeout")
        elif reason == "stop":
            self._log.warning(
                "Route %s: %s still ran when the server stopped", c.route, callback.name
            )

    def _busy(self, c: Connection, callback: Callback) -> None:
        self._threads.warn_busy(c, callback)
        reason = f"busy: the threads are held by {', '.join(self._threads.holders(c))}"
        c.close(CloseCode.TRY_AGAIN_LATER, reason.encode()[:MAX_REASON].decode(errors="ignore"))

    # ---- the clock ------------------------------------------------------------------------------

    def check(self, connection: Connection, now: float) -> None:
        """Warn about a slow callback, and interrupt one past its timeout.

        Args:
            connection: Any connection.
            now: The event loop's time, in seconds.
        """
        callback = connection._running
        if callback is None:
            return
        reason = connection._cancel_reason
        if reason == "timeout":
            if now - connection._cancelled_at > GRACE:
                self.write_off(connection)
            return
        taken = now - connection._since
        if taken > SLOW:
            key = (connection.route, callback.name)
            if key not in self._warned_slow:
                self._warned_slow.add(key)
                self._log.warning(
                    "Route %s: %s runs for over %d s", connection.route, callback.name, SLOW
                )
        timeout = self._timeout(connection, callback)
        if reason is not None:  # it was told that nobody listens, and has this long to clean up
            taken = now - connection._cancelled_at
            if connection._route.config.timeout is msgspec.UNSET:
                timeout = min(timeout or CLOSER_TIMEOUT, CLOSER_TIMEOUT)
        if timeout is not None and taken > timeout:
            connection.cancel("timeout")

    def write_off(self, c: Connection) -> None:
        """Leave a callback to itself that does not end though it was interrupted.

        Its connection is closed, and its `on_close` is run by a worker of its own. When the
        callback comes back nothing is made of it, and what it writes raises `ConnectionClosed`.

        Args:
            c: A connection with a callback that runs.
        """
        callback, task = c._running, c._task
        if callback is None or task is None or task is _STARTING:
            return
        self._leave(c, callback, task)
        if c._answers is not None:
            c._answers.failed()
            c._answers.over()  # what it would say later belongs to nobody
        c._task = c._running = c._cancel_reason = None
        c._streaming = False
        c._opened = True  # it had its turn
        c._inbox.clear()
        c._discard = True
        c.leave_seat()
        if c._finished:  # it was `on_close`, or what came after it
            self._finished(c)
        elif c._phase == CLOSED:
            self.wake(c)
        else:
            c.give_up(CloseCode.INTERNAL_ERROR, "timeout")

    def _leave(self, c: Connection, callback: Callback, task: asyncio.Task[Any]) -> None:
        self._left.add(task)
        task.add_done_callback(self._came_back)
        task.cancel()  # what it awaits in a thread, a generator's `finally` say, is let go, too
        self._log.error(
            "Route %s: %s was interrupted and does not end; closing connection %s, and the task "
            "%r is left to itself",
            c.route,
            callback.name,
            c.id,
            task.get_name(),
        )

    def _came_back(self, task: asyncio.Task[Any]) -> None:
        self._left.discard(task)
        _look_at(task)

    def _timeout(self, c: Connection, callback: Callback) -> float | None:
        timeout = c._route.config.timeout
        if timeout is msgspec.UNSET:
            if callback.event == "open":
                return OPEN_TIMEOUT
            if not callback.inline:
                return THREAD_TIMEOUT
            return CLOSER_TIMEOUT if callback.event == "on_close" else None
        return timeout or None

    async def stop(self, timeout: float) -> None:
        """End the threads; name those that do not come back, and leave them.

        Args:
            timeout: Seconds to wait for callbacks that still run.
        """
        for task in self._asking:
            task.cancel()
        if self._asking:
            await asyncio.wait([*self._asking], timeout=timeout)
        await self._threads.stop(timeout)


def _naming(c: Connection, context: contextvars.Context) -> contextvars.Context:
    """Return a copy of a context that names a connection."""
    copy = context.copy()
    copy.run(current_connection.set, c)
    return copy


def _at_its_yield(items: Any) -> TracebackType | None:
    """Return a traceback of the line at which a generator stands, or None for another iterator."""
    frame = getattr(items, "ag_frame", None) or getattr(items, "gi_frame", None)
    if not isinstance(frame, FrameType):
        return None
    return TracebackType(None, frame, frame.f_lasti, frame.f_lineno)


def _called(callback: Callback, *args: Any) -> Any:
    """Call a function in its thread; what it returns is made ready to be sent there, too."""
    result = callback.call(*args)
    try:
        return in_its_thread(result)
    except TypeError as error:
        raise TypeError(f"{callback.name} returned what cannot be sent: {error}") from None


def _next(items: Any, callback: Callback) -> Any:
    return next(items, _DONE)


def _stepped(items: Any, callback: Callback) -> Any:
    """Take a generator's next step in its thread; the item is made ready to be sent there, too."""
    item = next(items, _DONE)
    if item is _DONE:
        return item
    try:
        return in_its_thread(item)
    except TypeError as error:
        unsent = TypeError(f"{callback.name} yielded what cannot be sent: {error}")
        raise unsent.with_traceback(_at_its_yield(items)) from None


def _look_at(task: asyncio.Task[Any]) -> None:
    """Look at what a task has raised: nobody else does."""
    if not task.cancelled():
        task.exception()


async def _yield_turn(task: asyncio.Task[Any]) -> None:
    """Give others a turn, and take back every request to cancel the worker itself.

    A callback may cancel the task that it runs in, or swallow our cancellation; neither is to
    hit the connection's next callback.
    """
    while task.cancelling():
        task.uncancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.sleep(0)
