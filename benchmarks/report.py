"""Turn the numbers of all rounds into tables."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from benchmarks.figures import MICROSECONDS, Bar, Figure, plain, short
from benchmarks.launch import Row
from benchmarks.scenarios import Scenario

REFERENCE = "tornado"
SATURATED = 0.9
"""Share of one core above which the load client, not the server, may set the pace."""

NOTHING = "not measured"
_LATENCY = frozenset({"small", "fairness", "blocked"})
_NO_LOAD = _LATENCY | {"idle", "idle-deflate"}
MARK = "†"

Numbers = dict[str, Any]
Value = Callable[[Numbers], float]


@dataclass
class Results:
    """Hold what was measured: per round, row and scenario; and what failed, in words.

    `slices` has every single measurement, and `rounds` the medians of those of a round.
    """

    rows: list[Row]
    scenarios: list[Scenario]
    rounds: list[dict[tuple[str, str], Numbers]] = field(default_factory=list)
    slices: list[dict[str, Any]] = field(default_factory=list)
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


def tail(numbers: Numbers) -> float:
    return float(numbers["p99_us"]) / 1e3


def fairness(numbers: Numbers) -> float:
    return float(numbers["p99_us"] / numbers["p50_us"])


def figures(results: Results) -> list[Figure]:
    """Return what was measured as figures, by the round.

    Args:
        results: What was measured.
    """
    found = []
    for scenario in results.scenarios:
        if scenario.key == "fairness":
            found.append(_figure(results, scenario, "fairness: p99 of p50", fairness))
        elif scenario.key == "blocked":
            title = f"echo {scenario.title}: p99"
            found.append(_figure(results, scenario, title, tail, unit="ms"))
        elif scenario.key == "small":
            for name in ("echoed", "pushed"):
                value = partial(_milliseconds, name)
                title = f"three small, {name}"
                found.append(_figure(results, scenario, title, value, f"small-{name}", "ms"))
        else:
            unit = "KiB" if scenario.key.startswith("idle") else MICROSECONDS
            title = scenario.title
            found.append(_figure(results, scenario, title, cpu, scenario.key, unit, of=REFERENCE))
    return [figure for figure in found if figure.bars]


def _milliseconds(name: str, numbers: Numbers) -> float:
    return float(numbers[name]) * 1e3


def _figure(
    results: Results,
    scenario: Scenario,
    title: str,
    value: Value,
    key: str = "",
    unit: str = "",
    of: str = "",
) -> Figure:
    bars = {}
    for row in results.rows:
        found = [numbers.get((row.key, scenario.key)) for numbers in results.rounds]
        values = [None if numbers is None else value(numbers) for numbers in found]
        if any(number is not None for number in values):
            bars[row.key] = Bar(plain(row.title), values)
    return Figure(key or scenario.key, title, unit, bars, of if of in bars else "")


def tables(results: Results) -> str:
    """Return the tables of the servers as Markdown.

    Args:
        results: What was measured.
    """
    keys = {scenario.key for scenario in results.scenarios}
    loads = [s for s in results.scenarios if s.key not in _NO_LOAD]
    parts = []
    costs = [s for s in results.scenarios if s.group not in _LATENCY]
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
    if keys & {"connect", *_LATENCY}:
        parts += ["## Latency", _latency(results)]
    if costs:
        parts += [
            "## Absolute numbers",
            "Median of the rounds: server CPU per message (handshake) and messages (handshakes) "
            "per second, or memory per idle connection.",
            _table(results, costs, lambda row, s: _absolute(results, row, s)),
        ]
    parts += ["## The load client", _client(results, loads)] if loads else []
    return "\n\n".join(parts)


def ending(results: Results) -> str:
    """Return what failed, and what else is to be known.

    Args:
        results: What was measured.
    """
    parts = []
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
    text = short(statistics.median(ratios))
    half = (max(ratios) - min(ratios)) / 2
    if half >= 0.0005:
        text += f" ± {short(half)}"
    return text + (MARK if results.saturated(row.key, scenario.key) else "")


def _absolute(results: Results, row: Row, scenario: Scenario) -> str:
    costs = results.values(row.key, scenario.key, cpu)
    if not costs:
        return NOTHING
    cost = statistics.median(costs)
    if scenario.key.startswith("idle"):
        return f"{cost:.1f} KiB"
    pace = statistics.median(results.values(row.key, scenario.key, rate))
    return f"{cost:.1f} µs, {pace:,.0f}/s"


def _latency(results: Results) -> str:
    columns: tuple[tuple[str, str, Value, str], ...] = (
        ("fairness p99 / p50", "fairness", fairness, "{:.1f}"),
        ("least served", "fairness", lambda n: n["least_served"], "{:.0%}"),
        ("handshake p50", "connect", lambda n: n["p50_us"] / 1e3, "{:.1f} ms"),
        ("handshake p99", "connect", tail, "{:.1f} ms"),
        ("beside 10 blocked, p99", "blocked", tail, "{:.1f} ms"),
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
