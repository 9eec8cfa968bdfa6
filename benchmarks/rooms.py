"""Measure what a broadcast to a room costs, beside a C server with one send for each delivery.

The rows are measured in turn in each slice, so that what disturbs one disturbs all.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

from benchmarks import figures, launch, loadclient, machine
from benchmarks.figures import Bar, Figure
from benchmarks.machine import BenchmarkError

GOALS = {1: 1.3, 4: 0.8}
"""What a delivery in a room may cost, of the C server's, by the broadcasts in flight."""

GOAL_KEPT = 1.3
"""What it may cost with history and presence, of what it costs without."""


class Way(NamedTuple):
    """A row of the table: a server, and where its members and its publisher are."""

    key: str
    name: str
    server: str
    sub: str
    pub: str


C, ROOM, KEPT = "C, one send per delivery", "room", "room with history and presence"

WAYS = (
    Way("floor", C, "floor", "/sub", "/pub"),
    Way("bare", "Python, a bare loop of send", "bare", "/sub", "/pub"),
    Way("tornado", "raw Tornado", "tornado", "/sub", "/pub"),
    Way("sent", "wsh.send", "wshandler", "/room_sub", "/sent_pub"),
    Way("room", ROOM, "wshandler", "/room_sub", "/room_pub"),
    Way("kept", KEPT, "wshandler", "/kept_sub", "/kept_pub"),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; return 0, 1 where a goal is missed, or 2 where nothing was measured."""
    options = _options(argv)
    try:
        machine.require_linux()
        machine.raise_file_limit()
        loadclient.build()
        costs = measure(options.slices, options.seconds, options.members, options.size)
    except BenchmarkError as exc:
        print(f"benchmarks: {exc}", file=sys.stderr)
        return 2
    text, met = report(costs, options.members, options.size)
    print(text)
    if options.json:
        figures.write(options.json, drawn(costs, options.members))
    return int(options.check and not met)


def servers() -> dict[str, launch.Server]:
    """Return the servers of the rows by name."""
    known = {server.key: server for server in (*launch.ALL, launch.BARE)}
    return {key: known[key] for key in dict.fromkeys(way.server for way in WAYS)}


def measure(
    slices: int, seconds: float, members: int, size: int
) -> dict[tuple[str, int], list[float]]:
    """Return the server's CPU time of a delivery in microseconds, by row and messages in flight.

    Args:
        slices: How often each row is measured.
        seconds: How long each time.
        members: Members of the room.
        size: Bytes of a message.
    """
    cores = machine.choose_cores()
    core = None if cores is None else cores[0]
    running = {}
    costs: dict[tuple[str, int], list[float]] = {}
    try:
        for key, server in servers().items():
            running[key] = launch.Running(server, core)
        for one in running.values():
            one.wait()
        for _ in range(slices):
            for window in GOALS:
                for way in WAYS:
                    found = loadclient.run(
                        running[way.server].target,
                        "fanout",
                        sub=way.sub,
                        pub=way.pub,
                        conns=members,
                        size=size,
                        window=window,
                        duration=seconds,
                        warmup=0.3,
                    )
                    costs.setdefault((way.name, window), []).append(float(found["cpu_us_per"]))
        return costs
    finally:
        for one in running.values():
            one.stop()


def ratio(costs: dict[tuple[str, int], list[float]], row: str, of: str, window: int) -> float:
    """Return what a row costs of another one, slice by slice, in the middle."""
    pairs = zip(costs[row, window], costs[of, window], strict=True)
    return median(one / other for one, other in pairs)


def report(costs: dict[tuple[str, int], list[float]], members: int, size: int) -> tuple[str, bool]:
    """Return the table, and whether the goals are met.

    Args:
        costs: From `measure`.
        members: Members of the room.
        size: Bytes of a message.
    """
    windows = list(GOALS)
    heads = [f"{window} in flight: us, of C" for window in windows]
    lines = [
        f"CPU time of a delivery; {members:,} members, {size} B",
        "",
        f"| | {' | '.join(heads)} |",
        "|---|" + "---|" * len(windows),
    ]
    for way in WAYS:
        cells = [
            f"{median(costs[way.name, window]):.2f}, {ratio(costs, way.name, C, window):.2f}"
            for window in windows
        ]
        lines.append(f"| {way.name} | {' | '.join(cells)} |")
    met = True
    lines.append("")
    for window, goal in GOALS.items():
        for row, of, limit in ((ROOM, C, goal), (KEPT, ROOM, GOAL_KEPT)):
            found = ratio(costs, row, of, window)
            met &= found <= limit
            verdict = "met" if found <= limit else "MISSED"
            lines.append(f"- {row}, {window} in flight: {found:.2f} of {of}; {limit} {verdict}")
    return "\n".join(lines), met


def drawn(costs: dict[tuple[str, int], list[float]], members: int) -> list[Figure]:
    """Return what was measured as figures.

    Args:
        costs: From `measure`.
        members: Members of the room.
    """
    return [
        Figure(
            f"rooms-{window}",
            f"a delivery in a room of {members:,}, {window} in flight",
            figures.MICROSECONDS,
            {way.key: Bar(way.name, costs[way.name, window]) for way in WAYS},
            of="floor",
        )
        for window in GOALS
    ]


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rooms", description=__doc__)
    parser.add_argument("--slices", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--members", type=int, default=1000)
    parser.add_argument("--size", type=int, default=200)
    parser.add_argument("--check", action="store_true", help="exit 1 where a goal is missed")
    parser.add_argument("--json", type=Path, help="file for the figures")
    return parser.parse_args(argv)


if __name__ == "__main__":
    raise SystemExit(main())
