"""Rooms whose members have sockets of their own: what is said goes there at once, and in order."""

from __future__ import annotations

import asyncio
import socket
import zlib
from types import SimpleNamespace
from typing import Any

import pytest

from jupyter_wshandler.connection.connection import Connection
from jupyter_wshandler.connection.observer import Observer
from jupyter_wshandler.connection.opening import Opening
from jupyter_wshandler.connection.request import Request
from jupyter_wshandler.engine.deflate import SHORT, PerMessageDeflate
from jupyter_wshandler.engine.protocol import Protocol
from jupyter_wshandler.engine.shared import MANY
from jupyter_wshandler.functions.namespace import route_at_hand
from jupyter_wshandler.manager import WebSocketManager
from jupyter_wshandler.transports.direct import DirectTransport

GOODBYE = b"\x88\x02\x03\xe8"


async def on_message(handler: Any, message: str) -> None:
    """Say nothing."""


class Members:
    """Connections that are in one room, with socket pairs; clients read when they are asked to."""

    def __init__(self, manager: WebSocketManager, **options: Any) -> None:
        self.manager = manager
        options = {"rooms": ["hall"], "ping_interval": False, **options}
        self.route = route_at_hand("/m", {"on_message": on_message}, options)
        manager.served.put(self.route)
        self.clients: dict[Connection, socket.socket] = {}

    async def open(self, deflate: PerMessageDeflate | None = None) -> Connection:
        opening = Opening(Request(), current_user=SimpleNamespace(username="ada"))
        connection = self.manager.connection(self.route, opening)
        ours, self.clients[connection] = socket.socketpair()
        self.clients[connection].setblocking(False)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        transport = DirectTransport(ours, self.manager.io)
        protocol = Protocol(max_message=1000, deflate=deflate)
        self.manager.open(connection, protocol, transport, b"")
        await asyncio.sleep(0)
        return connection

    def read(self, connection: Connection) -> bytes:
        """Return what a client finds now."""
        data = bytearray()
        try:
            while chunk := self.clients[connection].recv(1 << 20):
                data += chunk
        except BlockingIOError:
            pass
        return bytes(data)

    def end(self) -> None:
        for client in self.clients.values():
            client.close()


def framed(*texts: str) -> bytes:
    return b"".join(Protocol(max_message=0).encode(text) for text in texts)


async def test_all_get_what_is_said_and_who_says_it_can_be_left_out(
    manager: WebSocketManager,
) -> None:
    members = Members(manager)
    one, two, three = [await members.open() for _ in range(3)]
    published = one.broadcast("a"), two.broadcast("b", exclude_self=True), one.broadcast("c")
    assert [(await each).delivered for each in published] == [3, 2, 3]
    assert members.read(one) == framed("a", "b", "c")
    assert members.read(two) == framed("a", "c")
    assert members.read(three) == framed("a", "b", "c")
    members.end()


async def test_what_was_written_to_a_member_before_comes_before(manager: WebSocketManager) -> None:
    members = Members(manager)
    one, two = [await members.open() for _ in range(2)]
    manager.io.begin_batch()
    one.write_message("first")
    published = one.broadcast("second")
    one.write_message("third")
    await published
    await asyncio.sleep(0)
    assert members.read(one) == framed("first", "second", "third")
    assert members.read(two) == framed("second")
    members.end()


async def test_nothing_follows_the_close_frame_of_a_member(manager: WebSocketManager) -> None:
    members = Members(manager)
    one, two = [await members.open() for _ in range(2)]
    one.close()
    assert (await two.broadcast("late")).delivered == 1
    assert members.read(one) == GOODBYE
    assert members.read(two) == framed("late")
    members.end()


async def test_one_who_has_gone_is_not_counted_and_costs_nobody_a_message(
    manager: WebSocketManager,
) -> None:
    members = Members(manager)
    gone, stays = [await members.open() for _ in range(2)]
    members.clients[gone].close()
    delivered = [(await stays.broadcast(str(number))).delivered for number in range(3)]
    assert delivered[1:] == [1, 1]
    assert members.read(stays) == framed("0", "1", "2")
    members.end()


async def test_who_reads_slowly_gets_all_in_order_and_nobody_waits_for_it(
    manager: WebSocketManager,
) -> None:
    members = Members(manager, queue={"messages": 10_000})
    slow, quick = [await members.open() for _ in range(2)]
    texts = [f"{number} " + 1000 * "x" for number in range(300)]
    got = bytearray()
    for text in texts:
        assert (await quick.broadcast(text)).delivered == 2
        got += members.read(quick)
    assert got == framed(*texts)
    late = bytearray()
    async with asyncio.timeout(30):
        while len(late) < len(got):
            late += members.read(slow)
            await asyncio.sleep(0)
    assert late == framed(*texts)
    # And it is one of those again who are sent things at once.
    assert (await quick.broadcast("after")).delivered == 2
    assert members.read(slow) == framed("after")
    members.end()


