"""The page helper where the browser forbids the socket, where a proxy cuts it, and in a worker."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

import pytest
from browser.test_helper import ME, PAGE, TICKETS, Visit, serving
from playwright.sync_api import Route, expect
from support.browser import errors_of
from support.chatpage import STATIC, answers, say, state
from support.server import free_port

from jupyter_wshandler.engine.handshake import accept_key

PREFIX = "/app"
"""What the proxy of the tests strips."""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("forbidden")) as running:
        yield running


# ---- what the browser forbids ------------------------------------------------------------------


def shop(browser, scheme: str, policy: str, script: str = ""):
    """Open a page of a site of its own, with a Content-Security-Policy, in front of no server."""
    page = browser.new_page()
    page.errors = errors_of(page)

    def answer(route: Route) -> None:
        path = urlsplit(route.request.url).path
        if path.startswith("/static/wshandler/"):
            body = (STATIC / path.rpartition("/")[2]).read_text()
            route.fulfill(body=body, content_type="text/javascript")
        elif path.endswith("tickets"):
            route.fulfill(json={"ticket": None, "expires_in": 30})
        else:
            headers = {"Content-Security-Policy": policy} if policy else {}
            route.fulfill(body=script + PAGE, content_type="text/html", headers=headers)

    page.route(f"{scheme}://shop.test/**", answer)
    page.goto(f"{scheme}://shop.test/bot")
    page.wait_for_function("window.loaded")
    return page


def forbidden(page, where: str | None = None, **options) -> str:
    """Let the page connect, and return the words for what the browser does not allow."""
    took = page.evaluate(
        """async ([where, options]) => {
          start(where ?? undefined, options);
          bot.send('held');
          const began = performance.now();
          while (!states.length && performance.now() - began < 15000) {
            await new Promise((done) => setTimeout(done, 20));
          }
          return performance.now() - began;
        }""",
        [where, options],
    )
    assert took < 5000
    assert page.evaluate("[bot.state, bot.cause, bot.link]") == ["closed", "forbidden", None]
    assert page.evaluate("states") == ["closed"]
    assert page.evaluate("bot.send('too late')") is False
    assert page.evaluate("unsent") == ["held"]
    assert page.errors == []
    return page.evaluate("bot.words")


NOT_CONNECTED = "The browser does not let this page connect"


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize(
    "sources",
    ["'none'", "{scheme}://shop.test", "https://api.test", "'self' 'none'"],
    ids=["nothing", "all but sockets", "another host", "odd"],
)
def test_a_policy_that_forbids_the_socket_has_words_at_once(browser, scheme, sources):
    allowed = sources.format(scheme=scheme)
    where = None if allowed == "'none'" else f"ws{scheme[4:]}://other.test/bot"
    page = shop(browser, scheme, f"connect-src {allowed}")
    assert forbidden(page, where) == (f"{NOT_CONNECTED} (its Content-Security-Policy forbids it).")
    # Whoever asks for it may try again, and hears the same.
    page.evaluate("(states.splice(0), bot.connect())")
    page.wait_for_function("states.at(-1) === 'closed'")
    assert page.evaluate("states") == ["connecting", "closed"]


def test_a_page_of_https_is_told_that_it_needs_wss(browser):
    page = shop(browser, "https", "")
    words = forbidden(page, "ws://other.test/bot")
    assert words == f"{NOT_CONNECTED} (from https it may use wss only, and not ws)."


FIREFOX = """<script>
window.WebSocket = class {
  static OPEN = 1;
  constructor() { throw new DOMException('The operation is insecure.', 'SecurityError'); }
};
</script>"""
"""What a socket that a policy forbids does in Firefox."""


def test_a_browser_that_throws_has_the_same_words(browser):
    page = shop(browser, "http", "", FIREFOX)
    assert forbidden(page) == f"{NOT_CONNECTED} (its Content-Security-Policy forbids it)."


def test_what_is_wrong_with_the_call_itself_is_said_in_the_browsers_words(browser):
    words = forbidden(shop(browser, "http", ""), protocols=["no spaces in it"])
    assert words.startswith(NOT_CONNECTED)
    assert "no spaces in it" in words


def test_a_policy_that_forbids_the_ticket_does_not_forbid_the_socket(browser, server):
    page = Visit(browser, server, "bot")
    page.call(
        f"""document.head.append(Object.assign(document.createElement('meta'), {{
          httpEquiv: 'Content-Security-Policy',
          content: 'connect-src ws://127.0.0.1:{server.port}',
        }}))"""
    )
    page.opened().echoes("hello")
    # A socket that does not open is no matter of the policy: it is tried again.
    page.start(f"ws://127.0.0.1:{server.port}{server.base_url}nobody")
    page.ended("waiting", "unopened")


# ---- proxies and servers that end it without a word --------------------------------------------


@contextmanager
def in_a_thread(handle, port: int) -> Iterator[None]:
    """Have a coroutine function handle what connects to a port, until the end of the block.

    It gets a reader and a writer, as from `asyncio.start_server`; the writer is closed for it.
    """
    stop = asyncio.Event()
    ready = threading.Event()
    loops: list[asyncio.AbstractEventLoop] = []
    writers: set[asyncio.StreamWriter] = set()

    async def handled(reader, writer) -> None:
        writers.add(writer)
        try:
            await handle(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass  # the browser has thought better of it
        finally:
            writer.close()
            await closed(writer)
            writers.discard(writer)

    async def main() -> None:
        loops.append(asyncio.get_running_loop())
        server = await asyncio.start_server(handled, "127.0.0.1", port)
        ready.set()
        await stop.wait()
        server.close()  # first of all, so that nobody comes meanwhile
        for writer in writers:
            writer.transport.abort()  # what nobody reads would keep it open
        while left := asyncio.all_tasks() - {asyncio.current_task()}:
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)
        await asyncio.gather(*map(closed, tuple(writers)))

    thread = threading.Thread(target=asyncio.run, args=(main(),), daemon=True)
    thread.start()
    assert ready.wait(20)
    try:
        yield
    finally:
        loops[0].call_soon_threadsafe(stop.set)
        thread.join(20)
        assert not thread.is_alive()


async def closed(writer: asyncio.StreamWriter) -> None:
    """Wait until a writer that is closed is so."""
    with suppress(OSError):
        await writer.wait_closed()


@contextmanager
def ending(frame: bytes) -> Iterator[str]:
    """Serve sockets that are opened and ended at once, as jupyter-server-proxy refuses."""
    port = free_port()

    async def end(reader, writer) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        [key] = re.findall(rb"(?i)sec-websocket-key: *(\S+)", head)
        fields = f"Upgrade: websocket\r\nSec-WebSocket-Accept: {accept_key(key.decode())}"
        fields += "\r\nSec-WebSocket-Protocol: wsh.v1"
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n"
            + fields.encode()
            + b"\r\n\r\n"
            + frame
        )

    with in_a_thread(end, port):
        yield f"ws://127.0.0.1:{port}/bot"


@pytest.mark.parametrize(
    ("frame", "cause", "words"),
    [
        (b"\x88\x00", 1005, "The connection was ended without a word."),
        (b"", 1006, "The connection was lost."),
    ],
)
def test_a_socket_that_opens_and_ends_without_a_word_is_a_break_with_growing_pauses(
    browser, server, frame, cause, words
):
    page = Visit(browser, server)
    page.page.clock.install()
    with ending(frame) as url:
        page.page.evaluate(
            """url => {
              Math.random = () => 0.9;
              start(url);
              window.ends = [];
              bot.addEventListener('state', () => {
                if (bot.state === 'waiting') ends.push([bot.cause, bot.words, bot.retryIn, opened]);
              });
            }""",
            url,
        )
        for number in range(1, 9):
            page.until(f"ends.length >= {number}")
            page.page.clock.fast_forward(31_000)
        ends = page.call("ends")[:8]
    assert [end[:2] for end in ends] == [[cause, words]] * 8
    # No server has said anything, so that it has never been open.
    assert [opened for *_, opened in ends] == [0] * 8
    waits = [wait for _, _, wait, _ in ends]
    for number, wait in enumerate(waits):
        most = 0.9 * min(30, 0.25 * 2**number)
        assert most / 2 < wait <= most
    assert page.errors == []


def test_a_proxy_that_opens_what_the_server_refuses_hides_no_login_that_has_ended(browser, server):
    page = Visit(browser, server)
    for pattern in (TICKETS, ME):
        page.page.route(pattern, lambda route: route.fulfill(status=403))
    page.call(
        """void (window.WebSocket = class {
          static OPEN = 1;
          constructor() {
            setTimeout(() => this.onopen(), 20);
            setTimeout(() => this.onclose({code: 1006, reason: ''}), 40);
          }
          close() {}
        })"""
    )
    page.start("/bot")
    assert page.ended("closed", 4401) == "You are signed out."
    # It has opened twice, and not for ever.
    assert page.call("opened") == 2
    assert page.errors == []


# ---- who is said to answer ---------------------------------------------------------------------


@pytest.mark.parametrize("query", ["", "?token=abc"])
def test_a_server_elsewhere_that_is_down_is_not_said_to_answer(browser, server, query):
    page = Visit(browser, server).start(f"ws://127.0.0.1:{free_port()}/bot{query}")
    assert page.ended("waiting", "unreachable") == "The server cannot be reached."
    assert page.errors == []


def test_a_server_elsewhere_that_answers_something_is_not_said_to_be_the_bots(browser, server):
    port = free_port()

    async def refuse(reader, writer) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    with in_a_thread(refuse, port):
        page = Visit(browser, server).start(f"ws://127.0.0.1:{port}/bot")
        words = page.ended("waiting", "unopened")
    assert "the bot may be down" in words
    assert "answers" not in words


def test_a_token_that_is_wrong_and_a_server_that_is_down_are_told_apart(browser, tmp_path):
    with serving(tmp_path) as mine:
        page = Visit(browser, mine)
        page.start(f"{mine.ws('nobody')}?token={mine.token}")
        page.ended("waiting", "missing")
        browser.clear_cookies()
        page.start(f"{mine.ws('bot')}?token=wrong")
        assert page.ended("closed", "token") == "The server does not know this token."
        page.opened(f"{mine.ws('bot')}?token={mine.token}")
    # What the server has said last is not said again in vaguer words.
    page.until("bot.attempts > 2")
    assert page.ended("waiting", 1001) == "The server has stopped."
    page.start(f"{mine.ws('bot')}?token={mine.token}")
    assert page.ended("waiting", "unreachable") == "The server cannot be reached."
    assert page.errors == []


# ---- a proxy that strips a prefix --------------------------------------------------------------


@contextmanager
def stripping(server) -> Iterator[str]:
    """Run a proxy that takes PREFIX off the path; the server knows nothing of it."""
    port = free_port()

    async def relay(reader, writer) -> None:
        try:
            while piece := await reader.read(65536):
                writer.write(piece)
        except OSError:
            pass
        finally:
            writer.close()

    async def pass_on(reader, writer) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        method, path, rest = head.split(b" ", 2)
        fields = rest.split(b"\r\n")
        lines = [line for line in fields if not line.lower().startswith(b"connection:")]
        # One request on each connection, so that only its head has to be understood.
        kept = b"Upgrade" if b"\r\nupgrade:" in rest.lower() else b"close"
        lines[1:1] = [b"Connection: " + kept]
        behind, ahead = await asyncio.open_connection("127.0.0.1", server.port)
        try:
            path = path.removeprefix(PREFIX.encode())
            ahead.write(b" ".join([method, path, b"\r\n".join(lines)]))
            await asyncio.gather(relay(reader, ahead), relay(behind, writer))
        finally:
            ahead.transport.abort()
            await closed(ahead)

    with in_a_thread(pass_on, port):
        yield f"http://127.0.0.1:{port}{PREFIX}/"


@pytest.mark.parametrize("path", ["bot", "guarded", "room/blue%20sky"])
def test_behind_a_proxy_that_strips_a_prefix_a_page_connects(browser, server, path):
    with stripping(server) as url:
        page = browser.new_page()
        errors = errors_of(page)
        page.goto(f"{url}{path}?token={server.token}")
        page.wait_for_function("window.loaded")
        page.evaluate("start()")
        page.wait_for_function("bot.state === 'open'")
        page.evaluate("bot.send('hello')")
        page.wait_for_function("got.at(-1) === 'Got message: hello'")
        page.evaluate("start('/nobody')")
        page.wait_for_function("bot.cause === 'missing'")
        page.close()
    assert errors == []


def test_behind_a_proxy_that_strips_a_prefix_the_built_in_chat_connects(browser, server):
    with stripping(server) as url:
        page = browser.new_page()
        errors = errors_of(page)
        page.goto(f"{url}talk/blue%20sky?token={server.token}")
        expect(state(page)).to_have_text("connected")
        say(page, "hello")
        expect(answers(page)).to_have_text("Got message: hello")
        page.close()
    assert errors == []


# ---- a worker ----------------------------------------------------------------------------------

WORKER = """
import {connect} from './static/wshandler/wshandler.js';
try { connect(); } catch (error) { postMessage(['thrown', error.message]); }
const bot = connect('/bot');
bot.onstate = () => postMessage([bot.state, bot.cause, bot.words, bot.link]);
bot.onmessage = ({data}) => { postMessage(['message', data]); bot.close(); };
bot.send('from a worker');
const nobody = connect('/nobody');
nobody.onstate = () => { if (nobody.attempts === 2) postMessage([nobody.cause, nobody.words]); };
"""


def test_a_worker_may_import_the_helper_and_name_its_bot(browser, server):
    page = Visit(browser, server)
    # A module in a blob is at no address, and names what it imports by a whole one.
    page.call(
        f"""(() => {{
          const source = {WORKER!r}.replace(
            './static/wshandler/wshandler.js',
            new URL('./static/wshandler/wshandler.js', location).href,
          );
          window.heard = [];
          const blob = new Blob([source], {{type: 'text/javascript'}});
          window.worker = new Worker(URL.createObjectURL(blob), {{type: 'module'}});
          worker.onmessage = ({{data}}) => heard.push(data);
          worker.onerror = (event) => heard.push(['error', event.message]);
        }})()"""
    )
    page.until("heard.length >= 5 || heard.some(([what]) => what === 'error')")
    # A route that is not there is asked for again, as in a page.
    missing = [words for cause, words, *_ in page.call("heard") if cause == "missing"]
    assert missing == ["Nothing answers at this address."]
    assert [each for each in page.call("heard") if each[0] != "missing"] == [
        ["thrown", "connect('/path'): say which bot"],
        ["open", None, "", None],
        ["message", "Got message: from a worker"],
        ["closed", "left", "This conversation was closed.", None],
    ]
