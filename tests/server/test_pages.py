"""The page at a route's address: the built-in chat, one of the route's own, or none."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys

import pytest
from playwright.sync_api import expect
from support.browser import profile
from support.chatpage import answers, say, state
from support.server import free_port, running_server, wait_for
from support.usage import watched

YAML = """
url:
  bot:
    pattern: /bot
    handler: WebSocketHandler
    kwargs: {on_message: {function: pagebot.on_message}}
  room:
    pattern: /room/{room}
    handler: WebSocketHandler
    kwargs: {on_message: {function: pagebot.on_message}}
  bare:
    pattern: /bare
    handler: WebSocketHandler
    kwargs: {on_message: {function: pagebot.on_message}, page: none}
  off:
    pattern: /off
    handler: WebSocketHandler
    kwargs: {on_message: {function: pagebot.on_message}, page: false}
  own:
    pattern: /own
    handler: WebSocketHandler
    kwargs: {on_message: {function: pagebot.on_message}, page: own.html}
  missing:
    pattern: /missing
    handler: WebSocketHandler
    kwargs: {on_message: {function: nowhere.on_message}}
  gone:
    pattern: /gone
    handler: WebSocketHandler
    kwargs: {on_message: {function: nowhere.on_message}, page: none}
  misspelt:
    pattern: /misspelt
    handler: WebSocketHandler
    kwargs: {on_mesage: {function: pagebot.on_message}}
"""
PATTERNS = r"""
  gramex:
    pattern: /$YAMLURL/guide
    handler: WebSocketHandler
    kwargs: {on_message: {function: pagebot.on_message}}
  words:
    pattern: /words/(\w+)
    handler: WebSocketHandler
    kwargs: {on_message: {function: pagebot.on_message}}
