"""Measure how quick the console's answers are at a server with 10,000 connections.

While a person looks, the console asks the REST API for a page of what it shows each two seconds.
Here each of these questions is asked one after another without a pause, as no person does. An echo
of other clients is measured in turn with nobody looking, beside a page that asks as often as one
does, and beside one that asks twenty times as often.
"""

from __future__ import annotations

import argparse
import http.client
import json
import resource
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from statistics import median
from typing import Any
from urllib.parse import quote

from benchmarks import launch, loadclient, machine
from benchmarks.loadclient import Target
from benchmarks.machine import BenchmarkError
from benchmarks.storm import FILL, STEADY, crowd_of, share

GOAL = 200.0
"""Milliseconds that 99 of 100 answers may take."""

PAUSES = {"beside a page of the console": 1.0, "beside twenty pages": 0.05}
"""Seconds between two questions beside the echo; a page asks for two things in two seconds."""

ALONE = "nobody looks"

QUESTIONS = (
    "health",
    "routes",
    "traffic",
    "connections?limit=50",
    "connections?route=idle&state=open&limit=50",
    "connections?user=nobody&limit=50",
    "spaces",
    "shares?limit=50",
    "errors?limit=20",
    "config",
)
"""What the parts of the console ask for; of the connections the second page as well."""


class Looking:
    """One page of the console, as far as the server sees it.

    Args:
        target: The server.

    Attributes:
        took: Milliseconds of each answer, by the question.
    """

    def __init__(self, target: Target) -> None:
        self.took: dict[str, list[float]] = {}
        name, _, value = target.header.partition(": ")
        self._headers = {name: value}
        self._connection = http.client.HTTPConnection("127.0.0.1", target.port, timeout=60)

    def ask(self, question: str, told_as: str = "") -> Any:
        """Ask for one thing, and write down how long it took.

        Args:
            question: The address below the API's, with its query.
            told_as: What to call it; itself where empty.

        Raises:
            BenchmarkError: The answer is an error.
        """
        begun = time.perf_counter()
        self._connection.request("GET", f"/wshandler/api/{question}", headers=self._headers)
        answer = self._connection.getresponse()
        body = answer.read()
        took = 1000 * (time.perf_counter() - begun)
        if answer.status != 200:
            raise BenchmarkError(
                f"{question}: {answer.status} {body[:200].decode(errors='replace')}"
            )
        self.took.setdefault(told_as or question, []).append(took)
        return json.loads(body)

    def rounds(self) -> Iterator[None]:
        """Ask for everything in turn, for ever; each step is a question."""
        while True:
            for question in QUESTIONS:
                found = self.ask(question)
                yield
                if question == "connections?limit=50":
                    after = quote(str(found["next"]), safe="")
                    self.ask(f"{question}&after={after}", "connections, second page")
                    yield

    def close(self) -> None:
        """Hang up."""
        self._connection.close()


