"""The client's end of a `wsh.v1` connection that outlives breaks; no input or output.

`ClientEnd` makes sense of what comes, `Lasting` counts it, and this is what joins the two over as
many sockets as it takes. Whoever drives it opens the sockets, and says when one was lost.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from ..errors import QueueFull
from ..types import Message
from .asking import HEADER, SUBPROTOCOL, Asked, ClientEnd, NotSpoken, object_of, stop_frame
from .joined import Joined, leave_frame
from .lasting import Lasting, Missing, NotKept

RESUME = "wsh.resume"
"""What a client offers behind the subprotocol that can come back to its connection."""

COMES_BACK = 4900
"""The close code of a client that ends its socket and comes back to its connection."""

NUMBER = 4
"""Bytes behind the head of a binary frame that hold its number (unsigned, big-endian)."""

SECRET_SIZE = 512
"""Characters of a connection's id or secret, at most: they travel in a header field."""


class Confirmed(NamedTuple):
    """The server's first frame.

    Args:
        id: The connection's.
        secret: What it is come back to with; empty where it cannot be.
        window: Seconds that it waits for its client.
        received: The number of the last frame of the client's that the server has taken.
        resumed: Whether it is the connection that was come back to; None where nobody asked.
        reason: Why it is not.
    """

    id: str
    secret: str = ""
    window: float = 0.0
    received: int = 0
    resumed: bool | None = None
    reason: str = ""

    def __repr__(self) -> str:
        return f"Confirmed(id={self.id!r}, resumed={self.resumed!r}, reason={self.reason!r})"


def confirmed(frame: Message) -> Confirmed | None:
    """Return what a server's first frame says; None where it is no such frame.

    Args:
        frame: What came first. A proxy may have agreed to `wsh.v1`, and the server behind it
            speaks something else.
    """
    said = object_of(frame) if isinstance(frame, str) else {}
    id, resume = said.get("id"), said.get("resume")
    if said.get("wsh") != "v1" or not isinstance(id, str):
        return None
    if not isinstance(resume, dict) or not _travels(id) or not _travels(resume.get("secret")):
        return Confirmed(id)
    window, received = resume.get("window"), said.get("received")
    return Confirmed(
        id,
        resume["secret"],
        float(window) if isinstance(window, (int, float)) else 0.0,
        received if type(received) is int and received > 0 else 0,
        said["resumed"] if isinstance(said.get("resumed"), bool) else None,
        str(said.get("reason", "")),
    )


def _travels(text: Any) -> bool:
    """Return whether a text may stand in an offer (a token of RFC 9110 section 5.6.2, no dots)."""
    if not isinstance(text, str) or not 0 < len(text) <= SECRET_SIZE or not text.isascii():
        return False
    return all(char.isalnum() or char in "-_~" for char in text)


def numbered(frame: Message, number: int) -> Message:
    """Return a client's frame with its number.

    Args:
        frame: Text that is a JSON object with a member, or bytes that begin with their head.
        number: From 1.
    """
    if isinstance(frame, bytes):
        return frame[: HEADER.size] + number.to_bytes(NUMBER, "big") + frame[HEADER.size :]
    return f'{{"n": {number}, {frame[1:]}'


@dataclass
class Outgoing:
    """One frame of a client's on its way.

    Args:
        frame: It, without its number.
        message: What its author has sent; None for what is no message.
        asked: The question that it is, if it is one.
        joins: The room that it joins, if it does.
        is_taken: Whether it was sent, or waits to be.
    """

    frame: Message
    message: Message | None = None
    asked: Asked | None = None
    joins: Joined | None = None
    is_taken: bool = False

    def __len__(self) -> int:
        return len(self.frame)


@dataclass(frozen=True)
class Welcome:
    """What has become of a connection on a new socket.

    Args:
        event: Whether it is the "first" socket, it was "resumed", or is another one, "renewed".
        reason: Why it is another one.
        given_up: Messages that were sent and not acknowledged: nobody knows whether they arrived.
    """

    event: Literal["first", "resumed", "renewed"]
    reason: str = ""
    given_up: tuple[Message, ...] = ()


