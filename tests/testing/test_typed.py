"""Typed messages in a `Chat`: in a thread, on the loop, asked and sent, and by `types`."""

from __future__ import annotations

import importlib.util
import logging
import sys

import pytest
from support.bots import FOLDER

from jupyter_wshandler.errors import AnswerFailed, ConfigError, MessageRefused
from jupyter_wshandler.testing import Chat

SPEC = importlib.util.spec_from_file_location("wsbot_typed", FOLDER / "typed.py")
typed = importlib.util.module_from_spec(SPEC)
sys.modules[SPEC.name] = typed  # where annotations are looked up
SPEC.loader.exec_module(typed)

WRONG = {"error": "message", "path": "$.text", "expected": "str", "found": "5"}


async def on_the_loop(handler, message: typed.Ask):
    return typed.on_message(handler, message)


def a_generator(handler, message: typed.Ask):
    yield message.text
    yield typed.Colour.RED


@pytest.fixture(autouse=True)
def _nothing_given():
    typed.GIVEN.clear()


@pytest.mark.parametrize("bot", [typed.on_message, typed.ask, on_the_loop, a_generator])
def test_what_does_not_fit_is_answered_and_reaches_no_function(bot, caplog):
    caplog.set_level(logging.INFO)
    with Chat(bot) as chat:
        chat.send({"type": "ask", "text": 5})
        chat.expect(WRONG)
        with pytest.raises(
            AnswerFailed, match=r"refused: \$\.text: expected str, found 5"
        ) as failed:
            chat.ask({"type": "ask", "text": 5})
        assert (failed.value.how, failed.value.path) == ("refused", "$.text")
        assert failed.value.retry_after is None
        chat.send("hello")
        assert chat.json["path"] == "$"
        chat.send(b"hello")
        assert chat.json["found"] == "a binary message"
        assert typed.GIVEN == []
        assert not chat.closed
        assert chat.errors == []
        # And it goes on.
        assert chat.ask({"type": "ask", "text": "hi"}) in (
            {"type": "answer", "text": "Ask", "at": "2026-01-01T00:00:00Z"},
            ["hi", "red"],
        )
    assert caplog.records == []


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ({"type": "ask", "text": "hi"}, "Ask"),
        ({"type": "vote", "colour": "red"}, "Vote"),
        ({"type": "leave"}, "dict"),
    ],
)
def test_a_union_gives_each_kind_as_its_own_type(message, kind):
    with Chat(typed.on_message) as chat:
        assert chat.ask(message)["text"] == kind
    assert [type(one).__name__ for one in typed.GIVEN] == [kind]


TYPES = {"ask": typed.ask, "vote": typed.vote, "other": typed.other}


def test_types_calls_a_function_for_each_kind_in_a_thread_and_on_the_loop():
    with Chat(options={"types": TYPES}) as chat:
        assert chat.ask({"type": "ask", "text": "hi"})["text"] == "Ask"
        assert chat.ask({"type": "vote", "colour": "red"}) == ["red", "blue"]
        assert chat.ask({"type": "other", "b": 1, "a": 2}) == {"keys": ["a", "b", "type"]}
        chat.send({"type": "another"})
        chat.expect(
            {
                "error": "message",
                "path": "$.type",
                "expected": '"ask", "vote" or "other"',
                "found": '"another"',
            }
        )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"types": {"ask": typed.ask}, "source": typed.on_message}, "exclude each other"),
        ({"types": {"ask": "typed.ask"}}, "ask: expected a function, found 'typed.ask'"),
        ({"types": [typed.ask]}, "expected a mapping of tags to functions"),
    ],
    ids=["with on_message", "a name", "a list"],
)
def test_types_that_cannot_be_meant_are_refused(options, words):
    source = options.pop("source", None)
    with pytest.raises(ConfigError, match=words):
        Chat(source, options=options)


def test_a_bot_may_refuse_a_message_by_itself():
    def on_message(handler, message: typed.Ask):
        if message.text == "no":
            raise MessageRefused("$.text", "anything else", '"no"')
        return "yes"

    with Chat(on_message) as chat:
        chat.send({"type": "ask", "text": "no"})
        chat.expect({**WRONG, "expected": "anything else", "found": '"no"'})
        assert chat.errors == []


def test_messages_are_handled_in_order_also_where_some_are_refused():
    def on_message(handler, message: int):
        return message

    with Chat(on_message) as chat:
        for message in ("1", "x", "2", "3"):
            chat.send(message, wait=False)
        chat.expect("1")
        assert chat.expect(dict)["error"] == "message"
        chat.expect("2")
        chat.expect("3")


def test_one_who_leaves_behind_a_wrong_message_costs_no_error(caplog):
    with Chat(typed.ask) as chat:
        chat.send("x", wait=False)
        chat.vanish()
        assert chat.errors == []
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
