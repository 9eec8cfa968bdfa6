"""The benchmark of guests works. Its numbers are not tested."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]

pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the load client needs epoll"),
    pytest.mark.skipif(
        not (os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc")),
        reason="the load client needs a C compiler",
    ),
]


@pytest.mark.timeout(180)
def test_a_short_run_measures_every_way_in_which_a_guest_comes():
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.guests", "--slices", "1", "--seconds", "2"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line.split("|")[1:-1] for line in done.stdout.splitlines()[2:]]
    assert [row[0].strip() for row in rows] == [
        "token",
        "guest, by token",
        "token, with its session's cookie",
        "guest, by cookie",
    ]
    assert all(re.search(r"\d µs", row[1]) for row in rows)
    assert [bool(row[2].strip()) for row in rows] == [False, True, False, True]
