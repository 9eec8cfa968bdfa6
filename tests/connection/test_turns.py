"""A callback that sends much leaves the event loop to others, too."""

from __future__ import annotations

import asyncio
import socket

import pytest
from support.memory import Visitor, route

from jupyter_wshandler.transports.direct import DirectTransport
from jupyter_wshandler.transports.loop import LoopIO

pytestmark = pytest.mark.timeout(60)

WRITES = 10_000


async def test_a_coroutine_that_only_awaits_its_writes_gives_others_their_turns(manager) -> None:
    async def flood(handler, message):
        for _ in range(WRITES):
            await handler.write_message("x")
        ended.set()

    async def others() -> None:
        nonlocal seen
        while not ended.is_set():
            seen += 1
            await asyncio.sleep(0)

    ended, seen = asyncio.Event(), 0
    beside = asyncio.create_task(others())
    visitor = Visitor(manager, route("flood", on_message=flood)).open()
    visitor.send("go")
    await beside
    assert seen > WRITES / 100


async def test_writing_to_a_socket_that_is_gone_costs_nothing_however_often() -> None:
    class Nobody:
        def data_received(self, data: bytes) -> None: ...
        def writing_resumed(self) -> None: ...
        def connection_lost(self) -> None:
            lost.set()

    lost = asyncio.Event()
    ours, theirs = socket.socketpair()
    loop = asyncio.get_running_loop()
    transport = DirectTransport(ours, LoopIO(loop))
    transport.start(Nobody(), b"")
    theirs.close()
    before = len(loop._ready)  # type: ignore[attr-defined]
    for _ in range(1000):
        transport.write(b"x")
    assert len(loop._ready) - before <= 1  # type: ignore[attr-defined]
    await asyncio.wait_for(lost.wait(), 10)
