"""The benchmark of observers works: each of them is there. Its numbers are not tested."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.observers import ROWS

CHECKOUT = Path(__file__).resolve().parents[1]

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs epoll")


@pytest.mark.timeout(240)
def test_each_way_of_looking_is_measured():
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.observers", "--slices", "1", "--seconds", "0.2"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=220,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line.split("|")[1].strip() for line in done.stdout.splitlines() if "|" in line][2:]
    assert rows == [row.title for row in ROWS]
