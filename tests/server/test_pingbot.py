"""The first bot of the documentation, as written, and bots that take their time or fail."""

from __future__ import annotations

import asyncio
import contextlib
import re
import sys
import time

import pytest
import websockets.exceptions
from support.bots import bot_text
from support.frames import PING, frame, text
from support.server import running_server, wait_for
from support.visitor import Visitor
from support.wire import Wire

YAML = """\
url:
  pingbot:
    pattern: /pingbot
    handler: WebSocketHandler
    kwargs:
      open:       {function: pingbot.open}
      on_message: {function: pingbot.on_message}
      on_close:   {function: pingbot.on_close}
      origins: [gramener.com, localhost, 127.0.0.1]
      auth: true
"""
MODULE = bot_text("gramex_pingbot")
COMMANDS = {
    "serve": {
        "command": [sys.executable, "-m", "jupyter_wshandler", "serve", "wshandler.yaml"],
    },
    "trait": {"extra_args": ["--WSHandlerApp.config_file=wshandler.yaml"]},
}


@pytest.fixture(scope="module", params=COMMANDS)
def sample(request, tmp_path_factory):
    """Return a server with the sample, started with each of the two commands."""
    with running_server(
        folder=tmp_path_factory.mktemp("sample"),
        modules={"wshandler.yaml": YAML, "pingbot.py": MODULE},
        # The module must be found through its YAML file, not through the working directory.
        env={"PYTHONSAFEPATH": "1"},
        fork=False,  # one server at least is started as a person does
        **COMMANDS[request.param],
    ) as running:
        yield running


def prints(server) -> list[tuple[str, str]]:
    """Return what the bot has printed to the log: opened or closed, and the session."""
    return re.findall(r"^Chatbot (opened|closed) for (\S+)$", server.log_text(), re.MULTILINE)


def test_the_sample_answers_and_prints_one_session_when_it_opens_and_closes(sample):
    before = len(prints(sample))
    with sample.connect_sync("/pingbot") as client:
        client.send("Hello world")
        assert client.recv(timeout=10) == "Got message: Hello world"
    said = wait_for(
        lambda: found if len(found := prints(sample)[before:]) == 2 else None, what="both prints"
    )
    assert [word for word, _ in said] == ["opened", "closed"]
    assert said[0][1] == said[1][1]


def exchange(visitor: Visitor, headers=(), **options) -> None:
    """Open a socket with what a visitor has, get one answer, and leave."""
    status, head, sock = visitor.handshake("/pingbot", headers, **options)
    with sock:
        assert status == 101, head
        sock.settimeout(10)
        sock.sendall(text("hi"))
        assert sock.recv(1000)[2:] == b"Got message: hi"


def test_the_sample_knows_a_browser_that_comes_back(sample):
    before = len(prints(sample))
    visitor = Visitor(sample)
    origin = [("Origin", f"http://127.0.0.1:{sample.port}")]
    for times in (1, 2, 3):
        exchange(visitor, origin, token=times == 1)
        wait_for(lambda n=times: len(prints(sample)) == before + 2 * n, what="the bot's print")
    assert len({session for _, session in prints(sample)[before:]}) == 1
    exchange(Visitor(sample), token=True)
    wait_for(lambda: len(prints(sample)) == before + 8, what="another browser's print")
    assert len({session for _, session in prints(sample)[before:]}) == 2


def test_the_sample_survives_bytes_that_it_does_not_expect(sample):
    with sample.connect_sync("/pingbot") as client:
        client.send(b"\xff")
        with pytest.raises(websockets.exceptions.ConnectionClosedError) as closed:
            client.recv(timeout=10)
        assert closed.value.rcvd.code == 1011
    with sample.connect_sync("/pingbot") as client:
        client.send("still there?")
        assert client.recv(timeout=10) == "Got message: still there?"


# ---- bots that take their time, and bots that fail ---------------------------------------------

