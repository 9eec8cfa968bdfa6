"""Messages to the clients of a route from outside: over REST, on a real server."""

from __future__ import annotations

import base64
import json
from concurrent.futures import ThreadPoolExecutor

import pytest
import websockets.exceptions
from support.bots import bot_text
from support.server import running_server, wait_for
from support.sharing import ask, bearer, cookie_of, share
from support.visitor import Visitor

API = "/wshandler/api/routes"

CONFIG = """
url:
  push: {pattern: /push, handler: WebSocketHandler, kwargs: {on_message: published.echo}}
  other: {pattern: /other, handler: WebSocketHandler, kwargs: {on_message: published.echo}}
  room: {pattern: "/room/{room}", handler: WebSocketHandler,
         kwargs: {on_message: published.echo}}
  staff: {pattern: /staff, handler: WebSocketHandler,
          kwargs: {on_message: published.echo, auth: {users: [ada]}}}
  ruled: {pattern: /ruled, handler: WebSocketHandler,
          kwargs: {on_message: published.echo, auth: {condition: published.never}}}
  open: {pattern: /open, handler: WebSocketHandler,
         kwargs: {on_message: published.echo, auth: false}}
  "a/b c?%": {pattern: /odd, handler: WebSocketHandler, kwargs: {on_message: published.echo}}
  broken: {pattern: /broken, handler: WebSocketHandler, kwargs: {on_message: published.no_such}}
  slow: {pattern: /slow, handler: WebSocketHandler,
         kwargs: {on_message: published.echo, queue: {messages: 2, slow: drop_oldest}}}
"""

MODULES = {"published.py": bot_text("published")}

PEOPLE = [
    "--ServerApp.identity_provider_class=published.People",
    "--ServerApp.authorizer_class=published.Keeper",
    "--WSHandlerApp.allow_public_routes=True",
]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("publish")
    with running_server(
        CONFIG,
        folder=folder,
        modules=MODULES,
        base_url="/me/",
        extra_args=PEOPLE,
        env={"PYTHONPATH": str(folder)},
    ) as running:
        yield running


