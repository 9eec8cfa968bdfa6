"""Measure what compression costs a server: memory of idle connections, CPU time of messages.

Memory is that of a server which has just been started, as a process that has grown once takes new
connections for free. The other rows are measured in turn in each slice, so that what disturbs one
disturbs all.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from statistics import median
from typing import Any, NamedTuple

from benchmarks import launch, loadclient, machine
from benchmarks.machine import BenchmarkError

GOAL = 0.20
"""Memory of a connection that has exchanged one message of 64 B, of raw Tornado's."""

OURS, REFERENCE = "jupyter_wshandler", "raw Tornado"


class Way(NamedTuple):
    """A row of the tables: a server, and where it compresses."""

    name: str
    server: str
    echo: str = "/echo"
    sub: str = "/sub"
    pub: str = "/pub"


WAYS = (
    Way(REFERENCE, "tornado", "/packed", "/packed_sub", "/packed_pub"),
    Way("websockets", "websockets"),
    Way("aiohttp", "aiohttp"),
    Way(OURS, "wshandler", "/packed", "/packed_sub", "/packed_pub"),
)


class Load(NamedTuple):
    """A column: what is measured, and with which options of the load client."""

    title: str
    scenario: str
    options: dict[str, Any]


def memories(conns: int, rest: float) -> list[Load]:
    """Return what is measured of memory.

    Args:
        conns: Connections.
        rest: Seconds after which the last column looks.
    """
    return [
        Load("64 B said", "idle", {"conns": conns, "size": 64}),
        Load("64 KiB said", "idle", {"conns": conns, "size": 65_536}),
        Load(
            f"64 KiB said, {rest:g} s ago", "idle", {"conns": conns, "size": 65_536, "rest": rest}
        ),
    ]


def times(conns: int, members: int, seconds: float) -> list[Load]:
    """Return what is measured of CPU time.

    Args:
        conns: Connections that echo.
        members: Clients of a broadcast.
        seconds: How long each time.
    """
    clock = {"duration": seconds, "warmup": 0.3}
    loads = [
        Load(
            f"echo {size} B, {depth} in flight",
            "echo",
            {"conns": conns, "size": size, "depth": depth, **clock},
        )
        for size in (64, 4096)
        for depth in (1, 16)
    ]
    options = {"conns": members, "size": 200, "window": 4, **clock}
    return [*loads, Load(f"200 B to {members:,}", "fanout", options)]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; return 0, 1 where the goal is missed, or 2 where nothing was measured."""
    options = _options(argv)
    try:
        machine.require_linux()
        machine.raise_file_limit()
        loadclient.build()
        cores = machine.choose_cores()
        core = None if cores is None else cores[0]
        asked = {REFERENCE, *options.servers.split(",")} if options.servers else None
        ways = [
            way
            for way in WAYS
            if not server_of(way).missing and (asked is None or way.name in asked)
        ]
        kept = memories(options.idle, options.rest)
        memory = measure_memory(ways, kept, options.rounds, core)
        busy = times(options.connections, options.members, options.seconds)
        cpu = measure_times(ways, busy, options.slices, core)
    except BenchmarkError as exc:
        print(f"benchmarks: {exc}", file=sys.stderr)
        return 2
    print(table(f"KiB of a connection, of {options.idle:,}", ways, kept, memory))
    print(table("CPU time of a message in us", ways, busy, cpu))
    if (OURS, kept[0].title) not in memory:
        return 0
    found = ratio(memory, OURS, kept[0].title)
    verdict = "met" if found <= GOAL else "MISSED"
    print(f"- idle memory, {kept[0].title}: {found:.2f} of {REFERENCE}; {GOAL} {verdict}")
    return int(options.check and found > GOAL)


def server_of(way: Way) -> launch.Server:
    """Return the server of a row."""
    return next(server for server in launch.ALL if server.key == way.server)


Figures = dict[tuple[str, str], list[float]]
"""What was measured, by the names of row and column."""


def measure_memory(ways: list[Way], loads: list[Load], rounds: int, core: int | None) -> Figures:
    """Return the KiB of memory that a connection takes."""
    found: Figures = {}
    for _ in range(rounds):
        for load in loads:
            for way in ways:
                running = launch.Running(server_of(way), core)
                try:
                    running.wait()
                    numbers = run(running, way, load)
                finally:
                    running.stop()
                grown = (numbers["rss1_kb"] - numbers["rss0_kb"]) / load.options["conns"]
                found.setdefault((way.name, load.title), []).append(grown)
    return found


def measure_times(ways: list[Way], loads: list[Load], slices: int, core: int | None) -> Figures:
    """Return the server's CPU time of a message in microseconds."""
    found: Figures = {}
    running: dict[str, launch.Running] = {}
    try:
        for way in ways:
            running[way.name] = launch.Running(server_of(way), core)
        for one in running.values():
            one.wait()
        for _ in range(slices):
            for load in loads:
                for way in ways:
                    numbers = run(running[way.name], way, load)
                    cost = float(numbers["cpu_us_per"])
                    found.setdefault((way.name, load.title), []).append(cost)
        return found
    finally:
        for one in running.values():
            one.stop()


def run(running: launch.Running, way: Way, load: Load) -> dict[str, Any]:
    """Return the numbers of one measurement.

    Raises:
        BenchmarkError: It failed, or the server does not compress.
    """
    where = {"sub": way.sub, "pub": way.pub} if load.scenario == "fanout" else {"path": way.echo}
    try:
        numbers = loadclient.run(running.target, load.scenario, deflate=1, **where, **load.options)
    except BenchmarkError as exc:
        raise BenchmarkError(f"{way.name}: {exc}") from None
    if not numbers["deflate_used"]:
        raise BenchmarkError(f"{way.name} does not agree to compression")
    return numbers


def ratio(found: Figures, row: str, column: str) -> float:
    """Return what a row has of raw Tornado's, slice by slice, in the middle.

    It is infinite where raw Tornado's never grew: too few connections to be seen in memory that
    a process has in pages. No goal is met so.
    """
    pairs = zip(found[row, column], found[REFERENCE, column], strict=True)
    return median([one / other for one, other in pairs if other] or [math.inf])


def table(title: str, ways: list[Way], loads: list[Load], found: Figures) -> str:
    """Return the table of some measurements: figures, and what they are of raw Tornado's."""
    heads = " | ".join(load.title for load in loads)
    lines = [f"{title}; and of {REFERENCE}'s", "", f"| | {heads} |", "|---|" + "---|" * len(loads)]
    for way in ways:
        cells = [
            f"{median(found[way.name, load.title]):.1f}, {ratio(found, way.name, load.title):.2f}"
            for load in loads
        ]
        lines.append(f"| {way.name} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compression", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="of memory, each with new servers")
    parser.add_argument("--slices", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--members", type=int, default=1000)
    parser.add_argument("--idle", type=int, default=1000)
    parser.add_argument("--rest", type=float, default=20.0)
    parser.add_argument("--servers", help="some of the rows, by name; raw Tornado always is one")
    parser.add_argument("--check", action="store_true", help="exit 1 where the goal is missed")
    return parser.parse_args(argv)


if __name__ == "__main__":
    raise SystemExit(main())