async def test_who_reads_too_slowly_is_dealt_with_as_the_route_says(
    manager: WebSocketManager,
) -> None:
    members = Members(manager, queue={"messages": 5, "slow": "close"})
    slow, quick = [await members.open() for _ in range(2)]
    text = 3000 * "x"
    async with asyncio.timeout(30):
        while not slow.closed:
            await quick.broadcast(text)
            members.read(quick)
            await asyncio.sleep(0)
    assert slow.close_code == 1013
    assert (await quick.broadcast("on")).delivered == 1
    members.end()


async def test_what_one_turn_says_may_be_too_much_by_itself(manager: WebSocketManager) -> None:
    members = Members(manager, queue={"messages": 5, "slow": "close"})
    slow = await members.open()
    for _ in range(20):
        slow.broadcast(3000 * "x")
    async with asyncio.timeout(30):
        while not slow.closed:
            await asyncio.sleep(0)
    assert slow.close_code == 1013
    members.end()


async def test_members_that_read_in_other_ways_get_the_same(manager: WebSocketManager) -> None:
    members = Members(manager)
    plain = await members.open()
    packed = await members.open(PerMessageDeflate())
    text = 100 * "hello "
    assert (await plain.broadcast(text)).delivered == 2
    assert members.read(plain) == framed(text)
    first, size, *_ = found = members.read(packed)
    assert first == 0xC1  # a whole text, compressed (RFC 7692 section 6)
    inflater = zlib.decompressobj(wbits=-15)
    assert inflater.decompress(found[2 : 2 + size] + b"\0\0\xff\xff") == text.encode()
    members.end()


@pytest.mark.parametrize("count", [2, MANY + 2])
@pytest.mark.parametrize("size", [10, SHORT])
async def test_what_a_compressed_member_is_sent_alone_and_with_all_can_be_read(
    manager: WebSocketManager, count: int, size: int
) -> None:
    """Both refer to what was sent before: to forget what went to all would garble what follows."""
    members = Members(manager)
    everyone = [await members.open(PerMessageDeflate()) for _ in range(count)]
    alone = [f"only for {number} " * size for number in range(count)]
    inflaters = {member: zlib.decompressobj(wbits=-15) for member in everyone}
    for text in ("to all " * size, "again " * size):
        for member, own in zip(everyone[::2], alone[::2], strict=True):
            member.write_message(own)
        await everyone[0].broadcast(text)
        for member, own in zip(everyone, alone, strict=True):
            member.write_message(own)
        for number, member in enumerate(everyone):
            got = [
                inflaters[member].decompress(payload + b"\0\0\xff\xff").decode()
                for payload in payloads(members.read(member))
            ]
            before = [alone[number]] if number % 2 == 0 else []
            assert got == [*before, text, alone[number]]
    for member in everyone:
        member.leave("hall")
    await asyncio.sleep(0)
    await everyone[0].broadcast("nobody hears", room="hall")
    assert [members.read(member) for member in everyone] == [b""] * count
    members.end()


def payloads(data: bytes) -> list[bytes]:
    """Return the payloads of frames that are compressed texts."""
    found, at = [], 0
    while at < len(data):
        assert data[at] == 0xC1
        size, at = data[at + 1], at + 2
        if size == 126:
            size, at = int.from_bytes(data[at : at + 2], "big"), at + 2
        found.append(data[at : at + size])
        at += size
    return found


async def test_an_observer_hears_of_each_message_to_each_member(manager: WebSocketManager) -> None:
    class Listener(Observer):
        def message_out(self, connection: Any, message: Any) -> None:
            heard.append((connection.id, message))

    heard: list[tuple[str, Any]] = []
    members = Members(manager)
    one, two = [await members.open() for _ in range(2)]
    manager.observers.add(Listener())
    assert (await one.broadcast("x")).delivered == 2
    assert sorted(heard) == sorted([(one.id, "x"), (two.id, "x")])
    members.end()


async def test_a_member_that_is_only_sent_things_is_not_idle(manager: WebSocketManager) -> None:
    members = Members(manager, idle_timeout=60)
    one, two = [await members.open() for _ in range(2)]
    start = manager.io.loop.time()
    for each in one, two:
        each.tick(start)
    await one.broadcast("x")
    for each in one, two:
        each.tick(start + 59)
        each.tick(start + 100)
        assert not each.closed
        each.tick(start + 120)
        assert each.closed
    members.end()


async def test_who_has_left_gets_nothing_and_nothing_stays(manager: WebSocketManager) -> None:
    members = Members(manager)
    one, two = [await members.open() for _ in range(2)]
    one.leave("hall")
    assert (await two.broadcast("x")).delivered == 1
    assert members.read(one) == b""
    two.leave("hall")
    one.join("hall")
    await asyncio.sleep(0)
    assert (await two.broadcast("y", room="hall")).delivered == 1
    assert members.read(one) == framed("y")
    assert members.read(two) == framed("x")
    members.end()
