"""A page that is a folder: the files of a front end at the address of its bot."""

from __future__ import annotations

import os

import pytest
from playwright.sync_api import expect
from support.browser import errors_of
from support.server import raw_request, running_server

from jupyter_wshandler.config.model import Place, RouteConfig
from jupyter_wshandler.notebook.asking import page_of
from jupyter_wshandler.routes import Route
from jupyter_wshandler.server.folder import content_type

YAML = """
url:
  app:
    pattern: /app
    handler: WebSocketHandler
    kwargs: &bot
      on_message: {function: folderbot.on_message}
      page: dist/
  room:
    pattern: /room/{room}
    handler: WebSocketHandler
    kwargs: {<<: *bot, xsrf: ticket}
  asset:
    pattern: /app/assets
    handler: WebSocketHandler
    kwargs: {on_message: {function: folderbot.on_message}, page: none}
  open:
    pattern: /open
    handler: WebSocketHandler
    kwargs: {<<: *bot, auth: false}
  members:
    pattern: /members
    handler: WebSocketHandler
    kwargs: {<<: *bot, auth: {membership: {username: nobody}}}
  ruled:
    pattern: /ruled
    handler: WebSocketHandler
    kwargs: {<<: *bot, auth: {condition: {function: folderbot.never}}}
  everything:
    pattern: /everything/.*
    handler: WebSocketHandler
    kwargs: *bot
  lab:
    pattern: /api
    handler: WebSocketHandler
    kwargs: *bot
"""
BOT = """
def on_message(handler, message):
    return f"{handler.path_kwargs.get('room', 'app')}: {message}"


def never(handler):
    return False
"""
INDEX = """<!doctype html>
<meta charset="utf-8"><title>Folder</title>
<link rel="stylesheet" href="assets/style.css">
<link rel="manifest" href="app.webmanifest">
<output></output>
<script type="module" src="./assets/main.mjs"></script>
"""
MAIN = """
import {word} from './sub/word.js';
const base = document.querySelector('link').href.replace(/(app|room)\\/.*/, '');
const {connect} = await import(`${base}static/wshandler/wshandler.js`);
const wasm = await WebAssembly.instantiateStreaming(fetch(new URL('empty.wasm', import.meta.url)));
const bot = connect();
bot.onopen = () => bot.send(word + (wasm.instance ? ' and wasm' : ''));
bot.onmessage = ({data}) => { document.querySelector('output').value = data; };
"""
FILES = {
    "index.html": INDEX,
    "app.webmanifest": "{}",
    "assets/main.mjs": MAIN,
    "assets/sub/word.js": "export const word = 'hello';",
    "assets/style.css": "body { color: rgb(1, 2, 3) }",
    "assets/empty.wasm": b"\0asm\1\0\0\0",
    "assets/icon.svg": "<svg xmlns='http://www.w3.org/2000/svg'/>",
    "assets/a b+%.txt": "odd name",
    "second/index.html": "<!doctype html><title>Second</title>",
    ".env": "SECRET=1",
    "assets/.hidden/key.txt": "secret",
    "noindex/x.txt": "x",
    "big.bin": bytes(range(256)) * 8192,
}


def fill(folder):
    dist = folder / "dist"
    for name, content in FILES.items():
        path = dist / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    (folder / "outside.txt").write_text("outside")
    (folder / "outside").mkdir()
    (folder / "outside" / "index.html").write_text("outside")
    (dist / "link.txt").symlink_to(folder / "outside.txt")
    (dist / "linked").symlink_to(folder / "outside")
    (dist / "dot.txt").symlink_to(dist / ".env")
    (dist / "loop.txt").symlink_to("loop.txt")
    (dist / "inner.css").symlink_to(dist / "assets" / "style.css")
    os.mkfifo(dist / "pipe.txt")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("folder")
    fill(folder)
    with running_server(
        YAML,
        folder=folder,
        modules={"folderbot.py": BOT},
        base_url="/user/ada@example.org/",
        extra_args=["--WSHandlerApp.allow_public_routes=True"],
    ) as running:
        yield running


HTML = {"Accept": "text/html,*/*;q=0.8"}


