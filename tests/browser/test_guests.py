"""A stranger with a link, in a real browser: the page is sandboxed, and works all the same."""

from __future__ import annotations

import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from playwright.sync_api import BrowserContext, Page, expect
from support.bots import bot_text
from support.browser import errors_of, profile, screenshot
from support.chatpage import answers, say, state
from support.server import running_server
from support.sharing import revoke, share, token_of

YAML = """
url:
  chat:
    pattern: /chat
    handler: WebSocketHandler
    kwargs: &bot {on_message: guestpage.answer}
  guarded:
    pattern: /guarded/{room}
    handler: WebSocketHandler
    kwargs: {<<: *bot, xsrf: ticket}
  own:
    pattern: /own/{room}
    handler: WebSocketHandler
    kwargs: {<<: *bot, page: own.html}
  folder:
    pattern: /folder
    handler: WebSocketHandler
    kwargs: {<<: *bot, page: dist/}
"""

OWN = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8"><title>Own</title>
<script type="module">
  import {connect} from '../static/wshandler/wshandler.js';
  const [output, status] = document.querySelectorAll('output'), bot = connect();
  bot.onopen = () => bot.send('hello');
  bot.onmessage = ({data}) => { output.value = data; };
  bot.onstate = () => { status.value = bot.words; };
  window.bot = bot;
</script>
</head>
<body><output></output><p><output role="status"></output></p></body>
</html>
"""

INDEX = """<!doctype html>
<meta charset="utf-8"><title>Folder</title>
<link rel="stylesheet" href="assets/style.css">
<output></output> <img src="assets/dot.svg" alt="">
<a href="#part">Part</a> <a href="more/">More</a>
<script>window.classic = [];</script>
<script src="assets/classic.js"></script>
<script type="module" src="./assets/main.mjs"></script>
<p style="height: 3000px"></p><h2 id="part">The part</h2>
"""

MAIN = """
import {word} from './sub/word.js';
import {connect} from '../../static/wshandler/wshandler.js';
const {said} = await (await fetch('data.json')).json();
const wasm = await WebAssembly.instantiateStreaming(fetch(new URL('empty.wasm', import.meta.url)));
const bot = connect();
bot.onopen = () => bot.send(`${word} ${said}${wasm.instance ? ' and wasm' : ''}`);
bot.onmessage = ({data}) => { document.querySelector('output').value = data; };
window.bot = bot;
"""

FILES = {
    "index.html": INDEX,
    "data.json": '{"said": "json"}',
    "assets/main.mjs": MAIN,
    "assets/classic.js": "window.classic.push(1);",
    "assets/sub/word.js": "export const word = 'hello';",
    "assets/style.css": "body { color: rgb(1, 2, 3) }",
    "assets/dot.svg": "<svg xmlns='http://www.w3.org/2000/svg' width='7' height='7'/>",
    "assets/empty.wasm": b"\0asm\1\0\0\0",
    "more/index.html": "<!doctype html><title>More</title><a href='../'>Back</a>",
}


def fill(folder):
    for name, content in FILES.items():
        path = folder / "dist" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


@pytest.fixture(scope="module", params=["/", "/user/ada@example.org/"], ids=["root", "deep"])
def server(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("guests")
    fill(folder)
    with running_server(
        YAML,
        folder=folder,
        modules={"guestpage.py": bot_text("guestpage"), "own.html": OWN},
        base_url=request.param,
        extra_args=["--debug"],
    ) as running:
        yield running


def come(browser: BrowserContext, made: dict) -> Page:
    """Open a link as somebody does who has been sent it."""
    page = browser.new_page()
    page.goto(made["url"])
    return page


@pytest.fixture
def stranger():
    """Return a server of somebody else's: its port, and the Referers that it was told."""
    told = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            told.append(self.headers.get("Referer"))
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Access-Control-Allow-Origin", "*")
            self.end_headers()
            self.wfile.write(b"<title>Elsewhere</title>")

        def log_message(self, *_):
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as other:
        thread = threading.Thread(target=other.serve_forever, name="a stranger's server")
        thread.start()
        try:
            yield other.server_port, told
        finally:
            other.shutdown()
            thread.join()


