"""Turn what was measured of bots in a kernel into tables."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from benchmarks.kernelload import BURST, CLIENTS, CONNECTIONS, DEPTH, NAIVE, ROWS, Numbers, Row

NOTHING = "not measured"
OURS = "kernel"


@dataclass
class Results:
    """Hold what was measured: per round, row and scenario; and what failed, in words."""

    sleep: float = 30.0
    compute: float = 10.0
    items: int = 10_000
    rounds: list[dict[tuple[str, str], Numbers]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def values(self, row: str, scenario: str, name: str) -> list[float]:
        """Return one number per round in which it was measured."""
        found = (numbers.get((row, scenario), {}).get(name) for numbers in self.rounds)
        return [float(value) for value in found if value is not None]

    def ratios(self, row: str, scenario: str, name: str) -> list[float]:
        """Return a number relative to the naive bridge's of the same round."""
        ratios = []
        for numbers in self.rounds:
            mine = numbers.get((row, scenario), {}).get(name)
            other = numbers.get((NAIVE.key, scenario), {}).get(name)
            if mine is not None and other:
                ratios.append(mine / other)
        return ratios


@dataclass(frozen=True)
class Goal:
    """A limit that the project sets itself; `worst` takes the worst round, not the median."""

    title: str
    scenario: str
    name: str
    limit: float
    unit: str
    least: bool = False
    worst: bool = False


GOALS = (
    Goal("round trip, 1 in flight: p50", "trip", "p50_us", 2000, "ms"),
    Goal("16 in flight on 4 connections", "text-64", "rate", 20_000, "messages/s", least=True),
    Goal("slowest answer while a cell sleeps", "sleep", "max_ms", 100, "ms", worst=True),
    Goal("slowest answer while a cell computes", "compute", "max_ms", 500, "ms", worst=True),
)


def goals(results: Results) -> list[tuple[Goal, float, bool]]:
    """Return each goal with what was measured of the `async def` bot, and whether it was met."""
    found = []
    for goal in GOALS:
        values = results.values(OURS, goal.scenario, goal.name)
        value = (max if goal.worst else statistics.median)(values) if values else float("nan")
        met = value >= goal.limit if goal.least else value <= goal.limit
        found.append((goal, value, met))
    return found


Cell = Callable[[Row], str]


