"""The benchmark of two servers works. Its numbers are not tested."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.need import need

CHECKOUT = Path(__file__).resolve().parents[1]

pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the load client needs epoll"),
    pytest.mark.skipif(
        not (os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc")),
        reason="the load client needs a C compiler",
    ),
]


@pytest.mark.timeout(180)
def test_a_short_run_measures_two_nodes_that_one_store_joins(tmp_path):
    need("redis-server")
    short = ["--slices", "1", "--seconds", "0.3", "--members", "20"]
    file = tmp_path / "figures.json"
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.scale", *short, "--json", str(file)],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = re.findall(r"^\| (room[^|]*|python-socketio[^|]*) \|", done.stdout, re.MULTILINE)
    ours = ["room", "room with history and presence"]
    others = ["python-socketio on uvicorn", "python-socketio on aiohttp"]
    there = importlib.util.find_spec("socketio") is not None
    assert rows in ([*ours, *others] * 2, ours * 2), done.stdout
    assert there == (rows != ours * 2) or "not measured" in done.stdout
    figures = {one["key"]: one for one in json.loads(file.read_text())}
    assert set(figures) == {"scale-1", "scale-4", "scale-p99-1", "scale-p99-4"}
    for figure in figures.values():
        assert all(value > 0 for bar in figure["bars"].values() for value in bar["values"])
