"""Links to bots on a real server: issued over REST, opened by browsers and by scripts."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from contextlib import ExitStack, closing
from urllib.parse import urlsplit

import pytest
import websockets.exceptions
from support.bots import bot_text
from support.guestsockets import gone_within_a_second, guests_of, seconds_after
from support.server import running_server, wait_for
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
from support.visitor import Visitor

from jupyter_wshandler.shares.share import hash_of

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
  open: {pattern: /open, handler: WebSocketHandler,
         kwargs: {on_message: shared.who, auth: false}}
  careless: {pattern: /careless, handler: WebSocketHandler,
             kwargs: {on_message: shared.writes_over}}
"""

MODULES = {"shared.py": bot_text("shared")}


@pytest.fixture(scope="module", params=["/", "/user/ann/"], ids=["root", "deep"])
def server(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("shares")
    with running_server(
        YAML,
        folder=folder,
        modules=MODULES,
        base_url=request.param,
        extra_args=["--debug", "--WSHandlerApp.allow_public_routes=True"],
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


@pytest.mark.parametrize("name", ["share%5Ftoken", "%73hare_token", "share_token"])
def test_a_link_that_was_escaped_on_its_way_is_the_same_link(server, name):
    made = share(server, route="who")
    token = token_of(made).replace("-", "%2D").replace("_", "%5F")
    status, head, _ = server.fetch(
        f"/who?a=1&{name}={token}", token=False, headers={"Accept": "text/html"}
    )
    assert (status, head["Location"]) == (302, "./who?a=1")
    assert says(server, f"/who?{name}={token}")["share"] == made["id"]


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


def test_all_of_a_shares_guests_are_gone_within_a_second_of_its_revocation(server):
    made, other = share(server, route="who"), share(server, route="who")
    with guests_of(server, made, "/who") as sockets:
        for ws in sockets.values():
            ws.send("hi")
            assert json.loads(ws.recv(timeout=20))["share"] == made["id"]
        with server.connect_sync("/who", token=False, headers=bearer(other)) as stays:
            found = seconds_after(server, "/who", sockets, lambda: revoke(server, made["id"]))
            stays.send("hi")
            assert json.loads(stays.recv(timeout=20))["share"] == other["id"]
    gone_within_a_second(found, "this link has been revoked")


# ---- who shares, and what ------------------------------------------------------------------------


def test_a_share_ends_for_all_also_where_the_bot_has_written_over_who_they_are(server):
    made = share(server, route="careless")
    cookie = cookie_of(server, made, "/careless")
    status, _, body = server.fetch(
        "/careless", token=False, headers={"Cookie": cookie, "Accept": "text/html"}
    )
    assert status == 200
    assert b"wshandler-guest" in body  # the page has a ticket, so that its sockets are counted
    ways = ({"Cookie": cookie}, bearer(made), {"Cookie": cookie})
    with ExitStack() as stack:
        sockets = [
            stack.enter_context(server.connect_sync("/careless", token=False, headers=way))
            for way in ways
        ]
        for ws in sockets[:2]:
            ws.send("hi")
            assert ws.recv(timeout=5) == "done"
        sockets[0].close()
        found = next(s for s in shares(server, "?route=careless") if s["id"] == made["id"])
        assert (found["guests"], found["connections"]) == (2, 2)
        assert revoke(server, made["id"]) == 204
        for ws in sockets[1:]:
            with pytest.raises(websockets.exceptions.ConnectionClosed):
                ws.recv(timeout=5)
            assert ws.close_code == 4403
    assert "which hears what becomes of connections" not in server.log_text()
    assert "who was to know failed" not in server.log_text()


def told(server, **asked) -> tuple[int, str]:
    """Return how somebody is refused who wants to share."""
    status, _, body = ask(server, "POST", API, asked)
    return status, json.loads(body)["message"]


def test_a_pattern_with_groups_is_shared_at_one_path(server):
    made = share(server, path="/rooms/blue sky")
    assert (made["route"], made["path"]) == ("rooms", "/rooms/blue%20sky")
    assert urlsplit(made["url"]).path == f"{server.base_url}rooms/blue%20sky"
    assert says(server, "/rooms/blue%20sky", bearer(made))["kind"] == "guest"
    assert says(server, "/rooms/%62lue%20sky", bearer(made))["kind"] == "guest"
    assert refused(server, "/rooms/red", bearer(made)) == (
        403,
        "403: log in first, or send a token\n",
    )


@pytest.mark.parametrize(
    ("asked", "status", "words"),
    [
        ({}, 400, "neither route nor path"),
        ({"route": "nobody"}, 404, "no route named 'nobody'"),
        ({"path": "/nowhere"}, 404, "'/nowhere'; `jupyter wshandler routes` lists them"),
        ({"path": "who"}, 404, "no route has the path 'who'"),
        ({"path": "/100%"}, 404, "no route has the path '/100%'"),
        ({"path": "/who", "route": "50%%s"}, 404, "there is no route named '50%%s'"),
        ({"route": "rooms"}, 400, "name the one to share, such as /rooms/"),
        ({"route": "rooms", "path": "/who"}, 400, "expected one that leads to the route 'rooms'"),
        ({"route": "who", "path": "/rooms/x"}, 400, "expected one that leads to the route 'who'"),
        ({"route": "who", "expires": "soon"}, 400, 'expected a duration such as "2h"'),
        ({"route": "who", "expires": 0}, 400, "expires: expected a time of 1 s to ten years"),
        ({"route": "who", "expires": -5}, 400, "expires: expected a"),
        ({"route": "who", "expires": 1e300}, 400, "expires: expected a"),
        ({"route": "who", "uses": 0}, 400, "uses: expected a number from 1"),
        ({"route": "who", "uses": "many"}, 400, "Expected `int | null`, got `str`"),
        ({"route": "who", "label": "x" * 201}, 400, "at most 200 printable characters"),
        ({"route": "who", "label": "a\nb"}, 400, "printable characters"),
        ({"route": "who", "expiry": "2h"}, 400, "unknown field `expiry`"),
        ({"route": "alone"}, 409, "takes no guests; remove `guests: false`"),
    ],
)
def test_who_asks_for_what_cannot_be_is_told_what_to_do(server, asked, status, words):
    found = told(server, **asked)
    assert found[0] == status
    assert words in found[1]


def test_only_who_may_use_the_route_shares_it_and_a_page_needs_the_xsrf_token(server):
    for method, path in (("POST", API), ("GET", API), ("DELETE", f"{API}/x"), ("GET", f"{API}/x")):
        assert ask(server, method, path, {"route": "who"} if method == "POST" else None,
                   token=False)[0] == 403  # fmt: skip
    visitor = Visitor(server).log_in(server.token)
    data = json.dumps({"route": "who"}).encode()
    sent = {"Content-Type": "application/json"}
    assert visitor.fetch(API, method="POST", data=data, headers=sent)[0] == 403
    sent["X-XSRFToken"] = visitor.jar["_xsrf"].value
    assert visitor.fetch(API, method="POST", data=data, headers=sent)[0] == 201
    assert visitor.fetch(API)[0] == 200


def test_the_link_names_the_address_that_its_owner_came_by(server):
    made = share(server, route="who")
    assert made["url"].startswith(f"{server.url}who?share_token=")
    assert len(token_of(made)) == 22


# ---- who comes by it -----------------------------------------------------------------------------


def test_no_rule_about_users_is_asked_of_a_guest_but_the_routes_own_function_is(server):
    assert says(server, "/staff", bearer(share(server, route="staff")))["kind"] == "guest"
    ann, mallory = (share(server, route="ruled", label=name) for name in ("Ann", "Mallory"))
    assert says(server, "/ruled", bearer(ann))["name"] == "Ann"
    assert refused(server, "/ruled", bearer(mallory))[0] == 403
    assert next(s["used"] for s in shares(server) if s["id"] == mallory["id"]) == 0


def test_a_login_that_may_use_the_route_wins_over_the_cookie_and_no_other_does(server):
    visitor = Visitor(server).log_in(server.token)
    login = visitor.cookie_header()["Cookie"]
    for path, kind in (("/who", "user"), ("/staff", "guest")):
        cookie = cookie_of(server, share(server, path=path), path)
        assert says(server, path, {"Cookie": f"{login}; {cookie}"})["kind"] == kind
    assert refused(server, "/staff", {"Cookie": login})[0] == 403
    made = share(server, route="who")
    assert says(server, "/who", {"Cookie": login, **bearer(made)})["kind"] == "guest"


def test_a_cookie_is_good_at_its_address_only_and_none_that_is_made_up_is_good(server):
    made = share(server, route="who")
    cookie = cookie_of(server, made, "/who")
    name, _, value = cookie.partition("=")
    room = cookie_of(server, share(server, path="/rooms/blue"), "/rooms/blue")
    for other in (
        f"{name}={room.partition('=')[2]}",  # of another address, under this one's name
        f"{name}={value[:-2]}xx",
        f"{name}={token_of(made)}",
        f"{name}=eyJzaGFyZSI6IngifQ",
        f"{name}=",
    ):
        assert refused(server, "/who", {"Cookie": other})[0] == 403
    assert refused(server, "/rooms/blue", {"Cookie": cookie})[0] == 403
    assert name.startswith("wshandler-guest-")
    assert name.endswith(f"-{server.port}")


def test_whoever_opens_another_link_is_another_guest_whatever_cookie_they_have(server):
    one, other = share(server, route="who"), share(server, route="who", label="Other")
    first = cookie_of(server, one, "/who")
    _, head, _ = opened(server, other, "/who", headers={"Cookie": first})
    second = head["Set-Cookie"].partition(";")[0]
    before, after = (says(server, "/who", {"Cookie": c}) for c in (first, second))
    assert before["username"] != after["username"]
    assert before["session"] != after["session"]
    # The same link again is no second guest.
    assert opened(server, one, "/who", headers={"Cookie": first})[0] == 302
    assert says(server, "/who", {"Cookie": first})["username"] == before["username"]
    assert next(s["used"] for s in shares(server) if s["id"] == one["id"]) == 1


def test_a_page_of_another_origin_or_of_none_opens_no_socket_as_a_guest(server):
    made = share(server, route="who")
    cookie = {"Cookie": cookie_of(server, made, "/who")}
    own = {"Origin": f"http://{server.host}:{server.port}"}
    assert says(server, "/who", cookie | own)["kind"] == "guest"
    for origin in ("null", "http://evil.example", f"http://{server.host}:1"):
        for fields in (cookie, bearer(made)):
            status, words = refused(server, "/who", fields | {"Origin": origin})
            assert (status, words) == (403, "403: this origin is not allowed\n")


def test_the_cookie_alone_opens_no_socket_of_a_route_that_wants_tickets(server):
    made = share(server, route="ticketed")
    cookie = {"Cookie": cookie_of(server, made, "/ticketed")}
    assert refused(server, "/ticketed", cookie)[0] == 403
    assert says(server, "/ticketed", bearer(made))["kind"] == "guest"


def test_a_link_that_nobody_knows_leads_to_words_and_to_no_login(server):
    status, _, body = server.fetch(
        "/who?share_token=AAAAAAAAAAAAAAAAAAAAAA", token=False, headers={"Accept": "text/html"}
    )
    assert status == 403
    words = b"this link is not known here; it may have been revoked, ask for a new one"
    assert words in body.lower()
    assert refused(server, "/who", {"Authorization": "Bearer AAAAAAAAAAAAAAAAAAAAAA"})[0] == 403


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    ("path", "login"), [("rooms/red", True), ("rooms/red", False), ("open", True), ("open", False)]
)
def test_a_page_at_another_address_than_the_links_is_shown_without_its_token(
    server, path, login, method
):
    made = share(server, route="rooms", path="/rooms/blue", uses=1)
    status, head, _ = server.fetch(
        f"/{path}?a=1&share_token={token_of(made)}&b=2",
        method=method,
        token=login,
        headers={"Accept": "text/html"},
    )
    assert (status, head["Location"]) == (302, f"./{path.rpartition('/')[2]}?a=1&b=2")
    assert (head["Referrer-Policy"], head["Cache-Control"]) == ("no-referrer", "no-store")
    assert "wshandler-guest" not in str(head)
    assert next(s["used"] for s in shares(server) if s["id"] == made["id"]) == 0
    status, head, _ = server.fetch(
        f"/{path}?a=1&b=2", method=method, token=login, headers={"Accept": "text/html"}
    )
    is_shown = login or path == "open"
    assert status == (200 if is_shown else 302)
    assert is_shown or "/login?next=" in head["Location"]


def test_a_script_with_a_login_is_itself_also_with_the_link_of_another_address(server):
    made = share(server, route="rooms", path="/rooms/blue")
    with server.connect_sync(f"/rooms/red?share_token={token_of(made)}") as ws:
        ws.send("hi")
        assert json.loads(ws.recv(timeout=5))["kind"] == "user"
    assert refused(server, f"/rooms/red?share_token={token_of(made)}")[0] == 403


def test_a_page_is_shown_to_a_guest_in_a_sandbox_and_not_by_a_link_without_one(server):
    made, bare = share(server, route="who"), share(server, route="who", page=False)
    cookie = {"Cookie": cookie_of(server, made, "/who"), "Accept": "text/html"}
    status, head, _ = server.fetch("/who", token=False, headers=cookie)
    assert status == 200
    sandbox = "sandbox allow-scripts allow-forms allow-downloads allow-popups"
    assert sandbox in head.get_all("Content-Security-Policy")
    status, head, _ = server.fetch("/who", headers={"Accept": "text/html"})
    assert status == 200
    assert sandbox not in head.get_all("Content-Security-Policy")
    status, head, body = opened(server, bare, "/who")
    assert (status, head["Set-Cookie"]) == (403, None)
    assert b"opens a WebSocket, and no page" in body
    assert says(server, "/who", bearer(bare))["kind"] == "guest"


def test_a_link_that_is_only_looked_at_is_not_used(server):
    made = share(server, route="who", uses=1)
    query = f"?share_token={token_of(made)}"
    status, head, _ = server.fetch(
        f"/who{query}", method="HEAD", token=False, headers={"Accept": "text/html"}
    )
    assert (status, head["Set-Cookie"]) == (302, None)
    assert server.fetch(f"/who{query}", token=False)[0] == 426
    status, _, sock = server.raw_handshake("/who" + query, replace={"Sec-WebSocket-Key": "no"})
    sock.close()
    assert status == 400
    assert says(server, "/who", {"Cookie": cookie_of(server, made, "/who")})["kind"] == "guest"
    assert opened(server, made, "/who")[0] == 403


def test_without_a_directory_nothing_is_shared_with_people_by_their_names(server):
    for people in ({"users": ["bob"]}, {"groups": ["staff"]}):
        status, _, body = ask(server, "POST", API, {"route": "who", **people})
        assert status == 403
        assert "this server knows no directory" in json.loads(body)["message"]


def test_what_is_for_people_by_their_names_is_opened_by_no_link(server):
    made, token = share(server, route="who", label="by name"), "A" * 22
    stored = server.folder / ".jupyter-state" / "data" / "wshandler-sessions.db"
    with closing(sqlite3.connect(stored)) as file, file:
        # As another server of the same folder, one with a directory, would store it.
        file.execute(
            "INSERT INTO wshandler_shares SELECT 'b' || substr(id, 2), server, ?, "
            "json_set(value, '$.id', 'b' || substr(id, 2), '$.people', json(?)), 0 "
            "FROM wshandler_shares WHERE id = ?",
            (hash_of(token), '{"users": ["bob"], "groups": []}', made["id"]),
        )
    wait_for(lambda: "bob" in str(shares(server)), 10, "the share of the other server")
    with_token = {"Authorization": f"Bearer {token}"}
    assert "shared with people by their names" in refused(server, "/who", with_token)[1]


# ---- how many, how long --------------------------------------------------------------------------


def test_of_thirty_one_who_come_at_once_thirty_are_let_in_and_one_is_told_why(server):
    made = share(server, route="who", uses=30)

    async def come() -> tuple[list, list[str]]:
        async def one():
            try:
                return await server.connect("/who", token=False, headers=bearer(made))
            except websockets.exceptions.InvalidStatus as error:
                return error.response.body.decode()

        found = await asyncio.gather(*(one() for _ in range(31)))
        sockets = [each for each in found if not isinstance(each, str)]
        names = set()
        for socket in sockets:
            await socket.send("hi")
        for socket in sockets:
            names.add(json.loads(await socket.recv())["username"])
        assert len(names) == 30
        found_now = next(s for s in shares(server) if s["id"] == made["id"])
        assert (found_now["used"], found_now["guests"]) == (30, 30)
        for socket in sockets:
            await socket.close()
        return sockets, [each for each in found if isinstance(each, str)]

    sockets, refusals = asyncio.run(come())
    assert len(sockets) == 30
    assert refusals == ["403: this link has been used by as many as it may\n"]
    assert opened(server, made, "/who")[0] == 403
    # Who is known may come back.
    assert made["id"] in {s["id"] for s in shares(server)}


def test_a_guest_who_was_counted_comes_back_to_a_link_that_is_used_up(server):
    made = share(server, route="who", uses=1)
    cookie = {"Cookie": cookie_of(server, made, "/who")}
    assert says(server, "/who", cookie)["count"] == 1
    assert refused(server, "/who", bearer(made))[0] == 403
    assert says(server, "/who", cookie)["kind"] == "guest"
    assert opened(server, made, "/who", headers=cookie)[0] == 302


def test_a_share_that_expires_closes_what_is_open_and_says_so(server):
    made = share(server, route="who", expires=1.5)
    cookie = {"Cookie": cookie_of(server, made, "/who")}
    begun = time.monotonic()
    with server.connect_sync("/who", token=False, headers=cookie) as ws:
        with pytest.raises(websockets.exceptions.ConnectionClosed) as caught:
            ws.recv(timeout=20)
        assert time.monotonic() - begun < 10
    assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (4403, "this link has expired")
    for fields in (cookie, bearer(made)):
        assert refused(server, "/who", fields) == (403, "403: this link has expired\n")
    assert made["id"] not in {s["id"] for s in shares(server)}


def test_no_token_of_a_link_stands_in_the_log(server):
    made = share(server, route="who")
    cookie_of(server, made, "/who")
    says(server, f"/who?share_token={token_of(made)}")
    revoke(server, made["id"])
    opened(server, made, "/who")
    assert "share_token=[secret]" in wait_for(
        lambda: "share_token=[secret]" in server.log_text() and server.log_text(), what="the log"
    )
    assert token_of(made) not in server.log_text()


@pytest.mark.parametrize(
    ("path", "spelled", "expected"),
    [
        ("/rooms/blue sky", "rooms/blue%20sky", "rooms/blue%20sky"),
        ("/rooms/{x}", "rooms/%7Bx%7D", "rooms/%7Bx%7D"),
        ("/rooms/caf\u00e9", "rooms/caf%c3%a9", "rooms/caf%c3%a9"),
        ("/rooms/a;b", "rooms/a;b", "rooms"),
    ],
)
def test_the_cookies_path_is_spelled_as_the_browser_spells_it(server, path, spelled, expected):
    made = share(server, path=path)
    status, head, body = opened(server, made, "/" + spelled)
    assert status == 302, body
    assert f"Path={server.base_url}{expected}" in head["Set-Cookie"].split("; ")
    cookie = {"Cookie": head["Set-Cookie"].partition(";")[0]}
    assert says(server, "/" + spelled, cookie)["kind"] == "guest"


def test_the_cookie_is_kept_to_tls_where_the_browser_comes_over_it(tmp_path):
    modules = MODULES
    with running_server(
        YAML,
        folder=tmp_path,
        modules=modules,
        extra_args=["--ServerApp.trust_xheaders=True"],
    ) as proxied:
        made = share(proxied, route="who")
        for scheme, is_secure in (("https", True), ("http", False)):
            _, head, _ = opened(proxied, made, "/who", headers={"X-Forwarded-Proto": scheme})
            assert ("Secure" in head["Set-Cookie"].split("; ")) is is_secure
