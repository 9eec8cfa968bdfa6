"""Say where the server's time goes: one of the benchmark's servers, under load, sampled.

The server is a process of its own, as in the benchmark, and the load comes from `wsload`. Every few
milliseconds of its CPU time its stacks are noted (servers/sampled.py).
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks import launch, loadclient, machine, stacks
from benchmarks.machine import BenchmarkError
from benchmarks.scenarios import median
from benchmarks.servers import sampled

WARMUP = 1.0
WINDOW = 3.0
WRITTEN = 30.0
PATIENCE = 6
"""How much longer than --seconds it may take where the server gets little of a busy processor."""

FEW = 300
"""Samples below which shares of a few percent are chance."""

ROWS = {row.key: (server, row) for server in launch.ALL for row in server.rows}


@dataclass
class Profile:
    """What was seen: stacks, and how often they were noted; and the server's CPU time in seconds.

    `numbers` are the load client's, `system` is what of the CPU time the kernel used.
    """

    noted: list[stacks.Stack] = field(default_factory=list)
    count: int = 0
    numbers: list[dict[str, Any]] = field(default_factory=list)
    cpu: float = 0.0
    system: float = 0.0


def main(argv: Sequence[str] | None = None) -> int:
    """Profile one server and print the tables; return 0, or 2 where nothing was measured."""
    options = _options(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        machine.require_linux()
        machine.raise_file_limit()
        loadclient.build()
        found = measure(options)
    except BenchmarkError as exc:
        print(f"benchmarks: {exc}", file=sys.stderr)
        return 2
    print(report(found, _title(options), options.top))
    if options.folded:
        options.folded.write_text(stacks.folded(found.noted), encoding="utf-8")
    return 0


def measure(options: argparse.Namespace) -> Profile:
    """Start the server, load it, and return what was seen.

    Args:
        options: From the command line.

    Raises:
        BenchmarkError: The server is none that can be sampled, or a measurement failed.
    """
    server, row = ROWS[options.row]
    server = replace(server, tree=options.tree.resolve())
    if server.missing:
        raise BenchmarkError(f"{options.row}: {', '.join(server.missing)} not installed")
    cores = machine.choose_cores()
    if cores:
        os.sched_setaffinity(0, {cores[1]})
    with tempfile.TemporaryDirectory(prefix="wshandler-profile-") as folder:
        notes = Path(folder) / "notes"
        running = launch.Running(under_sampler(server, notes), cores[0] if cores else None)
        try:
            running.wait()
            # as in the benchmark: a process that has had no load yet is several times slower
            loadclient.run(running.target, "idle", path=row.path, conns=options.grown)
            return _enough(running.target, notes, row.path, options)
        finally:
            running.stop()


def under_sampler(server: launch.Server, notes: Path) -> launch.Server:
    """Return the same server, run so that its stacks are noted on demand.

    Args:
        server: A server that is a Python program.
        notes: Where the stacks go.

    Raises:
        BenchmarkError: It is no Python program.
    """

    def command(port: int) -> list[str]:
        python, *rest = server.command(port)
        return [python, sampled.__file__, str(notes), *rest]

    if server.command(0)[0] != sys.executable:
        raise BenchmarkError(f"{server.key} is no Python program: it has no stacks to be noted")
    return replace(server, command=command)


def _enough(
    target: loadclient.Target, notes: Path, path: str, options: argparse.Namespace
) -> Profile:
    """Load and sample the server until it has used --seconds of CPU time, if it gets them."""
    found = Profile()
    until = time.monotonic() + PATIENCE * options.seconds
    while not found.noted or (found.cpu < options.seconds and time.monotonic() < until):
        _load(found, target, notes, path, options)
        if time.monotonic() > until and not found.noted:
            raise BenchmarkError(f"{options.row}: nothing was seen: take more --seconds")
    return found


def _load(
    found: Profile,
    target: loadclient.Target,
    notes: Path,
    path: str,
    options: argparse.Namespace,
) -> None:
    """Load the server, and sample it while the load is steady."""
    with ThreadPoolExecutor(1) as client:
        # the client goes on for longer than is sampled, so that its beginning and end are not seen
        numbers = client.submit(
            loadclient.run,
            target,
            options.scenario,
            path=path,
            conns=options.conns,
            size=options.size,
            depth=options.depth,
            warmup=WARMUP,
            duration=WINDOW + WARMUP,
        )
        time.sleep(WARMUP)
        before = _cpu(target.pid)
        os.kill(target.pid, sampled.BEGIN)
        time.sleep(WINDOW)
        os.kill(target.pid, sampled.END)
        user, system = (now - then for then, now in zip(before, _cpu(target.pid), strict=True))
        found.numbers.append(numbers.result())
    found.cpu += user + system
    found.system += system
    noted, count = stacks.read(_written(notes))
    found.noted += noted
    found.count += count


def _written(notes: Path) -> str:
    """Return the notes, once the server has written them, and remove the file."""
    until = time.monotonic() + WRITTEN
    while not notes.exists():
        if time.monotonic() > until:
            raise BenchmarkError(f"the server wrote no notes in {WRITTEN:.0f} s")
        time.sleep(0.05)
    text = notes.read_text(encoding="utf-8")
    notes.unlink()
    return text


def _cpu(pid: int) -> tuple[float, float]:
    """Return a process's CPU time in seconds: its own, and the kernel's on its behalf."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    tick = os.sysconf("SC_CLK_TCK")
    return int(fields[11]) / tick, int(fields[12]) / tick


