"""Joins and leaves that clients ask for over the wire: who may, and in which order."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from ..config.rooms import USER_ROOM, why_not_name
from ..connection.connection import Connection
from ..errors import ConnectionClosed, ConnectionRefused, RoomRefused
from ..guard import sheltered
from ..types import Wish
from .names import first_rooms, user_of
from .parts import Asker

MAX_WAITING = 64
"""Joins of one connection that wait for those before them, at most."""

NO_NAME = "this is no name of a room"
NOT_OPEN = "this room is not open to you"
TOO_MANY = "there is no room for one more room"


class Joining(Protocol):
    """Who puts connections into rooms."""

    def rooms_of(self, connection: Connection) -> tuple[str, ...]:
        """Return the names of the rooms that a connection is in."""

    def join_by_wire(self, connection: Connection, wish: Wish) -> None:
        """Put a connection into a room, and have its client told."""

    def leave_by_wire(self, connection: Connection, name: str) -> None:
        """Take a connection out of a room that it is in, and have its client told."""


class _Line:
    """The joins of one connection that are not done."""

    __slots__ = ("asked", "waiting")

    def __init__(self) -> None:
        self.waiting: deque[Wish] = deque()
        self.asked: Wish | None = None

    def take_back(self, room: str) -> bool:
        """Forget the joins of a room; return whether there were any."""
        kept = deque(wish for wish in self.waiting if wish.room != room)
        found = len(kept) < len(self.waiting)
        self.waiting = kept
        if self.asked is not None and self.asked.room == room:
            self.asked, found = None, True
        return found

    def end(self) -> None:
        """Forget all."""
        self.waiting.clear()
        self.asked = None


class Wishes:
    """What clients want of rooms, done in order for each connection, and never all at once.

    A join waits for the answer of the route's `may_join`, and for room in the client's queue. A
    leave waits for nothing, and takes back the joins of its room that wait.

    Args:
        rooms: Puts connections into rooms.
        ask: Calls a function of a route's for a connection.
        failed: Writes what such a function has raised; gets the connection, a label, the error.
        do: Runs a coroutine as a task of the rooms'.
    """

    def __init__(
        self,
        rooms: Joining,
        ask: Asker,
        failed: Callable[[Connection, str, BaseException], object],
        do: Callable[[Any, str], object],
    ) -> None:
        self._rooms = rooms
        self._ask = ask
        self._failed = failed
        self._do = do
        self._lines: dict[Connection, _Line] = {}

    def take(self, connection: Connection, wish: Wish) -> None:
        """Take what the client of a connection wants of a room."""
        if not wish.joins:
            self._leave(connection, wish.room)
            return
        line = self._lines.get(connection)
        if line is not None:
            if len(line.waiting) < MAX_WAITING:
                line.waiting.append(wish)
            else:
                _refuse(connection, wish, TOO_MANY)
            return
        line = self._lines[connection] = _Line()
        if self._is_known(connection, wish):
            self._join(connection, wish)
        else:
            line.waiting.append(wish)
        # The next one has its turn in another turn of the loop: what a room has to tell is much.
        self._do(self._work_off(connection, line), f"joins {connection.id}")

    def forget(self, connection: Connection) -> None:
        """Drop what a connection wants: it is lost."""
        line = self._lines.get(connection)
        if line is not None:
            line.end()

    def _leave(self, connection: Connection, name: str) -> None:
        line = self._lines.get(connection)
        was_wanted = line is not None and line.take_back(name)
        if name in self._rooms.rooms_of(connection):
            self._rooms.leave_by_wire(connection, name)
        elif was_wanted or connection.admits_control():
            # One that has no effect costs no join before it, and counts as a ping does.
            _say(connection, {"left": name})

    async def _work_off(self, connection: Connection, line: _Line) -> None:
        try:
            with contextlib.suppress(ConnectionClosed):
                while True:
                    await connection.wait_for_room()
                    await asyncio.sleep(0)
                    if not line.waiting or connection.closed:
                        return
                    wish = line.asked = line.waiting.popleft()
                    why = await self._why_not(connection, wish)
                    if line.asked is not wish:
                        continue  # it was taken back meanwhile
                    line.asked = None
                    if why:
                        _refuse(connection, wish, why)
                    else:
                        self._join(connection, wish)
        finally:
            if self._lines.get(connection) is line:
                del self._lines[connection]

    def _join(self, connection: Connection, wish: Wish) -> None:
        try:
            self._rooms.join_by_wire(connection, wish)
        except RoomRefused:
            _refuse(connection, wish, TOO_MANY)
        except ConnectionClosed:
            pass

    # ---- who may -------------------------------------------------------------------------------

    def _is_known(self, connection: Connection, wish: Wish) -> bool:
        """Return whether a connection is in a room already, so that nobody is asked."""
        return wish.room in self._rooms.rooms_of(connection)

    async def _why_not(self, connection: Connection, wish: Wish) -> str:
        """Return why a client may not join a room; empty where it may."""
        name = wish.room
        if why_not_name(name) is not None:
            return NO_NAME
        if name.startswith(USER_ROOM):
            user = user_of(connection.current_user)
            if not user or name != USER_ROOM + user:
                return NOT_OPEN
        if self._is_known(connection, wish):
            return ""
        callback = connection.entry.callbacks.get("may_join")
        try:
            if callback is None:
                # Nobody says who may: then it is those whom the route itself has put in.
                return "" if name in first_rooms(connection) else NOT_OPEN
            answer = await self._ask(connection, callback, connection, name)
            return "" if sheltered("may_join", bool, answer) else NOT_OPEN
        except ConnectionRefused:
            return NOT_OPEN
        except Exception as error:
            label = "may_join" if callback is None else f"{callback.name} (may_join)"
            self._failed(connection, label, error)
            return NOT_OPEN


def _refuse(connection: Connection, wish: Wish, detail: str) -> None:
    _say(connection, {"refused": wish.room, "error": "room", "detail": detail})


def _say(connection: Connection, envelope: dict[str, Any]) -> None:
    if connection.chat_answers is not None:
        connection.chat_answers.say(envelope)
