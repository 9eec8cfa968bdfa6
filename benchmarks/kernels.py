"""Measure bots that live in a notebook's kernel, and write the report.

A Jupyter server and an ipykernel, each a process of its own; a notebook is attached to the kernel
as an open tab is. All rows are measured in turn on the same server and kernel.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import kernelload, kernelreport, launch, loadclient, machine
from benchmarks.kernelload import CONNECTIONS, DEPTH, ROWS, WARMUP, Numbers, Place, Row
from benchmarks.kernelreport import Results
from benchmarks.machine import BenchmarkError
from benchmarks.notebook import Notebook
from benchmarks.scenarios import median

REPORTS = launch.CHECKOUT / "docs" / "benchmarks"
PACKAGES = (
    *("jupyter_wshandler", "jupyter-server", "ipykernel", "jupyter_client", "pyzmq", "tornado"),
)


@dataclass(frozen=True)
class Plan:
    """How much to measure; times are in seconds."""

    rounds: int = 3
    duration: float = 2.0
    slices: int = 4
    sleep: float = 30.0
    compute: float = 10.0
    items: int = 10_000
    bursts: int = 5
    minutes: float = 15.0


QUICK = Plan(
    rounds=1, duration=0.6, slices=2, sleep=1.5, compute=1.5, items=500, bursts=1, minutes=2.0
)


@dataclass(frozen=True)
class Scenario:
    """One measurement of one row; `measure` gets the turn of the slice."""

    key: str
    measure: Callable[..., Numbers]
    slices: int = 1


def scenarios(plan: Plan) -> list[Scenario]:
    """Return the measurements of one round, but for those that wait for a cell."""
    part = plan.duration / plan.slices

    def text(size: int, conns: int = CONNECTIONS, depth: int = DEPTH) -> Callable[..., Numbers]:
        options = {"conns": conns, "depth": depth, "size": size}
        return partial(kernelload.echo, **options, duration=part, warmup=WARMUP)

    def binary(size: int) -> Callable[..., Numbers]:
        return partial(kernelload.binary, size=size, duration=part)

    return [
        Scenario("trip", text(64, 1, 1), plan.slices),
        Scenario("text-64", text(64), plan.slices),
        Scenario("text-4096", text(4096), plan.slices),
        Scenario("binary-64", binary(64), plan.slices),
        Scenario("binary-4096", binary(4096), plan.slices),
        Scenario("lines", partial(kernelload.lines, duration=plan.duration)),
        Scenario("stream", partial(kernelload.stream, count=plan.items)),
        Scenario("push", partial(kernelload.push, bursts=plan.bursts)),
    ]


def _command(port: int) -> list[str]:
    extensions = "{'jupyter_wshandler': True, 'jupyter_naive': True}"
    return [
        *(sys.executable, "-m", "jupyter_server", "--allow-root", "--no-browser"),
        *("--log-level=ERROR", "--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}"),
        *("--ServerApp.port_retries=0", f"--ServerApp.jpserver_extensions={extensions}"),
        f"--WSHandlerApp.config_file={kernelload.CELLS / 'kernels.yaml'}",
    ]


SERVER = launch.Server(
    "kernels",
    ("jupyter_server", "ipykernel", "msgspec", "yaml"),
    _command,
    (launch.Row("module", "module"), launch.Row("stream", "stream", "/stream")),
    jupyter=True,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; return 0, 1 where something failed, or 2 for a wrong call."""
    options = _options(argv)
    # ended from outside, it still stops the server and the kernel it has started
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        machine.require_linux()
        loadclient.build()
        if SERVER.missing:
            raise BenchmarkError(f"{', '.join(SERVER.missing)} not installed")
    except BenchmarkError as exc:
        print(f"benchmarks: {exc}", file=sys.stderr)
        return 2
    plan = QUICK if options.quick else Plan()
    changes = {"rounds": options.rounds, "duration": options.seconds, "minutes": options.minutes}
    plan = replace(plan, **{key: value for key, value in changes.items() if value is not None})
    results = measure(plan)
    text = f"{_heading(plan, options.quick)}\n\n{kernelreport.render(results)}\n"
    print(text)
    _write(options, text, results)
    missed = [goal for goal, _, fine in kernelreport.goals(results) if not fine]
    return 1 if results.failures or (options.check and missed) else 0


def measure(plan: Plan) -> Results:
    """Measure everything `plan.rounds` times, each time with a fresh server and kernel."""
    results = Results(sleep=plan.sleep, compute=plan.compute, items=plan.items)
    deadline = time.monotonic() + plan.minutes * 60
    for turn in range(plan.rounds):
        if time.monotonic() > deadline:
            results.notes.append(f"stopped before round {turn + 1}: {plan.minutes:g} min are over")
            break
        label = f"{turn + 1}/{plan.rounds}"
        before = os.getloadavg()[0]
        try:
            _round(plan, turn, results, deadline, label)
        except BenchmarkError as exc:
            _failed(results, f"round {label}: {exc}")
        results.notes.append(
            f"load average of round {label}: {before:.2f} before, {os.getloadavg()[0]:.2f} after"
        )
    return results


