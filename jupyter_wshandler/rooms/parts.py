"""What a manager needs of who has its rooms: this process, or the server of a kernel."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable
from typing import Any, Protocol

from ..backplane.base import Position
from ..backplane.measures import Histogram, State
from ..connection.connection import Connection
from ..routes import Route
from ..transports.loop import LoopIO
from ..types import Callback, Wish
from .face import History
from .onloop import OnLoop
from .outcome import Outcome
from .people import Members
from .room import Published


class Asker(Protocol):
    """What calls a function of a route's."""

    def __call__(self, connection: Connection, callback: Callback, /, *args: Any) -> Awaitable[Any]:
        """Call a function for a connection, and return what it says."""


class ManagersRooms(OnLoop, ABC):
    """Who has the rooms of a manager's connections: their `RoomKeeper`, and an observer of them."""

    # ---- for the manager -----------------------------------------------------------------------

    @abstractmethod
    def start(self, io: LoopIO, ask: Asker, failed: Any) -> None:
        """Begin, on the event loop."""

    @abstractmethod
    async def stop(self, timeout: float) -> None:
        """End what is under way."""

    @abstractmethod
    def tick(self, now: float) -> None:
        """Let time pass."""

    @abstractmethod
    def routes_changed(self) -> None:
        """Take note that other routes are served."""

    @abstractmethod
    def space_named(self, name: str) -> str:
        """Return the space that a name means."""

    @abstractmethod
    def space_of(self, connection: Connection) -> str:
        """Return the space of a connection's rooms."""

    @abstractmethod
    async def may_enter(self, connection: Connection) -> None:
        """Ask whether a connection may be in the rooms of its route, before it opens."""

    @property
    def trouble(self) -> str:
        """What is wrong with what joins several servers; empty where nothing is."""
        return ""

    @property
    def state(self) -> State:
        """How this server stands to others."""
        return "single"

    @property
    def publish_times(self) -> Histogram | None:
        """How many seconds it takes to publish by what joins several servers; None without."""
        return None

    def sizes(self) -> dict[str, int]:
        """Return how many rooms of each space have members here; a kernel's are its server's."""
        return {}

    def counts(self) -> dict[str, float]:
        """Return the numbers of what joins several servers; none where nothing does."""
        return {}

    # ---- for connections -----------------------------------------------------------------------

    @abstractmethod
    def enter(self, connection: Connection) -> None:
        """Put a connection that opens into the rooms of its route."""

    def wished(self, connection: Connection, wish: Wish) -> None:
        """Take what the client of a connection wants of a room; a kernel's server takes it."""

    @abstractmethod
    def join(self, connection: Connection, room: str) -> Outcome[None]:
        """Put a connection into a room."""

    @abstractmethod
    def leave(self, connection: Connection, room: str) -> Outcome[None]:
        """Take a connection out of a room."""

    @abstractmethod
    def rooms_of(self, connection: Connection) -> tuple[str, ...]:
        """Return the names of the rooms that a connection is in."""

    @abstractmethod
    def broadcast(
        self, connection: Connection, message: Any, room: str | None, exclude: bool
    ) -> Outcome[Published]:
        """Send a message to all in a room."""

    # ---- for `wsh.room` and `wsh.to_user` ------------------------------------------------------

    @abstractmethod
    def publish(self, space: str, room: str, message: Any, exclude: str = "") -> Outcome[Published]:
        """Send a message to all in a room."""

    @abstractmethod
    def members(self, space: str, name: str, limit: int, start: int) -> Outcome[Members]:
        """Return who is in a room."""

    @abstractmethod
    def said(self, space: str, name: str, limit: int, since: Position | None) -> Outcome[History]:
        """Return what was said last in a room."""

    @abstractmethod
    def clear(self, space: str, name: str) -> Outcome[None]:
        """Forget what was said in a room."""

    @abstractmethod
    def send_to_user(self, user: str, message: Any) -> Outcome[None]:
        """Send a message to all connections of a user."""

    # ---- for the bridges to kernels, which only a server has -----------------------------------

    def space_for(self, route: Route | None, named: str) -> str:
        """Return the space of a kernel's route, or the one of notebooks that has a name."""
        raise LookupError("no kernel is served here")

    def is_user(self, connection: Connection, user: str) -> bool:
        """Return whether a connection is a user's."""
        return False
