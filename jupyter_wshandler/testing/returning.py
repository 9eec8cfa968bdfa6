"""The way of a chat that can come back after a break: `wsh.v1` with numbers, in memory.

Nothing of it is made for tests: the frames are those that travel, the bot's end of them is a
`connection.line.Line`, and the client's is the `ClientLine` that the Python client has, too.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from typing import Any

from ..engine.asking import HEADER, message_frame
from ..engine.clientline import ClientLine
from ..engine.frames import Event
from ..engine.joined import Joined, leave_frame
from ..engine.messages import Close, Frame, MessageProtocol, Ping, Pong
from ..engine.resuming import come_back
from ..manager.resuming import Resumes
from ..types import Message, Question, Wish
from .asking import BytesOf, End, TextOf
from .roomside import Told, said_in
from .transport import ChatTransport, Client


class ReturningWay:
    """What a client that can come back has in place of one transport.

    Args:
        loop: The bot's event loop, on which all of this runs.
        client: Gets what the bot sends, as by any other way.
        users: The names of who comes; another user could not come back.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, client: Client, users: tuple[str, ...]
    ) -> None:
        self.users = users
        self._loop = loop
        self._client = client
        self._line = ClientLine()
        self._transport: ChatTransport | None = None
        self._has_begun = False
        self._reading = True
        self._look: asyncio.TimerHandle | None = None

    def transport(self) -> ChatTransport:
        """Return a new transport, which is the way of today."""
        transport = self._transport = ChatTransport(self._loop, self._deliver, self._ended)
        transport.reading = self._reading
        return transport

    # ---- to the bot ----------------------------------------------------------------------------

    def feed(self, events: Iterable[Event | Question | Wish]) -> None:
        """Say what the client says; while it is away messages and wishes wait."""
        for event in events:
            if not isinstance(event, (Pong, Close)):
                self._line.say(_frame_of(event))
                self._pump()
            elif self._transport is not None:
                self._transport.feed((event,))
            elif isinstance(event, Close):
                self._expire()

    def _pump(self) -> None:
        while self._has_begun and self._transport is not None:
            frame = self._line.leaving()
            if frame is None:
                return
            self._transport.feed((frame,))

    def pause(self) -> None:
        """Read no more."""
        self._reading = False
        if self._transport is not None:
            self._transport.pause()

    def resume(self) -> None:
        """Read what waits, and go on."""
        self._reading = True
        if self._transport is not None:
            self._transport.resume()

    def lost(self) -> None:
        """End for good without a word, as somebody who never comes back: nobody waits for it."""
        self.break_off()
        self._loop.call_soon(self._expire)  # behind what tells the connection

    # ---- a break -------------------------------------------------------------------------------

    @property
    def is_away(self) -> bool:
        """Whether there is no way to the bot now."""
        return self._transport is None

    def break_off(self) -> None:
        """Lose the way of today, with all that is on it."""
        transport, self._transport = self._transport, None
        self._has_begun = False
        if transport is not None:
            self._line.broke()
            transport.lost()

    def come_back(self, resumes: Resumes) -> bool:
        """Come back by another way; return whether the connection is still there.

        Args:
            resumes: Knows who may come back to what.
        """
        connection = self._client.connection
        said = come_back(self._line.subprotocols)
        assert connection is not None
        assert said is not None
        found = resumes.find(said, connection, self.users)
        if isinstance(found, str) or found.line is None:
            resumes.give_up(said)
            self._client.lost()
            return False
        found.line.take_up(self.transport(), MessageProtocol(), (), said)
        self._pump()
        return True

    def _expire(self) -> None:
        connection = self._client.connection
        if connection is not None and connection.line is not None:
            connection.line.expire()

    def _ended(self) -> None:
        # The bot's side has ended it. Where it believes that the client may come back, as after a
        # close with 1001, it need not wait.
        self._client.lost()
        self._loop.call_soon(self._expire)

    # ---- from the bot --------------------------------------------------------------------------

    def _deliver(self, frame: Frame) -> None:
        if isinstance(frame, (Ping, Close)):
            self._client.deliver(frame)
            return
        if not self._has_begun:
            self._line.begin(frame)
            self._has_begun = True
            return
        counted = self._line.receive(frame, self._loop.time())
        told = None if counted is None else _told(counted)
        if told is not None:
            self._client.deliver(told)
        if self._line.due_at and self._look is None:
            self._look = self._loop.call_at(self._line.due_at, self._acknowledge)
        elif self._look is not None and self._line.due_at < self._look.when():
            self._look.cancel()
            self._look = self._loop.call_at(self._line.due_at, self._acknowledge)

    def _acknowledge(self) -> None:
        self._look = None
        if self._transport is None or not self._has_begun:
            return  # who comes back says what has come
        frame = self._line.acknowledgement(self._loop.time())
        if frame is not None:
            self._transport.feed((frame,))


def _frame_of(event: Any) -> Message:
    """Return what a client says as it travels, without its number."""
    if isinstance(event, Question):
        return message_frame(event.message, event.number)
    if not isinstance(event, Wish):
        return message_frame(event)
    if not event.joins:
        return leave_frame(event.room)
    return Joined(event.room, since=event.since, presence=event.presence).join_frame()


def _told(frame: Message) -> Any:
    """Return what has travelled as a plain chat gets it; None for what is not told."""
    if isinstance(frame, bytes):
        of, rest = HEADER.unpack_from(frame)[0], frame[HEADER.size :]
        return BytesOf(rest, of) if of > 0 else rest
    said: dict[str, Any] = json.loads(frame)
    if "message" in said:
        words = ("room", "offset", "epoch")
        place: dict[str, Any] = {word: said[word] for word in words if word in said}
        return said_in(said["message"], place) if place else said["message"]
    if "of" in said:
        text: str = said["piece"] if "piece" in said else said["reply"]
        return TextOf(text, said["of"], bool(said.get("json"))) if said["of"] > 0 else text
    if "end" not in said:
        told = Told()
        told.said = said
        return told if len(said) > 1 else None  # only a number: the route's queue has dropped it
    if said["end"] < 0:
        return None
    end = End()
    end.said = said
    return end


__all__ = ["ReturningWay"]