"""
MODULES = {
    "pagebot.py": "def on_message(handler, message):\n"
    "    said = handler.args if message == 'args' else message\n"
    "    return f'Got message: {said}'\n",
    "own.html": "<!doctype html><p>own</p>",
}
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/webp,*/*;q=0.8"


@pytest.fixture(scope="module", params=["/", "/user/ada/"])
def server(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    with running_server(YAML, folder=folder, modules=MODULES, base_url=request.param) as running:
        yield running


def visit(server, path, *, accept=BROWSER, **options):
    return server.fetch(path, headers={"Accept": accept} if accept else {}, **options)


@pytest.mark.parametrize(("path", "up"), [("/bot", "./"), ("/room/blue", "../")])
def test_a_browser_gets_the_built_in_chat_and_a_script_is_told_that_this_is_a_websocket(
    server, path, up
):
    status, headers, body = visit(server, path)
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    # Relative: a proxy may strip a prefix of which the server knows nothing.
    assert f'src="{up}static/wshandler/chatpage.js"'.encode() in body
    assert b"{{" not in body
    assert "Accept" in headers["Vary"]
    for accept in (None, "*/*", "application/json", "text/html;q=0", "image/*"):
        status, headers, body = visit(server, path, accept=accept)
        assert status == 426, accept
        assert b"ws://" in body
        assert "Accept" in headers["Vary"]


@pytest.mark.parametrize("path", ["/bare", "/off"])
def test_a_route_that_wants_no_page_answers_426_to_everybody(server, path):
    assert visit(server, path)[0] == 426
    assert visit(server, path, accept=None)[0] == 426
    assert visit(server, path, token=False)[0] == 403


def test_a_page_of_the_routes_own_is_served_whatever_is_accepted(server):
    for accept in (BROWSER, None, "*/*"):
        assert visit(server, "/own", accept=accept)[2] == MODULES["own.html"].encode()


def test_a_file_that_is_a_page_is_sent_in_pieces(server):
    page = server.folder / "own.html"
    page.write_bytes(b"<p>page</p>\n" * 700_000)
    head = f"GET {server.base_url}own HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n"
    asked = f"{head}Authorization: token {server.token}\r\n\r\n".encode()
    readers = []
    try:
        with watched(server.pid) as memory:
            for _ in range(30):
                readers.append(socket.create_connection(("127.0.0.1", server.port), timeout=20))
                readers[-1].sendall(asked)
            assert all(reader.recv(12) == b"HTTP/1.1 200" for reader in readers)
            assert visit(server, "/own")[2] == page.read_bytes()
        assert memory.growth < 60 * 2**20  # each would hold 8 MiB
    finally:
        for reader in readers:
            reader.close()
        page.write_text(MODULES["own.html"])


def test_a_page_whose_file_has_become_a_pipe_holds_nobody_up(server):
    page = server.folder / "own.html"
    page.unlink()
    os.mkfifo(page)
    try:
        status, _, body = visit(server, "/own")
        assert (status, body) == (503, b"503: this route's page cannot be read\n")
    finally:
        page.unlink()
        page.write_text(MODULES["own.html"])


@pytest.mark.parametrize("path", ["/missing", "/misspelt"])
def test_a_broken_route_has_no_chat(server, path):
    assert visit(server, path)[0] == 503


@pytest.mark.parametrize("path", ["/missing", "/misspelt", "/gone"])
@pytest.mark.parametrize("accept", [None, "*/*", "application/json"])
def test_a_script_that_gets_a_broken_route_is_told_so_and_not_that_it_is_a_websocket(
    server, path, accept
):
    status, _, body = visit(server, path, accept=accept)
    assert status == 503
    assert b"this route is broken" in body
    assert visit(server, path, accept=accept, token=False)[0] == 403


@pytest.mark.parametrize("path", ["/bot", "/own"])
def test_head_answers_as_get_without_a_body(server, path):
    status, headers, body = visit(server, path)
    found, without, nothing = visit(server, path, method="HEAD")
    assert (found, nothing) == (status, b"")
    for name in ("Content-Type", "Content-Length", "Cache-Control"):
        assert without[name] == headers[name]
    assert int(without["Content-Length"]) == len(body)
    assert visit(server, path, method="HEAD", token=False)[0] == 302


def test_a_handshake_whose_upgrade_got_lost_at_a_proxy_is_no_browser_at_the_address(server):
    headers = {"Accept": BROWSER, "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}
    assert server.fetch("/bot", headers=headers)[0] == 426


def test_the_chat_gives_the_pages_query_to_the_bot_but_no_token(chromium, server):
    with profile(chromium) as context:
        page = context.new_page()
        page.goto(f"{server.url}bot?name=a%20b&token={server.token}&n=1&n=2&redirects=1")
        chat = page.locator(".wshandler-chat")
        expect(state(chat)).to_have_text("connected")
        assert page.url.partition("?")[2].replace("+", "%20") == "name=a%20b&n=1&n=2"
        say(chat, "args")
        expect(answers(chat)).to_have_text(["Got message: {'name': ['a b'], 'n': ['1', '2']}"])


def test_somebody_logged_out_is_led_to_the_login_and_back_to_the_chat(chromium, server):
    with profile(chromium) as context:
        page = context.new_page()
        page.goto(f"{server.url}room/blue")
        assert "/login" in page.url
        page.get_by_label(re.compile("token", re.IGNORECASE)).first.fill(server.token)
        page.get_by_role("button", name=re.compile("log in", re.IGNORECASE)).first.click()
        chat = page.locator(".wshandler-chat")
        expect(state(chat)).to_have_text("connected")
        assert page.url == f"{server.url}room/blue"
        say(chat, "hi")
        expect(answers(chat)).to_have_text(["Got message: hi"])


def test_serve_ends_its_start_with_the_address_of_each_bot(tmp_path):
    for name, text in {**MODULES, "bots.yaml": YAML + PATTERNS}.items():
        (tmp_path / name).write_text(text)
    port = free_port()
    log = tmp_path / "log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "jupyter_wshandler", "serve", "bots.yaml"),
                *(f"--ServerApp.port={port}", "--ServerApp.open_browser=False"),
                *("--ServerApp.allow_root=True", "--ServerApp.base_url=/base/"),
            ],
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
        )
    try:
        wait_for(lambda: "Chat with your bots" in log.read_text(), 40, "the addresses")
        text = log.read_text()
        found = re.search(rf"    bot +(http://localhost:{port}/base/bot\?token=\w+)\n", text)
        assert found, text
        assert f"    bare      ws://localhost:{port}/base/bare?token=" in text
        assert "/base/room/{room}?token=" in text
        assert re.search(rf"    gramex +http://localhost:{port}/base/guide\?token=", text)
        assert "Route gramex serves /guide\n" in text
        shown = re.search(r"    words +http://localhost:\d+(/base/words/\w+)\?token=\w+ (.*)", text)
        assert shown[2] == r" (one that the pattern /words/(\w+) matches)"
        assert "YAMLURL" not in text
        assert re.search(r"    misspelt +is broken", text)
    finally:
        process.terminate()
        process.wait(20)
