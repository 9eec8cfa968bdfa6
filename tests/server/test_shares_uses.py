"""What counts as a use of a link: a guest who comes in, and nobody who only looks at it."""

from __future__ import annotations

import asyncio
import json

import pytest
import websockets.exceptions
from support.bots import bot_text
from support.guestsockets import BROWSER, page_ticket, socket_ticket
from support.server import running_server
from support.sharing import bearer, cookie_of, opened, share, shares, token_of
from support.visitor import Visitor

YAML = """
url:
  who: {pattern: /who, handler: WebSocketHandler, kwargs: &bot {on_message: shared.who}}
  folder: {pattern: /folder, handler: WebSocketHandler, kwargs: {<<: *bot, page: dist/}}
"""
USED_UP = "this link has been used by as many as it may"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("uses")
    (folder / "dist").mkdir()
    (folder / "dist" / "index.html").write_text("<!doctype html><title>x</title>")
    with running_server(
        YAML, folder=folder, modules={"shared.py": bot_text("shared")}, base_url="/user/ann/"
    ) as running:
        yield running


def used(server, made: dict) -> int:
    return next(each["used"] for each in shares(server) if each["id"] == made["id"])


def says(server, path, headers) -> dict:
    with server.connect_sync(path, token=False, headers=headers) as ws:
        ws.send("hi")
        return json.loads(ws.recv(timeout=5))


def refused(server, path, headers) -> str:
    with pytest.raises(websockets.exceptions.InvalidStatus) as caught:
        server.connect_sync(path, token=False, headers=headers)
    assert caught.value.response.status_code == 403
    return caught.value.response.body.decode()


LOOKS = {
    "a chat": ("GET", {"User-Agent": "Slackbot-LinkExpanding 1.0", "Accept": "*/*"}),
    "a scanner": ("GET", {"User-Agent": "Mozilla/5.0 (compatible; MailScan)", **BROWSER}),
    "a head": ("HEAD", BROWSER),
    "a prefetch": ("GET", {"Sec-Purpose": "prefetch", "Sec-Fetch-Dest": "document", **BROWSER}),
    "a prerender": ("GET", {"Sec-Purpose": "prefetch;prerender", **BROWSER}),
    "an old prefetch": ("GET", {"Purpose": "prefetch", "X-Purpose": "preview", **BROWSER}),
}


@pytest.mark.parametrize("route", ["who", "folder"])
@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
def test_who_only_looks_at_a_link_before_a_person_opens_it_is_no_use_of_it(server, look, route):
    method, headers = look
    for uses in (1, None):
        made = share(server, route=route, uses=uses)
        for _ in range(3):
            robot = Visitor(server)  # one that keeps the cookies it is given, and goes on with them
            link = f"/{route}?share_token={token_of(made)}"
            seen = [
                robot.fetch(path, method=method, headers=headers)[0]
                for path in (link, f"/{route}", f"/{route}/")
            ]
            if method == "GET" and "text/html" in headers["Accept"]:
                assert seen[0] == 302
                assert 200 in seen
        assert used(server, made) == 0
        cookie = {"Cookie": cookie_of(server, made, f"/{route}")}
        assert used(server, made) == 0
        assert says(server, f"/{route}", cookie)["kind"] == "guest"
        assert used(server, made) == 1


def test_of_thirty_one_browsers_at_one_time_thirty_come_in_and_one_reads_why_not(server):
    made = share(server, route="who", uses=30)
    cookies = [cookie_of(server, made, "/who") for _ in range(31)]
    tickets = [page_ticket(server, "/who", cookie) for cookie in cookies]
    sockets = [socket_ticket(server, ticket)[1] for ticket in tickets]
    assert used(server, made) == 0

    async def come() -> list:
        async def one(ticket):
            headers = {"Origin": "null"}
            try:
                return await server.connect(f"/who?ws_token={ticket}", token=False, headers=headers)
            except websockets.exceptions.InvalidStatus as error:
                return error.response.body.decode()

        found = await asyncio.gather(*(one(ticket) for ticket in sockets))
        for each in found:
            if not isinstance(each, str):
                await each.close()
        return found

    found = asyncio.run(come())
    assert [each for each in found if isinstance(each, str)] == [f"403: {USED_UP}\n"]
    assert used(server, made) == 30
    for number, each in enumerate(found):
        # All thirty come and go as they like; the one who was too late is told so everywhere.
        told = socket_ticket(server, tickets[number])
        headers = {"Cookie": cookies[number], **BROWSER}
        status, _, body = server.fetch("/who", token=False, headers=headers)
        if isinstance(each, str):
            assert told == (403, f"403: {USED_UP}\n")
            assert (status, USED_UP in body.decode().lower()) == (403, True)
            assert refused(server, "/who", {"Cookie": cookies[number]}) == f"403: {USED_UP}\n"
        else:
            assert (told[0], status) == (200, 200)
    assert opened(server, made, "/who")[0] == 403
    assert used(server, made) == 30


def test_the_windows_of_one_browser_are_one_guest_and_each_of_its_sockets_keeps_the_use(server):
    made = share(server, route="who", uses=1)
    cookie = {"Cookie": cookie_of(server, made, "/who")}
    late = {"Cookie": cookie_of(server, made, "/who")}
    # It has counted when it fails, and nobody else has the place: another window may be in by it.
    status, _, sock = server.raw_handshake(
        "/who", list(cookie.items()), replace={"Sec-WebSocket-Key": "no"}
    )
    sock.close()
    assert status == 400
    assert refused(server, "/who", late) == f"403: {USED_UP}\n"
    first, second = says(server, "/who", cookie), says(server, "/who", cookie)
    assert (first["username"], first["session"]) == (second["username"], second["session"])
    assert used(server, made) == 1
    assert refused(server, "/who", bearer(made)) == f"403: {USED_UP}\n"
    assert refused(server, f"/who?share_token={token_of(made)}", late) == f"403: {USED_UP}\n"


def test_who_has_looked_and_comes_by_the_whole_link_then_is_the_same_guest_and_one_use(server):
    made = share(server, route="who", uses=2)
    cookie = {"Cookie": cookie_of(server, made, "/who")}
    by_link = says(server, f"/who?share_token={token_of(made)}", cookie)
    assert says(server, "/who", cookie)["username"] == by_link["username"]
    assert used(server, made) == 1
