"""The extension in pytest-jupyter's server, where users may test their own bots.

That server never runs an extension's start hook, so the first handshake has to start it. The
tests run in a pytest of their own: pytest-jupyter brings its own event loop for coroutine tests.
"""

from __future__ import annotations

import subprocess
import sys

from support.bots import bot_text

BOT = """
async def on_message(handler, message):
    return {"user": handler.current_user.username, "got": message}
"""

TESTS = bot_text("tests_with_pytest_jupyter")


def test_a_bot_can_be_tested_with_the_fixtures_of_pytest_jupyter(tmp_path):
    (tmp_path / "fixturebot.py").write_text(BOT)
    (tmp_path / "test_bot.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text("[pytest]\npythonpath = .\n")
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:asyncio", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert ended.returncode == 0, ended.stdout[-6000:] + ended.stderr[-2000:]
    assert "2 passed" in ended.stdout
    assert "was destroyed but it is pending" not in ended.stdout + ended.stderr