def origin_of(page: Page) -> str:
    return page.evaluate("globalThis.origin")


def test_a_stranger_talks_to_a_bot_in_the_built_in_chat(browser, server):
    made = share(server, route="chat", label="Tuesday's class")
    page = browser.new_page()
    errors = errors_of(page)
    page.goto(made["url"])
    expect(state(page)).to_have_text("connected")
    say(page, "Hello")
    expect(answers(page)).to_have_text(["Tuesday's class (guest) says Hello"])
    assert origin_of(page) == "null"
    assert page.url == f"{server.url}chat"
    assert errors == []
    screenshot(page, "guest-chat")


def test_a_guest_of_a_route_with_tickets_and_a_pattern_comes_in_too(browser, server):
    page = come(browser, share(server, path="/guarded/blue"))
    expect(state(page)).to_have_text("connected")
    say(page, "Hello")
    expect(answers(page)).to_have_text(["Guest (guest) says Hello"])


def test_a_page_of_the_authors_own_works_for_a_guest_as_it_does_for_a_user(browser, server):
    page = browser.new_page()
    errors = errors_of(page)
    page.goto(share(server, path="/own/blue")["url"])
    expect(page.locator("output").first).to_have_text("Guest (guest) says hello")
    assert origin_of(page) == "null"
    page.evaluate("bot.close()")
    page.evaluate("bot.connect()")
    expect(page.locator("[role=status]")).to_have_text("")
    page.reload()
    expect(page.locator("output").first).to_have_text("Guest (guest) says hello")
    assert errors == []


def test_a_page_that_is_a_folder_loads_its_files_and_finds_its_bot(browser, server):
    page = browser.new_page()
    errors = errors_of(page)
    page.goto(share(server, route="folder")["url"])
    expect(page.locator("output")).to_have_text("Guest (guest) says hello json and wasm")
    assert page.url == f"{server.url}folder/"
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(1, 2, 3)"
    assert page.evaluate("document.images[0].naturalWidth") == 7
    assert page.evaluate("window.classic") == [1]
    assert origin_of(page) == "null"
    # A part of the page, and another page of the folder, are at their own addresses.
    page.get_by_text("Part", exact=True).click()
    expect(page).to_have_url(f"{server.url}folder/#part")
    assert page.evaluate("scrollY") > 1000
    expect(page.locator("output")).to_have_text("Guest (guest) says hello json and wasm")
    page.get_by_text("More").click()
    expect(page).to_have_url(f"{server.url}folder/more/")
    assert origin_of(page) == "null"
    page.get_by_text("Back").click()
    expect(page).to_have_url(f"{server.url}folder/")
    expect(page.locator("output")).to_have_text("Guest (guest) says hello json and wasm")
    assert errors == []


def test_whoever_is_put_out_reads_why_in_words_and_so_does_who_comes_later(browser, server):
    made = share(server, route="chat")
    page = come(browser, made)
    expect(state(page)).to_have_text("connected")
    say(page, "Hello")
    expect(answers(page)).to_have_count(1)
    assert revoke(server, made["id"]) == 204
    expect(page.locator(".why")).to_have_text("This link has been revoked.", timeout=5000)
    expect(page.locator(".mend")).to_be_hidden()
    screenshot(page, "guest-revoked")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(".why")).to_contain_text("This link has been revoked.")
    expect(state(page)).to_have_text("closed")
    answer = page.reload()
    assert answer.status == 403
    expect(page.get_by_role("heading")).to_have_text("This link has been revoked.")
    screenshot(page, "guest-late")


