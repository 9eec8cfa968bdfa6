"""Presence over the wire: whoever applies the list and its changes has the list as it is."""

from __future__ import annotations

import asyncio
import random
import time
from typing import Any

from support.memory import until
from support.wireclients import Roster, WireClient, serve

from jupyter_wshandler.manager import WebSocketManager
from jupyter_wshandler.rooms.watch import MAX_HELD, PAGE


async def on_message(handler: Any, message: str) -> Any:
    """Say something in a room, or leave it."""
    if message == "leave":
        handler.leave("blue")
        handler.broadcast("I have left", room="blue")
    else:
        handler.broadcast(message, room="blue")


def anywhere(handler: Any, room: str) -> bool:
    return True


def served(manager: WebSocketManager, **options: Any) -> Any:
    functions = {"on_message": on_message, "may_join": anywhere}
    return serve(manager, functions, **{"presence": True, **options})


def told(frame: Any) -> Any:
    """Return what a frame says of a member, without what differs each time."""
    return frame["change"], frame["member"]["id"], frame["member"]["connections"]


async def test_who_asks_is_told_who_is_there_and_every_change_then(
    manager: WebSocketManager,
) -> None:
    route = served(manager)
    ada, bob = WireClient(manager, route), WireClient(manager, route, "bob")
    await bob.asks({"join": "blue"})
    ada.say({"join": "blue", "presence": True})
    joined, members = await ada.hears(2)
    assert joined == {"joined": "blue"}
    assert set(members) == {"members", "room", "presence_offset"}
    assert [member["id"] for member in members["members"]] == ["bob", "ada"]
    first = members["members"][0]
    assert set(first) == {"id", "card", "connections", "since"}
    assert (first["card"], first["connections"]) == ({"name": "bob"}, 1)
    tab = WireClient(manager, route, "bob")
    await tab.asks({"join": "blue"})
    eve = WireClient(manager, route, "eve")
    await eve.asks({"join": "blue"})
    assert await tab.asks({"leave": "blue"}) == {"left": "blue"}
    eve.transport.lost()
    changes = await ada.hears(4)
    assert [told(change) for change in changes] == [
        ("changed", "bob", 2), ("joined", "eve", 1), ("changed", "bob", 1), ("left", "eve", 0),
    ]  # fmt: skip
    assert {change["room"] for change in changes} == {"blue"}
    offsets = [members["presence_offset"], *(change["presence_offset"] for change in changes)]
    assert offsets == sorted(set(offsets))
    assert (bob.news, tab.news) == ([], []), "they have not asked"


async def test_who_has_left_is_told_nothing_more_of_the_room(manager: WebSocketManager) -> None:
    route = served(manager)
    ada, bob = WireClient(manager, route), WireClient(manager, route, "bob")
    ada.say({"join": "blue", "presence": True})
    await ada.hears(2)
    assert await ada.asks({"leave": "blue"}) == {"left": "blue"}
    await bob.asks({"join": "blue", "presence": True})
    assert ada.news == []


async def test_a_route_without_presence_says_so_and_so_does_the_room_of_a_user(
    manager: WebSocketManager,
) -> None:
    ada = WireClient(manager, served(manager, presence=False))
    answer = await ada.asks({"join": "blue", "presence": True})
    assert answer == {"joined": "blue", "presence": False}
    eve = WireClient(manager, served(manager), "eve")
    answer = await eve.asks({"join": "user:eve", "presence": True})
    assert answer == {"joined": "user:eve", "presence": False}


async def test_who_is_in_already_may_ask_and_ask_again(manager: WebSocketManager) -> None:
    ada = WireClient(manager, served(manager, rooms=["blue"]))
    for _ in range(2):
        ada.say({"join": "blue", "presence": True})
        joined, members = await ada.hears(2)
        assert joined == {"joined": "blue"}
        assert [member["id"] for member in members["members"]] == ["ada"]


