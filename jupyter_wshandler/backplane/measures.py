"""What a backplane says of itself to those who watch over it: its state, and how long it takes."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Literal, TypeAlias, get_args

State: TypeAlias = Literal["single", "up", "away", "alone", "refusing"]
"""How a node stands to the others:

- `single`: nothing joins it with any;
- `up`: what joins it with them can be used;
- `away`: it cannot since a moment ago, and what is asked for waits;
- `alone`: it cannot for longer, and the node goes on by itself;
- `refusing`: it can be reached and has refused messages within seconds: mostly its memory is full.
"""

STATES: tuple[State, ...] = get_args(State)

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Bounds for what takes a millisecond where all is well, and seconds where it is not."""


class Histogram:
    """How many of the values that were measured are at most so large, and their sum.

    Args:
        bounds: The upper bounds of its buckets, the lowest first; one without a bound follows.
    """

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float] = SECONDS) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.sum = 0.0

    def add(self, value: float) -> None:
        """Count a value.

        Args:
            value: What was measured, in the unit of the bounds.
        """
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def buckets(self) -> list[tuple[str, float]]:
        """Return each bound with how many values are at most that, as Prometheus takes them."""
        found, total = [], 0
        for bound, count in zip((*self.bounds, float("inf")), self.counts, strict=True):
            total += count
            found.append(("+Inf" if bound == float("inf") else repr(bound), float(total)))
        return found
