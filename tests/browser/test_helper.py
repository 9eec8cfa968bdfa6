"""The browser's helper wshandler.js, in a real browser with a real server behind it."""

from __future__ import annotations

import json
import re
import signal
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from playwright.sync_api import BrowserContext, Page, Route, expect
from support.bots import bot_text
from support.browser import errors_of
from support.chatpage import STATIC
from support.server import RunningServer, running_server

from jupyter_wshandler.types import CloseCode

DOCS = Path(__file__).parents[2] / "docs" / "pages.md"
TICKETS = "**/wshandler/api/tickets"
ME = "**/api/me"

YAML = """
url:
  bot:
    pattern: /bot
    handler: WebSocketHandler
    kwargs: &bot
      on_message: {function: helperbot.on_message}
      page: page.html
  guarded:
    pattern: /guarded
    handler: WebSocketHandler
    kwargs: {<<: *bot, xsrf: ticket}
  room:
    pattern: /room/{room}
    handler: WebSocketHandler
    kwargs: {<<: *bot, xsrf: ticket, page: deep.html}
  idle:
    pattern: /idle
    handler: WebSocketHandler
    kwargs: {<<: *bot, idle_timeout: 300ms}
  docs:
    pattern: /docs
    handler: WebSocketHandler
    kwargs: {<<: *bot, xsrf: ticket, page: docs.html}
  raw:
    pattern: /raw
    handler: WebSocketHandler
    kwargs: {<<: *bot, xsrf: ticket, page: raw.html}
  members:
    pattern: /members
    handler: WebSocketHandler
    kwargs: {<<: *bot, auth: {membership: {username: nobody}}}
  elsewhere:
    pattern: /elsewhere
    handler: WebSocketHandler
    kwargs: {<<: *bot, origins: [example.org]}
  chat:
    pattern: /chat
    handler: WebSocketHandler
    kwargs: {<<: *bot, subprotocols: [chat]}
  public:
    pattern: /public
    handler: WebSocketHandler
    kwargs: {<<: *bot, auth: false}
  builtin:
    pattern: /talk/{room}
    handler: WebSocketHandler
    kwargs: {on_message: {function: helperbot.on_message}, xsrf: ticket}
"""
BOT = bot_text("helperbot")
PAGE = """<!doctype html>
<title>A page</title>
<script type="module">
  import {connect, MEANINGS} from './static/wshandler/wshandler.js';
  window.MEANINGS = MEANINGS;
  window.start = (where, options) => {
    window.bot = connect(where ?? undefined, options);
    window.opened = 0;
    for (const kind of ['got', 'states', 'causes', 'unsent']) window[kind] = [];
    bot.onopen = () => { opened += 1; };
    bot.onmessage = ({data}) => {
      got.push(typeof data === 'string' ? data : [...new Uint8Array(data)]);
    };
    bot.onstate = () => { states.push(bot.state); causes.push(bot.cause); };
    bot.addEventListener('unsent', ({detail}) => unsent.push(detail));
  };
  window.loaded = true;
</script>
"""


def examples(language: str) -> list[str]:
    """Return the examples of the docs that are written in a language."""
    return re.findall(rf"```{language}\n(.*?)```", DOCS.read_text(), re.DOTALL)


RAW = f"""<!doctype html><title>Raw</title><script type="module">
{examples("js")[-1]}
socket.onopen = () => socket.send('raw');
socket.onmessage = ({{data}}) => {{ document.title = data; }};
</script>"""


@contextmanager
def serving(folder: Path, base_url: str = "/", **options):
    modules = {
        "helperbot.py": BOT,
        "page.html": PAGE,
        "deep.html": PAGE.replace("./static", "../static"),
        "docs.html": examples("html")[0],
        "raw.html": RAW,
    }
    public = "--WSHandlerApp.allow_public_routes=True"
    with running_server(
        YAML, folder=folder, base_url=base_url, modules=modules, extra_args=[public], **options
    ) as running:
        yield running


@pytest.fixture(scope="module", params=["/", "/user/ann@example.org/"], ids=["root", "deep"])
def anywhere(request, tmp_path_factory):
    with serving(tmp_path_factory.mktemp("anywhere"), request.param) as running:
        yield running


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("helper"), "/user/ann@example.org/") as running:
        yield running


