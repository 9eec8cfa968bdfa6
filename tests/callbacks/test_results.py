"""What a `def` returns or yields becomes JSON in its thread, and not on the event loop."""

from __future__ import annotations

import threading
import time

import pytest
from support.memory import Visitor, route, until

pytestmark = pytest.mark.timeout(60)


class Slow:
    """Become JSON by code of its own, as models and lazy tables do."""

    def __init__(self) -> None:
        self.threads: list[threading.Thread] = []

    def __array__(self, *args):
        raise NotImplementedError

    def tolist(self) -> list[int]:
        self.threads.append(threading.current_thread())
        time.sleep(0.02)
        return [1, 2]


@pytest.mark.parametrize("yields", [False, True])
async def test_what_a_def_returns_or_yields_becomes_json_in_its_thread(manager, yields) -> None:
    value = Slow()

    def returning(handler, message):
        return {"a": value}

    def yielding(handler, message):
        yield {"a": value}

    bot = yielding if yields else returning
    visitor = Visitor(manager, route("bot", on_message=bot)).open()
    visitor.send("go")
    await visitor.received('{"a":[1,2]}')
    assert value.threads
    assert threading.current_thread() not in value.threads


@pytest.mark.parametrize("yields", [False, True])
async def test_what_cannot_be_sent_is_told_by_the_name_of_the_def(manager, yields, caplog) -> None:
    def returning(handler, message):
        return {"a": object()}

    def yielding(handler, message):
        yield {"a": object()}

    bot = yielding if yields else returning
    visitor = Visitor(manager, route("bot", on_message=bot)).open()
    visitor.send("go")
    await until(lambda: "what cannot be sent: $.a is of type object" in caplog.text)
    assert f"{'yielding yielded' if yields else 'returning returned'} what cannot" in caplog.text


async def test_what_is_ignored_is_not_made_json_of(manager) -> None:
    value = Slow()

    def on_message(handler, message):
        handler.state[message] = True
        return {"a": value}

    bot = route("bot", options={"returns": "ignore"}, on_message=on_message)
    visitor = Visitor(manager, bot).open()
    visitor.send("one")
    visitor.send("two")
    await until(lambda: visitor.connection.state.get("two"))  # so "one" has been dealt with
    assert not value.threads