@pytest.mark.parametrize("path", ["app", "room/blue%20sky"])
def test_the_page_its_files_and_its_socket_work_at_the_address_without_the_slash(
    browser, server, path
):
    page = browser.new_page()
    errors = errors_of(page)
    page.goto(f"{server.url}{path}?token={server.token}&name=ada")
    expect(page.locator("output")).to_have_text(
        f"{'blue sky' if 'room' in path else 'app'}: hello and wasm"
    )
    assert page.evaluate("location.pathname") == f"{server.base_url}{path}/"
    assert page.evaluate("new URLSearchParams(location.search).get('name')") == "ada"
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(1, 2, 3)"
    assert errors == []


def test_a_browser_is_sent_to_the_slash_by_a_relative_address_and_a_script_gets_the_page(server):
    status, headers, _ = server.fetch("/app?a=b", headers=HTML)
    assert (status, headers["Location"]) == (302, "./app/?a=b")
    assert headers["Cache-Control"] == "no-store"
    for path in ("/app", "/app/", "/room/red", "/room/red/"):
        assert server.fetch(path)[2] == INDEX.encode(), path


@pytest.mark.parametrize("path", ["/app", "/app/", "/room/red", "/room/red/"])
def test_the_socket_is_at_both_addresses(server, path):
    with server.connect_sync(path) as socket:
        socket.send("hi")
        assert socket.recv().endswith(": hi")


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/app/", "text/html; charset=utf-8"),
        ("/app/app.webmanifest", "application/manifest+json; charset=utf-8"),
        ("/app/assets/main.mjs", "text/javascript; charset=utf-8"),
        ("/app/assets/style.css", "text/css; charset=utf-8"),
        ("/app/assets/empty.wasm", "application/wasm"),
        ("/app/assets/icon.svg", "image/svg+xml; charset=utf-8"),
        ("/app/assets/a%20b+%25.txt", "text/plain; charset=utf-8"),
        ("/app/inner.css", "text/css; charset=utf-8"),
        ("/room/red/assets/sub/word.js", "text/javascript; charset=utf-8"),
        ("/open/big.bin", "application/octet-stream"),
    ],
)
def test_a_file_has_its_type_and_head_says_what_get_would(server, path, kind):
    status, headers, body = server.fetch(path)
    assert (status, headers["Content-Type"]) == (200, kind)
    name = path.split("/", 3 if path.startswith("/room") else 2)[-1].replace("%20", " ")
    content = FILES.get(name.replace("%25", "%") or "index.html", FILES["assets/style.css"])
    assert body == (content if isinstance(content, bytes) else content.encode())
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "private, no-cache"
    found, without, nothing = server.fetch(path, method="HEAD")
    assert (found, nothing) == (200, b"")
    for field in ("Content-Type", "Content-Length", "Etag", "Cache-Control"):
        assert without[field] == headers[field]
    again, _, nothing = server.fetch(path, headers={"If-None-Match": headers["Etag"]})
    assert (again, nothing) == (304, b"")


def test_a_file_that_has_changed_is_sent_anew(server):
    path = server.folder / "dist" / "changing.js"
    path.write_text("1")
    tag = server.fetch("/app/changing.js")[1]["Etag"]
    path.write_text("22")
    status, headers, body = server.fetch("/app/changing.js", headers={"If-None-Match": tag})
    assert (status, body) == (200, b"22")
    assert headers["Etag"] != tag


def test_the_types_do_not_hang_on_the_machine():
    assert content_type("A.JS") == content_type("a.mjs") == "text/javascript; charset=utf-8"
    assert content_type("font.woff2") == "font/woff2"
    assert content_type("data.json") == "application/json; charset=utf-8"
    assert content_type("a.tar.gz") == "application/gzip"
    assert content_type("style.css.br") == "application/octet-stream"
    assert content_type("noname") == "application/octet-stream"


ODD = [
    "/app/../folderbot.py",
    "/app/assets/../../folderbot.py",
    "/app/%2e%2e/folderbot.py",
    "/app/..%2ffolderbot.py",
    "/app/assets/..%2f..%2ffolderbot.py",
    "/app/..%5cfolderbot.py",
    "/app/./index.html",
    "/app//index.html",
    "/app//etc/passwd",
    "/app/%2fetc%2fpasswd",
    "/app/index.html%00.js",
    "/app/%ff.js",
    "/app/.env",
    "/app/%2eenv",
    "/app/assets/.hidden/key.txt",
    "/app/link.txt",
    "/app/linked",
    "/app/linked/index.html",
    "/app/dot.txt",
    "/app/loop.txt",
    "/app/pipe.txt",
    "/app/noindex",
    "/app/missing.js",
    "/app/index.html/x",
    "/app/assets/" + "x" * 300,
    "/app/" + "x/" * 15 + "x",
    "/app/" + "x/" * 900 + "x",
    "/room/../folderbot.py",
]


