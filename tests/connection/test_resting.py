"""Idle connections give away what compression needs, each once and none at the cost of others."""

from __future__ import annotations

import asyncio
import random
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from support.frames import TEXT, frame
from support.memory import Host, Visitor, route, running_manager, until

from jupyter_wshandler.connection.connection import REST
from jupyter_wshandler.engine.deflate import PerMessageDeflate
from jupyter_wshandler.engine.protocol import Protocol
from jupyter_wshandler.manager.clock import RESTS

LONG = "".join(random.Random(0).choices("abcdefgh ", k=5000))


async def echo(handler: Any, message: str) -> str:
    return message


def visitor(host: Any, deflate: bool = True) -> Visitor:
    """Open a connection that has been sent much."""
    one = Visitor(host, route(on_message=echo))
    one.protocol = Protocol(max_message=0, deflate=PerMessageDeflate() if deflate else None)
    one.open()
    one.connection.write_message(LONG)
    return one


def last_frame(of: Visitor) -> int:
    """Return the size of what was sent last."""
    return len(of.transport.writes[-1])


async def test_a_connection_rests_when_nothing_came_or_went_for_a_while_and_goes_on() -> None:
    host = Host()
    one = visitor(host)
    connection, begun = one.connection, host.clock.now
    connection.tick(begun)
    assert not connection.rest(begun + REST - 0.1)
    one.connection.write_message(LONG)
    assert last_frame(one) < 100  # it refers to the one before
    assert not connection.rest(begun + REST)  # nobody has looked since
    connection.tick(begun + REST)
    assert not connection.rest(begun + REST + 1)
    assert connection.rest(begun + 2 * REST)
    assert not connection.rest(begun + 2 * REST)
    one.connection.write_message(LONG)
    assert last_frame(one) > 1000


async def test_a_connection_without_compression_has_nothing_to_give_away() -> None:
    host = Host()
    one = visitor(host, deflate=False)
    one.connection.tick(host.clock.now)
    assert not one.connection.rest(host.clock.now + 2 * REST)


async def test_of_many_that_rest_at_once_some_wait_for_the_next_look_and_none_is_missed() -> None:
    async with running_manager() as manager:
        visitors = [visitor(manager) for _ in range(12)]
        now = asyncio.get_running_loop().time() + 10 * REST
        looks, again = 0, now
        while again == now:
            times = iter(range(100))
            for one in visitors:
                one.connection.tick(now - 2 * REST)
            again = manager.clock.let_rest(now, lambda times=times: next(times) * RESTS / 4)
            looks += 1
        assert looks == 4  # four in each, and one look that found nothing left to do
        assert again > now
        assert not any(one.connection.rest(now) for one in visitors)


async def test_one_that_cannot_rest_is_ended_and_the_others_rest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with running_manager() as manager:
        bad, good = visitor(manager), visitor(manager)
        now = asyncio.get_running_loop().time() + 10 * REST
        for one in (bad, good):
            one.connection.tick(now - 2 * REST)
        broken = raiser(MemoryError())
        monkeypatch.setattr(PerMessageDeflate, "rest", once(broken, PerMessageDeflate.rest))
        manager.clock.let_rest(now, lambda: 0.0)
        await until(lambda: bad.connection.id not in manager.connections)
        assert good.connection.id in manager.connections
        assert not good.connection.rest(now)


def raiser(error: Exception) -> Callable[..., bool]:
    def fails(*args: Any) -> bool:
        raise error

    return fails


def once(first: Callable[..., bool], then: Callable[..., bool]) -> Callable[..., bool]:
    """Return a method that is the first function once, and the other one ever after."""
    calls = iter([first])
    return lambda *args: next(calls, then)(*args)


async def test_what_comes_after_a_rest_is_read_with_what_came_before() -> None:
    async with running_manager() as manager:
        packer = zlib.compressobj(wbits=-15)

        def say(message: str) -> bytes:
            packed = packer.compress(message.encode()) + packer.flush(zlib.Z_SYNC_FLUSH)
            return frame(TEXT, packed[:-4], rsv=4)

        got: list[str] = []

        async def keep(handler: Any, message: str) -> None:
            got.append(message)

        one = Visitor(manager, route("kept", on_message=keep))
        one.protocol = Protocol(max_message=0, deflate=PerMessageDeflate())
        one.open()
        one.transport.receive(say(LONG))
        await until(lambda: got == [LONG])
        now = asyncio.get_running_loop().time()
        one.connection.tick(now)
        assert one.connection.rest(now + REST)
        again = say(LONG)
        assert len(again) < 100
        one.transport.receive(again)
        await until(lambda: got == [LONG, LONG])
