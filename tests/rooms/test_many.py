"""Rooms with very many members: lists are right at every step, and nothing stays of them."""

from __future__ import annotations

import asyncio
import gc
import itertools
import random
import tracemalloc
from types import SimpleNamespace
from typing import Any

import pytest

from jupyter_wshandler.connection.connection import Connection
from jupyter_wshandler.connection.opening import Opening
from jupyter_wshandler.connection.request import Request
from jupyter_wshandler.engine.messages import MessageProtocol
from jupyter_wshandler.functions.namespace import route_at_hand
from jupyter_wshandler.manager import WebSocketManager
from jupyter_wshandler.transports.messages import MessageTransport
from jupyter_wshandler.types import Wish

CONNECTIONS, ROOMS, PEOPLE = 10_000, 100, 4_000

PER_MEMBER = 1024
"""Bytes of memory that a member may take on top of its connection."""


async def on_message(handler: Any, message: str) -> None:
    """Say nothing."""


class Crowd:
    """Connections without sockets to one route of a manager."""

    def __init__(self, manager: WebSocketManager, options: dict[str, Any]) -> None:
        self.manager = manager
        options = {"ping_interval": False, **options}
        self.route = route_at_hand("/m", {"on_message": on_message}, options)
        manager.served.put(self.route)
        self.transports: dict[Connection, MessageTransport] = {}
        self.heard = 0

    def hear(self, message: object) -> None:
        self.heard += 1

    def open(self, user: str) -> Connection:
        opening = Opening(Request(), current_user=SimpleNamespace(username=user))
        connection = self.manager.connection(self.route, opening)
        loop = asyncio.get_running_loop()
        transport = MessageTransport(loop, self.hear, lambda: None)
        self.manager.open(connection, MessageProtocol(), transport, ())
        self.transports[connection] = transport
        return connection

    async def lose(self, connections: list[Connection]) -> None:
        for connection in connections:
            self.transports.pop(connection).lost()
        for _ in range(6):
            await asyncio.sleep(0)


async def test_ten_thousand_join_and_leave_a_hundred_rooms_and_the_lists_are_right(
    manager: WebSocketManager,
) -> None:
    crowd = Crowd(manager, {"presence": True, "history": {"size": 2}})
    choose = random.Random(7)
    expected: dict[str, dict[str, int]] = {f"r{number}": {} for number in range(ROOMS)}
    inside: list[tuple[Connection, str, str]] = []
    for number in range(CONNECTIONS):
        user, room = f"u{choose.randrange(PEOPLE)}", f"r{choose.randrange(ROOMS)}"
        connection = crowd.open(user)
        await asyncio.sleep(0)
        connection.join(room)
        inside.append((connection, user, room))
        expected[room][user] = expected[room].get(user, 0) + 1
        if number % 500 == 0:
            await check(manager, expected)
    for step in range(20):
        choose.shuffle(inside)
        leaving, inside = inside[: CONNECTIONS // 20], inside[CONNECTIONS // 20 :]
        for connection, user, room in leaving:
            if step % 2:
                connection.leave(room)
            expected[room][user] -= 1
            if not expected[room][user]:
                del expected[room][user]
        if not step % 2:
            await crowd.lose([connection for connection, _, _ in leaving])
        await check(manager, expected)
    assert not manager.rooms._spaces
    assert not manager.rooms._joined
    await crowd.lose(list(crowd.transports))


async def check(manager: WebSocketManager, expected: dict[str, dict[str, int]]) -> None:
    for room, people in expected.items():
        members = await manager.rooms.members("m", room, CONNECTIONS, 0)
        assert {member.id: member.connections for member in members} == people


@pytest.mark.parametrize("by_wire", [False, True])
async def test_a_member_takes_less_than_a_kib_on_top_of_its_connection_and_gives_it_back(
    manager: WebSocketManager, by_wire: bool
) -> None:
    count = 400 if by_wire else 2_000  # each hears of each in its room
    crowd = Crowd(manager, {"presence": True, "history": True})
    connections = [crowd.open(f"u{number}") for number in range(count)]
    await asyncio.sleep(0.05)

    async def come_and_go() -> int:
        """Return the bytes that are in use while all are in."""
        for number, connection in enumerate(connections):
            if by_wire:  # and is told who is in
                wish = Wish(f"r{number % 20}", joins=True, presence=True)
                manager.rooms.join_by_wire(connection, wish)
            else:
                connection.join(f"r{number % 20}")
        await asyncio.sleep(0)
        gc.collect()
        inside = tracemalloc.get_traced_memory()[0]
        for number, connection in enumerate(connections):
            connection.leave(f"r{number % 20}")
        await asyncio.sleep(0)
        manager.rooms.tick(asyncio.get_running_loop().time() + 1000 * next(ticks))
        gc.collect()
        return inside

    ticks = itertools.count(1)
    tracemalloc.start()
    try:
        await come_and_go()  # dictionaries keep the size that they had once
        before = tracemalloc.get_traced_memory()[0]
        inside = await come_and_go() - before
        after = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    print(f"{inside / count:.0f} B a member, {after} B left")
    assert inside / count < PER_MEMBER
    assert after < 16 * 1024
    await crowd.lose(connections)


async def test_a_broadcast_to_ten_thousand_is_encoded_once_and_reaches_each_once(
    manager: WebSocketManager,
) -> None:
    crowd = Crowd(manager, {"rooms": ["all"]})
    first = crowd.open("u")
    for _ in range(CONNECTIONS - 1):
        crowd.open("u")
    await asyncio.sleep(0)
    published = await first.broadcast({"x": 1})
    assert tuple(published) == (0, CONNECTIONS)
    assert crowd.heard == CONNECTIONS
    await crowd.lose(list(crowd.transports))
