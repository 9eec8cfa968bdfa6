"""The benchmark of stops works, and each bot is stopped. Its numbers are not tested."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs one clock")


@pytest.mark.timeout(180)
def test_an_answer_is_stopped_at_its_100th_token_and_its_finally_has_run_in_module_and_kernel():
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.stops", "--times", "1"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line.split("|")[1].strip() for line in done.stdout.splitlines() if "|" in line][2:]
    assert rows == [
        f"{kind} in a {place}"
        for place in ("module", "kernel")
        for kind in ("async generator", "generator in a thread", "coroutine that writes")
    ]
