"""Breaks of every kind between a real browser and a real server, and what both have seen."""

from __future__ import annotations

import json
import os
import random
import re
import signal

import pytest
from playwright.sync_api import Browser, Page, expect
from support.bots import bot_text
from support.browser import errors_of, profile, running_chromium, screenshot
from support.chatpage import answers, say, state
from support.endurance import sizes
from support.notebook import notebook
from support.server import running_server, wait_for
from support.tcpproxy import tcp_proxy

YAML = """
url:
  bot:
    pattern: /bot
    handler: WebSocketHandler
    kwargs: &bot
      open: {function: broken.open}
      on_message: {function: broken.on_message}
      on_resume: {function: broken.on_resume}
      on_close: {function: broken.on_close}
      resume: true
      page: page.html
  chat:
    pattern: /chat
    handler: WebSocketHandler
    kwargs:
      open: {function: broken.open}
      on_message: {function: broken.on_tell}
      on_resume: {function: broken.on_resume}
      on_close: {function: broken.on_close}
      resume: true
  elsewhere:
    pattern: /elsewhere
    handler: WebSocketHandler
    kwargs: {<<: *bot, page: elsewhere.html}
"""
PAGE = """<!doctype html>
<title>A page</title>
<script type="module">
  import {connect} from './static/wshandler/wshandler.js';
  const bot = window.bot = connect('/bot', {queue: 5000});
  window.seen = [];
  window.got = [];
  window.round = 1;
  for (const type of ['open', 'away', 'resumed', 'renewed', 'unsent']) {
    bot.addEventListener(type, () => seen.push(type));
  }
  bot.onmessage = ({data}) => got.push(data);
  const until = async (condition) => {
    while (!condition()) await new Promise((resolve) => { setTimeout(resolve, 5); });
  };
  window.talk = async () => {
    const answers = [];
    for (let number = 0; number < 2000; number += 1) {
      if (number % 100 === 0) await until(() => round > number / 100);
      if (number % 8 === 0) await until(() => true);
      if (!bot.send(`m${number}`)) throw new Error('it was not taken');
      if (number % 10 === 0) answers.push(bot.ask(`q${number}`));
    }
    return Promise.all(answers);
  };
</script>
"""


@pytest.fixture(scope="module")
def keeper():
    """Return a Chromium as people have it: it keeps pages that are left."""
    with running_chromium(keeps_pages=True) as chromium:
        yield chromium


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    modules = {
        "broken.py": bot_text("broken"),
        "page.html": PAGE,
        "elsewhere.html": "<p>elsewhere",
    }
    folder = tmp_path_factory.mktemp("broken")
    with running_server(YAML, folder=folder, modules=modules) as running:
        yield running


@pytest.fixture
def proxy(server):
    (server.folder / "noted").unlink(missing_ok=True)
    with tcp_proxy(server.port) as running:
        yield running


@pytest.fixture
def page(keeper: Browser, server, proxy):
    with profile(keeper) as context:
        page = context.new_page()
        errors = errors_of(page)
        page.goto(f"http://127.0.0.1:{proxy.port}/elsewhere?token={server.token}")
        yield page
        assert errors == []


def noted(server) -> list[str]:
    """Return what the bot has noted of the connection that was opened last."""
    path = server.folder / "noted"
    lines = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
    last = [id for id, word in lines if word == "open"][-1:]
    return [word for id, word in lines if [id] == last]


def renderers(browser: Browser) -> list[int]:
    """Return the processes that pages of a browser run in."""
    session = browser.new_browser_cdp_session()
    found = session.send("SystemInfo.getProcessInfo")["processInfo"]
    session.detach()
    return [each["id"] for each in found if each["type"] == "renderer"]


def cut(page: Page, proxy, server) -> None:
    proxy.cut()


def frozen(page: Page, proxy, server) -> None:
    """Freeze the page as a browser does with a tab in the background, and cut it off meanwhile."""
    session = page.context.new_cdp_session(page)
    session.send("Page.setWebLifecycleState", {"state": "frozen"})
    proxy.cut()
    session.send("Page.setWebLifecycleState", {"state": "active"})
    session.detach()


def halted(page: Page, proxy, server) -> None:
    """Halt the page's process, as a laptop that sleeps, and cut it off meanwhile."""
    pids = renderers(page.context.browser)
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        proxy.cut()
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def left(page: Page, proxy, server) -> None:
    """Follow a link and come back, to a page that the browser has kept."""
    page.evaluate("location.href = './elsewhere'")
    page.wait_for_url("**/elsewhere")
    page.go_back(wait_until="commit")
    page.wait_for_function("window.bot")


BREAKS = [*[cut] * 14, *[frozen] * 2, *[halted] * 2, *[left] * 2]


