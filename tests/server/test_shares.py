"""Links to bots on a real server: issued over REST, opened by browsers and by scripts."""

from __future__ import annotations

import json

import pytest
import websockets.exceptions
from support.bots import bot_text
from support.server import running_server
from support.sharing import (
    API,
    ask,
    bearer,
    cookie_of,
    opened,
    revoke,
    share,
    shares,
    token_of,
)

YAML = """
url:
  who: {pattern: /who, handler: WebSocketHandler, kwargs: {on_message: shared.who}}
  rooms: {pattern: "/rooms/{room}", handler: WebSocketHandler, kwargs: {on_message: shared.who}}
  staff: {pattern: /staff, handler: WebSocketHandler,
          kwargs: {on_message: shared.who, auth: {groups: [staff]}}}
  ruled: {pattern: /ruled, handler: WebSocketHandler,
          kwargs: {on_message: shared.who, auth: {condition: shared.refuses_label}}}
  alone: {pattern: /alone, handler: WebSocketHandler,
          kwargs: {on_message: shared.who, auth: {guests: false}}}
  ticketed: {pattern: /ticketed, handler: WebSocketHandler,
             kwargs: {on_message: shared.who, xsrf: ticket}}
"""

MODULES = {"shared.py": bot_text("shared")}


@pytest.fixture(scope="module", params=["/", "/user/ann/"], ids=["root", "deep"])
def server(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("shares")
    with running_server(
        YAML, folder=folder, modules=MODULES, base_url=request.param, extra_args=["--debug"]
    ) as running:
        yield running


def says(server, path, headers=None) -> dict:
    """Return what a bot says of whoever opens it so."""
    with server.connect_sync(path, token=False, headers=headers) as ws:
        ws.send("hi")
        return json.loads(ws.recv(timeout=5))


def refused(server, path, headers=None) -> tuple[int, str]:
    """Return how a socket is refused."""
    with pytest.raises(websockets.exceptions.InvalidStatus) as caught:
        server.connect_sync(path, token=False, headers=headers)
    answer = caught.value.response
    return answer.status_code, answer.body.decode()


def test_a_link_is_exchanged_for_a_cookie_and_the_clean_address(server):
    made = share(server, route="who", label="Tuesday's class", expires="2h")
    status, head, _ = server.fetch(
        f"/who?a=1&share_token={token_of(made)}&b=2", token=False, headers={"Accept": "text/html"}
    )
    assert status == 302
    assert head["Location"] == "./who?a=1&b=2"
    assert head["Referrer-Policy"] == "no-referrer"
    assert head["Cache-Control"] == "no-store"
    cookie = head["Set-Cookie"]
    assert f"Path={server.base_url}who" in cookie
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert token_of(made) not in cookie
    found = says(server, "/who", {"Cookie": cookie.partition(";")[0]})
    assert found["kind"] == "guest"
    assert found["name"] == "Tuesday's class"
    assert found["username"].startswith("guest/")
    assert found["share"] == made["id"]


def test_a_script_comes_by_header_and_by_query(server):
    made = share(server, route="who")
    by_header = says(server, "/who", bearer(made))
    by_query = says(server, f"/who?share_token={token_of(made)}&x=1")
    assert by_header["kind"] == by_query["kind"] == "guest"
    assert by_header["name"] == "Guest"
    assert by_header["username"] != by_query["username"]
    assert by_header["session"] != by_query["session"]
    assert by_query["arguments"] == ["x"]
    assert next(s["used"] for s in shares(server) if s["id"] == made["id"]) == 2


def test_a_guest_comes_back_as_the_same_with_the_same_session(server):
    cookie = {"Cookie": cookie_of(server, share(server, route="who"), "/who")}
    first, second = says(server, "/who", cookie), says(server, "/who", cookie)
    assert first["username"] == second["username"]
    assert first["session"] == second["session"]
    assert (first["count"], second["count"]) == (1, 2)


def test_a_share_says_who_is_in_and_ends_at_once(server):
    made = share(server, route="who", uses=5)
    with server.connect_sync("/who", token=False, headers=bearer(made)) as ws:
        ws.send("hi")
        ws.recv(timeout=5)
        found = next(s for s in shares(server, "?route=who") if s["id"] == made["id"])
        assert (found["used"], found["guests"], found["connections"]) == (1, 1, 1)
        assert "url" not in found
        assert revoke(server, made["id"]) == 204
        with pytest.raises(websockets.exceptions.ConnectionClosed) as caught:
            ws.recv(timeout=1)
    assert caught.value.rcvd.code == 4403
    assert caught.value.rcvd.reason == "this link has been revoked"
    assert refused(server, "/who", bearer(made)) == (403, "403: this link has been revoked\n")
    assert revoke(server, made["id"]) == 404
    assert opened(server, made, "/who")[0] == 403
    assert ask(server, "GET", f"{API}/{made['id']}")[0] == 404
