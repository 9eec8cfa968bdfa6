"""A room that a client has joined: what is said in it, and who is there."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from inspect import iscoroutinefunction
from typing import Any, Literal, TypeAlias

from ..engine.joined import Joined, Member
from ..errors import ConnectionClosed, RoomRefused
from .connected import DEFAULT, Timeout
from .core import Core
from .ends import ends_well

__all__ = [
    "AsyncRoom",
    "Member",
    "MembersChange",
    "OnMembers",
    "Place",
    "Room",
    "Since",
    "wanted",
]

_log = logging.getLogger("jupyter_wshandler.client")

Since: TypeAlias = "tuple[str, int] | None"
"""Epoch and offset after which nothing may be missed."""

Call: TypeAlias = Callable[[Coroutine[Any, Any, Any]], Any]
"""Runs a coroutine on the connection's own loop, and waits for it."""


@dataclass(frozen=True)
class MembersChange:
    """What `on_members` is called with.

    Attributes:
        room: The room's name.
        member: Who has come, changed or left; None where the whole list is new, as it is at first.
        change: Which of these: "joined", "changed" (a card, the number of connections) or "left".
    """

    room: str
    member: Member | None
    change: Literal["joined", "changed", "left"] | None
    _joined: Joined = field(repr=False, compare=False)

    @property
    def members(self) -> list[Member]:
        """Who is there now, in the order of their coming."""
        return members_of(self._joined)


OnMembers: TypeAlias = Callable[[MembersChange], object]
"""Is told of each change, on the connection's own event loop or thread: it must not wait."""


def wanted(room: str, since: Since, presence: bool, on_members: OnMembers | None) -> Joined:
    """Return a room that is to be joined; see `Client.join`.

    Raises:
        TypeError: `on_members` is a coroutine function, or nothing that can be called.
        ValueError: `since` is none.
    """
    if on_members is not None and (iscoroutinefunction(on_members) or not callable(on_members)):
        raise TypeError(f"expected a plain function as on_members, found {on_members!r}")
    if since is not None:
        epoch, offset = since
        if not isinstance(epoch, str) or type(offset) is not int or offset < 0:
            raise ValueError(f"expected since=(epoch, offset) as room.since has it, found {since}")
    if on_members is None:
        return Joined(room, since=since, presence=presence)
    joined = Joined(room, since=since, presence=True)

    def changed(member: Member | None, change: Any) -> None:
        try:
            on_members(MembersChange(room, member, change, joined))
        except Exception:
            _log.exception("on_members of room %r has failed", room)

    joined.changed = changed
    return joined


def members_of(joined: Joined) -> list[Member]:
    """Return who is in a room, in the order of their coming."""
    # One whose card was long in the making is told of behind others who have come later.
    return sorted((joined.members or {}).values(), key=_coming)


def _coming(member: Member) -> float:
    return member.since if isinstance(member.since, (int, float)) else float("inf")


class Place:
    """What both kinds of room have.

    Args:
        core: The connection.
        joined: What is known of the room.
        timeout: Seconds that `recv` waits by default, or None for no limit.
    """

    def __init__(self, core: Core, joined: Joined, timeout: float | None) -> None:
        self._core = core
        self._joined = joined
        self.timeout = timeout

    @property
    def name(self) -> str:
        """The room's name."""
        return self._joined.name

    @property
    def members(self) -> list[Member]:
        """Who is there, in the order of their coming; empty without ``presence=True``."""
        return members_of(self._joined)

    @property
    def since(self) -> tuple[str, int] | None:
        """What to give as `since` another time: epoch and offset; None without a history."""
        return self._joined.since

    @property
    def recovered(self) -> bool | None:
        """Whether all came that was missed, by `since` or by a break; None where nobody asked."""
        return self._joined.recovered

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}>"

    def _wait(self, timeout: Timeout) -> float | None:
        return self.timeout if timeout is DEFAULT else timeout

    def _said(self, text: str | None) -> str:
        if text is None:
            raise RoomRefused(f"room {self.name!r} was left")
        return text

    def _ends_well(self, error: ConnectionClosed) -> bool:
        return ends_well(self._core.closing, error.code)


class Room(Place):
    """A room that `Client.join` has joined; iterate over `messages`."""

    def __init__(self, core: Core, joined: Joined, timeout: float | None, call: Call) -> None:
        super().__init__(core, joined, timeout)
        self._call = call

    @property
    def messages(self) -> Room:
        """What is said, message by message, to iterate over."""
        return self

    def recv(self, timeout: Timeout = DEFAULT) -> str:
        """Return the next message that was said; raise as `Client.recv`.

        Raises:
            RoomRefused: The room was left, or is not open to this connection any more.
        """
        return self._said(self._call(self._core.hear(self._joined, self._wait(timeout))))

    def leave(self) -> None:
        """Leave the room."""
        if self._core.state != "closed":
            self._call(self._core.leave(self._joined))

    def __iter__(self) -> Room:
        return self

    def __next__(self) -> str:
        try:
            text: str | None = self._call(self._core.hear(self._joined, None))
            if text is None:
                raise StopIteration
            return text
        except ConnectionClosed as error:
            if self._ends_well(error):
                raise StopIteration from None
            raise


class AsyncRoom(Place):
    """A room that `AsyncClient.join` has joined; iterate over `messages`."""

    @property
    def messages(self) -> AsyncRoom:
        """What is said, message by message, to iterate over."""
        return self

    async def recv(self, timeout: Timeout = DEFAULT) -> str:
        """Return the next message that was said; see `Room.recv`."""
        return self._said(await self._core.hear(self._joined, self._wait(timeout)))

    async def leave(self) -> None:
        """Leave the room."""
        await self._core.leave(self._joined)

    def __aiter__(self) -> AsyncRoom:
        return self

    async def __anext__(self) -> str:
        try:
            text = await self._core.hear(self._joined, None)
            if text is None:
                raise StopAsyncIteration
            return text
        except ConnectionClosed as error:
            if self._ends_well(error):
                raise StopAsyncIteration from None
            raise
