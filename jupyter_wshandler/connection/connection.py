"""One open WebSocket: what a callback receives as `handler`.

A connection knows a codec (what is read to events), a transport (which carries frames) and a
host (who runs its callbacks). It does not know Tornado, so a test or a kernel can have one too.
It is made of layers, each in a module: it is familiar to authors (`familiar`), sends (`sending`),
is looked at (`face`), receives (`receiving`), may outlive a break (`breaks`), and here it opens,
ends, and is looked at by a clock.
"""

from __future__ import annotations

from contextlib import suppress
from math import inf
from threading import get_ident
from typing import Any

from ..engine.frames import check_close
from ..engine.protocol import FAILED, Close, Failure, reply_code
from ..engine.resuming import BREAKS
from ..routes import Route
from ..transports.outstanding import Taking
from ..transports.reset import was_reset
from ..types import CloseCode, Codec, Question, Transport
from .breaks import OutlivingHalf
from .farewell import CLOSE_TIMEOUT, LINGER, LINGER_BYTES, Farewell
from .host import Host
from .opening import Opening
from .phase import CLOSED, CLOSING, FORKED, OPEN, OPENING, PEER_CLOSED

REST = 10.0
"""Seconds without a message after which a connection gives away what compression needs."""


class Connection(OutlivingHalf):
    """One open WebSocket, as callbacks see it: their `handler`.

    Args:
        host: Who runs the callbacks.
        route: The route that was matched.
        opening: How the client came.
        id: Unique name of the connection.
    """

    __slots__ = (
        "__weakref__",
        "_credential",
        "_deadline",
        "_farewell",
        "_last_message",
        "_taking",
    )

    def __init__(self, host: Host, route: Route, opening: Opening, *, id: str) -> None:
        super().__init__(host, route, opening, id=id)
        # Names, as a digest, what the client proved its identity with; see server/access.
        self._credential: str | None = None
        self._deadline = 0.0
        self._farewell: Farewell | None = None  # once our close frame is written
        # Keepalive
        self._next_ping = 0.0
        self._ping_deadline = 0.0
        self._taking: Taking | None = None  # what stood before the last ping, where it is much
        self._last_message = 0.0

    def __repr__(self) -> str:
        return f"<Connection {self.id} of route {self.route!r}, {self._phase.words}>"

    # ---- its beginning ---------------------------------------------------------------------

    def start(self, protocol: Codec, transport: Transport, early: Any) -> None:
        """Begin: run `open`, then deliver what arrives.

        Args:
            protocol: Turns what is read into events.
            transport: Carries the frames.
            early: What arrived behind the handshake.
        """
        self._protocol, self._transport = protocol, transport
        self._phase = OPEN
        if self._answers is not None:
            self._answers.confirm()  # before all else, such as what was said in its rooms
        if self._route.config.rooms:
            self._host.rooms.enter(self)
        self._next_ping = self._io.loop.time() + self._route.config.ping_interval
        self._host.wake(self)
        transport.start(self, early)

    def adopt(self, route: Route) -> None:
        """Go on with another version of the route; a callback that runs is not disturbed.

        Args:
            route: The route to take functions and limits from, from the next callback on.
        """
        self._route = route
        if self._phase != OPENING:
            self._protocol.limit(route.config.max_message)
            if self.line is not None:
                self.line.adopt(route.config.resume)
            now = self._io.loop.time()
            self._next_ping = min(self._next_ping, now + route.config.ping_interval)
            if self._seat is not None:
                self._meter = self._seat.adopt(route.config, now)
            if self._background is not None:
                # Timers and tasks that the old version has started would go on with its code.
                self._background.end()
            if self._opened:
                self.start_timers()

    @property
    def credential(self) -> str | None:
        """A digest of what the client proved its identity with; None for nothing."""
        return self._credential

    def take_credential(self, digest: str | None) -> None:
        """Remember what the client proved its identity with.

        Args:
            digest: Names it, and cannot be used in its place.
        """
        self._credential = digest

    # ---- its end ---------------------------------------------------------------------------

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
        if get_ident() != self._io.thread:
            crossing = self._crossings()
            if not crossing.closing:
                crossing.closing = True
                self._io.change_from_thread(self._close_late, code, reason or "")
        else:
            self.end(code, reason or "")

    def _close_late(self, code: int, reason: str) -> None:
        self._crossings().closing = False
        self.end(code, reason)

    def end(self, code: int, reason: str) -> None:
        """Begin the closing handshake, on the event loop; without effect where it has begun.

        Unlike `close` it trusts what it is given, and answers a client that has closed before.

        Args:
            code: A close code that may be sent.
            reason: At most 123 bytes of UTF-8.
        """
        if not OPEN <= self._phase <= PEER_CLOSED:
            return
        self.deliver_said()
        self._discard = True
        self._drop_inbox()
        answered = self._phase == PEER_CLOSED
        if answered and self._protocol.state == FAILED:
            self._give_up()
            return
        if not answered:
            self.close_code, self.close_reason = int(code), reason
        self._write_last(self._protocol.encode_close(code, reason))
        if self._crossing is not None:
            self._crossing.end()
        now = self._io.loop.time()
        self._deadline, self._farewell = now + CLOSE_TIMEOUT, Farewell(now)
        self._alive = False
        if answered or self.away:
            self._transport.close()
        elif self._paused:
            # The peer's close frame may stand behind messages that nobody wants any more.
            self._resume()

    def _write_last(self, frame: Any) -> None:
        """Write our close frame: no message follows it (RFC 6455 section 5.5.1)."""
        self._transport.write(frame)
        self._transport.seal()
        self._phase = CLOSING

    def _peer_closes(self, event: Close) -> None:
        if self._phase != OPEN:
            self._transport.close()
            return
        if event.code in BREAKS and self.line is not None and self.line.leave(event):
            return
        self.close_code, self.close_reason = event.code, event.reason
        self._phase = PEER_CLOSED
        self._deadline = self._io.loop.time() + CLOSE_TIMEOUT
        work = self._work
        if work is None and not self._inbox:
            self.settle()
        elif work is not None and work.streaming:
            self.cancel("closed")

    def _peer_fails(self, event: Failure) -> None:
        if self._phase < CLOSING:
            self.close_code, self.close_reason = event.code, event.reason
            self._host.log.info(
                "Route %s: %s broke the protocol: %s (%d)",
                self.route,
                self.id,
                event.reason,
                event.code,
            )
        self._deadline = self._io.loop.time() + CLOSE_TIMEOUT
        if self._phase == OPEN and (self._inbox or self._work is not None):
            # What came before the violation is answered first, then comes the close frame.
            self._phase = PEER_CLOSED
        else:
            self._give_up()

    def settle(self) -> None:
        """Answer the peer's close frame, if it waits for that: all its messages are handled."""
        self.deliver_said()
        if self._phase == PEER_CLOSED and self._protocol.state == FAILED:
            self._give_up()
        elif self._phase == PEER_CLOSED:
            assert self.close_code is not None
            if self.line is not None:  # who comes to another server then knows what was handled
                self.line.acknowledge(inf)
            self._write_last(self._protocol.encode_close(reply_code(self.close_code)))
            now = self._io.loop.time()
            self._deadline = now + CLOSE_TIMEOUT
            self._farewell = Farewell(now, reads_on=False)
            self._transport.close()

    def _give_up(self) -> None:
        """Send the close frame for a violation, and read on until the peer has answered it.

        To end the stream at once would destroy the frame on its way to a peer that still sends,
        most of all behind a proxy; see `transports.direct.DirectTransport.end`.
        """
        self._write_last(self._protocol.outgoing())
        now = self._io.loop.time()
        if self._farewell is None:
            self._farewell = Farewell(now)
        if self._protocol.answered:
            self._transport.close()
            return
        self._deadline = now + (CLOSE_TIMEOUT if self._transport.queued_bytes else LINGER)
        if self._protocol.answered is False:
            self._farewell.hurry()
        self._linger()
        self._alive = self._paused = False
        self._transport.end()

    def _linger(self) -> None:
        """Give the place in the route's limits back: the client may come again meanwhile."""
        if self._seat is not None:
            self._seat.linger(self._io.loop.time())

    def _take_leftover(self, data: Any) -> None:
        """Drop what comes after our close frame; it ends with the peer's, or where it is much."""
        farewell = self._farewell
        assert farewell is not None
        farewell.leftover += len(data)
        answered = self._protocol.answered
        if answered:
            self._transport.close()
        elif farewell.leftover > LINGER_BYTES:
            self._transport.abort()
        elif answered is False:  # no client of WebSockets: an answer will never be seen
            farewell.hurry()

    def connection_lost(self) -> None:
        """Handle the end of the byte stream."""
        if self.close_code is None:
            self.close_code, self.close_reason = CloseCode.ABNORMAL.value, ""
        self._phase = CLOSED
        if self._crossing is not None:
            self._crossing.end()
        observers = self._host.observers
        if observers.lost:
            observers.tell(observers.lost, self)
        if self.close_code == CloseCode.ABNORMAL and self._route.config.lost == "drop":
            self._drop_waiting()
        self._release_waiters()
        if self._background is not None:
            self._background.end()
            self._background = None
        if self._work is not None and self._work.streaming:
            self.cancel("closed")
        self._host.wake(self)

    def _drop_waiting(self) -> None:
        """Drop what waits behind a callback: the client has not said goodbye, and is gone.

        A message that nothing stands before is handled, as its turn has come: a client may send
        one and leave at once.
        """
        self._discard = True
        kept = 1 if self._work is not None and self._work.callback is None else 0
        with suppress(IndexError):  # a thread that handles messages has taken the last one
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

    def give_up(self, code: int, reason: str) -> None:
        """Close, and wait only a little for the peer to take the close frame.

        Args:
            code: Close code.
            reason: At most 123 bytes of UTF-8.
        """
        self.end(code, reason)
        self._deadline = min(self._deadline, self._io.loop.time() + LINGER)
        if self._farewell is not None:
            self._farewell.hurry()
        self._transport.end()

    def vanish(self) -> None:
        """Give up on a peer that does not answer; where it may come back, on its way only."""
        if self.line is not None and self.line.drop():
            return
        self.close_code, self.close_reason = CloseCode.ABNORMAL.value, ""
        self._transport.abort()

    def abort(self) -> None:
        """End the byte stream at once, and drop what was to be sent; if it has begun."""
        if self._transport is not None:
            self._transport.abort()

    def let_go(self) -> int:
        """Let go of the connection in a forked child: it is the parent's.

        Returns:
            Its socket's descriptor, to be closed here; -1 where it has none of its own.
        """
        if self._phase != OPENING:
            self._transport.seal()
        self._phase = FORKED
        self._inbox.clear()
        fileno = getattr(self._transport, "fileno", None)  # a kernel's bot has no socket
        return -1 if fileno is None else int(fileno())

    # ---- the clock -------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Look at the clock: pings, and deadlines of the closing handshake.

        Args:
            now: The event loop's time, in seconds.
        """
        phase = self._phase
        if phase == OPEN:
            answers = self._answers
            if answers is not None and answers.line is not None and answers.line.tick(now):
                return  # nobody is there to be pinged
            if self._paused and was_reset(self._transport.fileno()):
                self.vanish()
                return
            work = self._work
            # A callback at work is no idleness.
            if self._active or (work is not None and work.callback is not None):
                self._active = False
                self._last_message = now
            config = self._route.config
            if config.idle_timeout and now - self._last_message >= config.idle_timeout:
                self.end(CloseCode.NORMAL, "idle")
                return
            interval = config.ping_interval
            if not interval:
                return
            if self._paused or self._alive:
                self._ping_deadline = 0.0
            elif self._ping_deadline and now >= self._ping_deadline and not self._takes(now):
                self._host.log.info("Route %s: %s does not answer pings", self.route, self.id)
                self.vanish()
                return
            if now >= self._next_ping and not self._paused and not self._ping_deadline:
                self._begin_ping(now, config.ping_timeout)
        elif phase in (PEER_CLOSED, CLOSING):
            self._tick_closing(now)

    def rest(self, now: float) -> bool:
        """Give away what callbacks start from, and what compression needs, after a quiet while.

        Args:
            now: The time that `tick` was called with.

        Returns:
            Whether that cost some time.
        """
        is_idle = self._phase is OPEN and now - self._last_message >= REST
        if not is_idle or self._active:
            return False
        if self._work is None:
            self._context = None
        return self._protocol.rest()

    def _begin_ping(self, now: float, timeout: float) -> None:
        """Send the ping that is due, and remember what stands before it."""
        self._next_ping = now + self._route.config.ping_interval
        self._alive = False
        self._ping_deadline = now + timeout if timeout else 0.0
        before = self._transport.outstanding()
        self._taking = Taking(before) if before.size else None
        self._transport.write(self._protocol.encode_ping())

    def _takes(self, now: float) -> bool:
        """Return whether the peer takes what stands before our ping: it has longer then."""
        if self._taking is None or not self._taking.goes_on(self._transport.outstanding()):
            return False
        self._ping_deadline = now + self._route.config.ping_timeout
        return True

    def _tick_closing(self, now: float) -> None:
        farewell = self._farewell
        if farewell is not None:
            farewell.look(self._transport, now)
            if self._alive and now < farewell.patience:
                # It still sends what it began before it could see our close frame.
                self._alive = False
                self._deadline = now + CLOSE_TIMEOUT
                self._linger()
        if now < self._deadline:
            return
        if self._phase == PEER_CLOSED:
            self.settle()
        elif farewell is None or not farewell.goes_on(now):
            self._transport.abort()
        # Else it keeps its place in the route's limits: what it takes is its own.

    def keeps_alive(self, now: float) -> bool:
        """Return whether it makes the server count as used; called after `tick`.

        Args:
            now: The time that `tick` was called with.
        """
        keep_alive = self._route.config.keep_alive
        return keep_alive == "connections" or (
            keep_alive == "messages" and self._last_message == now
        )