def _round(plan: Plan, turn: int, results: Results, deadline: float, label: str) -> None:
    running = launch.Running(SERVER, None)
    book: Notebook | None = None
    numbers: dict[tuple[str, str], Numbers] = {}
    results.rounds.append(numbers)
    try:
        running.wait()
        book = Notebook(running.target)
        kernelload.serve(book)
        place = Place(running.target, book)
        rows = [*ROWS[turn % len(ROWS) :], *ROWS[: turn % len(ROWS)]]
        for scenario in scenarios(plan):
            if time.monotonic() < deadline:
                numbers |= _slices(scenario, place, rows, results)
                _progress(f"round {label}: {scenario.key}: done")
        for key, cell, seconds in (
            ("sleep", kernelload.sleeping, plan.sleep),
            ("compute", kernelload.computing, plan.compute),
        ):
            if time.monotonic() < deadline:
                try:
                    found = kernelload.while_cell(place, rows, cell(seconds), seconds)
                    numbers |= {(row, key): value for row, value in found.items()}
                except (BenchmarkError, OSError) as exc:
                    _failed(results, f"while a cell runs ({key}): {exc}")
                _progress(f"round {label}: {key}: done")
    finally:
        if book is not None:
            book.close()
        running.stop()


def _slices(
    scenario: Scenario, place: Place, rows: Sequence[Row], results: Results
) -> dict[tuple[str, str], Numbers]:
    """Measure a scenario in slices, each of which goes through all rows before the next."""
    parts: dict[tuple[str, str], list[Numbers]] = {}
    for turn in range(scenario.slices):
        for row in rows:
            if scenario.key == "push" and not row.push:
                continue
            try:
                numbers = scenario.measure(place, row, turn)
            except (BenchmarkError, OSError) as exc:
                _failed(results, f"{row.key}: {scenario.key}: {exc}")
            else:
                parts.setdefault((row.key, scenario.key), []).append(numbers)
    return {key: _median(found) for key, found in parts.items()}


def _median(slices: list[Numbers]) -> Numbers:
    """Return the median of each number; the two CPU clocks are read in different slices."""
    merged: Numbers = {}
    for name in {name: None for part in slices for name in part}:
        merged |= median([{name: part[name]} for part in slices if name in part])
    return merged


def _failed(results: Results, text: str) -> None:
    _progress(text)
    results.failures.append(" ".join(text.split()))


def _progress(text: str) -> None:
    print(f"benchmarks: {text}", file=sys.stderr, flush=True)


def _heading(plan: Plan, quick: bool) -> str:
    versions = [f"Python {platform.python_version()}"]
    versions += [f"{name} {found}" for name in PACKAGES if (found := machine.package_version(name))]
    kind = "A quick run: it shows that the benchmark works; its numbers mean little.\n\n"
    return (
        "# Bots in a kernel\n\n"
        f"{kind if quick else ''}"
        f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC; {', '.join(versions)}; "
        f"Linux {platform.release()}; {os.cpu_count()} cores, {machine.processor()}.\n\n"
        f"{plan.rounds} round{'s' if plan.rounds > 1 else ''} of {plan.duration:g} s a measurement "
        f"(in {plan.slices} slices, each in turn with the other rows): median ± half of the range. "
        "Server, kernel and clients share the cores, nothing is pinned, and a notebook is attached "
        "to the kernel throughout. "
        "[How it is measured](../../benchmarks/README.md#bots-in-a-kernel)."
    )


def _write(options: argparse.Namespace, text: str, results: Results) -> None:
    loadclient.BUILD.mkdir(exist_ok=True)
    raw: list[dict[str, Any]] = [
        {"round": turn + 1, "row": row, "scenario": scenario, **numbers}
        for turn, measured in enumerate(results.rounds)
        for (row, scenario), numbers in measured.items()
    ]
    # a short run, or one in which something failed, never replaces the published results
    short = options.quick or options.rounds or options.seconds or options.minutes
    whole = not (short or results.failures)
    name = "kernels" if whole else "kernels-partial"
    target = options.output or (REPORTS if whole else loadclient.BUILD) / f"{name}.md"
    target_raw = (options.output or loadclient.BUILD / name).with_suffix(".json")
    target.write_text(text, encoding="utf-8")
    target_raw.write_text(json.dumps(raw, indent=1) + "\n", encoding="utf-8")
    _progress(f"written to {os.path.relpath(target)} and {os.path.relpath(target_raw)}")


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kernels", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round, to see it works")
    parser.add_argument("--rounds", type=int, help="rounds (default 3)")
    parser.add_argument("--seconds", type=float, help="per measurement (default 2)")
    parser.add_argument("--minutes", type=float, help="start nothing after them (default 15)")
    parser.add_argument("--output", type=Path, help="file for the report")
    parser.add_argument("--check", action="store_true", help="fail where a goal is missed")
    options = parser.parse_args(argv)
    for name in ("rounds", "seconds", "minutes"):
        value = getattr(options, name)
        if value is not None and value <= 0:
            parser.error(f"--{name}: expected more than 0, found {value}")
    return options


if __name__ == "__main__":
    sys.exit(main())
