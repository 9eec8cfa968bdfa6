"""The benchmark of bots in a kernel works. Its numbers are not tested."""

from __future__ import annotations

import json
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
def test_a_quick_run_measures_every_row_and_says_which_goals_are_met(tmp_path):
    output = tmp_path / "kernels.md"
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.kernels", "--quick", "--output", str(output)],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report = output.read_text(encoding="utf-8")
    assert report in done.stdout
    assert "not measured" not in report
    bot = "**bot in a kernel**, "
    for row in ("naive bridge", f"{bot}`async def`", f"{bot}`def`", "`async def` in a module"):
        lines = [line for line in report.splitlines() if line.startswith(f"| {row}")]
        assert len(lines) == 5, row
        for line in lines:
            cells = [cell.strip() for cell in line.split("|")[2:-1]]
            assert any(cells)
            assert all(re.search(r"\d", cell) for cell in cells if cell), line
    assert len(re.findall(r"\| (yes|\*\*no\*\*) \|", report)) == 4
    measured = json.loads(output.with_suffix(".json").read_text(encoding="utf-8"))
    found = {(number["row"], number["scenario"]) for number in measured}
    assert {("kernel", "sleep"), ("naive", "push"), ("kernel-def", "stream")} <= found


@pytest.fixture
def report(monkeypatch):
    monkeypatch.syspath_prepend(str(CHECKOUT))
    from benchmarks import kernelreport

    return kernelreport


def test_a_goal_about_the_slowest_answer_takes_the_worst_round(report):
    rounds = [{("kernel", "sleep"): {"max_ms": value}} for value in (5.0, 101.0, 6.0)]
    found = report.Results(rounds=rounds)
    missed = {goal.title: (value, met) for goal, value, met in report.goals(found)}
    assert missed["slowest answer while a cell sleeps"] == (101.0, False)
    assert "101 ms | **no** | not measured |" in report.render(found)


def test_what_was_not_measured_meets_no_goal(report):
    assert not any(met for _, _, met in report.goals(report.Results()))
