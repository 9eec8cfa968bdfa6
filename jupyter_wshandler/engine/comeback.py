"""A client's connection over as many sockets as it takes; no input or output.

`ClientEnd` makes sense of what comes, and `ClientLine` counts it. This joins the two, and keeps
what waits for a socket. Whoever drives it opens the sockets, and says when one was lost.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

from ..errors import QueueFull
from ..types import Message
from .asking import HEADER, SUBPROTOCOL, UNKNOWN, Asked, ClientEnd, object_of, stop_frame
from .clientline import ClientLine
from .joined import Joined, leave_frame
from .lasting import ACK_EACH
from .resuming import offer

UNDER_WAY = 2 * ACK_EACH
"""Messages that may be unacknowledged in any case: fewer would wait for the server's clock."""

UNDER_WAY_BYTES = 64 * 2**20
"""Bytes in them: large messages are acknowledged after `ACK_AFTER` only."""


@dataclass(eq=False)
class Outgoing:
    """One frame of a client's on its way.

    Args:
        frame: It, without its number.
        asked: The question that it is, if it is one.
        joins: The room that it joins, if it does.
        leaves: Whether it leaves a room.
        is_taken: Whether it was sent, or waits to be.
    """

    frame: Message
    asked: Asked | None = None
    joins: Joined | None = None
    leaves: bool = False
    is_taken: bool = False

    def __len__(self) -> int:
        return len(self.frame)


@dataclass(frozen=True)
class Welcome:
    """What has become of a connection on a new socket.

    Args:
        event: Whether it is the "first" socket, it was "resumed", or is another one, "renewed".
        reason: Why it is another one.
        unsure: Messages that were sent and not acknowledged: nobody knows whether they arrived.
    """

    event: Literal["first", "resumed", "renewed"]
    reason: str = ""
    unsure: tuple[Message, ...] = ()


class Remains(NamedTuple):
    """What an end leaves of the messages that were given to a connection.

    Args:
        unsure: Those that were sent and not acknowledged.
        unsent: Those that were never sent.
    """

    unsure: tuple[Message, ...]
    unsent: tuple[Message, ...]


