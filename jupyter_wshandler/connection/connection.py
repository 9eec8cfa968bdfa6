"""One open WebSocket: what a callback receives as `handler`.

A connection knows a codec (what is read to events), a transport (a carrier of frames) and a
host (who runs its callbacks). It does not know Tornado, so a test or a kernel can have one too.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from sys import getsizeof
from threading import get_ident
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ..engine.chat import ChatCodec
from ..engine.protocol import FAILED, Close, Event, Failure, Pong, reply_code
from ..transports.reset import was_reset
from ..types import Callback, CloseCode, Codec, Message, Question, Transport
from .answers import Answers
from .background import Timer
from .face import Handler
from .request import Request
from .sending import CLOSED, CLOSING, OPEN, OPENING, PEER_CLOSED, PHASES, Host, check_close

if TYPE_CHECKING:
    from ..limits.connections import Seat
    from ..limits.rates import Meter
    from ..routes import Route
    from ..sessions.manager import Session

INBOX = 64
"""Messages that wait for the callback before reading pauses."""

INBOX_BYTES = 1024 * 1024
"""Bytes of memory in them, decompressed, and in the message that a callback is handling, before
reading pauses. One message is always taken, whatever the route's `max_message` allows it."""

LIGHT = INBOX_BYTES // INBOX
"""Bytes of a message up to which only its number counts: as many as may wait fit in anyway."""

CLOSE_TIMEOUT = 5.0
"""Seconds for the peer to answer a close frame, and for callbacks to finish after its own."""

LINGER = 2.0
"""Seconds for a peer that broke the protocol to answer our close frame. One that still sends has
not seen it yet, and has `CLOSE_TIMEOUT` from its last bytes on."""

LINGER_AT_MOST = 30.0
"""Seconds for which a peer is read on that goes on sending after our close frame."""

LINGER_BYTES = 256 * 1024 * 1024
"""Bytes that it may send meanwhile; nothing of them is kept."""


def _weight(question: Question) -> int:
    """Return the bytes of memory that a message with an id counts for; its frame is kept, too."""
    heavy = len(question.frame) > LIGHT
    return getsizeof(question.text) + getsizeof(question.frame) if heavy else 0


