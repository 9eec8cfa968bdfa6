"""The sending half of a connection: messages to frames, and a queue that never grows unbounded."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Generator
from threading import get_ident
from typing import TYPE_CHECKING, Any, Protocol

from ..config.nodes import shorten
from ..engine.frames import MAX_REASON, may_travel
from ..engine.payload import to_message
from ..engine.texts import is_writable
from ..errors import ConnectionClosed
from ..transports.loop import LoopIO
from ..types import Callback, CloseCode, Codec, Message, Sendable, Transport
from .crossing import PATIENCE, Crossing
from .familiar import Familiar

if TYPE_CHECKING:
    from ..routes import Route
    from ..sessions.manager import Session
    from .connection import Connection

OPENING, OPEN, PEER_CLOSED, CLOSING, CLOSED, FORKED = range(6)
PHASES = (
    "opening",
    "open",
    "closed by the client",
    "closing",
    "closed",
    "the server's, and this process is a fork of it: send from the parent",
)


class Host(Protocol):
    """Run the callbacks of connections: the manager, or a test's stand-in for it."""

    io: LoopIO
    log: logging.Logger | logging.LoggerAdapter[Any]
    thread: int
    """Identity of the thread that the event loop runs in."""

    def wake(self, connection: Connection) -> None:
        """Run what waits on a connection, if nothing of it runs already."""

    def call_from_thread(self, function: Callable[..., object], *args: Any) -> None:
        """Call a function on the event loop, in the order of the calls."""

    def bind(self, connection: Connection, function: Callable[..., Any]) -> Callback:
        """Return a function of the user's as a callback of a connection's route."""

    def failed_beside(self, connection: Connection, label: str, error: BaseException) -> None:
        """Write what a task or a timer of a connection has raised, beside its callbacks."""

    def touch(self, session: Session) -> None:
        """Remember that a callback looked at a session, so that changes are saved."""


TURN = 64
"""Awaited writes in a row after which others get a turn of the loop."""

_awaited = 0


class Sent:
    """Be awaited without waiting: the message has left, or there is room for it.

    Now and then it takes a turn of the loop: a coroutine that does nothing but await its writes, to
    a client that reads as fast, would keep the loop to itself.
    """

    __slots__ = ()

    def __await__(self) -> Generator[Any, None, None]:
        global _awaited
        _awaited += 1
        if _awaited >= TURN:
            _awaited = 0
            yield


SENT = Sent()

_first_crossing = threading.Lock()


class Queued(Sent):
    """Wait, when awaited, until the connection's queue has room again."""

    __slots__ = ("_half",)

    def __init__(self, half: SendingHalf) -> None:
        self._half = half

    def __await__(self) -> Generator[Any, None, None]:
        # First: what is not awaited in this turn falls to the route's policy.
        yield from self._half._wait_for_room().__await__()
        yield from super().__await__()


