"""What a server tells of what it does, over REST, and to whom; on a real server."""

from __future__ import annotations

import json
import re
import time
from contextlib import ExitStack
from urllib.parse import quote

import openapi_spec_validator
import pytest
import websockets.exceptions
from jsonschema import Draft202012Validator
from support import rules
from support.bots import bot_text
from support.server import WITHOUT_LAB, running_server, wait_for
from support.sharing import ask, share
from support.visitor import Visitor

API = "/wshandler/api"

CONFIG = """
url:
  push: {pattern: /push, handler: WebSocketHandler, kwargs: {on_message: looked_at.answer}}
  fails:
    pattern: /fails
    handler: WebSocketHandler
    kwargs: {on_message: looked_at.answer, on_error: {close: false}, ratelimit: {messages: 500/s}}
  other: {pattern: /other, handler: WebSocketHandler, kwargs: {on_message: looked_at.answer}}
  staff: {pattern: /staff, handler: WebSocketHandler,
          kwargs: {on_message: looked_at.answer, auth: {users: [ada]}}}
  ruled: {pattern: /ruled, handler: WebSocketHandler,
          kwargs: {on_message: looked_at.answer, auth: {condition: published.lets_all_in}}}
  talk: {pattern: "/talk/{room}", handler: WebSocketHandler,
         kwargs: {on_message: looked_at.answer, rooms: ["{room}", "user:{user}"], presence: true,
                  history: {size: 5}, resume: {window: 30s}}}
  guarded: {pattern: "/guarded/{room}", handler: WebSocketHandler,
            kwargs: {on_message: looked_at.answer, rooms: ["{room}"],
                     may_join: published.lets_in}}
  broken: {pattern: /broken, handler: WebSocketHandler, kwargs: {on_message: looked_at.no_such}}
  typed: {pattern: /typed, handler: WebSocketHandler, kwargs: {on_message: looked_at.grant}}
  told: {pattern: /told, handler: WebSocketHandler,
         kwargs: {on_message: {function: looked_at.answer, kwargs: {api_key: a-secret-of-a-bot}},
                  page: false}}
"""

SECRETS = ("a-secret-of-a-bot",)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("looks")
    with running_server(
        CONFIG,
        folder=folder,
        modules={
            "published.py": bot_text("published"),
            "looked_at.py": bot_text("looked_at"),
        },
        base_url="/me/",
        command=rules.launcher(folder),
        extra_args=[
            "--ServerApp.identity_provider_class=published.People",
            "--ServerApp.authorizer_class=published.Keeper",
            "--WSHandlerApp.publishers=named",
            "--WSHandlerApp.publishers=*",
            WITHOUT_LAB,
        ],
        env={"PYTHONPATH": str(folder)},
    ) as running:
        yield running


def get(server, path, person="ada", method="GET", **headers):
    """Ask as somebody does; return the status and what the server says."""
    status, _, answer = server.fetch(
        f"{API}/{path}", method=method, token=f"person-{person}", headers=headers
    )
    return status, json.loads(answer or b"null")


def told(server, path, person="ada"):
    """Return what a good question is answered with."""
    status, answer = get(server, path, person)
    assert status == 200, answer
    return answer


def joined(server, path="/push", person="bob", **options):
    return server.connect_sync(path, token=f"person-{person}", **options)


def answered(one, message="hello"):
    """Have a connection answer, so that it is open on both ends."""
    one.send(message)
    return one.recv(timeout=5)


# ---- connections ---------------------------------------------------------------------------------


def test_who_is_connected_is_listed_with_what_waits_and_without_what_was_said(server):
    before = time.time()
    with joined(server, "/talk/blue?token=person-bob&x=1") as one:
        assert answered(one) == "hello"
        [found] = told(server, "connections?route=talk")["connections"]
        assert before - 1 < found.pop("opened") < time.time() + 1
        name = found.pop("id")
        assert found.pop("received") in (None, 1)  # whether somebody counts meanwhile
        assert found == {
            "route": "talk",
            "path": "/me/talk/blue",
            "user": "bob",
            "kind": "user",
            "share": None,
            "address": "127.0.0.1",
            "state": "open",
            "protocol": None,
            "rooms": ["blue", "user:bob"],
            "waiting": 0,
            "queued": {"messages": 0, "bytes": 0},
            "dropped": 0,
            "rate_limited": 0,
        }
        alone = told(server, f"connections/{name}")
        assert {**found, "id": name} | {"opened": alone["opened"]} == {
            key: value for key, value in alone.items() if key not in ("agent", "origin", "received")
        }
        assert "websockets" in alone["agent"]
        assert alone["origin"] is None
    wait_for(lambda: told(server, "connections?route=talk")["total"] == 0, what="nobody there")
    assert get(server, f"connections/{name}") == (
        404,
        {"message": "there is no such connection, or it has ended", "reason": None},
    )


