"""What the project sets itself: one table of goals, over the figures of all benchmarks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.figures import Figure, short, spread

ASYNC, DEF = "wshandler", "wshandler-def"


@dataclass(frozen=True)
class Goal:
    """A limit of one bar in one figure, of another bar's or by itself.

    Args:
        title: What is limited.
        figure: The key of the figure.
        bar: The key of the bar.
        limit: What its median may be at most, or must be at least.
        of: The key of the bar that it is compared with; empty: the value itself counts.
        least: Whether the limit is a lower one.
    """

    title: str
    figure: str
    bar: str
    limit: float
    of: str = "tornado"
    least: bool = False

    def met(self, value: float) -> bool:
        """Whether a value keeps the limit."""
        return value >= self.limit if self.least else value <= self.limit


GOALS = (
    Goal("`def`, echo 64 B, 1 in flight", "echo-64-1", DEF, 0.25),
    Goal("`def`, echo 64 B, 16 in flight", "echo-64-16", DEF, 0.20),
    Goal("`def`, echo 4 KiB, 1 in flight", "echo-4096-1", DEF, 0.35),
    Goal("`async def`, echo 64 B, 1 in flight", "echo-64-1", ASYNC, 1.25, of="picows"),
    Goal("`async def`, echo 64 B, 1,000 active", "active-few", ASYNC, 1.25, of="picows"),
    Goal("`async def`, echo 64 B, 16 in flight", "echo-64-16", ASYNC, 0.07),
    Goal("`async def`, echo 4 KiB, 1 in flight", "echo-4096-1", ASYNC, 0.45),
    Goal("`async def`, echo 4 KiB, 16 in flight", "echo-4096-16", ASYNC, 0.45),
    Goal("handshake", "connect", ASYNC, 0.9, of="jupyter"),
    Goal("storm of 5,000: p99", "storm-p99", ASYNC, 1.2, of="jupyter-all"),
    Goal("idle memory, compressed", "idle-deflate", ASYNC, 0.20),
    Goal("idle memory", "idle", ASYNC, 0.32),
    Goal("TLS: echo 64 B, 1 in flight", "tls-64-1", ASYNC, 0.6),
    Goal("TLS: echo 64 B, 16 in flight", "tls-64-16", ASYNC, 0.12),
    Goal("`def`, beside ten blocked callbacks: p99", "blocked", DEF, 10.0, of=""),
    Goal("fairness: p99 of p50", "fairness", ASYNC, 10.0, of=""),
    Goal("three small, echoed", "small-echoed", ASYNC, 12.0, of=""),
    Goal("three small, pushed", "small-pushed", ASYNC, 12.0, of=""),
    Goal("a room, 1 in flight", "rooms-1", "room", 1.3, of="floor"),
    Goal("a room, 4 in flight", "rooms-4", "room", 0.8, of="floor"),
    Goal("history and presence, 1 in flight", "rooms-1", "kept", 1.3, of="room"),
    Goal("history and presence, 4 in flight", "rooms-4", "kept", 1.3, of="room"),
    Goal("two nodes, 1 in flight", "scale-1", "room", 0.25, of="socketio"),
    Goal("two nodes, 4 in flight", "scale-4", "room", 0.25, of="socketio"),
    Goal("two nodes, 1 in flight: p99", "scale-p99-1", "room", 1.0, of="socketio"),
    Goal("two nodes, 4 in flight: p99", "scale-p99-4", "room", 1.0, of="socketio"),
    Goal("guest, by token", "guests", "guest-token", 1.1, of="token"),
    Goal("guest, by cookie", "guests", "guest-cookie", 1.1, of="token-cookie"),
    Goal("kernel's bots, 16 in flight on 4", "kernels-rate", "kernel", 20_000, of="", least=True),
    Goal("kernel's bots, round trip: p50", "kernels-trip", "kernel", 2.0, of=""),
)
"""All of them. Those of a benchmark that has not run are left out of the table."""


@dataclass(frozen=True)
class Verdict:
    """A goal, and what was measured of it: the median, half of the range, and the unit."""

    goal: Goal
    value: float
    half: float
    of: str
    unit: str

    @property
    def met(self) -> bool:
        """Whether it is met."""
        return self.goal.met(self.value)


def judge(figures: Sequence[Figure]) -> list[Verdict]:
    """Return each goal that was measured.

    Args:
        figures: All that were measured.
    """
    known = {figure.key: figure for figure in figures}
    found = []
    for goal in GOALS:
        figure = known.get(goal.figure)
        if figure is None:
            continue
        values = figure.ratios(goal.bar, goal.of) if goal.of else figure.values(goal.bar)
        if values:
            of = figure.bars[goal.of].name if goal.of else ""
            found.append(Verdict(goal, *spread(values), of, "" if goal.of else figure.unit))
    return found


def table(verdicts: Sequence[Verdict]) -> str:
    """Return the goals as Markdown.

    Args:
        verdicts: From `judge`.
    """
    lines = ["| goal | limit | measured | of | met |", "| --- | ---: | ---: | --- | --- |"]
    for one in verdicts:
        unit = f" {one.unit}" if one.unit else ""
        bound = "at least" if one.goal.least else "at most"
        half = f" ± {short(one.half)}" if one.half >= 0.0005 else ""
        met = "met" if one.met else "**missed**"
        cells = [
            one.goal.title,
            f"{bound} {one.goal.limit:,g}{unit}",
            f"{short(one.value)}{half}{unit}",
            one.of,
            met,
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
