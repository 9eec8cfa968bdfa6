"""The questions of a chat: `wsh.v1` in one process, where nothing has to become JSON to travel."""

from __future__ import annotations

from typing import Any

from ..engine.asking import Asked, ClientEnd
from ..engine.envelope import EnvelopeCodec, Wrong
from ..engine.messages import Frame
from ..types import Message, Question


class TextOf(str):
    """Text that answers a question."""

    of: int
    json: bool

    def __new__(cls, text: str, of: int, json: bool) -> TextOf:
        """Return the text with the number of the question, and whether it is JSON."""
        made = super().__new__(cls, text)
        made.of, made.json = of, json
        return made


class BytesOf(bytes):
    """Bytes that answer a question."""

    of: int

    def __new__(cls, data: bytes, of: int) -> BytesOf:
        """Return the bytes with the number of the question."""
        made = super().__new__(cls, data)
        made.of = of
        return made


class End(str):
    """The end of an answer, as `wsh.v1` says it; it has a text's place in a queue."""

    said: dict[str, Any]


class Quiet(EnvelopeCodec):
    """The server's end, where all but answers to questions is left plain.

    So whoever only sends and reads meets the queue and the limits of a plain client.
    """

    __slots__ = ()

    def receive(self, data: Any, limit: int, room: int) -> list[Any]:
        """Return what came: messages, and questions as they are."""
        events = self.inner.receive(data, limit, room)
        for event in events:
            if type(event) is Question:
                try:
                    self._check(event.message, event.size)
                except Wrong as error:
                    self.stopper.violated(*error.args)
        return events

    def limit(self, max_message: int, said: int = 0) -> None:
        """Set the size of the largest message from now on, in bytes."""
        super().limit(max_message, said)
        self.inner.limit(max_message, said)

    def encode(self, message: Message) -> Any:
        """Return a message, with the number of the question that it answers."""
        encoded = self.inner.encode(message)
        if self.of <= 0:
            return encoded
        if isinstance(encoded, bytes):
            return BytesOf(encoded, self.of)
        return TextOf(encoded, self.of, self.json)

    def encode_said(self, message: Message, place: dict[str, Any]) -> Any:
        """Return a message of a room as a plain client gets it."""
        return self.inner.encode(message)

    def mark(self, envelope: dict[str, Any]) -> Any:
        """Return the end of an answer; None for the end of what answers no question."""
        if envelope.get("end", -1) < 0:
            return None
        end = End()
        end.said = envelope
        return end


class Asking:
    """What a chat has asked, and what has come of it."""

    def __init__(self) -> None:
        self._end = ClientEnd("chat")

    def ask(self, message: Message) -> tuple[Asked, Question]:
        """Begin a question; return it, and what to feed to the bot."""
        asked, frame = self._end.ask(message)
        return asked, Question(asked.number, message, len(frame))

    def takes(self, frame: Frame) -> bool:
        """Take one frame of the bot's; return whether it belongs to a question."""
        if isinstance(frame, End):
            self._end.ended(frame.said)
        elif isinstance(frame, TextOf):
            self._end.answered(frame.of, str.__str__(frame), is_json=frame.json)
        elif isinstance(frame, BytesOf):
            self._end.answered(frame.of, bytes(frame))
        else:
            return False
        return True

    def forget(self, asked: Asked) -> None:
        """Drop what still comes of a question that nobody waits for any more."""
        self._end.forget(asked)