BOTS = bot_text("slow_and_failing")
SLOW = """
url:
  sleeps: {pattern: /sleeps, handler: WebSocketHandler, kwargs: {on_message: bots.sleeps}}
  awaits:
    pattern: /awaits
    handler: WebSocketHandler
    kwargs: {on_message: bots.awaits, ping_interval: 500ms, ping_timeout: 1s}
  echo: {pattern: /echo, handler: WebSocketHandler, kwargs: {on_message: bots.echo}}
  fails: {pattern: /fails, handler: WebSocketHandler,
          kwargs: {on_message: bots.fails, on_close: bots.closed}}
  fails-later: {pattern: /fails-later, handler: WebSocketHandler,
                kwargs: {on_message: bots.fails_later, on_close: bots.closed}}
  open-fails: {pattern: /open-fails, handler: WebSocketHandler,
               kwargs: {open: bots.open_fails, on_close: bots.closed}}
  stays: {pattern: /stays, handler: WebSocketHandler,
          kwargs: {on_message: bots.fails, on_error: {close: false}}}
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with running_server(
        SLOW, folder=tmp_path_factory.mktemp("slow"), modules={"bots.py": BOTS}
    ) as running:
        yield running


async def test_a_def_callback_that_sleeps_3_s_leaves_the_server_and_the_others_alone(server):
    async with server.connect("/sleeps") as sleeper, server.connect("/echo") as other:
        begun = time.monotonic()
        await sleeper.send("3")
        statuses, echoes = [], []
        while time.monotonic() - begun < 2:
            started = time.monotonic()
            assert (await asyncio.to_thread(server.fetch, "/api/status"))[0] == 200
            statuses.append(time.monotonic() - started)
            started = time.monotonic()
            await other.send("hi")
            assert await other.recv() == "hi"
            echoes.append(time.monotonic() - started)
            await asyncio.sleep(0.05)
        assert await asyncio.wait_for(sleeper.recv(), 10) == "slept"
        assert time.monotonic() - begun >= 3
    for times in (sorted(statuses), sorted(echoes)):
        assert len(times) >= 5
        assert times[len(times) // 2] < 0.1
        assert times[int(len(times) * 0.95)] < 1


async def test_an_async_callback_that_awaits_keeps_a_client_that_is_pinged_and_pings(server):
    async with server.connect("/awaits", ping_interval=None) as client:
        await client.send("6")
        answer = asyncio.create_task(client.recv())
        pings = 0
        while not answer.done():
            # The server pings as well, every 500 ms, and would give up after a second.
            await asyncio.wait_for(await client.ping(), 1)
            pings += 1
            await asyncio.wait([answer], timeout=0.5)
        assert answer.result() == "awaited"
        assert pings >= 10


def test_the_pings_of_the_server_arrive_while_a_callback_awaits(server):
    with Wire(server, "/awaits", early=text("2.5")) as wire:
        seen = []
        while (got := wire.frame()).opcode == PING:
            seen.append(time.monotonic())
            wire.send(frame(10, got.payload))
        assert got.payload == b"awaited"
        assert len(seen) >= 3


def test_a_client_that_does_not_answer_pings_is_given_up(server):
    with Wire(server, "/awaits", early=text("4")) as wire:
        begun = time.monotonic()
        frames = wire.frames()
        assert {got.opcode for got in frames} == {PING}
        assert 1 <= time.monotonic() - begun < 10


@pytest.mark.parametrize("route", ["fails", "fails-later", "open-fails"])
async def test_a_callback_that_raises_closes_1011_with_an_id_that_is_in_the_log(server, route):
    async with server.connect("/echo") as other:
        async with server.connect(f"/{route}") as client:
            with contextlib.suppress(websockets.exceptions.ConnectionClosed):
                await client.send("oh no")
            with pytest.raises(websockets.exceptions.ConnectionClosedError) as closed:
                await asyncio.wait_for(client.recv(), 10)
        assert closed.value.rcvd.code == 1011
        reason = closed.value.rcvd.reason
        error_id = re.fullmatch(r"internal error, id ([0-9a-f]{8})", reason)[1]
        logged = wait_for(
            lambda: re.search(rf"Error {error_id} in (\S+), route {route}, .*", server.log_text()),
            what="the error's id in the log",
        )
        assert logged[1].startswith("bots.")
        assert "a-detail-only-the-log-knows" in server.log_text()[logged.end() :]
        wait_for(lambda: f"closed {route} 1011" in server.log_text(), what="on_close")
        await other.send("hi")
        assert await asyncio.wait_for(other.recv(), 10) == "hi"
        assert (await asyncio.to_thread(server.fetch, "/api/status"))[0] == 200


def test_a_callback_that_raises_may_keep_its_client(server):
    with server.connect_sync("/stays") as client:
        for message in ("once", "twice"):
            client.send(message)
            answer = client.recv(timeout=10)
            assert re.fullmatch(r'\{"error":"internal error","id":"[0-9a-f]{8}"\}', answer)
