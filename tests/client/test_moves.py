"""A server that is about to stop, as the Python client bears it: it goes to another one."""

from __future__ import annotations

import asyncio
import json

import pytest
from support.breaking import SECONDS, breaking_server

from jupyter_wshandler.client import connect, lifeline


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Try again sooner than a program would."""
    monkeypatch.setattr(lifeline, "FIRST_PAUSE", 0.01)


@pytest.fixture
def server():
    with breaking_server() as running:
        yield running


async def until(condition):
    async with asyncio.timeout(SECONDS):
        while not condition():
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("resume", [True, False])
async def test_it_goes_when_it_has_its_answers_and_what_is_sent_meanwhile_waits(server, resume):
    server.resume = resume
    changes = []
    async with connect(server.url, timeout=SECONDS, on_state=changes.append) as bot:
        answer = asyncio.create_task(bot.ask("stream 20"))
        await until(lambda: server.peers[0].streams)
        server.run(lambda: server.peers[0].say({"move": 0}))
        assert len(await answer) == 20
        server.is_deaf = True
        await until(lambda: changes)
        await bot.send("two")
        server.is_deaf = False
        assert await bot.recv() == "two"
    (away, renewed, closed) = changes
    assert (away.event, away.code) == ("away", 4900)
    assert (renewed.event, renewed.reason) == ("renewed", "moved")
    assert (closed.event, closed.unsure, closed.unsent) == ("closed", (), ())
    assert [peer.taken for peer in server.peers] == [["stream 20"], ["two"]]
    assert server.offers == ["wsh.resume", "wsh.resume"]
    assert [peer.violation for peer in server.peers] == ["", ""]


async def test_what_the_server_has_not_acknowledged_is_told_and_what_it_has_is_not(server):
    changes = []
    async with connect(server.url, timeout=SECONDS, on_state=changes.append) as bot:
        await bot.send("one")
        assert await bot.recv() == "one"
        server.run(lambda: server.peers[0].acknowledge())
        await bot.send("two")
        assert await bot.recv() == "two"
        server.run(lambda: server.peers[0].say({"move": 0}))
        await until(lambda: [change.event for change in changes] == ["away", "renewed"])
    assert changes[1].unsure == ("two",)


async def test_one_that_does_not_reconnect_stays_until_it_is_closed(server):
    changes = []
    options = {"reconnect": False, "on_state": changes.append}
    async with connect(server.url, timeout=SECONDS, **options) as bot:
        server.run(lambda: server.peers[0].say({"move": 0}))
        assert await bot.ask("hello") == "re hello"
        assert changes == []


@pytest.mark.parametrize("move", ["soon", None, True, {"seconds": 1}])
async def test_a_time_that_is_none_is_ignored(server, move):
    async with connect(server.url, timeout=SECONDS) as bot:
        server.run(lambda: server.peers[0].say({"move": json.loads(json.dumps(move))}))
        assert await bot.ask("hello") == "re hello"
        assert await bot.ask("hello") == "re hello"
    assert len(server.peers) == 1
