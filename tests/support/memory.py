"""Connections without a network: a transport in memory, a clock that obeys, a visitor."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest

from jupyter_wshandler.config.model import FunctionSpec, Place, RouteConfig
from jupyter_wshandler.connection import Connection
from jupyter_wshandler.connection.observer import Observers
from jupyter_wshandler.connection.opening import Opening
from jupyter_wshandler.connection.request import Request
from jupyter_wshandler.engine.protocol import Protocol
from jupyter_wshandler.engine.shared import Frames
from jupyter_wshandler.functions.resolve import BoundCallback
from jupyter_wshandler.manager import WebSocketManager
from jupyter_wshandler.routes import Route, RouteTable
from jupyter_wshandler.transports.loop import LoopIO
from jupyter_wshandler.transports.queue import FrameQueue
from jupyter_wshandler.types import Callback, Outstanding, Receiver
from support import frames
from support.frames import BINARY, CLOSE, PING, PONG, TEXT

PLACE = Place("test")
_ids = itertools.count(1)

SECONDS = 10.0
"""How long a test waits for anything before it fails."""


async def until(condition: Callable[[], Any], what: str = "the condition") -> Any:
    """Return the condition's first true value; fail when it stays false."""
    deadline = time.monotonic() + SECONDS
    turns = 0
    while not (value := condition()):
        assert time.monotonic() < deadline, f"{what} did not come true within {SECONDS} s"
        turns += 1
        await asyncio.sleep(0 if turns < 200 else 0.002)
    return value


async def turns(count: int = 10) -> None:
    """Let everything run that can run without waiting for anything."""
    for _ in range(count):
        await asyncio.sleep(0)


class Gate:
    """Hold callbacks in threads until the test opens it; never for long."""

    def __init__(self) -> None:
        self._open = threading.Event()
        self.entered = 0

    def wait(self) -> None:
        self.entered += 1
        assert self._open.wait(SECONDS), "the test never opened the gate"

    def open(self) -> None:
        self._open.set()


@dataclass(frozen=True)
class Frame:
    """One frame of the server's."""

    opcode: int
    payload: bytes

    @property
    def text(self) -> str:
        assert self.opcode == TEXT, self
        return self.payload.decode()

    @property
    def message(self) -> str | bytes:
        return self.payload if self.opcode == BINARY else self.text

    @property
    def code(self) -> int:
        """The code of a close frame; 1005 where it has none."""
        assert self.opcode == CLOSE, self
        return int.from_bytes(self.payload[:2], "big") if self.payload else 1005

    @property
    def reason(self) -> str:
        assert self.opcode == CLOSE, self
        return self.payload[2:].decode()


def parse(data: bytes) -> list[Frame]:
    """Return the frames in what a server has sent; all must be whole and unmasked."""
    found, at = [], 0
    while at < len(data):
        first, size = data[at], data[at + 1]
        assert first & 0xF0 == 0x80, f"not one whole message: {first:#x}"
        assert size < 128, "a server never masks"
        at += 2
        if size == 126:
            size, at = int.from_bytes(data[at : at + 2], "big"), at + 2
        elif size == 127:
            size, at = int.from_bytes(data[at : at + 8], "big"), at + 8
        assert at + size <= len(data), "the stream ends inside a frame"
        found.append(Frame(first & 15, data[at : at + size]))
        at += size
    return found