class Visit:
    """A page with a bot, and what it has asked the server for.

    Args:
        context: The browser's profile.
        server: The server.
        path: The page's path below base_url.
    """

    def __init__(self, context: BrowserContext, server: RunningServer, path: str = "bot") -> None:
        self.server = server
        self.page: Page = context.new_page()
        self.errors = errors_of(self.page)
        self.sockets: list[str] = []
        self.posts: list[dict] = []
        self.page.on("websocket", lambda socket: self.sockets.append(socket.url))
        self.page.on("request", self._note)
        self.page.goto(f"{server.url}{path}?token={server.token}")
        self.page.wait_for_function("window.loaded")

    def _note(self, request) -> None:
        if request.url.endswith("/wshandler/api/tickets"):
            self.posts.append(json.loads(request.post_data))

    def start(self, where: str | None = None, **options) -> Visit:
        """Let the page connect."""
        self.page.evaluate("([where, options]) => start(where, options)", [where, options])
        return self

    def until(self, condition: str) -> None:
        """Wait for something to be true in the page; a clock that stands still is no hindrance."""
        self.page.wait_for_function(condition, polling=50)

    def opened(self, where: str | None = None, **options) -> Visit:
        """Let the page connect, and wait until it has."""
        self.start(where, **options)
        self.until("bot.state === 'open'")
        return self

    def call(self, script: str):
        """Evaluate an expression in the page."""
        return self.page.evaluate(script)

    def ended(self, state: str, cause) -> str:
        """Wait until the bot is in a state for a cause; return the words for it."""
        self.until(f"bot.state === {state!r} && bot.cause === {json.dumps(cause)}")
        return self.call("bot.words")

    def echoes(self, text: str) -> None:
        """Send a message and wait for the answer."""
        assert self.call(f"bot.send({text!r})") is True
        self.until(f"got.at(-1) === 'Got message: {text}'")

    def stop_the_clock(self) -> None:
        """Let no attempt come by itself any more, nor one be under way."""
        self.until("bot.state === 'waiting'")
        self.page.clock.pause_at(self.call("Date.now() + 60000"))
        self.until("bot.retryIn > 0")


@pytest.fixture
def visit(browser, server):
    visits: list[Visit] = []

    def open_page(path: str = "bot") -> Visit:
        visits.append(Visit(browser, server, path))
        return visits[-1]

    yield open_page
    for each in visits:
        assert each.errors == []


def tokens(page: Visit) -> list[str | None]:
    """Return the ticket that each socket has brought."""
    return [parse_qs(urlsplit(url).query).get("ws_token", [None])[0] for url in page.sockets]


# ---- where it connects -----------------------------------------------------------------------


@pytest.mark.parametrize("path", ["bot", "guarded", "room/blue%20sky"])
def test_the_address_is_the_pages_own_at_any_base_url(browser, anywhere, path):
    page = Visit(browser, anywhere, path).opened()
    page.echoes("hello")
    assert page.posts == [{"path": f"{anywhere.base_url}{path}", "base": anywhere.base_url}]
    [url] = page.sockets
    assert url.partition("?")[0] == anywhere.ws(path)
    assert page.errors == []


def test_the_pages_query_goes_with_it_but_no_token_and_no_count_of_the_hubs(visit, server):
    page = visit()
    page.call(f"history.replaceState(null, '', '?name=a%20b&redirects=1&token={server.token}#x')")
    page.opened().echoes("hello")
    [url] = page.sockets
    assert {**parse_qs(urlsplit(url).query), "ws_token": []} == {"name": ["a b"], "ws_token": []}


@pytest.mark.parametrize("where", ["/room/red?name=a%20b", "room/red?name=a%20b"])
def test_a_path_is_below_base_url_wherever_the_page_is(browser, anywhere, where):
    page = Visit(browser, anywhere, "room/blue").opened(where)
    page.echoes("hello")
    [url] = page.sockets
    parts = urlsplit(url)
    assert parts.path == f"{anywhere.base_url}room/red"
    assert parse_qs(parts.query)["name"] == ["a b"]


def test_a_whole_url_with_a_token_needs_no_ticket(visit, server):
    page = visit().opened(f"{server.ws('guarded')}?token={server.token}")
    page.echoes("hello")
    assert page.posts == []


def test_the_first_lines_of_the_docs_are_a_page_that_keeps_the_answer_and_links_to_the_login(
    browser, server
):
    page = browser.new_page()
    errors = errors_of(page)
    page.goto(f"{server.url}docs?token={server.token}")
    page.locator("input").fill("hello")
    page.keyboard.press("Enter")
    expect(page.locator("output")).to_have_text("Got message: hello")
    expect(page.locator("input")).to_have_value("")
    expect(page.locator("a")).to_be_hidden()
    page.locator("input").fill("close 4401")
    page.keyboard.press("Enter")
    expect(page.locator("p")).to_have_text("You are signed out.")
    expect(page.locator("output")).to_have_text("Got message: hello")
    expect(page.get_by_role("link", name="Sign in")).to_have_attribute("href", f"{server.url}docs")
    assert errors == []


