"""The functions of presence: what is shown of a member, and who hears of comings and goings."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from ..backplane.base import Entry
from ..connection.connection import Connection
from ..engine.jsontext import to_json
from ..types import Callback
from .base import Settings
from .face import RoomFace, RoomHost
from .names import person_of
from .parts import Asker
from .people import Difference
from .room import Room

MAX_CARD = 4096
"""Characters of a card's JSON text."""

MAX_WAITING = 10_000
"""Comings and goings of one room that wait for their callback; more are left out."""


class Showing(RoomHost, Protocol):
    """Who has the rooms, and puts members into their lists."""

    def shown(self, room: Room, connection: Connection, entry: Entry) -> None:
        """Put a connection into the list of a room's members, unless it has left meanwhile."""


class Cards:
    """What calls `card`, `on_join` and `on_leave`.

    Args:
        rooms: The rooms.
        ask: Calls a function of a route's for a connection.
        failed: Writes what such a function has raised; gets the connection, a label, the error.
        do: Runs a coroutine as a task of the rooms'.
    """

    def __init__(
        self,
        rooms: Showing,
        ask: Asker,
        failed: Callable[[Connection, str, BaseException], object],
        do: Callable[[Any, str], object],
    ) -> None:
        self._rooms = rooms
        self._ask = ask
        self._failed = failed
        self._do = do
        self._asked: set[tuple[str, str]] = set()
        self._lines: dict[tuple[str, str], deque[tuple[Callback, Difference, Connection]]] = {}
        self.stopping = False
        """Whether nobody is expected back any more."""

    # ---- cards ---------------------------------------------------------------------------------

    def show(self, room: Room, connection: Connection, settings: Settings) -> None:
        """Put a connection into a room's list of members, once its card is known.

        Args:
            room: A room that it has joined.
            connection: The connection.
            settings: What holds for the room's space.
        """
        callback = None if settings.route is None else settings.route.callbacks.get("card")
        entry = Entry(person_of(connection), default_card(connection), time.time())
        if callback is None:
            self._rooms.shown(room, connection, entry)
            return
        key = (room.channel, connection.id)
        self._asked.add(key)
        self._do(self._make(room, connection, entry, callback, key), f"card {connection.id}")

    async def _make(
        self,
        room: Room,
        connection: Connection,
        entry: Entry,
        callback: Callback,
        key: tuple[str, str],
    ) -> None:
        try:
            made = await self._ask(connection, callback, connection)
            size = len(to_json(made))
            if size > MAX_CARD:
                raise ValueError(
                    f"{callback.name}: expected a card of at most {MAX_CARD} characters as JSON, "
                    f"found {size}"
                )
            entry = Entry(entry.person, made, entry.since)
        except Exception as error:
            self._failed(connection, f"{callback.name} (card)", error)
        if key in self._asked:
            self._asked.discard(key)
            self._rooms.shown(room, connection, entry)

    def forget(self, room: Room, connection: Connection) -> None:
        """Wait for the card of a connection no longer: it has left the room."""
        self._asked.discard((room.channel, connection.id))

    # ---- comings and goings --------------------------------------------------------------------

    def tell(
        self,
        space: str,
        name: str,
        settings: Settings,
        difference: Difference,
        connection: Connection,
    ) -> None:
        """Have `on_join` or `on_leave` called, in the order of the differences of the room.

        Args:
            space: The room's space.
            name: Its name.
            settings: What holds for the space.
            difference: Who has come or gone.
            connection: The connection that they came or went with.
        """
        callbacks = {} if settings.route is None else settings.route.callbacks
        callback = callbacks.get(f"on_{difference.kind}")
        if callback is None:
            return
        line = self._lines.get((space, name))
        if line is None:
            line = self._lines[space, name] = deque()
            self._do(self._work_off(space, name, line), f"members of {name}")
        if len(line) >= MAX_WAITING:
            error = OverflowError(f"{MAX_WAITING} comings and goings wait for it; one is left out")
            self._failed(connection, callback.name, error)
            return
        line.append((callback, difference, connection))

    async def _work_off(
        self, space: str, name: str, line: deque[tuple[Callback, Difference, Connection]]
    ) -> None:
        room = RoomFace(self._rooms, space, name)
        try:
            while line:
                callback, difference, connection = line.popleft()
                try:
                    await self._ask(connection, callback, room, difference.member)
                except Exception as error:
                    self._failed(connection, callback.name, error)
        finally:
            self._lines.pop((space, name), None)


def default_card(connection: Connection) -> dict[str, Any]:
    """Return what is shown of a member where the route has no `card`: a name."""
    user = connection.current_user
    for attribute in ("display_name", "name", "username"):
        name = getattr(user, attribute, None)
        if isinstance(name, str) and name:
            return {"name": name[: MAX_CARD // 8]}
    return {"name": "visitor"}
