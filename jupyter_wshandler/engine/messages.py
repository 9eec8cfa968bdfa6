"""Connections whose carrier keeps whole messages apart, so that nothing has to be framed.

A callback in a kernel, or in a test without a server, talks through the same `Connection` as one
behind a socket. There, bytes become events in `engine.protocol`; here, events arrive as such, and
a frame is the message itself, a `Ping` or a `Close`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from typing import TypeAlias

from ..types import CloseCode, Receiver
from .frames import Close, Event, Failure, Pong
from .protocol import CLOSE_CAME, CLOSE_DONE, CLOSE_SENT, FAILED, FLOWING, NO_LIMIT, CloseState


class Ping:
    """Ask the peer for a pong with the same payload."""

    __slots__ = ("payload",)

    def __init__(self, payload: bytes) -> None:
        self.payload = payload


Frame: TypeAlias = str | bytes | Ping | Close


HEADER = 2
"""Bytes that a ping counts for beside its payload, as behind a socket (RFC 6455 section 5.2)."""


def size_of(frame: Frame) -> int:
    """Return what a frame counts for in a bounded queue: bytes, or characters of a text."""
    if isinstance(frame, (str, bytes)):
        return len(frame)
    return HEADER + len(frame.payload) if isinstance(frame, Ping) else 0


class MessageProtocol:
    """Be the codec of a connection whose messages arrive whole.

    Args:
        max_message: Size of a received message in bytes, at most; 0 for no limit.
    """

    __slots__ = ("_failure", "_max_message", "_waiting", "answered", "out", "pings", "state")

    def __init__(self, *, max_message: int = 0) -> None:
        self.state: CloseState = FLOWING
        self.out = ()
        self.pings = 0
        self.answered: bool | None = None
        self._waiting: deque[Event] = deque()
        self._failure: Close | None = None
        self.limit(max_message)

    @property
    def pending(self) -> bool:
        """Whether `receive` stopped at its limit."""
        return bool(self._waiting)

    def limit(self, max_message: int) -> None:
        """Set the size of a received message in bytes, at most; 0 is no limit."""
        self._max_message = max_message

    def receive(self, data: Iterable[Event], limit: int = 64, room: int = NO_LIMIT) -> list[Event]:
        """Return what came, in order, with at most `limit` messages.

        Args:
            data: Messages, pongs and closes of the peer.
            limit: Messages to return at most; the rest waits, and `pending` says so.
            room: Bytes in them (characters of a text) after which no further one is returned.
        """
        if self.state not in (FLOWING, CLOSE_SENT):
            return []
        waiting = self._waiting
        events: list[Event] = []
        waiting.extend(data)
        while waiting:
            event = waiting[0]
            if isinstance(event, (str, bytes)):
                if (limit <= 0 or room <= 0) and self.state == FLOWING:
                    break
                limit -= 1
                room -= len(event)
                if self._too_long(event):
                    events.append(self._fail(CloseCode.MESSAGE_TOO_BIG, "message too long"))
                    break
            waiting.popleft()
            events.append(event)
            if isinstance(event, Close):
                self.state = CLOSE_CAME if self.state == FLOWING else CLOSE_DONE
                waiting.clear()
        return events

    def _too_long(self, message: str | bytes) -> bool:
        longest = self._max_message
        if not longest or len(message) * 4 <= longest:
            return False
        return (len(message.encode()) if isinstance(message, str) else len(message)) > longest

    def _fail(self, code: int, reason: str) -> Failure:
        self.state = FAILED
        self._waiting.clear()
        self._failure = Close(int(code), reason)
        return Failure(int(code), reason)

    def outgoing(self) -> Close | None:
        """Return the close frame of a failure, once."""
        frame, self._failure = self._failure, None
        return frame

    def encode(self, message: str | bytes) -> str | bytes:
        """Return the message; refuse what could not travel as UTF-8.

        Raises:
            UnicodeEncodeError: The text holds lone surrogates.
        """
        if type(message) is str and not message.isascii():
            message.encode()
        return message

    def encode_ping(self, payload: bytes = b"") -> Ping:
        """Return a ping."""
        return Ping(payload)

    def encode_close(self, code: int = 1000, reason: str = "") -> Close | None:
        """Return our close frame and move the state; None where one was sent already."""
        if self.state == FLOWING:
            self.state = CLOSE_SENT
        elif self.state == CLOSE_CAME:
            self.state = CLOSE_DONE
        else:
            return None
        return Close(code, reason)


class MessageTransport:
    """Carry whole frames to a peer that says when it has taken them.

    What the peer has not taken yet stays within a window; the rest waits here, where the
    connection's `queue` bounds it. Without a window everything leaves at once. Pings count as
    messages do, as a callback can send any number of them; a close frame needs no room, as it is
    the last.

    Args:
        loop: The event loop.
        deliver: Gets each frame as it leaves.
        ended: Called when our side ends the connection without the peer's doing.
        messages: Messages and pings that the peer may have untaken, at most; 0 for no window.
        size: Bytes in them, at most; one is always allowed.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        deliver: Callable[[Frame], object],
        ended: Callable[[], object],
        *,
        messages: int = 0,
        size: int = 0,
    ) -> None:
        self._loop = loop
        self._deliver = deliver
        self._ended = ended
        self._messages = messages
        self._size = size
        self._untaken: deque[int] = deque()
        self._untaken_size = 0
        self._queue: deque[Frame] = deque()
        self._queued_size = 0
        self._receiver: Receiver | None = None
        self._closing = False
        self._over = False

    @property
    def queued_bytes(self) -> int:
        """Bytes that wait for the peer to take what it has; at least 1 where a frame waits."""
        return max(self._queued_size, len(self._queue))

    @property
    def queued_frames(self) -> int:
        """Frames that wait."""
        return len(self._queue)

    def start(self, receiver: Receiver, early: Iterable[Event]) -> None:
        """Begin to deliver to the receiver."""
        self._receiver = receiver
        if self._over:  # a callback that ran first has met the end already
            self._loop.call_soon(self._tell_lost)
        elif early:
            receiver.data_received(early)

    def feed(self, events: Iterable[Event]) -> None:
        """Take what the peer sends."""
        if self._receiver is not None:
            self._receiver.data_received(events)

    def write(self, frame: Frame | None) -> None:
        """Send one frame now, or queue it; never blocks and never raises."""
        if frame is None or self._over or self._closing:
            return
        if self._queue or not self._has_room(frame):
            self._queue.append(frame)
            self._queued_size += size_of(frame)
        else:
            self._send(frame)

    def _has_room(self, frame: Frame) -> bool:
        if not self._messages or not self._untaken or isinstance(frame, Close):
            return True
        size = self._untaken_size + size_of(frame)
        return len(self._untaken) < self._messages and size <= self._size

    def _send(self, frame: Frame) -> None:
        if self._messages and not isinstance(frame, Close):
            size = size_of(frame)
            self._untaken.append(size)
            self._untaken_size += size
        self._deliver(frame)

    def taken(self, count: int) -> None:
        """Note that the peer has taken messages and pings, and send on.

        Args:
            count: How many, the oldest first.
        """
        for _ in range(min(count, len(self._untaken))):
            self._untaken_size -= self._untaken.popleft()
        sent = False
        while self._queue and self._has_room(self._queue[0]):
            frame = self._queue.popleft()
            self._queued_size -= size_of(frame)
            self._send(frame)
            sent = True
        if self._closing and not self._queue:
            self.abort()
        elif sent and self._receiver is not None:
            self._receiver.writing_resumed()

    def drop_oldest(self) -> int:
        """Drop the oldest message that waits; return its size (1 for an empty one), or 0."""
        for index, frame in enumerate(self._queue):
            if isinstance(frame, (str, bytes)):
                del self._queue[index]
                self._queued_size -= len(frame)
                return max(1, len(frame))
        return 0

    def fileno(self) -> int:
        """Return -1: there is no socket."""
        return -1

    def pause_reading(self) -> None:
        """Do nothing: the peer waits for what it has sent to be handled."""

    def resume_reading(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Send what waits, then end."""
        self._closing = True
        if not self._queue:
            self.abort()

    def end(self) -> None:
        """Send what waits, then end: there is no direction to keep open."""
        self.close()

    def abort(self) -> None:
        """End at once and drop what waits."""
        if not self._over:
            self._ended()
            self.lost()

    def lost(self) -> None:
        """Take note that the connection is over."""
        if self._over:
            return
        self._over = True
        self._queue.clear()
        self._queued_size = 0
        # Whoever is on the stack now (a callback that writes) must not meet its own end.
        self._loop.call_soon(self._tell_lost)

    def _tell_lost(self) -> None:
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            receiver.connection_lost()


__all__ = ["Close", "Frame", "MessageProtocol", "MessageTransport", "Ping", "Pong", "size_of"]