class ClientLife:
    """A client's connection over as many sockets as it takes.

    Args:
        end: What becomes of the frames.
        resume: Whether to come back to it, where the server can.
        messages: How many may wait to be sent, and to be acknowledged, each.
        size: What they measure together at most.

    Attributes:
        is_open: Whether there is a socket, and the server has said whose it is.
        window: Seconds in which it can be come back to; 0 where it cannot.
    """

    def __init__(self, end: ClientEnd, *, resume: bool, messages: int, size: int) -> None:
        self.end = end
        self.is_open = False
        self.window = 0.0
        self._resume = resume
        self._limits = {"messages": messages, "size": size}
        self._secret = ""
        self._lasting: Lasting[Any] | None = None
        self._queue: deque[Outgoing] = deque()
        self._stops: dict[int, None] = {}  # wishes that the server has not fulfilled
        self._stops_again: deque[int] = deque()  # those to repeat after a break
        self._doubtful: list[Outgoing] = []  # written, it seems, to a socket that was lost

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.end.id} {'open' if self.is_open else 'away'}>"

    # ---- sockets -------------------------------------------------------------------------------

    @property
    def offers(self) -> list[str]:
        """What to offer for the next socket; it holds the secret."""
        if not self._resume:
            return [SUBPROTOCOL]
        if self._lasting is None:
            return [SUBPROTOCOL, RESUME]
        come_back = f"{RESUME}.{self.end.id}.{self._secret}.{self._lasting.received}"
        return [SUBPROTOCOL, come_back]

    def lost(self) -> None:
        """Take note that the socket is gone."""
        self.is_open = False
        if self._lasting is not None:
            self._lasting.pause()

    def lose_answers(self) -> None:
        """End the questions whose answers are lost with the socket, as nothing comes back to it."""
        if self._lasting is None:
            self._lose_sent()

    def _lose_sent(self) -> None:
        waiting = {one.asked.number for one in self._queue if one.asked is not None}
        for asked in list(self.end.open.values()):
            if asked.number not in waiting:
                self.end.lose(asked)

    def opened(self, first: Confirmed) -> Welcome:
        """Take the first frame of a new socket.

        Raises:
            NotSpoken: It says what cannot be.
        """
        if first.resumed:
            self._resumed(first)
            welcome = Welcome("resumed")
        else:
            welcome = self._renewed(first)
        self.window = first.window if self._lasting is not None else 0.0
        self.is_open = True
        return welcome

    def _resumed(self, first: Confirmed) -> None:
        if self._lasting is None or first.id != self.end.id:
            raise NotSpoken("a connection is resumed that is not this one")
        try:
            self._lasting.resume(first.received)
        except (Missing, NotKept) as error:
            raise NotSpoken(str(error)) from None
        self._stops_again.extend(self._stops)

    def _renewed(self, first: Confirmed) -> Welcome:
        was, kept = self.end.id, self._doubtful
        if self._lasting is not None:
            kept = self._lasting.renew()[0]
        self._lose_sent()
        self.end.id, self._secret = first.id, first.secret
        self._stops.clear()
        self._stops_again.clear()
        self._doubtful = []
        resumes = self._resume and bool(first.secret)
        self._lasting = Lasting(**self._limits) if resumes else None
        if not was:
            return Welcome("first")
        self._join_again()
        given_up = tuple(one.message for one in kept if one.message is not None)
        return Welcome("renewed", first.reason or "off", given_up)

    def _join_again(self) -> None:
        waiting = [one.joins for one in self._queue if one.joins is not None]
        rooms = [room for room in self.end.rooms.values() if room not in waiting]
        for room in reversed(rooms):
            self._queue.appendleft(Outgoing(room.join_frame(), joins=room))

    # ---- what is sent --------------------------------------------------------------------------

    @property
    def is_full(self) -> bool:
        """Whether as much is unacknowledged as may be."""
        return self._lasting is not None and self._lasting.is_full()

    @property
    def waits(self) -> bool:
        """Whether something is to be sent before anything new."""
        again = self._lasting is not None and self._lasting.unsent > 0
        return again or bool(self._stops_again or self._queue)

    def send(self, outgoing: Outgoing) -> Message:
        """Return a new frame as it is to be written, after those that wait."""
        outgoing.is_taken = True
        if self._lasting is None:
            return outgoing.frame
        number = self._lasting.send(outgoing, len(outgoing))
        self._lasting.take()
        return numbered(outgoing.frame, number)

    def queue(self, outgoing: Outgoing) -> None:
        """Keep a frame until there is a socket.

        Raises:
            QueueFull: As much waits as may.
        """
        count, size = len(self._queue), sum(map(len, self._queue)) + len(outgoing)
        if count >= self._limits["messages"] or (count and size > self._limits["size"]):
            raise QueueFull(
                f"the connection is lost, and {count:,} messages wait until it is back: no more "
                "are kept; connect(..., queue=..., queue_bytes=...) says how many"
            )
        outgoing.is_taken = True
        self._queue.append(outgoing)

    def doubt(self, outgoing: Outgoing) -> None:
        """Take note that a frame was written, or not, to a socket that was lost."""
        if self._lasting is None:
            self._doubtful.append(outgoing)

    def waiting_frames(self) -> Iterator[Message]:
        """Yield the frames to write now, in order; what is yielded counts as written."""
        while self.is_open:
            again = None if self._lasting is None else self._lasting.take()
            if again is not None:
                yield numbered(again.message.frame, again.number)
            elif self._stops_again:
                yield stop_frame(self._stops_again.popleft())
            elif self._queue and not self.is_full:
                yield self.send(self._queue.popleft())
            else:
                return

    def stop(self, asked: Asked) -> str | None:
        """Have an answer stopped; return the frame to write now, if there is one."""
        for one in self._queue:
            if one.asked is asked:
                # The bot has not heard of it.
                self._queue.remove(one)
                self.end.open.pop(asked.number, None)
                asked.how = "stopped"
                return None
        if self._lasting is not None:
            self._stops[asked.number] = None
        return stop_frame(asked.number) if self.is_open else None

    def join(self, room: Joined) -> Outgoing:
        """Begin to join a room, or to ask for more of it; return what is to be sent."""
        self.end.rooms[room.name] = room
        return Outgoing(room.join_frame(), joins=room)

    def forget(self, room: Joined) -> None:
        """Treat what is said in a room as any other message."""
        if self.end.rooms.get(room.name) is room:
            del self.end.rooms[room.name]

    def leave(self, room: Joined) -> Outgoing | None:
        """Leave a room; return what is to be sent, if it is."""
        room.is_left = True
        self.forget(room)
        for one in self._queue:
            if one.joins is room:
                self._queue.remove(one)
                return None
        return Outgoing(leave_frame(room.name)) if self.is_open or self._lasting else None

    # ---- what is received ----------------------------------------------------------------------

    def receive(self, frame: Message, now: float) -> None:
        """Take one frame of the server's after the first one.

        Args:
            frame: Text or bytes.
            now: The time, in seconds.

        Raises:
            NotSpoken: It is none of `wsh.v1`.
            Missing: One before it has not come: the socket is to be ended, with `COMES_BACK`.
        """
        lasting = self._lasting
        if lasting is None:
            self.end.receive(frame)
        elif isinstance(frame, bytes):
            head = HEADER.size + NUMBER
            if len(frame) < head:
                raise NotSpoken("a binary frame without its number")
            number = int.from_bytes(frame[HEADER.size : head], "big")
            if lasting.receive(number, now):
                self.end.answered(HEADER.unpack_from(frame)[0], frame[head:])
        else:
            self._take(object_of(frame), lasting, now)

    def _take(self, said: dict[str, Any], lasting: Lasting[Any], now: float) -> None:
        number, ack = said.pop("n", None), said.get("ack")
        if type(ack) is int:
            try:
                lasting.acknowledged(ack)
            except Missing as error:
                raise NotSpoken(str(error)) from None
        elif number is None or type(number) is not int:
            self.end.take(said)
        elif lasting.receive(number, now):
            self._stops.pop(said.get("end", 0), None)
            self.end.take(said)

    def acknowledge(self, now: float) -> str | None:
        """Return the acknowledgement that is due; None where none is.

        Args:
            now: The time, in seconds.
        """
        number = self._lasting.due(now) if self._lasting is not None and self.is_open else 0
        return json.dumps({"ack": number}) if number else None

    @property
    def due_at(self) -> float:
        """When the next acknowledgement is due, in seconds; 0 where none is owed."""
        return 0.0 if self._lasting is None else self._lasting.due_at
