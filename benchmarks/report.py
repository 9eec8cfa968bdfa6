"""Turn the numbers of all rounds into tables."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.launch import Row
from benchmarks.scenarios import Scenario

REFERENCE = "tornado"
SATURATED = 0.9
"""Share of one core above which the load client, not the server, may set the pace."""

NOTHING = "not measured"
MARK = "†"

Numbers = dict[str, Any]
Value = Callable[[Numbers], float]


@dataclass
class Results:
    """Hold what was measured: per round, row and scenario; and what failed, in words."""

    rows: list[Row]
    scenarios: list[Scenario]
    rounds: list[dict[tuple[str, str], Numbers]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def values(self, row: str, scenario: str, value: Value) -> list[float]:
        """Return one number per round in which it was measured."""
        found = (numbers.get((row, scenario)) for numbers in self.rounds)
        return [value(numbers) for numbers in found if numbers is not None]

    def ratios(self, row: str, scenario: str, value: Value) -> list[float]:
        """Return a number relative to the reference's of the same round."""
        ratios = []
        for numbers in self.rounds:
            mine, other = numbers.get((row, scenario)), numbers.get((REFERENCE, scenario))
            if mine is not None and other is not None and value(other) > 0:
                ratios.append(value(mine) / value(other))
        return ratios

    def saturated(self, row: str, scenario: str) -> bool:
        """Whether the load client was close to its own limit in most rounds."""
        shares = self.values(row, scenario, lambda n: n.get("client_share", 0.0))
        return bool(shares) and statistics.median(shares) > SATURATED


def cpu(numbers: Numbers) -> float:
    return float(numbers["memory_kib"] if "memory_kib" in numbers else numbers["cpu_us_per"])


def rate(numbers: Numbers) -> float:
    return float(numbers["rate"])


def fairness(numbers: Numbers) -> float:
    return float(numbers["p99_us"] / numbers["p50_us"])


@dataclass(frozen=True)
class Goal:
    """A limit that the project sets itself."""

    title: str
    scenario: str
    limit: float
    value: Value
    relative: bool = True
    unit: str = ""


GOALS = (
    Goal("echo 64 B, 1 in flight: CPU", "echo-64-1", 0.35, cpu),
    Goal("echo 64 B, 16 in flight: CPU", "echo-64-16", 0.20, cpu),
    Goal("echo 4 KiB, 1 in flight: CPU", "echo-4096-1", 0.45, cpu),
    Goal("echo 4 KiB, 16 in flight: CPU", "echo-4096-16", 0.45, cpu),
    Goal("idle memory per connection", "idle", 1.0, cpu),
    Goal("fairness, p99 / p50", "fairness", 10.0, fairness, relative=False),
    Goal("three small, echoed", "small", 12.0, lambda n: n["echoed"] * 1e3, False, " ms"),
    Goal("three small, pushed", "small", 12.0, lambda n: n["pushed"] * 1e3, False, " ms"),
)


def goals(results: Results) -> list[tuple[Goal, float, bool]]:
    """Return each goal that was measured with the median and whether it was met."""
    found = []
    for goal in GOALS:
        read = results.ratios if goal.relative else results.values
        values = read("wshandler", goal.scenario, goal.value)
        if values:
            median = statistics.median(values)
            found.append((goal, median, median <= goal.limit))
    return found


def render(results: Results) -> str:
    """Return the report as Markdown, without its heading."""
    keys = {scenario.key for scenario in results.scenarios}
    loads = [s for s in results.scenarios if s.group in ("echo", "fanout", "connect")]
    parts = []
    costs = [s for s in results.scenarios if s.group not in ("small", "fairness")]
    if costs:
        parts += [
            "## Server CPU per message, and memory per idle connection",
            "Relative to raw Tornado in the same round; lower is better.",
            _table(results, costs, lambda row, s: _ratio(results, row, s, cpu)),
        ]
    if loads:
        parts += [
            "## Rate",
            "Relative to raw Tornado in the same round; higher is better.",
            _table(results, loads, lambda row, s: _ratio(results, row, s, rate)),
        ]
    if keys & {"fairness", "connect", "small"}:
        parts += ["## Latency", _latency(results)]
    if costs:
        parts += [
            "## Absolute numbers",
            "Median of the rounds: server CPU per message (handshake) and messages (handshakes) "
            "per second, or memory per idle connection.",
            _table(results, costs, lambda row, s: _absolute(results, row, s)),
        ]
    if met := goals(results):
        parts += ["## Goals", _goals(met)]
    parts += ["## The load client", _client(results, loads)] if loads else []
    for title, lines in (("Failed", results.failures), ("Notes", results.notes)):
        if lines:
            parts += [f"## {title}", "\n".join(f"- {line}" for line in lines)]
    return "\n\n".join(parts)