def report(found: Profile, title: str, top: int) -> str:
    """Return the tables.

    Args:
        found: From `measure`.
        title: What was done.
        top: Rows of a table.
    """
    numbers = median(found.numbers)
    each = numbers["cpu_us_per"]
    main = stacks.on_main_thread(found.noted)
    text = [
        f"{title}: {each:.1f} us of CPU time each, {numbers['rate']:,.0f}/s.",
        f"{found.count:,} samples in {found.cpu:.1f} s of CPU time; "
        f"{_share(found.system, found.cpu):.0%} of it in the kernel, "
        f"{main:.0%} on the event loop's thread.",
    ]
    if found.count < FEW:
        text.append(f"Few samples: below {FEW} the small shares are chance; take more --seconds.")
    text += ["", "By function", f"{'own':>7} {'us':>7} {'with callees':>14} {'us':>7}"]
    for name, own, whole in stacks.functions(found.noted)[:top]:
        text.append(f"{own:>7.1%} {own * each:>7.2f} {whole:>14.1%} {whole * each:>7.2f}  {name}")
    text += ["", "By line, with the functions of C that it calls"]
    for frame, own in stacks.lines(found.noted)[:top]:
        where = f"{stacks.short(frame.file)}:{frame.line}" if frame.line else frame.function
        text.append(f"{own:>7.1%} {own * each:>7.2f}  {where}  {stacks.source(frame)}")
    text += ["", "By module"]
    for name, own in stacks.modules(found.noted)[:top]:
        text.append(f"{own:>7.1%} {own * each:>7.2f}  {name}")
    return "\n".join(text)


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def _title(options: argparse.Namespace) -> str:
    name = ROWS[options.row][1].title.replace("*", "").replace("`", "")
    if options.scenario == "connect":
        return f"{name}, handshake over {options.conns} connections"
    if options.scenario == "fanout":
        return f"{name}, fan-out of {options.size} B to {options.conns}, a delivery"
    return f"{name}, echo of {options.size} B, {options.depth} in flight on {options.conns}"


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profile", description=__doc__)
    parser.add_argument("--row", choices=ROWS, default="wshandler", help="what is profiled")
    parser.add_argument(
        *("--def", "-d"),
        dest="row",
        action="store_const",
        const="wshandler-def",
        help="a `def` in threads",
    )
    for flag, scenario, words in (
        ("--handshake", "connect", "handshakes, instead of an echo"),
        ("--fanout", "fanout", "one publisher and --conns subscribers"),
    ):
        parser.add_argument(
            flag, dest="scenario", action="store_const", const=scenario, help=words, default="echo"
        )
    parser.add_argument("--depth", type=int, default=1, help="messages in flight, each connection")
    parser.add_argument("--size", type=int, default=64, help="bytes of a message")
    parser.add_argument("--conns", type=int, default=32, help="connections")
    parser.add_argument("--grown", type=int, default=1000, help="connections before the load")
    parser.add_argument("--seconds", type=float, default=6.0, help="of the server's CPU time")
    parser.add_argument("--top", type=int, default=25, help="rows of each table")
    parser.add_argument(
        "--tree", type=Path, default=launch.CHECKOUT, help="another checkout, whose package is used"
    )
    parser.add_argument("--folded", type=Path, help="file for the stacks, for a flame graph")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