class ClientLife:
    """A client's connection over as many sockets as it takes.

    Args:
        end: What becomes of the frames.
        resume: Whether to come back to it, where the server can.
        messages: How many may wait for a socket.
        size: What they measure together at most.

    Attributes:
        is_open: Whether there is a socket, and the server has said whose it is.
        is_moving: Whether it leaves its server, or has left it, as that has said that it stops.
    """

    def __init__(self, end: ClientEnd, *, resume: bool, messages: int, size: int) -> None:
        self.end = end
        self.is_open = False
        self.is_moving = False
        self._resume = resume
        self._messages, self._size = messages, size
        self._line = ClientLine(messages=max(messages, UNDER_WAY), size=max(size, UNDER_WAY_BYTES))
        self._queue: deque[Outgoing] = deque()
        self._stops: dict[int, None] = {}  # wishes that the server has not fulfilled
        self._stops_again: deque[int] = deque()  # those to repeat after a break
        self._doubtful: list[Message] = []  # written, it seems, to a socket that was lost

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.end.id} {'open' if self.is_open else 'away'}>"

    # ---- sockets -------------------------------------------------------------------------------

    @property
    def offers(self) -> list[str]:
        """What to offer for the next socket; it may hold the secret."""
        if self._resume and not self.is_moving:
            return self._line.subprotocols
        return offer() if self._resume else [SUBPROTOCOL]

    @property
    def window(self) -> float:
        """Seconds in which it can be come back to; 0 where it cannot."""
        return self._line.window

    def lost(self) -> None:
        """Take note that the socket is gone."""
        if self.is_open:
            self.is_open = False
            self._line.broke()

    def lose_answers(self) -> None:
        """End the questions whose answers are lost with the socket, as nothing comes back to it."""
        if not self._line.resumes:
            self._lose_sent()

    def _lose_sent(self) -> None:
        # Those that wait here, or for whoever sends them to learn that the socket is closing, are
        # for the next one.
        for asked in list(self.end.open.values()):
            if asked.is_sent:
                self.end.settle(asked, UNKNOWN)

    def opened(self, frame: Message) -> Welcome:
        """Take the first frame of a new socket.

        Raises:
            NotSpoken: It is none, or says what cannot be.
        """
        was, self.end.move = self._line.id, None
        moved, self.is_moving = self.is_moving, False
        begun = self._line.begin(frame)
        self.is_open = True
        self.end.id = begun.id
        if begun.resumed:
            self._stops_again.extend(self._stops)
            return Welcome("resumed")
        self._lose_sent()
        self._stops.clear()
        self._stops_again.clear()
        doubtful, self._doubtful = self._doubtful, []
        if not was:
            return Welcome("first")
        self._join_again()
        messages = messages_of((*begun.given_up, *doubtful))
        return Welcome("renewed", "moved" if moved else begun.reason or "off", messages)

    def over(self, *, delivered: bool) -> Remains:
        """Let go of everything, as it has ended for good; return what has not arrived.

        Args:
            delivered: Whether the server has said that it has got all that was sent, as its answer
                to a close frame does.
        """
        self.lost()
        gone, waiting = self._line.end()
        doubtful, self._doubtful = self._doubtful, []
        queue, self._queue = self._queue, deque()
        unsure = () if delivered else messages_of((*gone, *doubtful))
        return Remains(unsure, messages_of((*waiting, *(one.frame for one in queue))))

    def _join_again(self) -> None:
        waiting = [one.joins for one in self._queue if one.joins is not None]
        rooms = [room for room in self.end.rooms.values() if room not in waiting]
        for room in reversed(rooms):
            self._queue.appendleft(Outgoing(room.join_frame(), joins=room))

    # ---- what is sent --------------------------------------------------------------------------

    @property
    def is_full(self) -> bool:
        """Whether as much is unacknowledged as may be."""
        return self._line.is_full

    @property
    def waits(self) -> bool:
        """Whether something is to be sent before anything new."""
        return bool(self._line.waiting or self._stops_again or self._queue)

    def send(self, outgoing: Outgoing) -> Message:
        """Return a new frame as it is to be written, where nothing waits before it."""
        outgoing.is_taken = True
        if outgoing.asked is not None:
            outgoing.asked.is_sent = True
        if not self._line.resumes:
            return outgoing.frame
        self._line.say(outgoing.frame)
        frame = self._line.leaving()
        assert frame is not None
        return frame

    def queue(self, outgoing: Outgoing) -> None:
        """Keep a frame until there is a socket; a leave in any case, as left is left.

        Raises:
            QueueFull: As much waits as may.
        """
        count, size = len(self._queue), sum(map(len, self._queue)) + len(outgoing)
        is_full = count >= self._messages or (count and size > self._size)
        if is_full and not outgoing.leaves:
            raise QueueFull(
                f"the connection is lost, and {count:,} messages wait until it is back: no more "
                "are kept; connect(..., queue=..., queue_bytes=...) says how many"
            )
        outgoing.is_taken = True
        self._queue.append(outgoing)

    def doubt(self, frame: Message) -> None:
        """Take note that a frame was written, or not, to a socket that was lost."""
        if not self._line.resumes:
            self._doubtful.append(frame)

    def waiting_frames(self) -> Iterator[Message]:
        """Yield the frames to write now, in order; what is yielded counts as written."""
        while self.is_open:
            again = self._line.leaving()
            if again is not None:
                yield again
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
                self.end.settle(asked, "stopped")
                return None
        if self._line.resumes:
            self._stops[asked.number] = None
        return stop_frame(asked.number) if self.is_open else None

    # ---- rooms ---------------------------------------------------------------------------------

    def join(self, room: Joined) -> Outgoing:
        """Begin to join a room, or to ask for more of it; return what is to be sent."""
        self.end.rooms[room.name] = room
        return Outgoing(room.join_frame(), joins=room)

    def forget(self, room: Joined) -> None:
        """Treat what is said in a room as any other message."""
        if self.end.rooms.get(room.name) is room:
            del self.end.rooms[room.name]

    def leave(self, room: Joined) -> Outgoing | None:
        """Leave a room; return what is to be sent, if anything is."""
        if room.is_left:
            return None
        room.is_left = True
        self.forget(room)
        for one in self._queue:
            if one.joins is room:
                self._queue.remove(one)
                return None
        if not self.is_open and not self._line.resumes:
            return None
        return Outgoing(leave_frame(room.name), leaves=True)

    # ---- what is received ----------------------------------------------------------------------

    def receive(self, frame: Message, now: float) -> None:
        """Take one frame of the server's after the first one.

        Args:
            frame: Text or bytes.
            now: The time, in seconds.

        Raises:
            NotSpoken: It is none of `wsh.v1`.
            Gap: One before it has not come: the socket is to be ended, with `COMES_BACK`.
        """
        if not self._line.resumes:
            self.end.receive(frame)
            return
        counted = self._line.receive(frame, now)
        if isinstance(counted, bytes):
            self.end.receive(counted)
        elif counted is not None:
            said = object_of(counted)
            if type(number := said.get("end")) is int:
                self._stops.pop(number, None)
            self.end.take(said)

    def acknowledge(self, now: float) -> str | None:
        """Return the acknowledgement that is due; None where none is.

        Args:
            now: The time, in seconds.
        """
        return self._line.acknowledgement(now) if self.is_open else None

    @property
    def due_at(self) -> float:
        """When the next acknowledgement is due, in seconds; 0 where none is owed."""
        return self._line.due_at


def messages_of(frames: Iterable[Message]) -> tuple[Message, ...]:
    """Return the messages that are in a client's frames without a number."""
    found = (message_of(frame) for frame in frames)
    return tuple(message for message in found if message is not None)


def message_of(frame: Message) -> Message | None:
    """Return the message of a client's frame without a number; None where it has none."""
    if isinstance(frame, bytes):
        return frame[HEADER.size :]
    message = object_of(frame).get("message")
    return message if isinstance(message, str) else None
