"""Connections whose transport keeps whole messages apart, so that nothing has to be framed.

A callback in a kernel, or in a test without a server, talks through the same `Connection` as one
behind a socket. There, bytes become events in `engine.protocol`; here, events arrive as such, and
a frame is the message itself, a `Ping` or a `Close`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import TypeAlias

from ..types import CloseCode
from .frames import Close, Event, Failure, Pong
from .protocol import CLOSE_CAME, CLOSE_DONE, CLOSE_SENT, FAILED, FLOWING, NO_LIMIT, CloseState


class Ping:
    """A question to the peer for a pong with the same payload."""

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
    """The codec of a connection whose messages arrive whole.

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

    form = "message"
    """A name for what becomes of a message: nothing."""
    may_miss = True
    """Whether a message may be dropped."""

    @property
    def pending(self) -> bool:
        """Whether `receive` stopped at its limit."""
        return bool(self._waiting)

    def limit(self, max_message: int, said: int = 0) -> None:
        """Set the size of a received message in bytes, at most; 0 is no limit. It is never said."""
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

    def start_afresh(self) -> str:
        """Return the form: what was sent before has no say."""
        return self.form

    def rest(self) -> bool:
        """Do nothing."""
        return False

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


__all__ = ["Close", "Frame", "MessageProtocol", "Ping", "Pong", "size_of"]
