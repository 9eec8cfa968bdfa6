"""The page helper in Firefox, where it does what Chromium does not."""

from __future__ import annotations

import pytest
from browser.test_left import BOT, KEPT, YAML, notes, running_server
from support.demo import Demo, running_demo
from support.firefox import Firefox, running_firefox
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


# ---- the page of the demo -------------------------------------------------------------------


def says(firefox: Firefox, status: str) -> None:
    """Wait until the demo's page is there and in a state."""
    firefox.until(f"document.getElementById('status')?.textContent === {status!r}")


def seen(firefox: Firefox, selector: str) -> list[str]:
    """Return the texts of the demo's page that a selector finds."""
    return firefox.evaluate(
        f"[...document.querySelectorAll({selector!r})].map((each) => each.textContent)"
    )


def talk(firefox: Firefox, text: str) -> None:
    """Say something on the demo's page, and see it answered."""
    firefox.evaluate(
        f"""(document.getElementById('text').value = {text!r},
          document.getElementById('form').requestSubmit())"""
    )
    wait_for(
        lambda: seen(firefox, ".bot .bubble")[-1:] == [f"Got message: {text}"], 30, "the answer"
    )


def leave(firefox: Firefox, demo: Demo) -> None:
    """Go elsewhere, and wait until the server has no connection any more."""
    firefox.goto(demo.url("storybot"))
    wait_for(lambda: demo.counted("connections") == 0, 30, "the end of the connection")


def test_the_demos_page_is_come_back_to(firefox, tmp_path):
    with running_demo(tmp_path) as demo:
        firefox.goto(demo.page)
        says(firefox, "Connected")
        talk(firefox, "first")
        refused = demo.counted("requests_refused")
        leave(firefox, demo)
        firefox.back()
        says(firefox, "Connected")
        talk(firefox, "by back")
        firefox.screenshot("demo-firefox-back")
        assert seen(firefox, ".notice.bad") == []
        assert demo.counted("connections") == 1
        leave(firefox, demo)
        firefox.goto(demo.url("pingbot"))
        says(firefox, "Connected")
        talk(firefox, "by its address")
        assert seen(firefox, ".notice") == []
        assert demo.counted("connections") == 1
        assert demo.counted("requests_refused") == refused
        # The sign-out is the page that is gone back from, so the last one is the demo's.
        firefox.goto(demo.url("logout"))
        firefox.back()
        firefox.until("location.pathname === '/login' || document.getElementById('status')")
        firefox.screenshot("demo-firefox-signed-out")
        if firefox.evaluate("location.pathname") != "/login":
            says(firefox, "Signed out")
            assert seen(firefox, ".notice")[-1] == "You are signed out."
        firefox.goto(demo.page)
        says(firefox, "Connected")
    with running_demo(tmp_path, demo.port) as second:
        wait_for(
            lambda: (
                seen(firefox, ".notice")[-1:]
                == ["The server was started again, and does not know this page yet."]
            ),
            60,
            "the words for the restart",
        )
        firefox.screenshot("demo-firefox-restarted")
        firefox.goto(second.page)
        says(firefox, "Connected")
        talk(firefox, "after the restart")
        assert second.counted("connections") == 1
