"""Since when each connection is open, in the order in which they have opened."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from time import time
from typing import Any

from ...connection.observer import Observer

STEP = 1e-6
"""Seconds between two connections at least, so that each has a time of its own."""


class Ledger(Observer):
    """When each open connection has opened: a number in memory for each, and nothing else."""

    def __init__(self) -> None:
        self._since: dict[str, float] = {}
        self._last = 0.0

    def opened(self, connection: Any) -> None:
        """Take note of a connection that opens."""
        # The clock may be set back, and two may come at once: the order is kept in either case.
        self._last = max(time(), self._last + STEP)
        self._since[connection.id] = self._last

    def ended(self, connection: Any) -> None:
        """Forget a connection."""
        self._since.pop(connection.id, None)

    def since(self, name: str) -> float:
        """Return when a connection has opened, in seconds since 1970; 0 where it is not known.

        Args:
            name: The connection's id.
        """
        return self._since.get(name, 0.0)

    def after(self, when: float) -> Iterator[tuple[str, float]]:
        """Return the ids of connections that have opened after a moment, and when, in order.

        Args:
            when: In seconds since 1970; 0 for all.
        """
        # Two lists, and no list of tuples: see `manager.clock.by_name`.
        names, times = list(self._since), list(self._since.values())
        if when:
            first = bisect_right(times, when)
            names, times = names[first:], times[first:]
        return zip(names, times, strict=False)