def test_the_page_without_the_helper_of_the_docs_works(browser, server):
    page = browser.new_page()
    page.goto(f"{server.url}raw?token={server.token}")
    expect(page).to_have_title("Got message: raw")


def test_subprotocols_are_offered(visit):
    page = visit().opened("/chat", protocols=["other", "chat"])
    page.call("bot.send('protocol')")
    page.until("got.length === 1")
    assert page.call("got") == ["chat"]


# ---- tickets ---------------------------------------------------------------------------------


@pytest.fixture
def given(browser):
    """Collect the tickets that the server gives."""
    tickets: list[str | None] = []

    def watch(route: Route) -> None:
        answer = route.fetch()
        if answer.ok:
            tickets.append(answer.json()["ticket"])
        route.fulfill(response=answer)

    browser.route(TICKETS, watch)
    return tickets


def test_each_attempt_has_a_ticket_of_its_own_that_is_sent_once(visit, given):
    page = visit("guarded").opened()
    for number in (2, 3):
        page.call("bot.send('close 1011')")
        page.until(f"opened === {number}")
    page.echoes("still here")
    assert len(set(given)) == 3
    assert tokens(page) == given


def test_a_ticket_that_is_not_good_any_more_is_no_end_and_another_is_fetched(visit):
    page = visit("guarded")
    page.page.route(TICKETS, lambda route: route.fulfill(json={"ticket": "of-yesterday"}), times=1)
    page.start()
    page.until("bot.state === 'open'")
    page.echoes("hello")
    assert page.call("states") == ["waiting", "open"]
    assert [post.get("refused", False) for post in page.posts] == [False, True, False]


def test_a_route_without_tickets_is_opened_without_one(visit, given):
    page = visit("bot").opened()
    page.echoes("hello")
    assert given == [None]
    assert tokens(page) == [None]


def test_tabs_have_tickets_of_their_own_and_come_back_independently(visit, given):
    pages = [visit("guarded").opened() for _ in range(3)]
    pages[0].call("bot.send('close 1012')")
    pages[1].call("bot.close()")
    pages[0].until("opened === 2")
    for page in (pages[0], pages[2]):
        page.echoes("hello")
    assert pages[1].call("bot.state") == "closed"
    assert [len(page.sockets) for page in pages] == [2, 1, 1]
    assert sorted(given) == sorted(token for page in pages for token in tokens(page))


OTHERS = {
    "tornado": "2|00000000|00112233445566778899aabbccddeeff|1700000000",
    "jupyterhub": "MnwxOjB8MTA6MTcwMDAwMDAwMHw1Ol94c3JmfDQ6YWJjZHwwMA",
}
"""What other servers of the host may have set as `_xsrf`."""


@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("path", ["/", "/user/", "/user/ann@example.org/guarded"])
def test_an_xsrf_cookie_of_another_server_on_the_host_is_no_hindrance(
    browser, visit, given, other, path
):
    page = visit("guarded")
    cookie = {"name": "_xsrf", "value": OTHERS[other], "domain": "127.0.0.1", "path": path}
    browser.add_cookies([cookie])
    assert [each["name"] for each in browser.cookies()].count("_xsrf") == 2
    page.opened().echoes("hello")
    assert tokens(page) == given


# ---- connecting again ------------------------------------------------------------------------


@pytest.mark.parametrize("code", [1001, 1011, 1012, 1013])
def test_a_close_that_is_not_final_is_connected_again(visit, code):
    page = visit().opened()
    page.call(f"bot.send('close {code}')")
    page.until("opened === 2")
    assert page.call("states") == ["open", "waiting", "open"]
    assert page.call("bot.words") == ""


