"""The Python client's pings: a line on which bytes move is alive, however late the pong is."""

from __future__ import annotations

import asyncio
import sys

import pytest
import websockets.asyncio.server
from support.breaking import SECONDS, breaking_server
from support.throttle import throttled

from jupyter_wshandler.client import connect
from jupyter_wshandler.client import connector as connector_module

PING = 0.8
"""Seconds between two pings, and for the pong: what is sent here takes four times as long."""

RATE = 400_000

SIZE = int(4 * PING * RATE)

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(autouse=True)
def frequent_pings(monkeypatch):
    monkeypatch.setattr(connector_module, "PING", PING)


async def answer(socket):
    """Answer with as many bytes as a number says, or with the size of what came."""
    async for message in socket:
        await socket.send(bytes(int(message)) if isinstance(message, str) else str(len(message)))


@pytest.fixture
async def plain():
    """The port of a server that speaks no `wsh.v1`."""
    options = {"ping_interval": None, "max_size": None}
    async with websockets.asyncio.server.serve(answer, "127.0.0.1", 0, **options) as server:
        yield server.sockets[0].getsockname()[1]


KINDS = pytest.mark.parametrize("options", [{}, {"subprotocols": ["of.its.own"]}], ids=str)


@KINDS
async def test_a_pong_behind_a_message_that_comes_slowly_is_waited_for(plain, options):
    async with throttled(plain, down=RATE) as port:
        async with connect(f"ws://127.0.0.1:{port}/", timeout=SECONDS, **options) as bot:
            await bot.send(str(SIZE))
            assert len(await bot.recv()) == SIZE
            await bot.send("5")
            assert await bot.recv() == bytes(5)


@KINDS
async def test_a_client_that_blocks_waits_for_it_too(plain, options):
    def talk(port):
        with connect(f"ws://127.0.0.1:{port}/", timeout=SECONDS, **options) as bot:
            bot.send(str(SIZE))
            return len(bot.recv())

    async with throttled(plain, down=RATE) as port:
        assert await asyncio.to_thread(talk, port) == SIZE


async def test_a_pong_behind_a_slow_message_is_no_break():
    changes = []
    with breaking_server() as server:
        async with throttled(server.port, down=RATE) as port:
            url = f"ws://127.0.0.1:{port}/bot"
            async with connect(url, timeout=SECONDS, on_state=changes.append) as bot:
                server.run(lambda: server.peers[0].say_bytes(bytes(SIZE)))
                assert len(await bot.recv()) == SIZE
        assert len(server.offers) == 1
    assert [change.event for change in changes] == ["closed"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what its system holds")
@KINDS
async def test_a_ping_behind_a_message_that_leaves_slowly_is_waited_for(plain, options):
    async with throttled(plain, up=RATE) as port:
        async with connect(f"ws://127.0.0.1:{port}/", timeout=SECONDS, **options) as bot:
            await bot.send(bytes(SIZE))
            assert await bot.recv() == str(SIZE)


@KINDS
async def test_while_nobody_takes_what_has_come_no_pong_is_missed(plain, options):
    """What is unread keeps the library from reading on, to the pong."""
    async with connect(f"ws://127.0.0.1:{plain}/", timeout=SECONDS, **options) as bot:
        for _ in range(100):
            await bot.send("1000")
        await asyncio.sleep(4 * PING)
        for _ in range(100):
            assert await bot.recv() == bytes(1000)
        await bot.send("5")
        assert await bot.recv() == bytes(5)
