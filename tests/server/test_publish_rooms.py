"""Messages to rooms from outside: over REST, and by the command."""

from __future__ import annotations

import json

import pytest
from support.bots import bot_text
from support.server import running_server
from support.sharecommand import command, runtime_of
from support.sharing import ask

from jupyter_wshandler.backplane.base import Position
from jupyter_wshandler.rooms.face import History, Said
from jupyter_wshandler.server.api.spaces import history_answer

API = "/wshandler/api/spaces"

CONFIG = """
url:
  talk: {pattern: "/talk/{room}", handler: WebSocketHandler,
         kwargs: {on_message: published.echo, rooms: ["{room}"], space: both}}
  twin: {pattern: "/twin/{room}", handler: WebSocketHandler,
         kwargs: {on_message: published.echo, rooms: ["{room}"], space: both}}
  told: {pattern: "/told/{room}", handler: WebSocketHandler,
         kwargs: {on_message: published.echo, rooms: ["{room}", "user:{user}"],
                  history: {size: 5, replay: 5}, presence: true}}
  guarded: {pattern: "/guarded/{room}", handler: WebSocketHandler,
            kwargs: {on_message: published.echo, rooms: ["{room}"], may_join: published.lets_in}}
  staff: {pattern: "/staff/{room}", handler: WebSocketHandler,
          kwargs: {on_message: published.echo, rooms: ["{room}"], space: staff_only}}
  ruled: {pattern: "/ruled/{room}", handler: WebSocketHandler,
          kwargs: {on_message: published.echo, rooms: ["{room}"], space: staff_only,
                   auth: {users: [ada]}}}
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("publish_rooms")
    with running_server(
        CONFIG,
        folder=folder,
        modules={"published.py": bot_text("published")},
        base_url="/me/",
        extra_args=[
            "--ServerApp.identity_provider_class=published.People",
            "--ServerApp.authorizer_class=published.Keeper",
            "--WSHandlerApp.publishers=named",
            "--WSHandlerApp.publishers=*",
        ],
        env={"PYTHONPATH": str(folder)},
    ) as running:
        yield running


def publish(server, space, room, person="ada", **body) -> tuple[int, dict]:
    status, _, answer = ask(
        server, "POST", f"{API}/{space}/rooms/{room}", body, token=f"person-{person}"
    )
    return status, json.loads(answer)


def look(server, where, person="ada", method="GET") -> tuple[int, dict]:
    status, _, answer = ask(server, method, f"{API}/{where}", token=f"person-{person}")
    return status, json.loads(answer or b"{}")


def joined(server, path):
    return server.connect_sync(path, token="person-bob")


def test_a_message_reaches_all_in_the_room_whatever_their_route_and_nobody_else(server):
    with (
        joined(server, "/talk/blue") as one,
        joined(server, "/twin/blue") as two,
        joined(server, "/talk/red") as other,
    ):
        for space in ("both", "talk", "twin"):
            answer = {"space": space, "room": "blue", "delivered": 2, "offset": 0}
            assert publish(server, space, "blue", message={"from": space}) == (200, answer)
            assert one.recv(timeout=5) == two.recv(timeout=5) == f'{{"from":"{space}"}}'
        assert publish(server, "both", "blue", binary="AAE=")[0] == 200
        assert one.recv(timeout=5) == b"\0\1"
        other.send("nothing came before this")
        assert other.recv(timeout=5) == "nothing came before this"


def test_what_is_said_in_a_room_without_members_is_kept_in_its_history(server):
    for number in (1, 2):
        answer = {"space": "told", "room": "a/b é", "delivered": 0, "offset": number}
        assert publish(server, "told", "a%2Fb%20%C3%A9", message=f"n{number}") == (200, answer)
    ended = command(runtime_of(server), "send", "/told/{room}", "n3", "--room", "late")
    assert ended.out == (
        "Nobody is in the room late: sent to nobody; it is kept in the room's history.\n"
    ), ended.said
    with joined(server, "/told/late") as one:
        assert one.recv(timeout=5) == "n3"
        ended = command(runtime_of(server), "send", "told", "n4", "--room", "late")
        assert ended.out == "Sent to 1 connection in the room late.\n"
        assert one.recv(timeout=5) == "n4"


def test_what_cannot_be_is_said_with_a_sentence(server):
    status, answer = publish(server, "nowhere", "blue", message="x")
    assert status == 404
    assert answer["message"] == "there is no space 'nowhere', and no route of that name"
    for room in ("x" * 201, "%00", "%0A"):
        status, answer = publish(server, "both", room, message="x")
        assert (status, "expected the name of a room" in answer["message"]) == (400, True)
    status, answer = publish(server, "both", "blue", message="x", user="bob")
    assert status == 400
    assert "unknown field `user`" in answer["message"]
    assert publish(server, "both", "blue")[0] == 400


def test_who_may_not_send_to_one_route_of_a_space_sends_to_none_of_its_rooms(server):
    assert publish(server, "both", "blue", "reader", message="x")[0] == 403
    assert publish(server, "staff_only", "blue", "bob", message="x")[0] == 403
    assert publish(server, "staff", "blue", "bob", message="x")[0] == 403
    assert publish(server, "staff_only", "blue", "ada", message="x")[0] == 200
    status, answer = publish(server, "guarded", "blue", "ada", message="x")
    assert (status, "`may_join`" in answer["message"]) == (403, True)
    assert publish(server, "guarded", "blue", "named", message="x")[0] == 200
    for token in (False, "wrong"):
        where = f"{API}/both/rooms/blue"
        assert ask(server, "POST", where, {"message": "x"}, token=token)[0] == 403
    # What cannot be told apart by who may not: a room that is there, and one that is not.
    assert publish(server, "guarded", "empty", "ada", message="x") == (status, answer)


def test_who_is_in_a_room_and_what_was_said_is_told_to_who_may_send_there(server):
    for number in range(3):
        publish(server, "told", "seen", message=f"n{number}")
    publish(server, "told", "seen", binary="AAE=")
    with joined(server, "/told/seen") as one:
        assert one.recv(timeout=5) == "n0"
        status, answer = look(server, "told/rooms/seen")
        assert (status, answer["space"], answer["room"]) == (200, "told", "seen")
        (member,) = answer["members"]["members"]
        assert (member["id"], member["connections"]) == ("bob", 1)
        assert answer["members"]["total"] == 1
        history = answer["history"]
        assert [said.get("message", said.get("binary")) for said in history["messages"]] == [
            *("n0", "n1", "n2", "AAE=")
        ]
        assert (history["offset"], history["complete"]) == (4, True)
        later = look(server, f"told/rooms/seen?epoch={history['epoch']}&offset=2&only=history")
        assert [said["offset"] for said in later[1]["history"]["messages"]] == [3, 4]
        assert "members" not in later[1]
        newest = look(server, "told/rooms/seen?only=history&limit=1")[1]["history"]
        assert [said["offset"] for said in newest["messages"]] == [4]
        assert look(server, "told/rooms/seen?only=members&start=1")[1]["members"]["members"] == []
    status, answer = look(server, "both/rooms/blue")
    assert (status, answer["members"], answer["history"]) == (200, None, None)
    for part in ("members", "history"):
        status, answer = look(server, f"both/rooms/blue?only={part}")
        assert (status, "the routes of this space have no" in answer["message"]) == (400, True)


def test_a_question_that_cannot_be_meant_is_answered_with_a_sentence(server):
    for query, words in (
        ("only=all", "only: expected members or history, found 'all'"),
        ("limit=-1", "limit: expected a number from 0 to"),
        ("limit=%25s", "found '%s'"),
        ("start=99999999999999999999999", "start: expected a number"),
        ("epoch=x", "expected both epoch and offset, or neither"),
        ("offset=1", "expected both epoch and offset, or neither"),
        ("last=1", "unknown argument 'last'; there are: epoch, limit, offset, only, start"),
    ):
        status, answer = look(server, f"told/rooms/seen?{query}")
        assert (status, words in answer["message"]) == (400, True), answer


def test_a_room_is_cleared_by_who_may_send_there(server):
    publish(server, "told", "cleared", message="x")
    assert look(server, "told/rooms/cleared", "reader", "DELETE")[0] == 403
    assert len(look(server, "told/rooms/cleared")[1]["history"]["messages"]) == 1
    assert look(server, "told/rooms/cleared", "ada", "DELETE") == (204, {})
    history = look(server, "told/rooms/cleared")[1]["history"]
    assert (history["messages"], history["offset"]) == ([], 1)


def test_who_may_not_send_to_the_rooms_of_a_space_may_not_look_into_them(server):
    assert look(server, "both/rooms/blue", "reader")[0] == 200  # may read, and not write
    assert look(server, "both/rooms/blue", "blind")[0] == 403
    assert look(server, "staff_only/rooms/blue", "bob")[0] == 403
    assert look(server, "guarded/rooms/blue", "ada")[0] == 403
    assert look(server, "guarded/rooms/blue", "named")[0] == 200
    assert look(server, "nowhere/rooms/blue")[0] == 404
    assert ask(server, "GET", f"{API}/both/rooms/blue", token=False)[0] == 403


def test_nobody_looks_into_the_room_of_another_user(server):
    assert publish(server, "told", "user:bob", message="for bob alone")[0] == 200
    for method in ("GET", "DELETE"):
        assert look(server, "told/rooms/user%3Abob", "ada", method) == (
            403,
            {"message": "this room is that of another user", "reason": None},
        )
    for person in ("bob", "named"):
        status, answer = look(server, "told/rooms/user%3Abob", person)
        assert (status, answer["members"]) == (200, None)
        assert [said["message"] for said in answer["history"]["messages"]] == ["for bob alone"]


def test_an_answer_has_of_a_long_history_the_newest_messages_and_says_so():
    said = [Said(number, "x" * 1000, 1.0) for number in range(1, 11)]
    history = History(said, Position("e", 10), True)
    whole, part = history_answer(history), history_answer(history, 3500)
    assert (len(whole["messages"]), whole["complete"]) == (10, True)
    assert [one["offset"] for one in part["messages"]] == [8, 9, 10]
    assert (part["offset"], part["complete"]) == (10, False)
    assert len(history_answer(history, 1)["messages"]) == 1