@pytest.mark.parametrize(
    ("close", "words"),
    [
        ("1000", "The bot has ended the conversation."),
        ("1002", "Browser and server did not understand each other."),
        ("1003", "The bot does not take this kind of message."),
        ("1007", "The bot could not read the last message."),
        ("1009", "The last message was too big for the bot."),
        ("1008 not you", "The server does not allow this conversation: not you (1008)."),
        ("4001 the table is full", "The bot has closed the connection: the table is full (4001)."),
        ("4401", "You are signed out."),
        ("4403 not you", "You are not allowed to use this bot: not you (4403)."),
    ],
)
def test_a_final_close_is_left_alone_until_somebody_connects(visit, close, words):
    page = visit()
    page.page.clock.install()
    page.opened()
    page.call(f"bot.send('close {close}')")
    assert page.ended("closed", int(close.split()[0])) == words
    assert page.call("bot.send('too late')") is False
    page.call("""
        window.asked = 0;
        const ask = window.fetch;
        window.fetch = (...what) => {
          asked += 1;
          return ask(...what).finally(() => { asked -= 1; });
        };
    """)
    for _ in range(10):
        page.page.clock.fast_forward(60_000)
        page.until("asked === 0")  # a minute of this clock is no time to answer in
    page.call("window.dispatchEvent(new Event('online'))")
    assert len(page.sockets) == 1
    page.call("bot.connect()")
    page.until("opened === 2")
    page.echoes("again")


def test_every_close_code_has_words(visit):
    page = visit()
    for code in CloseCode:
        # These two are never on the wire, and gateways' codes have no meaning for a person.
        if code not in (CloseCode.NO_STATUS, CloseCode.MANDATORY_EXTENSION, CloseCode.BAD_GATEWAY):
            assert re.match("[A-Z]", page.call(f"MEANINGS[{int(code)}].words")), code


def test_options_may_stand_alone_for_the_bot_at_the_pages_own_address(visit):
    page = visit()
    page.call("start({meanings: {4001: 'The table is full'}})")
    page.until("bot.state === 'open'")
    page.call("bot.send('close 4001')")
    assert page.ended("closed", 4001) == "The table is full (4001)."


def test_a_mistyped_option_is_named_in_the_console(visit):
    page = visit()
    with page.page.expect_console_message(lambda message: "no option 'protocol'" in message.text):
        page.call("start('/chat', {protocol: ['chat']})")
    page.until("bot.state === 'open'")


def test_words_of_a_pages_own_may_stand_alone(visit):
    page = visit().opened(meanings={"4002": {"words": "Over", "detailed": False}})
    page.call("bot.send('close 4002 no seat')")
    assert page.ended("closed", 4002) == "Over."


def test_a_failure_of_the_bot_stays_in_the_console(visit):
    page = visit().opened()
    with page.page.expect_console_message(lambda message: "The bot has failed" in message.text):
        page.call("bot.send('close 1011 internal error, id 1234')")
    page.until("opened === 2")


def test_a_page_has_words_and_rules_of_its_own(visit):
    mine = {"4001": "The table is full", "4002": {"words": "Shuffling!", "state": "waiting"}}
    page = visit().opened(meanings=mine)
    page.call("bot.send('close 4001')")
    assert page.ended("closed", 4001) == "The table is full (4001)."
    page.call("bot.connect()")
    page.until("opened === 2")
    page.call("bot.send('close 4002')")
    page.until("opened === 3")


@pytest.mark.parametrize("reason", ["idle", None])
def test_after_idle_sending_connects_again_and_the_message_arrives(visit, reason):
    page = visit("bot" if reason else "idle").opened()
    if reason:
        page.call("bot.send('close 1000 idle')")
    words = page.ended("idle", "idle")
    assert words == "Closed because nobody said anything for a while."
    assert len(page.sockets) == 1
    assert page.call("bot.send('I am back')") is True
    page.until("got.at(-1) === 'Got message: I am back'")
    assert len(page.sockets) == 2
    assert page.call("unsent") == []


@pytest.mark.parametrize("event", ["online", "visibilitychange"])
def test_a_machine_that_is_back_does_not_wait(visit, event):
    page = visit()
    page.page.clock.install()
    page.opened()
    page.page.route(TICKETS, lambda route: route.abort())
    page.call("bot.send('close 1011')")
    page.ended("waiting", "unreachable")
    page.stop_the_clock()
    page.page.unroute_all()
    target = "window" if event == "online" else "document"
    page.call(f"{target}.dispatchEvent(new Event('{event}'))")
    page.until("bot.state === 'open'")


def test_the_waits_grow_and_are_bounded(visit):
    page = visit()
    page.page.clock.install()
    page.page.route(TICKETS, lambda route: route.abort())
    page.call("Math.random = () => 0.9")
    page.start()
    waits = []
    for number in range(1, 11):
        page.until(f"bot.attempts === {number} && bot.state === 'waiting'")
        waits.append(page.call("bot.retryIn"))
        page.page.clock.fast_forward(31_000)
    for number, wait in enumerate(waits):
        most = 0.9 * min(30, 0.25 * 2**number)
        assert most / 2 < wait <= most


