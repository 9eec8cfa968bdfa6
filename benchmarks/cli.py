"""The command: measure in interleaved rounds, print the tables, write them to a file."""

from __future__ import annotations

import argparse
import contextlib
import datetime
import os
import platform
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import launch, loadclient, machine, parts, publish, report
from benchmarks.machine import BenchmarkError, NothingMeasured
from benchmarks.scenarios import GROUPS, QUICK, Plan, Scenario, compressed, idle, median, scenarios

PACKAGES = (
    *("tornado", "jupyter-server", "jupyter_wshandler", "websockets"),
    *("fastapi", "uvicorn", "uvloop", "aiohttp", "picows", "aiofastnet"),
    *("python-socketio", "redis"),
)


TRIES = 4
UNTOLD = frozenset({"errors", "stalled", "rss_peak_kb", "deflate_used", "store_us_per"})
"""What the load client says that is the same in all measurements that count, or not used."""


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
    begun = time.monotonic()
    plan = QUICK if options.quick else Plan()
    changes = {"rounds": options.rounds, "duration": options.seconds, "minutes": options.minutes}
    plan = replace(plan, **{key: value for key, value in changes.items() if value is not None})
    servers = [server for server in launch.ALL if server.key in options.servers]
    if options.before:
        servers.append(launch.before(options.before))
    groups = [name for name in options.only if name in GROUPS]
    results = measure(plan, servers, groups) if groups else report.Results([], [])
    folder = publish.folder(options)
    outcomes = _parts(options, results, folder)
    heading = _heading(plan, options, time.monotonic() - begun)
    verdicts = publish.write(folder, heading, results, outcomes)
    _progress(f"written to {os.path.relpath(folder)}")
    print((folder / "README.md").read_text(encoding="utf-8"))
    missed = any(not one.met for one in verdicts) or any(one.code == 1 for one in outcomes)
    return 1 if results.failures or (options.check and missed) else 0


def _parts(
    options: argparse.Namespace, results: report.Results, folder: Path
) -> list[parts.Outcome]:
    """Run the benchmarks that are programs of their own, and note those that could not."""
    outcomes = []
    for part in parts.PARTS:
        if part.key not in options.only:
            continue
        if not part.there:
            results.notes.append(f"{part.key}: not measured, there is no {part.module}")
            continue
        _progress(f"{part.key}: begins")
        outcome = parts.run(part, folder, options.quick, options.check)
        if outcome.code == 2:
            _failed(results, f"{part.key}: {part.module} measured nothing")
        elif outcome.code and not options.check:
            _failed(results, f"{part.key}: a measurement failed, see its section")
        _progress(f"{part.key}: done")
        outcomes.append(outcome)
    return outcomes


def measure(plan: Plan, wanted: Sequence[launch.Server], groups: Sequence[str]) -> report.Results:
    """Measure every scenario with every server, `plan.rounds` times.

    All servers of a round run at once, idle but for the one that is measured; each slice of a
    scenario goes through all of them before the next begins, so that a ratio compares neighbours
    in time. The order of the servers turns from round to round.

    Args:
        plan: How much.
        wanted: The servers.
        groups: What of `scenarios.GROUPS`.
    """
    measured = [
        *scenarios(plan, set(groups)),
        *(compressed(plan) if "compression" in groups else ()),
    ]
    rows = [row for server in wanted for row in server.rows]
    results = report.Results([row for row in rows if any(s.takes(row) for s in measured)], measured)
    servers = [server for server in wanted if not server.missing]
    for server in [server for server in wanted if server.missing]:
        results.notes.append(
            f"{server.key}: not measured, {', '.join(server.missing)} not installed "
            "(pip install '.[bench]')"
        )
    before = os.sched_getaffinity(0)
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
        numbers: dict[tuple[str, str], report.Numbers] = {}
        for some, todo in _phases(plan, order, measured):
            core = cores[0] if cores else None
            numbers |= _round(some, todo, results, core, deadline, f"{turn + 1}/{plan.rounds}")
        results.rounds.append(numbers)
    os.sched_setaffinity(0, before)
    return results


