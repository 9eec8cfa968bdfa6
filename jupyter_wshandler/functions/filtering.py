"""The callbacks of a route with its filters around them.

That is done when the route is loaded, so that a route without filters is called as ever. A function
of a filter runs where the callback does that it stands around: a ``def`` on the event loop or in
the callback's thread, an ``async def`` on the loop, which such a thread waits for.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from concurrent.futures import CancelledError
from typing import Any, Literal

from ..errors import ConnectionClosed
from ..guard import is_being_closed, is_interrupt, tamed
from ..types import Callback, Filters, FilterStep, Message
from .around import AroundCallback
from .filters import Filter, passed, raised_by, steps
from .resolve import kind_of
from .tracing import with_traces

_Call = Callable[..., Any]


def filters_of(filters: Iterable[Filter]) -> Filters | None:
    """Return what the filters of a route do, by what they look at; None where there are none.

    Args:
        filters: The filters, the outermost first.
    """
    found = list(filters)
    if not found:
        return None
    backwards = found[::-1]
    return Filters(
        opened=steps(found, "on_open"),
        incoming=steps(found, "incoming"),
        outgoing=steps(backwards, "outgoing"),
        failed=steps(backwards, "on_error"),
        closed=steps(backwards, "on_close"),
    )


def with_filters(
    callbacks: Mapping[str, Callback],
    filters: Filters | None,
    run: Literal["thread", "loop"] = "thread",
) -> dict[str, Callback]:
    """Return the callbacks of a route with its filters around them, and around these a span.

    Args:
        callbacks: The callbacks, by event.
        filters: What `filters_of` has returned.
        run: Where a ``def`` of a filter runs for an event that the route has no callback for.
    """
    found = dict(callbacks)
    if filters is None:
        return with_traces(found)
    if filters.incoming and "on_message" in found:
        found["on_message"] = _around("on_message", found["on_message"], filters.incoming, _coming)
    for event, functions, around in (
        ("open", filters.opened, _before),
        ("on_error", filters.failed, _before),
        ("on_close", filters.closed, _behind),
    ):
        if functions:
            found[event] = _around(event, found.get(event), functions, around, run)
    return with_traces(found)


_Steps = tuple[FilterStep, ...]
_Around = Callable[[_Steps, _Call, bool], _Call]


def _around(
    event: str, inner: Callback | None, functions: _Steps, around: _Around, run: str = "thread"
) -> AroundCallback:
    waits = any(kind_of(function) == "async" for _, function in functions)
    if inner is None:
        plain = any(kind_of(function) != "async" for _, function in functions)
        inline = run == "loop" or not plain
    else:
        inline = inner.inline
    if waits and not inline:
        functions = tuple((name, _waited_for(function)) for name, function in functions)
    call = around(functions, _nothing if inner is None else inner.call, waits and inline)
    # `callbacks.bound` looks at the author's module behind this.
    call.__wrapped__ = functions[0][1] if inner is None else inner.call  # type: ignore[attr-defined]
    return AroundCallback(event, call, inline, inner)


def _nothing(*_: Any) -> None:
    """Stand for the callback that a route does not have."""


class _WaitedFor:
    """What a thread calls to have an ``async def`` run on the event loop.

    Args:
        function: The ``async def``.
    """

    __slots__ = ("__wrapped__",)

    def __init__(self, function: _Call) -> None:
        self.__wrapped__ = function

    def __call__(self, *args: Any) -> Any:
        """Run it, and return its outcome."""
        # The loop of a thread hands over to the real one; see `callbacks.threadloop`.
        try:
            result, error = asyncio.get_event_loop().run_until_complete(self._outcome(args))
        except CancelledError:
            raise ConnectionClosed("the connection has ended while a filter waited") from None
        if error is not None:
            raise error
        return result

    async def _outcome(self, args: tuple[Any, ...]) -> tuple[Any, Exception | None]:
        try:
            return await self.__wrapped__(*args), None
        except Exception as error:  # the callback's, and not that of a task of its own
            return None, error


def _waited_for(function: _Call) -> _Call:
    """Return a function that a thread calls, which runs an ``async def`` on the event loop."""
    return _WaitedFor(function) if kind_of(function) == "async" else function


async def _finished(result: Any) -> Any:
    return await result if inspect.isawaitable(result) else result


def _coming(functions: _Steps, call: _Call, waits: bool) -> _Call:
    """Return what a callback's messages come through, and then calls it."""

    def filtered(handler: Any, message: Message) -> Any:
        handler.keep_filtered(None)
        for name, function in functions:
            try:
                message = passed(name, message, function(handler, message))
            except Exception as error:
                raised_by(error, name)
                raise
        handler.keep_filtered(message)
        return call(handler, message)

    async def filtered_later(handler: Any, message: Message) -> Any:
        handler.keep_filtered(None)
        for name, function in functions:
            try:
                made = await _finished(function(handler, message))
                message = passed(name, message, made)
            except Exception as error:
                raised_by(error, name)
                raise
        handler.keep_filtered(message)
        return await _finished(call(handler, message))

    return filtered_later if waits else filtered