# ---- messages --------------------------------------------------------------------------------


def test_what_is_sent_before_it_is_open_arrives_in_order(visit):
    page = visit("guarded")
    page.call("(start(), bot.send('one'), bot.send('two'))")
    page.until("got.length === 2")
    assert page.call("got") == ["Got message: one", "Got message: two"]


def test_bytes_and_json_are_sent_as_such(visit):
    page = visit().opened()
    page.call("bot.send(new Uint8Array([1, 2, 255]))")
    page.call("bot.send({a: [1, null]})")
    page.until("got.length === 2")
    assert page.call("got") == [[255, 2, 1], 'Got message: {"a":[1,null]}']


def test_what_is_sent_while_it_connects_again_waits_and_arrives_in_order(visit):
    page = visit()
    page.page.route(TICKETS, lambda route: route.abort())
    page.call("(start(), bot.send('one'))")
    page.until("bot.state === 'waiting'")
    assert page.call("bot.send('two')") is True
    page.page.unroute_all()
    page.until("got.length === 2")
    assert page.call("got") == ["Got message: one", "Got message: two"]
    assert page.call("unsent") == []


def test_what_could_not_be_sent_is_given_back(visit):
    page = visit()
    page.call("(start('/members'), bot.send('for nobody'))")
    page.until("unsent.length === 1")
    assert page.call("unsent") == ["for nobody"]
    assert page.call("bot.send('nor this')") is False


def test_without_a_queue_nothing_waits(visit):
    page = visit()
    assert page.call("(start(undefined, {queue: 0}), bot.send('too early'))") is False
    page.until("bot.state === 'open'")
    page.echoes("hello")


def test_a_handler_that_throws_does_not_end_the_connection(visit):
    page = visit().opened()
    page.call("void (bot.onmessage = () => { throw new Error('of the page'); })")
    page.call("bot.addEventListener('message', ({data}) => got.push(data))")
    with page.page.expect_event("pageerror"):
        page.echoes("one")
    page.call("bot.onmessage = null")
    page.echoes("two")
    assert page.errors == ["of the page"]
    page.errors.clear()


def test_a_page_that_leaves_stays_away_until_it_connects(visit):
    page = visit()
    page.page.clock.install()
    page.opened()
    page.call("bot.close()")
    assert page.call("[bot.state, bot.cause, bot.words]") == [
        "closed",
        "left",
        "This conversation was closed.",
    ]
    page.page.clock.fast_forward(60_000)
    assert len(page.sockets) == 1
    page.call("bot.connect()")
    page.until("bot.state === 'open'")


def test_closing_while_the_ticket_is_on_its_way_opens_no_socket(visit):
    page = visit()
    held: list[Route] = []
    page.page.route(TICKETS, lambda route: held.append(route))
    page.start()
    while not held:
        page.page.wait_for_timeout(20)
    page.call("bot.close()")
    with page.page.expect_response(TICKETS):
        held[0].continue_()
    page.page.unroute_all()
    page.call("bot.connect()")
    page.until("bot.state === 'open'")
    assert len(page.sockets) == 1


# ---- what is wrong ---------------------------------------------------------------------------


def test_a_logout_is_named_with_a_way_back_that_works_from_another_tab(browser, visit, server):
    page = visit("guarded").opened()
    browser.clear_cookies()
    page.call("bot.send('close 1011')")
    assert page.ended("closed", 4401) == "You are signed out."
    assert page.call("bot.link") == {"href": f"{server.url}guarded", "text": "Sign in"}
    other = browser.new_page()
    other.goto(page.call("bot.link.href"))
    assert urlsplit(other.url).path == f"{server.base_url}login"
    other.get_by_label(re.compile("token", re.IGNORECASE)).first.fill(server.token)
    other.get_by_role("button", name=re.compile("log in", re.IGNORECASE)).first.click()
    other.wait_for_url(f"{server.url}guarded")
    page.call("document.dispatchEvent(new Event('visibilitychange'))")
    page.until("bot.state === 'open'")
    page.echoes("hello")


def test_a_user_who_may_not_use_a_route_is_told_so_at_once(visit):
    page = visit().start("/members")
    words = page.ended("closed", 4403)
    assert re.fullmatch(
        r"You are not allowed to use this bot: this user may not .* \(4403\)\.", words
    )
    assert page.call("bot.link") is None
    assert len(page.sockets) == 1