def test_a_guest_is_listed_with_the_share_and_without_its_token(server):
    made = share(server, route="push", label="class")
    link = made["url"]
    headers = {"Authorization": "Bearer " + link.partition("share_token=")[2]}
    with server.connect_sync("/push", token=False, headers=headers) as guest:
        answered(guest)
        [found] = told(server, "connections?route=push")["connections"]
        assert (found["kind"], found["share"]) == ("guest", made["id"])
        assert headers["Authorization"][7:] not in json.dumps(found)


def test_what_waits_for_a_callback_is_counted(server):
    with joined(server, "/push", "waits") as one:
        for _ in range(4):
            one.send("wait")
        wait_for(
            lambda: told(server, "connections?user=waits")["connections"][0]["waiting"] == 3,
            what="three that wait",
        )


def test_connections_come_in_pages_that_lose_and_double_nobody(server):
    with ExitStack() as stack:
        opened = [
            stack.enter_context(joined(server, "/other", f"u{number}")) for number in range(7)
        ]
        for one in opened:
            answered(one)
        seen, after, pages = [], "", 0
        while after is not None:
            page = told(server, f"connections?route=other&limit=3{after and f'&after={after!r}'}")
            assert page["total"] == 7
            seen += [one["user"] for one in page["connections"]]
            after, pages = page["next"], pages + 1
        assert (seen, pages) == ([f"u{number}" for number in range(7)], 3)
        assert told(server, "connections?route=other&user=u3")["total"] == 1
        assert told(server, "connections?route=other&user=u")["total"] == 0
        assert told(server, "connections?route=other&state=away")["total"] == 0
        assert told(server, "connections?route=other&limit=0") == {
            "connections": [],
            "total": 7,
            "next": None,
        }


def test_a_connection_whose_client_is_away_is_listed_as_such(server):
    offered = {"subprotocols": ["wsh.v1", "wsh.resume"]}
    with joined(server, "/talk/away", "lost", **offered) as one:
        hello = json.loads(one.recv(timeout=5))
        assert hello["wsh"] == "v1"
        one.socket.shutdown(2)
        found = wait_for(
            lambda: told(server, "connections?user=lost&state=away")["connections"],
            what="a client that is away",
        )
    assert (found[0]["state"], found[0]["protocol"]) == ("away", "wsh.v1")
    assert get(server, f"connections/{found[0]['id']}", method="DELETE")[0] == 204
    wait_for(lambda: told(server, "connections?user=lost")["total"] == 0, what="its end")


@pytest.mark.parametrize(
    ("query", "code", "reason"),
    [
        ("", 1000, "closed by an operator"),
        ("?code=4000&reason=later%20%C3%A9", 4000, "later é"),
        ("?code=1012&reason=", 1012, ""),
    ],
)
def test_a_connection_is_closed_with_a_code_and_a_reason(server, query, code, reason):
    with joined(server, "/push", "kicked") as one:
        answered(one)
        [found] = told(server, "connections?user=kicked")["connections"]
        assert get(server, f"connections/{found['id']}{query}", method="DELETE") == (204, None)
        with pytest.raises(websockets.exceptions.ConnectionClosed):
            one.recv(timeout=5)
        assert (one.close_code, one.close_reason) == (code, reason)
    line = f"ada has closed connection {found['id']} of kicked with {code} from outside"
    wait_for(lambda: line in server.log_text(), what="the line")


def test_a_close_that_cannot_be_is_refused_and_closes_nothing(server):
    with joined(server, "/push", "stays") as one:
        answered(one)
        [found] = told(server, "connections?user=stays")["connections"]
        for query, words in (
            ("code=1005", "close code 1005 may not be sent"),
            ("code=2000", "close code 2000 may not be sent"),
            ("code=x", "code: expected a close code such as 1000 or 4000, found 'x'"),
            ("code=99999", "found '99999'"),
            ("reason=" + "x" * 124, "a close reason has at most 123 bytes, found 124"),
            ("cause=4", "unknown argument 'cause'; there are: code, reason"),
        ):
            status, answer = get(server, f"connections/{found['id']}?{query}", method="DELETE")
            assert (status, words in answer["message"]) == (400, True), answer
        assert answered(one) == "hello"


# ---- rooms ---------------------------------------------------------------------------------------


