"""A server that is about to stop, as wshandler.js bears it: the page goes to another one."""

from __future__ import annotations

import json

import pytest
from support.lastingserver import resuming_server
from support.nodepage import NodePage, node_page
from support.server import wait_for

OPEN = "globalThis.bot = watched(connect(url)); await until(() => bot.state === 'open');"

RENEWED = "await until(() => bot.seen.some(([type]) => type === 'renewed'));"

REASON = "return bot.seen.find(([type]) => type === 'renewed')[1];"


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    with node_page(tmp_path_factory.mktemp("page")) as opened:
        yield opened


@pytest.fixture
def page(shared: NodePage):
    yield shared
    shared.run("globalThis.bot?.close(); stored.clear();")


@pytest.fixture
def server():
    with resuming_server() as running:
        yield running


def test_a_page_that_is_sent_elsewhere_goes_when_it_has_its_answer_and_nothing_is_unsure(
    page, server
):
    server.answer = lambda text: []
    page.run(OPEN, url=server.url)
    talk = server.last
    page.run("bot.send('said'); globalThis.read = bot.ask('tell');")
    wait_for(lambda: talk.messages == ["said", "tell"], 10, "both")
    talk.send({"move": 0})
    talk.send({"piece": "one ", "of": 1})
    talk.send({"message": "pushed"})
    page.run("await until(() => bot.got.length === 1);")
    assert page.run("return bot.state;") == "open"
    talk.write(json.dumps({"ack": 2}))  # as a server does before its close frame
    talk.send({"end": 1, "how": "done", "streamed": True})
    assert page.run("return await read;") == ["one "]
    page.run(RENEWED)
    assert server.closes[0] == 4900
    assert server.offers[-1] == ["wsh.v1", "wsh.resume"]
    assert page.run(REASON) == {"reason": "moved", "unsure": [], "answers": []}
    page.run("bot.send('on');")
    wait_for(lambda: server.last.messages == ["on"], 10, "what is said there")
    assert talk.messages == ["said", "tell"]


def test_what_is_sent_while_the_page_goes_waits_and_what_was_not_acknowledged_is_told(page, server):
    page.run(OPEN, url=server.url)
    talk = server.last
    page.run("bot.send('said');")
    wait_for(lambda: talk.messages == ["said"], 10, "a message")
    page.run("""
      globalThis.words = '';
      bot.onstate = () => {
        if (bot.state === 'open' || words) return;
        words = bot.words;
        bot.send('later');
      };
    """)
    talk.send({"move": 0.05})
    page.run(RENEWED)
    assert page.run(REASON)["unsure"] == ["said"]
    wait_for(lambda: server.last.messages == ["later"], 10, "what has waited")
    assert (
        page.run("return words;") == "The server is about to stop, and another one is looked for."
    )


def test_without_resume_it_is_the_same(page, server):
    server.resumes = False
    page.run(OPEN, url=server.url)
    talk = server.last
    talk.write(json.dumps({"move": 0}))
    page.run(RENEWED)
    assert page.run(REASON)["reason"] == "moved"
    assert server.closes[0] == 4900


def test_a_page_that_is_closed_meanwhile_stays_closed(page, server):
    page.run(OPEN, url=server.url)
    server.last.send({"move": 0.2})
    server.last.send({"message": "told"})
    page.run("await until(() => bot.got.length === 1); bot.close();")
    page.run("await new Promise((resolve) => { setTimeout(resolve, 400); });")
    assert page.run("return bot.state;") == "closed"
    assert server.closes == [1000]
    assert len(server.offers) == 1