def _phases(
    plan: Plan, servers: Sequence[launch.Server], measured: Sequence[Scenario]
) -> Iterator[tuple[list[launch.Server], list[Scenario]]]:
    """Yield what is measured with servers that are started for it: compression wants its own."""
    plain = [one for one in measured if one.group not in ("idle", "compression")]
    if plain or any(one.group == "idle" for one in measured):
        yield [*servers], [idle(plan), *plain]
    if deflated := [one for one in measured if one.group == "compression"]:
        yield [one for one in servers if any(row.deflated for row in one.rows)], deflated


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
            for number in range(scenario.slices):
                for process in up:
                    _measure(process, scenario, parts, results, deadline)
                place = {"round": label, "slice": number + 1, "scenario": scenario.key}
                results.slices += [
                    {"row": row, **place, **_kept(slices[number], place)}
                    for (row, _), slices in parts.items()
                    if number < len(slices)
                ]
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
            numbers = _patiently(scenario, process.target, row)
        except BenchmarkError as exc:
            _failed(results, f"{row.key}: {scenario.title}: {exc}")
        else:
            parts.setdefault((row.key, scenario.key), []).append(numbers)


def _patiently(scenario: Scenario, target: loadclient.Target, row: launch.Row) -> report.Numbers:
    """Measure one slice, and again where a machine that is busy left it no time at all."""
    for _ in range(TRIES - 1):
        with contextlib.suppress(NothingMeasured):
            return scenario.measure(target, row)
    return scenario.measure(target, row)


def _kept(numbers: report.Numbers, place: dict[str, Any]) -> report.Numbers:
    """Return what is worth keeping of a slice: what was measured, and that once."""
    return {
        key: value
        for key, value in numbers.items()
        if key not in place and isinstance(value, int | float) and key not in UNTOLD
    }


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


def _heading(plan: Plan, options: argparse.Namespace, seconds: float) -> str:
    versions = [f"Python {platform.python_version()}"]
    versions += [f"{name} {found}" for name in PACKAGES if (found := machine.package_version(name))]
    kind = "A quick run: it shows that the benchmark works; its numbers mean little.\n\n"
    return (
        "# Benchmark results\n\n"
        f"{kind if options.quick else ''}"
        f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC; {', '.join(versions)}; "
        f"Linux {platform.release()}; {os.cpu_count()} cores, {machine.processor()}. It took "
        f"{seconds / 60:.0f} minutes.\n\n"
        f"{plan.rounds} interleaved round{'s' if plan.rounds > 1 else ''} of "
        f"{plan.duration:g} s a measurement (in {plan.slices} slices in turn with the other "
        "servers): median ± half of the range. Echo and handshakes over "
        f'{plan.connections} connections ("in flight" is per connection), fan-out of 64 B with '
        f"{plan.window} in flight, memory over {plan.idle:,} idle connections, or "
        f"{plan.compressed:,} with compression. [How it is measured](../../benchmarks/README.md)."
    )


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    known = [server.key for server in launch.ALL]
    every = [*GROUPS, *(part.key for part in parts.PARTS)]
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round, to see it works")
    parser.add_argument("--only", type=_choice(every), default=every, help=f"of {','.join(every)}")
    parser.add_argument(
        "--servers", type=_choice(known), default=known, help=f"of {','.join(known)}"
    )
    parser.add_argument("--rounds", type=_at_least(int, 1), help="interleaved rounds (default 3)")
    parser.add_argument("--seconds", type=_at_least(float, 0.1), help="per measurement (default 1)")
    parser.add_argument(
        "--minutes",
        type=_at_least(float, 0.1),
        help="of the tables: start no more then (default 18)",
    )
    parser.add_argument(
        "--before", type=Path, metavar="TREE", help="another checkout, to be measured beside this"
    )
    parser.add_argument("--output", type=Path, help="folder for the report")
    parser.add_argument("--check", action="store_true", help="fail where a goal is missed")
    options = parser.parse_args(argv)
    if report.REFERENCE not in options.servers:
        options.servers = [report.REFERENCE, *options.servers]
    options.whole = not (options.quick or options.before) and options.only == every
    options.whole = options.whole and set(options.servers) == set(known)
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