def test_spaces_and_their_rooms_are_listed_in_pages(server):
    paths = [f"/talk/r{number}" for number in range(3)] + ["/talk/a%20b", "/talk/r0"]
    with ExitStack() as stack:
        opened = [stack.enter_context(joined(server, path, "bob")) for path in paths]
        for one in opened:
            answered(one)
        spaces = {one["space"]: one for one in told(server, "spaces")["spaces"]}
        assert spaces["talk"] == {
            "space": "talk",
            "host": "module",
            "routes": ["talk"],
            "rooms": 5,  # the user's own among them
            "history": True,
            "presence": True,
        }
        assert "guarded" not in spaces  # its function decides on connections
        assert "guarded" in {one["space"] for one in told(server, "spaces", "named")["spaces"]}
        first = told(server, "spaces/talk/rooms?limit=2")
        assert first == {
            "space": "talk",
            "rooms": [{"room": "a b", "connections": 1}, {"room": "r0", "connections": 2}],
            "total": 4,
            "next": "r0",
        }
        rest = told(server, f"spaces/talk/rooms?limit=2&after={quote(first['next'])}")
        assert [one["room"] for one in rest["rooms"]] == ["r1", "r2"]
        assert rest["next"] is None
        own = told(server, "spaces/talk/rooms?after=s", "bob")
        assert own["rooms"] == [{"room": "user:bob", "connections": 5}]
    assert get(server, "spaces/guarded/rooms")[0] == 403
    assert get(server, "spaces/nowhere/rooms") == (
        404,
        {"message": "there is no space 'nowhere', and no route of that name", "reason": None},
    )


def test_rooms_are_told_to_whom_their_space_lets_look_into_them(server):
    with ExitStack() as stack:
        for path in ("/guarded/green", "/ruled", "/talk/green"):
            answered(stack.enter_context(joined(server, path, "rory")))
        for person, rooms in (("ada", None), ("named", ["green"])):
            assert (get(server, "spaces/guarded/rooms", person)[0] == 200) is bool(rooms)
            [found] = told(server, "connections?route=guarded", person)["connections"]
            assert (found["rooms"], found["path"]) == (rooms, "/me/guarded/green")
            assert told(server, f"connections/{found['id']}", person)["rooms"] == rooms
        page = told(server, "connections?user=rory")["connections"]
        assert {one["route"]: one["rooms"] for one in page} == {
            "guarded": None,
            "ruled": None,
            "talk": ["green", "user:rory"],
        }


# ---- errors --------------------------------------------------------------------------------------


def failed(server, message="fail", person="bob") -> str:
    """Have the bot fail; return the id that the client is told."""
    with joined(server, "/fails", person) as one:
        said = json.loads(answered(one, message))
    assert said["error"] == "internal error"
    return said["id"]


def test_an_error_is_found_by_the_id_that_the_client_was_told(server):
    error_id = failed(server, "fail, please")
    found = told(server, f"errors/{error_id}")
    assert abs(found["at"] - time.time()) < 60
    assert (found["route"], found["user"], found["exception"]) == ("fails", "bob", "ValueError")
    assert found["callback"].endswith("looked_at.answer")
    assert re.search(r"looked_at\.py:\d+$", found["place"])
    assert "ValueError: this cannot be done" in found["traceback"]
    assert found["message"] == {"text": "fail, please", "size": 12}
    newest = told(server, "errors?route=fails&limit=1")
    assert newest["errors"] == [found]
    assert newest["next"] is not None or newest["total"] == 1
    assert told(server, "errors?route=push")["errors"] == []


def test_who_may_not_execute_sees_that_something_failed_and_neither_code_nor_message(server):
    error_id = failed(server, "fail of a secret")
    for path in (f"errors/{error_id}", "errors?route=fails&limit=1"):
        answer = told(server, path, "viewer")
        found = answer.get("errors", [answer])[0]
        assert found["id"] == error_id
        assert (found["exception"], found["user"]) == ("ValueError", "bob")
        assert (found["place"], found["traceback"], found["message"]) == (None, None, None)
    assert "fail of a secret" not in server.log_text()


def test_an_exception_whose_text_takes_long_holds_nobody_up_and_is_there_later(server):
    error_id = failed(server, "slowly")
    found = wait_for(lambda: told(server, f"errors/{error_id}")["traceback"], what="the traceback")
    assert "slowly" in found


def test_a_message_of_bytes_is_kept_as_base64(server):
    found = told(server, f"errors/{failed(server, bytes([0, 1]) * 5000)}")
    assert found["message"]["size"] == 10_000
    assert found["message"]["binary"].startswith("AAEAAQ")
    assert len(found["message"]["binary"]) < 3000


def test_errors_come_in_pages_the_newest_first_and_are_forgotten_at_wish(server):
    assert get(server, "errors?route=fails", method="DELETE") == (204, None)
    ids = [failed(server) for _ in range(5)]
    page = told(server, "errors?route=fails&limit=3")
    assert [one["id"] for one in page["errors"]] == ids[:1:-1]
    assert page["total"] == 5
    rest = told(server, f"errors?route=fails&limit=3&before={page['next']}")
    assert [one["id"] for one in rest["errors"]] == ids[1::-1]
    assert rest["next"] is None
    assert get(server, "errors?route=fails", "viewer", "DELETE")[0] == 403
    assert get(server, "errors", method="DELETE")[0] == 204
    assert told(server, "errors")["total"] == 0
    assert get(server, f"errors/{ids[0]}")[0] == 404


