"""Run the callbacks of connections: in order, on the loop or in a thread, with deadlines.

A connection has at most one worker task, and only while it has work: `open` first, then each
message, then `on_close`. An idle connection costs no task. The steps of a turn are those of
`connection.turns`.

A callback may do with its task whatever it likes: cancel it, swallow our cancellation of it, or
never end. So the task is asked after each callback whether somebody has cancelled it
(`yield_turn`), and one that does not end is left to itself with its `Work`: the connection gets
another worker, for its `on_close`, and the old one ends as soon as it sees `work.abandoned`.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
import sys
from collections.abc import Callable, Coroutine
from types import CoroutineType
from typing import Any

from ..connection.background import Timer
from ..connection.connection import Connection
from ..connection.observer import Observers
from ..connection.phase import CLOSED
from ..connection.turns import begin_work, context_from, end_work, next_message, take_last_turn
from ..connection.work import Work
from ..engine.frames import MAX_REASON
from ..engine.protocol import Pong
from ..errors import ConnectionClosed, MessageRefused, PoolBusy
from ..forks import leave_if_copy
from ..functions.filters import culprit
from ..guard import is_being_closed, is_interrupt, tamed
from ..transports.loop import LoopIO
from ..types import Callback, CloseCode, Question
from .deadlines import Deadlines
from .errorlog import ErrorSink
from .failures import Failures
from .firststep import FirstSteps, own_task, yield_turn
from .inthread import Handover, ThreadTurn, Waiting
from .questions import ANSWER_TIMEOUT, Questions, look_at
from .results import Results, ready_to_send, send
from .threads import CallbackThreads
from .woken import Woken

BURST = 64
"""Messages of one connection that are handled before others get a turn."""

_Log = logging.Logger | logging.LoggerAdapter[Any]


class CallbackRunner:
    """The worker tasks and the threads that run callbacks.

    Args:
        io: What the connections of its event loop share.
        log: Where errors and warnings go.
        context: The context that callbacks start from; it names the manager.
        finished: Called when a connection's last callback has run.
        observers: Hear of the failures.
        threads: Size of the thread pool that routes share.
        patience: Seconds that a callback waits for a free thread.
        answer_timeout: Seconds that a function has which takes part in a handshake, where the
            route has no `timeout`.
        errors: Takes what callbacks raise; None writes it to the log.
    """

    def __init__(
        self,
        io: LoopIO,
        log: _Log,
        context: contextvars.Context,
        finished: Callable[[Connection], None],
        observers: Observers,
        *,
        threads: int = 16,
        patience: float = 30.0,
        answer_timeout: float = ANSWER_TIMEOUT,
        errors: ErrorSink | None = None,
    ) -> None:
        self._io = io
        self._loop = io.loop
        self._log = log
        self._context = context
        self._finished = finished
        self._process = os.getpid()
        self._threads = CallbackThreads(log, threads, patience, answer_timeout, io)
        self._handover = Handover(self, io, self._threads, context)
        self._results = Results(io.loop, self._threads)
        self._failures = Failures(io.loop, log, errors, observers)
        self._deadlines = Deadlines(log)
        self._questions = Questions(io.loop, context, self._threads, answer_timeout, self._leave)
        self.ask = self._questions.ask
        self.call = self._questions.call
        self.failed_beside = self._failures.beside
        self._woken = Woken[tuple[Connection, Work]](io.loop, lambda woken: self.step(*woken, None))
        self._left: set[asyncio.Task[Any]] = set()  # written off; see `write_off`
        self._first_steps = FirstSteps(io.loop, context)
        # Python 3.12 can run a task's first step at once, which saves a turn of the loop.
        self._eager: dict[str, Any] = {"eager_start": True} if sys.version_info >= (3, 12) else {}

    def wake(self, connection: Connection) -> None:
        """Start the worker of a connection that has work and no worker."""
        work = begin_work(connection)
        if work is not None:
            callback = work.entry.callbacks.get("on_message")
            if callback is None or callback.inline:
                self._woken.add((connection, work))
            elif not isinstance(message := self._handover.offer(connection, work), Work):
                self.step(connection, work, message)

    def step(self, c: Connection, work: Work, message: Waiting) -> None:
        """Do a connection's work, beginning with a message, where it has been taken already."""
        context = context_from(c, work.entry.context or self._context).copy()
        steps = self._first_steps
        if asyncio.current_task(self._loop) is None and steps.may_take(work.entry):
            # Its first step, which may be its last, runs within this call: until that is done
            # there is no task that could be interrupted.
            coroutine = self._work(c, work, message, task=steps.in_stock())
            work.task = steps.take(coroutine, context, c.id)
            if work.task is not None:
                steps.it_waits(work.entry)
        else:
            work.task = self._start(c, self._work(c, work, message), context, **self._eager)

    def _start(
        self,
        c: Connection,
        coroutine: Coroutine[Any, Any, None],
        context: contextvars.Context,
        **eager: Any,
    ) -> asyncio.Task[None]:
        name = f"wshandler {c.id}"
        return asyncio.Task(coroutine, loop=self._loop, name=name, context=context, **eager)

    def take_rest(self, turn: ThreadTurn) -> asyncio.Task[None]:
        """Run the rest of the work in a task; first what became of a turn's last message."""
        context = context_from(turn.c, turn.work.entry.context or self._context).copy()
        return self._start(turn.c, self._work(turn.c, turn.work, None, turn), context)

    # ---- the work -----------------------------------------------------------------------------

    async def _work(
        self,
        c: Connection,
        work: Work,
        first: Waiting = None,
        turn: ThreadTurn | None = None,
        task: asyncio.Task[Any] | None = None,
    ) -> None:
        task = task or own_task()
        answers = work.answers
        try:
            if turn is not None:
                await self._call(c, work, task, turn.callback, c, turn.message, turn=turn)
            elif not work.has_opened:
                await self._open(c, work, task)
            if work.abandoned:
                return
            handled = 0
            while (message := next_message(c) if first is None else first) is not None:
                first = None
                if work.has_more and not self._io.batching:
                    self._io.begin_batch()
                if type(message) is Timer:
                    message.waiting = False
                    await self._call(c, work, task, message.callback, c)
                    if work.abandoned:
                        return
                    if answers is not None:
                        await answers.finish()
                    continue
                if type(message) is Pong:
                    callback = work.entry.callbacks.get("on_pong")
                    argument: object = message.payload
                else:
                    callback = work.entry.callbacks.get("on_message")
                    argument = message
                    if answers is not None and type(message) is Question:
                        argument = answers.begin(message)
                if callback is not None:
                    await self._call(c, work, task, callback, c, argument)
                elif type(message) is not Pong:
                    c.close(CloseCode.UNSUPPORTED_DATA, "this route takes no messages")
                if work.abandoned:
                    return
                if answers is not None:
                    await answers.finish()
                if work.is_heavy:
                    # What is large takes its time to be read and answered: others get a turn.
                    await yield_turn(task)
                # The next one is read when this one is gone: two large ones would be too many.
                message = argument = None
                handled += 1
                if handled % BURST == 0:
                    await yield_turn(task)
            if take_last_turn(c):
                await self._take_leave(c, work, task)
        finally:
            goes_on = end_work(c, work)
        if goes_on:
            self.wake(c)

    async def _open(self, c: Connection, work: Work, task: asyncio.Task[Any]) -> None:
        opener = work.entry.callbacks.get("open")
        if opener is not None:
            await self._call(c, work, task, opener, c)
            if work.abandoned:
                return
            if work.answers is not None:
                await work.answers.finish()
        else:
            c.forget_context()  # nobody may ever need it: many only listen
        c.mark_opened()

    async def _take_leave(self, c: Connection, work: Work, task: asyncio.Task[Any]) -> None:
        closer = c.entry.callbacks.get("on_close")
        if closer is not None:
            await self._call(c, work, task, closer, c)
            if work.abandoned:
                return
        c.forget_context()
        self._finished(c)

    async def _call(
        self,
        c: Connection,
        work: Work,
        task: asyncio.Task[Any],
        callback: Callback,
        *args: Any,
        turn: ThreadTurn | None = None,
    ) -> None:
        """Run one callback to its end, with all that it yields; never raises.

        Args:
            c: The connection.
            work: Its work.
            task: What runs it.
            callback: The callback.
            args: What it gets.
            turn: Where a thread has called it already: what has become of that.
        """
        # Before `callback`, by which other threads know that it runs.
        work.since = self._loop.time()
        work.callback = callback
        problem: BaseException | None = None
        try:
            if turn is not None:
                if turn.error is not None:
                    problem, turn.error = turn.error, None
                    raise problem
                if turn.result is not None:
                    await self._results.take(c, work, callback, turn.result, turn.ran_in)
            elif callback.inline:
                result = callback.call(*args)
                if type(result) is CoroutineType:  # the common case: an `async def`
                    result = await result
                kind = type(result)
                if kind is str or kind is bytes:  # the common answer, sent without a coroutine
                    send(c, work, callback, result)
                elif result is not None:
                    await self._results.take(c, work, callback, result, None)
            else:
                context = contextvars.copy_context()
                function, given = ready_to_send(work, callback, args)
                result = await self._threads.call(c, work, callback, context, function, *given)
                if result is not None:
                    await self._results.take(c, work, callback, result, context)
        except asyncio.CancelledError as error:
            await yield_turn(task)
            if work.abandoned:
                return
            if work.why is None:  # it is the callback's own doing
                await self._failed(c, work, task, callback, error, args)
        except BaseException as raised:
            problem = tamed(raised, callback.name)
            # In a forked child ConnectionClosed only says that the callback has returned an answer,
            # which cannot be sent from there: it is no error to leave with.
            leave_if_copy(self._process, None if isinstance(problem, ConnectionClosed) else problem)
            if is_interrupt(problem) or is_being_closed(problem):
                raise
            if work.abandoned:
                return  # the connection is another worker's by now
            await self._ended_with(c, work, task, callback, problem, args)
        finally:
            work.callback = None
            problem = None  # its traceback knows this frame: a cycle, which holds the connection
        if work.abandoned:
            return
        if task.cancelling():  # it asked for its own cancellation, or took ours for its own
            await yield_turn(task)
        if work.why is not None:
            self._interrupted(c, work, callback)

    # ---- what goes wrong ----------------------------------------------------------------------

    async def _ended_with(
        self,
        c: Connection,
        work: Work,
        task: asyncio.Task[Any],
        callback: Callback,
        error: BaseException,
        args: tuple[Any, ...],
    ) -> None:
        if type(error) is ConnectionClosed:  # ours: it can be shown
            await self._not_sent(c, work, task, callback, error, args)
        elif isinstance(error, PoolBusy):
            self._busy(c, callback)
        elif isinstance(error, MessageRefused) and callback.event == "on_message":
            # Its function was not called. Elsewhere there is no message to refuse.
            self._failures.refused(c, callback.name, error)
        else:
            await self._failed(c, work, task, callback, error, args)

    async def _failed(
        self,
        c: Connection,
        work: Work,
        task: asyncio.Task[Any],
        callback: Callback,
        error: BaseException,
        args: tuple[Any, ...],
    ) -> None:
        if c.chat_answers is not None:
            c.chat_answers.failed()
        message = args[1] if callback.event in ("on_message", "on_pong") else None
        if callback.event == "on_message":
            message = c.as_handled(message)
        error_id = self._failures.take(c, culprit(error, callback.name), message, error)
        handler = c.entry.callbacks.get("on_error")
        if handler is not None and callback.event != "on_error":
            await self._call(c, work, task, handler, c, error)
        if c.closed or work.abandoned:
            return
        if c.entry.config.on_error_close:
            c.close(CloseCode.INTERNAL_ERROR, f"internal error, id {error_id}")
        elif callback.event != "on_error":
            problem: dict[str, object] = {"error": "internal error", "id": error_id}
            if c.chat_answers is None or not c.chat_answers.tell(problem):
                c.write_message(problem)

    async def _not_sent(
        self,
        c: Connection,
        work: Work,
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
            # This connection is open: it is another one's end that the callback has met.
            await self._failed(c, work, task, callback, error, args)

    def _interrupted(self, c: Connection, work: Work, callback: Callback) -> None:
        why, work.why = work.why, None
        if why == "timeout":
            self._log.error(
                "Route %s: %s took longer than its timeout; closing connection %s",
                c.route,
                callback.name,
                c.id,
            )
            c.close(CloseCode.INTERNAL_ERROR, "timeout")
        elif why == "stop":
            self._log.warning(
                "Route %s: %s still ran when the server stopped", c.route, callback.name
            )

    def _busy(self, c: Connection, callback: Callback) -> None:
        self._threads.warn_busy(c, callback)
        reason = f"busy: the threads are held by {', '.join(self._threads.holders(c))}"
        c.close(CloseCode.TRY_AGAIN_LATER, reason.encode()[:MAX_REASON].decode(errors="ignore"))

    # ---- the clock ---------------------------------------------------------------------------

    def check(self, connection: Connection, now: float) -> None:
        """Warn about a slow callback, and interrupt one past its timeout.

        Args:
            connection: Any connection.
            now: The event loop's time, in seconds.
        """
        work = connection.work
        if work is not None and self._deadlines.check(connection, work, now):
            self.write_off(connection)

    def write_off(self, c: Connection) -> None:
        """Leave a callback to itself that does not end though it was interrupted.

        Its connection is closed, and its `on_close` is run by a worker of its own. When the
        callback comes back nothing is made of it, and what it writes raises `ConnectionClosed`.

        Args:
            c: A connection with a callback that runs.
        """
        work = c.work
        if work is None or work.callback is None or work.task is None:
            return
        if isinstance(work.task, ThreadTurn):
            work.task.cancel()  # from here on a task stands for it
        assert isinstance(work.task, asyncio.Task)
        self._leave(c, work, work.callback, work.task)
        if c.chat_answers is not None:
            c.chat_answers.failed()
            c.chat_answers.over()  # what it would say later belongs to nobody
        if c.write_off_work():  # it was `on_close`, or what came after it
            self._finished(c)
        elif c.phase == CLOSED:
            self.wake(c)
        else:
            c.give_up(CloseCode.INTERNAL_ERROR, "timeout")

    def _leave(
        self, c: Connection, work: Work, callback: Callback, task: asyncio.Task[Any]
    ) -> None:
        work.abandoned = True
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
        look_at(task)

    async def stop(self, timeout: float) -> None:
        """End the threads; name those that do not come back, and leave them.

        Args:
            timeout: Seconds to wait for callbacks that still run.
        """
        await self._questions.stop(timeout)
        await self._threads.stop(timeout)
        await self._first_steps.stop()
