"""What a guest's page asks for, as its browser does: files, tickets, sockets, and nothing else."""

from __future__ import annotations

import json
import re
import secrets

import pytest
import websockets.exceptions
from support.bots import bot_text
from support.server import running_server
from support.sharing import bearer, cookie_of, opened, revoke, share, token_of

YAML = """
url:
  chat: {pattern: /chat, handler: WebSocketHandler, kwargs: &bot {on_message: shared.who}}
  file: {pattern: "/file/{room}", handler: WebSocketHandler, kwargs: {<<: *bot, page: own.html}}
  folder:
    pattern: /folder
    handler: WebSocketHandler
    kwargs: {<<: *bot, xsrf: ticket, page: dist/}
  inner: {pattern: /folder/inner, handler: WebSocketHandler, kwargs: *bot}
  any: {pattern: /any, handler: WebSocketHandler, kwargs: {<<: *bot, origins: ["*"]}}
"""

INDEX = "<!doctype html><html><head><title>x</title></head></html>"
FILES = {"index.html": INDEX, "a.js": "1;", "a.svg": "<svg/>", "empty.html": "", ".env": "SECRET"}
BROWSER = {"Accept": "text/html,*/*;q=0.8"}
SANDBOX = "sandbox allow-scripts allow-forms allow-downloads allow-popups"


