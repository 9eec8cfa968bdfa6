"""A bot that writes into what its connection is made of harms nobody but itself."""

from __future__ import annotations

import asyncio

import pytest
from support.memory import Visitor, route, until

pytestmark = pytest.mark.timeout(60)


async def test_a_connection_whose_own_state_is_broken_is_ended_and_told_once(
    manager, caplog
) -> None:
    def on_message(handler, message):
        handler._route = None

    async def echo(handler, message):
        return message

    visitor = Visitor(manager, route("bot", on_message=on_message)).open()
    other = Visitor(manager, route("other", on_message=echo)).open()
    name = visitor.connection.id
    visitor.send("break")
    await until(lambda: name not in manager.connections)
    assert visitor.transport.aborted
    await asyncio.sleep(1.0)  # the clock looks at the connections several times
    assert caplog.text.count(f"Connection {name} could not be looked at, and is ended") == 1
    other.send("still here")
    await other.received("still here")
