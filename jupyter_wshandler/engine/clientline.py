"""The client's end of a connection of `wsh.v1` that outlives breaks; no input or output.

`engine.asking` is what such a connection says; here it is numbered, kept until the server has it,
and said again after a break. `engine.numbered` is the server's end.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from ..types import Message
from .asking import HEADER, NotSpoken
from .lasting import Lasting, Missing
from .resuming import HEAD, ComeBack, offer

KEPT = 1000
"""Messages that a client keeps until the server has acknowledged them, where nothing else is
said; with more it must wait."""

KEPT_BYTES = 4 * 1024 * 1024
"""Bytes in them."""


class Gap(ConnectionError):
    """A frame is missing, as of a page that was frozen: close with 4900, and come back."""


class Begun(NamedTuple):
    """What the server's first frame has said.

    Args:
        id: The connection's id.
        resumes: Whether it outlives breaks.
        resumed: Whether it is the one of before; what was not acknowledged leaves again by itself.
        reason: Why it is another one, where the client has come back; else empty.
        given_up: Frames that have left by the one before, and nobody knows what became of them.
            Those that have never left do so now.
    """

    id: str
    resumes: bool
    resumed: bool = False
    reason: str = ""
    given_up: tuple[Message, ...] = ()


class ClientLine:
    """What a client keeps of one connection through all its breaks.

    For each way to the server: list `subprotocols`, give the first frame to `begin`, then all that
    comes to `receive`, and send what `leaving` returns; tell `broke` when the way has ended.

    Args:
        messages: How many are kept at most that the server has not acknowledged.
        size: Bytes in them.

    Attributes:
        id: The connection's id; empty before the first.
        resumes: Whether it outlives breaks: the server may know nothing of that.
        window: Seconds that the server waits for it; 0 where it does not.
    """

    def __init__(self, *, messages: int = KEPT, size: int = KEPT_BYTES) -> None:
        self._lasting: Lasting[Message] = Lasting(messages=messages, size=size)
        self._secret = ""
        self.id = ""
        self.resumes = False
        self.window = 0.0

    def __repr__(self) -> str:
        return f"<ClientLine of {self.id or 'no connection yet'}>"

    @property
    def subprotocols(self) -> list[str]:
        """What to list in the handshake."""
        if not self.resumes:
            return offer()
        return offer(ComeBack(self.id, self._secret, self._lasting.received))

    def begin(self, frame: Message) -> Begun:
        """Take the first frame of a way to the server.

        Args:
            frame: It.

        Raises:
            NotSpoken: It is none: whoever is there does not speak `wsh.v1`.
        """
        said = _object(frame)
        resume = said.get("resume")
        if said.get("wsh") != "v1" or not isinstance(said.get("id"), str):
            raise NotSpoken("a first frame that is none of wsh.v1")
        if self.resumes and said.get("resumed") is True and said["id"] == self.id:
            try:
                self._lasting.resume(_number(said.get("received")))
            except (Missing, LookupError) as error:
                raise NotSpoken(f"a server that goes on elsewhere: {error}") from None
            return Begun(self.id, resumes=True, resumed=True)
        reason = str(said.get("reason", "")) or ("unknown" if self.resumes else "")
        gone, unsent = self._lasting.renew()
        for waiting in unsent:
            self.say(waiting)
        self.id = said["id"]
        self.resumes = isinstance(resume, dict) and isinstance(resume.get("secret"), str)
        self._secret = resume["secret"] if self.resumes else ""  # type: ignore[index]
        window = resume.get("window") if self.resumes else 0.0  # type: ignore[union-attr]
        self.window = float(window) if isinstance(window, (int, float)) else 0.0
        return Begun(self.id, self.resumes, False, reason, tuple(gone))

    def broke(self) -> None:
        """Take note that the way to the server has ended, and another one may follow."""
        self._lasting.pause()

    def end(self) -> tuple[list[Message], list[Message]]:
        """Let go of what is kept, as nothing follows.

        Returns:
            The frames that have left and were never acknowledged, and those that have never left.
        """
        return self._lasting.renew()

    # ---- to the server -----------------------------------------------------------------------

    @property
    def is_full(self) -> bool:
        """Whether no more should be said before the server has acknowledged something."""
        return self._lasting.is_full()

    @property
    def waiting(self) -> int:
        """How many frames have not left by the way of today."""
        return self._lasting.unsent

    def say(self, frame: Message) -> None:
        """Keep a frame that is counted: a message, or the wish to join or leave a room.

        Args:
            frame: As `asking.message_frame` returns it.
        """
        size = len(frame) if isinstance(frame, bytes) or frame.isascii() else len(frame.encode())
        self._lasting.send(frame, size)

    def leaving(self) -> Message | None:
        """Return the next frame to send, with its number; None where there is none."""
        found = self._lasting.take()
        if found is None or found.message is None:
            return None
        return numbered(found.message, found.number)

    @property
    def due_at(self) -> float:
        """When the next acknowledgement is due, in seconds; 0 where none is owed."""
        return self._lasting.due_at

    def acknowledgement(self, now: float) -> str | None:
        """Return what to send now so that the server lets go of what has come; None for nothing.

        Args:
            now: The time, in seconds; ask after each frame, and once a second.
        """
        number = self._lasting.due(now)
        return json.dumps({"ack": number}) if number else None

    # ---- from the server ---------------------------------------------------------------------

    def receive(self, frame: Message, now: float) -> Message | None:
        """Take a frame; return it without its number, or None where it is not to be delivered.

        Args:
            frame: One after the first, of a connection that resumes.
            now: The time, in seconds.

        Raises:
            Gap: One before it has not come.
            NotSpoken: It is none of `wsh.v1`, or has no number.
        """
        if isinstance(frame, bytes):
            if len(frame) < HEAD.size:
                raise NotSpoken("a binary frame without its number")
            of, number = HEAD.unpack_from(frame)
            is_new = self._receive(number, now)
            return HEADER.pack(of) + frame[HEAD.size :] if is_new else None
        said = _object(frame)
        if "ack" in said:
            try:
                self._lasting.acknowledged(_number(said["ack"]))
            except Missing as missing:
                raise NotSpoken(str(missing)) from None
            return None
        return frame if self._receive(_number(said.get("n")), now) else None

    def _receive(self, number: int, now: float) -> bool:
        try:
            return self._lasting.receive(number, now)
        except Missing as missing:
            raise Gap(str(missing)) from None


def numbered(frame: Message, number: int) -> Message:
    """Return a client's frame with its number.

    Args:
        frame: As `asking.message_frame` returns it.
        number: Counts up from 1.
    """
    if isinstance(frame, bytes):
        return HEAD.pack(HEADER.unpack_from(frame)[0], number) + frame[HEADER.size :]
    return f'{frame.rstrip()[:-1]}, "n": {number}}}'


def _object(frame: Message) -> dict[str, Any]:
    try:
        found = json.loads(frame) if isinstance(frame, str) else None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise NotSpoken("a frame that is no JSON object")
    return found


def _number(found: object) -> int:
    if type(found) is not int or found < 0:
        raise NotSpoken("a frame without its number")
    return found
