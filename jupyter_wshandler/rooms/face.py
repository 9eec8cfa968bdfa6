"""`wsh.room` and `wsh.to_user`: a room, or a user, to speak to from anywhere."""

from __future__ import annotations

from threading import get_ident
from typing import Any, NamedTuple, Protocol, TypeVar

from ..backplane.base import Position
from ..transports.loop import LoopIO
from ..types import Message, Sendable
from .names import check_room
from .outcome import Outcome
from .people import Members
from .room import Published

T = TypeVar("T")

MEMBERS = 1000
"""Members that are listed at a time, where nothing else is said."""


class Said(NamedTuple):
    """A message of a room's history."""

    offset: int
    message: Message
    at: float
    """Seconds since 1970."""


class History(list[Said]):
    """What was said last in a room, the oldest first.

    Args:
        said: The messages.
        position: The end of the log.
        complete: Whether that is all that came after what was asked for.
    """

    def __init__(self, said: list[Said], position: Position, complete: bool) -> None:
        super().__init__(said)
        self.epoch, self.offset = position
        self.complete = complete


class RoomHost(Protocol):
    """Who has the rooms: a server's own, or what leads to those of a kernel's server."""

    @property
    def io(self) -> LoopIO:
        """The event loop of the bots."""

    def publish(self, space: str, room: str, message: Any, exclude: str = "") -> Outcome[Published]:
        """Send a message to all in a room."""

    def members(self, space: str, name: str, limit: int, start: int) -> Outcome[Members]:
        """Return who is in a room."""

    def said(self, space: str, name: str, limit: int, since: Position | None) -> Outcome[History]:
        """Return what was said last in a room."""

    def clear(self, space: str, name: str) -> Outcome[None]:
        """Forget what was said in a room."""

    def send_to_user(self, user: str, message: Any) -> Outcome[None]:
        """Send a message to all connections of a user."""


class RoomFace:
    """A room, whoever looks at it; what `wsh.room` returns.

    Args:
        host: Who has the rooms.
        space: The space.
        name: The room's name.
    """

    __slots__ = ("_host", "_space", "name")

    def __init__(self, host: RoomHost, space: str, name: str) -> None:
        self._host = host
        self._space = space
        self.name = check_room(name)

    def send(self, message: Sendable) -> Outcome[Published]:
        """Send a message to all in the room; safe from any thread, and it waits for nobody.

        Args:
            message: What ``handler.write_message`` takes.

        Returns:
            What may be awaited, or asked for its `result` in a thread: a `Published`.

        Raises:
            TypeError: The message is None, or holds what has no JSON form.
        """
        return self._host.publish(self._space, self.name, message)

    def members(self, limit: int = MEMBERS, start: int = 0) -> Any:
        """Return who is in the room, in the order in which they have come; needs `presence`.

        Args:
            limit: People to return, at most.
            start: How many come before them.

        Returns:
            A list of `Member`, with `offset` and `total`: in a thread or a cell at once; on the
            event loop it is to be awaited.

        Raises:
            RoomRefused: The routes of the space have no `presence`.
        """
        return self._now_or_later(self._host.members(self._space, self.name, limit, start))

    def history(self, limit: int = 0, since: Position | None = None) -> Any:
        """Return what was said last in the room, the oldest first; needs `history`.

        Args:
            limit: Messages to return, at most, the newest ones; 0 is no limit.
            since: ``(epoch, offset)`` of the last message that is known.

        Returns:
            A list of `Said`, with `epoch`, `offset` and `complete`: in a thread or a cell at
            once; on the event loop it is to be awaited.

        Raises:
            RoomRefused: The routes of the space have no `history`.
        """
        place = None if since is None else Position(*since)
        return self._now_or_later(self._host.said(self._space, self.name, limit, place))

    def clear(self) -> Outcome[None]:
        """Forget what was said in the room; safe from any thread."""
        return self._host.clear(self._space, self.name)

    def _now_or_later(self, outcome: Outcome[T]) -> T | Outcome[T]:
        return outcome if get_ident() == self._host.io.thread else outcome.result()

    def __repr__(self) -> str:
        return f"<Room {self.name!r}>"


class UserFace:
    """All connections of one user; what `wsh.to_user` returns.

    Args:
        host: Who has the rooms.
        name: The user's name.
    """

    __slots__ = ("_host", "name")

    def __init__(self, host: RoomHost, name: str) -> None:
        self._host = host
        self.name = name

    def send(self, message: Sendable) -> Outcome[None]:
        """Send a message to all connections of the user; safe from any thread.

        Args:
            message: What ``handler.write_message`` takes.

        Returns:
            What may be awaited, or asked for its `result` in a thread.

        Raises:
            TypeError: The message is None, or holds what has no JSON form.
        """
        return self._host.send_to_user(self.name, message)

    def __repr__(self) -> str:
        return f"<User {self.name!r}>"
