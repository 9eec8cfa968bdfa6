"""Python's garbage collections: connections give it little to walk, and no reason to."""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
import weakref
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from support.memory import until

from jupyter_wshandler.connection.connection import Connection
from jupyter_wshandler.connection.opening import Opening
from jupyter_wshandler.connection.request import Request
from jupyter_wshandler.engine.protocol import Protocol
from jupyter_wshandler.functions.namespace import route_at_hand
from jupyter_wshandler.manager import WebSocketManager
from jupyter_wshandler.manager.clock import REST
from jupyter_wshandler.server.records.ledger import Ledger
from jupyter_wshandler.transports.direct import DirectTransport
from jupyter_wshandler.types import Codec, Transport

OBJECTS = 18
"""Objects of one connection that the collector may have to walk, those of its client here included:
there are 16 on Python 3.11."""

GOODBYE = b"\x88\x82\0\0\0\0\x03\xe8"
MESSAGE = b"\x81\x81\0\0\0\0x"


@pytest.fixture
def soon_collected() -> Iterator[None]:
    """Let Python collect when it has 100 objects more than it had, and not some thousand."""
    threshold = gc.get_threshold()
    gc.set_threshold(100, *threshold[1:])
    yield
    gc.set_threshold(*threshold)


@pytest.fixture
def uncollected() -> Iterator[None]:
    """Let nothing be collected during a test."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


class Clients:
    """Clients of one route, each with a socket."""

    def __init__(self, manager: WebSocketManager, functions: dict[str, Any], **options: Any):
        self.manager = manager
        self.route = route_at_hand("/m", functions, {"ping_interval": False, **options})
        manager.served.put(self.route)
        self.sockets: list[socket.socket] = []
        self.connections: weakref.WeakSet[Connection] = weakref.WeakSet()

    def __enter__(self) -> Clients:
        return self

    def __exit__(self, *_: object) -> None:
        self.hang_up()

    async def open(self, count: int, speaks: str = "") -> None:
        for _ in range(count):
            number = len(self.sockets)
            user = SimpleNamespace(username=f"user{number}")
            connection = self.manager.connection(self.route, Opening(Request(), user))
            session = await self.manager.sessions.attach(f"session{number}", "user", new=True)
            connection.take_session(session)
            self.manager.admit(connection, user.username)
            ours, client = socket.socketpair()
            self.sockets.append(client)
            codec: Codec = Protocol(max_message=1000)
            transport: Transport = DirectTransport(ours, self.manager.io)
            if speaks == "wsh.v1":
                codec = connection.envelop(codec)
            elif speaks:
                codec, transport = connection.outlive(codec, transport, "secret", ("user",))
            self.connections.add(connection)
            self.manager.open(connection, codec, transport, b"")
        del connection, session, ours, codec, transport, user
        await until(lambda: all(c.has_opened for c in self.connections), "all are open")

    async def say(self, frame: bytes) -> None:
        for client in self.sockets:
            client.sendall(frame)
        await asyncio.sleep(0.02)

    def hang_up(self) -> None:
        for client in self.sockets:
            client.close()
        self.sockets.clear()


async def listens(handler: Any, message: str) -> None:
    """Say nothing."""


async def greets(handler: Any) -> None:
    """Need a context of the connection's own, once."""


async def test_many_quiet_connections_give_no_reason_for_a_collection(
    manager: WebSocketManager, soon_collected: None
) -> None:
    with Clients(manager, {"on_message": listens}) as clients:
        await clients.open(300)
        ledger = Ledger()
        for connection in clients.connections:
            ledger.opened(connection)
        now = asyncio.get_running_loop().time()
        gc.collect()
        before = [one["collections"] for one in gc.get_stats()]
        for turn in range(100):
            manager.clock.look_at_all(now + turn)
            manager.clock.let_rest(now + turn, lambda: now)
            assert sum(1 for _ in ledger.after(0.0)) == 300
        assert [one["collections"] for one in gc.get_stats()] == before


async def test_a_connection_that_listens_is_few_objects_to_the_collector(
    manager: WebSocketManager, uncollected: None
) -> None:
    with Clients(manager, {"on_message": listens, "open": greets}) as clients:
        await clients.open(1)
        before = len(gc.get_objects())
        await clients.open(100)
        # It has said something, then nothing for a while.
        later = asyncio.get_running_loop().time() + REST
        manager.clock.look_at_all(later)
        manager.clock.look_at_all(later + REST)
        manager.clock.let_rest(later + REST, lambda: later)
        each = (len(gc.get_objects()) - before) / 100
        print(f"{each:.1f} objects a connection")
        assert each < OBJECTS


async def fails(handler: Any, message: str) -> None:
    raise ValueError(message)


def fails_in_a_thread(handler: Any, message: str) -> None:
    raise ValueError(message)


async def works_on(handler: Any) -> None:
    handler.start_task(asyncio.sleep(1000))


async def streams(handler: Any, message: str) -> Any:
    yield "begun"
    await asyncio.sleep(1000)


@pytest.mark.parametrize("says_goodbye", [True, False], ids=["closed", "lost"])
@pytest.mark.parametrize(
    ("functions", "speaks", "options"),
    [
        ({"on_message": listens}, "", {}),
        ({"on_message": listens}, "", {"rooms": ["all"], "presence": True, "history": True}),
        ({"on_message": listens}, "wsh.v1", {"rooms": ["all"], "presence": True}),
        ({"on_message": listens}, "wsh.v1 that resumes", {"resume": {"window": "100ms"}}),
        ({"on_message": listens}, "", {"ratelimit": {"messages": "10/s", "bytes": "1MiB/s"}}),
        ({"on_message": listens, "open": works_on}, "", {}),
        ({"on_message": fails}, "", {}),
        ({"on_message": fails_in_a_thread}, "", {}),
        ({"on_message": streams}, "", {}),
    ],
    ids=["plain", "room", "v1", "resumes", "ratelimit", "task", "fails", "thread", "streams"],
)
async def test_a_connection_that_has_ended_is_freed_without_a_collection(
    manager: WebSocketManager,
    uncollected: None,
    functions: dict[str, Any],
    speaks: str,
    options: dict[str, Any],
    says_goodbye: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    # pytest keeps what is logged, and with an exception all that its traceback knows.
    caplog.set_level(logging.CRITICAL, "jupyter_wshandler")
    with Clients(manager, functions, **options) as clients:
        await clients.open(8, speaks)
        assert len(clients.connections) == 8
        if not speaks:
            await clients.say(MESSAGE)
        if says_goodbye:
            await clients.say(GOODBYE)
        clients.hang_up()
        # A thread may still have the last one in its hands: that is one for all.
        await until(lambda: len(clients.connections) <= 1, "they are freed")
        assert not manager.connections
