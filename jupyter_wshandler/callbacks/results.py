"""What becomes of what a callback returns and yields: it is sent to the client."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from collections.abc import AsyncIterator, Callable
from types import FrameType, TracebackType
from typing import Any

from ..connection.connection import Connection
from ..connection.phase import OPEN
from ..connection.work import Work
from ..engine.payload import in_its_thread
from ..functions.around import innermost
from ..types import Callback
from .threads import CallbackThreads

_DONE = object()


class Results:
    """Where everything goes that callbacks return and yield: to the client, as it comes.

    Args:
        loop: The event loop.
        threads: Where the steps of a generator run whose callback runs in a thread.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, threads: CallbackThreads) -> None:
        self._loop = loop
        self._threads = threads

    async def take(
        self,
        c: Connection,
        work: Work,
        callback: Callback,
        result: Any,
        context: contextvars.Context | None,
    ) -> None:
        """Send what a callback has returned; one that returns a generator goes on until its end.

        Args:
            c: The connection.
            work: The work that the callback is part of.
            callback: What has returned it.
            result: Anything but None.
            context: What its thread ran in; None for a callback on the event loop.
        """
        if inspect.isawaitable(result):
            result = await result
            if result is None:
                return
        if isinstance(result, AsyncIterator):
            await self._stream_async(c, work, callback, result)
        elif inspect.isgenerator(result):
            await self._stream(c, work, callback, result, context)
        else:
            send(c, work, callback, result)

    async def _stream_async(
        self, c: Connection, work: Work, callback: Callback, items: Any
    ) -> None:
        """Send each item that an async generator yields; closing the connection closes it."""
        work.streaming = callback.event != "on_close"
        if work.answers is not None:
            work.answers.streams()
        try:
            async for item in items:
                if not await self._yielded(c, work, callback, items, item):
                    return
        finally:
            self._streamed(c, work, callback)
            if hasattr(items, "aclose"):  # an iterator that is no generator has none
                await items.aclose()

    async def _stream(
        self,
        c: Connection,
        work: Work,
        callback: Callback,
        items: Any,
        context: contextvars.Context | None,
    ) -> None:
        """Send each item that a generator yields, each step where the callback runs."""
        call = self._threads.call
        step = _stepped if _is_sent(work, callback, "on_close") else _next
        if work.answers is not None:
            work.answers.streams()
        try:
            while True:
                if context is None:
                    item = next(items, _DONE)
                else:
                    item = await call(c, work, callback, context, step, items, callback)
                if item is _DONE or not await self._yielded(c, work, callback, items, item):
                    return
        finally:
            self._streamed(c, work, callback)
            # Only one that waits at its `yield` can be closed. One that still runs, in a thread
            # that was left to itself, is closed by Python when nobody refers to it any more.
            if inspect.getgeneratorstate(items) == inspect.GEN_SUSPENDED:
                if context is None:
                    items.close()
                else:
                    await call(c, work, callback, context, items.close)

    def _streamed(self, c: Connection, work: Work, callback: Callback) -> None:
        """Take note that a generator sends no more; it may still have to clean up."""
        if work.abandoned:
            return
        work.streaming = False
        if work.why is None and c.phase != OPEN and callback.event != "on_close":
            # Nobody listens: from now on its cleaning up is timed; see `deadlines`.
            work.why, work.cancelled_at = "closed", self._loop.time()

    async def _yielded(
        self, c: Connection, work: Work, callback: Callback, items: Any, item: Any
    ) -> bool:
        """Send one item; return whether there is anybody to send the next one to."""
        if work.abandoned or (work.why == "stopping" and _stopped(work)):
            return False
        work.since = self._loop.time()
        answers = work.answers
        if callback.event != "on_close":
            if c.phase != OPEN:
                return False
            if item is not None and work.entry.config.returns == "send":
                try:
                    sent = c.write_message(item) if answers is None else answers.yielded(item)
                except TypeError as error:
                    unsent = TypeError(f"{callback.name} yielded what cannot be sent: {error}")
                    raise unsent.with_traceback(_at_its_yield(items)) from None
                await sent
        # A generator need not await anything, and would keep the loop to itself.
        await asyncio.sleep(0)
        return not (work.why == "stopping" and _stopped(work))


def _stopped(work: Work) -> bool:
    """Take note that a generator is asked for no more, as its client wants none; return True."""
    if work.answers is not None:
        work.answers.stopped()
    return True


def send(c: Connection, work: Work, callback: Callback, result: Any) -> None:
    """Send what a callback has returned, where that is meant to be sent.

    Args:
        c: The connection.
        work: The work that the callback is part of.
        callback: What has returned it.
        result: Anything but None, and nothing that is to be awaited or streamed.

    Raises:
        TypeError: It cannot be sent; says what returned it, and why.
        ConnectionClosed: The connection is closing or closed.
    """
    if not _is_sent(work, callback, "open", "on_resume", "on_close"):
        return
    try:
        if work.answers is None:
            c.write_message(result)
        else:
            work.answers.returned(result)
    except TypeError as error:
        raise TypeError(f"{callback.name} returned what cannot be sent: {error}") from None


def _is_sent(work: Work, callback: Callback, *silent: str) -> bool:
    # What `open` returns is not sent: it means nothing in Gramex, where authors return anything.
    return callback.event not in silent and work.entry.config.returns == "send"


def ready_to_send(
    work: Work, callback: Callback, args: tuple[Any, ...]
) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """Return what to call in a thread, so that what comes back is ready to be sent.

    Args:
        work: What the callback is part of.
        callback: A callback that runs in a thread.
        args: What it gets.
    """
    if _is_sent(work, callback, "open", "on_resume", "on_close"):
        return _called, (callback, *args)
    return callback.call, args


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


def _at_its_yield(items: Any) -> TracebackType | None:
    """Return a traceback of the line at which a generator stands, or None for another iterator."""
    items = innermost(items)
    frame = getattr(items, "ag_frame", None) or getattr(items, "gi_frame", None)
    if not isinstance(frame, FrameType):
        return None
    return TracebackType(None, frame, frame.f_lasti, frame.f_lineno)
