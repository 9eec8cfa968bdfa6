"""A page that is left and come back to, in a Chromium that keeps it meanwhile."""

from __future__ import annotations

import json

import pytest
from browser.test_helper import PAGE
from playwright.sync_api import Browser, BrowserContext, expect
from support.bots import bot_text
from support.browser import errors_of, profile, running_chromium, screenshot
from support.chatpage import answers, say, state
from support.server import running_server, wait_for

YAML = """
url:
  bot:
    pattern: /bot
    handler: WebSocketHandler
    kwargs: &bot
      open: {function: leftbot.open}
      on_message: {function: leftbot.on_message}
      on_close: {function: leftbot.on_close}
      page: page.html
  one:
    pattern: /one
    handler: WebSocketHandler
    kwargs: {<<: *bot, max_connections: 1, ping_interval: 300ms}
  guarded:
    pattern: /guarded
    handler: WebSocketHandler
    kwargs: {<<: *bot, xsrf: ticket, max_connections: 1}
  chat:
    pattern: /chat
    handler: WebSocketHandler
    kwargs:
      open: {function: leftbot.open}
      on_message: {function: leftbot.on_message}
      on_close: {function: leftbot.on_close}
      max_connections: 1
  elsewhere:
    pattern: /elsewhere
    handler: WebSocketHandler
    kwargs: {on_message: {function: leftbot.on_message}, page: elsewhere.html}
"""
BOT = bot_text("left")
KEPT = PAGE.replace(
    "window.loaded = true;",
    """window.kept = 0;
  window.onpageshow = ({persisted}) => { kept += persisted; };
  window.loaded = true;""",
)


@pytest.fixture(scope="module")
def keeper():
    """Return a Chromium as people have it."""
    with running_chromium(keeps_pages=True) as chromium:
        yield chromium


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("left")
    modules = {"leftbot.py": BOT, "page.html": KEPT, "elsewhere.html": "<p>elsewhere"}
    with running_server(YAML, folder=folder, modules=modules) as running:
        yield running


@pytest.fixture
def visitor(keeper: Browser, server):
    """Return a profile that is logged in, and forget what was noted before."""
    (server.folder / "notes.txt").write_text("")
    with profile(keeper) as context:
        page = context.new_page()
        page.goto(f"{server.url}elsewhere?token={server.token}")
        page.close()
        yield context
    wait_for(lambda: len(notes(server, "close")) == len(notes(server, "open")), what="the last end")


def notes(server, event: str) -> list[dict]:
    lines = (server.folder / "notes.txt").read_text().splitlines()
    return [note for note in map(json.loads, lines) if note["event"] == event]


def opened(visitor: BrowserContext, server, path: str, where: str | None = None):
    page = visitor.new_page()
    page.goto(f"{server.url}{path}")
    page.wait_for_function("window.loaded")
    page.evaluate("where => start(where)", where)
    page.wait_for_function("bot.state === 'open'")
    return page


def follow_a_link(page, server) -> None:
    page.evaluate("where => { location.href = where; }", f"{server.url}elsewhere")
    page.wait_for_url("**/elsewhere")


def come_back(page) -> None:
    page.go_back(wait_until="commit")
    page.wait_for_function("window.loaded")
    assert page.evaluate("kept") > 0, "the browser has not kept the page: the test shows nothing"


@pytest.mark.parametrize("path", ["one", "guarded"])
def test_a_page_that_is_left_by_a_link_lets_go_and_is_not_refused_when_it_is_come_back_to(
    visitor, server, path
):
    page = opened(visitor, server, path)
    errors = errors_of(page)
    follow_a_link(page, server)
    [close] = wait_for(lambda: notes(server, "close"), what="the end of the connection")
    assert (close["code"], close["reason"]) == (1000, "away")
    come_back(page)
    page.wait_for_function("bot.state === 'open' && opened === 2")
    assert page.evaluate("states") == ["open", "waiting", "open"]
    assert page.evaluate("bot.words") == ""
    page.evaluate("bot.send('hello')")
    page.wait_for_function("got.length === 1")
    assert len(notes(server, "open")) == 2
    assert len(notes(server, "close")) == 1
    assert errors == []