def test_a_ticket_that_is_refused_is_told_as_it_was_said(visit):
    page = visit("guarded")
    body = {"message": "this user is not authorized for this route", "reason": None}
    page.page.route(TICKETS, lambda route: route.fulfill(status=403, json=body))
    page.start()
    assert page.ended("closed", 4403) == (
        "You are not allowed to use this bot: this user is not authorized for this route (4403)."
    )


def test_a_visitor_of_a_public_route_needs_no_login(browser, server):
    page = browser.new_page()
    page.goto(f"{server.url}public")
    page.wait_for_function("window.loaded")
    page.evaluate("start()")
    page.wait_for_function("bot.state === 'open'")


def test_an_address_without_a_route_is_named_and_asked_for_again(visit):
    page = visit().start("/nobody")
    page.until("bot.attempts > 2")
    assert page.ended("waiting", "missing") == "Nothing answers at this address."
    assert page.sockets == []


def test_a_hidden_tab_does_not_ask_for_a_route_that_is_not_there(visit):
    page = visit()
    page.page.clock.install()
    page.call("Object.defineProperty(document, 'hidden', {get: () => window.away})")
    page.call("window.away = true")
    page.start("/nobody")
    page.ended("waiting", "missing")
    for _ in range(5):
        page.page.clock.fast_forward(60_000)
    page.page.clock.pause_at(page.call("Date.now() + 1000"))
    assert len(page.posts) == 1
    page.call("{ away = false; document.dispatchEvent(new Event('visibilitychange')); }")
    page.until("bot.attempts === 2")
    assert len(page.posts) == 2


def test_an_origin_that_is_not_allowed_is_not_silent(visit):
    page = visit().start("/elsewhere")
    words = page.ended("waiting", "origin")
    assert "this page is not among the allowed origins" in words


def test_a_server_that_has_died_cannot_be_reached_until_it_is_back(browser, tmp_path):
    with serving(tmp_path) as first:
        page = Visit(browser, first, "guarded").opened()
        first.stop(signal.SIGKILL)
        assert page.ended("waiting", "unreachable") == "The server cannot be reached."
        assert page.call("bot.link") is None
    with serving(tmp_path, port=first.port):
        page.until("bot.state === 'open'")
        page.echoes("hello")


def test_a_server_that_was_stopped_has_said_so(browser, tmp_path):
    with serving(tmp_path) as first:
        page = Visit(browser, first).opened()
        first.stop()
        # What the attempts find out after it says no more.
        page.until("bot.attempts > 2")
        assert page.ended("waiting", 1001) == "The server has stopped."


def test_a_page_that_is_sent_elsewhere_says_that_the_server_has_stopped_once_nobody_answers(
    visit, server
):
    page = visit().opened()
    drain = "wshandler/api/drain"
    assert server.fetch(drain, method="POST", data=b'{"seconds": 0}')[0] == 200
    try:
        words = "The server is about to stop, and another one is looked for."
        assert page.ended("waiting", "moved") == words
        page.until("bot.attempts > 2")  # there is none, and this one takes nobody any more
        assert page.ended("waiting", "moved") == words
        page.page.route(TICKETS, lambda route: route.abort())
        assert page.ended("waiting", 1001) == "The server has stopped."
    finally:
        assert server.fetch(drain, method="DELETE")[0] == 200
    page.page.unroute(TICKETS)
    page.until("bot.state === 'open'")
    page.echoes("hello")


HUB = {"X-JupyterHub-Version": "6.1.1"}


def hub_says(status: int, **answer):
    """Return what answers as the Hub does in place of a user's server that is stopped."""

    def tell(route: Route) -> None:
        if route.request.method == "POST":
            route.fulfill(status=status, headers=HUB, **answer)
        else:
            path = urlsplit(route.request.url).path
            route.fulfill(status=302, headers={**HUB, "Location": f"/hub{path}"})

    return tell


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        # JupyterHub 6 refuses a POST that its own XSRF rule does not know.
        (403, {"body": "<html><h1>403 : Forbidden</h1></html>", "content_type": "text/html"}),
        (405, {"body": "<html></html>", "content_type": "text/html"}),
        (424, {"json": {"message": "JupyterHub server no longer running at /user/ann"}}),
        (503, {"json": {"message": "JupyterHub server no longer running at /user/ann"}}),
    ],
)
def test_a_stopped_server_is_told_from_everything_else_and_found_again(
    visit, server, status, answer
):
    page = visit("guarded").opened()
    away = hub_says(status, **answer)
    for pattern in (TICKETS, ME):
        page.page.route(pattern, away)
    page.call("bot.send('close 1001')")
    assert page.ended("waiting", "stopped") == "The server is stopped."
    assert page.call("bot.link") == {"href": f"{server.url}guarded", "text": "Start it at the Hub"}
    page.until("bot.attempts > 2")
    assert page.call("bot.cause") == "stopped"
    assert len(page.sockets) == 1
    page.page.unroute_all()
    page.until("bot.state === 'open'")
    assert page.call("bot.link") is None
    page.echoes("hello")


