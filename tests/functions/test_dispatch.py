"""``types:`` of a route: one function for each kind of message."""

from __future__ import annotations

import pytest
from functions.test_resolve import Bots

from jupyter_wshandler.errors import CallbackError, MessageRefused
from jupyter_wshandler.functions.dispatch import Dispatcher, with_types

MODULE = """
    import msgspec
    from dataclasses import dataclass
    from typing import Literal

    class Ask(msgspec.Struct, tag="ask"):
        text: str

    class Kinded(msgspec.Struct, tag="kinded", tag_field="kind"):
        text: str

    class Numbered(msgspec.Struct, tag=1):
        text: str

    class Strict(msgspec.Struct, forbid_unknown_fields=True):
        text: str

    @dataclass
    class Vote:
        poll: int

    @dataclass
    class Say:
        kind: Literal["say"]
        text: str

    def ask(handler, message: Ask): return "asked", message
    async def vote(handler, message: Vote): return "voted", message
    def other(handler, message): return "other", message
    def kinded(handler, message: Kinded): return "kinded", message
    def say(handler, message: Say): return "said", message
    def numbered(handler, message: Numbered): return "numbered", message
    def strict(handler, message: Strict): return "strict", message
"""


def dispatcher(bots: Bots, run: str = "thread", **functions: str) -> Dispatcher:
    bots.write("wsbot.py", MODULE)
    found = {
        f"types {tag}": bots.find(f"wsbot.{name}", "types", run) for tag, name in functions.items()
    }
    callbacks = with_types(found)
    assert [*callbacks] == ["on_message"]
    made = callbacks["on_message"]
    assert isinstance(made, Dispatcher)
    return made


def test_each_message_goes_to_the_function_of_its_tag_decoded_as_that_says(bots: Bots):
    made = dispatcher(bots, ask="ask", other="other")
    what, message = made.call(None, '{"type": "ask", "text": "hi"}')
    assert (what, message.text) == ("asked", "hi")
    # A function without a type gets what the object holds.
    assert made.call(None, '{"type": "other", "x": 1}') == ("other", {"type": "other", "x": 1})
    assert (made.event, made.name) == ("on_message", "types (wsbot.ask, wsbot.other)")


@pytest.mark.parametrize(
    ("message", "path", "expected", "found"),
    [
        ('{"text": "hi"}', "$.type", '"ask" or "vote"', "nothing"),
        ('{"type": "leave"}', "$.type", '"ask" or "vote"', '"leave"'),
        ('{"type": 7}', "$.type", '"ask" or "vote"', "7"),
        ('{"type": "ask"}', "$.text", "str", "nothing"),
        ('{"type": "vote", "poll": "x"}', "$.poll", "int", '"x"'),
        ('["ask"]', "$", "object", "array with 1 item"),
        (b"{}", "$", "JSON, as text", "a binary message"),
    ],
    ids=str,
)
def test_a_message_of_no_kind_or_of_a_wrong_one_is_refused(bots, message, path, expected, found):
    made = dispatcher(bots, ask="ask", vote="vote")
    with pytest.raises(MessageRefused) as caught:
        made.call(None, message)
    error = caught.value
    assert (error.path, error.expected, error.found) == (path, expected, found)


def test_it_runs_on_the_loop_only_where_all_of_them_do(bots: Bots):
    assert not dispatcher(bots, ask="ask", vote="vote").inline
    assert dispatcher(bots, "loop", ask="ask", vote="vote").inline
    assert dispatcher(bots, vote="vote").inline


def test_the_field_that_has_the_tag_is_the_one_that_the_types_name(bots: Bots):
    made = dispatcher(bots, kinded="kinded", say="say", other="other")
    assert made.field == "kind"
    assert made.call(None, '{"kind": "say", "text": "hi"}')[0] == "said"
    assert made.call(None, '{"kind": "other"}') == ("other", {"kind": "other"})
    numbered = dispatcher(bots, **{"1": "numbered"})
    assert numbered.call(None, '{"type": 1, "text": "hi"}')[0] == "numbered"


@pytest.mark.parametrize(
    ("functions", "words"),
    [
        ({"question": "ask"}, "and stands under 'question'; write ask: wsbot.ask"),
        ({"ask": "ask", "say": "say"}, "in 'type', and those of wsbot.say in 'kind'"),
        ({"1": "numbered", "vote": "vote"}, "some tags are numbers and some are texts"),
        ({"strict": "strict"}, "without other fields than its own, and 'type'"),
    ],
    ids=["another tag", "two fields", "two kinds of tags", "no field for the tag"],
)
def test_functions_that_do_not_go_together_are_refused(bots: Bots, functions, words):
    with pytest.raises(CallbackError, match=r"^types: ") as caught:
        dispatcher(bots, **functions)
    assert words in str(caught.value)


def test_callbacks_without_types_stay_as_they_are(bots: Bots):
    bots.write("wsbot.py", MODULE)
    callback = bots.find("wsbot.ask")
    assert with_types({"on_message": callback}) == {"on_message": callback}