def test_what_was_sent_before_the_page_was_left_arrives_and_a_conversation_that_is_over_stays_so(
    visitor, server
):
    page = opened(visitor, server, "bot")
    page.evaluate("where => { bot.send('goodbye'); location.href = where; }", f"{server.url}one")
    page.wait_for_url("**/one")
    wait_for(lambda: notes(server, "close"), what="the end of the connection")
    assert [note["message"] for note in notes(server, "message")] == ["goodbye"]
    come_back(page)
    page.wait_for_function("bot.state === 'open'")
    page.evaluate("bot.close()")
    follow_a_link(page, server)
    come_back(page)
    page.evaluate("bot.send('nobody hears it')")
    assert page.evaluate("[bot.state, bot.cause, opened]") == ["closed", "left", 2]


def test_a_page_that_is_left_while_it_connects_has_one_connection_when_it_is_back(visitor, server):
    page = opened(visitor, server, "one")
    held: list = []
    page.route("**/wshandler/api/tickets", lambda route: held.append(route))
    page.evaluate("bot.close(); bot.connect();")
    wait_for(lambda: page.wait_for_timeout(20) or held, what="the question for a ticket")
    # As by the browser: the one that is real would forget the page for what is under way.
    page.evaluate("window.dispatchEvent(new PageTransitionEvent('pagehide', {persisted: true}))")
    assert page.evaluate("[bot.state, bot.cause, bot.words]") == [
        "waiting",
        "away",
        "This page was left.",
    ]
    held[0].continue_()
    page.unroute_all()
    page.evaluate("window.dispatchEvent(new PageTransitionEvent('pageshow', {persisted: true}))")
    page.wait_for_function("bot.state === 'open'")
    for kind in ("pageshow", "visibilitychange", "pagehide", "pageshow", "pageshow"):
        target = "document" if kind == "visibilitychange" else "window"
        page.evaluate(f"{target}.dispatchEvent(new Event('{kind}'))")
    page.wait_for_function("bot.state === 'open' && opened === 3")
    page.evaluate("bot.send('hello')")
    page.wait_for_function("got.length === 1")
    assert len(notes(server, "open")) == 3


def test_a_page_whose_tab_is_closed_is_ended_by_the_browser_with_1001(visitor, server):
    opened(visitor, server, "one").close()
    [close] = wait_for(lambda: notes(server, "close"), what="the end of the connection")
    assert close["code"] == 1001


def test_the_chat_is_come_back_to_by_back_and_by_its_address(visitor, server):
    page = visitor.new_page()
    page.goto(f"{server.url}chat")
    say(page, "one")
    expect(answers(page)).to_have_text("Got message: one")
    follow_a_link(page, server)
    wait_for(lambda: notes(server, "close"), what="the end of the connection")
    page.go_back(wait_until="commit")
    expect(state(page)).to_have_text("connected")
    expect(answers(page)).to_have_text("Got message: one")  # the page was kept, with what it shows
    screenshot(page, "left-chat-back")
    follow_a_link(page, server)
    page.goto(f"{server.url}chat")
    expect(state(page)).to_have_text("connected")
    say(page, "two")
    expect(answers(page)).to_have_text("Got message: two")
    screenshot(page, "left-chat-by-address")
    assert [note["code"] for note in notes(server, "close")] == [1000, 1000]


def test_coming_back_to_a_server_that_was_restarted_or_that_has_signed_one_out(keeper, tmp_path):
    modules = {"leftbot.py": BOT, "page.html": KEPT, "elsewhere.html": "<p>elsewhere"}
    with profile(keeper) as visitor:
        with running_server(YAML, folder=tmp_path, modules=modules) as first:
            page = visitor.new_page()
            page.goto(f"{first.url}elsewhere?token={first.token}")
            page.close()
            page = opened(visitor, first, "guarded")
            page.evaluate("where => { location.href = where; }", f"{first.url}elsewhere")
            page.wait_for_url("**/elsewhere")
        page.go_back(wait_until="commit")
        page.wait_for_function("window.loaded && bot.cause === 'unreachable'")
        assert page.evaluate("[bot.state, kept]") == ["waiting", 1]
        assert page.evaluate("bot.words") == "The server cannot be reached."
        with running_server(YAML, folder=tmp_path, modules=modules, port=first.port) as second:
            page.wait_for_function("bot.state === 'open'")
            follow_a_link(page, second)
            visitor.clear_cookies()
            page.go_back(wait_until="commit")
            page.wait_for_function("bot.state === 'closed'")
            assert page.evaluate("[bot.words, bot.link.text]") == [
                "You are signed out.",
                "Sign in",
            ]
