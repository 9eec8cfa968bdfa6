"""One command on its way to a store, and who waits for the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from .scripts import Script


class Request:
    """One command on its way: what it says, and who waits for the answer.

    Args:
        words: The command; for a script the keys and arguments.
        script: The name of the script; empty for a command.
        keys: How many of the words are keys of the script.
        again: Whether it may be sent a second time after a break in which its answer was lost.
        marks: Whether it is a message of a log: its last word is "1" when it is sent again, so that
            the store looks whether it has it.
    """

    __slots__ = (
        "again",
        "at",
        "future",
        "is_sent",
        "keys",
        "loads",
        "marks",
        "roams",
        "script",
        "size",
        "strayed_at",
        "words",
    )

    def __init__(
        self,
        words: Sequence[Any],
        *,
        script: str = "",
        keys: int = 0,
        again: bool = False,
        marks: bool = False,
    ) -> None:
        self.words = list(words)
        self.script = script
        self.keys = keys
        self.again = again
        self.marks = marks
        self.size = 100 + sum(len(word) for word in words if isinstance(word, bytes))
        self.is_sent = False
        self.roams = False
        """Whether it may be answered by another server than the one that it was sent to."""
        self.strayed_at = 0.0
        """Since when it waits for its slot, which is on its way; 0 where it does not."""
        self.loads = 0
        self.at = 0
        self.future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    @property
    def key(self) -> bytes:
        """What says where it belongs: its first key, or the channel that it publishes to."""
        return bytes(self.words[0] if self.script else self.words[1])

    def mark_sent(self, now: int) -> None:
        """Take note that it is being sent, at the link's so many-th look."""
        if self.is_sent and self.marks:
            self.words[-1] = b"1"
        self.is_sent, self.at = True, now

    def copied(self) -> Request:
        """Return the same command for another one to wait for."""
        other = Request(
            self.words, script=self.script, keys=self.keys, again=self.again, marks=self.marks
        )
        other.is_sent, other.roams = self.is_sent, self.roams
        other.future.add_done_callback(seen)
        return other

    def packed(self, scripts: dict[str, Script]) -> list[Any]:
        """Return the words as they are sent."""
        if not self.script:
            return self.words
        return ["EVALSHA", scripts[self.script].sha, self.keys, *self.words]

    def answer(self, reply: Any) -> None:
        """Give the answer to who waits for it."""
        if self.future.done():
            return
        if isinstance(reply, BaseException):
            self.future.set_exception(reply)
            self.future.exception()  # whoever has asked may have gone
        else:
            self.future.set_result(reply)


def seen(future: asyncio.Future[Any]) -> None:
    """Have nobody wonder that nobody has waited for an answer."""
    if not future.cancelled():
        future.exception()
