"""Answers of one connection for a client that wants to know where each ends, and to stop it."""

from __future__ import annotations

import contextlib
from typing import Any, Protocol

from ..engine.chat import ChatCodec, How
from ..engine.payload import JsonText, to_message
from ..errors import ConnectionClosed
from ..types import Question, Sendable
from .sending import SENT, Sent
from .work import Work


class Answering(Protocol):
    """What the answers of a connection need of it."""

    @property
    def work(self) -> Work | None:
        """What of it runs now."""

    def write_message(self, message: Sendable) -> Sent:
        """Send one message."""

    def write_frame(self, frame: Any) -> None:
        """Send what is no message of a callback's, if the connection is open."""

    def make_room(self) -> Sent:
        """Apply the policy of the queue to what was written; return what waits for room."""

    def take_back(self, number: int) -> bool:
        """Take a message from the inbox; return whether it was there."""

    def admits_control(self) -> bool:
        """Return whether the route's `ratelimit` lets one more ping pass, or what counts as one."""

    def cancel(self, why: str) -> None:
        """Interrupt the callback that runs."""


class Answers:
    """The answers of one connection: which message each belongs to, and how it was stopped.

    One callback of a connection runs at a time, so there is one answer at a time. Plain clients
    have no such object, and get plain frames.

    Args:
        connection: The connection.
        codec: Writes the envelopes.
    """

    __slots__ = ("_codec", "_connection", "_how", "_streams", "current", "stopping")

    def __init__(self, connection: Answering, codec: ChatCodec) -> None:
        self._connection = connection
        self._codec = codec
        self._streams = 0  # generators that answered no message
        self._how: How = "done"
        self.current = 0
        """The message that is being answered; below 0 for a stream of another callback."""
        self.stopping = False
        """Whether a generator is to be closed at its next item."""

    # ---- driven by callbacks/run.py --------------------------------------------------------

    def begin(self, question: Question) -> str:
        """Take note that a message is being handled; return it as the callback gets it."""
        self.current = question.number
        self._mark({"begin": question.number})
        return question.text

    def write(self, item: Sendable) -> Sent:
        """Send what a generator has yielded, as a piece of the answer.

        Args:
            item: What `write_message` takes.
        """
        if self.stopping:
            return SENT
        if not self.current:
            self._streams += 1
            self.current = -self._streams
        codec = self._codec
        text = isinstance(item, (str, bytes, bytearray, memoryview)) and type(item) is not JsonText
        codec.of, codec.json = self.current, not text
        try:
            return self._connection.write_message(item if text else to_message(item))
        finally:
            codec.of, codec.json = 0, False

    def goes_on(self) -> bool:
        """Return whether a generator is asked for its next item; one that is not was stopped."""
        if self.stopping:
            self._how = "stopped"
        return not self.stopping

    def failed(self) -> None:
        """Take note that the callback has raised something."""
        if self._how == "done":
            self._how = "failed"

    def over(self) -> Sent:
        """Tell the client that a callback has run to its end."""
        number, how = self.current, self._how
        self.current, self._how, self.stopping = 0, "done", False
        return self.end(number, how) if number else SENT

    async def finish(self) -> None:
        """Tell the client that a callback has run to its end, and wait until there is room.

        Else one that reads nothing, and sends, would fill the memory with ends.
        """
        if self.current:
            with contextlib.suppress(ConnectionClosed):
                await self.over()
        else:
            self._how, self.stopping = "done", False

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
            number: The message's id; one that is answered, or never came, is ignored.
        """
        work = self._connection.work
        if number != self.current:
            self.skip(number)
        elif work is not None and work.callback is not None:
            if work.callback.inline or work.streaming:
                self._how = "stopped"
                self._connection.cancel("stopped")
            else:
                self.stopping = True

    def skip(self, number: int) -> bool:
        """Take a message from the inbox; return whether it was there."""
        found = self._connection.take_back(number)
        if found:
            self.end(number, "stopped")
        return found

    # ---- to the client ---------------------------------------------------------------------

    def end(self, number: int, how: How) -> Sent:
        """Tell the client that nothing more comes in answer to a message.

        Returns:
            What `write_message` does: ignored, a full queue is handled by the route's `queue`.
        """
        self._mark({"end": number, "how": how})
        return self._connection.make_room()

    def _mark(self, envelope: dict[str, object]) -> None:
        self._connection.write_frame(self._codec.mark(envelope))
