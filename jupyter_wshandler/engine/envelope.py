"""The server's end of the subprotocol `wsh.v1`, around any other codec; no input or output.

A plain client cannot know where an answer ends, nor which message it answers. One that offers this
subprotocol is told. `docs/protocol.md` says it for those who write a client; in short: text frames
are JSON objects, and a binary frame begins with a number of 4 bytes. A client writes::

    {"message": "hello"}              a message
    {"message": "hello", "ask": 1}    a message whose answer it wants to be told about
    {"stop": 1}                       stop that answer

and joins and leaves rooms (`engine.roomwords`). The server, after a first frame that says that all
this holds, writes these, and what is of rooms (`engine.roomframes`)::

    {"wsh": "v1", "id": "..."}        what is agreed on, and the connection's id
    {"message": "..."}                a message of its own: what a callback writes, a push
    {"reply": "hello", "of": 1}       what the callback has returned for message 1
    {"piece": "Hel", "of": 1}         what the generator for message 1 has yielded
    {"piece": "{...}", "of": 1, "json": true}    the same, where that was no text; also for a reply
    {"end": 1, "how": "done"}         nothing more comes of it; see `Answers.end`

What a generator yields while no message is answered (`open`, a timer) has a number below 0.
"""

from __future__ import annotations

from typing import Any, Protocol

import msgspec
from msgspec import UNSET, UnsetType

from ..types import Codec, Message, Question
from .asking import HEADER, LAST, SUBPROTOCOL, How
from .roomwords import RoomWords, wish_of

ROOM = 256
"""Bytes of a frame that are not the message's."""

ESCAPED = 2
"""How many times larger a text may be as JSON: each quote, backslash and line break takes two."""


LEAST = 4096
"""Bytes that a frame may have in any case: the name of a room has room in it."""


class Incoming(RoomWords, forbid_unknown_fields=True):
    """One text frame of the client's: a message, a stop, or what it wants of a room."""

    message: str | UnsetType = UNSET
    ask: int | UnsetType = UNSET
    stop: int | UnsetType = UNSET
    n: int | UnsetType = UNSET
    ack: int | UnsetType = UNSET


KINDS = "a frame is a message, a stop, a join or a leave"

_decoder = msgspec.json.Decoder(Incoming)
encode_json = msgspec.json.Encoder().encode


class Wrong(ValueError):
    """A frame that `wsh.v1` does not have; says why."""


class Stopper(Protocol):
    """What obeys the client: the connection's answers."""

    def stop(self, number: int) -> None:
        """Stop the answer to a message, or see that it gets none."""

    def admits_stop(self) -> bool:
        """Return whether one more stop is obeyed; there may be too many."""

    def end(self, number: int, how: How) -> object:
        """Tell the client that nothing more comes in answer to a message."""

    def violated(self, code: int, reason: str) -> None:
        """End the connection: the client does not speak `wsh.v1`."""


class _Nobody:
    """Whoever has nothing to stop: its connection is not open yet, or has ended."""

    def admits_stop(self) -> bool:
        return False

    def stop(self, number: int) -> None:
        pass

    def end(self, number: int, how: How) -> None:
        pass

    def violated(self, code: int, reason: str) -> None:
        pass


NOBODY: Stopper = _Nobody()