# ---- what happens --------------------------------------------------------------------------------


def test_what_happens_is_told_from_the_first_question_on(server):
    place = told(server, "events")["next"]
    with joined(server, "/fails", "followed") as one:
        error_id = json.loads(answered(one, "fail"))["id"]
    with pytest.raises(websockets.exceptions.InvalidStatus):
        joined(server, "/staff", "bob").__enter__()
    found = []
    while len(found) < 4:
        answer = told(server, f"events?since={place}&wait=5")
        assert answer["complete"]
        place = answer["next"]
        found += [event for event in answer["events"] if event["user"] in ("followed", "bob")]
    assert sorted(event["event"] for event in found) == ["closed", "failed", "opened", "refused"]
    by_kind = {event["event"]: event for event in found}
    assert by_kind["failed"]["id"] == error_id
    assert by_kind["failed"]["exception"] == "ValueError"
    assert by_kind["closed"]["code"] == 1000
    assert (by_kind["refused"]["code"], by_kind["refused"]["route"]) == (403, "staff")
    assert by_kind["opened"]["connection"] == by_kind["closed"]["connection"]


def test_who_waits_is_answered_when_something_happens_on_a_route_of_theirs(server):
    place = told(server, "events")["next"]
    started = time.monotonic()
    assert told(server, f"events?since={place}&wait=1&route=talk")["events"] == []
    assert time.monotonic() - started >= 0.9
    with joined(server, "/push") as one, joined(server, "/talk/blue") as two:
        answered(one)
        answered(two)
        answer = told(server, f"events?since={place}&wait=9&route=talk")
        assert {event["route"] for event in answer["events"]} == {"talk"}
    assert not told(server, "events?since=0-7")["complete"]
    event = next(e for e in [*answer["events"]] if e["event"] == "opened")
    assert event["connection"]


@pytest.mark.parametrize("of", ["events?", "frames?route=talk&"])
def test_a_place_that_no_answer_has_said_is_refused_with_what_was_expected(server, of):
    place = told(server, of.rstrip("?&"))["next"]
    status, answer = get(server, f"{of}since={place}{'9' * 5000}")
    assert status == 400
    words = f"since: expected the `next` of the answer before, found '{place}99"
    assert words in answer["message"]
    assert len(answer["message"]) < 200


def test_the_place_of_a_failure_is_for_who_may_execute(server):
    place = told(server, "events")["next"]
    failed(server)
    for person, is_there in (("ada", True), ("viewer", False)):
        events = told(server, f"events?since={place}", person)["events"]
        [event] = [event for event in events if event["event"] == "failed"]
        assert (event["place"] is not None) is is_there


# ---- the configuration ---------------------------------------------------------------------------


def test_the_configuration_is_told_without_its_secrets(server):
    found = told(server, "config")
    assert {"jupyter_wshandler", "python", "jupyter_server", "tornado"} <= {*found["versions"]}
    assert found["base_url"] == "/me/"
    assert found["files"] == [str(server.folder / "wshandler.yaml")]
    assert found["settings"]["publishers"] == ["named", "*"]
    assert "threads" not in found["settings"]  # as by default
    route = found["routes"]["fails"]
    assert route["functions"] == {"on_message": "looked_at.answer"}
    assert route["place"].startswith(str(server.folder / "wshandler.yaml") + ":")
    assert route["options"]["on_error_close"] is False
    assert route["options"]["ratelimit"]["messages"] == {"amount": 500.0, "seconds": 1.0}
    assert found["routes"]["staff"]["options"]["auth"]["users"] == ["ada"]
    text = json.dumps(found)
    for secret in (*SECRETS, server.token):
        assert secret not in text


# ---- who may -------------------------------------------------------------------------------------

LOOKS = [
    *("connections", "spaces", "errors", "events", "config", "openapi.json", "traffic"),
    *("types?route=push", "frames?route=push", "nothing"),
]


@pytest.mark.parametrize("path", LOOKS)
def test_a_stranger_and_who_may_not_read_are_told_nothing(server, path):
    for token in (False, "wrong"):
        status, _, answer = server.fetch(f"{API}/{path}", token=token)
        assert (status, set(json.loads(answer))) == (403, {"message", "reason"})
    if path != "nothing":
        assert get(server, path, "blind")[0] == 403


def test_a_guest_of_a_share_is_told_nothing(server):
    made = share(server, route="push")
    headers = {"Authorization": "Bearer " + made["url"].partition("share_token=")[2]}
    with server.connect_sync("/push", token=False, headers=headers) as guest:
        assert answered(guest) == "hello"
        for path in LOOKS:
            status, _, answer = server.fetch(f"{API}/{path}", token=False, headers=headers)
            assert (status, set(json.loads(answer))) == (403, {"message", "reason"})
        query = "?" + made["url"].partition("?")[2]
        assert server.fetch(f"{API}/connections{query}", token=False)[0] == 403


