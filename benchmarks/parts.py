"""The benchmarks that are programs of their own: run one after the other, and read."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from benchmarks import figures, launch
from benchmarks.figures import Bar, Figure
from benchmarks.machine import BenchmarkError

LIMIT = 600.0
"""Seconds that one of them may take."""


@dataclass(frozen=True)
class Part:
    """A module with a `main`, and how much of it belongs to a run of everything.

    Args:
        key: What `--only` calls it, and its module in `benchmarks`.
        title: Of its section in the report.
        whole: Its options in a whole run.
        quick: Its options in a quick one.
        page: The file that its report goes to, where that is too long for a section.
    """

    key: str
    title: str
    whole: tuple[str, ...] = ()
    quick: tuple[str, ...] = ("--quick",)
    page: str = ""

    @property
    def module(self) -> str:
        """The name under which Python finds it."""
        return f"benchmarks.{self.key}"

    @property
    def there(self) -> bool:
        """Whether there is such a module."""
        return find_spec(self.module) is not None


PARTS = (
    Part(
        "rooms",
        "Rooms",
        ("--slices", "3", "--seconds", "1.5"),
        ("--slices", "1", "--seconds", "0.3", "--members", "50"),
    ),
    Part(
        "scale",
        "Two servers",
        ("--slices", "3", "--seconds", "1.5"),
        ("--slices", "1", "--seconds", "0.3", "--members", "50"),
    ),
    Part(
        "guests",
        "Guests",
        ("--slices", "4", "--seconds", "1"),
        ("--slices", "1", "--seconds", "0.5"),
    ),
    Part(
        "tls",
        "TLS",
        ("--slices", "3", "--seconds", "1"),
        ("--slices", "1", "--seconds", "0.3", "--idle", "100"),
    ),
    Part("storm", "A storm after a restart", ("--rounds", "2")),
    Part(
        "kernels",
        "Bots in a kernel",
        ("--rounds", "1", "--seconds", "1.2", "--minutes", "5"),
        page="kernels.md",
    ),
)


@dataclass(frozen=True)
class Outcome:
    """What one part has said: its report in Markdown, its figures, and how it ended.

    `code` is 0, 1 where a goal was missed or something failed, or 2 where nothing was measured.
    """

    part: Part
    text: str
    figures: Sequence[Figure]
    code: int


def run(part: Part, folder: Path, quick: bool = False, check: bool = False) -> Outcome:
    """Run one part in a process of its own, with the machine to itself.

    Args:
        part: Which.
        folder: Where the report goes, and so its page, if it has one.
        quick: Whether it only shows that it works.
        check: Whether a goal of its own that is missed is to count.
    """
    options = [*(part.quick if quick else part.whole)]
    command = [sys.executable, "-m", part.module]
    if part.page:
        options += ["--output", str(folder / part.page)]
    with tempfile.TemporaryDirectory(prefix="wshandler-bench-") as place:
        file = Path(place) / "figures.json"
        known = _help(command)
        if check and "--check" in known:
            options.append("--check")
        if "--json" in known:
            options += ["--json", str(file)]
        code, text = _output([*command, *options])
        try:
            found = figures.read(file) if file.exists() else []
            if part.page:
                found = [*found, *_of_kernels((folder / part.page).with_suffix(".json"))]
        except BenchmarkError as exc:
            return Outcome(part, f"{text}\n\n{exc}", (), 2)
    return Outcome(part, "" if part.page and code == 0 else text, found, code)


def section(outcome: Outcome) -> str:
    """Return a part's section of the report.

    Args:
        outcome: From `run`.
    """
    part = outcome.part
    lines = [f"## {part.title}", ""]
    if part.page:
        lines += [f"All of it is in [{part.page}]({part.page}).", ""]
    if outcome.code == 2:
        lines += ["Nothing was measured.", ""]
    return "\n".join([*lines, outcome.text]).strip()


def _help(command: Sequence[str]) -> str:
    """Return what a command says of its options."""
    return subprocess.run(
        [*command, "--help"], cwd=launch.CHECKOUT, capture_output=True, text=True, timeout=60
    ).stdout


def _output(command: Sequence[str]) -> tuple[int, str]:
    """Return how a command ended and what it printed; its complaints go where ours go."""
    with subprocess.Popen(
        command,
        cwd=launch.CHECKOUT,
        stdout=subprocess.PIPE,
        text=True,
        # a group of its own, with all servers that it starts
        start_new_session=True,
    ) as process:
        try:
            text, _ = process.communicate(timeout=LIMIT)
        except subprocess.TimeoutExpired:
            _end(process)
            return 2, f"It did not end in {LIMIT:.0f} s."
        except BaseException:
            _end(process)
            raise
    return (process.returncode if process.returncode in (0, 1) else 2), text.strip()


def _end(process: subprocess.Popen[str]) -> None:
    """End a command with all that it has started, politely first."""
    for how in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, how)
            process.wait(10.0)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue


_KERNELS = {
    "naive": "naive bridge",
    "kernel": "bot in a kernel, async def",
    "kernel-def": "bot in a kernel, def (threads)",
}
"""Rows of `benchmarks.kernels` and their names. A bot that is in no kernel is not drawn: its bar
would be so long that the others could not be told apart."""


def _of_kernels(path: Path) -> list[Figure]:
    """Return the figures in the numbers that `benchmarks.kernels` leaves beside its report."""
    if not path.exists():
        return []
    measured = json.loads(path.read_text(encoding="utf-8"))
    found = []
    for key, title, unit, scenario, name, scale in (
        (
            "kernels-rate",
            "bots in kernels: 64 B, 16 in flight on 4",
            "messages/s",
            "text-64",
            "rate",
            1.0,
        ),
        ("kernels-trip", "bots in kernels: 64 B, round trip, p50", "ms", "trip", "p50_us", 1e-3),
    ):
        bars: dict[str, list[float | None]] = {}
        for numbers in measured:
            if numbers["scenario"] == scenario and name in numbers:
                bars.setdefault(numbers["row"], []).append(numbers[name] * scale)
        shown = {row: Bar(name, bars[row]) for row, name in _KERNELS.items() if row in bars}
        if shown:
            found.append(Figure(key, title, unit, shown))
    return found