class MemoryTransport:
    """Carry bytes to a list, as far as the peer takes them.

    Args:
        io: What the connections of the loop share.
        room: Bytes that the operating system takes before the peer reads; None for no end.

    Attributes:
        writes: Every chunk that left, as it left.
    """

    def __init__(self, io: LoopIO, room: int | None = None) -> None:
        self.io = io
        self.room = room
        self.writes: list[bytes] = []
        self.reading = False
        self.lost = False
        self.aborted = False
        self.ended = False
        self._receiver: Receiver | None = None
        self._queue = FrameQueue()
        self._in_batch = False
        self._closing = False
        self._unread: list[bytes] = []

    @property
    def queued_bytes(self) -> int:
        return self._queue.size

    @property
    def queued_frames(self) -> int:
        return len(self._queue)

    def outstanding(self) -> Outstanding:
        return Outstanding(self._queue.size, sum(map(len, self.writes)))

    def start(self, receiver: Receiver, early: bytes) -> None:
        self._receiver = receiver
        self.reading = True
        if early:
            receiver.data_received(early)

    def write(self, frame: bytes) -> None:
        assert isinstance(frame, bytes)
        if self.lost or self._closing or self.ended or not frame:
            return
        self._queue.append(frame)
        if not self.io.batching:
            self.flush()
        elif not self._in_batch:
            self._in_batch = True
            self.io.add(self)

    def write_all(self, frames: Frames) -> bool:
        for frame in frames.each:
            self.write(frame)
        return bool(self._queue.size)

    def seal(self) -> None:
        """Nothing goes by another way here."""

    def flush(self) -> None:
        self._in_batch = False
        while self._queue.size and (self.room is None or self.room > 0):
            chunk = bytes(self._queue.chunk()[: self.room])
            self._queue.sent(len(chunk))
            self.writes.append(chunk)
            if self.room is not None:
                self.room -= len(chunk)
        if self._closing and not self._queue.size:
            self.abort()

    def take(self, count: int | None = None) -> None:
        """Let the peer read: so many bytes more, or whatever comes from now on."""
        self.room = None if count is None or self.room is None else self.room + count
        self.flush()
        if self._receiver is not None and not self.lost:
            self._receiver.writing_resumed()

    def drop_oldest(self) -> int:
        return self._queue.drop_oldest()

    def fileno(self) -> int:
        return -1

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        if self.reading or self.lost:
            return
        self.reading = True
        while self.reading and self._unread:
            self.receive(self._unread.pop(0))

    def close(self) -> None:
        self._closing = True
        if not self._queue.size:
            self.abort()

    def end(self) -> None:
        self.ended = True
        self.resume_reading()

    def abort(self) -> None:
        if not self.lost:
            self.lost = self.aborted = True
            self._queue = FrameQueue()
            self.io.loop.call_soon(self._tell_lost)

    def _tell_lost(self) -> None:
        receiver, self._receiver = self._receiver, None
        assert receiver is not None, "connection_lost() is called once, after start()"
        receiver.connection_lost()

    # ---- the peer's side -------------------------------------------------------------------

    def receive(self, data: bytes) -> None:
        """Let bytes arrive; they wait while reading is paused."""
        if self.lost:
            return
        if not self.reading:
            self._unread.append(data)
        else:
            assert self._receiver is not None
            self._receiver.data_received(data)

    def vanish(self) -> None:
        """Let the peer end the stream without a word."""
        assert not self._unread, "these bytes would be lost"
        self.abort()

    @property
    def data(self) -> bytes:
        return b"".join(self.writes)