@pytest.fixture(scope="module")
def bots_only(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bots_only")
    with running_server(
        CONFIG,
        folder=folder,
        modules=MODULES,
        extra_args=[
            *PEOPLE,
            "--WSHandlerApp.bots_only=True",
            "--WSHandlerApp.publishers=ada",
            "--WSHandlerApp.publishers=service:grader",
        ],
        env={"PYTHONPATH": str(folder)},
        wait_path="wshandler/api/health",
    ) as running:
        yield running


def publish(server, route="push", person="ada", **body) -> tuple[int, dict]:
    """Send to a route as somebody does; return the status and what the server says."""
    status, _, answer = ask(server, "POST", f"{API}/{route}", body, token=f"person-{person}")
    return status, json.loads(answer)


def joined(server, path="/push", person="bob"):
    """Open a socket as somebody does."""
    return server.connect_sync(path, token=f"person-{person}")


def said(server, route="push", person="ada", **body) -> str:
    """Return why a message is refused, with the status."""
    status, answer = publish(server, route, person, **body)
    return f"{status}: {answer['message']}"


# ---- what arrives --------------------------------------------------------------------------------


def test_a_message_reaches_all_who_are_connected_to_the_route_and_the_answer_says_how_many(server):
    with joined(server) as one, joined(server, person="eve") as two, joined(server, "/other") as no:
        assert publish(server, message="Back in five minutes") == (
            200,
            {"route": "push", "delivered": 2, "connections": 2},
        )
        assert one.recv(timeout=5) == two.recv(timeout=5) == "Back in five minutes"
        no.send("nothing came before this")
        assert no.recv(timeout=5) == "nothing came before this"
    wait_for(lambda: publish(server, message="x")[1]["connections"] == 0, what="nobody there")
    assert publish(server, message="x") == (
        200,
        {"route": "push", "delivered": 0, "connections": 0},
    )


def test_a_message_for_a_user_or_a_connection_reaches_only_them(server):
    with joined(server) as one, joined(server) as two, joined(server, person="eve") as other:
        answer = {"route": "push", "delivered": 2, "connections": 3}
        assert publish(server, message="for bob", user="bob") == (200, answer)
        assert one.recv(timeout=5) == two.recv(timeout=5) == "for bob"
        assert publish(server, message="for eve", to="eve")[1]["delivered"] == 1
        assert other.recv(timeout=5) == "for eve"
        for nobody in ("BOB", "", "bo", "*", "%"):
            assert publish(server, message="x", user=nobody)[1]["delivered"] == 0
        found = said(server, message="x", user="bob", to="bob")
        assert found.startswith("400: expected JSON such as")
        assert found.endswith("found both user and to")


@pytest.mark.parametrize(
    ("sent", "arrives"),
    [
        ('"text"', "text"),
        ('""', ""),
        ('"\\u00e9 \\ud83d\\ude00 \\u0000"', "é 😀 \0"),
        ('{ "price":  42.50, "big": 12345678901234567890 }',
         '{"price":42.50,"big":12345678901234567890}'),
        ('[1, [true, null], "a  b"]', '[1,[true,null],"a  b"]'),
        ("7", "7"),
        ("false", "false"),
        ('"null"', "null"),
        ("[" * 190 + "]" * 190, "[" * 190 + "]" * 190),
    ],
)  # fmt: skip
def test_a_text_arrives_as_it_is_and_all_else_as_its_json(server, sent, arrives):
    with joined(server) as one:
        body = b'{"message": ' + sent.encode() + b"}"
        status, _, answer = server.fetch(
            f"{API}/push", method="POST", data=body, token="person-ada"
        )
        assert (status, json.loads(answer)["delivered"]) == (200, 1)
        assert one.recv(timeout=5) == arrives


def test_bytes_arrive_as_a_binary_frame(server):
    data = bytes(range(256)) * 10
    with joined(server) as one:
        sent = publish(server, binary=base64.b64encode(data).decode())
        assert sent[1]["delivered"] == 1
        assert one.recv(timeout=5) == data
        publish(server, binary="")
        assert one.recv(timeout=5) == b""


def test_a_message_of_four_mebibytes_arrives_and_a_larger_one_is_refused(server):
    text = "x" * (4 * 1024 * 1024 - 100)
    with server.connect_sync("/push", token="person-bob", max_size=None) as one:
        assert publish(server, message=text)[0] == 200
        assert one.recv(timeout=20) == text
        objects = [{} for _ in range(200_000)]
        assert publish(server, message=objects)[0] == 200
        assert json.loads(one.recv(timeout=20)) == objects
        refused = said(server, message=text + "x" * 200)
        assert refused == "413: a body of more than 4194304 bytes is not read"


def test_messages_of_one_sender_arrive_in_their_order_and_none_is_mixed_up(server):
    with joined(server) as one:

        def send(name):
            for number in range(40):
                assert publish(server, message={"of": name, "number": number})[0] == 200

        with ThreadPoolExecutor(3) as pool:
            list(pool.map(send, "abc"))
        got = [json.loads(one.recv(timeout=5)) for _ in range(120)]
        for name in "abc":
            assert [m["number"] for m in got if m["of"] == name] == [*range(40)]


def test_a_route_is_found_by_any_name_that_it_can_have(server):
    with joined(server, "/odd") as one:
        for name in ("a/b%20c%3F%25", "a%2Fb%20c%3F%25"):
            assert publish(server, name, message=name)[1]["route"] == "a/b c?%"
            assert one.recv(timeout=5) == name


def test_all_of_a_pattern_are_reached_and_a_broken_route_has_nobody(server):
    with joined(server, "/room/blue") as blue, joined(server, "/room/red") as red:
        assert publish(server, "room", message="all")[1]["delivered"] == 2
        assert blue.recv(timeout=5) == red.recv(timeout=5) == "all"
    assert publish(server, "broken", message="x") == (
        200,
        {"route": "broken", "delivered": 0, "connections": 0},
    )


def test_the_built_in_chat_shows_it_as_a_message_of_its_own(server):
    with server.connect_sync("/push", token="person-bob", subprotocols=["wsh.v1"]) as chat:
        assert json.loads(chat.recv(timeout=5))["wsh"] == "v1"
        publish(server, message={"a": 1})
        assert json.loads(chat.recv(timeout=5)) == {"message": '{"a":1}'}


def test_who_reads_slowly_delays_nobody_else(server):
    with joined(server, "/slow") as one, joined(server, "/slow", "eve") as stuck:
        for number in range(20):
            assert publish(server, "slow", message="x" * 100_000)[1]["delivered"] == 2, number
            assert one.recv(timeout=5) == "x" * 100_000
        assert stuck


# ---- what is no message --------------------------------------------------------------------------

WRONG = {
    b"": "expected JSON",
    b"{": "expected JSON",
    b"[]": "expected JSON",
    b"{}": "neither message nor binary is there",
    b'{"message": null}': 'null is no message; send "null"',
    b'{"mesage": "x"}': "unknown field `mesage`",
    b'{"message": "x", "binary": "eA=="}': "found both message and binary",
    b'{"binary": "not base64!"}': "Invalid base64",
    b'{"binary": 7}': "Expected `bytes",
    b'{"message": "x", "user": 7}': "Expected `str",
    b'{"message": "x", "user": ["ada"]}': "$.user",
    b'{"message": NaN}': "expected JSON",
    b'{"message": "\xff"}': "expected JSON",
    b'{"message": ["\xff"]}': "expected JSON",
    b'{"message": "\\ud800"}': "expected JSON",
    b'{"message": {"a": "\\ud800"}}': "expected JSON",
    b'{"message": [1,]}': "expected JSON",
    b'{"message": {"a" 1}}': "expected JSON",
    b'{"message": ' + b"[" * 210 + b"]" * 210 + b"}": "too deep",
    b'{"message": ' + b"[" * 100_000 + b"]" * 100_000 + b"}": "too deep",
    b'{"message": %s %d}': "expected JSON",
    b'{"message": "x"} {}': "expected JSON",
}


@pytest.mark.parametrize("body", WRONG, ids=lambda body: repr(body[:30]))
def test_what_is_no_message_is_400_with_a_sentence_and_reaches_nobody(server, body):
    with joined(server) as one:
        status, _, answer = server.fetch(
            f"{API}/push", method="POST", data=body, token="person-ada"
        )
        message = json.loads(answer)["message"]
        assert status == 400, message
        assert WRONG[body] in message
        assert 'such as {"message": "Hello"}' in message or body == b""
        one.send("nothing came before this")
        assert one.recv(timeout=5) == "nothing came before this"
    assert "Traceback" not in server.log_text()


def test_other_verbs_are_not_there(server):
    for method in ("GET", "PUT", "PATCH"):
        assert server.fetch(f"{API}/push", method=method, token="person-ada")[0] == 405
    # Only a notebook's bot is stopped so.
    assert server.fetch(f"{API}/push", method="DELETE", token="person-ada")[0] == 409
    for method in ("PUT", "DELETE"):
        assert server.fetch(API, method=method, token="person-ada")[0] == 405


# ---- who may -------------------------------------------------------------------------------------


def test_a_percent_sign_in_an_answer_is_one(server):
    status, _, answer = ask(server, "POST", f"{API}/50%25", {"message": "x"}, token="person-ada")
    assert (status, json.loads(answer)["message"].partition(";")[0]) == (
        404,
        "there is no route '50%'",
    )


def test_an_unknown_route_is_404_and_the_names_of_the_others_are_not_told(server):
    assert said(server, "pusch", message="x") == (
        "404: there is no route 'pusch'; `jupyter wshandler routes` lists them"
    )
    assert "100%" in said(server, "100%25", message="x")


def test_the_authorizer_is_asked_to_write_to_the_extension_and_to_the_route(server):
    denied = "403: this user is not authorized for this"
    assert said(server, person="reader", message="x") == denied
    assert said(server, person="outsider", message="x") == f"{denied} route"
    assert publish(server, "other", "outsider", message="x")[0] == 200


def test_who_may_not_use_a_route_does_not_speak_for_it(server):
    assert said(server, person="stranger", message="x") == (
        "403: this user is not authorized for this route"
    )
    assert said(server, "staff", "bob", message="x").startswith(
        "403: this user may not use this route, by its `auth`"
    )
    assert publish(server, "staff", "ada", message="x")[0] == 200
    # Its own function decides on connections, and is not asked: nobody passes it.
    assert "`condition`" in said(server, "ruled", "ada", message="x")


def test_nobody_without_a_login_sends_not_even_to_a_public_route(server):
    with server.connect_sync("/open", token=False) as one:
        for token in (False, "wrong"):
            status, _, body = ask(server, "POST", f"{API}/open", {"message": "x"}, token=token)
            assert (status, b"connections" in body) == (403, False)
        assert ask(server, "GET", API, token=False)[0] == 403
        assert publish(server, "open", message="for all")[1]["delivered"] == 1
        assert one.recv(timeout=5) == "for all"


def test_a_login_by_cookie_needs_the_xsrf_token(server):
    visitor = Visitor(server).log_in(server.token)
    data = json.dumps({"message": "x"}).encode()
    kind = {"Content-Type": "application/json"}
    assert visitor.fetch(f"{API}/push", method="POST", data=data, headers=kind)[0] == 403
    kind["X-XSRFToken"] = visitor.jar["_xsrf"].value
    assert visitor.fetch(f"{API}/push", method="POST", data=data, headers=kind)[0] == 200
    kind["Origin"] = "https://elsewhere.example"
    assert visitor.fetch(f"{API}/push", method="POST", data=data, headers=kind)[0] in (403, 404)


def test_a_guest_is_a_stranger_here_and_is_reached_under_no_name_of_a_users(server):
    made = share(server, route="push", label="bob")
    cookie = {"Cookie": cookie_of(server, made, "/push")}
    for headers in (bearer(made), cookie):
        status, _, _ = server.fetch(
            f"{API}/push", method="POST", data=b'{"message": "x"}', headers=headers, token=False
        )
        assert status == 403
        assert server.fetch(API, headers=headers, token=False)[0] == 403
    with server.connect_sync("/push", token=False, headers=bearer(made)) as guest:
        assert publish(server, message="x", user="bob")[1] == {
            "route": "push",
            "delivered": 0,
            "connections": 1,
        }
        assert publish(server, message="for all")[1]["delivered"] == 1
        assert guest.recv(timeout=5) == "for all"


def test_with_bots_only_nobody_sends_but_whom_the_administrator_names(bots_only):
    for route in ("push", "open", "no_such"):
        refused = said(bots_only, route, "bob", message="x")
        assert refused.startswith("403: this user may not send to the clients of routes")
        assert "c.WSHandlerApp.publishers" in refused
    # A user with the name of a service is not the service.
    assert publish(bots_only, person="grader", message="x")[0] == 403
    assert publish(bots_only, person="service:grader", message="x")[0] == 403
    with joined(bots_only) as one:
        assert publish(bots_only, message="from ada")[1]["delivered"] == 1
        assert one.recv(timeout=5) == "from ada"
    # Named by the administrator, whatever the route says of its users.
    assert publish(bots_only, "ruled", message="x")[0] == 200


def test_no_byte_of_a_message_is_read_of_who_may_not_send_it(bots_only):
    """The answer comes although the body never does."""
    request = (
        f"POST {API}/push HTTP/1.1\r\nHost: 127.0.0.1:{bots_only.port}\r\n"
        "Authorization: token person-bob\r\nContent-Length: 4000000\r\n\r\n"
    )
    import socket

    with socket.create_connection(("127.0.0.1", bots_only.port), timeout=9) as sock:
        sock.sendall(request.encode())
        assert sock.recv(1000).startswith(b"HTTP/1.1 403")


# ---- what the log and the list say ---------------------------------------------------------------


def test_the_log_says_who_has_sent_to_how_many_and_not_what(server):
    with joined(server):
        publish(server, message="a secret for the clients")
    line = "Route push: ada has sent to 1 of 1 connections from outside"
    wait_for(lambda: line in server.log_text(), what="the line")
    assert "a secret for the clients" not in server.log_text()


def listed(server, person="ada") -> dict[str, dict]:
    status, _, body = server.fetch(API, token=f"person-{person}")
    assert status == 200, body
    return {route["name"]: route for route in json.loads(body)["routes"]}


def test_the_routes_are_listed_with_who_is_there_and_what_is_wrong(server):
    with joined(server, "/room/blue"), joined(server, "/room/red"):
        found = listed(server)
    assert found["room"] == {
        "name": "room",
        "pattern": "/room/{room}",
        "host": "module",
        "kernel": None,
        "page": None,
        "state": "ready",
        "error": "",
        "connections": 2,
    }
    assert (found["broken"]["state"], found["broken"]["connections"]) == ("broken", 0)
    assert "no_such" in found["broken"]["error"]
    assert "push" not in listed(server, "stranger")
    assert server.fetch(API, token="person-blind")[0] == 403


def test_with_bots_only_what_is_wrong_is_told_to_whom_the_administrator_names(bots_only):
    assert "no_such" in listed(bots_only)["broken"]["error"]
    assert listed(bots_only, "bob")["broken"]["error"] == (
        "this route is broken; its error is in the server's log"
    )


def test_a_client_that_closes_meanwhile_is_not_counted(server):
    one = joined(server).__enter__()
    one.close()
    with pytest.raises(websockets.exceptions.ConnectionClosed):
        one.recv(timeout=1)
    wait_for(lambda: publish(server, message="x")[1]["delivered"] == 0, what="nobody there")


# ---- who looks, with bots only -------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    ["connections", "connections/x", "spaces", "spaces/push/rooms", "errors", "events", "config"],
)
def test_with_bots_only_nobody_looks_but_whom_the_administrator_names(bots_only, path):
    where = f"/wshandler/api/{path}"
    status, _, body = ask(bots_only, "GET", where, token="person-bob")
    assert (status, "c.WSHandlerApp.publishers" in json.loads(body)["message"]) == (403, True)
    assert ask(bots_only, "GET", where, token="person-ada")[0] == (404 if "x" in path else 200)
