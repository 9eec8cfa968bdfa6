"""Leases are renewed often enough, and never those of all rooms at once."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

from jupyter_wshandler.backplane.redis.node import LEASE
from jupyter_wshandler.rooms.leases import PACE, Leases

GONE = 30.0
"""Seconds after which a node that died is in no list; docs/scale.md says so."""


def rooms(count: int) -> list[Any]:
    return [SimpleNamespace(name=str(number), people=object()) for number in range(count)]


def renewals(all_rooms: list[Any], seconds: float) -> dict[str, list[float]]:
    """Return when each room was renewed, by a clock that looks every half second."""
    leases, found = Leases(), {}
    for tick in range(int(seconds / PACE)):
        now = 1000 + tick * PACE
        for room in leases.due(now, LEASE, lambda: all_rooms):
            found.setdefault(room.name, []).append(now)
    return found


def test_each_room_is_renewed_in_time_to_find_a_dead_node_within_what_is_promised():
    known = rooms(1000)
    for times in (found := renewals(known, 120)).values():
        assert times[0] - 1000 <= LEASE / 4
        pauses = [later - sooner for sooner, later in itertools.pairwise(times)]
        # Its entry may be leased just before the node dies, and be over just behind a look.
        assert max(pauses) + LEASE <= GONE - 2
        assert min(pauses) > PACE
    assert len(found) == 1000


def test_no_more_than_a_part_of_them_is_renewed_in_one_look():
    leases, known = Leases(), rooms(1000)
    counts = [len(leases.due(1000 + n * PACE, LEASE, lambda: known)) for n in range(60)]
    assert max(counts) <= 1000 * PACE / (LEASE / 4) + 1
    assert sum(counts) >= 5 * 1000


def test_rooms_without_presence_and_a_long_pause_are_no_trouble():
    leases, known = Leases(), rooms(3)
    known[1].people = None
    assert [room.name for room in leases.due(0.0, 0.4, lambda: known)] == ["0", "2"]
    assert leases.due(0.05, 0.4, lambda: known) == []
    assert [room.name for room in leases.due(500.0, 0.4, lambda: known)] == ["0", "2"]
    assert leases.due(900.0, 0.4, list) == []