def test_two_thousand_messages_and_two_hundred_questions_come_once_in_order_through_twenty_breaks(
    page, server, proxy
):
    chance = random.Random(7)
    breaks = chance.sample(BREAKS, k=len(BREAKS))
    page.goto(f"http://127.0.0.1:{proxy.port}/bot")
    page.wait_for_function("window.bot?.state === 'open'")
    assert page.evaluate("bot.resumable")
    page.evaluate("window.answers = null; void talk().then((all) => { window.answers = all; });")
    for number, interrupt in enumerate(breaks, 1):
        goal = (number - 1) * 100 + chance.randrange(5, 95)
        page.wait_for_function(f"got.length >= {goal}")
        interrupt(page, proxy, server)
        page.wait_for_function(f"seen.filter((each) => each === 'away').length === {number}")
        # Pauses grow with each break, unless somebody does not want to wait.
        page.evaluate("bot.connect()")
        page.wait_for_function("bot.state === 'open'")
        page.evaluate("round += 1")
    page.wait_for_function("answers !== null && got.length === 2000")
    expected = []
    for number in range(2000):
        expected.append(f"m{number}")
        if number % 10 == 0:
            expected.append(f"q{number}")
    assert page.evaluate("got") == [f"got m{number}" for number in range(2000)]
    assert page.evaluate("answers") == [f"got q{number}" for number in range(0, 2000, 10)]
    assert json.loads(page.evaluate("bot.ask('report')")) == [*expected, "report"]
    assert page.evaluate("seen") == ["open", *["away", "resumed"] * 20]
    assert noted(server) == ["open", *["resume"] * 20]


WORDS = "".join(f"w{number} " for number in range(300)).strip()


CELL = """
import sys
sys.path.insert(0, {folder!r})
import broken
import jupyter_wshandler as wsh

bot = wsh.serve(
    "/kernel", open=broken.open, on_message=broken.on_tell, on_resume=broken.on_resume,
    on_close=broken.on_close, resume=True,
)
"""


@pytest.fixture(scope="module")
def in_kernel(server):
    """Serve the same bot from a notebook's kernel."""
    with notebook(server) as book:
        cell = book.run(CELL.format(folder=str(server.folder)))
        assert "Error" not in cell.text, cell.text
        yield


@pytest.fixture(params=["/chat", "/kernel"])
def place(request):
    """Where the bot of a chat is: in a module, or in a kernel."""
    if request.param == "/kernel":
        request.getfixturevalue("in_kernel")
    return request.param


def chat(page: Page, proxy, place: str = "/chat") -> None:
    page.goto(f"http://127.0.0.1:{proxy.port}{place}")
    expect(state(page)).to_have_text("connected")


@sizes(short=0, full=30)
def test_an_answer_of_300_tokens_is_shown_once_and_whole_through_a_break_and_a_reload(
    page, server, proxy, place, size
):
    """The break takes as many seconds as the size says, and what it takes to see it."""
    chat(page, proxy, place)
    say(page, "through breaks")
    expect(answers(page)).to_contain_text("w59")
    page.route("**/wshandler/api/tickets", lambda route: route.abort())
    proxy.cut()
    expect(page.locator(".notice.line")).to_have_text(re.compile("Connection lost, trying again"))
    screenshot(page, "break-away")
    page.wait_for_timeout(1000 * size.number)
    expect(state(page)).to_have_text("reconnecting…")
    page.unroute_all()
    # As a browser says that finds its network again; the pauses have grown meanwhile.
    page.evaluate("dispatchEvent(new Event('online'))")
    expect(page.locator(".notice.line")).to_have_text(re.compile("nothing is missing"))
    screenshot(page, "break-back")
    expect(answers(page)).to_contain_text("w159")
    page.reload(wait_until="commit")
    expect(state(page)).to_have_text("connected")
    expect(answers(page)).to_have_text(WORDS)
    expect(page.locator(".turn.you .bubble")).to_have_text("through breaks")
    expect(answers(page)).to_have_attribute("aria-busy", "false")
    screenshot(page, "break-reloaded")
    words = noted(server)
    assert sorted(words) == ["finally", "open", "resume", "resume"]


def test_an_answer_that_is_stopped_behind_a_reload_ends_where_it_is_and_its_generator_is_closed(
    page, server, proxy, place
):
    chat(page, proxy, place)
    say(page, "slowly")
    expect(answers(page)).to_contain_text("w10 ")
    page.reload(wait_until="commit")
    expect(state(page)).to_have_text("connected")
    page.get_by_role("button", name="Stop").click()
    expect(page.locator(".notice", has_text="Stopped.")).to_be_visible()
    wait_for(lambda: "finally" in noted(server), 10, "the end of the generator")
    said = answers(page).inner_text().split()
    assert said == [f"w{number}" for number in range(len(said))]
    assert 10 < len(said) < 300
    say(page, "tell")
    expect(answers(page).last).to_contain_text("w20 ")


def test_what_is_written_in_a_break_is_sent_after_it_in_the_same_conversation(page, server, proxy):
    chat(page, proxy)
    page.route("**/wshandler/api/tickets", lambda route: route.abort())
    proxy.cut()
    expect(state(page)).to_have_text("reconnecting…")
    say(page, "tell")
    expect(page.locator(".turn.you .bubble")).to_have_text("tell")
    page.unroute_all()
    expect(answers(page)).to_have_text(WORDS)
    assert sorted(noted(server)) == ["finally", "open", "resume"]