def test_the_configuration_is_for_who_may_execute(server):
    assert get(server, "config", "viewer")[0] == 403
    assert get(server, "connections", "viewer")[0] == 200


def test_a_route_that_somebody_may_not_use_is_not_told_of(server):
    place = told(server, "events")["next"]
    with joined(server, "/push", "bob") as one, joined(server, "/staff", "ada") as two:
        answered(one)
        answered(two)
        seen = {one["route"] for one in told(server, "connections", "stranger")["connections"]}
        assert "push" not in seen
        seen = {one["route"] for one in told(server, "connections", "bob")["connections"]}
        assert "push" in seen
        assert "staff" not in seen  # by its `auth`
        assert get(server, "connections?route=staff", "bob")[0] == 403
        [found] = told(server, "connections?route=staff", "ada")["connections"]
        for method in ("GET", "DELETE"):
            assert get(server, f"connections/{found['id']}", "bob", method)[0] == 403
        assert get(server, f"connections/{found['id']}", "viewer", "DELETE")[0] == 403
        events = told(server, f"events?since={place}", "bob")["events"]
        assert {event["route"] for event in events} == {"push"}
    assert "staff" not in told(server, "config", "bob")["routes"]
    # A function of the route's own decides who may use it, not who may look.
    assert "ruled" in told(server, "config", "bob")["routes"]
    assert get(server, "errors?route=no_such") == (
        404,
        {
            "message": "there is no route 'no_such'; `jupyter wshandler routes` lists them",
            "reason": None,
        },
    )


def test_what_changes_something_needs_the_xsrf_token_where_the_login_is_a_cookie(server):
    visitor = Visitor(server).log_in(server.token)
    with joined(server, "/push", "stays") as one:
        answered(one)
        [found] = told(server, "connections?user=stays")["connections"]
        for path in ("routes/push", "drain", f"connections/{found['id']}", "errors?route=fails"):
            assert visitor.fetch(f"{API}/{path}", method="DELETE")[0] == 403
        assert visitor.fetch(f"{API}/drain", method="POST")[0] == 403
        assert get(server, "drain", "viewer", "POST")[0] == 403  # who may not execute
        assert get(server, "routes/push", "viewer", "DELETE")[0] == 403
        assert get(server, "routes/push", "ada", "DELETE")[0] == 409  # it is configured
        assert not told(server, "drain")["draining"]
        assert answered(one) == "hello"
        kind = {"X-XSRFToken": visitor.jar["_xsrf"].value}
        assert visitor.fetch(f"{API}/{path}", method="DELETE", headers=kind)[0] == 204


# ---- a message that is sent again ----------------------------------------------------------------


def send(server, path="routes/push", key=None, person="ada", **body):
    headers = {} if key is None else {"Idempotency-Key": key}
    status, head, answer = server.fetch(
        f"{API}/{path}",
        method="POST",
        data=json.dumps(body).encode(),
        token=f"person-{person}",
        headers=headers,
    )
    return status, json.loads(answer), head.get("Idempotent-Replayed")


@pytest.mark.parametrize("path", ["routes/push", "spaces/talk/rooms/once"])
def test_a_message_with_a_key_is_published_once_however_often_it_is_sent(server, path):
    where = "/push" if path == "routes/push" else "/talk/once"
    with joined(server, where, "once") as one:
        answered(one)
        first = send(server, path, f"key {where}", message="only once")
        assert (first[0], first[1]["delivered"], first[2]) == (200, 1, None)
        for key in (f"key {where}", f'"key {where}"'):  # as a structured field has it, too
            again = send(server, path, key, message="only once")
            assert again == (200, first[1], "true")
        assert send(server, path, f"key {where}", message="another")[0] == 422
        assert send(server, path, f"key {where}", "named", message="of another user")[2] is None
        assert send(server, path, message="the last")[0] == 200
        assert [one.recv(timeout=5) for _ in range(3)] == [
            *("only once", "of another user", "the last")
        ]


def test_a_key_that_can_be_none_is_refused_and_what_was_refused_may_be_tried_again(server):
    for key in ("", "x" * 256, '""'):
        status, answer, _ = send(server, key=key, message="x")
        assert (status, "Idempotency-Key: expected 1 to 255" in answer["message"]) == (400, True)
    assert send(server, key="again")[0] == 400
    assert send(server, key="again", message="now it is one")[0] == 200


# ---- one shape of errors, and the description ----------------------------------------------------


