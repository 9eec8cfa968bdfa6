"""Measure what it costs a message that somebody counts, filters, traces or watches it.

The same echo is served by servers that differ in one setting. They are measured in turn in each
slice, so that what disturbs one disturbs all; the ratio is to the server where nobody looks.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from benchmarks import launch, loadclient, machine
from benchmarks.console import Looking
from benchmarks.machine import BenchmarkError

NOBODY = "nobody"

WAYS = (("1 in flight", 1), ("16 in flight", 16))

EVERY = 1.0
"""Seconds between two questions of who watches: an open page of the console asks as often."""


@dataclass(frozen=True)
class Observed:
    """One row: the server with a setting, or with somebody who asks it all the time.

    Args:
        key: What to call it.
        title: The same for people.
        options: Settings of the server.
        environment: Variables that its modules read.
        needs: Modules that it needs beside the others.
        question: What is asked of its API while it is measured; empty for nothing.
    """

    key: str
    title: str
    options: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    needs: tuple[str, ...] = ()
    question: str = ""

    def server(self) -> launch.Server:
        """Return the server of this row."""
        base = next(one for one in launch.ALL if one.key == "wshandler")

        def command(port: int) -> list[str]:
            return [*base.command(port), *self.options]

        return replace(
            base,
            key=self.key,
            needs=(*base.needs, *self.needs),
            command=command,
            rows=(launch.Row(self.key, self.title),),
        )


ROWS = (
    Observed(NOBODY, "nobody looks"),
    Observed(
        "metrics", "`c.WSHandlerApp.message_metrics`", ("--WSHandlerApp.message_metrics=True",)
    ),
    Observed(
        "filter", "a filter, in and out", ("--WSHandlerApp.filters=['bench_filter.nothing']",)
    ),
    Observed(
        "traces",
        "traces, without an exporter",
        environment=(("BENCH_TRACES", "1"),),
        needs=("opentelemetry", "opentelemetry.sdk"),
    ),
    Observed("traffic", "the console shows rates", question="traffic"),
    Observed("frames", "the console shows each message", question="frames?route=echo"),
)

Costs = dict[tuple[str, str], list[float]]
"""Microseconds of a message, by row and column; one for each slice."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; return 0, or 2 where nothing was measured."""
    options = _options(argv)
    try:
        machine.require_linux()
        loadclient.build()
        print(report(measure(options)))
    except BenchmarkError as exc:
        print(f"benchmarks: {exc}", file=sys.stderr)
        return 2
    return 0


def measure(options: argparse.Namespace) -> Costs:
    """Return the server's CPU time of a message.

    Args:
        options: How much is measured; see `--help`.

    Raises:
        BenchmarkError: A server does not start, or answers with an error.
    """
    cores = machine.choose_cores()
    core = None if cores is None else cores[0]
    running: list[tuple[Observed, launch.Running]] = []
    costs: Costs = {}
    try:
        for row in ROWS:
            server = row.server()
            if server.missing:
                print(f"{row.title}: {', '.join(server.missing)} not installed", file=sys.stderr)
                continue
            one = launch.Running(server, core, dict(row.environment))
            running.append((row, one))
            one.wait()
            loadclient.run(one.target, "idle", path="/echo", conns=500)  # a young process is slow
        for _ in range(options.slices):
            for title, depth in WAYS:
                for row, one in running:
                    with _asking(row, one):
                        found = _echo(one.target, depth, options.seconds)
                    costs.setdefault((row.key, title), []).append(float(found["cpu_us_per"]))
        return costs
    finally:
        for _, one in running:
            one.stop()


def _echo(target: loadclient.Target, depth: int, seconds: float) -> dict[str, Any]:
    options = {"conns": 32, "size": 64, "depth": depth, "duration": seconds, "warmup": 0.2}
    return loadclient.run(target, "echo", path="/echo", **options)


@contextlib.contextmanager
def _asking(row: Observed, server: launch.Running) -> Iterator[None]:
    """Ask what a row asks, as long as it is measured."""
    if not row.question:
        yield
        return
    looking, ended = Looking(server.target), threading.Event()
    failed: list[BenchmarkError] = []

    def ask() -> None:
        try:
            while not ended.wait(EVERY):
                looking.ask(row.question)
        except BenchmarkError as exc:
            failed.append(exc)

    looking.ask(row.question)
    thread = threading.Thread(target=ask, name=row.key)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        looking.close()
    if failed:
        raise failed[0]


def report(costs: Costs) -> str:
    """Return the table.

    Args:
        costs: From `measure`.
    """
    titles = [title for title, _ in WAYS]
    lines = [
        "Echo of 64 B, 32 connections: server CPU of a message in µs, and of that where nobody "
        "looks",
        "",
        f"| | {' | '.join(titles)} |",
        "|---|" + "---:|" * len(titles),
    ]
    for row in ROWS:
        if (row.key, titles[0]) not in costs:
            continue
        cells = []
        for title in titles:
            own, base = costs[row.key, title], costs[NOBODY, title]
            ratio = median(one / other for one, other in zip(own, base, strict=True))
            cells.append(f"{median(own):.1f}, {ratio:.2f}")
        lines.append(f"| {row.title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.observers", description=__doc__)
    parser.add_argument("--slices", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.5, help="seconds of a slice")
    return parser.parse_args(argv)


if __name__ == "__main__":
    raise SystemExit(main())