async def test_what_was_said_before_somebody_left_comes_before_that(
    manager: WebSocketManager,
) -> None:
    route = served(manager, rooms=["blue"])
    ada, bob = WireClient(manager, route), WireClient(manager, route, "bob")
    ada.say({"join": "blue", "presence": True})
    await ada.hears(2)
    bob.say({"message": "a last word"}, {"message": "leave"})
    first, second, third = await ada.hears(3)
    assert first["message"] == "a last word"
    assert told(second) == ("left", "bob", 0)
    assert third["message"] == "I have left"


async def test_cards_are_told_as_their_json_and_late_ones_as_a_change(
    manager: WebSocketManager,
) -> None:
    go = asyncio.Event()

    async def card(handler: Any) -> Any:
        await go.wait()
        return {"name": handler.current_user.username, "tags": {"a"}, "nan": float("nan")}

    ada = WireClient(manager, served(manager, presence={"card": card}))
    ada.say({"join": "blue", "presence": True})
    _, members = await ada.hears(2)
    assert members["members"] == []
    go.set()
    (change,) = await ada.hears()
    assert told(change) == ("joined", "ada", 1)
    assert change["member"]["card"] == {"name": "ada", "tags": ["a"], "nan": None}


async def test_since_is_when_somebody_has_joined_and_not_when_their_card_was_made(
    manager: WebSocketManager,
) -> None:
    go = asyncio.Event()

    async def card(handler: Any) -> Any:
        if handler.current_user.username == "slow":
            await go.wait()
        return handler.current_user.username

    route = served(manager, presence={"card": card})
    ada, slow = WireClient(manager, route), WireClient(manager, route, "slow")
    ada.say({"join": "blue", "presence": True})
    await ada.hears(3)
    await slow.asks({"join": "blue"})
    joined = time.time()
    quick = WireClient(manager, route, "quick")
    await quick.asks({"join": "blue"})
    (came,) = await ada.hears()
    await until(lambda: time.time() > joined)
    go.set()
    (late,) = await ada.hears()
    assert (came["member"]["id"], late["member"]["id"]) == ("quick", "slow")
    assert late["member"]["since"] <= joined <= came["member"]["since"]
    ada.say({"join": "blue", "presence": True})
    _, members = await ada.hears(2)
    assert [member["id"] for member in members["members"]] == ["ada", "slow", "quick"]


async def test_a_person_who_lingers_is_in_the_list_without_a_connection(
    manager: WebSocketManager,
) -> None:
    route = served(manager, presence={"linger": "5s"})
    ada, bob = WireClient(manager, route), WireClient(manager, route, "bob")
    await bob.asks({"join": "blue"})
    ada.say({"join": "blue", "presence": True})
    await ada.hears(2)
    bob.transport.lost()
    assert told((await ada.hears())[0]) == ("changed", "bob", 0)
    back = WireClient(manager, route, "bob")
    await back.asks({"join": "blue"})
    assert told((await ada.hears())[0]) == ("changed", "bob", 1)


async def test_a_large_list_comes_in_pages_and_changes_wait_behind_them(
    manager: WebSocketManager,
) -> None:
    route = served(manager, queue={"messages": 4})
    for number in range(2 * PAGE + 1):
        crowd = WireClient(manager, route, f"u{number:03}")
        crowd.connection.join("blue")
    ada = WireClient(manager, route, "ada", window=2)
    ada.transport.taken(1)
    ada.say({"join": "blue", "presence": True})
    await until(lambda: len(ada.frames) == 3)
    crowd.transport.lost()  # while pages are on their way
    roster = Roster()
    pages = 0
    while len(roster.people) != 2 * PAGE + 1 or "u200" in roster.people:
        for frame in await ada.hears():
            roster.take(frame)
            pages += "members" in frame
            ada.transport.taken(1)
    assert pages == 3
    assert ada.closed is None


