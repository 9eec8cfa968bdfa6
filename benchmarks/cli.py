"""The command: measure in interleaved rounds, print the tables, write them to a file."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks import launch, loadclient, machine, report
from benchmarks.machine import BenchmarkError
from benchmarks.scenarios import GROUPS, QUICK, Plan, Scenario, idle, median, scenarios

REPORTS = launch.CHECKOUT / "docs" / "benchmarks"
PACKAGES = (
    *("tornado", "jupyter-server", "jupyter_wshandler", "websockets"),
    *("fastapi", "uvicorn", "uvloop", "aiohttp"),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmarks; return 0, 1 where something failed, or 2 for a wrong call."""
    options = _options(argv)
    # ended from outside, it still stops the servers it has started
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        machine.require_linux()
        machine.raise_file_limit()
        loadclient.build()
    except BenchmarkError as exc:
        print(f"benchmarks: {exc}", file=sys.stderr)
        return 2
    plan = QUICK if options.quick else Plan()
    changes = {"rounds": options.rounds, "duration": options.seconds, "minutes": options.minutes}
    plan = replace(plan, **{key: value for key, value in changes.items() if value is not None})
    results = measure(plan, options.servers, options.only)
    text = f"{_heading(plan, options)}\n\n{report.render(results)}\n"
    print(text)
    _write(options, text, results)
    missed = [goal for goal, _, fine in report.goals(results) if not fine]
    return 1 if results.failures or (options.check and missed) else 0


def measure(plan: Plan, names: Sequence[str], groups: Sequence[str]) -> report.Results:
    """Measure every scenario with every server, `plan.rounds` times.

    All servers of a round run at once, idle but for the one that is measured; each slice of a
    scenario goes through all of them before the next begins, so that a ratio compares neighbours
    in time. The order of the servers turns from round to round.
    """
    wanted = scenarios(plan, set(groups))
    todo = [idle(plan), *(scenario for scenario in wanted if scenario.group != "idle")]
    servers = [server for server in launch.ALL if server.key in names]
    rows = [row for server in servers for row in server.rows]
    results = report.Results([row for row in rows if any(s.takes(row) for s in wanted)], wanted)
    for server in [server for server in servers if server.missing]:
        servers.remove(server)
        results.notes.append(
            f"{server.key}: not measured, {', '.join(server.missing)} not installed "
            "(pip install '.[bench]')"
        )
    cores = machine.choose_cores()
    if cores:
        os.sched_setaffinity(0, {cores[1]})
    else:
        results.notes.append("one core only: servers and load client shared it")
    deadline = time.monotonic() + plan.minutes * 60
    for turn in range(plan.rounds):
        if time.monotonic() > deadline:
            results.notes.append(f"stopped before round {turn + 1}: {plan.minutes:g} min are over")
            break
        results.notes.append(f"load average before round {turn + 1}: {os.getloadavg()[0]:.2f}")
        shift = turn % max(1, len(servers))
        order = servers[shift:] + servers[:shift]
        core = cores[0] if cores else None
        numbers = _round(order, todo, results, core, deadline, f"{turn + 1}/{plan.rounds}")
        results.rounds.append(numbers)
    return results


def _round(
    servers: Sequence[launch.Server],
    todo: Sequence[Scenario],
    results: report.Results,
    core: int | None,
    deadline: float,
    label: str,
) -> dict[tuple[str, str], report.Numbers]:
    numbers: dict[tuple[str, str], report.Numbers] = {}
    running: list[launch.Running] = []
    try:
        for server in servers:
            running.append(launch.Running(server, core))
        up = [process for process in running if _is_up(process, results)]
        for scenario in todo:
            parts: dict[tuple[str, str], list[report.Numbers]] = {}
            for _ in range(scenario.slices):
                for process in up:
                    _measure(process, scenario, parts, results, deadline)
            numbers |= {key: median(slices) for key, slices in parts.items()}
            _progress(f"round {label}: {scenario.title}: done")
    finally:
        for process in running:
            process.stop()
    return numbers


def _measure(
    process: launch.Running,
    scenario: Scenario,
    parts: dict[tuple[str, str], list[report.Numbers]],
    results: report.Results,
    deadline: float,
) -> None:
    """Measure one slice of a scenario with every row of one server."""
    for row in process.server.rows:
        if not scenario.takes(row) or time.monotonic() > deadline:
            continue
        try:
            numbers = scenario.measure(process.target, row)
        except BenchmarkError as exc:
            _failed(results, f"{row.key}: {scenario.title}: {exc}")
        else:
            parts.setdefault((row.key, scenario.key), []).append(numbers)