class Beside:
    """Somebody who looks, in a thread, while something else is measured.

    Args:
        target: The server.
        pause: Seconds between two questions.
    """

    def __init__(self, target: Target, pause: float) -> None:
        self._looking = Looking(target)
        self._pause = pause
        self._ended = threading.Event()
        self._failed: BenchmarkError | None = None
        self._thread = threading.Thread(target=self._run, name="console")

    def __enter__(self) -> Beside:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._looking.close()
        if self._failed is not None:
            raise self._failed

    def _run(self) -> None:
        try:
            for _ in self._looking.rounds():
                if self._ended.wait(self._pause):
                    return
        except BenchmarkError as exc:
            self._failed = exc


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; return 0, 1 where the goal is missed, or 2 where nothing was measured."""
    options = _options(argv)
    try:
        machine.require_linux()
        found = measure(options.clients, options.times, options.rounds)
    except (BenchmarkError, OSError, http.client.HTTPException) as exc:
        print(f"benchmarks: {exc}", file=sys.stderr)
        return 2
    text, met = report(found, options.clients)
    print(text)
    return int(options.check and not met)


def measure(clients: int, times: int, rounds: int) -> dict[str, Any]:
    """Return what was measured: `took` by the question, and `echoes` by what was beside them.

    Args:
        clients: Connections of the server.
        times: How often each question is asked.
        rounds: How often each echo is measured.

    Raises:
        BenchmarkError: The server does not start, cannot be filled, or answers with an error.
    """
    _allow_files(clients)
    cores = machine.choose_cores()
    server = next(one for one in launch.ALL if one.key == "wshandler")
    running = launch.Running(server, None if cores is None else cores[0])
    crowd = crowd_of(running.target, clients, "/idle")
    try:
        running.wait()
        crowd.arrive(FILL, at_a_time=STEADY)
        looking = Looking(running.target)
        asked = looking.rounds()
        for _ in range(times * (len(QUESTIONS) + 1)):
            next(asked)
        echoes: dict[str, list[dict[str, Any]]] = {title: [] for title in (ALONE, *PAUSES)}
        for _ in range(rounds):
            echoes[ALONE].append(_echo(running.target))
            for title, pause in PAUSES.items():
                with Beside(running.target, pause):
                    echoes[title].append(_echo(running.target))
        total = looking.ask("connections?route=idle&limit=1", "the count")["total"]
        looking.close()
        if total != clients:
            raise BenchmarkError(f"at the end {total} of {clients} are connected")
    finally:
        crowd.close()
        running.stop()
    return {"took": looking.took, "echoes": echoes}


def _echo(target: Target) -> dict[str, Any]:
    return loadclient.run(target, "echo", path="/echo", conns=8, duration=2, warmup=0.2)


def _allow_files(clients: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = clients + clients // 10 + 200  # a server of ours keeps a share of its files free
    if resource.RLIM_INFINITY != hard < needed:
        raise BenchmarkError(f"{needed} open files are needed; the limit here is {hard}")
    if resource.RLIM_INFINITY != soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def report(found: dict[str, Any], clients: int) -> tuple[str, bool]:
    """Return the tables, and whether the goal is met.

    Args:
        found: From `measure`.
        clients: Connections that the server had.
    """
    lines = [
        f"The console at a server with {clients:,} connections",
        "",
        "| question | p50 | p99 | slowest |",
        "|---|---:|---:|---:|",
    ]
    worst = 0.0
    for question, took in found["took"].items():
        p50, p99 = (share(took, part) for part in (0.5, 0.99))
        worst = max(worst, p99)
        lines.append(f"| `{question}` | {p50:.1f} ms | {p99:.1f} ms | {max(took):.1f} ms |")
    lines += ["", "| echo of 64 B, 8 other clients | p50 | p99 |", "|---|---:|---:|"]
    for title, echoes in found["echoes"].items():
        cells = [f"{median(one[name] for one in echoes) / 1000:.2f} ms"
                 for name in ("p50_us", "p99_us")]  # fmt: skip
        lines.append(f"| {title} | {' | '.join(cells)} |")
    met = worst <= GOAL
    lines.append(
        f"\nGoal, p99 of each within {GOAL:g} ms: {'met' if met else 'missed'}, the slowest is "
        f"{worst:.1f} ms."
    )
    return "\n".join(lines), met


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.console", description=__doc__)
    parser.add_argument("--clients", type=int, default=10_000)
    parser.add_argument("--times", type=int, default=100, help="how often each is asked for")
    parser.add_argument("--rounds", type=int, default=5, help="echoes alone and beside")
    parser.add_argument("--quick", action="store_true", help="200 clients, ten times, one round")
    parser.add_argument("--check", action="store_true", help="exit 1 where the goal is missed")
    options = parser.parse_args(argv)
    if options.quick:
        options.clients, options.times, options.rounds = 200, 10, 1
    return options


if __name__ == "__main__":
    raise SystemExit(main())
