"""The server's end of `wsh.v1` where the client can resume: every frame has a number.

What is sent is kept in its envelope, without its frame: another connection, to which it may have to
be sent again, may compress otherwise. So `encode` only keeps, and `next_frame` says what leaves.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import UNSET

from ..types import Codec, Message
from .asking import SUBPROTOCOL
from .closestate import FLOWING
from .envelope import EnvelopeCodec, Incoming, Wrong, encode_json
from .lasting import Lasting, Missing
from .resuming import HEAD, LAST_NUMBER

KEPT = b""
"""Stands for a frame that is kept, and leaves when it is its turn."""


class Unconnected:
    """The codec of a client that is away: nothing comes, and nothing is framed."""

    __slots__ = ()

    form, state, answered, pending = "", FLOWING, None, False
    may_miss = True
    pings, out = 0, ()

    def limit(self, max_message: int, said: int = 0) -> None:
        """Do nothing."""

    def receive(self, data: Any, limit: int, room: int) -> list[Any]:
        """Return nothing."""
        return []

    def outgoing(self) -> bytes:
        """Return nothing."""
        return b""

    def encode(self, message: Message) -> bytes:
        """Return nothing."""
        return b""

    def start_afresh(self) -> str:
        """Return nothing."""
        return ""

    def rest(self) -> bool:
        """Do nothing."""
        return False

    def encode_ping(self, payload: bytes = b"") -> bytes:
        """Return nothing."""
        return b""

    def encode_close(self, code: int, reason: str = "") -> bytes:
        """Return nothing."""
        return b""


UNCONNECTED: Codec = Unconnected()


class NumberedCodec(EnvelopeCodec):
    """The codec of `wsh.v1` with numbers, over one that changes with each way to the client.

    Attributes:
        lasting: What is kept, and what has come.
        clock: Returns the time, in seconds.
        news: Whether an acknowledgement has come; whoever looks sets it to False.
        was_read: Called when something has been read.
        flush: Has all leave that is kept and has not left, as a close frame is to follow.
    """

    __slots__ = ("clock", "flush", "lasting", "news", "was_read")

    lasting: Lasting[Message]
    clock: Callable[[], float]
    flush: Callable[[], object]
    was_read: Callable[[], object]

    def __init__(self, inner: Codec) -> None:
        super().__init__(inner)
        self.news = False

    @property
    def form(self) -> str:
        """Nothing: each client's frames have numbers of their own."""
        return ""

    def start_afresh(self) -> str:
        """Return nothing, and leave the context as it is: no other client gets the same frames."""
        return ""

    def carried_by(self, inner: Codec) -> None:
        """Go on over another codec, with the limits of today.

        Args:
            inner: Frames what leaves from now on.
        """
        self.inner = inner
        self.limit(self._longest)  # of a message: its frame may be larger

    # ---- from the client -------------------------------------------------------------------

    def receive(self, data: Any, limit: int, room: int) -> list[Any]:
        """Return the next events that are no repetition, and take acknowledgements."""
        events = super().receive(data, limit, room)
        self.was_read()
        return events

    def _opened(self, frame: bytes) -> tuple[int, bytes, bool]:
        if len(frame) < HEAD.size:
            raise Wrong(1002, f"{SUBPROTOCOL}: a binary frame begins with 8 bytes")
        question, number = HEAD.unpack_from(frame)
        return question, frame[HEAD.size :], self._counts(number)

    def _is_new(self, found: Incoming) -> bool:
        if found.ack is not UNSET:
            if found.n is not UNSET or found.message is not UNSET or found.stop is not UNSET:
                raise Wrong(1002, f"{SUBPROTOCOL}: an acknowledgement is a frame of its own")
            self._acknowledged(found.ack)
            return False
        if found.stop is not UNSET and found.message is UNSET:
            if found.n is not UNSET:
                raise Wrong(1002, f"{SUBPROTOCOL}: a stop has no number of its own")
            return True
        if found.n is UNSET:
            raise Wrong(1002, f"{SUBPROTOCOL}: a frame has its number as n")
        return self._counts(found.n)

    def _counts(self, number: int) -> bool:
        if not 0 < number <= LAST_NUMBER:
            raise Wrong(1002, f"{SUBPROTOCOL}: frames are numbered from 1")
        try:
            is_new = self.lasting.receive(number, self.clock())
        except Missing as missing:
            raise Wrong(1002, f"{SUBPROTOCOL}: {missing}") from None
        if not is_new:  # it is given to nobody, and counts as a ping does in the route's limits
            self.stopper.admits_stop()
        return is_new

    def _acknowledged(self, number: int) -> None:
        try:
            is_news = number >= 0 and self.lasting.acknowledged(number)
        except Missing as missing:
            raise Wrong(1002, f"{SUBPROTOCOL}: {missing}") from None
        if is_news:
            self.news = True
        else:
            self.stopper.admits_stop()

    # ---- to the client ---------------------------------------------------------------------

    def encode(self, message: Message) -> Any:
        """Keep a message in its envelope.

        Raises:
            UnicodeEncodeError: The text holds lone surrogates.
        """
        number = self.lasting.last + 1
        if isinstance(message, bytes):
            of, rest = self.of, message
            if self.whole:  # it has a head of 4 bytes already
                of, rest = int.from_bytes(message[:4], "big", signed=True), message[4:]
            return self._keep(HEAD.pack(of, number) + rest, HEAD.size + len(rest))
        if self.whole:
            text = _with_number(message, number)
            return self._keep(text, len(text) if text.isascii() else len(text.encode()))
        return super().encode(message)

    def encode_said(self, message: Message, place: dict[str, Any]) -> Any:
        """Keep a message of a room in its envelope; it answers nothing, whatever is answered."""
        if not isinstance(message, bytes):
            return self.mark({"message": message, **place})
        of, self.of = self.of, 0
        try:
            return self.encode(message)
        finally:
            self.of = of

    def mark(self, envelope: dict[str, Any]) -> Any:
        """Keep an envelope."""
        written = encode_json({**envelope, "n": self.lasting.last + 1})
        return self._keep(written.decode(), len(written))

    def _keep(self, frame: Message, size: int) -> Any:
        if self.lasting.send(frame, size) == LAST_NUMBER:  # at 1,000 a second that takes 50 days
            self.stopper.violated(1012, f"{SUBPROTOCOL}: all numbers are used up; come again")
        return KEPT

    def acknowledgement(self, number: int) -> Any:
        """Return what tells the client what was received."""
        return self.announce({"ack": number})

    def next_frame(self) -> Any:
        """Return the next frame that leaves, as the transport writes it; None where all have."""
        found = self.lasting.take()
        if found is None:
            return None
        if found.message is None:  # the route's `queue` has dropped it
            return self.announce({"n": found.number})
        return self.inner.encode(found.message)

    def encode_close(self, code: int, reason: str = "") -> Any:
        """Return a close frame, once all has left that was sent before."""
        self.flush()
        return self.inner.encode_close(code, reason)


def _with_number(frame: str, number: int) -> str:
    """Return a frame of the kernel's, which has its envelope, with its number."""
    return f'{frame[:-1]},"n":{number}}}' if len(frame) > 2 else f'{{"n":{number}}}'
