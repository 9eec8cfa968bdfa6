"""Measure what a message costs the server over TLS, beside raw Tornado over TLS.

The rows are measured in turn in each slice, so that what disturbs one disturbs all.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import NamedTuple

from benchmarks import figures, launch, loadclient, machine
from benchmarks.figures import Bar, Figure
from benchmarks.machine import BenchmarkError

REFERENCE = "tornado"
OURS = "wshandler"
STREAM = "wshandler-stream"


class Way(NamedTuple):
    """A column of the table: what the client sends, and what it may cost, of raw Tornado's."""

    title: str
    size: int
    depth: int
    each: bool = False
    goal: float | None = None


WAYS = (
    Way("64 B, 1 in flight", 64, 1, goal=0.6),
    Way("64 B, 16 in flight", 64, 16, goal=0.12),
    Way("64 B, 16 in flight, a record each", 64, 16, each=True),
    Way("4 KiB, 1 in flight", 4096, 1),
)

Costs = dict[tuple[str, str], list[float]]
"""Microseconds of a message, by row and column; one for each slice."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; return 0, 1 where a goal is missed, or 2 where nothing was measured."""
    options = _options(argv)
    try:
        machine.require_linux()
        machine.raise_file_limit()
        loadclient.build()
        with tempfile.TemporaryDirectory(prefix="wshandler-bench-") as folder:
            there = [one for one in servers(*certificate(Path(folder))) if not one.missing]
            costs, memory = measure(there, options)
    except BenchmarkError as exc:
        print(f"benchmarks: {exc}", file=sys.stderr)
        return 2
    text, met = report(there, costs, memory, options.connections)
    print(text)
    if options.json:
        figures.write(options.json, drawn(there, costs))
    return int(options.check and not met)


def certificate(folder: Path) -> tuple[str, str]:
    """Make a certificate that nobody has signed; return its path and its key's.

    Raises:
        BenchmarkError: There is no program to make it with, or it fails.
    """
    if shutil.which("openssl") is None:
        raise BenchmarkError("no openssl: install it (Debian: apt install openssl libssl-dev)")
    made, key = str(folder / "certificate.pem"), str(folder / "key.pem")
    command = [
        *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
        *("-nodes", "-days", "1", "-subj", "/CN=127.0.0.1", "-keyout", key, "-out", made),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if done.returncode:
        raise BenchmarkError(f"openssl made no certificate:\n{done.stderr.strip()}")
    return made, key


def servers(made: str, key: str) -> list[launch.Server]:
    """Return the servers to compare, each with the certificate."""
    known = {server.key: server for server in launch.ALL}
    of_jupyter = (f"--ServerApp.certfile={made}", f"--ServerApp.keyfile={key}")

    def with_tls(base: str, name: str, title: str, *options: str) -> launch.Server:
        server = known[base]
        more = (*of_jupyter, *options) if server.jupyter else (made, key)

        def command(port: int) -> list[str]:
            return [*server.command(port), *more]

        return replace(server, command=command, rows=(launch.Row(name, title),), tls=True)

    return [
        with_tls("tornado", REFERENCE, "raw Tornado"),
        with_tls("jupyter", "jupyter", "plain Jupyter handler"),
        with_tls("aiohttp", "aiohttp", "aiohttp"),
        with_tls("wshandler", OURS, "**jupyter_wshandler**, `async def`"),
        with_tls(
            *("wshandler", STREAM, "the same, `transport = stream`"),
            "--WSHandlerApp.transport=stream",
        ),
    ]


def measure(
    there: Sequence[launch.Server], options: argparse.Namespace
) -> tuple[Costs, dict[str, float]]:
    """Return the server's CPU time of a message, and its memory of an idle connection in KiB.

    Args:
        there: The servers.
        options: How much is measured; see `--help`.
    """
    cores = machine.choose_cores()
    core = None if cores is None else cores[0]
    running: list[launch.Running] = []
    costs: Costs = {}
    memory: dict[str, float] = {}
    try:
        for server in there:  # one after another: together they would be slow to start
            one = launch.Running(server, core)
            running.append(one)
            one.wait()
            found = loadclient.run(one.target, "idle", path="/echo", conns=options.idle)
            grown = found["rss1_kb"] - found["rss0_kb"]
            memory[one.server.rows[0].key] = grown / options.idle
        for _ in range(options.slices):
            for way in WAYS:
                for one in running:
                    found = loadclient.run(
                        one.target,
                        "echo",
                        path="/echo",
                        conns=options.connections,
                        size=way.size,
                        depth=way.depth,
                        each=int(way.each),
                        duration=options.seconds,
                        warmup=0.2,
                    )
                    cost = float(found["cpu_us_per"])
                    costs.setdefault((one.server.rows[0].key, way.title), []).append(cost)
        return costs, memory
    finally:
        for one in running:
            one.stop()


def ratio(costs: Costs, row: str, title: str) -> float:
    """Return what a row costs of raw Tornado, slice by slice, in the middle."""
    pairs = zip(costs[row, title], costs[REFERENCE, title], strict=True)
    return median(one / other for one, other in pairs)


def report(
    there: Sequence[launch.Server], costs: Costs, memory: dict[str, float], connections: int
) -> tuple[str, bool]:
    """Return the table, and whether the goals are met."""
    titles = [way.title for way in WAYS]
    lines = [
        f"Echo over TLS, {connections} connections: server CPU of a message in us, and of raw "
        "Tornado's",
        "",
        f"| | {' | '.join(titles)} | idle memory, KiB |",
        "|---|" + "---|" * (len(titles) + 1),
    ]
    for server in there:
        row = server.rows[0]
        cells = [
            f"{median(costs[row.key, title]):.1f}, {ratio(costs, row.key, title):.2f}"
            for title in titles
        ]
        lines.append(f"| {row.title} | {' | '.join(cells)} | {memory[row.key]:.1f} |")
    lines.append("")
    met = True
    for way in WAYS:
        if way.goal is not None:
            found = ratio(costs, OURS, way.title)
            met &= found <= way.goal
            verdict = "met" if found <= way.goal else "MISSED"
            lines.append(f"- {way.title}: {found:.2f} of raw Tornado; {way.goal} {verdict}")
    return "\n".join(lines), met


def drawn(there: Sequence[launch.Server], costs: Costs) -> list[Figure]:
    """Return what was measured as figures.

    Args:
        there: The servers.
        costs: From `measure`.
    """
    rows = [server.rows[0] for server in there]
    return [
        Figure(
            f"tls-{way.size}-{way.depth}{'-each' if way.each else ''}",
            f"TLS: echo {way.title}",
            figures.MICROSECONDS,
            {row.key: Bar(figures.plain(row.title), costs[row.key, way.title]) for row in rows},
            of=REFERENCE,
        )
        for way in WAYS
    ]


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tls", description=__doc__)
    parser.add_argument("--slices", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--idle", type=int, default=1000, help="connections that each begins with")
    parser.add_argument("--check", action="store_true", help="exit 1 where a goal is missed")
    parser.add_argument("--json", type=Path, help="file for the figures")
    return parser.parse_args(argv)


if __name__ == "__main__":
    raise SystemExit(main())
