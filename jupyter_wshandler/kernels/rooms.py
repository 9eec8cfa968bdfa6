"""What a kernel asks of its server's rooms: for its own connections, in spaces of notebooks."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol

from ..backplane.base import Position
from ..connection.host import Host, RoomKeeper
from ..errors import ConnectionClosed, RoomRefused
from ..routes import Route
from .connection import KernelConnection
from .courier import Courier
from .events import AskRoom, Join, Leave, OfRooms, RoomAnswer, RoomRefusal, Say, SayTo

MAX_ANSWER = 1024 * 1024
"""Characters of messages in one answer about a room's history; older ones are left out."""

MAX_MEMBERS = 1000
"""Members in one answer."""


class KernelRooms(RoomKeeper, Protocol):
    """Who has the rooms of a server; what it returns has `then`, see `rooms.outcome`."""

    def space_for(self, route: Route | None, named: str) -> str:
        """Return the space of a kernel's route, or the one of notebooks that has a name."""

    def publish(self, space: str, room: str, message: Any, exclude: str = "") -> Any:
        """Send a message to all in a room."""

    def members(self, space: str, name: str, limit: int, start: int) -> Any:
        """Return who is in a room."""

    def said(self, space: str, name: str, limit: int, since: Any) -> Any:
        """Return what was said last in a room."""

    def clear(self, space: str, name: str) -> Any:
        """Forget what was said in a room."""

    def is_user(self, connection: Any, user: str) -> bool:
        """Return whether a connection is a user's."""


class RoomsOwner(Host, Protocol):
    """What owns the connections of kernels' routes, and their rooms."""

    @property
    def rooms(self) -> KernelRooms:
        """Who has the rooms."""


class KernelsRooms:
    """Does what one kernel asks of rooms, and answers it.

    Args:
        rooms: The server's rooms.
        route_of: Returns the kernel's route of a name, or None.
        connections: The kernel's connections by id.
        courier: Sends the answers.
    """

    def __init__(
        self,
        rooms: KernelRooms,
        route_of: Callable[[str], Route | None],
        connections: Mapping[str, KernelConnection],
        courier: Courier,
    ) -> None:
        self._rooms = rooms
        self._route_of = route_of
        self._connections = connections
        self._courier = courier

    def do(self, said: OfRooms, buffer: bytes) -> None:
        """Do what a kernel asks.

        Raises:
            ValueError: It cannot be read.
        """
        try:
            outcome = self._begin(said, buffer)
        except (ValueError, LookupError, RoomRefused, ConnectionClosed) as error:
            self._answer(said, None, error)
            return
        if outcome is None:
            self._answer(said, None, None)
        else:
            outcome.then(partial(self._answer, said))

    def _begin(self, said: OfRooms, buffer: bytes) -> Any:
        if isinstance(said, (Join, Leave)):
            connection = self._connections.get(said.name)
            if connection is None:
                raise ConnectionClosed("the connection has ended")
            if isinstance(said, Join):
                return self._rooms.join(connection, said.room)
            return self._rooms.leave(connection, said.room)
        if isinstance(said, SayTo):
            message = buffer if said.binary else buffer.decode()
            for connection in tuple(self._connections.values()):
                if not connection.closed and self._rooms.is_user(connection, said.name):
                    connection.write_message(message)
            return None
        space = self._space(said.name, said.space)
        if isinstance(said, Say):
            message = buffer if said.binary else buffer.decode()
            return self._rooms.publish(space, said.room, message, said.exclude)
        if said.wish == "members":
            limit = min(max(1, said.limit), MAX_MEMBERS)
            return self._rooms.members(space, said.room, limit, max(0, said.start))
        if said.wish == "history":
            since = None if said.since is None else Position(*said.since)
            return self._rooms.said(space, said.room, max(0, said.limit), since)
        return self._rooms.clear(space, said.room)

    def _space(self, name: str, space: str) -> str:
        route = self._route_of(name) if name else None
        if route is None and not space:
            raise LookupError(f"there is no route {name[:200]!r} of this kernel")
        return self._rooms.space_for(route, space)

    def _answer(self, said: OfRooms, value: Any, error: BaseException | None) -> None:
        if error is not None:
            why = str(error)[:1000].encode(errors="replace").decode()
            self._courier.put(RoomRefusal(said.name, said.number, why), size=256 + len(why))
            return
        answer: Any = None
        size = 128
        if isinstance(said, Say):
            answer = list(value)
        elif isinstance(said, AskRoom) and said.wish == "members":
            people = [list(member) for member in value]
            answer = [people, value.epoch, value.offset, value.total]
            size += sum(len(str(member)) for member in people)
        elif isinstance(said, AskRoom) and said.wish == "history":
            answer, size = _history(value)
        self._courier.put(RoomAnswer(said.name, said.number, answer), size=size)


def _history(history: Any) -> tuple[list[Any], int]:
    """Return what was said as JSON values, the newest of it where it is much, and its size."""
    found: list[Any] = []
    size, complete = 128, history.complete
    for said in reversed(history):
        is_text = isinstance(said.message, str)
        text = said.message if is_text else base64.b64encode(said.message).decode()
        size += 32 + len(text)
        if size > MAX_ANSWER and found:
            complete = False
            break
        found.append([said.offset, text, said.at, is_text])
    return [found[::-1], history.epoch, history.offset, complete], size
