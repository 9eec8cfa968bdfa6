"""`jupyter wshandler demo` as a person runs it, and the other commands' first words."""

from __future__ import annotations

import re
import signal
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
