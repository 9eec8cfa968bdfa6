"""Measure how long it takes until an answer that its client stops has ended, at both ends.

An answer of 300 tokens, one each 10 ms, is stopped at the 100th, by the Python client. All is on
one machine, and so on one clock: the time until the client has the end of the answer, and until the
bot's `finally` has run. Bots in a module and in a notebook's kernel are tried in turn.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from statistics import median
from typing import Any, NamedTuple

from benchmarks import launch, machine
from benchmarks.kernelload import CELLS
from benchmarks.loadclient import Target
from benchmarks.machine import BenchmarkError
from benchmarks.notebook import Notebook
from jupyter_wshandler.client import connect
from jupyter_wshandler.errors import WSHandlerError

TOKENS, STOPPED_AT = 300, 100

GOAL = 100.0
"""Milliseconds in which both must have happened."""

SERVE = """
import jupyter_wshandler as wsh
wsh.serve("/kernel_tokens", on_message=tokens, resume=True)
wsh.serve("/kernel_tokens_def", on_message=tokens_def, resume=True)
wsh.serve("/kernel_written", on_message=written, resume=True)
print(*{bot.state for bot in wsh.bots.values()})
"""

KINDS = {
    "tokens": "async generator",
    "tokens_def": "generator in a thread",
    "written": "coroutine that writes",
}


class Stopped(NamedTuple):
    """How long one stop has taken, in milliseconds."""

    told: float
    """Until the client had the end of the answer."""
    ended: float
    """Until the bot's `finally` had run."""


def _command(port: int) -> list[str]:
    return [
        *(sys.executable, "-m", "jupyter_server", "--allow-root", "--no-browser"),
        *("--log-level=ERROR", "--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}"),
        *("--ServerApp.port_retries=0", "--ServerApp.jpserver_extensions={'jupyter_wshandler':1}"),
        f"--WSHandlerApp.config_file={CELLS / 'stops.yaml'}",
    ]


SERVER = launch.Server(
    "stops",
    ("jupyter_server", "ipykernel"),
    _command,
    tuple(launch.Row(kind, title, f"/{kind}") for kind, title in KINDS.items()),
    jupyter=True,
    others=(),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; return 0, 1 where the goal is missed, or 2 where nothing was measured."""
    options = _options(argv)
    try:
        machine.require_linux()
        if SERVER.missing:
            raise BenchmarkError(f"{', '.join(SERVER.missing)} not installed")
        found = measure(options.times)
    except BenchmarkError as exc:
        print(f"benchmarks: {exc}", file=sys.stderr)
        return 2
    text, met = report(found)
    print(text)
    return int(options.check and not met)


def measure(times: int) -> dict[str, list[Stopped]]:
    """Stop so many answers of each bot, in turn.

    Raises:
        BenchmarkError: The server does not come up, or an answer does not end as stopped.
    """
    running = launch.Running(SERVER, None)
    book: Notebook | None = None
    found: dict[str, list[Stopped]] = {}
    try:
        running.wait()
        book = Notebook(running.target)
        book.run((CELLS / "stopped_bots.py").read_text(encoding="utf-8"))
        if (states := book.run(SERVE).text.strip()) != "live":
            raise BenchmarkError(f"expected live bots, found: {states}")
        for _ in range(times):
            for place in ("", "kernel_"):
                for kind in KINDS:
                    path = f"/{place}{kind}"
                    found.setdefault(path, []).append(_stop_one(running.target, path))
    except (WSHandlerError, TimeoutError) as exc:
        raise BenchmarkError(str(exc)) from None
    finally:
        if book is not None:
            book.close()
        running.stop()
    return found


def _stop_one(target: Target, path: str) -> Stopped:
    token = target.header.rpartition(" ")[2]
    url = f"ws://127.0.0.1:{target.port}{path}"
    with connect(url, token=token, timeout=30) as bot:
        answer = bot.stream(str(TOKENS))
        if "written" in path:  # what it writes is no part of the answer
            for _ in range(STOPPED_AT):
                bot.recv()
        else:
            for _ in range(STOPPED_AT):
                next(answer)
        begun = time.monotonic()
        answer.stop()
        rest: list[Any] = list(answer)
        told = time.monotonic()
        if answer.how != "stopped" or STOPPED_AT + len(rest) >= TOKENS:
            raise BenchmarkError(f"{path}: expected a stopped answer, found {answer.how}")
        said = bot.ask("ended")
        ended = said[0] if isinstance(said, list) else said
        if ended is None:
            raise BenchmarkError(f"{path}: the bot's finally has not run")
    return Stopped(1000 * (told - begun), 1000 * (float(ended) - begun))


def report(found: dict[str, list[Stopped]]) -> tuple[str, bool]:
    """Return the table, and whether the goal was met.

    Args:
        found: What was measured, by the path of the bot.
    """
    lines = [
        "| bot | client has the end: p50 | max | `finally` has run: p50 | max |",
        "|---|---|---|---|---|",
    ]
    worst = 0.0
    for path, all_of in found.items():
        place = "a kernel" if path.startswith("/kernel_") else "a module"
        kind = KINDS[path.removeprefix("/").removeprefix("kernel_")]
        numbers = [f"{of([getattr(one, name) for one in all_of]):.1f} ms"
                   for name in Stopped._fields for of in (median, max)]  # fmt: skip
        worst = max(worst, *(max(one) for one in all_of))
        lines.append(f"| {kind} in {place} | {' | '.join(numbers)} |")
    verdict = "met" if worst <= GOAL else "missed"
    lines.append(f"\nGoal, all within {GOAL:g} ms: {verdict}, the slowest took {worst:.1f} ms.")
    return "\n".join(lines), worst <= GOAL


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stops", description=__doc__)
    parser.add_argument("--times", type=int, default=20, help="stops of each bot (default 20)")
    parser.add_argument("--check", action="store_true", help="fail where the goal is missed")
    options = parser.parse_args(argv)
    if options.times < 1:
        parser.error(f"--times: expected 1 or more, found {options.times}")
    return options


if __name__ == "__main__":
    sys.exit(main())