async def test_who_takes_a_list_more_slowly_than_it_changes_gets_another_one(
    manager: WebSocketManager,
) -> None:
    route = served(manager, queue={"messages": 1})
    for number in range(PAGE):
        WireClient(manager, route, f"u{number:03}").connection.join("blue")
    ada = WireClient(manager, route, "ada", window=1)
    ada.transport.taken(1)
    ada.say({"join": "blue", "presence": True})
    await until(lambda: len(ada.frames) == 2)
    busy = WireClient(manager, route, "busy")
    for _ in range(MAX_HELD // 2 + 50):
        busy.connection.join("blue")
        busy.connection.leave("blue")
    roster = Roster()
    lists = 0
    ada.transport.taken(1)
    while lists < 2:
        for frame in await ada.hears():
            roster.take(frame)
            lists += "members" in frame and roster.is_whole
            ada.transport.taken(1)
    WireClient(manager, route, "last").connection.join("blue")
    while "last" not in roster.people:
        roster.take((await ada.hears())[0])
        ada.transport.taken(1)
    assert len(roster.people) == PAGE + 2
    assert "busy" not in roster.people


async def test_a_change_that_was_dropped_at_a_slow_client_is_made_good_by_a_list(
    manager: WebSocketManager,
) -> None:
    route = served(manager, queue={"messages": 2, "slow": "drop_oldest"})
    ada = WireClient(manager, route, window=3)
    ada.transport.taken(1)
    ada.say({"join": "blue", "presence": True})
    roster = Roster()
    for frame in await ada.hears(2):
        roster.take(frame)
    people = [WireClient(manager, route, f"u{number}") for number in range(9)]
    for person in people:
        person.connection.join("blue")
        await asyncio.sleep(0)
    for _ in range(4):
        people[0].say({"message": "noise"})
        await asyncio.sleep(0)
    await until(lambda: ada.connection.dropped)
    for _ in range(50):
        ada.transport.taken(1)
    manager.rooms.tick(asyncio.get_running_loop().time() + 100)
    ada.transport.taken(50)
    roster.is_whole = True
    for frame in ada.news:
        if "member" in frame and frame["change"] == "joined":
            roster.people.pop(frame["member"]["id"], None)
        roster.take(frame)
    assert roster.connections == {"ada": 1, **{f"u{number}": 1 for number in range(9)}}


async def test_a_change_is_encoded_once_for_all_who_are_told(manager: WebSocketManager) -> None:
    route = served(manager)
    clients = [WireClient(manager, route, f"u{number}") for number in range(20)]
    for client in clients:
        client.say({"join": "blue", "presence": True})
        await client.hears(2)
    await until(lambda: clients[0].frames[-1]["member"]["id"] == "u19")
    marked: list[Any] = []
    codec = type(clients[0].connection._protocol)
    mark = codec.mark
    try:
        codec.mark = lambda self, said: marked.append(said) or mark(self, said)  # type: ignore[func-returns-value, method-assign]
        WireClient(manager, route, "new").connection.join("blue")
        await until(lambda: all(c.frames[-1]["member"]["id"] == "new" for c in clients))
    finally:
        codec.mark = mark  # type: ignore[method-assign]
    assert [said["change"] for said in marked if "change" in said] == ["joined"]


async def test_lists_and_changes_say_who_is_in_at_every_step_whoever_comes_and_goes(
    manager: WebSocketManager,
) -> None:
    """Hundreds of random joins, leaves and losses; each watcher's list is right after each."""
    route = served(manager)
    choose = random.Random(11)
    inside: list[WireClient] = []
    watchers: list[tuple[WireClient, Roster]] = []
    for step in range(400):
        act = choose.random()
        if act < 0.5 or not inside:
            client = WireClient(manager, route, f"u{choose.randrange(30)}")
            wants = choose.random() < 0.3 and len(watchers) < 20
            client.say({"join": "blue", "presence": wants})
            await until(lambda c=client: c.connection.rooms)  # type: ignore[misc]
            inside.append(client)
            if wants:
                watchers.append((client, Roster()))
        else:
            client = inside.pop(choose.randrange(len(inside)))
            watchers = [(one, roster) for one, roster in watchers if one is not client]
            if act < 0.75:
                client.say({"leave": "blue"})
            client.transport.lost()
            await until(lambda c=client: not c.connection.rooms)  # type: ignore[misc]
        if step % 3 == 0:
            continue  # several things have happened until it is looked at
        truth: dict[str, int] = {}
        for one in inside:
            name = one.connection.current_user.username
            truth[name] = truth.get(name, 0) + 1
        for one, roster in watchers:
            for frame in one.news:
                roster.take(frame)
            assert roster.connections == truth
