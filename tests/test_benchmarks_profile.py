"""The profile shows what a server does, and its shares add up. Its numbers are not tested."""

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
TORNADO = CHECKOUT / "benchmarks" / "servers" / "tornado_echo.py"

needs_client = pytest.mark.skipif(
    not sys.platform.startswith("linux")
    or not (os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc")),
    reason="the load client needs Linux and a C compiler",
)


@pytest.fixture
def stacks(monkeypatch):
    monkeypatch.syspath_prepend(str(CHECKOUT))
    from benchmarks import stacks

    return stacks


def profile(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.profile", *arguments],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )


def line_of(words: str) -> int:
    lines = TORNADO.read_text(encoding="utf-8").splitlines()
    return next(number for number, line in enumerate(lines, 1) if words in line)


@pytest.mark.timeout(120)
@needs_client
def test_the_functions_of_a_loaded_server_are_shown_with_their_share_and_microseconds(tmp_path):
    flames = tmp_path / "stacks.folded"
    short = ["--seconds", "0.3", "--grown", "10", "--top", "200", "--folded", str(flames)]
    done = profile("--row", "tornado", *short)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.match(r"raw Tornado, echo of 64 B, 1 in flight on 32: [\d.]+ us", done.stdout)
    by_function = done.stdout.partition("By function\n")[2].partition("\n\n")[0].splitlines()[1:]
    named = re.compile(r" +[\d.]+% +[\d.]+ +[\d.]+% +[\d.]+  (.*)")
    rows = [named.fullmatch(row) for row in by_function]
    assert all(rows), by_function
    assert "tornado_echo.py: Echo.on_message" in done.stdout
    assert "Echo.on_message" in flames.read_text(encoding="utf-8")


@needs_client
def test_a_program_that_is_not_python_cannot_be_profiled_and_that_is_said(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(CHECKOUT))
    from benchmarks import launch, machine
    from benchmarks import profile as profiling

    server = launch.Server("c", (), lambda port: ["/bin/true", str(port)], ())
    with pytest.raises(machine.BenchmarkError, match="c is no Python program"):
        profiling.under_sampler(server, tmp_path / "notes")


WORKER = """\
import json, os, pathlib, signal, sys, threading, time
noted = pathlib.Path(sys.argv[1])
used = {"work": 0.0, "working": 0.0}

def work():
    while not noted.exists():
        sum(range(10_000))
        used["work"] = time.thread_time()

def resting():
    thread.join(0.2)

def working():
    until, begun = time.process_time() + 0.2, time.thread_time()
    while time.process_time() < until:
        sum(range(10_000))
    used["working"] += time.thread_time() - begun

thread = threading.Thread(target=work)
os.kill(os.getpid(), signal.SIGRTMIN + 3)
thread.start()
for _ in range(5):
    resting()
    working()
noted.with_suffix(".used").write_text(json.dumps(used))
os.kill(os.getpid(), signal.SIGRTMIN + 4)
thread.join()
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="real-time signals")
def test_what_each_thread_uses_is_noted_and_one_that_waits_uses_nothing(stacks, tmp_path):
    script, notes = tmp_path / "script.py", tmp_path / "notes"
    script.write_text(WORKER)
    sampler = CHECKOUT / "benchmarks" / "servers" / "sampled.py"
    subprocess.run([sys.executable, sampler, notes, script, notes], check=True, timeout=90)
    samples, count = stacks.read(notes.read_text())
    assert count > 10
    shares = {share.name.partition(": ")[2]: share for share in stacks.functions(samples)}
    # How the two share the interpreter is the system's choice: one may have a twentieth of it.
    used = json.loads(notes.with_suffix(".used").read_text())
    part = used["working"] / sum(used.values())
    assert shares["working"].whole == pytest.approx(part, abs=0.1)
    assert shares["work (a thread)"].whole == pytest.approx(1 - part, abs=0.15)
    assert "resting" not in shares or shares["resting"].whole < 0.1
    assert stacks.on_main_thread(samples) == pytest.approx(part, abs=0.15)
    assert sum(share.own for share in shares.values()) == pytest.approx(1)


LOOP = ("/nowhere/lib/python3.11/asyncio/events.py", 80, "Handle._run")
BEGUN = ("/x/benchmarks/servers/sampled.py", 40, "<module>")
ECHO = (str(TORNADO), line_of("self.write_message(message)"), "Echo.on_message")
POOL = ("/y/site-packages/pool.py", 7, "Pool.take")
RUNS = ("/y/site-packages/pool.py", 99, "Pool.run")
THREAD = ("/nowhere/lib/python3.11/threading.py", 1002, "Thread._bootstrap")

NOTES = json.dumps(
    {
        "count": 40,
        "stacks": [
            [0.5, True, [ECHO, LOOP, BEGUN]],
            [0.5, True, [LOOP, LOOP, BEGUN]],
            [1.0, False, [POOL, RUNS, THREAD]],
        ],
    }
)


def test_a_function_has_its_own_share_and_one_with_its_callees_however_deep_it_recurs(stacks):
    samples, count = stacks.read(NOTES)
    assert count == 40
    shares = {name: (own, whole) for name, own, whole in stacks.functions(samples)}
    assert shares["asyncio/events.py: Handle._run"] == (0.25, 0.5)
    assert shares["benchmarks/servers/tornado_echo.py: Echo.on_message"] == (0.25, 0.25)
    assert sum(own for own, _ in shares.values()) == 1
    assert stacks.on_main_thread(samples) == 0.5


def test_of_a_thread_is_said_what_it_runs_and_not_where_it_waited(stacks):
    samples, _ = stacks.read(NOTES)
    names = [name for name, *_ in stacks.functions(samples)]
    assert names[0] == "pool.py: Pool.run (a thread)"
    assert not any("Pool.take" in name for name in names)


def test_the_modules_and_the_lines_add_up_to_everything(stacks):
    samples, _ = stacks.read(NOTES)
    assert sum(share for _, share in stacks.modules(samples)) == 1
    assert dict(stacks.modules(samples))["pool.py"] == 0.5
    assert sum(share for _, share in stacks.lines(samples)) == 1
    sources = [stacks.source(frame) for frame, _ in stacks.lines(samples)]
    assert "self.write_message(message)" in sources


def test_stacks_are_folded_outermost_first_with_their_microseconds(stacks):
    samples, _ = stacks.read(NOTES)
    lines = stacks.folded(samples).splitlines()
    assert lines[0] == "pool.py: Pool.run (a thread) 1000000"
    assert (
        "benchmarks/servers/sampled.py: <module>;asyncio/events.py: Handle._run;"
        "benchmarks/servers/tornado_echo.py: Echo.on_message 500000"
    ) in [line.replace("/x/", "") for line in lines]
