"""The Python client on a real server: through breaks, and in rooms."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import threading

import pytest
from support.bots import bot_text
from support.breaking import SECONDS
from support.cutting import cutting_proxy
from support.endurance import sizes
from support.server import running_server, wait_for

from jupyter_wshandler.client import connect, lifeline
from jupyter_wshandler.client import connector as connector_module
from jupyter_wshandler.errors import RoomRefused

YAML = """
url:
  bot:
    pattern: /bot
    handler: WebSocketHandler
    kwargs:
      open: returning.opened
      on_message: returning.on_message
      resume: {window: 60s}
      queue: {messages: 5000, bytes: 8MiB}
  tokens:
    pattern: /tokens
    handler: WebSocketHandler
    kwargs: {on_message: returning.tokens, resume: true}
  room: &room
    pattern: /room
    handler: WebSocketHandler
    kwargs: &kwargs
      on_message: returning.say
      may_join: returning.may_join
      space: team
      history: {size: 100, replay: 3}
      presence: {card: returning.card}
      resume: true
  brittle: {<<: *room, pattern: /brittle, kwargs: {<<: *kwargs, resume: false}}
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    modules = {"returning.py": bot_text("returning")}
    folder = tmp_path_factory.mktemp("returning")
    with running_server(YAML, folder=folder, modules=modules) as running:
        yield running


