"""The benchmark of the console works: each question is asked. Its numbers are not tested."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.console import QUESTIONS

CHECKOUT = Path(__file__).resolve().parents[1]

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs epoll")


@pytest.mark.timeout(180)
def test_each_question_of_the_page_is_asked_at_a_full_server_and_an_echo_beside_it():
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.console", "--quick"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line.split("|")[1].strip() for line in done.stdout.splitlines() if "|" in line]
    for question in (*QUESTIONS, "connections, second page"):
        assert f"`{question}`" in rows, done.stdout
    assert rows[-2:] == ["nobody looks", "beside the console"]
