"""A benchmark, run in short as its command: that it works is tested, and never its numbers."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]

NEEDS = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the load client needs epoll"),
    pytest.mark.skipif(
        not (os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc")),
        reason="the load client needs a C compiler",
    ),
]
"""What the benchmarks need that have the load client: marks for the tests of them."""


def printed(module: str, *arguments: str, seconds: float = 150) -> str:
    """Run a benchmark, and return what it has printed.

    Args:
        module: Its name in the package `benchmarks`.
        arguments: Its arguments.
        seconds: How long it may take.
    """
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{module}", *arguments],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def first_cells(text: str) -> list[str]:
    """Return the first cell of each row of the tables in a report, their headings included.

    Args:
        text: The report.
    """
    return [line.split("|")[1].strip() for line in text.splitlines() if "|" in line]
