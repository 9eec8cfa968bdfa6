"""Who runs the callbacks of connections."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Protocol

from ..routes import Route
from ..sessions.manager import Session
from ..transports.loop import LoopIO
from ..types import Callback, Wish
from .observer import Observers
from .opening import Opening


class RoomKeeper(Protocol):
    """Who knows the rooms that connections are in; `Any` stands for a `Connection` here, too."""

    def enter(self, connection: Any) -> None:
        """Put a connection that opens into the rooms of its route."""

    def wished(self, connection: Any, wish: Wish) -> None:
        """Take what the client of a connection wants of a room."""

    def join(self, connection: Any, room: str) -> Any:
        """Put a connection into a room; awaited, it is in."""

    def leave(self, connection: Any, room: str) -> Any:
        """Take a connection out of a room; without effect where it is not in it."""

    def rooms_of(self, connection: Any) -> tuple[str, ...]:
        """Return the names of the rooms that a connection is in."""

    def broadcast(self, connection: Any, message: Any, room: str | None, exclude: bool) -> Any:
        """Send a message to all in a room; awaited, it says what happened."""


class Host(Protocol):
    """Who runs the callbacks of connections: the manager, a kernel's bridge, or a test's own.

    A connection knows its host and is made by it, so this module cannot know `Connection`: where
    `Any` stands for a connection, it is one.
    """

    @property
    def io(self) -> LoopIO:
        """What the connections of its event loop share."""

    @property
    def log(self) -> logging.Logger | logging.LoggerAdapter[Any]:
        """Where lines about connections go."""

    @property
    def busy(self) -> bool:
        """Whether it takes no new connections now."""

    @property
    def observers(self) -> Observers:
        """Who hears what becomes of its connections."""

    @property
    def rooms(self) -> RoomKeeper:
        """Who knows which of its connections are in which rooms."""

    def connect(self, route: Route, opening: Opening, *, id: str) -> Any:
        """Return a connection of a route whose callbacks run there; it is not open yet."""

    @property
    def wake(self) -> Callable[[Any], object]:
        """Run what waits on a connection, if nothing of it runs already."""

    def bind(self, connection: Any, function: Callable[..., Any]) -> Callback:
        """Return a function of the user's as a callback of a connection's route."""

    @property
    def failed_beside(self) -> Callable[[Any, str, BaseException], str]:
        """Write what a task, a timer or a filter of a connection has raised, beside its callbacks.

        It returns what a client may be told to name that by.
        """

    def touch(self, session: Session) -> None:
        """Remember that a callback looked at a session, so that changes are saved."""

    @property
    def keeps_away(self) -> Callable[[], bool]:
        """Return whether one more connection may outlive a break; there may be too many."""

    def finished(self, connection: Any) -> None:
        """Forget a connection whose last callback has run."""
