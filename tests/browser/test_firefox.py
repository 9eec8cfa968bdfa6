"""The page helper in Firefox, where it does what Chromium does not."""

from __future__ import annotations

import pytest
from browser.test_left import BOT, KEPT, YAML, notes, running_server
from support.firefox import running_firefox
from support.server import wait_for


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("firefox")
    modules = {"leftbot.py": BOT, "page.html": KEPT, "elsewhere.html": "<p>elsewhere"}
    with running_server(YAML, folder=folder, modules=modules) as running:
        yield running


@pytest.fixture(scope="module")
def firefox(server, tmp_path_factory):
    with running_firefox(tmp_path_factory.mktemp("profile")) as browser:
        browser.goto(f"{server.url}elsewhere?token={server.token}")
        yield browser


@pytest.mark.parametrize("sources", ["'none'", "http://127.0.0.1:{port}", "wss:"])
def test_a_policy_that_forbids_the_socket_has_words_at_once(firefox, server, sources):
    # Firefox throws in the constructor, where Chromium fires an error and no close.
    firefox.goto(f"{server.url}bot")
    policy = f"connect-src {sources.format(port=server.port)}"
    firefox.evaluate(
        f"""document.head.append(Object.assign(document.createElement('meta'), {{
          httpEquiv: 'Content-Security-Policy', content: {policy!r},
        }}))"""
    )
    firefox.evaluate("(start(), bot.send('held'))")
    firefox.until("bot.state === 'closed'")
    assert firefox.evaluate("bot.words") == (
        "The browser does not let this page connect (its Content-Security-Policy forbids it)."
    )
    assert firefox.evaluate("[bot.cause, states, unsent]") == ["forbidden", ["closed"], ["held"]]
    assert firefox.evaluate("bot.send('too late')") is False


def test_a_page_that_is_left_is_not_refused_when_it_is_come_back_to(firefox, server):
    (server.folder / "notes.txt").write_text("")
    firefox.goto(f"{server.url}one")
    firefox.evaluate("void start()")
    firefox.until("bot.state === 'open'")
    firefox.goto(f"{server.url}elsewhere")
    # Firefox keeps no page with a socket, and ends it itself.
    [close] = wait_for(lambda: notes(server, "close"), what="the end of the connection")
    assert close["code"] in (1000, 1001)
    firefox.back()
    firefox.until("window.loaded && location.pathname.endsWith('/one')")
    firefox.evaluate("window.bot ?? start()")
    firefox.until("bot.state === 'open'")
    assert firefox.evaluate("states") == ["open"]
    assert len(notes(server, "open")) == 2
