"""A client that comes back to another server than its own: told at once, and given up there."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from support.memory import Visitor, own_tasks, route, running_manager, turns, until

from jupyter_wshandler.backplane.base import Publication
from jupyter_wshandler.backplane.memory import Hub, MemoryBackplane
from jupyter_wshandler.config.model import ResumeConfig
from jupyter_wshandler.engine.resuming import ComeBack
from jupyter_wshandler.manager import WebSocketManager
from jupyter_wshandler.manager import elsewhere as elsewheres
from jupyter_wshandler.manager.elsewhere import Elsewhere

SECRET = "s" * 32
ANNE = ("user:anne",)


@pytest.fixture
async def managers() -> AsyncIterator[list[WebSocketManager]]:
    """Two servers of one deployment."""
    hub = Hub()
    found = [WebSocketManager(backplane=MemoryBackplane(hub, lease=30.0)) for _ in range(2)]
    for manager in found:
        await manager.start()
    await until(lambda: "nodes" in hub.presences and len(hub.presences["nodes"].by_key) == 2)
    yield found
    for manager in found:
        await manager.stop(0.2)
    assert own_tasks() == []


class Bot:
    """A bot that takes note of who has come and gone."""

    def __init__(self) -> None:
        self.ended: list[tuple[str, int | None]] = []
        self.route = route(
            on_message=lambda handler, message: message,
            on_close=lambda handler: self.ended.append((handler.id, handler.close_code)),
            options={"resume": ResumeConfig(window=60.0)},
            loop=("on_message", "on_close"),
        )

    def visitor(self, manager: WebSocketManager, **options: Any) -> Visitor:
        """Return a client whose connection outlives breaks."""
        visitor = Visitor(manager, self.route, **options)
        codec, line = visitor.connection.outlive(visitor.protocol, visitor.transport, SECRET, ANNE)
        manager.open(visitor.connection, codec, line, b"")
        return visitor


def back(visitor: Visitor, secret: str = SECRET) -> ComeBack:
    return ComeBack(visitor.connection.id, secret, 0)


async def test_the_id_of_a_connection_tells_its_server_only_where_there_are_several(managers):
    names = [manager.elsewhere.new_id() for manager in managers for _ in range(2)]
    assert len({*names}) == 4
    assert len({name[16:] for name in names}) == 2
    for lonely in (None, MemoryBackplane()):
        alone = Elsewhere(lonely, managers[0].resumes, managers[0].log)
        assert len(alone.new_id()) == 16


async def test_whose_connection_is_on_another_server_is_told_so_and_it_ends_there(managers):
    bot = Bot()
    away = bot.visitor(managers[0])
    away.vanish()
    await until(lambda: away.connection.away)
    found = await managers[1].elsewhere.find(back(away), away.connection, ANNE)
    assert found == "elsewhere"
    await until(lambda: bot.ended)
    assert bot.ended == [(away.connection.id, 1006)]
    assert managers[0].connections == {}
    # There is nothing to come back to any more.
    assert await managers[1].elsewhere.find(back(away), away.connection, ANNE) == "unknown"


async def test_a_break_that_was_not_seen_yet_is_the_end_as_well(managers):
    bot = Bot()
    there = bot.visitor(managers[0])
    await turns()
    assert await managers[1].elsewhere.find(back(there), there.connection, ANNE) == "elsewhere"
    await until(lambda: bot.ended)
    assert bot.ended == [(there.connection.id, 1006)]
    assert there.transport.aborted


@pytest.mark.parametrize(
    ("secret", "users", "reason"),
    [
        ("t" * 32, ANNE, "unknown"),
        (SECRET, ("user:bob",), "user"),
    ],
)
async def test_nobody_else_ends_a_connection_of_another_server(managers, secret, users, reason):
    bot = Bot()
    away = bot.visitor(managers[0])
    away.vanish()
    await until(lambda: away.connection.away)
    found = await managers[1].elsewhere.find(back(away, secret), away.connection, users)
    assert found == reason
    assert away.connection.id in managers[0].connections
    assert bot.ended == []


async def test_at_another_address_a_connection_is_not_known(managers):
    bot = Bot()
    away = bot.visitor(managers[0])
    away.vanish()
    await until(lambda: away.connection.away)
    other = Visitor(managers[1], route("other", options={"resume": ResumeConfig()}))
    assert await managers[1].elsewhere.find(back(away), other.connection, ANNE) == "unknown"
    assert bot.ended == []


async def test_what_the_bot_has_ended_is_told_as_ended(managers):
    bot = Bot()
    away = bot.visitor(managers[0])
    away.vanish()
    await until(lambda: away.connection.away)
    away.connection.end(4000, "enough")
    await until(lambda: bot.ended)
    assert await managers[1].elsewhere.find(back(away), away.connection, ANNE) == "ended"


async def test_a_server_that_is_not_there_is_not_waited_for(managers):
    visitor = Bot().visitor(managers[1])
    for name in ("0" * 24, "0" * 16, "", "x" * 64, managers[1].elsewhere.new_id()):
        said = ComeBack(name, SECRET, 0)
        async with asyncio.timeout(elsewheres.PATIENCE / 2):
            found = await managers[1].elsewhere.find(said, visitor.connection, ANNE)
        assert found == "unknown"


async def test_a_server_that_does_not_answer_is_waited_for_half_a_second(managers, monkeypatch):
    bot = Bot()
    away = bot.visitor(managers[0])
    away.vanish()
    await until(lambda: away.connection.away)
    monkeypatch.setattr(elsewheres, "PATIENCE", 0.05)
    backplane = managers[0].elsewhere._backplane
    backplane.unsubscribe(f"node:{managers[0].elsewhere.tag}")
    assert await managers[1].elsewhere.find(back(away), away.connection, ANNE) == "unknown"
    assert managers[1].elsewhere._asked == {}


async def test_what_is_no_question_is_left_out(managers):
    one = managers[0].elsewhere
    told = ["", "[]", "{}", '["ask"]', '["told",1,"maybe"]', '["told",7,"elsewhere"]', "\x00", "1"]
    told.append(json.dumps(["ask", 1, "t", "id", "no digits", ["u"], ["r", [], {}]]))
    for text in told:
        one._backplane.publish(f"node:{one.tag}", Publication(text))
    await turns()
    assert not one._tasks


async def test_a_server_that_stops_is_known_no_more():
    hub = Hub()
    async with running_manager(backplane=MemoryBackplane(hub, lease=30.0)) as manager:
        await until(lambda: "nodes" in hub.presences and hub.presences["nodes"].by_key)
        assert [*hub.presences["nodes"].by_key] == [manager.elsewhere.tag]
    assert hub.presences["nodes"].by_key == {}


async def test_what_is_not_the_same_on_all_servers_is_said_once(caplog):
    hub = Hub()
    found = [WebSocketManager(backplane=MemoryBackplane(hub, lease=30.0)) for _ in range(3)]
    for manager, digest in zip(found, ("aa", "aa", "bb"), strict=True):
        manager.elsewhere.alike = {"c.ServerApp.cookie_secret": digest}
        await manager.start()
        tag = manager.elsewhere.tag
        await until(
            lambda tag=tag: "nodes" in hub.presences and tag in hub.presences["nodes"].by_key
        )
        await turns()
    said = [one.getMessage() for one in caplog.records if "not the same" in one.getMessage()]
    assert [line.split(" ")[0] for line in said] == ["c.ServerApp.cookie_secret"]
    for manager in found:
        await manager.stop(0.2)
