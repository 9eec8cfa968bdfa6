"""The profile shows what a server does, and its shares add up. Its numbers are not tested."""

from __future__ import annotations

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
import os, pathlib, signal, sys, threading, time
notes = pathlib.Path(sys.argv[1])

def work():
    until = time.monotonic() + 60
    while "in work" not in notes.read_text() and time.monotonic() < until:
        sum(range(10_000))

def resting():
    thread.join()

thread = threading.Thread(target=work)
os.kill(os.getpid(), signal.SIGRTMIN + 3)
thread.start()
resting()
os.kill(os.getpid(), signal.SIGRTMIN + 4)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="real-time signals")
def test_the_thread_that_works_is_noted_and_not_the_one_that_waits_for_it(stacks, tmp_path):
    script, notes = tmp_path / "script.py", tmp_path / "notes"
    script.write_text(WORKER)
    sampler = CHECKOUT / "benchmarks" / "servers" / "sampled.py"
    subprocess.run([sys.executable, sampler, notes, script, notes], check=True, timeout=90)
    samples = stacks.read(notes.read_text())
    names = [[frame.name for frame in stack] for stack in samples]
    assert any("work" in stack for stack in names)
    assert not any("resting" in stack and "work" in stack for stack in names)
    assert stacks.on_main_thread(samples) < 1


NOTES = f"""\
Stack (most recent call first):
  File "{TORNADO}", line {line_of("self.write_message(message)")} in on_message
  File "/nowhere/lib/python3.11/asyncio/events.py", line 80 in _run
  File "/x/benchmarks/servers/sampled.py", line 40 in <module>
Stack (most recent call first):
  Garbage-collecting
  File "/nowhere/lib/python3.11/asyncio/events.py", line 80 in _run
  File "/x/benchmarks/servers/sampled.py", line 40 in <module>
Stack (most recent call first):
  File "/nowhere/lib/python3.11/asyncio/events.py", line 80 in _run
  File "/nowhere/lib/python3.11/asyncio/events.py", line 81 in _run
  File "/x/benchmarks/servers/sampled.py", line 40 in <module>
Stack (most recent call first):
  File "/y/site-packages/pool.py", line ??? in work
  File "/nowhere/lib/python3.11/threading.py", line 1002 in _bootstrap
Stack (most recent call first):
"""


def test_a_function_is_counted_by_itself_once_and_with_its_callees_once_a_sample(stacks):
    samples = stacks.read(NOTES)
    assert len(samples) == 4
    shares = {name: (own, whole) for name, own, whole in stacks.functions(samples)}
    assert shares["asyncio/events.py: _run"] == (0.25, 0.75)
    assert shares["benchmarks/servers/tornado_echo.py: Echo.on_message"] == (0.25, 0.25)
    assert shares["(the interpreter): garbage collection"] == (0.25, 0.25)
    assert sum(own for own, _ in shares.values()) == 1
    assert stacks.on_main_thread(samples) == 0.75


def test_the_modules_and_the_lines_add_up_to_everything(stacks):
    samples = stacks.read(NOTES)
    assert sum(share for _, share in stacks.modules(samples)) == 1
    assert dict(stacks.modules(samples))["pool.py"] == 0.25
    assert sum(share for _, share in stacks.lines(samples)) == 1
    sources = [stacks.source(frame) for frame, _ in stacks.lines(samples)]
    assert "self.write_message(message)" in sources


def test_stacks_are_folded_outermost_first(stacks):
    lines = stacks.folded(stacks.read(NOTES) * 2).splitlines()
    assert "threading.py: _bootstrap;pool.py: work 2" in lines


def test_a_function_within_a_function_is_named_with_both(stacks, tmp_path):
    module = tmp_path / "nested.py"
    module.write_text("class A:\n    def f(self):\n        def f():\n            return 1\n")
    assert stacks.qualified(str(module), 4, "f") == "A.f.f"
    assert stacks.qualified(str(module), 2, "f") == "A.f"
    assert stacks.qualified(str(module), 4, "<listcomp>") == "<listcomp>"
