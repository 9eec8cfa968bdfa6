"""The places that a connection takes: in its route's limits, and in the threads of callbacks."""

from __future__ import annotations

from typing import Any

from ..limits.connections import Seat
from ..limits.rates import Meter
from ..routes import Route
from .host import Host
from .membership import InRooms
from .opening import Opening


class Placed(InRooms):
    """A connection that has a place in its route's limits, and one among the threads.

    Args:
        host: Who runs the callbacks.
        route: The route that was matched.
        opening: How the client came.
        id: Unique name of the connection.
    """

    __slots__ = ("_home", "_is_gathered", "_meter", "_owner", "_seat")

    def __init__(self, host: Host, route: Route, opening: Opening, *, id: str) -> None:
        super().__init__(host, route, opening, id=id)
        self._seat: Seat | None = None
        self._meter: Meter | None = None
        self._owner: Any = None  # for whom its calls in threads count
        self._home: Any = None  # the thread that they keep to
        self._is_gathered = False  # there with the others of its route; see `callbacks.gathering`

    def take_seat(self, seat: Seat) -> None:
        """Take a place in the route's limits.

        Args:
            seat: The place, with what weighs the connection's messages.
        """
        self._seat, self._meter = seat, seat.meter

    def leave_seat(self) -> None:
        """Give the place in the route's limits back: nobody is there any more to use it."""
        if self._seat is not None:
            self._seat.leave(self._io.loop.time())

    @property
    def counted_as(self) -> str | None:
        """Who the connection counts for in the route's limits; None where it has no place."""
        return None if self._seat is None else self._seat.user

    @property
    def thread_owner(self) -> Any:
        """For whom its calls in threads count, a `callbacks.fairness.Owner`; None at first."""
        return self._owner

    def own_threads_as(self, owner: Any) -> None:
        """Have calls in threads count for somebody, from now on."""
        self._owner = owner

    @property
    def thread_home(self) -> Any:
        """The thread that its calls keep to, a `callbacks.job.Worker`; None as long as none has."""
        return self._home

    @property
    def is_gathered(self) -> bool:
        """Whether it came to its thread as all connections of its route do."""
        return self._is_gathered

    def keep_to_thread(self, worker: Any, gathered: bool = False) -> None:
        """Keep to a thread from now on.

        Args:
            worker: The thread, a `callbacks.job.Worker`.
            gathered: Whether all connections of its route begin there.
        """
        self._home, self._is_gathered = worker, gathered
