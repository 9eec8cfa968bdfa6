"""What the manager's own parts do when they hear of a connection's life."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..connection.connection import Connection
from ..connection.observer import Observer
from ..functions.tracing import Tracing
from ..metrics import Metrics


class Counting(Observer):
    """The counts of connections and failures, by route.

    Args:
        metrics: Where they are kept.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def opened(self, connection: Connection) -> None:
        """Count a connection that opens."""
        self._metrics.opened[connection.route] += 1

    def failed(self, connection: Connection, failure: Any) -> None:
        """Count a failure."""
        self._metrics.errors[connection.route] += 1

    def ended(self, connection: Connection) -> None:
        """Count a connection that has ended, and the messages that it has lost."""
        c = connection
        self._metrics.ended(c.route, c.close_code, c.dropped, c.rate_limited)
        if c.unhandled:
            self._metrics.unhandled[c.route] += c.unhandled


class Releasing(Observer):
    """What a connection held, given back: its place at once, its session when all has run.

    Args:
        release: Lets go of both.
    """

    def __init__(self, release: Callable[[Connection], object]) -> None:
        self._release = release

    def lost(self, connection: Connection) -> None:
        """Give the place in the route's limits back: nobody is there any more to use it."""
        connection.leave_seat()

    def ended(self, connection: Connection) -> None:
        """Let the session go: the last callback may have written into it."""
        self._release(connection)


class Traces(Observer):
    """The spans of opening requests, where somebody collects them.

    Args:
        spans: Makes them.
    """

    def __init__(self, spans: Tracing) -> None:
        self._spans = spans

    def opened(self, connection: Connection) -> None:
        """Make the span of a connection that opens."""
        self._spans.opened(connection)
