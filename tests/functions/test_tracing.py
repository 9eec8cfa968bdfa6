"""Spans of OpenTelemetry: one for each message, linked to its opening request; none without."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from jupyter_wshandler.functions import tracing
from jupyter_wshandler.guard import place_of
from jupyter_wshandler.testing import Chat

SECRET = "4711-content-of-a-message"

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """Set a tracer provider, which can be done once for a process, for one test."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    yield exporter
    provider.shutdown()


def messages_in(exporter: InMemorySpanExporter) -> list[Any]:
    return [span for span in exporter.get_finished_spans() if span.kind is SpanKind.CONSUMER]


def current() -> str:
    return format(trace.get_current_span().get_span_context().span_id, "016x")


def plain(handler: Any, message: str) -> str:
    return current()


async def coroutine(handler: Any, message: str) -> str:
    await asyncio.sleep(0)
    return current()


def generator(handler: Any, message: str) -> Any:
    yield current()
    yield current()


async def async_generator(handler: Any, message: str) -> Any:
    yield current()
    await asyncio.sleep(0)
    yield current()


@pytest.mark.parametrize("bot", [plain, coroutine, generator, async_generator])
def test_each_message_has_a_span_that_is_current_in_its_callback(exported, bot):
    options = {"run": "loop"} if bot is generator else {}
    with Chat(bot, name="bot", pattern="/bot/{room}", path="/bot/blue", options=options) as chat:
        chat.send(SECRET)
        said = set(chat.received)
        connection = chat.handler.id
    (span,) = messages_in(exported)
    assert said == {format(span.context.span_id, "016x")}
    assert span.parent is None
    assert span.name == "process bot"
    assert dict(span.attributes) == {
        "messaging.system": "websocket",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": "bot",
        "messaging.destination.template": "/bot/{room}",
        "messaging.message.body.size": len(SECRET),
        "network.protocol.name": "websocket",
        "code.function.name": bot.__name__,
        "wshandler.connection.id": connection,
    }
    assert span.status.status_code is StatusCode.UNSET


def test_they_are_linked_to_the_opening_request_which_belongs_to_its_callers_trace(exported):
    headers = {"Traceparent": PARENT, "Cookie": "token=secret"}
    with Chat(plain, name="bot", headers=headers, path="/bot?token=secret") as chat:
        chat.send("one")
        chat.send("two")
    opening, *spans = exported.get_finished_spans()
    assert (opening.name, opening.kind) == ("GET /bot", SpanKind.SERVER)
    assert format(opening.context.trace_id, "032x") == PARENT.split("-")[1]
    assert format(opening.parent.span_id, "016x") == PARENT.split("-")[2]
    assert [[link.context for link in span.links] for span in spans] == [[opening.context]] * 2
    assert len({span.context.trace_id for span in (opening, *spans)}) == 3
    assert "secret" not in opening.to_json()


@pytest.mark.parametrize("kind", ["raises", "yields and raises"])
def test_of_a_failure_its_kind_is_told_and_no_words(exported, kind):
    async def raises(handler: Any, message: str) -> None:
        raise ValueError(message)

    async def later(handler: Any, message: str) -> Any:
        yield "first"
        raise ValueError(message)

    with Chat(raises if kind == "raises" else later, raise_errors=False) as chat:
        chat.send(SECRET, wait=False)
        chat.expect_close(1011)
    (span,) = messages_in(exported)
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes["error.type"] == "ValueError"
    assert SECRET not in span.to_json()
    assert span.events == ()


def odd(handler: Any, message: str) -> Any:
    yield object()


async def async_odd(handler: Any, message: str) -> Any:
    yield object()


@pytest.mark.parametrize("run", ["thread", "loop"])
@pytest.mark.parametrize("bot", [odd, async_odd])
def test_what_cannot_be_sent_comes_from_the_line_of_the_bot_that_yields_it(exported, bot, run):
    with Chat(bot, options={"run": run}, raise_errors=False) as chat:
        chat.send("go", wait=False)
        chat.expect_close(1011)
        (error,) = chat.errors
    assert "yielded what cannot be sent" in str(error.exception)
    assert place_of(error.exception) == f"{__file__}:{bot.__code__.co_firstlineno + 1}"


def test_a_message_that_does_not_fit_is_no_error_of_the_bot(exported):
    def typed(handler: Any, message: dict[str, int]) -> None:
        pytest.fail("called")

    with Chat(typed) as chat:
        chat.send("no json")
    (span,) = messages_in(exported)
    assert span.status.status_code is StatusCode.UNSET
    assert span.attributes["error.type"] == "MessageRefused"


def test_a_span_ends_where_its_answer_is_stopped(exported):
    async def endless(handler: Any, message: str) -> Any:
        while True:
            yield "on and on"
            await asyncio.sleep(0.01)

    with Chat(endless, raise_errors=False) as chat:
        chat.send("go", wait=False)
        chat.read()
    (span,) = messages_in(exported)
    assert span.status.status_code is StatusCode.UNSET
    assert "error.type" not in span.attributes


def test_without_a_provider_nothing_stands_around_a_callback():
    assert tracing.tracing() is None
    with Chat(plain) as chat:
        callback = chat.handler.entry.callbacks["on_message"]
        assert callback.call is plain


def test_where_nobody_has_loaded_opentelemetry_it_is_not_loaded():
    script = """
        import sys
        from jupyter_wshandler.testing import Chat
        with Chat(lambda handler, message: message) as chat:
            chat.send("x")
        print([name for name in sys.modules if name.startswith("opentelemetry")])
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
