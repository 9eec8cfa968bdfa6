"""The language between the built-in chat and the server: `wsh.chat.v0`, around any other codec.

A plain client cannot know where an answer ends, nor which message it answers. The chat asks for it
by offering this subprotocol. It is ours alone and may change with any version: the chat comes from
the same server. A client writes text frames of JSON::

    {"say": "hello", "id": 1}     a message; ids are the client's own and count up from 1
    {"stop": 1}                   stop what answers it

Any other frame is a message without an id. The server writes::

    {"begin": 1}                  message 1 is being handled
    {"piece": "Hel", "of": 1}     text that the answer to message 1 has yielded
    {"piece": "{...}", "of": 1, "json": true}    a dict or list that it has yielded
    {"message": "..."}            a message of its own: returned, written or pushed
    {"end": 1, "how": "done"}     done, stopped, failed, or refused (the route's rate limit)

What a generator yields while no message is answered (`open`, a timer) has an id below 0. A binary
frame begins with the id of the answer that has yielded it, or 0, as a big-endian int of 4 bytes.
"""

from __future__ import annotations

import struct
from typing import Any, Literal, Protocol

import msgspec

from ..types import Codec, Message, Question

SUBPROTOCOL = "wsh.chat.v0"

LAST = 2**31 - 1
"""The largest id."""

How = Literal["done", "stopped", "failed", "refused"]


class _Incoming(msgspec.Struct, forbid_unknown_fields=True):
    """One text frame of the client's; it says something, or stops an answer."""

    say: str | None = None
    id: int = 0
    stop: int = 0


_decoder = msgspec.json.Decoder(_Incoming)
_encode = msgspec.json.Encoder().encode


class Stopper(Protocol):
    """What can stop answers."""

    def stop(self, number: int) -> None:
        """Stop the answer to a message, or see that it gets none."""

    def admits_stop(self) -> bool:
        """Return whether one more stop is obeyed; there may be too many."""

    def end(self, number: int, how: How) -> object:
        """Tell the client that nothing more comes in answer to a message."""


class ChatCodec:
    """The codec of `wsh.chat.v0`, over another one.

    Attributes:
        inner: Frames the text and the bytes.
        stopper: Stops what the client wants stopped.
        of: The answer that what is encoded is a piece of; 0 for none.
        json: Whether that piece was no text of the bot's own.
        whole: Whether what is encoded has its envelope already.
    """

    __slots__ = ("inner", "json", "of", "stopper", "whole")

    def __init__(self, inner: Codec) -> None:
        self.inner = inner
        self.stopper: Stopper = None  # type: ignore[assignment] # set by `Connection.envelop`
        self.of = 0
        self.json = False
        self.whole = False

    @property
    def form(self) -> str:
        """A name for what becomes of a message of its own: the other codec's, in an envelope."""
        inner = self.inner.form
        return f"chat {inner}" if inner else ""

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

    def limit(self, max_message: int) -> None:
        """Set the size of the largest message from now on, in bytes, its envelope included."""
        self.inner.limit(max_message)

    def receive(self, data: Any, limit: int, room: int) -> list[Any]:
        """Return the next events, with messages that have an id as `Question`; obey a stop."""
        events: list[Any] = []
        for event in self.inner.receive(data, limit, room):
            if type(event) is str and event.startswith("{"):
                self._read(event, events)
            else:
                events.append(event)
        return events

    def _read(self, text: str, events: list[Any]) -> None:
        try:
            found = _decoder.decode(text)
        except (msgspec.DecodeError, ValueError, RecursionError):
            found = None
        if found is not None and found.say is not None and 0 < found.id <= LAST:
            events.append(Question(found.id, found.say, text))
        elif found is not None and found.say is None and 0 < found.stop <= LAST:
            if not self.stopper.admits_stop():
                return
            for event in events:
                if type(event) is Question and event.number == found.stop:
                    # It came in one piece with its message, which nobody has seen yet.
                    events.remove(event)
                    self.stopper.end(found.stop, "stopped")
                    return
            self.stopper.stop(found.stop)
        else:
            events.append(text)

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
            return self.inner.encode(struct.pack(">i", self.of) + message)
        if not self.of:
            return self.mark({"message": message})
        piece: dict[str, Any] = {"piece": message, "of": self.of}
        return self.mark({**piece, "json": True} if self.json else piece)

    def mark(self, envelope: dict[str, Any]) -> Any:
        """Return an envelope as the transport writes it."""
        return self.inner.encode(_encode(envelope).decode())

    def encode_ping(self, payload: bytes = b"") -> Any:
        """Return a ping."""
        return self.inner.encode_ping(payload)

    def encode_close(self, code: int, reason: str = "") -> Any:
        """Return a close frame."""
        return self.inner.encode_close(code, reason)
