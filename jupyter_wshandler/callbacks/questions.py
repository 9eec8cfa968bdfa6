"""Functions of a route that take part in the handshake: asked, and not waited for without end."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import os
from collections.abc import Callable
from typing import Any

import msgspec

from ..connection.connection import Connection
from ..connection.current import naming
from ..connection.work import Work
from ..errors import ConnectionClosed, NoAnswer, PoolBusy
from ..forks import leave_if_copy
from ..guard import guarded
from ..types import Callback
from .advice import advise
from .deadlines import GRACE
from .job import WAITING
from .threads import CallbackThreads

ANSWER_TIMEOUT = 20.0
"""Seconds that a client of a handshake waits for an answer, where nothing else is said."""


class Questions:
    """The functions of handshakes that are being asked, such as a route's `condition`.

    Args:
        loop: The event loop.
        context: What they start from; it names the manager.
        threads: Where those run that are ``def``.
        timeout: Seconds that one has, where the route has no `timeout`.
        leave: Called with a connection, its work, a function and its task that does not end.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        context: contextvars.Context,
        threads: CallbackThreads,
        timeout: float,
        leave: Callable[[Connection, Work, Callback, asyncio.Task[Any]], object],
    ) -> None:
        self._loop = loop
        self._context = context
        self._threads = threads
        self._timeout = timeout
        self._leave = leave
        self._process = os.getpid()
        self._asking: set[asyncio.Task[Any]] = set()

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
        return await self.call(c, callback, c, *args, gone=gone)

    async def call(
        self,
        c: Connection,
        callback: Callback,
        /,
        *args: Any,
        gone: asyncio.Future[None] | None = None,
    ) -> Any:
        """Call a function for a connection, beside its callbacks, and return what it says.

        Args:
            c: The connection that it is called for; it need not be open.
            callback: The function.
            args: All that it gets.
            gone: Done when nobody waits for the answer any more.

        Raises:
            Exception: As for `ask`.
        """
        if gone is not None and gone.done():
            raise ConnectionClosed("the client has gone")
        # It is no work of the connection's, which is not open: nobody else is to see it.
        work = Work(c.entry)
        work.since = self._loop.time()
        task = self._loop.create_task(
            guarded(self._ask(c, work, callback, *args), callback.name),
            name=f"wshandler {callback.event} {c.id}",
            context=naming(c, self._context),
        )
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)
        timeout = c.entry.config.timeout
        limit = self._timeout if timeout is msgspec.UNSET else timeout
        limit = limit or self._timeout
        try:
            await asyncio.wait(
                [task] if gone is None else [task, gone],
                timeout=limit,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if not task.done():
                await self._give_up(c, work, callback, task, limit, gone)
        except asyncio.CancelledError:
            task.cancel()
            raise
        if task.cancelled():
            raise RuntimeError(f"{callback.name} was cancelled")
        return task.result()

    async def _give_up(
        self,
        c: Connection,
        work: Work,
        callback: Callback,
        task: asyncio.Task[Any],
        limit: float,
        gone: asyncio.Future[None] | None,
    ) -> None:
        """End a question whose answer is not waited for any longer, and raise why."""
        if gone is not None and gone.done():
            work.why = "closed"
            task.cancel()
            task.add_done_callback(look_at)
            raise ConnectionClosed("the client has gone")
        if work.since == WAITING:
            task.cancel()
            raise PoolBusy(f"{callback.name} waited {limit:g} s for a thread")
        task.cancel()
        await asyncio.wait([task], timeout=GRACE)
        if not task.done():
            self._leave(c, work, callback, task)
        elif not task.cancelled():
            task.exception()  # too late, whatever it says
        raise NoAnswer(f"{callback.name} took longer than {limit:g} s")

    async def _ask(self, c: Connection, work: Work, callback: Callback, *args: Any) -> Any:
        try:
            if callback.inline:
                result = callback.call(*args)
            else:
                context = contextvars.copy_context()
                result = await self._threads.call(c, work, callback, context, callback.call, *args)
            return await result if inspect.isawaitable(result) else result
        except BaseException as error:
            leave_if_copy(self._process, error)
            advise(error)
            raise

    async def stop(self, timeout: float) -> None:
        """End the questions that are open.

        Args:
            timeout: Seconds to wait for functions that still run.
        """
        for task in self._asking:
            task.cancel()
        if self._asking:
            await asyncio.wait([*self._asking], timeout=timeout)


def look_at(task: asyncio.Task[Any]) -> None:
    """Look at what a task has raised: nobody else does."""
    if not task.cancelled():
        task.exception()