def test_every_error_has_one_shape(server):
    found = [
        get(server, "nothing"),
        get(server, "connections/none"),
        get(server, "connections?limit=x"),
        get(server, "connections?state=odd"),
        get(server, "connections?after=x"),
        get(server, "connections?after=nan"),
        get(server, "errors?before=-1"),
        get(server, "events?wait=soon"),
        get(server, "spaces/talk/rooms?offset=1"),
        get(server, "config", method="POST"),
        get(server, "config", method="DELETE"),
        get(server, "nothing/at/all", method="PUT"),
        get(server, "health", method="POST"),
        get(server, "routes", "blind"),
        send(server, "nothing", message="x")[:2],
        send(server, "config", message="x")[:2],
    ]
    assert [status for status, _ in found] == [
        *(404, 404, 400, 400, 400, 400, 400, 400, 400, 405, 405, 404, 405, 403, 404, 405)
    ]
    for _, answer in found:
        assert set(answer) == {"message", "reason"}
        assert answer["message"]


@pytest.mark.parametrize(
    ("path", "method", "allowed"),
    [
        ("config", "DELETE", "GET"),
        ("config", "HEAD", "GET"),
        ("routes/push", "GET", "POST, DELETE"),
        ("health", "PATCH", "GET, HEAD"),
        ("drain", "PUT", "GET, POST, DELETE"),
        ("errors", "OPTIONS", "GET, DELETE"),
    ],
)
def test_who_takes_a_wrong_verb_is_told_the_right_ones(server, path, method, allowed):
    for data in (None, b"{}"):
        status, headers, answer = server.fetch(
            f"{API}/{path}", method=method, token="person-ada", data=data
        )
        assert (status, headers["Allow"].split(", ")) == (405, allowed.split(", "))
        if method != "HEAD":
            assert json.loads(answer)["message"] == f"this address takes {headers['Allow']}"


def documented(server) -> dict:
    return told(server, "openapi.json")


def test_every_address_and_verb_of_the_api_is_described_and_no_other(server):
    served = set()
    for rule in rules.read(server.folder):
        pattern = rule["pattern"].replace("\\", "")
        if not pattern.startswith("/me/wshandler/api/") or rule["handler"] == "UnknownHandler":
            continue
        path = re.sub(r"\([^)]*\)", "{}", pattern.removeprefix("/me/wshandler/api").rstrip("$"))
        # Of most there is OPTIONS only to be refused in the API's own words.
        refuses = set() if rule["handler"] == "TicketsHandler" else {"options"}
        served |= {(path, verb) for verb in rule["verbs"] if verb not in refuses}
    paths = documented(server)["paths"]
    described = {
        (re.sub(r"\{\w+\}", "{}", path), verb)
        for path, item in paths.items()
        for verb in item
        if verb != "parameters"
    }
    assert described == served


def test_the_description_says_where_the_server_is_and_names_each_operation_once(server):
    found = documented(server)
    assert found["openapi"].startswith("3.1")
    assert found["servers"] == [{"url": "/me/wshandler/api"}]
    operations = [
        operation["operationId"]
        for item in found["paths"].values()
        for verb, operation in item.items()
        if verb != "parameters"
    ]
    assert len(operations) == len(set(operations))
    refs = set(re.findall(r'"#/([^"]+)"', json.dumps(found)))
    for ref in refs:
        part = found
        for key in ref.split("/"):
            part = part[key]
    schemas = {ref.rpartition("/")[2] for ref in refs if ref.startswith("components/schemas/")}
    assert schemas == {*found["components"]["schemas"]}


def test_the_description_is_valid_by_the_validator_of_the_specification(server):
    openapi_spec_validator.validate(documented(server))


def test_what_the_server_answers_has_the_shape_that_is_described(server):
    document = documented(server)

    def check(path: str, answer, status: str = "200", verb: str = "get") -> None:
        operation = document["paths"][path][verb]
        response = operation["responses"].get(status, operation["responses"]["default"])
        if "$ref" in response:
            response = document["components"]["responses"][response["$ref"].rpartition("/")[2]]
        schema = response["content"]["application/json"]["schema"]
        whole = {**schema, "components": document["components"], "unevaluatedProperties": False}
        Draft202012Validator(whole).validate(answer)

    place = told(server, "events")["next"]
    error_id = failed(server)
    made = share(server, route="push")
    with joined(server, "/talk/shape") as one:
        answered(one)
        [found] = told(server, "connections?route=talk&user=bob")["connections"]
        room = send(server, "spaces/talk/rooms/shape", message="x")
        for path, address in {
            "/routes": "routes",
            "/connections": "connections",
            "/connections/{connection}": f"connections/{found['id']}",
            "/spaces": "spaces",
            "/spaces/{space}/rooms": "spaces/talk/rooms",
            "/spaces/{space}/rooms/{room}": "spaces/talk/rooms/shape",
            "/shares": "shares",
            "/shares/{share}": f"shares/{made['id']}",
            "/errors": "errors",
            "/errors/{error}": f"errors/{error_id}",
            "/events": f"events?since={place}",
            "/frames": "frames?route=talk",
            "/traffic": "traffic",
            "/types": "types?route=typed",
            "/config": "config",
            "/drain": "drain",
            "/health": "health",
            "/openapi.json": "openapi.json",
        }.items():
            if path != "/openapi.json":
                check(path, told(server, address))
    check("/spaces/{space}/rooms/{room}", room[1], verb="post")
    check("/routes/{route}", send(server, message="x")[1], verb="post")
    check("/shares", made, "201", "post")
    check("/connections", get(server, "connections?limit=x")[1], "400")
    ticket = ask(server, "POST", f"{API}/tickets", {"path": "/me/push"})
    check("/tickets", json.loads(ticket[2]), verb="post")