@pytest.mark.parametrize("path", ODD, ids=lambda path: path[:40])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_nothing_is_served_that_is_not_a_file_in_the_folder(server, path, method):
    headers = [("Authorization", f"token {server.token}"), ("Accept", "*/*")]
    status, _, sock = raw_request(server, path, headers, method=method, upgrade=False)
    sock.close()
    assert status == 404


def test_a_path_with_two_slashes_at_its_end_is_no_page(server):
    for path in ("/app//", "/app/linked/", "/app/noindex/", "/app/index.html/"):
        headers = [("Authorization", f"token {server.token}")]
        status, _, sock = raw_request(server, path, headers, upgrade=False)
        sock.close()
        assert status == 404, path


def test_a_folder_within_has_its_own_page_behind_a_slash(server):
    status, headers, _ = server.fetch("/app/second?x=1")
    assert (status, headers["Location"]) == (302, "./second/?x=1")
    assert server.fetch("/app/second/")[2] == FILES["second/index.html"].encode()


def test_whoever_is_logged_out_gets_no_file_and_a_person_is_led_to_the_login(server):
    for path in ("/app", "/app/", "/app/assets/main.mjs", "/app/missing.js", "/app/.env"):
        status, headers, body = server.fetch(path, token=False, headers=HTML)
        assert (status, "/login" in headers["Location"]) == (302, True), path
    for path in ("/app/assets/main.mjs", "/app/missing.js", "/app/.env"):
        status, _, body = server.fetch(path, token=False, headers={"Accept": "*/*"})
        assert (status, body) == (403, b"403: log in first, or send a token\n"), path
    assert server.fetch("/open/assets/main.mjs", token=False)[2] == MAIN.encode()


@pytest.mark.parametrize("route", ["members", "ruled"])
@pytest.mark.parametrize("path", ["", "/", "/assets/main.mjs", "/missing.js"])
def test_whom_the_route_does_not_admit_gets_no_file_of_its_page(server, route, path):
    assert server.fetch(f"/{route}{path}")[0] == 403


def test_a_file_has_no_socket_and_takes_no_other_method(server):
    token = [("Authorization", f"token {server.token}")]
    status, _, sock = server.raw_handshake("/app/assets/main.mjs", token)
    sock.close()
    assert status == 404
    status, _, sock = server.raw_handshake("/app/assets/main.mjs")
    sock.close()
    assert status == 403
    for method in ("POST", "PUT", "DELETE"):
        assert server.fetch("/app/assets/main.mjs", method=method)[0] == 405


def test_a_route_of_the_path_itself_comes_before_a_file(server):
    assert server.fetch("/app/assets")[0] == 426
    assert server.fetch("/app/assets/main.mjs")[0] == 200


def test_what_is_jupyters_stays_jupyters(server):
    assert server.fetch("/api/")[0] in (301, 302)
    assert server.fetch("/api/status")[0] == 200
    status, headers, _ = server.fetch("/tree/")
    assert (status, headers["Location"].endswith("/tree")) == (302, True)


def test_a_pattern_that_takes_the_paths_of_the_files_is_refused_with_words(server):
    assert server.fetch("/everything/x")[0] == 503
    assert "this pattern takes the paths of its files" in server.log_text()


def test_an_index_that_is_gone_is_said_and_is_there_again(server):
    index = server.folder / "dist" / "index.html"
    index.unlink()
    try:
        assert server.fetch("/app/")[0] == 503
        assert f"there is no {index}" in server.log_text()
        assert server.fetch("/app/assets/style.css")[0] == 200
    finally:
        index.write_text(INDEX)
    assert server.fetch("/app/")[0] == 200


def test_a_client_that_leaves_in_the_middle_of_a_file_leaves_no_error(server):
    for _ in range(3):
        sock = raw_request(server, "/open/big.bin", upgrade=False)[2]
        sock.close()
    assert server.fetch("/open/big.bin")[2] == FILES["big.bin"]
    assert "Traceback" not in server.log_text()


def test_a_cells_bot_cannot_have_a_folder_as_its_page_and_is_told_what_it_can(tmp_path):
    config = RouteConfig(
        name="bot", pattern="/bot", place=Place("a cell"), page=f"{tmp_path}{os.sep}"
    )
    with pytest.raises(ValueError, match="is a folder, and a cell's page is one file"):
        page_of(Route(config))
