"""The client's end of the subprotocol `wsh.v1`; no input or output.

`engine.envelope` is the server's end, and `docs/protocol.md` says what travels between the two.
"""

from __future__ import annotations

import json
import struct
from collections import deque
from typing import Any, Final, Literal

from ..errors import AnswerFailed
from ..types import Message
from .joined import Joined, room_of

SUBPROTOCOL = "wsh.v1"

LAST = 2**31 - 1
"""The largest number of a question."""

HEADER = struct.Struct(">i")
"""What a binary frame begins with: the number of the question or of the answer, 0 for none."""

How = Literal["done", "stopped", "failed", "refused"]

Ending = How | Literal["unknown"]

UNKNOWN: Final = "unknown"
"""How a question ends whose answer was lost with its connection; no server says so."""

_HOWS = ("done", "stopped", "failed", "refused")

_PROBLEM = ("error", "id", "retry_after", "path", "expected", "found", "reason")


class NotSpoken(ValueError):
    """A frame that no server sends that speaks `wsh.v1`."""


def message_frame(message: Message, number: int = 0) -> Message:
    """Return a client's message as it travels.

    Args:
        message: The text, or the bytes.
        number: Its number, above 0; 0 where nobody asks about its answer.
    """
    if isinstance(message, bytes):
        return HEADER.pack(number) + message
    said: dict[str, Any] = {"message": message}
    return json.dumps({**said, "ask": number} if number else said, ensure_ascii=False)


def stop_frame(number: int) -> str:
    """Return the wish that an answer is stopped, as it travels."""
    return json.dumps({"stop": number})


def confirmed_by(frame: Message) -> str | None:
    """Return the connection's id that a server's first frame names; None where it is no such frame.

    Args:
        frame: What came first. A proxy may have agreed to `wsh.v1`, and the server behind it
            speaks something else.
    """
    said = object_of(frame) if isinstance(frame, str) else {}
    if said.get("wsh") != "v1" or not isinstance(said.get("id"), str):
        return None
    return str(said["id"])


