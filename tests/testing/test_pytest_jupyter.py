"""The extension in pytest-jupyter's server, where users may test their own bots.

That server never runs an extension's start hook, so the first handshake has to start it. The
tests run in a pytest of their own: pytest-jupyter brings its own event loop for coroutine tests.
"""

from __future__ import annotations

import subprocess
import sys

BOT = """
async def on_message(handler, message):
    return {"user": handler.current_user.username, "got": message}
"""

TESTS = """
import pytest
from tornado.httpclient import HTTPClientError

pytest_plugins = ["pytest_jupyter.jupyter_server"]

@pytest.fixture
def jp_server_config():
    kwargs = {"on_message": "fixturebot.on_message"}
    routes = {"bot": {"pattern": "/bot", "handler": "WebSocketHandler", "kwargs": kwargs}}
    return {
        "ServerApp": {"jpserver_extensions": {"jupyter_wshandler": True}},
        "WSHandlerApp": {"url": routes, "session_store": "memory://"},
    }

async def test_a_bot_answers(jp_ws_fetch, jp_serverapp):
    socket = await jp_ws_fetch("bot")
    await socket.write_message("hi")
    assert '"got":"hi"' in await socket.read_message()
    socket.close()

async def test_a_wrong_token_is_refused(jp_ws_fetch, jp_serverapp):
    with pytest.raises(HTTPClientError) as refused:
        await jp_ws_fetch("bot", headers={"Authorization": "token wrong"})
    assert refused.value.code == 403
"""


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
