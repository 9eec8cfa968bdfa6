"""The rooms of this kernel's bots: they are the server's, and asked for there."""

from __future__ import annotations

import base64
import itertools
import weakref
from collections.abc import Callable
from functools import partial
from threading import get_ident
from typing import Any

from ..backplane.base import Position
from ..config.rooms import USER_ROOM
from ..connection.connection import Connection
from ..engine.payload import to_message
from ..errors import ConnectionRefused, RoomRefused
from ..kernels import events
from ..rooms.face import History, Said
from ..rooms.keeper import the_room
from ..rooms.names import check_room, first_rooms, user_of
from ..rooms.outcome import Outcome
from ..rooms.parts import Asker, ManagersRooms
from ..rooms.people import Member, Members
from ..rooms.room import Published
from ..transports.loop import LoopIO

NOBODY = "no Jupyter server is connected to this kernel, and rooms are the server's"

NAMED = "\x1fnamed:"
"""What the spaces begin with that somebody has named: others are those of a route."""


class ServerRooms(ManagersRooms):
    """The rooms of this kernel's connections: what is asked of them goes to the server.

    Args:
        put: Sends an event to the server, with a buffer and the bytes that it counts for; returns
            whether there is one.
    """

    def __init__(self, put: Callable[[events.Event, bytes | None, int], bool]) -> None:
        super().__init__()
        self._put = put
        self._numbers = itertools.count(1)
        # Most are ignored by who has asked, and go with the last reference.
        self._asked: weakref.WeakValueDictionary[int, Outcome[Any]] = weakref.WeakValueDictionary()
        self._read: dict[int, Callable[[Any], Any]] = {}
        self._joined: dict[Connection, dict[str, None]] = {}
        self._joining: dict[int, tuple[Connection, str]] = {}

    # ---- what a manager asks -------------------------------------------------------------------

    def start(self, io: LoopIO, ask: Asker, failed: Any) -> None:
        """Begin, on the event loop; functions of rooms are asked in the server."""
        self.io = io

    async def stop(self, timeout: float) -> None:
        """End: nobody is answered any more."""
        self.detached()
        self._crossing.end()

    def tick(self, now: float) -> None:
        """Forget the answers that nobody waits for any more."""
        for number in [number for number in self._read if number not in self._asked]:
            self._read.pop(number, None)

    def routes_changed(self) -> None:
        """Do nothing: what holds for rooms is known in the server."""

    def space_named(self, name: str) -> str:
        """Return the space that a name means; whether it is there is for the server to say."""
        return NAMED + name

    def space_of(self, connection: Connection) -> str:
        """Return the space of a connection's rooms: that of its route, whatever its name."""
        return connection.route

    async def may_enter(self, connection: Any) -> None:
        """Do nothing: it was asked in the server."""

    # ---- the answers ---------------------------------------------------------------------------

    def answered(self, event: events.RoomAnswer | events.RoomRefusal) -> None:
        """Take what the server says to something that was asked."""
        outcome = self._asked.pop(event.number, None)
        read = self._read.pop(event.number, None)
        connection, name = self._joining.pop(event.number, (None, ""))
        if connection is not None and isinstance(event, events.RoomRefusal):
            self._joined.get(connection, {}).pop(name, None)
        if outcome is None:
            return
        if isinstance(event, events.RoomRefusal):
            outcome.fail(RoomRefused(event.why))
            return
        try:
            outcome.set(None if read is None else read(event.answer))
        except (TypeError, ValueError) as error:
            outcome.fail(error)

    def not_sent(self, event: events.Event, why: str) -> None:
        """Take note of an event that could not be sent."""
        number = getattr(event, "number", 0)
        if isinstance(event, (events.Say, events.SayTo, events.Join, events.Leave, events.AskRoom)):
            self.answered(events.RoomRefusal(event.name, number, f"it cannot be sent: {why}"))

    def detached(self) -> None:
        """Take note that the server is gone: it answers nothing any more."""
        self._read.clear()
        self._joining.clear()
        for number, outcome in list(self._asked.items()):
            self._asked.pop(number, None)
            outcome.fail(RoomRefused(NOBODY))

    def _send(
        self,
        outcome: Outcome[Any],
        make: Callable[[int], events.Event],
        buffer: bytes | None = None,
        read: Callable[[Any], Any] | None = None,
    ) -> None:
        """Ask the server something, from any thread."""
        size = 256 + (0 if buffer is None else len(buffer))
        if get_ident() == self.io.thread:
            self._send_now(outcome, make, buffer, read, size)
        else:
            self.cross(partial(self._send_now, outcome, make, buffer, read, size), size)

    def _send_now(
        self,
        outcome: Outcome[Any],
        make: Callable[[int], events.Event],
        buffer: bytes | None,
        read: Callable[[Any], Any] | None,
        size: int,
    ) -> None:
        number = next(self._numbers)
        self._asked[number] = outcome
        if read is not None:
            self._read[number] = read
        if not self._put(make(number), buffer, size):
            self._asked.pop(number, None)
            self._read.pop(number, None)
            outcome.fail(RoomRefused(NOBODY))

    # ---- connections ---------------------------------------------------------------------------

    def enter(self, connection: Connection) -> None:
        """Take note of the rooms that the server has put a connection into."""
        try:
            self._joined[connection] = dict.fromkeys(first_rooms(connection))
        except ConnectionRefused:  # the server has its own view of it, and has let it in
            self._joined[connection] = {}

    def join(self, connection: Connection, room: str) -> Outcome[None]:
        """Put a connection into a room; see `connection.membership.InRooms.join`."""
        name = check_room(room)
        if name.startswith(USER_ROOM) and name != USER_ROOM + user_of(connection.current_user):
            raise ValueError(f"expected {USER_ROOM}{{user}} of the connection's own user")
        rooms = self._joined.setdefault(connection, {})
        is_new = name not in rooms
        rooms[name] = None
        outcome: Outcome[None] = Outcome(self.io)

        def make(number: int) -> events.Event:
            if is_new:
                self._joining[number] = connection, name
            return events.Join(connection.id, number, name)

        self._send(outcome, make)
        return outcome

    def leave(self, connection: Connection, room: str) -> Outcome[None]:
        """Take a connection out of a room."""
        name = check_room(room)
        self._joined.get(connection, {}).pop(name, None)
        outcome: Outcome[None] = Outcome(self.io)
        self._send(outcome, lambda number: events.Leave(connection.id, number, name))
        return outcome

    def rooms_of(self, connection: Connection) -> tuple[str, ...]:
        """Return the names of the rooms that a connection is in."""
        return tuple(self._joined.get(connection, ()))

    def lost(self, connection: Connection) -> None:
        """Forget the rooms of a connection that has ended."""
        self._joined.pop(connection, None)

    # ---- messages ------------------------------------------------------------------------------

    def broadcast(
        self, connection: Connection, message: Any, room: str | None, exclude: bool
    ) -> Outcome[Published]:
        """Send a message to all in a room; see `connection.membership.InRooms.broadcast`."""
        name = the_room(self.rooms_of(connection)) if room is None else check_room(room)
        return self.publish(connection.route, name, message, connection.id if exclude else "")

    def publish(self, space: str, room: str, message: Any, exclude: str = "") -> Outcome[Published]:
        """Send a message to all in a room; safe from any thread.

        Raises:
            TypeError: The message is None, or holds what has no JSON form.
        """
        buffer, binary = _bytes_of(message)
        route, named = _named(space)
        outcome: Outcome[Published] = Outcome(self.io)
        self._send(
            outcome,
            lambda number: events.Say(route, number, named, room, exclude, binary),
            buffer,
            lambda answer: Published(*answer),
        )
        return outcome

    def send_to_user(self, user: str, message: Any) -> Outcome[None]:
        """Send a message to all connections of a user to this kernel's bots."""
        buffer, binary = _bytes_of(message)
        outcome: Outcome[None] = Outcome(self.io)
        self._send(outcome, lambda number: events.SayTo(user, number, binary), buffer)
        return outcome

    # ---- what is known of a room ---------------------------------------------------------------

    def members(self, space: str, name: str, limit: int, start: int) -> Outcome[Members]:
        """Return who is in a room, a page of them."""
        outcome: Outcome[Members] = Outcome(self.io)
        make = self._question(space, name, "members", limit, start, None)
        self._send(outcome, make, None, _read_members)
        return outcome

    def said(self, space: str, name: str, limit: int, since: Position | None) -> Outcome[History]:
        """Return what was said last in a room."""
        outcome: Outcome[History] = Outcome(self.io)
        make = self._question(space, name, "history", limit, 0, since)
        self._send(outcome, make, None, _read_history)
        return outcome

    def clear(self, space: str, name: str) -> Outcome[None]:
        """Forget what was said in a room."""
        outcome: Outcome[None] = Outcome(self.io)
        self._send(outcome, self._question(space, name, "clear", 0, 0, None))
        return outcome

    def _question(
        self, space: str, name: str, what: Any, limit: int, start: int, since: Position | None
    ) -> Callable[[int], events.Event]:
        route, named = _named(space)
        place = None if since is None else (since.epoch, since.offset)
        return lambda number: events.AskRoom(route, number, named, name, what, limit, start, place)


def _bytes_of(message: Any) -> tuple[bytes, bool]:
    whole = to_message(message)
    return (whole, True) if isinstance(whole, bytes) else (whole.encode(), False)


def _named(space: str) -> tuple[str, str]:
    """Return the route whose space is meant, or the name of the space."""
    return ("", space.removeprefix(NAMED)) if space.startswith(NAMED) else (space, "")


def _read_members(answer: Any) -> Members:
    people, epoch, offset, total = answer
    return Members([Member(*member) for member in people], Position(epoch, offset), total)


def _read_history(answer: Any) -> History:
    said, epoch, offset, complete = answer
    found = [
        Said(number, text if is_text else base64.b64decode(text), at)
        for number, text, at, is_text in said
    ]
    return History(found, Position(epoch, offset), complete)
