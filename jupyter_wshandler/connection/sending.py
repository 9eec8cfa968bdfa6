"""The sending half of a connection: messages to frames, and a queue that never grows unbounded."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Generator
from threading import get_ident
from typing import Any, Protocol

from ..engine.payload import to_message
from ..engine.shared import SharedMessages
from ..errors import ConnectionClosed
from ..routes import Route
from ..types import CloseCode, Codec, Message, Sendable, Transport
from .crossing import PATIENCE, Crossing
from .familiar import Familiar
from .host import Host
from .line import Line
from .phase import CLOSING, OPEN, OPENING, PEER_CLOSED, Phase

TURN = 64
"""Awaited writes in a row after which others get a turn of the loop."""

_awaited = 0


class Sent:
    """What sending returns; to await it does not wait: the message has left, or has room.

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
    """What sending returns where the queue is full; to await it waits for room."""

    __slots__ = ("_half",)

    def __init__(self, half: SendingHalf) -> None:
        self._half = half

    def __await__(self) -> Generator[Any, None, None]:
        # First: what is not awaited in this turn falls to the route's policy.
        yield from self._half.wait_for_room().__await__()
        yield from super().__await__()


class Marking(Protocol):
    """What marks the answers of a connection; see `answers.Answers`."""

    line: Line | None


