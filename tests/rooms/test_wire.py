"""Rooms over the wire: clients of `wsh.v1` join and leave by themselves, and are told of it."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from typing import Any

import pytest
from support.memory import Gate, until
from support.wireclients import WireClient, serve

from jupyter_wshandler.manager import WebSocketManager
from jupyter_wshandler.rooms.wishes import MAX_WAITING

ROOM, BYTES = {"room": "blue"}, b"\x00\x00\x00\x00"
NOT_OPEN = {"error": "room", "detail": "this room is not open to you"}
NO_NAME = {"error": "room", "detail": "this is no name of a room"}
TOO_MANY = {"error": "room", "detail": "there is no room for one more room"}


async def on_message(handler: Any, message: str) -> Any:
    """Say something in a room, join, leave, or tell which rooms there are."""
    word, _, rest = message.partition(" ")
    if word == "say":
        room, _, text = rest.partition(" ")
        handler.broadcast(text.encode() if text == "bytes" else text, room=room)
    elif word == "others":
        handler.broadcast(rest, room="blue", exclude_self=True)
    elif word == "join":
        handler.join(rest)
    elif word == "leave":
        handler.leave(rest)
    else:
        return list(handler.rooms)
    return None


async def only_blue(handler: Any, room: str) -> bool:
    return room == "blue"


def anywhere(handler: Any, room: str) -> bool:
    return True


def served(manager: WebSocketManager, **options: Any) -> Any:
    functions = {"on_message": on_message, "may_join": options.pop("may_join", anywhere)}
    return serve(manager, {k: f for k, f in functions.items() if f is not None}, **options)


# ---- joining and leaving -----------------------------------------------------------------------


async def test_a_client_joins_over_the_wire_and_hears_what_is_said_until_it_leaves(
    manager: WebSocketManager,
) -> None:
    route = served(manager)
    ada, bob = WireClient(manager, route), WireClient(manager, route, "bob")
    assert await ada.asks({"join": "blue"}) == {"joined": "blue"}
    assert await ada.asks({"message": "?", "ask": 1}) == {
        "reply": '["blue"]', "of": 1, "json": True,
    }  # fmt: skip
    bob.say({"message": "say blue hello"})
    assert (await ada.hears(2))[1] == {"message": "hello", "room": "blue"}
    assert await ada.asks({"leave": "blue"}) == {"left": "blue"}
    bob.say({"message": "say blue again"})
    await until(lambda: manager.rooms._waiting == {})
    assert ada.news == []
    assert bob.news == []
    assert manager.rooms._spaces == {}


async def test_a_plain_client_in_the_same_room_gets_plain_text_and_nothing_else(
    manager: WebSocketManager,
) -> None:
    route = served(manager, rooms=["blue"], history=True, presence=True)
    plain, ada = WireClient(manager, route, "eve", plain=True), WireClient(manager, route)
    ada.say({"join": "blue", "presence": True}, {"message": "say blue hello"}, {"leave": "blue"})
    await until(lambda: plain.frames)
    WireClient(manager, route, "bob").transport.lost()
    await until(lambda: len(manager.connections) == 2)
    assert plain.frames == ["hello"]


async def test_bytes_that_are_said_in_a_room_come_as_they_do_otherwise(
    manager: WebSocketManager,
) -> None:
    ada = WireClient(manager, served(manager, rooms=["blue"]))
    assert await ada.asks({"message": "say blue bytes"}) == BYTES + b"bytes"


async def test_who_is_left_out_is_left_out_over_the_wire_too(manager: WebSocketManager) -> None:
    route = served(manager, rooms=["blue"])
    ada, bob = WireClient(manager, route), WireClient(manager, route, "bob")
    ada.say({"message": "others psst"}, {"message": "say blue all"})
    assert await bob.hears(2) == [{"message": "psst", **ROOM}, {"message": "all", **ROOM}]
    assert await ada.hears() == [{"message": "all", **ROOM}]


async def test_to_leave_what_one_is_not_in_is_told_all_the_same(manager: WebSocketManager) -> None:
    ada = WireClient(manager, served(manager))
    assert await ada.asks({"leave": "red"}) == {"left": "red"}


async def test_a_client_that_has_joined_by_wire_is_told_when_its_bot_takes_it_out(
    manager: WebSocketManager,
) -> None:
    route = served(manager, rooms=["lobby"])
    ada = WireClient(manager, route)
    assert await ada.asks({"join": "blue"}) == {"joined": "blue"}
    assert await ada.asks({"message": "leave blue"}) == {"left": "blue"}
    ada.say({"message": "leave lobby"}, {"message": "join lobby"})  # these were the bot's doing
    assert await ada.asks({"message": "?", "ask": 1}) == {
        "reply": '["lobby"]', "of": 1, "json": True,
    }  # fmt: skip


async def test_who_may_join_is_asked_once_for_each_join_and_not_by_who_is_in(
    manager: WebSocketManager,
) -> None:
    asked: list[str] = []

    async def may_join(handler: Any, room: str) -> bool:
        asked.append(room)
        return room == "blue"

    ada = WireClient(manager, served(manager, may_join=may_join))
    assert await ada.asks({"join": "red"}) == {"refused": "red", **NOT_OPEN}
    assert await ada.asks({"join": "blue"}) == {"joined": "blue"}
    assert await ada.asks({"join": "blue"}) == {"joined": "blue"}
    assert asked == ["red", "blue"]


async def test_joins_are_done_in_order_and_a_leave_takes_back_those_that_wait(
    manager: WebSocketManager, gate: Gate
) -> None:
    def may_join(handler: Any, room: str) -> bool:
        gate.wait()
        return True

    ada = WireClient(manager, served(manager, may_join=may_join))
    ada.say({"join": "a"}, {"join": "b"}, {"join": "c"})
    await until(lambda: gate.entered == 1)
    assert await ada.asks({"leave": "b"}) == {"left": "b"}
    assert await ada.asks({"leave": "a"}) == {"left": "a"}  # which is being asked about
    ada.say({"join": "a"})
    gate.open()
    assert await ada.hears(2) == [{"joined": "c"}, {"joined": "a"}]
    assert ada.connection.rooms == ("c", "a")


async def test_a_slow_may_join_holds_up_neither_the_loop_nor_the_messages(
    manager: WebSocketManager, gate: Gate
) -> None:
    threads: list[int] = []

    def may_join(handler: Any, room: str) -> bool:
        threads.append(threading.get_ident())
        gate.wait()
        return True

    ada = WireClient(manager, served(manager, may_join=may_join))
    ada.say({"join": "blue"})
    await until(lambda: gate.entered)
    assert (await ada.asks({"message": "?", "ask": 1}))["reply"] == "[]"
    assert threads != [threading.get_ident()]
    gate.open()
    assert (await ada.hears(2))[1] == {"joined": "blue"}


async def test_no_more_joins_wait_for_an_answer_than_a_connection_may_have_rooms(
    manager: WebSocketManager, gate: Gate
) -> None:
    def may_join(handler: Any, room: str) -> bool:
        gate.wait()
        return False

    ada = WireClient(manager, served(manager, may_join=may_join))
    ada.say({"join": "r"})
    await until(lambda: gate.entered)
    ada.say(*({"join": f"r{number}"} for number in range(MAX_WAITING + 1)))
    assert await ada.hears() == [{"refused": f"r{MAX_WAITING}", **TOO_MANY}]
    gate.open()
    assert len(await ada.hears(MAX_WAITING + 1)) == MAX_WAITING + 1


async def test_a_connection_joins_64_rooms_and_not_one_more(manager: WebSocketManager) -> None:
    ada = WireClient(manager, served(manager))
    for number in range(64):
        ada.say({"join": f"r{number}"})
        await ada.hears()
    assert await ada.asks({"join": "one more"}) == {"refused": "one more", **TOO_MANY}
    assert await ada.asks({"leave": "r0"}) == {"left": "r0"}
    assert await ada.asks({"join": "one more"}) == {"joined": "one more"}


async def test_a_client_that_is_gone_before_the_answer_joins_nothing(
    manager: WebSocketManager, gate: Gate
) -> None:
    def may_join(handler: Any, room: str) -> bool:
        gate.wait()
        return True

    ada = WireClient(manager, served(manager, may_join=may_join))
    ada.say({"join": "a"}, {"join": "b"})
    await until(lambda: gate.entered)
    ada.transport.lost()
    await until(lambda: not manager.connections)
    gate.open()
    await until(lambda: not any("joins" in task.get_name() for task in asyncio.all_tasks()))
    assert gate.entered == 1
    assert manager.rooms._spaces == {}
    assert manager.rooms._wishes._lines == {}


# ---- who may -----------------------------------------------------------------------------------


async def test_without_may_join_only_the_routes_own_rooms_can_be_joined(
    manager: WebSocketManager,
) -> None:
    ada = WireClient(manager, served(manager, may_join=None, rooms=["lobby"]))
    assert await ada.asks({"join": "blue"}) == {"refused": "blue", **NOT_OPEN}
    assert await ada.asks({"join": "lobby"}) == {"joined": "lobby"}
    assert await ada.asks({"leave": "lobby"}) == {"left": "lobby"}
    assert await ada.asks({"join": "lobby"}) == {"joined": "lobby"}


async def test_a_room_that_its_bot_has_put_it_in_can_be_left_and_not_joined_again(
    manager: WebSocketManager,
) -> None:
    ada = WireClient(manager, served(manager, may_join=None))
    ada.say({"message": "join blue"})
    await until(lambda: ada.connection.rooms)
    assert await ada.asks({"join": "blue"}) == {"joined": "blue"}
    assert await ada.asks({"leave": "blue"}) == {"left": "blue"}
    assert await ada.asks({"join": "blue"}) == {"refused": "blue", **NOT_OPEN}


@pytest.mark.parametrize("user", ["eve", "", "a", "ada/"])
async def test_the_room_of_another_user_is_open_to_nobody_whatever_may_join_says(
    manager: WebSocketManager, user: str
) -> None:
    eve = WireClient(manager, served(manager, auth=False), user)
    for room in ("user:ada", "user:", "user:*"):
        assert await eve.asks({"join": room}) == {"refused": room, **NOT_OPEN}


async def test_ones_own_room_is_open_where_may_join_says_so(manager: WebSocketManager) -> None:
    ada = WireClient(manager, served(manager))
    assert await ada.asks({"join": "user:ada"}) == {"joined": "user:ada"}


@pytest.mark.parametrize("name", ["", "x" * 201, "x" * 1000, "a\nb", "\x00", "\u202e"])
async def test_what_is_no_name_of_a_room_is_refused_and_nobody_is_asked(
    manager: WebSocketManager, name: str
) -> None:
    def may_join(handler: Any, room: str) -> bool:
        raise AssertionError(room)

    ada = WireClient(manager, served(manager, may_join=may_join))
    assert await ada.asks({"join": name}) == {"refused": name, **NO_NAME}


async def test_a_may_join_that_raises_refuses_and_tells_the_log_and_not_the_client(
    manager: WebSocketManager, caplog: pytest.LogCaptureFixture
) -> None:
    def may_join(handler: Any, room: str) -> bool:
        raise RuntimeError("a secret of the bot's")

    ada = WireClient(manager, served(manager, may_join=may_join))
    with caplog.at_level(logging.ERROR):
        assert await ada.asks({"join": "blue"}) == {"refused": "blue", **NOT_OPEN}
    assert "may_join" in caplog.text
    assert "a secret" not in json.dumps(ada.frames)


async def test_a_may_join_that_does_not_answer_refuses_after_the_routes_timeout(
    manager: WebSocketManager,
) -> None:
    async def may_join(handler: Any, room: str) -> bool:
        await asyncio.Event().wait()
        return True

    ada = WireClient(manager, served(manager, may_join=may_join, timeout="50ms"))
    assert await ada.asks({"join": "blue"}) == {"refused": "blue", **NOT_OPEN}


async def test_an_answer_that_cannot_be_read_as_yes_or_no_refuses(
    manager: WebSocketManager,
) -> None:
    class Odd:
        def __bool__(self) -> bool:
            raise SystemExit

    def may_join(handler: Any, room: str) -> Any:
        return Odd()

    ada = WireClient(manager, served(manager, may_join=may_join))
    assert await ada.asks({"join": "blue"}) == {"refused": "blue", **NOT_OPEN}


# ---- what is wrong, and what is too much -------------------------------------------------------


@pytest.mark.parametrize(
    "frame",
    [
        {"join": "a", "leave": "b"},
        {"join": "a", "message": "b"},
        {"join": "a", "ask": 1},
        {"join": "a", "stop": 1},
        {"leave": "a", "presence": True},
        {"leave": "a", "since": {"epoch": "", "offset": 0}},
        {"presence": True},
        {"since": {"epoch": "", "offset": 0}},
        {"message": "a", "presence": False},
        {"join": 5},
        {"join": None},
        {"leave": ["a"]},
        {"join": "a", "presence": 1},
        {"join": "a", "since": 5},
        {"join": "a", "since": {"epoch": "x"}},
        {"join": "a", "since": {"epoch": "x", "offset": -1}},
        {"join": "a", "since": {"epoch": "x", "offset": 1.5}},
        {"join": "a", "since": {"epoch": "x", "offset": True}},
        {"join": "a", "since": {"epoch": "x", "offset": 1, "more": 1}},
        {"join": "a", "since": {"epoch": "x" * 65, "offset": 1}},
        {"join": "a", "more": 1},
        {"join": "x" * 1001},
        {"leave": "x" * 1001},
    ],
)
async def test_a_frame_that_is_no_join_and_no_leave_ends_the_connection(
    manager: WebSocketManager, frame: Any
) -> None:
    ada = WireClient(manager, served(manager))
    ada.say(frame)
    await until(lambda: ada.closed)
    assert ada.closed is not None
    code, reason = ada.closed
    assert (code, reason[:7]) == (1002, "wsh.v1:")


async def test_a_long_name_has_room_in_a_frame_where_messages_must_be_small(
    manager: WebSocketManager,
) -> None:
    ada = WireClient(manager, served(manager, max_message=16))
    name = "\U0001f600" * 200
    assert await ada.asks({"join": name, "presence": False}) == {"joined": name}


async def test_joins_count_in_the_ratelimit_as_messages_do(manager: WebSocketManager) -> None:
    limit = {"messages": "2/m", "burst": "1m", "then": "error"}
    ada = WireClient(manager, served(manager, ratelimit=limit))
    ada.say({"join": "a"}, {"message": "say a b"}, {"join": "c"}, {"leave": "a"})
    frames = await ada.hears(2)
    assert {"left": "a"} in frames, "it is taken back, and costs nothing"
    refused = next(frame for frame in frames if "refused" in frame)
    assert refused.pop("retry_after") > 0
    assert refused == {"refused": "c", "error": "ratelimit"}
    assert ada.connection.rate_limited == 1
    assert ada.connection.rooms == ()


async def test_joins_over_a_limit_that_closes_close(manager: WebSocketManager) -> None:
    ada = WireClient(manager, served(manager, ratelimit={"messages": "1/m", "burst": "1m"}))
    ada.say({"join": "a"}, {"join": "b"})
    await until(lambda: ada.closed)
    assert ada.closed is not None
    assert ada.closed[0] == 1008


async def test_leaves_without_effect_count_as_pings_do_and_those_with_one_always_pass(
    manager: WebSocketManager,
) -> None:
    limit = {"messages": "9/m", "burst": "1m", "then": "error"}
    ada = WireClient(manager, served(manager, ratelimit=limit))
    assert await ada.asks({"join": "a"}) == {"joined": "a"}
    ada.say(*({"leave": f"no {number}"} for number in range(200)))
    assert 10 < len(ada.news) < 200
    assert await ada.asks({"leave": "a"}) == {"left": "a"}


async def test_many_joins_at_once_take_a_turn_of_the_loop_each(manager: WebSocketManager) -> None:
    route = served(manager, rooms=["blue"], history=True)
    ada = WireClient(manager, route)
    ada.say(*({"message": f"say blue {number}"} for number in range(9)))
    await ada.hears(9)
    since = {"epoch": "", "offset": 0}
    ada.say(*({"join": "blue", "since": since} for _ in range(20)))
    assert len(ada.frames) == 1 + 9 + 10, "one was answered at once, and no more"
    assert len(await ada.hears(200)) == 200


# ---- history -----------------------------------------------------------------------------------


async def said_in_blue(manager: WebSocketManager, route: Any, count: int) -> WireClient:
    bob = WireClient(manager, route, "bob")
    assert (await bob.asks({"join": "blue"}))["joined"] == "blue"
    bob.say(*({"message": f"say blue {number}"} for number in range(1, count + 1)))
    await bob.hears(count)
    return bob


async def test_messages_have_their_offsets_and_say_where_another_epoch_begins(
    manager: WebSocketManager,
) -> None:
    route = served(manager, history=True)
    ada = WireClient(manager, route)
    assert await ada.asks({"join": "blue"}) == {"joined": "blue", "epoch": "", "offset": 0}
    ada.say({"message": "say blue a"}, {"message": "say blue b"})
    first, second = await ada.hears(2)
    epoch = first.pop("epoch")
    assert first == {"message": "a", "offset": 1, **ROOM}
    assert second == {"message": "b", "offset": 2, **ROOM}
    eve = WireClient(manager, route, "eve")
    assert await eve.asks({"join": "blue"}) == {"joined": "blue", "epoch": epoch, "offset": 2}
    ada.say({"message": "say blue c"})
    assert await eve.hears() == [{"message": "c", "offset": 3, **ROOM}]


async def test_who_joins_is_sent_the_replay_behind_the_answer(manager: WebSocketManager) -> None:
    route = served(manager, history={"replay": 2})
    await said_in_blue(manager, route, 5)
    ada = WireClient(manager, route)
    answer = await ada.asks({"join": "blue"})
    assert (answer["joined"], answer["offset"]) == ("blue", 5)
    assert [(one["message"], one["offset"]) for one in await ada.hears(2)] == [("4", 4), ("5", 5)]
    again = await ada.asks({"join": "blue"})
    assert again == answer
    assert ada.news == [], "what it has got already is not sent again"


async def test_who_comes_back_is_sent_what_it_has_missed_and_told_that_this_is_all(
    manager: WebSocketManager,
) -> None:
    route = served(manager, history={"replay": 1})
    bob = await said_in_blue(manager, route, 5)
    epoch = bob.frames[2]["epoch"]
    ada = WireClient(manager, route)
    answer = await ada.asks({"join": "blue", "since": {"epoch": epoch, "offset": 2}})
    assert answer == {"joined": "blue", "epoch": epoch, "offset": 5, "recovered": True}
    assert await ada.hears(3) == [
        {"message": f"{number}", "offset": number, **ROOM} for number in (3, 4, 5)
    ]
    answer = await ada.asks({"join": "blue", "since": {"epoch": epoch, "offset": 5}})
    assert answer == {"joined": "blue", "epoch": epoch, "offset": 5, "recovered": True}
    assert ada.news == []


@pytest.mark.parametrize(
    ("since", "expected"),
    [
        ({"epoch": "another", "offset": 4}, [3, 4, 5]),  # a restart of the server
        ({"epoch": None, "offset": 1}, [3, 4, 5]),  # more was said than is kept
        ({"epoch": None, "offset": 9}, [3, 4, 5]),  # what was never sent
        ({"epoch": "", "offset": 0}, [3, 4, 5]),
        ({"epoch": None, "offset": 2**62}, [3, 4, 5]),
    ],
)
async def test_who_has_missed_more_than_is_kept_is_told_so(
    manager: WebSocketManager, since: dict[str, Any], expected: list[int]
) -> None:
    route = served(manager, history={"size": 3})
    bob = await said_in_blue(manager, route, 5)
    if since["epoch"] is None:
        since = {**since, "epoch": bob.frames[2]["epoch"]}
    ada = WireClient(manager, route)
    answer = await ada.asks({"join": "blue", "since": since})
    assert answer["recovered"] is False
    assert [one["offset"] for one in await ada.hears(3)] == expected


async def test_a_room_without_history_recovers_nothing_and_says_so(
    manager: WebSocketManager,
) -> None:
    ada = WireClient(manager, served(manager))
    answer = await ada.asks({"join": "blue", "since": {"epoch": "x", "offset": 3}})
    assert answer == {"joined": "blue", "recovered": False}


async def test_what_would_not_fit_into_the_queue_is_not_sent_and_counts_as_lost(
    manager: WebSocketManager,
) -> None:
    route = served(manager, history={"size": 100}, queue={"messages": 8})
    bob = await said_in_blue(manager, route, 50)
    ada = WireClient(manager, route, window=1)
    since = {"epoch": bob.frames[2]["epoch"], "offset": 40}
    ada.transport.taken(1)
    answer = await ada.asks({"join": "blue", "since": since})
    assert answer["recovered"] is False
    offsets = []
    for _ in range(6):
        ada.transport.taken(1)
        offsets += [frame["offset"] for frame in await ada.hears()]
    assert offsets == [45, 46, 47, 48, 49, 50]
    assert ada.closed is None


async def test_the_routes_own_rooms_can_be_caught_up_with_too(manager: WebSocketManager) -> None:
    route = served(manager, may_join=None, rooms=["blue"], history={"replay": 1})
    bob = WireClient(manager, route, "bob")
    bob.say(*({"message": f"say blue {number}"} for number in range(1, 4)))
    epoch = (await bob.hears(3))[0]["epoch"]
    ada = WireClient(manager, route)
    assert await ada.hears() == [{"message": "3", "offset": 3, "epoch": epoch, **ROOM}]
    answer = await ada.asks({"join": "blue", "since": {"epoch": epoch, "offset": 1}})
    assert answer["recovered"] is True
    assert [one["offset"] for one in await ada.hears(2)] == [2, 3]


async def test_what_is_said_while_one_joins_is_neither_lost_nor_doubled(
    manager: WebSocketManager,
) -> None:
    route = served(manager, history={"replay": 100})
    bob = await said_in_blue(manager, route, 3)
    ada = WireClient(manager, route)
    for number in range(4, 40):
        bob.say({"message": f"say blue {number}"})
        if number == 20:
            ada.say({"join": "blue"})
        if number % 7 == 0:
            await asyncio.sleep(0)
    await bob.hears(36)
    assert (await ada.hears())[0]["joined"] == "blue"
    assert [one["offset"] for one in await ada.hears(39)] == list(range(1, 40))


async def test_all_who_read_the_same_share_one_encoding(manager: WebSocketManager) -> None:
    route = served(manager, rooms=["blue"], history=True)
    clients = [WireClient(manager, route, f"u{number}") for number in range(50)]
    encoded: list[str] = []
    for client in clients:
        codec: Any = client.connection._protocol
        encode = codec.inner.encode
        object.__setattr__(codec, "inner", Counted(codec.inner, encoded, encode))
    clients[0].say({"message": "say blue hello"})
    for client in clients:
        assert (await client.hears())[0]["message"] == "hello"
    assert len(encoded) == 1


class Counted:
    """A codec that notes what it encodes."""

    def __init__(self, codec: Any, notes: list[str], encode: Any) -> None:
        self._codec, self._notes, self._encode = codec, notes, encode

    def __getattr__(self, name: str) -> Any:
        return getattr(self._codec, name)

    def encode(self, message: Any) -> Any:
        self._notes.append(message)
        return self._encode(message)
