"""Rooms on a backplane that has to ask somebody: every answer comes later than the next message."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from support.memory import until
from support.wireclients import WireClient, serve

from jupyter_wshandler.backplane.base import Backplane
from jupyter_wshandler.backplane.memory import Hub, MemoryBackplane
from jupyter_wshandler.connection.connection import Connection
from jupyter_wshandler.connection.opening import Opening
from jupyter_wshandler.connection.request import Request
from jupyter_wshandler.engine.messages import MessageProtocol
from jupyter_wshandler.errors import BackplaneDown, BackplaneError
from jupyter_wshandler.functions.namespace import route_at_hand
from jupyter_wshandler.manager import WebSocketManager
from jupyter_wshandler.rooms.names import channel_of
from jupyter_wshandler.rooms.room import Room
from jupyter_wshandler.transports.messages import MessageTransport

LATER = 0.005
"""Seconds until an answer of the backplane is there."""


def late(name: str) -> Callable[..., Any]:
    async def answer(self: Any, *args: Any, **options: Any) -> Any:
        await asyncio.sleep(LATER)
        found = getattr(MemoryBackplane, name)(self, *args, **options)
        await asyncio.sleep(LATER)
        return found

    return answer


class LateBackplane(MemoryBackplane):
    """A backplane whose every answer is an awaitable."""


for _name in sorted(Backplane.__abstractmethods__):
    setattr(LateBackplane, _name, late(_name))


class Client:
    def __init__(self, manager: WebSocketManager, route: Any, user: str = "ada") -> None:
        self.received: list[Any] = []
        loop = asyncio.get_running_loop()
        self.connection: Connection = manager.connection(route, Opening(Request()))
        self.transport = MessageTransport(loop, self.received.append, lambda: None)
        manager.open(self.connection, MessageProtocol(), self.transport, ())


async def on_message(handler: Any, message: str) -> None:
    """Say nothing."""


ROUTE_OPTIONS = {"history": {"replay": 3}, "presence": {"linger": 0.05}}


@pytest.fixture
async def nodes() -> AsyncIterator[list[tuple[WebSocketManager, Any]]]:
    """Return two servers that share one late backplane, each with its route."""
    hub = Hub()
    found = []
    for _ in range(2):
        manager = WebSocketManager()
        manager.rooms.backplane = LateBackplane(hub, lease=5.0)
        route = route_at_hand("/m", {"on_message": on_message}, ROUTE_OPTIONS)
        manager.served.put(route)
        await manager.start()
        found.append((manager, route))
    await asyncio.sleep(3 * LATER)
    yield found
    for manager, _ in found:
        await manager.stop(2)


async def test_who_joins_while_others_speak_gets_each_message_once_and_in_order(nodes):
    clients = [Client(manager, route) for manager, route in nodes for _ in range(2)]
    clients[0].connection.join("blue")
    await asyncio.sleep(6 * LATER)
    for number in range(20):
        if number in (5, 10, 15):
            clients[number // 5].connection.join("blue")
        await clients[0].connection.broadcast(str(number), room="blue")
        await asyncio.sleep(LATER / 3)
    await until(lambda: all(client.received[-1:] == ["19"] for client in clients))
    for client in clients:
        first = int(client.received[0])
        assert client.received == [str(number) for number in range(first, 20)]
    assert clients[0].received[0] == "0"


async def test_awaited_a_broadcast_says_what_happened_on_this_node(nodes):
    here = [Client(*nodes[0]) for _ in range(3)]
    there = Client(*nodes[1])
    for client in (*here, there):
        client.connection.join("blue")
    await asyncio.sleep(8 * LATER)
    published = await here[0].connection.broadcast("x", room="blue", exclude_self=True)
    assert tuple(published) == (1, 2)
    await until(lambda: there.received == ["x"])
    assert here[0].received == []
    nobody = await nodes[0][0].rooms.publish("m", "empty", "x")
    assert tuple(nobody) == (1, 0)


async def test_a_room_that_begins_while_a_message_is_on_its_way_leaves_nobody_waiting(nodes):
    """It is heard from behind the message, which so never comes back to who has said it."""
    (manager, _), _ = nodes
    said = manager.rooms.publish("m", "new", "x")
    client = Client(*nodes[0])
    client.connection.join("new")
    async with asyncio.timeout(5):
        assert tuple(await said) == (1, 0)
        assert tuple(await manager.rooms.publish("m", "new", "y")) == (2, 1)
    assert client.received[-1] == "y"


async def test_a_message_that_does_not_come_back_leaves_nobody_waiting(nodes, monkeypatch):
    (manager, _), _ = nodes
    client = Client(*nodes[0])
    client.connection.join("blue")
    await manager.rooms.publish("m", "blue", "first")  # so it is in
    with monkeypatch.context() as broken:
        broken.setattr(Room, "published", lambda *_: None)
        said = manager.rooms.publish("m", "blue", "x")
        await until(lambda: manager.rooms._untold)
    manager.rooms.mend()  # it may be on its way
    assert not said.done
    manager.rooms.mend()  # seconds later
    async with asyncio.timeout(5):
        assert tuple(await said) == (2, 0)
        assert tuple(await manager.rooms.publish("m", "blue", "y")) == (3, 1)
    assert manager.rooms._waiting == manager.rooms._untold == manager.rooms._overdue == {}


async def test_presence_is_the_same_on_both_nodes_and_one_person_lingers(nodes):
    (first, _), (second, _) = nodes
    ada, bob = Client(*nodes[0]), Client(*nodes[1])
    for client in (ada, bob):
        client.connection.join("blue")

    async def count(manager: WebSocketManager) -> tuple[int, int]:
        members = await manager.rooms.members("m", "blue", 100, 0)
        return len(members), sum(member.connections for member in members)

    async def becomes(expected: tuple[int, int]) -> None:
        async with asyncio.timeout(5):
            while [await count(first), await count(second)] != [expected, expected]:
                await asyncio.sleep(LATER)

    await becomes((2, 2))
    bob.transport.lost()
    await becomes((2, 1))
    await becomes((1, 1))
    ada.connection.leave("blue")
    await becomes((0, 0))


async def test_history_and_users_reach_over_both_nodes(nodes):
    ada = Client(*nodes[0])
    ada.connection.join("blue")
    await asyncio.sleep(6 * LATER)
    for word in ("one", "two"):
        await ada.connection.broadcast(word, room="blue")
    said = await nodes[1][0].rooms.said("m", "blue", 0, None)
    assert [(one.offset, one.message) for one in said] == [(1, "one"), (2, "two")]
    await nodes[1][0].rooms.clear("m", "blue")
    assert await nodes[0][0].rooms.said("m", "blue", 0, None) == []


def test_every_method_of_the_contract_is_late_here():
    first: Awaitable[Any] = LateBackplane(Hub()).sweep()  # type: ignore[assignment]
    assert asyncio.iscoroutine(first)
    first.close()


async def test_who_comes_in_while_nothing_can_be_read_hears_what_is_said_then(nodes, caplog):
    (manager, _), _ = nodes

    async def fails(*_: Any, **__: Any) -> Any:
        raise BackplaneDown("it is away")

    manager.rooms.backplane.history = fails  # type: ignore[attr-defined]
    client = Client(*nodes[0])
    client.connection.join("blue")
    await asyncio.sleep(6 * LATER)
    await client.connection.broadcast("x", room="blue")
    await until(lambda: client.received == ["x"])
    assert "Traceback" not in caplog.text


async def test_who_was_taken_for_gone_while_their_node_stood_still_is_in_again(nodes):
    ada, bob = Client(*nodes[0]), Client(*nodes[1])
    for client in (ada, bob):
        client.connection.join("blue")

    async def count() -> list[int]:
        found = [await manager.rooms.members("m", "blue", 100, 0) for manager, _ in nodes]
        return [sum(member.connections for member in members) for members in found]

    async def becomes_two() -> None:
        async with asyncio.timeout(5):
            while await count() != [2, 2]:
                await asyncio.sleep(LATER)

    await becomes_two()
    backplane = nodes[0][0].rooms.backplane
    hub = backplane._hub
    clock = hub.clock
    hub.clock = lambda: clock() + 6  # all leases are over before anybody could renew one
    assert (await backplane.entries(channel_of("m", "blue"))).by_key == {}
    await becomes_two()
    ada.connection.leave("blue")
    async with asyncio.timeout(5):
        while await count() != [1, 1]:
            await asyncio.sleep(LATER)


async def test_a_list_that_could_not_be_read_when_its_room_began_is_read_later(monkeypatch):
    """The store refuses for a while, as one whose replicas are away; the room is there already."""
    manager, came = WebSocketManager(), []
    backplane = manager.rooms.backplane = LateBackplane(Hub(), lease=5.0)

    async def on_join(room: str, member: Any) -> None:
        came.append(member.id)

    async def refuses(*_: Any) -> Any:
        raise BackplaneError("it has no replicas")

    functions = {"on_message": on_message, "on_join": on_join, "may_join": lambda *_: True}
    route = serve(manager, functions, presence=True)
    await manager.start()
    with monkeypatch.context() as refusing:
        refusing.setattr(backplane, "entries", refuses)
        refusing.setattr(backplane, "add", refuses)
        first, second = WireClient(manager, route, "ada"), WireClient(manager, route, "bob")
        first.say({"join": "blue", "presence": True})
        await until(lambda: any("members" in frame for frame in first.frames))
        refusing.undo()
    second.say({"join": "blue"})  # is in the list that is read later, and has been told of nobody
    presences = backplane._hub.presences
    await until(lambda: any(second.connection.id in one.by_key for one in presences.values()))
    assert [await manager.rooms.members("m", "blue", 9, 0), came] == [[], []]
    manager.rooms.mend()
    await until(lambda: came == ["bob"])
    lists = [frame["members"] for frame in first.frames if "members" in frame]
    assert [[member["id"] for member in members] for members in lists] == [[], ["bob"]]
    await until(lambda: sorted(came) == ["ada", "bob"])  # once it is leased anew
    await manager.stop(2)
