"""The benchmark of rooms works. Its numbers are not tested."""

from __future__ import annotations

import os
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
def test_a_short_run_measures_every_way_to_send_to_many():
    short = ["--slices", "1", "--seconds", "0.3", "--members", "20"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.rooms", *short],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line.split("|")[1].strip() for line in done.stdout.splitlines() if "|" in line][2:]
    assert rows == [
        "C, one send per delivery",
        "Python, a bare loop of send",
        "raw Tornado",
        "wsh.send",
        "room",
        "room with history and presence",
    ]
    assert len([line for line in done.stdout.splitlines() if line.startswith("- room")]) == 4
