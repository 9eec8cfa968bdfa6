"""Rooms on a real server: at the handshake, for guests, under load of joins, and at the stop."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
import websockets.exceptions
from support.bots import bot_text
from support.server import RunningServer, running_server, wait_for
from support.sharing import bearer, share

YAML = """
url:
  talk:
    pattern: /talk/{room}
    handler: WebSocketHandler
    kwargs:
      on_message: rooms.on_message
      rooms: ["{room}", "user:{user}"]
      may_join: rooms.may_join
      presence: {on_join: rooms.joined, on_leave: rooms.left}
  twin:
    pattern: /twin/{room}
    handler: WebSocketHandler
    kwargs: {on_message: rooms.on_message, rooms: ["{room}"], space: talk, compression: true}
  told:
    pattern: /told/{room}
    handler: WebSocketHandler
    kwargs: {on_message: rooms.on_message, rooms: ["{room}"], history: {size: 50, replay: 2}}
  plain:
    pattern: /plain/{room}
    handler: WebSocketHandler
    kwargs: {on_message: rooms.on_message, rooms: ["{room}"], space: both}
  pressed:
    pattern: /pressed/{room}
    handler: WebSocketHandler
    kwargs: {on_message: rooms.on_message, rooms: ["{room}"], space: both, compression: true}
  failing:
    pattern: /failing
    handler: WebSocketHandler
    kwargs: {on_message: rooms.on_message, rooms: [lobby], may_join: rooms.on_message}
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("rooms")
    with running_server(
        YAML,
        folder=folder,
        modules={"rooms.py": bot_text("rooms")},
        extra_args=["--WSHandlerApp.rooms_per_space=20"],
    ) as running:
        yield running


def read(socket):
    return socket.recv(timeout=20)


def test_a_room_that_may_join_refuses_is_a_403_and_nothing_opens(server):
    with pytest.raises(websockets.exceptions.InvalidStatus) as caught:
        server.connect_sync("/talk/secret").__enter__()
    assert caught.value.response.status_code == 403
    assert b"not open to you" in caught.value.response.body
    status, _, body = server.fetch("/talk/secret", headers={"Accept": "text/html"})
    assert status == 403
    assert b"not open to you" in body.encode() if isinstance(body, str) else body


def test_a_may_join_that_fails_refuses(server):
    with pytest.raises(websockets.exceptions.InvalidStatus) as caught:
        server.connect_sync("/failing").__enter__()
    assert caught.value.response.status_code == 403


@pytest.mark.parametrize("name", ["user:ada", "user%3Aada", "user:", "x" * 201])
def test_a_name_that_a_visitor_may_not_choose_is_a_403(server, name):
    with pytest.raises(websockets.exceptions.InvalidStatus) as caught:
        server.connect_sync(f"/talk/{name}").__enter__()
    assert caught.value.response.status_code == 403


def test_routes_of_one_space_share_their_rooms_compressed_or_not(server):
    text = "x" * 2000
    with ExitStack() as stack:
        opened = [stack.enter_context(server.connect_sync("/plain/green")) for _ in range(2)]
        for _ in range(2):
            pressed = server.connect_sync("/pressed/green", compression="deflate")
            opened.append(stack.enter_context(pressed))
        for one in opened:
            one.send(f"say {text}")
            assert [read(other) for other in opened] == [text] * 4


def test_in_a_large_room_compressed_clients_read_what_is_said_to_all_and_to_each(server):
    words = "something that may refer to what was said before "
    with ExitStack() as stack:
        opened = [
            stack.enter_context(server.connect_sync("/pressed/large", compression="deflate"))
            for _ in range(10)
        ]
        opened.append(stack.enter_context(server.connect_sync("/plain/large")))
        for number, one in enumerate(opened):
            said = f"{number} {words * (number + 1)}"
            one.send(f"say {said}")
            assert [read(other) for other in opened] == [said] * len(opened)
            one.send("join a-room-of-a-rather-long-name")
            assert read(one) == "in large,a-room-of-a-rather-long-name"


def test_a_guest_is_in_the_room_and_is_one_person(server):
    link = share(server, route="talk", path="/talk/party")
    with server.connect_sync("/talk/party") as host:
        read(host)
        with server.connect_sync("/talk/party", token=False, headers=bearer(link)) as guest:
            joined = read(host)
            assert joined.startswith("+guest/")
            assert read(guest) == joined
            guest.send("say hello")
            assert read(host) == read(guest) == "hello"
            guest.send("members party")
            members = json.loads(read(guest))
            assert [member[2] for member in members] == [1, 1]
        assert read(host) == joined.replace("+", "-")


def test_who_loses_its_socket_is_out_of_the_room_before_on_close(server):
    with server.connect_sync("/talk/lossy") as ada:
        read(ada)
        bob = server.connect_sync("/twin/lossy").__enter__()
        bob.socket.close()
        wait_for(lambda: _count(ada) == 1, what="the room to be left")


def _count(socket) -> int:
    socket.send("count x")
    found = read(socket)
    while " " not in found:
        found = read(socket)
    return int(found.split()[1])


def test_who_joins_is_told_what_was_said_last(server):
    with server.connect_sync("/told/blue") as ada:
        for word in ("one", "two", "three"):
            ada.send(f"say {word}")
            assert read(ada) == word
        with server.connect_sync("/told/blue") as bob:
            assert [read(bob), read(bob)] == ["two", "three"]
        # Whoever speaks wsh.v1 is told so first: it would take the frames for plain ones.
        with server.connect_sync("/told/blue", subprotocols=["wsh.v1"]) as eve:
            said = [json.loads(read(eve)) for _ in range(3)]
        assert said[0]["wsh"] == "v1"
        assert said[1].pop("epoch")
        assert said[1:] == [
            {"message": "two", "room": "blue", "offset": 2},
            {"message": "three", "room": "blue", "offset": 3},
        ]


def test_what_is_said_in_a_room_is_no_part_of_an_answer_that_is_given_in_the_same_turn(server):
    with server.connect_sync("/told/apart", subprotocols=["wsh.v1"]) as ada:
        assert json.loads(read(ada))["wsh"] == "v1"
        ada.send('{"message": "order", "ask": 1}')
        said = [json.loads(read(ada)) for _ in range(7)]
    assert [frame["message"] for frame in said[:5]] == ["1", "2", "3", "4", "5"]
    assert [frame.get("offset", 0) for frame in said[:5]] == [0, 1, 0, 2, 3]
    assert {frame.get("room", "apart") for frame in said[:5]} == {"apart"}
    assert said[5:] == [{"reply": "6", "of": 1}, {"end": 1, "how": "done"}]


def test_a_space_that_is_full_closes_who_would_open_one_more_room(server):
    with ExitStack() as stack:
        for number in range(20):
            one = stack.enter_context(server.connect_sync(f"/plain/full{number}"))
            assert _count(one) == 1
        same = stack.enter_context(server.connect_sync("/plain/full0"))
        assert _count(same) == 2
        late = stack.enter_context(server.connect_sync("/plain/onemore"))
        with pytest.raises(websockets.exceptions.ConnectionClosed) as caught:
            read(late)
        assert caught.value.rcvd.code == 1013
        assert "c.WSHandlerApp.rooms_per_space" in server.log_text()
    wait_for(lambda: _opens(server, "/plain/onemore"), what="room for one more")


def _opens(server, path: str) -> bool:
    with server.connect_sync(path) as socket:
        try:
            return _count(socket) == 1
        except websockets.exceptions.ConnectionClosed:
            return False