def knows_nobody(route: Route) -> None:
    """Answer as a server that was started again does, to a browser with the login of before."""
    body = {"message": "log in first, or send a token", "reason": None}
    route.fulfill(status=403, headers=HUB, json=body)


def answer_all(page: Visit, tell) -> None:
    """Answer from now on; the last word counts, and none in between is left to the server."""
    for pattern in (TICKETS, ME):
        page.page.route(pattern, tell)


ENDS = {
    "the bot is told": (1001, None),
    "the route is restarted": (1012, None),
    "the Hub answers": (1011, hub_says(424)),
    "the Hub refuses": (1011, hub_says(403)),
    "nobody answers": (1011, lambda route: route.abort("connectionrefused")),
    "it is about to start": (1011, lambda route: route.fulfill(status=503, body="")),
}
"""How a page learns that its server has ended: the close code, and what its questions meet."""


AT_ONCE = "void dispatchEvent(new Event('online'))"
"""Has a page try again that waits: the pauses have grown, and more so on a busy machine."""


@pytest.mark.parametrize("end", ENDS)
def test_the_end_of_a_server_never_reads_as_a_sign_out_and_the_page_comes_back(visit, server, end):
    code, between = ENDS[end]
    page = visit("guarded").opened()
    if between is None:
        answer_all(page, knows_nobody)
    else:
        answer_all(page, between)
    page.call(f"bot.send('close {code}')")
    if between is not None:
        page.until("bot.attempts > 1")
        answer_all(page, knows_nobody)
        page.call(AT_ONCE)
    words = "The server was started again, and does not know this page yet."
    assert page.ended("waiting", "renewed") == words
    assert page.call("bot.link") == {"href": f"{server.url}guarded", "text": "Sign in"}
    sockets = len(page.sockets)
    page.until("bot.attempts > 1")
    assert page.call("bot.cause") == "renewed"
    assert len(page.sockets) == sockets, "a socket that cannot open is not tried"
    assert 4401 not in page.call("causes")
    # Somebody signs in in another tab.
    page.page.unroute_all()
    page.until("bot.state === 'open'")
    assert page.call("[bot.link, bot.words]") == [None, ""]
    page.echoes("hello")


def test_a_server_that_ends_again_before_anybody_has_signed_in_is_said_to_be_stopped(visit):
    page = visit("guarded").opened()
    answer_all(page, knows_nobody)
    page.call("bot.send('close 1001')")
    page.ended("waiting", "renewed")
    answer_all(page, hub_says(424))
    page.call(AT_ONCE)
    page.ended("waiting", "stopped")
    answer_all(page, knows_nobody)
    page.call(AT_ONCE)
    page.ended("waiting", "renewed")


@pytest.mark.parametrize("by", ["asking", "the close code"])
def test_a_page_that_is_signed_out_comes_back_by_itself_when_it_is_not_any_more(visit, by):
    page = visit("guarded").opened()
    answer_all(page, knows_nobody)
    page.call(f"bot.send('close {1011 if by == 'asking' else 4401}')")
    assert page.ended("closed", 4401) == "You are signed out."
    sockets = len(page.sockets)
    with page.page.expect_response(TICKETS):
        pass
    assert page.call("[bot.state, bot.cause]") == ["closed", 4401]
    assert len(page.sockets) == sockets
    page.page.unroute_all()
    page.until("bot.state === 'open'")
    page.echoes("hello")


def test_a_close_with_4401_while_the_hub_cannot_be_asked_is_asked_about_again(visit):
    page = visit("guarded").opened()
    body = {"message": "the Hub cannot be asked who you are; try again", "reason": None}
    answer_all(page, lambda route: route.fulfill(status=503, headers=HUB, json=body))
    page.call("bot.send('close 4401 nobody could be asked about your login for 10 s')")
    page.ended("closed", 4401)
    with page.page.expect_response(TICKETS):
        pass
    page.page.unroute_all()
    page.until("bot.state === 'open'")


