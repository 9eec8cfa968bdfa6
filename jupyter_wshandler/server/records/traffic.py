"""How many messages come, and how long they take, counted while somebody asks for it."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from typing import Any

from ...backplane.measures import Histogram
from ...connection.observer import Observers
from .arrivals import Arrivals
from .followed import WhileAsked


class Counts:
    """What was counted of one route, since somebody asks.

    Attributes:
        messages: Messages that have come.
        took: How many seconds those took that are done: they waited, and their callback ran.
    """

    __slots__ = ("messages", "took")

    def __init__(self) -> None:
        self.messages = 0
        self.took = Histogram()


class Traffic(WhileAsked):
    """The messages of routes and of connections, as numbers that only grow.

    Who asks twice has what came in between, and how long it took. Nothing is counted before
    somebody asks, and nothing any more once nobody has for a minute.

    Args:
        observers: Those of the manager.
    """

    def __init__(self, observers: Observers) -> None:
        super().__init__(observers)
        self.life = secrets.token_hex(4)
        """Names the time since which it counts: with another one all numbers begin anew."""
        self._routes: dict[str, Counts] = {}
        self._received: dict[str, int] = {}
        self._arrivals = Arrivals()

    def listen(self, connections: Iterable[Any] = ()) -> None:
        """Take note that somebody asks, and count from now on.

        Args:
            connections: Those that are open; what waits on them has come before it was counted.
        """
        is_new = not self.listens
        super().listen()
        if is_new:
            for connection in connections:
                self._arrivals.before(connection.id, connection.queue_counts().undone)

    def message_in(self, connection: Any, message: Any) -> None:
        """Count a message that has come."""
        name = connection.id
        counts = self._routes.get(connection.route)
        if counts is None:
            counts = self._routes[connection.route] = Counts()
        counts.messages += 1
        self._received[name] = self._received.get(name, 0) + 1
        self._arrivals.came(name)

    def message_done(self, connection: Any, later: int | None = None) -> None:
        """Count how long a message took, unless it came before anybody asked."""
        seconds = self._arrivals.done(connection.id, later)
        counts = self._routes.get(connection.route)
        if seconds is not None and counts is not None:
            counts.took.add(seconds)

    def ended(self, connection: Any) -> None:
        """Forget a connection."""
        self._received.pop(connection.id, None)
        self._arrivals.forget(connection.id)

    def forget(self) -> None:
        """Forget all numbers; who asks next begins anew."""
        self.life = secrets.token_hex(4)
        self._routes.clear()
        self._received.clear()
        self._arrivals.clear()

    def of_connection(self, name: str) -> int | None:
        """Return how many messages a connection has sent since somebody asks; None if nobody does.

        Args:
            name: The connection's id.
        """
        return self._received.get(name, 0) if self.listens else None

    def of_routes(self, names: Iterable[str]) -> dict[str, Counts]:
        """Return what was counted of some routes.

        Args:
            names: The names of the routes; those without a message are left out.
        """
        return {name: self._routes[name] for name in names if name in self._routes}