class SendingHalf(Familiar):
    """Send messages on one connection, from any thread, in bounded memory.

    Args:
        host: Who runs the callbacks.
        route: The route, for its limits.
        id: Unique name of the connection.
    """

    __slots__ = (
        "_active",
        "_alive",
        "_crossing",
        "_host",
        "_over",
        "_phase",
        "_protocol",
        "_route",
        "_transport",
        "_waiters",
        "close_code",
        "dropped",
        "id",
        "refused",
    )

    def __init__(self, host: Host, route: Route, id: str) -> None:
        self._host = host
        self._route = route
        self.id = id
        self.close_code: int | None = None
        self.dropped = 0
        self.refused = 0  # received, but over the route's `ratelimit`
        self._protocol: Codec = None  # type: ignore[assignment] # set at the start
        self._transport: Transport = None  # type: ignore[assignment] # set at the start
        self._phase = OPENING
        self._alive = True  # since the last ping
        self._waiters: list[asyncio.Future[None]] | None = None
        self._crossing: Crossing | None = None
        self._over = 0
        self._active = True  # a message came or went since the clock last looked

    @property
    def closed(self) -> bool:
        """Whether nothing can be sent any more."""
        return self._phase >= CLOSING

    def write_message(self, message: Sendable, binary: bool | None = None) -> Sent:
        """Send one message; safe from any thread.

        The result may be ignored. Awaited on the event loop it waits until the connection's
        queue has room; ignored, a full queue is handled by the route's ``queue: {slow:}``. In a
        thread the call itself waits, 2 s at most, while a whole queue is on its way to the loop.

        Args:
            message: str goes out as text, bytes as binary, anything else that has a JSON form
                (`jsontext.to_json`) as its JSON text.
            binary: True or False forces the frame's type.

        Raises:
            ConnectionClosed: The connection is closing or closed.
            TypeError: The message is None, or holds what has no JSON form; says where.
            ValueError: The message contains itself.
            UnicodeEncodeError: The text holds lone surrogates, which UTF-8 cannot.
        """
        kind = type(message)
        if (kind is not str and kind is not bytes) or binary is not None:
            message = to_message(message, binary)
        if get_ident() != self._host.thread:
            self._check_open()
            size = len(message)  # type: ignore[arg-type] # str or bytes by now
            if type(message) is str and not message.isascii():
                # What cannot be sent is told to the caller, not to the loop.
                size = len(message.encode())
            self._cross(size, self._send_late, message)
            return SENT
        return self._send(message)  # type: ignore[arg-type]

    def write(self, *args: object) -> None:
        """Refuse: ``write`` answers HTTP requests; a WebSocket has ``write_message``.

        Raises:
            TypeError: Always.
        """
        raise TypeError("a WebSocket has no write(); use handler.write_message(message)")

    def ping(self, data: bytes | str = b"") -> None:
        """Send a ping; the answer reaches ``on_pong``.

        While the queue is full of what the peer has not taken, none is sent.

        Args:
            data: At most 125 bytes.

        Raises:
            ConnectionClosed: The connection is closing or closed.
            ValueError: The data is too long.
        """
        payload = data.encode() if isinstance(data, str) else bytes(data)
        if len(payload) > 125:
            raise ValueError(f"a ping carries at most 125 bytes, not {len(payload)}")
        self._check_open()
        if get_ident() != self._host.thread:
            self._cross(len(payload), self._ping, payload)
        else:
            self._ping(payload)

    def _crossings(self) -> Crossing:
        if self._crossing is None:
            with _first_crossing:
                if self._crossing is None:
                    self._crossing = Crossing()
        return self._crossing

    def _cross(self, size: int, function: Callable[..., object], *args: Any) -> None:
        """Call a function on the loop from a thread, which waits while too much is on its way.

        Raises:
            ConnectionClosed: It has closed meanwhile, or the loop was too slow for its route.
        """
        crossing, queue = self._crossings(), self._route.config.queue
        if crossing.ended:
            raise ConnectionClosed(f"connection {self.id} is closing: its queue was full")
        entered = crossing.enter(size, queue.messages, queue.bytes, PATIENCE)
        if not entered and queue.slow == "drop_oldest":
            crossing.drop()
            return
        if not entered:
            crossing.ended = True
            self._host.call_from_thread(
                self._close, CloseCode.TRY_AGAIN_LATER, "too slow: messages are waiting unsent"
            )
            raise ConnectionClosed(f"connection {self.id} is closing: its queue was full")
        try:
            self._check_open()  # it may have closed while this thread waited
            self._host.call_from_thread(self._arrive, size, function, args)
        except ConnectionClosed:
            crossing.leave(size)
            raise

    def _arrive(self, size: int, function: Callable[..., object], args: tuple[Any, ...]) -> None:
        crossing = self._crossings()
        crossing.leave(size)
        if crossing.dropped:
            self.dropped, crossing.dropped = self.dropped + crossing.dropped, 0
        function(*args)

    async def _all_arrived(self) -> None:
        """Wait until the loop has taken what threads have asked of this connection before."""
        if self._crossing is not None and self._crossing.under_way:
            arrived = self._host.io.loop.create_future()
            self._host.call_from_thread(_set, arrived)
            await arrived

    def _check_open(self) -> None:
        if not OPEN <= self._phase <= PEER_CLOSED:
            code = f" ({self.close_code})" if self.close_code else ""
            raise ConnectionClosed(f"connection {self.id} is {PHASES[self._phase]}{code}")

    def _send(self, message: Message) -> Sent:
        if not OPEN <= self._phase <= PEER_CLOSED:
            self._check_open()
        transport = self._transport
        transport.write(self._protocol.encode(message))
        self._active = True
        if transport.queued_bytes:
            return self._queued()
        return SENT

    def _send_late(self, message: Message) -> None:
        # From a thread: the connection may have closed since, and nobody is there to be told.
        if OPEN <= self._phase <= PEER_CLOSED:
            self._send(message)

    def _ping(self, payload: bytes) -> None:
        # One that would wait behind a full queue says nothing about the peer, and takes memory.
        if OPEN <= self._phase <= PEER_CLOSED and not self._is_stuffed():
            self._transport.write(self._protocol.encode_ping(payload))

    def _refuse(self, wait: float, close: bool) -> None:
        # Answers a message that was over the route's `ratelimit`.
        self.refused += 1
        if close:
            self._close(CloseCode.POLICY_VIOLATION, "over the rate limit of this route")
            return
        self._host.io.begin_batch()
        answer = {"error": "ratelimit", "retry_after": round(wait + 0.0005, 3)}
        self._send_late(to_message(answer))

    def _full(self, factor: int = 1) -> bool:
        queue, transport = self._route.config.queue, self._transport
        frames = transport.queued_frames
        # One message alone is never too much: max_message bounds what is sensible there.
        return frames > 1 and (
            frames > queue.messages * factor or transport.queued_bytes > queue.bytes * factor
        )

    def _is_stuffed(self) -> bool:
        """Return whether the queue is full, also after what a batch holds back has been sent."""
        if self._full() and self._host.io.batching:
            self._host.io.end_batch()
            self._host.io.begin_batch()
        return self._full()

    def _queued(self) -> Sent:
        if not self._is_stuffed():
            return SENT
        if not self._over:
            self._host.io.loop.call_soon(self._apply_policy_soon)
        self._over += 1
        if self._full(factor=2):
            self._apply_policy()
        return Queued(self)

    async def _wait_for_room(self) -> None:
        # This write is awaited, so it is not one that the policy must answer for.
        self._over = max(0, self._over - 1)
        if not self._full():
            return
        self._check_open()
        room = self._host.io.loop.create_future()
        if self._waiters is None:
            self._waiters = []
        self._waiters.append(room)
        await room
        self._check_open()

    def _apply_policy_soon(self) -> None:
        # A task that was made to await the write (by gather, say) begins in this turn.
        self._host.io.loop.call_soon(self._apply_policy)

    def _apply_policy(self) -> None:
        over, self._over = self._over, 0
        if not over or self._phase not in (OPEN, PEER_CLOSED) or not self._full():
            return
        if self._route.config.queue.slow == "drop_oldest":
            while self._full() and self._transport.drop_oldest():
                self.dropped += 1
            return
        self._host.log.warning(
            "Route %s: %s reads too slowly; closing it", self._route.config.name, self.id
        )
        while self._transport.drop_oldest():
            self.dropped += 1
        self._close(CloseCode.TRY_AGAIN_LATER, "too slow: messages are waiting unread")

    def writing_resumed(self) -> None:
        """Wake those who wait for room in the queue; the peer is there, as it takes bytes."""
        self._alive = True
        if self._waiters and not self._full():
            self._release_waiters()

    def _release_waiters(self) -> None:
        waiters, self._waiters = self._waiters or (), None
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _close(self, code: int, reason: str) -> None:
        raise NotImplementedError


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def check_close(code: int, reason: str) -> None:
    """Refuse a close code that may not be sent, or a reason that is too long.

    Raises:
        TypeError: The code is no int, or the reason no str.
        ValueError: With what is allowed (RFC 6455 sections 5.5 and 7.4).
    """
    if isinstance(code, bool) or not isinstance(code, int):
        raise TypeError(f"close code: expected an int such as 1000, found {code!r:.60}")
    if not isinstance(reason, str):
        raise TypeError(f"close reason: expected a str, found {reason!r:.60}")
    if not may_travel(code):
        raise ValueError(
            f"close code {code} may not be sent; use 1000 to 1003, 1007 to 1014 or 3000 to 4999"
        )
    if not is_writable(reason):
        raise ValueError(
            f"close reason: expected text that UTF-8 can write, found {shorten(reason)}"
        )
    size = len(reason.encode())
    if size > MAX_REASON:
        raise ValueError(f"a close reason has at most {MAX_REASON} bytes, found {size}")