class Connection(Handler):
    """Be one open WebSocket, and the `handler` that callbacks receive.

    Args:
        host: Who runs the callbacks.
        route: The route that was matched.
        id: Unique name of the connection.
        request: The opening request.
        current_user: The user as the server's identity provider knows them, or None.
        session: What survives reconnects.
        path_args: Groups of the pattern, by position.
        path_kwargs: Groups of the pattern, by name.
    """

    __slots__ = (
        "__weakref__",
        "_answers",
        "_cancel_reason",
        "_cancelled_at",
        "_credential",
        "_deadline",
        "_discard",
        "_finished",
        "_going_on",
        "_home",
        "_in_hand",
        "_inbox",
        "_last_message",
        "_leftover",
        "_meter",
        "_next_ping",
        "_opened",
        "_owner",
        "_patience",
        "_paused",
        "_ping_deadline",
        "_running",
        "_seat",
        "_since",
        "_streaming",
        "_task",
        "_waiting_size",
        "unhandled",
    )

    def __init__(
        self,
        host: Host,
        route: Route,
        *,
        id: str,
        request: Request,
        current_user: Any = None,
        session: Session | None = None,
        path_args: tuple[str, ...] = (),
        path_kwargs: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        super().__init__(
            host,
            route,
            id,
            request=request,
            current_user=current_user,
            session=session,
            path_args=path_args,
            path_kwargs=path_kwargs,
        )
        # Names, as a digest, what proved the identity of the client; see server/access/recheck.py.
        self._credential: str | None = None
        # The route's limits; see limits.py and rates.py.
        self._seat: Seat | None = None
        self._meter: Meter | None = None
        self._inbox: deque[Message | Question | Pong | Timer] = deque()
        self._waiting_size = 0  # bytes of the heavy messages that wait or are being handled
        self._in_hand = 0  # of the one that is being handled
        self._paused = False
        self._going_on = False  # what was read is gone on with in the next turn of the loop
        self._discard = False  # we closed: what still arrives is not delivered
        self._deadline = 0.0
        # After our close frame: see `_linger`.
        self._patience = 0.0  # until when a peer that still sends is read on
        self._leftover = 0  # bytes that it has sent meanwhile
        # Keepalive
        self._next_ping = 0.0
        self._ping_deadline = 0.0
        self._last_message = 0.0
        # The callbacks, driven by callbacks/run.py
        self._task: asyncio.Task[None] | None = None
        self._opened = False
        self._finished = False
        self._running: Callback | None = None
        self._since = 0.0
        self._streaming = False
        self._owner: Any = None  # for whom its calls in threads count
        self._home: Any = None  # the thread that they keep to
        self._cancel_reason: str | None = None
        self._cancelled_at = 0.0
        self.unhandled = 0  # arrived, and dropped when the connection was lost
        # For a client that wants to know where an answer ends; see `envelop`.
        self._answers: Answers | None = None

    def __repr__(self) -> str:
        return f"<Connection {self.id} of route {self.route!r}, {PHASES[self._phase]}>"

    # ---- what a callback does -----------------------------------------------------------

    def deliver(self, timer: Timer) -> None:
        """Put a turn of a timer in line with the messages."""
        if self._phase == OPEN and not self._discard:
            self._inbox.append(timer)
            self._host.wake(self)

    def close(self, code: int | None = None, reason: str | None = None) -> None:
        """Begin the closing handshake; safe from any thread, and again without effect.

        Args:
            code: Close code, 1000 where None; yours are 3000 to 4999 (RFC 6455 section 7.4.2).
            reason: At most 123 bytes of UTF-8.

        Raises:
            ValueError: The code may not be sent, or the reason is too long.
        """
        code = CloseCode.NORMAL if code is None else code
        check_close(code, reason or "")
        if get_ident() != self._host.thread:
            crossing = self._crossings()
            if not crossing.closing:
                crossing.closing = True
                self._host.call_from_thread(self._close_late, code, reason or "")
        else:
            self._close(code, reason or "")

    def _close_late(self, code: int, reason: str) -> None:
        self._crossings().closing = False
        self._close(code, reason)

    def _close(self, code: int, reason: str) -> None:
        if not OPEN <= self._phase <= PEER_CLOSED:
            return
        self._discard = True
        self._drop_inbox()
        answered = self._phase == PEER_CLOSED
        if answered and self._protocol.state == FAILED:
            self._give_up()
            return
        if not answered:
            self.close_code, self.close_reason = int(code), reason
        self._transport.write(self._protocol.encode_close(code, reason))
        self._phase = CLOSING
        if self._crossing is not None:
            self._crossing.end()
        now = self._host.io.loop.time()
        self._deadline, self._patience = now + CLOSE_TIMEOUT, now + LINGER_AT_MOST
        self._alive = False
        if answered:
            self._transport.close()
        elif self._paused:
            # The peer's close frame may stand behind messages that nobody wants any more.
            self._resume()

    # ---- the byte stream ------------------------------------------------------------------

    def start(self, protocol: Codec, transport: Transport, early: Any) -> None:
        """Begin: run `open`, then deliver what arrives.

        Args:
            protocol: Turns what is read into events.
            transport: Carries the frames.
            early: What arrived behind the handshake.
        """
        self._protocol, self._transport = protocol, transport
        self._phase = OPEN
        self._next_ping = self._host.io.loop.time() + self._route.config.ping_interval
        self._host.wake(self)
        transport.start(self, early)

    def envelop(self, codec: Codec) -> Codec:
        """Return a codec around another that speaks `engine.chat`; called before `start`."""
        chat = ChatCodec(codec)
        self._answers = chat.stopper = Answers(self, chat)
        return chat

    def _skip(self, question: Question) -> None:
        """Take a message from the inbox that nobody wants an answer to any more."""
        self._inbox.remove(question)
        self._waiting_size -= _weight(question)

    def data_received(self, data: Any) -> None:
        """Handle one chunk from the peer."""
        self._alive = True
        protocol = self._protocol
        inbox = self._inbox
        events = protocol.receive(data, INBOX - len(inbox), INBOX_BYTES - self._waiting_size)
        if protocol.out and protocol.state != FAILED:
            self._answer_pings()
        if self._meter is not None and not self._discard:
            events = self._within_limits(events, self._meter)
        for event in events:
            if type(event) is str or type(event) is bytes:
                self._active = True
                if not self._discard:
                    inbox.append(event)
                    if len(event) > LIGHT:
                        self._waiting_size += getsizeof(event)
            else:
                self._control(event)
        if not events and self._phase == CLOSING:
            self._take_leftover(data)
        full = len(inbox) >= INBOX or self._waiting_size >= INBOX_BYTES
        if full and self._phase == CLOSING:
            full = False  # what still comes is not kept
        if (protocol.pending or full) and not self._paused:
            self._paused = True
            self._transport.pause_reading()
        if protocol.pending and not full and not self._going_on:
            # Others get a turn; what takes messages from the inbox need not come by for this.
            self._going_on = True
            self._host.io.loop.call_soon(self._go_on)
        if inbox and self._task is None:
            self._host.wake(self)

    def _answer_pings(self) -> None:
        """Send the pongs that wait, but to a peer that sends too many pings or reads no answers."""
        protocol, meter = self._protocol, self._meter
        count, protocol.pings = protocol.pings, 0
        within = meter is None or meter.take_control(self._host.io.loop.time(), count)
        if within and not self._full():
            self._transport.write(protocol.outgoing())
            return
        protocol.out.clear()
        if not within:
            self._refuse_control(count)

    def _within_limits(
        self, events: list[Event | Question], meter: Meter
    ) -> list[Event | Question]:
        """Return the events without the messages and pongs over the route's `ratelimit`."""
        now = self._host.io.loop.time()
        pongs = sum(type(event) is Pong for event in events)
        if pongs and not meter.take_control(now, pongs):
            events = [event for event in events if type(event) is not Pong]
            self._refuse_control(pongs)
        kept, waits = meter.sift(events, now)
        for wait in waits:
            self._refuse(wait, meter.closes)
        if waits and self._answers is not None:
            for event in events:
                if type(event) is Question and event not in kept:
                    self._answers.end(event.number, "refused")
        return kept

    def _refuse_control(self, count: int) -> None:
        # Pings and pongs over the route's `ratelimit` get no answer: there would be too many.
        self.refused += count
        if self._meter is not None and self._meter.closes:
            self._close(CloseCode.POLICY_VIOLATION, "over the rate limit of this route")

    def _go_on(self) -> None:
        """Parse on in what was read, in a turn of the loop of its own."""
        self._going_on = False
        if self._paused and self._phase != CLOSED:
            self._resume()

    def _control(self, event: Event | Question) -> None:
        if type(event) is Question:
            self._active = True
            if not self._discard:
                self._inbox.append(event)
                self._waiting_size += _weight(event)
        elif type(event) is Pong:
            # Pongs that nobody asked for must not fill the inbox beyond its size.
            wanted = "on_pong" in self._route.callbacks and len(self._inbox) < INBOX
            if wanted and not self._discard:
                self._inbox.append(event)
        elif type(event) is Close:
            if self._phase == OPEN:
                self.close_code, self.close_reason = event.code, event.reason
                self._phase = PEER_CLOSED
                self._deadline = self._host.io.loop.time() + CLOSE_TIMEOUT
                if self._task is None and not self._inbox:
                    self.settle()
                elif self._streaming:
                    self.cancel("closed")
            else:
                self._transport.close()
        elif type(event) is Failure:
            if self._phase < CLOSING:
                self.close_code, self.close_reason = event.code, event.reason
                self._host.log.info(
                    "Route %s: %s broke the protocol: %s (%d)",
                    self.route,
                    self.id,
                    event.reason,
                    event.code,
                )
            self._deadline = self._host.io.loop.time() + CLOSE_TIMEOUT
            if self._phase == OPEN and (self._inbox or self._task is not None):
                # What came before the violation is answered first, then comes the close frame.
                self._phase = PEER_CLOSED
            else:
                self._give_up()

    def settle(self) -> None:
        """Answer the peer's close frame, if it waits for that: all its messages are handled."""
        if self._phase == PEER_CLOSED and self._protocol.state == FAILED:
            self._give_up()
        elif self._phase == PEER_CLOSED:
            assert self.close_code is not None
            self._transport.write(self._protocol.encode_close(reply_code(self.close_code)))
            self._phase = CLOSING
            self._deadline = self._host.io.loop.time() + CLOSE_TIMEOUT
            self._transport.close()

    def _give_up(self) -> None:
        """Send the close frame for a violation, and read on until the peer has answered it.

        To end the stream at once would destroy the frame on its way to a peer that still sends,
        most of all behind a proxy; see `transports.direct.DirectTransport.end`.
        """
        self._transport.write(self._protocol.outgoing())
        self._phase = CLOSING
        if self._protocol.answered:
            self._transport.close()
            return
        now = self._host.io.loop.time()
        self._deadline = now + LINGER
        if not self._patience:
            self._patience = now + LINGER_AT_MOST
        if self._protocol.answered is False:
            self._patience = 0.0
        self._linger()
        self._alive = self._paused = False
        self._transport.end()

    def _linger(self) -> None:
        """Give the place in the route's limits back: the client may come again meanwhile."""
        if self._seat is not None:
            self._seat.linger(self._host.io.loop.time())

    def _take_leftover(self, data: Any) -> None:
        """Drop what comes after our close frame; it ends with the peer's, or where it is much."""
        self._leftover += len(data)
        answered = self._protocol.answered
        if answered:
            self._transport.close()
        elif self._leftover > LINGER_BYTES:
            self._transport.abort()
        elif answered is False:  # no client of WebSockets: an answer will never be seen
            self._patience = 0.0

    def adopt(self, route: Route) -> None:
        """Go on with another version of the route; a callback that runs is not disturbed.

        Args:
            route: The route to take functions and limits from, from the next callback on.
        """
        self._route = route
        if self._phase != OPENING:
            self._protocol.limit(route.config.max_message)
            now = self._host.io.loop.time()
            self._next_ping = min(self._next_ping, now + route.config.ping_interval)
            if self._seat is not None:
                self._meter = self._seat.adopt(route.config, now)
            if self._background is not None:
                # What the old version has started knows nothing of the new one.
                self._background.end()
            if self._opened:
                self.start_timers()

    def _next_message(self) -> Message | Question | Pong | Timer | None:
        """Return the next thing to deliver, or None; reads on where there is room again."""
        inbox = self._inbox
        if self._in_hand:  # the last one has been handled
            self._waiting_size -= self._in_hand
            self._in_hand = 0
        if not inbox:
            if self._paused:
                self._read_on()
            if not inbox:
                return None
        message = inbox.popleft()
        if type(message) is str or type(message) is bytes:
            if len(message) > LIGHT:
                self._in_hand = getsizeof(message)
        elif type(message) is Question:
            self._in_hand = _weight(message)
        if self._paused:
            self._read_on()
        return message

    def _read_on(self) -> None:
        if len(self._inbox) <= INBOX // 2 and self._waiting_size <= INBOX_BYTES // 2:
            self._resume()

    def _drop_inbox(self) -> int:
        """Let go of what waits for the callbacks; return how many messages that were."""
        inbox = self._inbox
        dropped = sum(isinstance(message, (str, bytes, Question)) for message in inbox)
        inbox.clear()
        self._waiting_size = self._in_hand
        return dropped

    def _resume(self) -> None:
        self._paused = False
        if self._protocol.pending:
            self.data_received(b"")
        if not self._paused:
            # The time in which nothing was read says nothing about the peer.
            self._alive = True
            self._transport.resume_reading()

    def connection_lost(self) -> None:
        """Handle the end of the byte stream."""
        if self.close_code is None:
            self.close_code, self.close_reason = CloseCode.ABNORMAL.value, ""
        self._phase = CLOSED
        if self._crossing is not None:
            self._crossing.end()
        self.leave_seat()
        if self.close_code == CloseCode.ABNORMAL and self._route.config.lost == "drop":
            self._drop_waiting()
        self._release_waiters()
        if self._background is not None:
            self._background.end()
            self._background = None
        if self._streaming:
            self.cancel("closed")
        self._host.wake(self)

    def _drop_waiting(self) -> None:
        """Drop what waits behind a callback: the client has not said goodbye, and is gone.

        A message that nothing stands before is handled, as its turn has come: a client may send
        one and leave at once.
        """
        self._discard = True
        kept = 1 if self._task is not None and self._running is None else 0
        while len(self._inbox) > kept:
            if isinstance(self._inbox.pop(), (str, bytes, Question)):
                self.unhandled += 1
        if self.unhandled:
            self._host.log.info(
                "Route %s: %s was lost; %d messages that waited are not handled",
                self.route,
                self.id,
                self.unhandled,
            )

    def cancel(self, reason: str) -> None:
        """Interrupt the running callback; `reason` tells callbacks/run.py what to make of it."""
        if self._task is not None and self._running is not None and self._cancel_reason != reason:
            self._cancel_reason = reason
            self._cancelled_at = self._host.io.loop.time()
            self._task.cancel()

    def leave_seat(self) -> None:
        """Give the place in the route's limits back: nobody is there any more to use it."""
        if self._seat is not None:
            self._seat.leave(self._host.io.loop.time())

    def give_up(self, code: int, reason: str) -> None:
        """Close, and wait only a little for the peer to take the close frame.

        Args:
            code: Close code.
            reason: At most 123 bytes of UTF-8.
        """
        self._close(code, reason)
        self._deadline = min(self._deadline, self._host.io.loop.time() + LINGER)
        self._transport.end()

    def vanish(self) -> None:
        """Give up on a peer that does not answer."""
        self.close_code, self.close_reason = CloseCode.ABNORMAL.value, ""
        self._transport.abort()

    def tick(self, now: float) -> None:
        """Look at the clock: pings, and deadlines of the closing handshake.

        Args:
            now: The event loop's time, in seconds.
        """
        phase = self._phase
        if phase == OPEN:
            if self._paused and was_reset(self._transport.fileno()):
                self.vanish()
                return
            if self._active or self._running is not None:  # a callback at work is no idleness
                self._active = False
                self._last_message = now
            config = self._route.config
            if config.idle_timeout and now - self._last_message >= config.idle_timeout:
                self._close(CloseCode.NORMAL, "idle")
                return
            interval = config.ping_interval
            if not interval:
                return
            if self._paused or self._alive:
                self._ping_deadline = 0.0
            elif self._ping_deadline and now >= self._ping_deadline:
                self._host.log.info("Route %s: %s does not answer pings", self.route, self.id)
                self.vanish()
                return
            if now >= self._next_ping and not self._paused and not self._ping_deadline:
                self._next_ping = now + interval
                self._alive = False
                timeout = config.ping_timeout
                self._ping_deadline = now + timeout if timeout else 0.0
                self._transport.write(self._protocol.encode_ping())
        elif phase in (PEER_CLOSED, CLOSING):
            if phase == CLOSING and self._alive and now < self._patience:
                # It still sends what it began before it could see our close frame.
                self._alive = False
                self._deadline = now + CLOSE_TIMEOUT
                self._linger()
            if now < self._deadline:
                return
            if phase == PEER_CLOSED:
                self.settle()
            else:
                self._transport.abort()