def _lines(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    rule = ["---"] + ["---:"] * (len(head) - 1)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, rule, *body))


def _table(
    results: Results, columns: Sequence[Scenario], cell: Callable[[Row, Scenario], str]
) -> str:
    body = []
    for row in results.rows:
        cells = [cell(row, s) if s.takes(row) else "" for s in columns]
        if any(cells):
            body.append([row.title, *cells])
    return _lines(["", *(s.title for s in columns)], body)


def _ratio(results: Results, row: Row, scenario: Scenario, value: Value) -> str:
    ratios = results.ratios(row.key, scenario.key, value)
    if not ratios:
        return NOTHING
    text = _short(statistics.median(ratios))
    half = (max(ratios) - min(ratios)) / 2
    if half >= 0.0005:
        text += f" ± {_short(half)}"
    return text + (MARK if results.saturated(row.key, scenario.key) else "")


def _absolute(results: Results, row: Row, scenario: Scenario) -> str:
    costs = results.values(row.key, scenario.key, cpu)
    if not costs:
        return NOTHING
    cost = statistics.median(costs)
    if scenario.group == "idle":
        return f"{cost:.1f} KiB"
    pace = statistics.median(results.values(row.key, scenario.key, rate))
    return f"{cost:.1f} µs, {pace:,.0f}/s"


def _latency(results: Results) -> str:
    columns: tuple[tuple[str, str, Value, str], ...] = (
        ("fairness p99 / p50", "fairness", fairness, "{:.1f}"),
        ("least served", "fairness", lambda n: n["least_served"], "{:.0%}"),
        ("handshake p50", "connect", lambda n: n["p50_us"] / 1e3, "{:.1f} ms"),
        ("handshake p99", "connect", lambda n: n["p99_us"] / 1e3, "{:.1f} ms"),
        ("three small, echoed", "small", lambda n: n["echoed"] * 1e3, "{:.1f} ms"),
        ("three small, pushed", "small", lambda n: n["pushed"] * 1e3, "{:.1f} ms"),
    )
    measured = {scenario.key for scenario in results.scenarios}
    columns = tuple(column for column in columns if column[1] in measured)
    body = []
    for row in results.rows:
        cells = []
        for _, scenario, value, form in columns:
            values = results.values(row.key, scenario, value)
            cells.append(form.format(statistics.median(values)) if values else "")
        if any(cells):
            body.append([row.title, *cells])
    return _lines(["", *(title for title, *_ in columns)], body)


def _goals(met: Sequence[tuple[Goal, float, bool]]) -> str:
    body = [
        [
            f"{goal.title}{' vs raw Tornado' if goal.relative else ''}",
            f"{goal.limit:g}{goal.unit}",
            f"{_short(value)}{goal.unit}",
            "yes" if fine else "**no**",
        ]
        for goal, value, fine in met
    ]
    return _lines(["jupyter_wshandler, `async def`", "at most", "measured", "met"], body)


def _client(results: Results, loads: Sequence[Scenario]) -> str:
    """Say how near the load client came to its own limit, and where that was."""
    shares = [
        (statistics.median(values), scenario.title, row.title)
        for scenario in loads
        for row in results.rows
        if (values := results.values(row.key, scenario.key, lambda n: n["client_share"]))
    ]
    if not shares:
        return "Nothing was measured with it."
    share, scenario, row = max(shares)
    text = f"Busiest with {row}, {scenario}: {share:.0%} of one core."
    if share > SATURATED:
        text += (
            f" Cells marked {MARK} were measured with the client above {SATURATED:.0%}: there the "
            "server waited for the client, its rate is a lower bound and its CPU per message an "
            "upper bound."
        )
    return text


def _short(value: float) -> str:
    return f"{value:.2f}" if value >= 0.1 else f"{value:.3f}"
