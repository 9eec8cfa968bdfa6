"""The process that forks the servers of tests: one that has ended is replaced."""

from __future__ import annotations

import os
import sys

import pytest
from support.forkserver import INHERITED, _ForkServer, can_fork

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the system adopts no orphans")

MODULE = "import os, sys\nprint(sys.argv[1], os.environ['SAID'], os.getcwd())\nsys.exit(3)\n"


def start(server: _ForkServer, folder, word: str) -> str:
    """Start a process that writes down what it was given; return that."""
    (folder / "written_down.py").write_text(MODULE)
    log = folder / f"{word}.log"
    forked = server.start("written_down", [word], folder, {**os.environ, "SAID": "hello"}, log)
    assert forked.wait(timeout=60) == 3
    return log.read_text()


def test_a_fork_has_its_own_words_environment_and_folder_and_a_dead_parent_is_replaced(tmp_path):
    server = _ForkServer()
    assert start(server, tmp_path, "one") == f"one hello {tmp_path}\n"
    assert server._process is not None
    server._process.kill()
    server._process.wait()
    assert start(server, tmp_path, "two") == f"two hello {tmp_path}\n"


def test_after_an_interruption_the_next_start_reads_its_own_answer(tmp_path, monkeypatch):
    server = _ForkServer()
    start(server, tmp_path, "one")
    assert server._process is not None
    assert server._process.stdout is not None

    def interrupted() -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(server._process.stdout, "readline", interrupted)
    with pytest.raises(KeyboardInterrupt):
        start(server, tmp_path, "two")
    assert start(server, tmp_path, "three") == f"three hello {tmp_path}\n"


def test_what_python_reads_at_its_own_start_keeps_a_server_from_being_forked():
    assert can_fork({**INHERITED, "PYTHONPATH": "here", "PYTHON": "python3.12"})
    assert not can_fork({**INHERITED, "PYTHONHASHSEED": "1"})
    assert not can_fork({**INHERITED, "PYTHONWARNINGS": "error"})
    assert not can_fork({})