# ---- rates, types, messages ----------------------------------------------------------------------


def test_who_asks_twice_for_the_traffic_has_what_came_in_between(server):
    before = told(server, "traffic")
    with joined(server, "/push") as one:
        for _ in range(3):
            assert answered(one) == "hello"
        # The last one is done with when the next turn begins.
        after = wait_for(
            lambda: (found := told(server, "traffic")) and sum(taken(found)) and found,
            what="messages that are done",
        )
        [listed] = told(server, "connections?route=push&user=bob")["connections"]
        assert listed["received"] == 3
    assert after["life"] == before["life"]
    assert after["at"] > before["at"]
    grown = {
        key: after["routes"]["push"][key] - before["routes"]["push"][key]
        for key in ("messages", "opened", "failed")
    }
    assert grown == {"messages": 3, "opened": 1, "failed": 0}
    assert len(taken(after)) == len(after["bounds"]) + 1 == len(after["lag"])
    assert after["connections"] >= 1


def taken(found) -> list[int]:
    return found["routes"]["push"]["took"]


def test_traffic_is_told_of_the_routes_that_one_may_look_at(server):
    assert "push" in told(server, "traffic")["routes"]
    assert "push" not in told(server, "traffic", "stranger")["routes"]
    assert "staff" not in told(server, "traffic", "bob")["routes"]


def test_the_types_of_a_route_are_told_to_who_may_use_it(server):
    found = told(server, "types?route=typed", "viewer")
    assert (found["route"], found["address"], found["typed"]) == ("typed", "/typed", True)
    assert [kind["name"] for kind in found["takes"]] == ["Wish"]
    assert [kind["name"] for kind in found["answers"]] == ["Granted"]
    wish = found["definitions"]["Wish"]
    assert wish["properties"]["much"]["type"] == "integer"
    plain = told(server, "types?route=talk")
    assert (plain["address"], plain["typed"]) == ("/talk/{room}", False)
    assert [kind["form"] for kind in plain["takes"]] == ["text", "binary"]
    for path, person, status in (
        ("types?route=none", "ada", 404),
        ("types?route=broken", "ada", 409),
        ("types?route=push", "stranger", 403),
        ("types?route=push", "blind", 403),
        ("types?path=/push", "ada", 400),
        ("types?form=yaml", "ada", 400),
        ("types?form=ts&route=none", "ada", 404),
        ("types?form=ts&route=typed&route=broken", "ada", 409),
        ("types?form=asyncapi&route=push", "stranger", 403),
    ):
        assert get(server, path, person)[0] == status, path


def test_a_document_for_programs_has_the_routes_that_one_may_use(server):
    found = told(server, "types?form=asyncapi")
    assert found["asyncapi"] == "3.0.0"
    assert {"typed", "push", "talk"} <= set(found["channels"])
    assert "broken" not in found["channels"]
    assert "push" not in told(server, "types?form=asyncapi", "stranger")["channels"]
    one = told(server, "types?form=schema&route=typed&route=talk")
    assert set(one["properties"]) == {"typed", "talk"}
    status, headers, text = server.fetch(f"{API}/types?form=ts&route=typed", token="person-ada")
    assert (status, headers["Content-Type"]) == (200, "text/plain; charset=utf-8")
    assert b"interface Wish" in text


def test_messages_are_watched_as_they_travel_and_the_log_says_who_does(server):
    place = told(server, "frames?route=talk")["next"]
    with joined(server, "/talk/frames") as one, joined(server, "/push") as other:
        answered(one, "a word to the bot")
        answered(other, "another's")
        found = told(server, f"frames?route=talk&since={place}&wait=10")
        frames = found["frames"]
        while len(frames) < 2:
            found = told(server, f"frames?route=talk&since={found['next']}&wait=10")
            frames += found["frames"]
        assert [(frame["way"], frame["text"]) for frame in frames] == [
            ("in", "a word to the bot"),
            ("out", "a word to the bot"),
        ]
        assert {frame["user"] for frame in frames} == {"bob"}
        name = frames[0]["connection"]
        assert told(server, f"frames?connection={name}")["frames"] == []
    log = server.log_text()
    assert "Route talk: ada watches the messages of the route from outside" in log
    assert f"Route talk: ada watches the messages of the connection {name} from outside" in log
    assert "a word to the bot" not in log


