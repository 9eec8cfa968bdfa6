"""Answers of one connection for a client that wants to know where each ends, and to stop it."""

from __future__ import annotations

import contextlib
from typing import Any, Protocol

from ..engine.asking import How
from ..engine.envelope import EnvelopeCodec
from ..engine.payload import JsonText, to_message
from ..errors import ConnectionClosed
from ..types import Message, Question, Sendable
from .line import Line
from .sending import SENT, Sent


class Answering(Protocol):
    """What the answers of a connection need of it."""

    id: str

    def write_message(self, message: Sendable) -> Sent:
        """Send one message."""

    def write_frame(self, frame: Any) -> None:
        """Send what is no message of a callback's, if the connection is open."""

    def deliver_said(self) -> None:
        """Send what was said in rooms until now, so that what is written next comes after it."""

    def make_room(self) -> Sent:
        """Apply the policy of the queue to what was written; return what waits for room."""

    def take_back(self, number: int) -> bool:
        """Take a message from the inbox; return whether it was there."""

    def admits_control(self) -> bool:
        """Return whether the route's `ratelimit` lets one more ping pass, or what counts as one."""

    def stop_callback(self) -> bool:
        """Interrupt the callback that runs; return False where it goes on for now."""

    def end(self, code: int, reason: str) -> None:
        """Begin the closing handshake."""


class Answers:
    """The answers of one connection: which message each belongs to, and how it was stopped.

    One callback of a connection runs at a time, so there is one answer at a time. Plain clients
    have no such object, and get plain frames.

    Args:
        connection: The connection.
        codec: Writes the envelopes.
        confirms: Whether it is for this side to tell the client that they are spoken.
    """

    __slots__ = (
        "_codec",
        "_confirms",
        "_connection",
        "_how",
        "_problem",
        "_streamed",
        "_streams",
        "away",
        "current",
        "line",
    )

    def __init__(
        self, connection: Answering, codec: EnvelopeCodec, *, confirms: bool = True
    ) -> None:
        self._connection = connection
        self._codec = codec
        self._confirms = confirms
        self._streams = 0  # generators that answered no message
        self._how: How = "done"
        self._streamed = False
        self._problem: dict[str, object] | None = None
        self.away = False
        """Whether the client is away: its way here has broken, and it may come back."""
        self.line: Line | None = None
        """What outlives that, where the route has `resume` and the client can do it, too."""
        self.current = 0
        """The message that is being answered; below 0 for a stream of another callback."""

    def confirm(self) -> None:
        """Tell the client that `wsh.v1` holds: a proxy may have agreed to it of itself."""
        if self._confirms:
            more = {} if self.line is None else self.line.introduction()
            frame = self._codec.announce({"wsh": "v1", "id": self._connection.id, **more})
            self._connection.write_frame(frame)

    def say(self, envelope: dict[str, Any]) -> Sent:
        """Tell the client something that is no message, such as that it is in a room.

        Args:
            envelope: What the frame says.

        Returns:
            What `write_message` does: ignored, a full queue is handled by the route's `queue`.
        """
        frame = self._codec.mark(envelope)
        if frame is None:  # it is not told; see `testing.asking`
            return SENT
        self._connection.write_frame(frame)
        return self._connection.make_room()

    # ---- driven by callbacks/run.py --------------------------------------------------------

    def begin(self, question: Question) -> Message:
        """Take note that a message is being handled; return it as the callback gets it."""
        self.current = question.number
        return question.message

    def streams(self) -> None:
        """Take note that the answer is what a generator yields."""
        self._streamed = True

    def yielded(self, item: Sendable) -> Sent:
        """Send what a generator has yielded, as a piece of the answer.

        Args:
            item: What `write_message` takes.
        """
        if not self.current:
            self._streams += 1
            self.current = -self._streams
        return self._part("piece", item)

    def returned(self, result: Sendable) -> Sent:
        """Send what a callback has returned; as the answer, where somebody has asked for one.

        Args:
            result: What `write_message` takes.
        """
        if not self.current:
            return self._connection.write_message(result)
        return self._part("reply", result)

    def _part(self, part: str, item: Sendable) -> Sent:
        codec = self._codec
        text = isinstance(item, (str, bytes, bytearray, memoryview)) and type(item) is not JsonText
        self._connection.deliver_said()  # which is no part of the answer
        codec.of, codec.part, codec.json = self.current, part, not text
        try:
            return self._connection.write_message(item if text else to_message(item))
        finally:
            codec.of, codec.json = 0, False

    def stopped(self) -> None:
        """Take note that the callback was stopped before its end."""
        self._how = "stopped"

    def failed(self) -> None:
        """Take note that the callback has raised something."""
        if self._how == "done":
            self._how = "failed"

    def tell(self, problem: dict[str, object]) -> bool:
        """Have the end of the answer say what went wrong.

        Args:
            problem: What a plain client is told in a message of its own.

        Returns:
            Whether it will: somebody has asked for this answer.
        """
        if self.current > 0:
            self._problem = problem
        return self.current > 0

    def refused(self, problem: dict[str, object]) -> bool:
        """Take note that no function was given the message, and have the end say why.

        Args:
            problem: What a plain client is told in a message of its own.

        Returns:
            Whether it will: somebody has asked for this answer.
        """
        self._how = "refused"
        return self.tell(problem)

    def over(self) -> Sent:
        """Tell the client that a callback has run to its end."""
        number, how = self.current, self._how
        more = dict(self._problem or {}) if how in ("failed", "refused") else {}
        if self._streamed:
            more["streamed"] = True
        self._forget()
        return self.end(number, how, more) if number else SENT

    def _forget(self) -> None:
        self.current, self._how, self._streamed, self._problem = 0, "done", False, None

    async def finish(self) -> None:
        """Tell the client that a callback has run to its end, and wait until there is room.

        Else one that reads nothing, and sends, would fill the memory with ends.
        """
        if self.current:
            with contextlib.suppress(ConnectionClosed):
                await self.over()
        else:
            self._forget()

    # ---- driven by the client --------------------------------------------------------------

    def admits_stop(self) -> bool:
        """Return whether the route's `ratelimit` lets one more stop pass; it counts as a ping."""
        return self._connection.admits_control()

    def stop(self, number: int) -> None:
        """Stop the answer to a message, or take it from the inbox where it waits.

        A coroutine is cancelled, and with it the generator that it waits for. A thread cannot be
        interrupted: there a generator is closed between two items, and a function runs to its end
        and was not stopped.

        Args:
            number: The message's number; one that is answered is ignored.
        """
        if number != self.current:
            self.skip(number)
        elif self._connection.stop_callback():
            self._how = "stopped"

    def skip(self, number: int) -> bool:
        """Take a message from the inbox; return whether it was there."""
        found = self._connection.take_back(number)
        if found:
            self.end(number, "stopped")
        return found

    def violated(self, code: int, reason: str) -> None:
        """End the connection: the client does not speak `wsh.v1`.

        Args:
            code: A close code.
            reason: What is wrong, at most 123 bytes.
        """
        self._connection.end(code, reason)

    # ---- to the client ---------------------------------------------------------------------

    def end(self, number: int, how: How, more: dict[str, object] | None = None) -> Sent:
        """Tell the client that nothing more comes in answer to a message.

        Args:
            number: The message's number.
            how: "done", "stopped", "failed", or "refused" (no function was given the message).
            more: What else the end says: what went wrong, and whether a generator has answered.

        Returns:
            What `write_message` does: ignored, a full queue is handled by the route's `queue`.
        """
        return self.say({"end": number, "how": how, **(more or {})})
