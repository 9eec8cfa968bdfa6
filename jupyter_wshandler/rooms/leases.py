"""Which rooms' entries of presence are leased anew, and when."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import ceil

from .room import Room

OFTEN = 4
"""How often within a lease it is renewed. Who looks after one room sees at the same time who has
not renewed theirs, so that nobody is listed for longer than a lease and a quarter."""

PACE = 0.5
"""Seconds between two looks, more or less."""


class Leases:
    """The rooms whose turn it is: all within a quarter of a lease, a part of them at a time.

    Ten thousand that are renewed at once would hold up the event loop for a second.
    """

    def __init__(self) -> None:
        self._began = float("-inf")
        self._rooms: list[Room] = []
        self._done = 0

    def due(self, now: float, lease: float, rooms: Callable[[], Iterable[Room]]) -> list[Room]:
        """Return those whose entries are to be renewed now; called every half second or so.

        Args:
            now: The event loop's time, in seconds.
            lease: Seconds of a lease.
            rooms: Returns all rooms; asked when all of the last time have had their turn.
        """
        every = lease / OFTEN
        if self._done >= len(self._rooms) and now - self._began >= every:
            self._began = now
            self._done, self._rooms = 0, [room for room in rooms() if room.people is not None]
        share = min(1.0, (now - self._began + PACE) / every)
        till = ceil(share * len(self._rooms))
        some, self._done = self._rooms[self._done : till], max(self._done, till)
        if self._done >= len(self._rooms):
            self._rooms = []  # they may be over before the next round
            self._done = 0
        return some