class Asked:
    """One question of the client's, and what has come of it.

    Args:
        number: Its number.

    Attributes:
        values: What the bot has answered, and nobody has taken yet: text as str, binary as bytes,
            and anything else as what its JSON holds.
        how: How the answer has ended, `UNKNOWN` included; None while it has not.
        streamed: Whether a generator has answered; known at the end.
        problem: What the end says of a failure or a refusal.
        is_sent: Whether the question has been written to a socket.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.is_sent = False
        self.values: deque[Any] = deque()
        self.how: Ending | None = None
        self.streamed = False
        self.problem: dict[str, Any] = {}

    def result(self) -> Any:
        """Return the value of an answer that has ended: a list where a generator has answered.

        Raises:
            AnswerFailed: It was stopped, has failed, or was refused.
        """
        self.check()
        if self.streamed:
            return list(self.values)
        return self.values[0] if self.values else None

    def check(self) -> None:
        """Raise where the answer has not ended well.

        Raises:
            AnswerFailed: It was stopped, has failed, was refused, or was lost.
        """
        problem = self.problem
        if self.how == UNKNOWN:
            raise AnswerFailed(
                "the connection was lost before the whole answer came, and the new one knows "
                "nothing of it: the bot may have handled the message, or not",
                UNKNOWN,
            )
        if self.how == "stopped":
            raise AnswerFailed("the answer was stopped", "stopped")
        if self.how == "refused" and "reason" in problem:
            raise AnswerFailed(f"the message was refused: {problem['reason']}", "refused")
        if self.how == "refused" and problem.get("error") == "message":
            raise AnswerFailed(
                f"the message was refused: {problem.get('path')}: expected "
                f"{problem.get('expected')}, found {problem.get('found')}",
                "refused",
                path=str(problem.get("path", "")),
            )
        if self.how == "refused":
            wait = problem.get("retry_after")
            hint = f"; try again in {wait:g} s" if isinstance(wait, (int, float)) else ""
            text = f"the message was refused: it is over the route's ratelimit{hint}"
            raise AnswerFailed(text, "refused", retry_after=wait if hint else None)
        if self.how == "failed":
            error_id = str(problem.get("id", ""))
            where = "the server's log, or the bot's cell, has the error"
            named = f" (id {error_id})" if error_id else ""
            raise AnswerFailed(f"the bot has failed{named}; {where}", "failed", id=error_id)


class ClientEnd:
    """The client's end of one connection.

    Args:
        id: The connection's id, as the server's first frame names it.

    Attributes:
        messages: What is no answer to a question, and nobody has taken yet.
        open: The questions whose answers have not ended, by number.
        rooms: The rooms that it has joined, or wants to.
        move: Seconds after which the server wants it to come back elsewhere; None where it says
            nothing of that.
    """

    def __init__(self, id: str) -> None:
        self.id = id
        self.messages: deque[Any] = deque()
        self.open: dict[int, Asked] = {}
        self.rooms: dict[str, Joined] = {}
        self.move: float | None = None
        self._last = 0

    def ask(self, message: Message) -> tuple[Asked, Message]:
        """Begin a question; return it, and the frame to send.

        Args:
            message: The text, or the bytes.
        """
        self._last += 1
        asked = self.open[self._last] = Asked(self._last)
        return asked, message_frame(message, self._last)

    def receive(self, frame: Message) -> None:
        """Take one frame of the server's after the first one.

        What it does not know it ignores: a later server may say more.

        Args:
            frame: Text or bytes.

        Raises:
            NotSpoken: It is none of `wsh.v1`.
        """
        if isinstance(frame, bytes):
            if len(frame) < HEADER.size:
                raise NotSpoken("a binary frame without its number")
            self.answered(HEADER.unpack_from(frame)[0], frame[HEADER.size :])
            return
        self.take(object_of(frame))

    def take(self, said: dict[str, Any]) -> None:
        """Take what a text frame holds; see `receive`.

        Raises:
            NotSpoken: A piece that is called JSON is none.
        """
        number = said.get("of", said.get("end"))
        room = self.rooms.get(room_of(said))
        if room is not None:
            room.take(said)
        elif isinstance(said.get("message"), str):
            self.messages.append(said["message"])
        elif isinstance(text := said.get("piece", said.get("reply")), str) and type(number) is int:
            self.answered(number, text, is_json=bool(said.get("json")))
        elif "end" in said and type(number) is int and said.get("how") in _HOWS:
            self.ended(said)
        else:
            self.sent_away(said)

    def sent_away(self, said: dict[str, Any]) -> None:
        """Take note of it where a frame says that the server wants its client elsewhere."""
        seconds = said.get("move")
        if isinstance(seconds, (int, float)) and not isinstance(seconds, bool):
            self.move = max(0.0, seconds)

    def answered(self, number: int, message: Message, *, is_json: bool = False) -> None:
        """Take one value of an answer.

        Args:
            number: Of the question; 0 and below where it answers none.
            message: The text, or the bytes.
            is_json: Whether the value is what the text holds.

        Raises:
            NotSpoken: It is no JSON.
        """
        try:
            value = json.loads(message) if is_json else message
        except ValueError:
            raise NotSpoken("a piece that is no JSON and is called so") from None
        asked = self.open.get(number)
        if asked is not None:
            asked.values.append(value)
        elif number <= 0:
            # What a generator yields that answers no question is a message like others.
            self.messages.append(message)

    def ended(self, said: dict[str, Any]) -> None:
        """Take the end of an answer, as the server says it."""
        asked = self.open.pop(said["end"], None)
        if asked is None:
            return
        asked.how = said["how"]
        asked.streamed = said.get("streamed") is True
        asked.problem = {key: said[key] for key in _PROBLEM if key in said}

    def settle(self, asked: Asked, how: Ending) -> None:
        """End a question of which the server says nothing more.

        Args:
            asked: It.
            how: Where it was taken back "stopped", and `UNKNOWN` where its connection was lost.
        """
        self.open.pop(asked.number, None)
        asked.how = how

    @property
    def unread(self) -> int:
        """How much has come that nobody has taken yet."""
        answers = sum(len(asked.values) for asked in self.open.values())
        return len(self.messages) + answers + sum(len(r.messages) for r in self.rooms.values())

    def forget(self, asked: Asked) -> None:
        """Drop what still comes of a question that nobody waits for any more."""
        self.open.pop(asked.number, None)


def object_of(text: str) -> dict[str, Any]:
    """Return the JSON object that a text frame holds; an empty one where it holds none."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