class EnvelopeCodec:
    """The codec of `wsh.v1`, over another one.

    Attributes:
        inner: Frames the text and the bytes.
        stopper: Stops what the client wants stopped.
        of: The answer that what is encoded is a piece of; 0 for none.
        part: What it is of that answer: its "reply", or a "piece".
        json: Whether that piece was no text of the bot's own.
        whole: Whether what is encoded has its envelope already.
    """

    __slots__ = (
        "_asked",
        "_longest",
        "_violated",
        "inner",
        "json",
        "of",
        "part",
        "stopper",
        "whole",
    )

    def __init__(self, inner: Codec) -> None:
        self.inner = inner
        self.stopper = NOBODY  # until `Connection.envelop` sets it
        self.of = 0
        self.part = "piece"
        self.json = False
        self.whole = False
        self._asked = 0
        self._longest = 0
        self._violated = False

    @property
    def form(self) -> str:
        """A name for what becomes of a message that answers nothing; empty during an answer."""
        inner = self.inner.form
        return f"wsh.v1 {inner}" if inner and not (self.of or self.whole) else ""

    @property
    def state(self) -> int:
        """The state of the other codec."""
        return self.inner.state

    @property
    def out(self) -> Any:
        """What the other codec has to answer."""
        return self.inner.out

    @property
    def pings(self) -> int:
        """Pings that came since it was set to 0."""
        return self.inner.pings

    @pings.setter
    def pings(self, count: int) -> None:
        self.inner.pings = count

    @property
    def answered(self) -> bool | None:
        """Whether a peer that broke the protocol has closed, too; None until that is known."""
        return self.inner.answered

    @property
    def pending(self) -> bool:
        """Whether something was read that had no room among the last events."""
        return self.inner.pending

    def limit(self, max_message: int, said: int = 0) -> None:
        """Set the size of the largest message from now on, in bytes, without its envelope."""
        self._longest = max_message
        frame = max_message and max(LEAST, ESCAPED * max_message + ROOM)
        self.inner.limit(frame, said or max_message)

    # ---- from the client -------------------------------------------------------------------

    def receive(self, data: Any, limit: int, room: int) -> list[Any]:
        """Return the next events; obey a stop.

        Messages are each a `Question`, joins and leaves a `Wish`.
        """
        events: list[Any] = []
        for event in self.inner.receive(data, limit, room):
            if type(event) is not str and type(event) is not bytes:
                events.append(event)
            elif not self._violated:
                try:
                    self._read(event, events)
                except Wrong as error:
                    self._violated = True
                    self.stopper.violated(*error.args)
        return events

    def _read(self, frame: str | bytes, events: list[Any]) -> None:
        message: Message
        if isinstance(frame, bytes):
            number, message, is_new = self._opened(frame)
            if is_new:
                self._check(message, len(message))
                events.append(Question(self._checked(number, 0), message, len(frame)))
            return
        try:
            found = _decoder.decode(frame)
        except msgspec.ValidationError as error:
            raise Wrong(1002, f"{SUBPROTOCOL}: {str(error)[:80]}") from None
        except (msgspec.DecodeError, ValueError, RecursionError):
            raise Wrong(1002, f"{SUBPROTOCOL}: a text frame holds a JSON object") from None
        if not self._is_new(found):
            return
        if found.is_of_rooms():
            self._wish(found, frame, events)
        elif found.message is not UNSET and found.stop is UNSET:
            number = 0 if found.ask is UNSET else self._checked(found.ask, 1)
            message = found.message
            size = len(frame) if frame.isascii() else len(frame.encode())
            self._check(message, size)
            events.append(Question(number, message, size))
        elif found.stop is not UNSET and found.message is UNSET and found.ask is UNSET:
            self._stop(found.stop, events)
        else:
            raise Wrong(1002, f"{SUBPROTOCOL}: {KINDS}")

    def _wish(self, found: Incoming, frame: str, events: list[Any]) -> None:
        others = (found.message, found.ask, found.stop)
        wish = None
        if all(other is UNSET for other in others):
            wish = wish_of(found, len(frame) if frame.isascii() else len(frame.encode()))
        if wish is None:
            raise Wrong(1002, f"{SUBPROTOCOL}: {KINDS}")
        events.append(wish)

    # These are overridden by `engine.numbered`, whose frames have a number.

    def _opened(self, frame: bytes) -> tuple[int, bytes, bool]:
        """Return the number of a binary frame's question, its message, and whether to take it."""
        if len(frame) < HEADER.size:
            raise Wrong(1002, f"{SUBPROTOCOL}: a binary frame begins with 4 bytes")
        return HEADER.unpack_from(frame)[0], frame[HEADER.size :], True

    def _is_new(self, found: Incoming) -> bool:
        """Return whether a text frame is to be taken."""
        if found.n is not UNSET or found.ack is not UNSET:
            raise Wrong(1002, f"{SUBPROTOCOL}: frames of this connection are not numbered")
        return True

    def _checked(self, number: int, least: int) -> int:
        if not number and not least:
            return 0
        if not self._asked < number <= LAST:
            raise Wrong(1002, f"{SUBPROTOCOL}: each number is above the one before")
        self._asked = number
        return number

    def _check(self, message: Message, size: int) -> None:
        longest = self._longest
        if longest and size > longest:  # of the whole frame: rarely is the text itself measured
            exact = len(message.encode()) if isinstance(message, str) else len(message)
            if exact > longest:
                raise Wrong(1009, f"message over {longest} bytes")

    def _stop(self, number: int, events: list[Any]) -> None:
        if not 0 < number <= self._asked or not self.stopper.admits_stop():
            return
        for event in events:
            if type(event) is Question and event.number == number:
                # It came in one piece with its message, which nobody has seen yet.
                events.remove(event)
                self.stopper.end(number, "stopped")
                return
        self.stopper.stop(number)

    # ---- to the client ---------------------------------------------------------------------

    def outgoing(self) -> Any:
        """Return what must be sent in answer to what was read."""
        return self.inner.outgoing()

    def encode(self, message: Message) -> Any:
        """Return a message in its envelope.

        Raises:
            UnicodeEncodeError: The text holds lone surrogates.
        """
        if self.whole:
            return self.inner.encode(message)
        if isinstance(message, bytes):
            return self.inner.encode(HEADER.pack(self.of) + message)
        if not self.of:
            return self.mark({"message": message})
        piece: dict[str, Any] = {self.part: message, "of": self.of}
        return self.mark({**piece, "json": True} if self.json else piece)

    def encode_said(self, message: Message, place: dict[str, Any]) -> Any:
        """Return a message of a room in its envelope.

        Args:
            message: The message.
            place: What the envelope says beside it; nothing where it is binary.
        """
        if isinstance(message, bytes):
            return self.encode(message)
        return self.mark({"message": message, **place})

    def mark(self, envelope: dict[str, Any]) -> Any:
        """Return an envelope as the transport writes it."""
        return self.inner.encode(encode_json(envelope).decode())

    def announce(self, envelope: dict[str, Any]) -> Any:
        """Return the envelope that comes before all others, as the transport writes it."""
        return EnvelopeCodec.mark(self, envelope)

    @property
    def may_miss(self) -> bool:
        """Whether a frame of the other codec may be dropped."""
        return self.inner.may_miss

    def start_afresh(self) -> str:
        """Have the other codec start afresh, unless an answer is under way; return the form."""
        if not (self.of or self.whole):
            self.inner.start_afresh()
        return self.form

    def rest(self) -> bool:
        """Have the other codec give away what compression needs."""
        return self.inner.rest()

    def encode_ping(self, payload: bytes = b"") -> Any:
        """Return a ping."""
        return self.inner.encode_ping(payload)

    def encode_close(self, code: int, reason: str = "") -> Any:
        """Return a close frame."""
        return self.inner.encode_close(code, reason)