class SendingHalf(Familiar):
    """The half of a connection that sends: from any thread, in bounded memory.

    What the peer does not take waits in the transport's queue. Who awaits a write waits for room
    there, so that a generator goes at its reader's pace. Writes that nobody awaits fill the queue,
    and then the route's `queue: {slow:}` says what gives: the oldest messages, or the connection.
    That is decided two turns of the loop later, as only then it is known who awaits: a task that
    was made to await a write has begun by then.

    Args:
        host: Who runs the callbacks.
        route: The route, for its limits.
        id: Unique name of the connection.
    """

    __slots__ = (
        "_active",
        "_alive",
        "_answers",
        "_crossing",
        "_host",
        "_io",
        "_over",
        "_phase",
        "_protocol",
        "_route",
        "_transport",
        "_waiters",
        "close_code",
        "dropped",
        "id",
        "rate_limited",
    )

    def __init__(self, host: Host, route: Route, id: str) -> None:
        self._host = host
        self._io = host.io
        self._route = route
        self.id = id
        self.close_code: int | None = None
        self.dropped = 0
        self.rate_limited = 0  # received, but over the route's `ratelimit`
        self._protocol: Codec = None  # type: ignore[assignment] # set at the start
        self._transport: Transport = None  # type: ignore[assignment] # set at the start
        self._phase: Phase = OPENING
        # For a client that wants to know where an answer ends; see `breaks.OutlivingHalf.envelop`.
        self._answers: Marking | None = None
        self._alive = True  # since the last ping
        self._waiters: list[asyncio.Future[None]] | None = None
        self._crossing: Crossing | None = None
        self._over = 0
        self._active = True  # a message came or went since the clock last looked

    @property
    def entry(self) -> Route:
        """The route itself: its configuration and its functions; `route` is its name."""
        return self._route

    @property
    def phase(self) -> Phase:
        """How far the connection has come."""
        return self._phase

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
        if get_ident() != self._io.thread:
            if not OPEN <= self._phase <= PEER_CLOSED:
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
        if get_ident() != self._io.thread:
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
        crossing, queue = self._crossing or self._crossings(), self._route.config.queue
        if crossing.ended:
            raise ConnectionClosed(f"connection {self.id} is closing: its queue was full")
        # What waits already, unread by the client, is of the same queue.
        room = max(queue.bytes // 4, queue.bytes - self._transport.queued_bytes)
        entered = crossing.enter(size, queue.messages, room, PATIENCE)
        if not entered and queue.slow == "drop_oldest":
            crossing.drop()
            return
        if not entered:
            crossing.ended = True
            self._io.change_from_thread(
                self.end, CloseCode.TRY_AGAIN_LATER, "too slow: messages are waiting unsent"
            )
            raise ConnectionClosed(f"connection {self.id} is closing: its queue was full")
        try:
            if not OPEN <= self._phase <= PEER_CLOSED:
                self._check_open()  # it has closed while this thread waited
            self._io.send_from_thread(self._arrive, size, function, args)
        except ConnectionClosed:
            crossing.leave(size)
            raise

    def _arrive(self, size: int, function: Callable[..., object], args: tuple[Any, ...]) -> None:
        crossing = self._crossing or self._crossings()
        crossing.leave(size)
        if crossing.dropped:
            self.dropped, crossing.dropped = self.dropped + crossing.dropped, 0
        function(*args)

    @property
    def is_crossed(self) -> bool:
        """Whether the loop has still to take what threads have asked of this connection."""
        return self._crossing is not None and self._crossing.under_way

    async def all_crossed(self) -> None:
        """Wait until the loop has taken what threads have asked of this connection before."""
        if self.is_crossed:
            arrived = self._io.loop.create_future()
            self._io.call_from_thread(_set, arrived)
            await arrived

    def _check_open(self) -> None:
        if not OPEN <= self._phase <= PEER_CLOSED:
            code = f" ({self.close_code})" if self.close_code else ""
            raise ConnectionClosed(f"connection {self.id} is {self._phase.words}{code}")

    def deliver_said(self) -> None:
        """Send what was said in rooms until now, so that what is written next comes after it."""
        if self._io.pending:
            self._io.deliver_before(self)

    def _send(self, message: Message) -> Sent:
        if not OPEN <= self._phase <= PEER_CLOSED:
            self._check_open()
        if self._io.pending:
            self._io.deliver_before(self)
        transport = self._transport
        transport.write(self._protocol.encode(message))
        self._active = True
        observers = self._host.observers
        if observers.message_out:
            observers.tell(observers.message_out, self, message)
        if transport.queued_bytes:
            return self._queued()
        return SENT

    def write_shared(self, shared: SharedMessages) -> bool:
        """Send messages that others get, too; on the event loop.

        Args:
            shared: The messages, which are encoded once for all who read the same bytes.

        Returns:
            Whether it is open; otherwise nothing is sent.
        """
        phase = self._phase
        if phase is not OPEN and phase is not PEER_CLOSED:
            return False
        codec = self._protocol
        frames = shared.by_form.get(codec.form) or shared.frames(codec)
        waits = self._transport.write_all(frames)
        self._active = True
        observers = self._host.observers
        if observers.message_out:
            for message in shared.messages:
                observers.tell(observers.message_out, self, message)
        if waits:
            self._queued()
        return True

    def write_frame(self, frame: Any) -> None:
        """Send what is no message of a callback's, such as the end of an answer, if open.

        Args:
            frame: As the transport takes it.
        """
        self.deliver_said()
        if OPEN <= self._phase <= PEER_CLOSED:
            self._transport.write(frame)

    def make_room(self) -> Sent:
        """Apply the policy of the queue to what was written; return what waits for room."""
        if self._phase < CLOSING and self._transport.queued_bytes:
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
        self.rate_limited += 1
        if close:
            self.end(CloseCode.POLICY_VIOLATION, "over the rate limit of this route")
            return
        self._io.begin_batch()
        self._send_late(to_message(over_limit(wait)))

    def _full(self, factor: int = 1) -> bool:
        queue, transport = self._route.config.queue, self._transport
        if self._answers is not None and self._answers.line is not None:
            return self._answers.line.is_full(queue, factor)
        frames = transport.queued_frames
        # One message alone is never too much: max_message bounds what is sensible there.
        return frames > 1 and (
            frames > queue.messages * factor or transport.queued_bytes > queue.bytes * factor
        )

    def _is_stuffed(self) -> bool:
        """Return whether the queue is full, also after what a batch holds back has been sent."""
        if not self._full():
            return False
        if not self._io.batching:
            return True
        self._io.end_batch()
        self._io.begin_batch()
        return self._full()

    def _queued(self) -> Sent:
        if not self._is_stuffed():
            return SENT
        if not self._over:
            self._io.loop.call_soon(self._apply_policy_soon)
        self._over += 1
        if self._full(factor=2):
            self._apply_policy()
        return Queued(self)

    async def wait_for_room(self) -> None:
        """Wait until the queue has room again; what awaiting a write does.

        Raises:
            ConnectionClosed: The connection is closing or closed.
        """
        # This write is awaited, so it is not one that the policy must answer for.
        self._over = max(0, self._over - 1)
        if not self._full():
            return
        self._check_open()
        room = self._io.loop.create_future()
        if self._waiters is None:
            self._waiters = []
        self._waiters.append(room)
        await room
        self._check_open()

    def _apply_policy_soon(self) -> None:
        # Not in this turn: in it begins a task that was made to await the write (by gather, say),
        # and what is awaited does not fall to the policy.
        self._io.loop.call_soon(self._apply_policy)

    def _apply_policy(self) -> None:
        over, self._over = self._over, 0
        line = None if self._answers is None else self._answers.line
        if line is not None:
            line.forget_sent()
        if not over or self._phase not in (OPEN, PEER_CLOSED) or not self._full():
            return
        # Not for a compressed client that was there before a reload brought this: what is there
        # to drop is what later frames refer to.
        may_drop = line is not None or self._protocol.may_miss
        if may_drop and self._route.config.queue.slow == "drop_oldest":
            while self._full() and self._transport.drop_oldest():
                self.dropped += 1
            if line is None or not self._full():
                return
        what = "reads too slowly" if line is None or not line.is_away else "is away for too long"
        self._host.log.warning(
            "Route %s: %s %s; closing it", self._route.config.name, self.id, what
        )
        if line is not None:
            self.dropped += line.give_up_unsent()
        while line is None and self._transport.drop_oldest():
            self.dropped += 1
        self.end(CloseCode.TRY_AGAIN_LATER, "too slow: messages are waiting unread")

    def writing_resumed(self) -> None:
        """Wake those who wait for room in the queue; the peer is there, as it takes bytes."""
        if self._phase < CLOSING:  # see `Farewell.goes_on` for what comes then
            self._alive = True
        self.look_for_room()

    def look_for_room(self) -> None:
        """Wake those who wait for room in the queue, if there is some."""
        if self._waiters and not self._full():
            self._release_waiters()

    def _release_waiters(self) -> None:
        waiters, self._waiters = self._waiters or (), None
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def end(self, code: int, reason: str) -> None:
        """Begin the closing handshake; see `connection.Connection.end`."""
        raise NotImplementedError


def over_limit(wait: float) -> dict[str, object]:
    """Return what a client is told whose message was over the route's `ratelimit`.

    Args:
        wait: Seconds until it might pass.
    """
    return {"error": "ratelimit", "retry_after": round(wait + 0.0005, 3)}


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