def _is_up(process: launch.Running, results: report.Results) -> bool:
    _progress(f"starting {process.server.key}")
    try:
        process.wait()
    except BenchmarkError as exc:
        _failed(results, f"{process.server.key}: not measured, the server {exc}")
        return False
    return True


def _failed(results: report.Results, text: str) -> None:
    _progress(text)
    first, *rest = text.splitlines()
    indented = "".join(f"\n      {line}" for line in rest)
    results.failures.append(f"{first}\n{indented}" if rest else first)


def _progress(text: str) -> None:
    print(f"benchmarks: {text}", file=sys.stderr, flush=True)


def _heading(plan: Plan, options: argparse.Namespace) -> str:
    versions = [f"Python {platform.python_version()}"]
    versions += [f"{name} {found}" for name in PACKAGES if (found := machine.package_version(name))]
    kind = "A quick run: it shows that the benchmark works; its numbers mean little.\n\n"
    return (
        "# Benchmark results\n\n"
        f"{kind if options.quick else ''}"
        f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC; {', '.join(versions)}; "
        f"Linux {platform.release()}; {os.cpu_count()} cores, {machine.processor()}.\n\n"
        f"{plan.rounds} interleaved round{'s' if plan.rounds > 1 else ''} of "
        f"{plan.duration:g} s a measurement (in {plan.slices} slices in turn with the other "
        "servers): median ± half of the range. Echo and handshakes over "
        f'{plan.connections} connections ("in flight" is per connection), fan-out of 64 B with '
        f"{plan.window} in flight, memory over {plan.idle:,} idle connections. "
        "[How it is measured](../../benchmarks/README.md)."
    )


def _write(options: argparse.Namespace, text: str, results: report.Results) -> None:
    """Write the report, and every number of every round as JSON."""
    loadclient.BUILD.mkdir(exist_ok=True)
    raw = [
        {"round": turn + 1, "row": row, "scenario": scenario, **numbers}
        for turn, measured in enumerate(results.rounds)
        for (row, scenario), numbers in measured.items()
    ]
    whole = not options.quick and options.only == list(GROUPS)
    whole = whole and {server.key for server in launch.ALL} == set(options.servers)
    # a part of the measurements never replaces the published results
    name = "README" if whole else "partial"
    target = options.output or (REPORTS if whole else loadclient.BUILD) / f"{name}.md"
    target_raw = (
        options.output.with_suffix(".json") if options.output else loadclient.BUILD / f"{name}.json"
    )
    target.write_text(text, encoding="utf-8")
    target_raw.write_text(json.dumps(raw, indent=1) + "\n", encoding="utf-8")
    _progress(f"written to {os.path.relpath(target)} and {os.path.relpath(target_raw)}")


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    known = [server.key for server in launch.ALL]
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round, to see it works")
    parser.add_argument(
        "--only", type=_choice(GROUPS), default=list(GROUPS), help=f"of {','.join(GROUPS)}"
    )
    parser.add_argument(
        "--servers", type=_choice(known), default=known, help=f"of {','.join(known)}"
    )
    parser.add_argument("--rounds", type=_at_least(int, 1), help="interleaved rounds (default 3)")
    parser.add_argument("--seconds", type=_at_least(float, 0.1), help="per measurement (default 2)")
    parser.add_argument(
        "--minutes", type=_at_least(float, 0.1), help="start nothing after them (default 15)"
    )
    parser.add_argument("--output", type=Path, help="file for the report")
    parser.add_argument("--check", action="store_true", help="fail where a goal is missed")
    options = parser.parse_args(argv)
    if report.REFERENCE not in options.servers:
        options.servers = [report.REFERENCE, *options.servers]
    return options


def _choice(known: Sequence[str]):
    def parse(text: str) -> list[str]:
        given = [part.strip() for part in text.split(",") if part.strip()]
        if unknown := [part for part in given if part not in known]:
            raise argparse.ArgumentTypeError(
                f"unknown: {', '.join(unknown)}; known: {', '.join(known)}"
            )
        return [name for name in known if name in given]

    return parse


def _at_least(kind: type, least: float):
    def parse(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not value >= least:
            raise argparse.ArgumentTypeError(f"expected a number of {least} or more, found {text}")
        return value

    return parse