def test_a_hidden_tab_that_is_signed_out_does_not_ask_until_it_is_shown(visit):
    page = visit("guarded")
    page.page.clock.install()
    page.call("Object.defineProperty(document, 'hidden', {get: () => window.away})")
    page.opened()
    answer_all(page, knows_nobody)
    page.call("window.away = true")
    page.call("bot.send('close 4401')")
    page.ended("closed", 4401)
    for _ in range(5):
        page.page.clock.fast_forward(60_000)
    assert len(page.posts) == 1
    page.page.unroute_all()
    page.call("{ away = false; document.dispatchEvent(new Event('visibilitychange')); }")
    page.until("bot.state === 'open'")


def test_who_leaves_while_it_is_asked_about_a_login_stays_away(visit):
    page = visit("guarded").opened()
    answer_all(page, knows_nobody)
    page.call("bot.send('close 4401')")
    page.ended("closed", 4401)
    with page.page.expect_response(TICKETS):
        pass
    held: list[Route] = []
    page.page.unroute_all()
    page.page.route(TICKETS, lambda route: held.append(route))
    while not held:
        page.page.wait_for_timeout(20)
    page.call("bot.close()")
    with page.page.expect_response(TICKETS):
        held[0].continue_()
    assert page.call("[bot.state, bot.cause]") == ["closed", "left"]
    page.page.unroute_all()


def test_a_server_that_is_replaced_between_ticket_and_socket_does_not_forbid_anything(visit):
    page = visit()
    answers = [lambda route: route.fulfill(json={"ticket": None, "expires_in": 30})]
    page.page.route(TICKETS, lambda route: (answers.pop(0) if answers else knows_nobody)(route))
    page.page.route(ME, knows_nobody)
    page.start("/members")
    assert page.ended("closed", 4401) == "You are signed out."


def test_a_hub_that_cannot_say_who_asks_forbids_nothing(visit):
    page = visit()
    page.page.route(TICKETS, lambda route: route.fulfill(status=403, headers=HUB, body=""))
    page.page.route(ME, lambda route: route.fulfill(status=500, headers=HUB, body=""))
    page.start()
    page.ended("waiting", "unready")


def test_a_proxy_that_answers_for_a_dead_server_of_a_hub_means_that_it_is_stopped(visit):
    page = visit().opened()
    page.page.route(TICKETS, hub_says(424))
    page.call("bot.send('close 1011')")
    page.ended("waiting", "stopped")
    page.page.unroute_all()
    page.until("bot.state === 'open'")
    for pattern in (TICKETS, ME):
        page.page.route(pattern, lambda route: route.fulfill(status=503, body="<html></html>"))
    page.call("bot.send('close 1011')")
    page.ended("waiting", "stopped")


def test_a_login_in_front_of_the_server_that_has_ended_is_a_logout(visit):
    page = visit()
    front = {"Location": "/oauth2/sign_in"}
    page.page.route(TICKETS, lambda route: route.fulfill(status=302, headers=front))
    page.start("/elsewhere")
    assert page.ended("closed", 4401) == "You are signed out."


def test_a_server_that_is_not_ready_is_named_with_what_it_says(visit):
    page = visit()
    body = {"message": "the server is stopping"}
    page.page.route(TICKETS, lambda route: route.fulfill(status=503, json=body))
    page.start()
    words = page.ended("waiting", "unready")
    assert words == "The server is not ready (the server is stopping)."


def test_a_link_keeps_the_pages_query_but_no_token_and_no_count_of_the_hubs(visit, server):
    page = visit()
    page.call(f"history.replaceState(null, '', '?name=ada&redirects=1&token={server.token}')")
    page.opened()
    page.call("bot.send('close 4401')")
    page.ended("closed", 4401)
    assert page.call("bot.link.href") == f"{server.url}bot?name=ada"


def test_the_helper_is_small_and_depends_on_nothing():
    names = (
        *("addresses", "envelope", "guest", "meanings", "pagelife"),
        *("resume", "rooms", "tickets", "turn"),
    )
    for name in ("wshandler", *names):
        text = (STATIC / f"{name}.js").read_text()
        assert len(text.splitlines()) < 420
        imported = set(re.findall(r"^import .* from '(.*)';", text, re.MULTILINE))
        assert imported <= {f"./{each}.js" for each in names}


def test_unquoted_paths_are_asked_for_as_they_are_sent(browser, anywhere):
    page = Visit(browser, anywhere, "room/zo%C3%AB%20b").opened()
    page.echoes("hello")
    assert unquote(page.posts[0]["path"]) == f"{unquote(anywhere.base_url)}room/zoë b"