def test_a_page_whose_ticket_is_not_known_any_more_says_so_and_is_loaded_again(browser, server):
    page = come(browser, share(server, route="chat"))
    expect(state(page)).to_have_text("connected")
    say(page, "Hello")
    expect(answers(page)).to_have_count(1)
    asked = []

    def forget(route):
        """Answer as a server does that was started again."""
        asked.append(route.request.url)
        headers = {"Access-Control-Allow-Origin": "null"}
        route.fulfill(status=404, body="404: gone\n", headers=headers)

    page.route("**/wshandler/guest/*/ticket", forget)
    say(page, "close")
    expect(state(page)).to_have_text("closed")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(".why")).to_have_text("This page has to be loaded again.")
    expect(answers(page)).to_have_count(1)
    screenshot(page, "guest-stale")
    # One that has never been connected has nothing to lose, and is loaded again by itself, once.
    asked.clear()
    page.goto("about:blank")
    page.goto(f"{server.url}chat")
    expect(page.locator(".why")).to_have_text("This page has to be loaded again.")
    expect(state(page)).to_have_text("closed")
    assert len(asked) == 2
    page.unroute("**/wshandler/guest/*/ticket")
    page.get_by_role("link", name="Load it again").click()
    expect(state(page)).to_have_text("connected")


def test_no_link_is_in_the_history_a_referer_or_the_log(browser, server, stranger):
    port, told = stranger
    made = share(server, route="folder")
    page = come(browser, made)
    expect(page.locator("output")).to_have_text("Guest (guest) says hello json and wasm")
    secrets = [token_of(made)]
    secrets += page.evaluate("[document.querySelector('meta[name=wshandler-guest]').content]")
    secrets += re.findall(r"guest/([\w-]{32})/", page.evaluate("document.baseURI"))
    assert len(secrets) == 3
    elsewhere = f"http://127.0.0.1:{port}/"
    page.evaluate("(url) => fetch(url)", elsewhere)
    page.evaluate("(url) => { location.href = url; }", elsewhere)
    expect(page).to_have_title("Elsewhere")
    assert len(told) >= 2
    history = browser.new_cdp_session(page).send("Page.getNavigationHistory")["entries"]
    urls = [entry["url"] for entry in history]
    assert f"{server.url}folder/" in urls
    seen = [*urls, *map(str, told), server.log_text()]
    assert [secret for secret in secrets if any(secret in text for text in seen)] == []
    page.go_back()
    expect(page.locator("output")).to_have_text("Guest (guest) says hello json and wasm")


FORBIDDEN = {
    "document.cookie": "SecurityError",
    "localStorage": "SecurityError",
    "sessionStorage": "SecurityError",
    "indexedDB.open('x')": "SecurityError",
    "navigator.serviceWorker.register('sw.js')": "SecurityError",
    "confirm('?') && fail()": "nothing",
    "fetch('../../../api/status', {credentials: 'include'})": "TypeError",
    "fetch('../../../api/contents', {credentials: 'include'})": "TypeError",
}


def test_a_guests_page_cannot_do_what_the_docs_say_it_cannot(browser, server):
    # Who opens it has a login as well, as its author has who looks at what guests get.
    page = browser.new_page()
    page.goto(share(server, route="folder")["url"])
    expect(page.locator("output")).to_have_text("Guest (guest) says hello json and wasm")
    found = {}
    for act in FORBIDDEN:
        found[act] = page.evaluate(
            f"(async () => {{ try {{ await ({act}); return 'nothing'; }}"
            " catch (error) { return error.name; } })()"
        )
    assert found == FORBIDDEN
    shown = page.evaluate(
        "new Promise((done) => { const frame = document.createElement('iframe');"
        " frame.onload = () => { try { done(frame.contentDocument.title); }"
        " catch (error) { done(error.name); } };"
        " frame.src = 'more/'; document.body.append(frame); })"
    )
    assert shown in ("SecurityError", "TypeError")
    assert [frame.title() for frame in page.frames[1:]] != ["More"]


def test_a_guest_with_a_phone_has_room(chromium, server):
    made = share(server, route="chat", label="Ada's friends")
    options = {"viewport": {"width": 360, "height": 640}, "has_touch": True, "is_mobile": True}
    with profile(chromium, **options) as phone:
        page = come(phone, made)
        expect(state(page)).to_have_text("connected")
        say(page, "Hello")
        expect(answers(page)).to_have_count(1)
        screenshot(page, "guest-phone")
        revoke(server, made["id"])
        expect(page.locator(".why")).to_have_text("This link has been revoked.")
        screenshot(page, "guest-phone-revoked")
        page.reload()
        expect(page.get_by_role("heading")).to_have_text("This link has been revoked.")
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        screenshot(page, "guest-phone-late")