class Clock:
    """Be an event loop whose time is what the test says, for those who only look at it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, now: float = 1000.0) -> None:
        self._loop = loop
        self.now = now

    def time(self) -> float:
        return self.now

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)


class Host:
    """Stand for the manager: run callbacks never, and remember who was woken."""

    def __init__(self, *, now: float = 1000.0) -> None:
        self.clock = Clock(asyncio.get_running_loop(), now)
        self.io = LoopIO(self.clock)  # type: ignore[arg-type]
        self.log = logging.getLogger("test")
        self.observers = Observers(self.log)
        self.busy = False
        self.woken: list[Connection] = []
        self.touched: list[Any] = []
        self.rooms = SimpleNamespace(rooms_of=lambda connection: ())

    def wake(self, connection: Connection) -> None:
        self.woken.append(connection)

    def touch(self, session: Any) -> None:
        self.touched.append(session)


def bound(
    function: Callable[..., Any], event: str = "on_message", run: str = "thread"
) -> BoundCallback:
    """Return a function as a configuration would name it."""
    name = f"bot.{getattr(function, '__name__', event)}"
    return BoundCallback(FunctionSpec(function=name, place=PLACE), event, function, run)


def route(
    name: str = "bot",
    *,
    loop: tuple[str, ...] = (),
    options: dict[str, Any] | None = None,
    **functions: Callable[..., Any],
) -> Route:
    """Make a route of functions.

    Args:
        name: Its name.
        loop: Events whose ``def`` runs on the loop.
        options: Fields of its `RouteConfig`.
        functions: Its functions by event.
    """
    config = RouteConfig(name=name, pattern=f"/{name}", place=PLACE, **(options or {}))
    callbacks = {
        event: bound(function, event, "loop" if event in loop else config.run)
        for event, function in functions.items()
    }
    return Route(config, callbacks)


def running(connection: Connection) -> Callback | None:
    """Return the callback of a connection that runs now."""
    return None if connection.work is None else connection.work.callback


class Visitor:
    """Be the client of one connection.

    Args:
        host: Runs the callbacks: a `WebSocketManager` that has started, or a `Host`.
        route: The route to open.
        room: See `MemoryTransport`.
        options: Fields of its `Opening`.
    """

    def __init__(self, host: Any, route: Route, *, room: int | None = None, **options: Any) -> None:
        self.host = host
        self.transport = MemoryTransport(host.io, room)
        self.protocol = Protocol(max_message=route.config.max_message)
        opening = Opening(**{"request": Request(uri=route.config.pattern), **options})
        if isinstance(host, WebSocketManager):
            if host.table.get(route.name) is not route:
                others = [other for other in host.table if other.name != route.name]
                host.served.table = RouteTable([*others, route])
            self.connection = host.connection(route, opening)
        else:
            self.connection = Connection(host, route, opening, id=f"c{next(_ids)}")

    def open(self, early: bytes = b"") -> Visitor:
        if isinstance(self.host, WebSocketManager):
            self.host.open(self.connection, self.protocol, self.transport, early)
        else:
            self.connection.start(self.protocol, self.transport, early)
        return self

    def send(self, *messages: str | bytes) -> None:
        """Send messages, all in one chunk."""
        self.transport.receive(
            b"".join(
                frames.text(m) if isinstance(m, str) else frames.frame(BINARY, m) for m in messages
            )
        )

    def ping(self, payload: bytes = b"") -> None:
        self.transport.receive(frames.frame(PING, payload))

    def pong(self, payload: bytes = b"") -> None:
        self.transport.receive(frames.frame(PONG, payload))

    def close(self, code: int | None = 1000, reason: str = "") -> None:
        self.transport.receive(frames.close(code, reason))

    def vanish(self) -> None:
        self.transport.vanish()

    @property
    def frames(self) -> list[Frame]:
        """All frames that the server has sent."""
        return parse(self.transport.data)

    @property
    def messages(self) -> list[str | bytes]:
        """All messages among them."""
        return [f.message for f in self.frames if f.opcode in (TEXT, BINARY)]

    @property
    def goodbye(self) -> Frame | None:
        """The server's close frame."""
        return next((f for f in self.frames if f.opcode == CLOSE), None)

    async def received(self, *expected: str | bytes) -> None:
        """Wait for these messages to be all that came."""
        await until(lambda: len(self.messages) >= len(expected), f"{len(expected)} messages")
        assert self.messages == [*expected]

    async def closed_by_server(self) -> Frame:
        """Wait for the server's close frame, answer it and wait for the end."""
        goodbye = await until(lambda: self.goodbye, "a close frame")
        if not self.transport.lost:
            self.close(goodbye.code if goodbye.payload else None)
        await self.gone()
        return goodbye

    async def leave(self, code: int | None = 1000, reason: str = "") -> None:
        """Close as a browser does, and wait until the server has done everything."""
        self.close(code, reason)
        await self.gone()

    async def gone(self) -> None:
        """Wait until the connection's last callback has run."""
        await until(lambda: self.connection._finished and self.connection.work is None, "the end")


@contextlib.asynccontextmanager
async def running_manager(**options: Any) -> AsyncIterator[WebSocketManager]:
    """Start a manager and stop it at the end; no task of its own is left."""
    manager = WebSocketManager(**options)
    await manager.start()
    try:
        yield manager
    finally:
        await manager.stop(0.2)
        assert own_tasks() == []


def own_tasks() -> list[str]:
    """Return the names of the package's tasks that have not ended."""
    return [
        task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("wshandler")
    ]


def look_late(manager: WebSocketManager, visitor: Visitor, seconds: float = 3600.0) -> None:
    """Let the manager's clock look at a connection as if so much time had passed."""
    manager.runner.check(visitor.connection, asyncio.get_running_loop().time() + seconds)


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what was logged as a warning or worse."""
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
