"""Spans of OpenTelemetry around the callbacks of messages, where somebody collects them.

Whether that is so is decided when a route is loaded: a tracer provider has been set by then. A
route that is not traced is called as ever. Nothing of a message but its size is told.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from importlib import import_module
from typing import Any
from weakref import WeakKeyDictionary

from ..errors import ConnectionClosed, MessageRefused
from ..guard import kind_of
from ..types import Callback, Message
from .around import AroundCallback, around_stream

NAME = "jupyter_wshandler"
"""The instrumentation scope of our spans."""

QUIET = (asyncio.CancelledError, GeneratorExit, ConnectionClosed, MessageRefused)
"""What ends a callback and is no failure of its own: its client is gone, or was refused."""

_openings: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()
"""The context of the span of each open connection's opening request."""


class Tracing:
    """What makes spans, with the tracer provider that is set.

    Args:
        trace: The module `opentelemetry.trace`.
    """

    def __init__(self, trace: Any) -> None:
        self._trace = trace
        self._tracer = trace.get_tracer(NAME)

    def opened(self, connection: Any) -> None:
        """Make the span of an opening request, which the spans of its messages are linked to.

        It belongs to the span that is current (somebody traces the server's requests), or to what
        the request's own header says (W3C Trace Context).

        Args:
            connection: One that opens.
        """
        trace, route = self._trace, connection.entry.config
        context = None
        if not trace.get_current_span().get_span_context().is_valid:
            fields = {name.lower(): value for name, value in connection.request.headers.items()}
            context = import_module("opentelemetry.propagate").extract(fields)
        span = self._tracer.start_span(
            f"GET {route.pattern}",
            context,
            kind=trace.SpanKind.SERVER,
            attributes={
                "http.request.method": "GET",
                "http.response.status_code": 101,
                "http.route": route.pattern,
                "network.protocol.name": "websocket",
                "wshandler.route": route.name,
                "wshandler.connection.id": connection.id,
            },
        )
        span.end()
        _openings[connection] = span.get_span_context()

    def begin(self, handler: Any, message: Message, function: str) -> Any:
        """Return the span of a message whose callback begins; the root of a trace of its own.

        Args:
            handler: The connection.
            message: The message.
            function: The callback's name.
        """
        trace, route = self._trace, handler.entry.config
        opening = _openings.get(handler)
        size = len(message) if isinstance(message, bytes) else len(message.encode())
        return self._tracer.start_span(
            f"process {route.name}",
            import_module("opentelemetry.context").Context(),
            kind=trace.SpanKind.CONSUMER,
            links=() if opening is None else (trace.Link(opening),),
            attributes={
                "messaging.system": "websocket",
                "messaging.operation.name": "process",
                "messaging.operation.type": "process",
                "messaging.destination.name": route.name,
                "messaging.destination.template": route.pattern,
                "messaging.message.body.size": size,
                "network.protocol.name": "websocket",
                "code.function.name": function,
                "wshandler.connection.id": handler.id,
            },
        )

    def current(self, span: Any) -> Any:
        """Return a context manager in which a span is the current one."""
        return self._trace.use_span(
            span, end_on_exit=False, record_exception=False, set_status_on_exception=False
        )

    def end(self, span: Any, error: BaseException | None = None) -> None:
        """End a span; of an error its kind is told, as its words may hold a message.

        Args:
            span: The span.
            error: What the callback has raised.
        """
        if error is not None and not isinstance(error, (asyncio.CancelledError, GeneratorExit)):
            span.set_attribute("error.type", kind_of(error))
        if error is not None and not isinstance(error, QUIET):
            span.set_status(self._trace.Status(self._trace.StatusCode.ERROR))
        span.end()


def tracing() -> Tracing | None:
    """Return what makes spans; None where no tracer provider is set, or OpenTelemetry not there."""
    name = "opentelemetry.trace"
    if name not in sys.modules and not os.environ.get("OTEL_PYTHON_TRACER_PROVIDER"):
        return None  # whoever sets a provider has loaded it
    try:
        trace = import_module(name)
        provider = trace.get_tracer_provider()
    except Exception:
        return None
    unset = (trace.ProxyTracerProvider, trace.NoOpTracerProvider)
    return None if isinstance(provider, unset) else Tracing(trace)


def with_traces(callbacks: Mapping[str, Callback]) -> dict[str, Callback]:
    """Return the callbacks of a route with a span around each message, where these are collected.

    Args:
        callbacks: The callbacks, by event, with all else around them.
    """
    found = dict(callbacks)
    inner = found.get("on_message")
    spans = None if inner is None else tracing()
    if inner is not None and spans is not None:
        call = _traced(inner, spans)
        call.__wrapped__ = inner.call  # type: ignore[attr-defined] # bound.py looks behind it
        found["on_message"] = AroundCallback("on_message", call, inner.inline, inner)
    return found


def _traced(inner: Callback, spans: Tracing) -> Callable[..., Any]:
    function, name = inner.call, inner.name

    def traced(handler: Any, message: Message) -> Any:
        span = spans.begin(handler, message, name)
        try:
            with spans.current(span):
                result = function(handler, message)
        except BaseException as error:
            spans.end(span, error)
            raise
        if inspect.isawaitable(result):
            return _awaited(spans, span, result)
        return _followed(spans, span, result)

    return traced


async def _awaited(spans: Tracing, span: Any, result: Any) -> Any:
    try:
        with spans.current(span):
            result = await result
    except BaseException as error:
        spans.end(span, error)
        raise
    return _followed(spans, span, result)


def _followed(spans: Tracing, span: Any, result: Any) -> Any:
    """Return what a callback has returned; the span ends now, or with the stream that it is."""
    if isinstance(result, AsyncIterator):
        return around_stream(_async_stream(spans, span, result), result)
    if inspect.isgenerator(result):
        return around_stream(_stream(spans, span, result), result)
    spans.end(span)
    return result


async def _async_stream(spans: Tracing, span: Any, items: AsyncIterator[Any]) -> AsyncIterator[Any]:
    # Current only in each step: what runs between two of them is not the callback's.
    problem: BaseException | None = None
    try:
        while True:
            with spans.current(span):
                try:
                    item = await anext(items)
                except StopAsyncIteration:
                    return
            yield item
    except BaseException as error:
        problem = error
        raise
    finally:
        close = getattr(items, "aclose", None)
        if close is not None:
            await close()
        spans.end(span, problem)


def _stream(spans: Tracing, span: Any, items: Any) -> Iterator[Any]:
    problem: BaseException | None = None
    try:
        while True:
            with spans.current(span):
                try:
                    item = next(items)
                except StopIteration:
                    return
            yield item
    except BaseException as error:
        problem = error
        raise
    finally:
        items.close()
        spans.end(span, problem)
