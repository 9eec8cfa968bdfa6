"""What a bot says, as lines of a terminal: pieces as they come, nothing that a terminal obeys."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from ..types import Message

PLAIN = 0
"""The answer that a message of its own belongs to."""

TOKENS = -(2**31)
"""The stream of a bot that sends `{"token": ...}` and says itself where it ends."""

PROBLEM = ("error", "id", "retry_after", "path", "expected", "found", "reason")
"""What the end of an answer says that has failed, as it is told to plain clients."""

_OBEYED = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]|\r(?!\n)")


class Ended(NamedTuple):
    """The end of one answer: which message it was for, and "done", "stopped", "failed",
    "refused", or "unknown" where it was lost with its connection; and what is told of an error.
    """

    number: int
    how: str
    error: str = ""


class Transcript:
    """What a bot says, written a line or more for each answer.

    Args:
        write: Writes text, at once.
        prefix: What stands before each answer.
        chats: Whether the frames are those of `wsh.v1`.

    Attributes:
        shown: How many messages and pieces the bot has said so far.
    """

    def __init__(self, write: Callable[[str], object], prefix: str, *, chats: bool) -> None:
        self._write = write
        self._prefix = prefix
        self.chats = chats
        self._open: int | None = None  # the answer whose line is not ended yet
        self._at_start = True  # of a line
        self.shown = 0

    @property
    def in_line(self) -> bool:
        """Whether a line is begun and not ended."""
        return self._open is not None

    def receive(self, frame: Message | dict[str, Any]) -> Ended | None:
        """Write one frame, or what it holds; return the end of an answer, where it is one."""
        if not self.chats and not isinstance(frame, dict):
            self._show(frame, PLAIN)
            return None
        if isinstance(frame, bytes):
            number = int.from_bytes(frame[:4], "big", signed=True)
            self._show(frame[4:], number)
            return None
        envelope = frame if isinstance(frame, dict) else json.loads(frame)
        if "message" in envelope:
            self._show(envelope["message"], PLAIN)
        elif "reply" in envelope:
            self._show(envelope["reply"], PLAIN)
        elif "piece" in envelope:
            self._show(envelope["piece"], envelope["of"], whole=bool(envelope.get("json")))
        elif "end" in envelope:
            if self._open in (envelope["end"], TOKENS):
                self.end_line()
            problem = {key: envelope[key] for key in PROBLEM if key in envelope}
            if problem:
                self._show(json.dumps(problem, separators=(",", ":")), PLAIN)
            how, error = envelope.get("how", "done"), envelope.get("error", "")
            return Ended(envelope["end"], str(how), str(error))
        return None

    def end_line(self) -> None:
        """End the line that is begun."""
        if self._open is not None:
            self._open = None
            if not self._at_start:
                self._write("\n")
            self._at_start = True

    def _show(self, what: Message, number: int, *, whole: bool = False) -> None:
        value = {} if isinstance(what, bytes) else _object(what)
        self.shown += value != {"done": True}
        if isinstance(what, bytes):
            text = f"[{len(what)} bytes]"
            self._line(text)
            return
        token = value.get("token")
        if isinstance(token, str):
            self._piece(token, number or TOKENS)
        elif value == {"done": True}:
            if not number:
                self.end_line()
        elif self._prefix and isinstance(value.get("error"), str):
            known = f" (error id {value['id']})" if value.get("id") else ""
            self._line(f"[the bot reports: {value['error']}{known}]")
        elif whole or not number:
            self._line(what)
        else:
            self._piece(what, number)

    def _line(self, text: str) -> None:
        self.end_line()
        self._piece(text, PLAIN)
        self.end_line()
        if not text:
            self._write("\n")

    def _piece(self, text: str, number: int) -> None:
        if self._open != number:
            self.end_line()
            self._open, self._at_start = number, not self._prefix
            self._write(self._prefix)
        if text:
            self._write(harmless(text))
            self._at_start = text.endswith("\n")


def harmless(text: str) -> str:
    r"""Return a text without what a terminal obeys or hides: `\x1b` is written as four characters.

    A bot may pass on what other people have typed.
    """
    return _OBEYED.sub(lambda found: repr(found.group())[1:-1], text)


def _object(text: str) -> dict[str, Any]:
    """Return the JSON object that a text is; an empty one for any other text."""
    if not text.lstrip().startswith("{"):
        return {}
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