def render(results: Results) -> str:
    """Return the report as Markdown, without its heading."""

    def plain(scenario: str, name: str, scale: float = 1.0, unit: str = "") -> Cell:
        def cell(row: Row) -> str:
            return _spread([v * scale for v in results.values(row.key, scenario, name)], unit)

        return cell

    def ratio(scenario: str, name: str) -> Cell:
        return lambda row: _spread(results.ratios(row.key, scenario, name))

    def lost(scenario: str) -> Cell:
        return lambda row: _share(results.values(row.key, scenario, "lost"))

    def in_kernel(cell: Cell) -> Cell:
        return lambda row: cell(row) if row.in_kernel else ""

    def pushing(cell: Cell) -> Cell:
        return lambda row: cell(row) if row.push else ""

    loads = (
        ("text 64 B", "text-64"),
        ("text 4 KiB", "text-4096"),
        ("binary 64 B", "binary-64"),
        ("binary 4 KiB", "binary-4096"),
    )
    cell_runs = (
        (f"a cell sleeps {results.sleep:g} s", "sleep"),
        (f"a cell computes {results.compute:g} s", "compute"),
    )
    busy = [
        (f"{title}, {name[:3]}", plain(key, name, unit=" ms"))
        for title, key in cell_runs
        for name in ("p50_ms", "p99_ms", "max_ms")
    ]
    parts = [
        "## Goals",
        _goals(results),
        "## Round trip, and messages per second",
        f"64 B with 1 in flight on 1 connection; the rates are with {DEPTH} in flight on each of "
        f"{CONNECTIONS} connections.",
        _table(
            [
                ("p50", plain("trip", "p50_us", 1e-3, " ms")),
                ("p99", plain("trip", "p99_us", 1e-3, " ms")),
                *((title, plain(key, "rate", unit="/s")) for title, key in loads),
            ]
        ),
        "## Relative to the naive bridge",
        "In the same round; of times and CPU less is better, of messages per second more.",
        _table(
            [
                ("p50", ratio("trip", "p50_us")),
                *((title, ratio(key, "rate")) for title, key in loads),
                ("streamed", ratio("stream", "rate")),
                ("pushed", pushing(ratio("push", "rate"))),
                ("server CPU", ratio("text-64", "server_cpu_us")),
                ("kernel CPU", in_kernel(ratio("text-64", "kernel_cpu_us"))),
            ]
        ),
        "## CPU per message",
        "Of the server and of the kernel, all threads.",
        _table(
            [
                (f"{who}, {title}", cell)
                for title, key in (("1 in flight", "trip"), *loads)
                for who, cell in (
                    ("server", plain(key, "server_cpu_us", unit=" µs")),
                    ("kernel", in_kernel(plain(key, "kernel_cpu_us", unit=" µs"))),
                )
            ]
        ),
        "## While a cell runs",
        "Round trips of 64 B, one after the other, 10 to 30 ms apart. The naive bridge waits for "
        "the cell, so it is asked once, at the start.",
        _table(busy),
        "## From the kernel",
        f"A generator yields {results.items:,} items to one client; a cell sends {BURST} messages "
        f"at once to {CLIENTS} clients (deliveries per second). Cell output: the share of a cell's "
        "lines that the attached notebook did not get while messages were echoed as in the "
        "64 B rate.",
        _table(
            [
                ("streamed", plain("stream", "rate", unit="/s")),
                ("lost", lost("stream")),
                ("pushed", pushing(plain("push", "rate", unit="/s"))),
                ("lost", pushing(lost("push"))),
                ("cell output lost", lost("lines")),
            ]
        ),
    ]
    for title, lines in (("Failed", results.failures), ("Notes", results.notes)):
        if lines:
            parts += [f"## {title}", "\n".join(f"- {line}" for line in lines)]
    return "\n\n".join(parts)


def _table(columns: Sequence[tuple[str, Cell]]) -> str:
    body = [[row.title, *(cell(row) for _, cell in columns)] for row in ROWS]
    return _lines(["", *(title for title, _ in columns)], body)


def _lines(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    rule = ["---"] + ["---:"] * (len(head) - 1)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, rule, *body))


def _goals(results: Results) -> str:
    body = []
    for goal, value, met in goals(results):
        scale = 1e-3 if goal.name.endswith("_us") else 1.0
        body.append(
            [
                goal.title,
                f"at {'least' if goal.least else 'most'} {goal.limit * scale:,g} {goal.unit}",
                NOTHING if value != value else f"{_short(value * scale)} {goal.unit}",
                "yes" if met else "**no**",
                _late(results, goal) if goal.worst else "",
            ]
        )
    head = ["bot in a kernel, `async def`", "goal", "measured", "met", "slower than that"]
    return _lines(head, body)


def _late(results: Results, goal: Goal) -> str:
    """Say how many answers were slower than the goal, and how slow the same server was anyway."""
    name = f"over_{goal.limit:g}_ms"
    late, asked = (sum(results.values(OURS, goal.scenario, n)) for n in (name, "asked"))
    module = results.values("module", goal.scenario, "max_ms")
    if not asked or not module:
        return NOTHING
    return f"{late:g} of {asked:,g} answers; slowest of the module: {_short(max(module))} ms"


def _spread(values: Sequence[float], unit: str = "") -> str:
    if not values:
        return NOTHING
    half = (max(values) - min(values)) / 2
    more = f" ± {_short(half)}" if half >= 0.0005 else ""
    return f"{_short(statistics.median(values))}{more}{unit}"


def _share(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.0%}" if values else NOTHING


def _short(value: float) -> str:
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 0.1 else f"{value:.3f}"
