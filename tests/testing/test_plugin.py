"""The pytest plugin: its fixtures in a pytest of their own, found by the entry point."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from support.bots import bot_text
from support.server import wait_for

from jupyter_wshandler.client import connect
from jupyter_wshandler.errors import HandshakeRefused
from jupyter_wshandler.testing import start_server
from jupyter_wshandler.testing.server import RunningServer, free_port

BOT = bot_text("pluginbot")

YAML = """
url:
  bot: {pattern: /bot, handler: WebSocketHandler, kwargs: {on_message: pluginbot.on_message}}
"""

ROUTES = {
    "bot": {
        "pattern": "/bot",
        "handler": "WebSocketHandler",
        "kwargs": {"on_message": "pluginbot.on_message"},
    }
}


def run_pytest(folder: Path, tests: str, *options: str, code: int = 0) -> str:
    """Run tests in a pytest of their own, as a user has it; return what it prints."""
    (folder / "pluginbot.py").write_text(BOT)
    (folder / "wshandler.yaml").write_text(YAML)
    (folder / "test_bot.py").write_text(textwrap.dedent(tests))
    (folder / "pytest.ini").write_text("[pytest]\npythonpath = .\nfilterwarnings = error\n")
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:asyncio", "-p", "no:cacheprovider", *options],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert ended.returncode == code, ended.stdout[-6000:] + ended.stderr[-2000:]
    return ended.stdout


# ---- wsh_chat ----------------------------------------------------------------------------------


def test_wsh_chat_is_there_without_being_asked_for_and_closes_what_it_has_made(tmp_path):
    printed = run_pytest(
        tmp_path,
        """
        import threading
        import pluginbot

        def test_a_bot(wsh_chat):
            ada = wsh_chat(pluginbot, user="ada")
            ada.visitor("bob").send("hi")
            ada.send("hi")
            ada.expect("Got message: hi")
            assert wsh_chat(pluginbot).clients != ada.clients

        def test_that_nothing_is_left():
            assert threading.enumerate() == [threading.main_thread()]
        """,
    )
    assert "2 passed" in printed


def test_a_failing_bot_fails_its_test_at_the_line_of_the_bot(tmp_path):
    printed = run_pytest(
        tmp_path,
        """
        import pluginbot

        def test_a_bot(wsh_chat):
            chat = wsh_chat(pluginbot)
            chat.send("fail")
        """,
        code=1,
    )
    assert 'raise ValueError("from the bot")' in printed
    assert "pluginbot.py:8: ValueError" in printed
    assert "test_bot.py:6:" in printed
    assert "jupyter_wshandler" not in printed.partition("FAILURES")[2]
    assert "1 failed" in printed


def test_a_wrong_answer_shows_the_talk_and_none_of_our_own_lines(tmp_path):
    printed = run_pytest(
        tmp_path,
        """
        import pluginbot

        def test_a_bot(wsh_chat):
            chat = wsh_chat(pluginbot)
            chat.send("hi")
            chat.expect("Got: hi")
        """,
        code=1,
    )
    failure = printed.partition("FAILURES")[2]
    assert "E       AssertionError: expected: 'Got: hi'" in failure
    assert "E         < Got message: hi" in failure
    assert "testing/" not in failure


def test_an_error_that_the_test_has_not_seen_is_an_error_at_its_end(tmp_path):
    printed = run_pytest(
        tmp_path,
        """
        import time
        import pluginbot

        def test_a_bot(wsh_chat):
            chat = wsh_chat(pluginbot)
            chat.send("fail", wait=False)
        """,
        code=1,
    )
    assert "ERROR at teardown of test_a_bot" in printed
    assert "ValueError: from the bot" in printed


def test_the_plugin_loads_nothing_before_a_fixture_is_used():
    code = (
        "import sys, pytest\n"
        "before = set(sys.modules)\n"
        "import jupyter_wshandler.testing.plugin\n"
        "print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    names = ("jupyter_wshandler", "jupyter_wshandler.testing", "jupyter_wshandler.testing.plugin")
    assert done.stdout.split() == list(names)


# ---- wsh_server --------------------------------------------------------------------------------


def test_wsh_server_starts_a_real_server_from_a_file_beside_the_test(tmp_path):
    printed = run_pytest(tmp_path, bot_text("tests_with_the_plugin"))
    assert "5 passed" in printed


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bots")
    (folder / "pluginbot.py").write_text(BOT)
    with start_server(ROUTES, folder=folder, base_url="/hub/", env={"WSH_TEST": "1"}) as running:
        yield running


def test_a_mapping_of_routes_finds_its_modules_in_the_folder(server):
    assert server.ws_url("/bot") == f"{server.url.replace('http', 'ws')}bot"
    with server.connect("/bot") as bot:
        bot.send("hi")
        assert bot.recv() == "Got message: hi"
    with connect(server.ws_url("bot"), headers=server.headers) as bot:
        bot.send("hi")
        assert bot.recv() == "Got message: hi"


async def test_a_server_can_be_awaited_too(server):
    async with server.connect("bot") as bot:
        await bot.send("hi")
        assert await bot.recv() == "Got message: hi"


def test_fetch_is_logged_in_and_follows_no_redirect(server):
    assert server.fetch("api/status").json()["started"]
    assert server.fetch("bot").status == 426
    assert server.fetch("api/status", headers={"Authorization": ""}).status == 403
    assert server.fetch("files/x", headers={"Authorization": ""}).status == 302
    assert server.fetch("nowhere", method="POST", data=b"{}").text


def test_the_token_is_in_no_log_and_on_no_command_line(server):
    with contextlib.suppress(HandshakeRefused):
        server.connect(f"nowhere?token={server.token}").open()
    assert server.log
    assert server.token not in server.log
    if Path("/proc").is_dir():
        line = Path(f"/proc/{server.pid}/cmdline").read_bytes()
        assert server.token.encode() not in line
    assert server.token not in repr(server)


def test_a_server_that_does_not_come_up_shows_the_end_of_its_log_without_its_token():
    with pytest.raises(RuntimeError, match="has ended with") as failure:
        start_server(YAML, options=["--ServerApp.no_such_trait_at_all=1", "--no-such-flag"])
    assert "no-such-flag" in str(failure.value)
    with pytest.raises(RuntimeError, match=r"does not answer after 0\.2 s"):
        start_server(YAML, timeout=0.2)


def test_a_port_that_is_taken_is_told_where_it_was_asked_for(server):
    taken = int(server.url.split(":")[2].split("/")[0])
    with pytest.raises(RuntimeError, match=f"{taken}"):
        start_server(YAML, port=taken)


def test_a_port_that_another_process_takes_in_between_is_left_to_it(server, monkeypatch):
    taken = int(server.url.split(":")[2].split("/")[0])
    ports = [taken, free_port()]
    monkeypatch.setattr("jupyter_wshandler.testing.server.free_port", lambda: ports.pop(0))
    with start_server(YAML) as other:
        assert ports == []
        assert other.url != server.url


def test_a_server_that_does_not_end_by_itself_is_ended(monkeypatch, tmp_path):
    monkeypatch.setattr("jupyter_wshandler.testing.server.STOP", 0.2)
    (tmp_path / "server.log").write_text("a line")
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import signal, time\n"
            "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('ready', flush=True)\n"
            "time.sleep(60)",
        ],
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    with process.stdout:
        process.stdout.readline()
    server = RunningServer(process, 1, "/", "a-secret", tmp_path)
    assert "runs" in repr(server)
    assert server.stop() == -signal.SIGKILL
    assert server.stop() == -signal.SIGKILL
    assert server.log == "a line"
    assert not tmp_path.exists()
    assert f"has ended with {-signal.SIGKILL}" in repr(server)


def test_a_server_that_nobody_stops_ends_with_the_process_that_has_started_it(tmp_path):
    (tmp_path / "pluginbot.py").write_text(BOT)
    code = (
        "from jupyter_wshandler.testing import start_server\n"
        f"server = start_server({ROUTES!r}, folder={str(tmp_path)!r})\n"
        "print(server.pid, server.folder)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=90, check=True
    )
    pid, folder = done.stdout.split()
    wait_for(lambda: not _alive(int(pid)), 5, "the end of the server")
    assert not Path(folder).exists()


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_an_async_test_may_start_a_server_in_a_thread(tmp_path):
    (tmp_path / "pluginbot.py").write_text(BOT)
    (tmp_path / "wshandler.yaml").write_text(YAML)
    running = await asyncio.to_thread(start_server, tmp_path / "wshandler.yaml")
    try:
        async with running.connect("/bot") as bot:
            await bot.send("hi")
            assert await bot.recv() == "Got message: hi"
    finally:
        await asyncio.to_thread(running.stop)
