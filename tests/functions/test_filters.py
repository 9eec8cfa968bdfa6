"""What can be a filter, and what stands around callbacks where a route has some."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from functions.test_resolve import PLACE, Bots

from jupyter_wshandler.config.model import FunctionSpec
from jupyter_wshandler.errors import CallbackError
from jupyter_wshandler.functions.filtering import filters_of, with_filters
from jupyter_wshandler.functions.filters import Filter, filter_of
from jupyter_wshandler.functions.reload import resolve_filter

MODULE = """
    class Cards:
        made = 0
        def __init__(self): Cards.made += 1
        def outgoing(self, handler, message): return message.replace("4711", "****")

    class Needy:
        def __init__(self, path): ...
        def incoming(self, handler, message): return message

    class Broken:
        def __init__(self): raise OSError("no such log")
        def incoming(self, handler, message): return message

    class Typo:
        def incoming(self, handler, message): return message
        def outgoin(self, handler, message): return message

    class Later:
        async def outgoing(self, handler, message): return message

    class Stream:
        def incoming(self, handler, message): yield message

    class Few:
        def incoming(self, message): return message

    class Value:
        incoming = "yes"

    class Nothing: ...

    def both(handler, message, way): return message
    async def both_later(handler, message, way): return message
    def two(handler, message): return message
    number = 7
    def on_open(handler): ...
    async def incoming(handler, message): return message
"""


def found(bots: Bots, name: str) -> Filter:
    bots.write("audit.py", MODULE)
    return resolve_filter(bots.resolver, FunctionSpec(function=name, place=PLACE))


@pytest.mark.parametrize(
    ("name", "functions"),
    [
        ("audit", ["on_open", "incoming"]),
        ("audit.Cards", ["outgoing"]),
        ("audit.both", ["incoming", "outgoing"]),
    ],
)
def test_a_module_a_class_and_a_function_are_filters(bots: Bots, name, functions):
    assert [*found(bots, name).functions] == functions


def test_a_module_in_a_package_is_found_by_its_whole_name(bots: Bots):
    bots.write("watch/__init__.py", "")
    bots.write("watch/cards.py", "def outgoing(handler, message): return message")
    one = resolve_filter(bots.resolver, FunctionSpec(function="watch.cards", place=PLACE))
    assert (one.name, [*one.functions]) == ("watch.cards", ["outgoing"])


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("audit.Card", "there is no Card in audit.py; did you mean Cards?"),
        ("audi", "there is no module audi"),
        ("audit.Needy", "the class is called without arguments to make the filter"),
        ("audit.Broken", "OSError: no such log, at audit.py:"),
        ("audit.Typo", "audit.Typo: found outgoin; did you mean outgoing?"),
        ("audit.Later", "audit.Later.outgoing is an async def, and messages leave without waiting"),
        ("audit.both_later", "audit.both_later is an async def"),
        ("audit.Stream", "audit.Stream.incoming is a generator, which a filter cannot be"),
        ("audit.Few", "audit.Few.incoming: expected incoming(handler, message), found incoming("),
        ("audit.two", "expected two(handler, message, way), found two(handler, message)"),
        ("audit.Value", "audit.Value.incoming: expected a function, found a str"),
        ("audit.Nothing", "expected a filter with at least one of on_open, incoming, outgoing"),
        ("audit.number", "found a int without any of them"),
    ],
)
def test_what_is_no_filter_is_refused_in_words(bots: Bots, name, words):
    with pytest.raises(CallbackError) as caught:
        found(bots, name)
    assert words in str(caught.value).replace(f"{bots.folder}/", "")


# ---- around a callback -----------------------------------------------------------------------


class Handler(SimpleNamespace):
    """As much of a connection as filters of what comes in need."""

    def keep_filtered(self, message: Any) -> None:
        self.kept = message


def around(*filters: Any, event: str = "on_message", **callback: Any) -> Any:
    made = SimpleNamespace(event=event, name="bot", inline=True, **callback)
    named = [filter_of(f"f{number}", one) for number, one in enumerate(filters)]
    return with_filters({event: made}, filters_of(named))[event]


def adds(word: str, **more: Any) -> Any:
    return SimpleNamespace(incoming=lambda handler, message: message + word, **more)


def adds_later(word: str) -> Any:
    async def incoming(handler: Any, message: str) -> str:
        await asyncio.sleep(0)
        return message + word

    return SimpleNamespace(incoming=incoming)


def test_the_first_filter_is_the_outermost():
    filtered = around(adds("1"), adds("2"), call=lambda handler, message: f"got {message}")
    handler = Handler()
    assert filtered.call(handler, "m") == "got m12"
    assert handler.kept == "m12"
    outside = [filter_of("a", adds("", outgoing=lambda handler, message: message))]
    outside += [filter_of("b", adds("", outgoing=lambda handler, message: message))]
    assert [name for name, _ in filters_of(outside).outgoing] == ["b.outgoing", "a.outgoing"]


def test_a_coroutine_among_them_is_awaited_on_the_loop_in_order():
    async def bot(handler: Any, message: str) -> str:
        return f"got {message}"

    for call in (bot, lambda handler, message: f"got {message}"):
        filtered = around(adds("1"), adds_later("2"), adds("3"), call=call)
        assert asyncio.run(filtered.call(Handler(), "m")) == "got m123"


def test_a_generator_stays_one():
    async def bot(handler: Any, message: str) -> Any:
        yield message
        yield "end"

    async def all_of(made: Any) -> list[str]:
        return [item async for item in made]

    assert asyncio.run(all_of(around(adds("1"), call=bot).call(Handler(), "m"))) == ["m1", "end"]


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        (None, "f0.incoming returned None; return the message"),
        (b"m", "f0.incoming got a str and returned a bytes"),
        ({"a": 1}, "f0.incoming got a str and returned a dict"),
    ],
)
def test_what_a_filter_returns_must_be_a_message_and_else_none_is_kept(returned, words):
    wrong = SimpleNamespace(incoming=lambda handler, message: returned)
    handler = Handler()
    with pytest.raises(TypeError, match=words):
        around(wrong, call=lambda handler, message: pytest.fail("called")).call(handler, "m")
    assert handler.kept is None


def test_callbacks_that_no_filter_looks_at_are_as_they_were():
    made = SimpleNamespace(event="on_pong", name="bot", inline=True, call=print)
    filters = filters_of([filter_of("f", adds("1"))])
    assert with_filters({"on_pong": made}, filters) == {"on_pong": made}
    assert with_filters({"on_pong": made}, filters_of([])) == {"on_pong": made}


def test_on_close_of_a_filter_comes_last_also_where_the_callback_fails():
    said: list[str] = []
    last = SimpleNamespace(on_close=lambda handler: said.append("filter"))

    def fails(handler: Any) -> None:
        said.append("bot")
        raise ValueError

    with pytest.raises(ValueError):
        around(last, event="on_close", call=fails).call(Handler())
    assert said == ["bot", "filter"]

    async def later(handler: Any) -> None:
        await asyncio.sleep(0)
        said.append("bot")

    asyncio.run(around(last, event="on_close", call=later).call(Handler()))
    assert said == ["bot", "filter"] * 2

    def steps(handler: Any) -> Any:
        said.append("bot")
        yield
        said.append("bot again")

    assert [*around(last, event="on_close", call=steps).call(Handler())] == [None]
    assert said[4:] == ["bot", "bot again", "filter"]