def _before(functions: _Steps, call: _Call, waits: bool) -> _Call:
    """Return what calls some functions of filters, and then a callback."""

    def filtered(*args: Any) -> Any:
        for name, function in functions:
            try:
                function(*args)
            except Exception as error:
                raised_by(error, name)
                raise
        return call(*args)

    async def filtered_later(*args: Any) -> Any:
        for name, function in functions:
            try:
                await _finished(function(*args))
            except Exception as error:
                raised_by(error, name)
                raise
        return await _finished(call(*args))

    return filtered_later if waits else filtered


def _behind(functions: _Steps, call: _Call, waits: bool) -> _Call:
    """Return what calls a callback, and then some functions of filters, whatever it raises.

    What the callback returns is nobody's, as for `on_close`; but what it leaves to be awaited or
    gone through comes first. Each function is called, whatever the one before has raised.
    """

    def filtered(*args: Any) -> Any:
        try:
            result = call(*args)
        except BaseException as raised:
            _call_all(functions, args, raised)
            raise
        if inspect.isgenerator(result):
            return _gone_through(result, functions, args)
        if inspect.isawaitable(result) or isinstance(result, AsyncIterator):
            return _awaited(result, functions, args)
        problem = _call_all(functions, args, None)
        if problem is not None:
            raise problem
        return None

    async def filtered_later(*args: Any) -> Any:
        await _awaited(_called_later(call, args), functions, args)

    return filtered_later if waits else filtered


async def _called_later(call: _Call, args: tuple[Any, ...]) -> Any:
    return call(*args)


def _gone_through(items: Any, functions: _Steps, args: tuple[Any, ...]) -> Iterator[Any]:
    """Go through a generator that a callback has returned, and then call functions of filters."""
    try:
        yield from items
    except BaseException as raised:
        _call_all(functions, args, raised)
        raise
    problem = _call_all(functions, args, None)
    if problem is not None:
        raise problem


async def _awaited(result: Any, functions: _Steps, args: tuple[Any, ...]) -> None:
    """Await what a callback has returned, and then functions of filters, on the event loop."""
    try:
        await _through(result)
    except BaseException as raised:
        if not is_being_closed(raised):  # then nothing can be awaited any more
            await _await_all(functions, args, raised)
        raise
    problem = await _await_all(functions, args, None)
    if problem is not None:
        raise problem


async def _through(result: Any) -> None:
    found = await _finished(result)
    if inspect.isawaitable(found):
        found = await found
    if isinstance(found, AsyncIterator):
        async for _ in found:
            pass
    elif inspect.isgenerator(found):
        for _ in found:
            pass


def _call_all(
    functions: _Steps, args: tuple[Any, ...], first: BaseException | None
) -> BaseException | None:
    """Call functions of filters, each whatever the ones before have raised.

    Args:
        functions: The functions.
        args: What they get; the handler first.
        first: What the callback before them has raised.

    Returns:
        The first that was raised. What has followed it is logged.
    """
    for name, function in functions:
        try:
            function(*args)
        except BaseException as raised:
            first = _first(first, raised, name, args[0])
    return first


async def _await_all(
    functions: _Steps, args: tuple[Any, ...], first: BaseException | None
) -> BaseException | None:
    """Do what `_call_all` does, on the event loop, and await what is to be awaited."""
    for name, function in functions:
        # Here nobody has to wait in a thread.
        called = function.__wrapped__ if isinstance(function, _WaitedFor) else function
        try:
            await _finished(called(*args))
        except BaseException as raised:
            if is_being_closed(raised):
                raise
            first = _first(first, raised, name, args[0])
    return first


def _first(
    first: BaseException | None, raised: BaseException, name: str, handler: Any
) -> BaseException:
    """Return the first failure of several; one that is another's is logged."""
    error = tamed(raised, name)
    if is_interrupt(error):
        raise error
    if first is None:
        raised_by(error, name)
        return error
    if not isinstance(error, asyncio.CancelledError):
        handler.failed_beside(name, error)
    return first