@pytest.fixture
def proxy(server):
    with cutting_proxy(server.port) as running:
        yield running


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Try again sooner than a program would."""
    monkeypatch.setattr(lifeline, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(lifeline, "LONGEST_PAUSE", 0.05)
    monkeypatch.setattr(connector_module, "CONFIRM", SECONDS)


def open_to(server, proxy, path, **options):
    url = f"ws://127.0.0.1:{proxy.port}{path}"
    return connect(url, **{"token": server.token, "timeout": SECONDS, **options})


async def until(condition):
    async with asyncio.timeout(SECONDS):
        while not condition():
            await asyncio.sleep(0.005)


def events(changes):
    return [change.event for change in changes]


@pytest.mark.timeout(600)
async def test_twenty_breaks_during_2000_messages_and_200_questions_are_seen_by_nobody(
    server, proxy, monkeypatch
):
    monkeypatch.setattr(connector_module, "PING", 0.5)
    heard, answers, changes = [], [], []

    async with open_to(server, proxy, "/bot", on_state=changes.append) as bot:

        async def listen():
            async for message in bot:
                heard.append(message)
                if len(heard) == 2000:
                    return

        async def ask():
            for turn in range(200):
                answers.append(await bot.ask(f"push {10 * turn} {10 * turn + 10}"))

        async def cut():
            chance = random.Random(11)
            for turn in range(20):
                await asyncio.sleep(chance.uniform(0, 0.02))
                if turn % 10 == 9:
                    os.kill(server.process.pid, signal.SIGSTOP)
                    try:
                        await until(lambda: bot.state == "away")
                    finally:
                        os.kill(server.process.pid, signal.SIGCONT)
                else:
                    proxy.cut()
                await until(lambda turn=turn: events(changes).count("resumed") > turn)

        await asyncio.gather(listen(), ask(), cut())
        seen = await bot.ask("seen")
    asked = [f"push {10 * turn} {10 * turn + 10}" for turn in range(200)]
    assert heard == [str(number) for number in range(2000)]
    assert answers == [f"re {question}" for question in asked]
    assert seen == asked
    assert events(changes)[:40] == ["away", "resumed"] * 20


@pytest.mark.timeout(600)
def test_the_same_without_await(server, proxy):
    changes = []

    def cut():
        chance = random.Random(12)
        for turn in range(8):
            threading.Event().wait(chance.uniform(0, 0.02))
            proxy.cut()
            returned = lambda turn=turn: events(changes).count("resumed") > turn  # noqa: E731
            wait_for(returned, SECONDS, "the return")

    with open_to(server, proxy, "/bot", on_state=changes.append) as bot:
        cutter = threading.Thread(target=cut)
        cutter.start()
        asked = [f"push {10 * turn} {10 * turn + 10}" for turn in range(40)]
        answers = [bot.ask(question) for question in asked]
        heard = [bot.recv() for _ in range(400)]
        cutter.join(4 * SECONDS)
        seen = bot.ask("seen")
    assert heard == [str(number) for number in range(400)]
    assert answers == [f"re {question}" for question in asked]
    assert seen == asked
    assert events(changes) == ["away", "resumed"] * 8 + ["closed"]


@sizes(short=1, full=30)
async def test_300_tokens_stream_on_through_a_break_and_a_stop_at_100_is_obeyed(
    server, proxy, size
):
    """The break takes as many seconds as the size says."""
    ended = server.folder / "ended"
    ended.unlink(missing_ok=True)
    async with open_to(server, proxy, "/tokens") as bot:
        answer, tokens = bot.stream("300"), []
        async for token in answer:
            tokens.append(token)
            if len(tokens) == 50:
                proxy.hold()  # also for those who come back
                proxy.cut()
                await until(lambda: bot.state == "away")
                await asyncio.sleep(size.number)
                assert bot.state == "away"
                proxy.go_on()
        assert tokens == [f"{number} " for number in range(300)]
        assert ended.read_text() == "299\n"
        answer, tokens = bot.stream("1000000"), []
        async for token in answer:
            tokens.append(token)
            if len(tokens) == 100:
                proxy.cut()
                await until(lambda: bot.state == "away")
                await answer.stop()
        assert answer.how == "stopped"
        assert tokens == [f"{number} " for number in range(len(tokens))]
        assert len(ended.read_text().split()) == 2


# -- rooms -----------------------------------------------------------------------------------------


async def test_a_room_is_joined_heard_and_left_and_the_rest_is_received(server, proxy):
    async with (
        open_to(server, proxy, "/room?name=ada") as ada,
        open_to(server, proxy, "/room?name=bob") as bob,
    ):
        blue = await ada.join("blue")
        red = await bob.join("red")
        await bob.send("blue hello")
        await bob.send("red psst")
        await bob.send("blue again")
        assert [await blue.recv(), await blue.recv()] == ["hello", "again"]
        assert await red.recv() == "psst"
        assert (blue.name, red.since[1], blue.recovered) == ("blue", 1, None)
        await blue.leave()
        assert [text async for text in blue.messages] == []
        with pytest.raises(RoomRefused, match="was left"):
            await blue.recv()
        with pytest.raises(RoomRefused, match="room 'secret': this room is not open to you"):
            await ada.join("secret")
        await bob.send("blue once more")
        again = await ada.join("blue", since=blue.since)
        assert await again.recv() == "once more"
        assert again.recovered is True
    with open_to(server, proxy, "/room?name=eve") as eve:
        blue = eve.join("blue")
        assert [next(blue.messages) for _ in range(3)] == ["hello", "again", "once more"]
        blue.leave()
        assert list(blue) == []
        with pytest.raises(ValueError, match=r"expected since=\(epoch, offset\)"):
            eve.join("blue", since=("x", -1))


async def test_who_is_in_a_room_is_known_while_people_come_and_go(server, proxy, caplog):
    def names(room):
        return sorted(member.card["name"] for member in room.members)

    async with open_to(server, proxy, "/room?name=ada") as ada:
        told = []

        def tell(change):
            who = change.member and change.member.card["name"]
            told.append((change.change, who, sorted(each.id for each in change.members)))
            assert change.room == "green"
            raise RuntimeError("on purpose")

        green = await ada.join("green", on_members=tell)
        await until(lambda: names(green) == ["ada"])
        (first,) = green.members
        assert first.connections == 1
        assert told[0][:2] == (None, None)  # the list, in which ada is or is not yet
        assert told[1:] in ([], [("joined", "ada", [first.id])])
        before = len(told)
        async with open_to(server, proxy, "/room?name=second") as second:
            there = await second.join("green", presence=True)
            await until(lambda: names(green) == names(there) == ["ada", "second"])
            (other,) = {each.id for each in there.members} - {first.id}
        await until(lambda: names(green) == ["ada"])
        assert told[before:] == [
            ("joined", "second", sorted([first.id, other])), ("left", "second", [first.id]),
        ]  # fmt: skip
        assert "on_members of room 'green' has failed" in caplog.text

        async def waits(change):
            pass

        for wrong in (waits, "print"):
            with pytest.raises(TypeError, match="expected a plain function as on_members"):
                await ada.join("green", on_members=wrong)
        proxy.cut()
        await until(lambda: ada.state == "away")
        await until(lambda: ada.state == "open")
        assert names(green) == ["ada"]


async def test_a_room_is_joined_again_on_another_connection_and_what_was_missed_comes(
    server, proxy
):
    changes = []
    async with (
        open_to(server, proxy, "/brittle?name=ada", on_state=changes.append) as ada,
        connect("/room", server=server.url, token=server.token, timeout=SECONDS) as bob,
    ):
        gray = await ada.join("gray")
        await bob.send("gray one")
        assert await gray.recv() == "one"
        proxy.hold()
        proxy.cut()
        await until(lambda: ada.state == "away")
        await bob.send("gray two")
        await bob.send("gray three")
        proxy.go_on()
        assert [await gray.recv(), await gray.recv()] == ["two", "three"]
        assert gray.recovered is True
        assert events(changes) == ["away", "renewed"]