def test_who_watches_what_another_does_is_named_too_and_sees_nothing_older(server):
    where = "frames?route=other"
    place = told(server, where)["next"]
    with joined(server, "/other") as one:
        answered(one, "before named came")
        assert told(server, f"{where}&since={place}&wait=10")["frames"]
        for since in ("", f"&since={place}", "&since=another-0"):
            # Not by a place of another's, nor by one of a server before.
            found = told(server, where + since, "named")
            assert found["frames"] == []
        answered(one, "later")

        def seen() -> set[str]:
            frames = told(server, f"{where}&since={place}", "named")["frames"]
            frames += told(server, f"{where}&since=another-0", "named")["frames"]
            return {frame["text"] for frame in frames}

        assert wait_for(seen, what="what has come later") == {"later"}
    log = server.log_text()
    for who in ("ada", "named"):
        words = f"Route other: {who} watches the messages of the route from outside"
        assert log.count(words) == 1


@pytest.mark.parametrize(
    ("path", "person", "status"),
    [
        ("frames?route=push", "viewer", 403),
        ("frames?route=push", "blind", 403),
        ("frames?route=push", "stranger", 403),
        ("frames?route=staff", "bob", 403),
        ("frames?route=none", "ada", 404),
        ("frames?connection=none", "ada", 404),
        ("frames", "ada", 400),
        ("frames?route=push&connection=x", "ada", 400),
    ],
)
def test_messages_are_for_who_may_execute_and_look_at_their_route(server, path, person, status):
    assert get(server, path, person)[0] == status


def test_shares_come_in_pages_where_somebody_asks_for_them(server):
    made = [share(server, route="other", label=str(number))["id"] for number in range(5)]
    whole = told(server, "shares?route=other")
    assert [one["id"] for one in whole["shares"]] == made
    assert (whole["total"], whole["next"]) == (5, None)
    first = told(server, "shares?route=other&limit=2")
    assert ([one["id"] for one in first["shares"]], first["total"]) == (made[:2], 5)
    ask(server, "DELETE", f"{API}/shares/{made[1]}")
    second = told(server, f"shares?route=other&limit=2&after={first['next']}")
    assert [one["id"] for one in second["shares"]] == made[2:4]
    last = told(server, f"shares?route=other&limit=2&after={second['next']}")
    assert ([one["id"] for one in last["shares"]], last["next"]) == (made[4:], None)
    assert told(server, "shares?limit=0")["shares"] == []


# ---- the console's page --------------------------------------------------------------------------


def page(server, person="ada", path="/wshandler/", **options):
    status, headers, body = server.fetch(path, token=f"person-{person}", **options)
    return status, headers, body.decode()


@pytest.mark.parametrize("path", ["/wshandler/", "/wshandler"])
def test_the_console_is_for_who_may_read_and_knows_its_owner(server, path):
    status, headers, text = page(server, path=path)
    assert (status, 'data-owner="true"' in text) == (200, True)
    policy = headers["Content-Security-Policy"]
    assert {"default-src 'none'", "script-src 'self'"} <= set(policy.split("; "))
    assert "unsafe" not in policy
    assert "frame-ancestors 'self'" in headers["Content-Security-Policy"]
    assert headers["Cache-Control"] == "no-store"
    script = re.search(r'src="(?:\.\./)?(?:\./)?(static/wshandler/console/main\.js)"', text)
    assert server.fetch("/" + script[1], token=False)[0] == 200
    assert 'data-owner="false"' in page(server, "viewer", path)[2]
    status, _, text = page(server, "blind", path)
    assert (status, "not authorized" in text) == (403, True)


def test_a_stranger_is_led_to_the_login_and_a_guest_is_a_stranger(server):
    status, headers, _ = server.fetch("/wshandler/", token=False)
    assert (status, headers["Location"]) == (302, "/me/login?next=%2Fme%2Fwshandler%2F")
    made = share(server, route="push")
    headers = {"Authorization": "Bearer " + made["url"].partition("share_token=")[2]}
    assert server.fetch("/wshandler/", token=False, headers=headers)[0] == 302
    assert server.fetch("/wshandler/", method="POST", data=b"x")[0] in (400, 405)


def test_a_chat_leads_to_the_console_whom_it_is_for(server):
    accept = {"Accept": "text/html"}
    assert 'data-console="wshandler/"' in page(server, path="/push", headers=accept)[2].replace(
        "./", ""
    )
    assert 'data-console=""' in page(server, "blind", "/push", headers=accept)[2]


def test_the_log_says_where_the_console_is_at_the_start(server):
    assert re.search(r"The console is at http://\S+/me/wshandler/\n", server.log_text())