@pytest.fixture(scope="module", params=["/", "/user/ann/"], ids=["root", "deep"])
def server(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("guestpages")
    (folder / "dist").mkdir()
    for name, text in FILES.items():
        (folder / "dist" / name).write_text(text)
    with running_server(
        YAML,
        folder=folder,
        modules={"shared.py": bot_text("shared"), "own.html": "<p>own"},
        base_url=request.param,
        extra_args=["--debug"],
    ) as running:
        yield running


def visit(server, path, cookie, **options):
    """Ask for a page with a guest's cookie; return status, header and text."""
    headers = {"Cookie": cookie, **BROWSER, **options.pop("headers", {})}
    status, head, body = server.fetch(path, token=False, headers=headers, **options)
    return status, head, body.decode()


def ticket_in(text: str) -> str:
    found = re.search(r'<meta name="wshandler-guest" content="([\w-]{32})"/>', text)
    assert found, text
    return found[1]


def key_in(text: str) -> str:
    found = re.search(r'<base href="(?:\.\./|\./)*wshandler/guest/([\w-]{32})/', text)
    assert found, text
    return found[1]


def ask(server, ticket, query="", **options):
    """Ask for a ticket for a socket as a sandboxed page does; return status, header and answer."""
    headers = {"Origin": "null", "Sec-Fetch-Site": "cross-site", **options.pop("headers", {})}
    path = f"/wshandler/guest/{ticket}/ticket{query}"
    status, head, body = server.fetch(
        path, method="POST", token=False, headers=headers, data=b"", **options
    )
    return status, head, body.decode()


def socket_ticket(server, ticket) -> str:
    status, _, body = ask(server, ticket)
    assert status == 200, body
    return json.loads(body)["ticket"]


def talk(server, path, origin="null", **headers) -> dict:
    sent = {"Origin": origin, **headers} if origin else headers
    with server.connect_sync(path, token=False, headers=sent) as ws:
        ws.send("hi")
        return json.loads(ws.recv(timeout=5))


def refused(server, path, origin="null", **headers) -> int:
    with pytest.raises(websockets.exceptions.InvalidStatus) as caught:
        talk(server, path, origin, **headers)
    return caught.value.response.status_code


@pytest.fixture
def made(server):
    return share(server, route="folder", label="A class")


@pytest.fixture
def cookie(server, made):
    return cookie_of(server, made, "/folder")


@pytest.fixture
def page(server, cookie):
    """Return the folder's page as a guest gets it."""
    status, _, text = visit(server, "/folder/", cookie)
    assert status == 200, text
    return text


@pytest.mark.parametrize("route", ["chat", "file", "folder"])
def test_every_page_of_a_guests_is_in_the_sandbox_and_a_users_is_not(server, route):
    path = {"chat": "/chat", "file": "/file/blue", "folder": "/folder"}[route]
    address = path + "/" if route == "folder" else path
    cookie = cookie_of(server, share(server, path=path), path)
    status, head, text = visit(server, address, cookie)
    assert status == 200
    assert SANDBOX in head.get_all("Content-Security-Policy")
    assert head["Referrer-Policy"] == "no-referrer"
    assert "no-store" in head["Cache-Control"]
    assert "ETag" not in head
    assert "Set-Cookie" not in head
    assert int(head["Content-Length"]) == len(text.encode())
    assert len(ticket_in(text)) == 32
    assert ("<base " in text) == (route == "folder")
    # HEAD says the same, and uses up no ticket.
    other = server.fetch(address, method="HEAD", token=False, headers={"Cookie": cookie, **BROWSER})
    assert other[0] == 200
    if route != "chat":
        assert other[1]["Content-Length"] == head["Content-Length"]
    status, head, body = server.fetch(address, headers=BROWSER)
    assert status == 200
    assert "sandbox" not in str(head.get_all("Content-Security-Policy"))
    assert b"wshandler-guest" not in body


def test_what_else_of_a_folder_a_guest_opens_is_in_the_sandbox_too(server, cookie):
    for name in ("a.svg", "empty.html", "a.js"):
        status, head, _ = visit(server, f"/folder/{name}", cookie)
        assert status == 200
        assert SANDBOX in head.get_all("Content-Security-Policy")
        assert "ETag" not in head
    # What a browser has kept of its time with a login is not shown again.
    tag = server.fetch("/folder/a.svg")[1]["ETag"]
    assert tag
    assert visit(server, "/folder/a.svg", cookie, headers={"If-None-Match": tag})[0] == 200
    assert ticket_in(visit(server, "/folder/empty.html", cookie)[2])


def test_the_files_of_a_page_are_found_by_its_key_and_by_scripts_without_an_origin(server, page):
    key = key_in(page)
    status, head, body = server.fetch(f"/wshandler/guest/{key}/folder/a.js", token=False)
    assert (status, body) == (200, b"1;")
    assert head["Access-Control-Allow-Origin"] == "null"
    assert "Access-Control-Allow-Credentials" not in head
    assert SANDBOX in head.get_all("Content-Security-Policy")
    assert head["Referrer-Policy"] == "no-referrer"
    assert "Set-Cookie" not in head
    again = server.fetch(
        f"/wshandler/guest/{key}/folder/a.js",
        token=False,
        headers={"If-None-Match": head["ETag"]},
    )
    assert again[0] == 304
    status, head, _ = server.fetch(
        f"/wshandler/guest/{key}/static/wshandler/wshandler.js", token=False
    )
    assert status == 302
    assert head["Location"] == "../../../../../static/wshandler/wshandler.js"
    assert head["Access-Control-Allow-Origin"] == "null"
    status, head, _ = server.fetch(
        "/static/wshandler/wshandler.js", token=False, headers={"Origin": "null"}
    )
    assert (status, head["Access-Control-Allow-Origin"]) == (200, "*")


@pytest.mark.parametrize(
    "rest",
    [
        "",
        "chat",
        "folder/.env",
        "folder/../.env",
        "folder/%2e%2e/own.html",
        "folder/inner",
        "folder2",
        "lab",
        "api/contents",
        "api/status",
        "static/style/style.min.css",
        "static/wshandler/../../api/status",
        "wshandler/api/shares",
        "ticket",
    ],
)
def test_a_key_opens_nothing_else(server, page, rest):
    status, _, body = server.fetch(f"/wshandler/guest/{key_in(page)}/{rest}", token=False)
    assert status in (404, 405), body


def test_an_address_by_key_gives_no_ticket_and_leads_a_browser_to_the_pages_own(server, page):
    address = f"/wshandler/guest/{key_in(page)}/folder/"
    status, _, body = server.fetch(address, token=False, headers={"Accept": "*/*"})
    assert (status, body.decode()) == (200, INDEX)
    status, head, _ = server.fetch(address + "?a=1", token=False, headers=BROWSER)
    assert (status, head["Location"]) == (302, "../../../../folder/?a=1")
    status, _, body = server.fetch(
        address, token=False, headers={**BROWSER, "Sec-Fetch-Dest": "iframe"}
    )
    assert (status, body.decode()) == (200, INDEX)
    # Neither is a key a ticket, nor a ticket a key.
    assert ask(server, key_in(page))[0] == 404
    assert server.fetch(f"/wshandler/guest/{ticket_in(page)}/folder/a.js", token=False)[0] == 404


def test_a_page_gets_tickets_and_each_opens_one_socket_as_its_guest(server, page, made, cookie):
    status, head, body = ask(server, ticket_in(page))
    assert status == 200
    assert head["Access-Control-Allow-Origin"] == "null"
    assert head["Cache-Control"] == "no-store"
    assert "Access-Control-Allow-Credentials" not in head
    assert "Set-Cookie" not in head
    answer = json.loads(body)
    assert answer["expires_in"] == 30
    found = talk(server, f"/folder?ws_token={answer['ticket']}")
    assert (found["kind"], found["name"], found["share"]) == ("guest", "A class", made["id"])
    assert found["arguments"] == []
    assert refused(server, f"/folder?ws_token={answer['ticket']}") == 403
    # It is the guest of the cookie, with the same session, and counts as one use.
    again = talk(server, f"/folder?ws_token={socket_ticket(server, ticket_in(page))}")
    assert (again["username"], again["session"]) == (found["username"], found["session"])
    other = visit(server, "/folder/", cookie)[2]
    third = talk(server, f"/folder/?ws_token={socket_ticket(server, ticket_in(other))}")
    assert (third["username"], third["count"]) == (found["username"], 3)


def test_no_origin_is_accepted_but_with_a_ticket_of_a_page(server, page, made, cookie):
    good = socket_ticket(server, ticket_in(page))
    assert refused(server, "/folder") == 403
    assert refused(server, "/folder", Cookie=cookie) == 403
    assert refused(server, "/folder", **bearer(made)) == 403
    assert refused(server, f"/folder?share_token={token_of(made)}") == 403
    assert refused(server, f"/folder?ws_token={secrets.token_urlsafe(24)}") == 403
    assert refused(server, f"/folder?ws_token={ticket_in(page)}") == 403
    assert refused(server, f"/folder?ws_token={key_in(page)}") == 403
    # Only a page without an origin has one, and only at its own address.
    for origin in ("http://example.org", f"http://127.0.0.1:{server.port}", None):
        assert refused(server, f"/folder?ws_token={good}", origin) == 403
    assert refused(server, f"/chat?ws_token={good}") == 403
    assert refused(server, f"/folder?ws_token={good}") == 403, "it is used up"
    good = socket_ticket(server, ticket_in(page))
    assert talk(server, f"/folder?ws_token={good}")["kind"] == "guest"


def test_the_origins_of_a_route_let_in_no_guest_without_one_either(server):
    made = share(server, route="any")
    cookie = cookie_of(server, made, "/any")
    assert refused(server, "/any", Cookie=cookie) == 403
    assert refused(server, "/any", **bearer(made)) == 403
    assert talk(server, "/any", "http://example.org", **bearer(made))["kind"] == "guest"


def test_a_share_that_has_ended_ends_its_pages_with_words(server, made, page, cookie):
    good = socket_ticket(server, ticket_in(page))
    assert revoke(server, made["id"]) == 204
    words = "403: this link has been revoked\n"
    status, head, body = ask(server, ticket_in(page))
    assert (status, body) == (403, words)
    assert head["Access-Control-Allow-Origin"] == "null"
    status, head, body = server.fetch(f"/wshandler/guest/{key_in(page)}/folder/a.js", token=False)
    assert (status, body.decode()) == (403, words)
    assert head["Access-Control-Allow-Origin"] == "null"
    assert refused(server, f"/folder?ws_token={good}") == 403
    status, head, body = visit(server, "/folder/", cookie)
    assert status == 403
    assert "This link has been revoked." in body
    assert head["Content-Type"] == "text/html; charset=utf-8"
    assert "sandbox" in head["Content-Security-Policy"]
    assert visit(server, "/folder/", cookie, headers={"Accept": "*/*"})[2] == words
    status, _, body = opened(server, made, "/folder")
    assert (status, b"This link has been revoked." in body) == (403, True)


def test_a_page_learns_why_its_socket_was_refused(server):
    made = share(server, path="/file/blue")
    text = visit(server, "/file/blue", cookie_of(server, made, "/file/blue"))[2]
    status, _, body = ask(server, ticket_in(text), "?refused=1")
    assert (status, json.loads(body)) == (200, {"ticket": None, "refused": None})
    good = socket_ticket(server, ticket_in(text))
    assert refused(server, f"/file/red?ws_token={good}") == 403
    good = socket_ticket(server, ticket_in(text))
    status, _, sock = server.raw_handshake(
        f"/file/blue?ws_token={good}",
        [("Origin", "null")],
        replace={"Sec-WebSocket-Version": "7"},
    )
    sock.close()
    assert status == 426
    refusal = json.loads(ask(server, ticket_in(text), "?refused=1")[2])["refused"]
    assert refusal["status"] == 426


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_other_verbs_do_nothing(server, page, method):
    path = f"/wshandler/guest/{ticket_in(page)}/ticket"
    assert server.fetch(path, method=method, token=False)[0] in (404, 405)
    if method not in ("GET", "HEAD"):
        path = f"/wshandler/guest/{key_in(page)}/folder/a.js"
        assert server.fetch(path, method=method, token=False)[0] == 405


def test_a_body_is_not_read(server, page):
    path = f"/wshandler/guest/{ticket_in(page)}/ticket"
    status, _, body = server.fetch(path, method="POST", token=False, data=b"x" * 10)
    assert (status, body) == (400, b"400: a body means nothing here\n")
    path = f"/wshandler/guest/{key_in(page)}/folder/a.js"
    assert server.fetch(path, method="POST", token=False, data=b"x" * 10)[0] == 405


def test_neither_ticket_nor_key_nor_link_is_in_the_log(server, page, made):
    ticket, key = ticket_in(page), key_in(page)
    good = socket_ticket(server, ticket)
    refused(server, f"/folder?ws_token={good}", "http://example.org")
    secrets_ = [ticket, key, good, token_of(made)]
    unknown = secrets.token_urlsafe(24)
    for path in (
        f"/wshandler/guest/{ticket}/nothing",
        f"/wshandler/guest/{ticket}/",
        f"/wshandler/guest/{ticket}",
        f"/wshandler/guest/{key}/nothing",
        f"/wshandler/guest/{key}/folder/nothing.js",
        f"/wshandler/guest/{key}/folder/",
        f"/wshandler/guest/{key}/folder/a.js",
        f"/wshandler/guest/{key}/ticket",
        f"/wshandler/guest/{unknown}/folder/a.js",
        f"/wshandler/guest/{unknown}/ticket/",
        f"//wshandler/guest/{key}/folder/a.js",
    ):
        for method in ("GET", "POST", "OPTIONS"):
            server.fetch(path, method=method, token=False, headers=BROWSER)
    assert server.fetch("/api/status?last-line", token=True)[0] == 200
    text = server.log_text()
    assert "/folder/a.js" in text, "it logs what is asked for"
    assert [secret for secret in [*secrets_, unknown] if secret in text] == []


@pytest.mark.parametrize("route", ["chat", "folder"])
def test_a_page_that_a_script_gets_with_the_token_opens_no_socket_that_is_not_counted(
    server, route
):
    made = share(server, route=route, uses=1)
    address = "/folder/" if route == "folder" else "/chat"
    for _ in range(3):
        status, head, body = server.fetch(address, token=False, headers={**BROWSER, **bearer(made)})
        text = body.decode()
        assert status == 200
        assert SANDBOX in head.get_all("Content-Security-Policy")
        assert "<base " not in text  # its files are at the page's own address, for the same token
        assert ask(server, ticket_in(text))[0] == 404
    assert talk(server, f"/{route}", None, **bearer(made))["kind"] == "guest"
    assert refused(server, f"/{route}", None, **bearer(made)) == 403
