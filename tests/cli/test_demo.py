"""`jupyter wshandler demo` as a person runs it, and the other commands' first words."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pytest
from support.server import wait_for

DEMO = [sys.executable, "-m", "jupyter_wshandler", "demo", "--no-browser"]


def test_once_holds_the_conversation_and_ends_even_beside_a_pingbot_of_ones_own(tmp_path):
    (tmp_path / "pingbot.py").write_text("raise RuntimeError('the wrong pingbot')\n")
    ended = subprocess.run(
        [*DEMO, "--once"], cwd=tmp_path, capture_output=True, text=True, timeout=90
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "you > Hello world" in ended.stdout
    assert "bot < Got message: Hello world" in ended.stdout
    assert "Once upon a time" in ended.stdout
    assert ended.stdout.rstrip().endswith("The server has stopped.")


@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_it_serves_the_page_until_it_is_stopped_and_leaves_nothing_behind(tmp_path, sig):
    out = tmp_path / "out"
    with out.open("wb") as stream:
        demo = subprocess.Popen(DEMO, cwd=tmp_path, stdout=stream, stderr=subprocess.STDOUT)
    try:
        wait_for(lambda: "Stop with Ctrl-C" in out.read_text(), 60, "the demo's page")
        url = re.search(r"http://127\.0\.0\.1:\d+/pingbot\?token=\S+", out.read_text()).group()
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(url, timeout=10) as page:
            assert b"<html" in page.read()
        demo.send_signal(sig)
        # Whoever is impatient presses it again, which must not cut the stop off.
        for _ in range(3):
            time.sleep(0.05)
            if demo.poll() is None:
                demo.send_signal(sig)
        assert demo.wait(20) == 0
    finally:
        demo.kill()
        demo.wait(5)
    assert out.read_text().rstrip().endswith("The server has stopped.")
    assert "Traceback" not in out.read_text()
    with pytest.raises(OSError):
        opener.open(url, timeout=5)


def test_a_port_that_is_taken_ends_it_with_a_sentence_and_the_servers_log(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ended = subprocess.run(
            [*DEMO, "--once", "--port", str(port)],
            cwd=tmp_path,
            env={**os.environ, "TMPDIR": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=90,
        )
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert ended.stderr.startswith("the Jupyter server has ended with 1. Its log ends with:")
    assert f"The port {port} is already in use" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not list(tmp_path.glob("wshandler-*"))


def test_ctrl_c_while_the_server_starts_stops_it_and_leaves_nothing_behind(tmp_path):
    out = tmp_path / "out"
    with out.open("wb") as stream:
        demo = subprocess.Popen(
            DEMO,
            cwd=tmp_path,
            env={**os.environ, "TMPDIR": str(tmp_path)},
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
    try:

        def begun() -> bool:
            return any(log.stat().st_size for log in tmp_path.glob("wshandler-*/server.log"))

        wait_for(begun, 60, "the server's first line")
        demo.send_signal(signal.SIGINT)
        assert demo.wait(30) == 0
    finally:
        demo.kill()
        demo.wait(5)
    assert out.read_text().rstrip().endswith("The server has stopped.")
    assert "Traceback" not in out.read_text()
    assert not list(tmp_path.glob("wshandler-*"))
