"""A proxy in the environment (HTTP_PROXY and its like) never hears of a bot on this machine."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
from support.server import free_port

from jupyter_wshandler.client import connect
from jupyter_wshandler.errors import ConnectError
from jupyter_wshandler.testing.server import start_server

ROUTES = {
    "bot": {
        "pattern": "/bot",
        "handler": "WebSocketHandler",
        "kwargs": {"on_message": {"function": "proxybot.on_message"}},
    }
}
BOT = "def on_message(handler, message):\n    return 'Got message: ' + message\n"

NAMES = ("http", "https", "ws", "wss", "all", "socks")


@pytest.fixture
def proxy(monkeypatch) -> Iterator[list[bytes]]:
    """Name a proxy in the environment for everything; return what it has been sent."""
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"

        def listen() -> None:
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                with client:
                    client.settimeout(5)
                    heard.append(client.recv(65536))

        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        for name in NAMES:
            scheme = "socks5h" if name == "socks" else "http"
            for variable in (f"{name}_proxy", f"{name.upper()}_PROXY"):
                monkeypatch.setenv(variable, f"{scheme}://{address}")
        for variable in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(variable, raising=False)
        yield heard
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(10)
    assert not thread.is_alive()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_proxy_of_the_environment_is_not_asked_for_a_server_of_the_tests(
    proxy, tmp_path, host
):
    (tmp_path / "proxybot.py").write_text(BOT)
    with start_server(ROUTES, folder=tmp_path) as server:
        assert server.fetch("bot").status == 426
        with server.connect("/bot") as bot:
            bot.send("one")
            assert bot.recv() == "Got message: one"
        url = server.url.replace("127.0.0.1", host).replace("http", "ws") + "bot"
        async with connect(url, token=server.token) as bot:
            await bot.send("two")
            assert await bot.recv() == "Got message: two"
        assert connect(url, token=server.token).open().close() is None
    assert proxy == []


def test_a_token_does_not_reach_the_proxy_where_there_is_no_server(proxy):
    with pytest.raises(ConnectError):
        connect(f"ws://127.0.0.1:{free_port()}/bot", token="a-secret").open()
    assert proxy == []


def test_the_demo_does_not_ask_the_proxy(proxy, tmp_path):
    demo = [sys.executable, "-m", "jupyter_wshandler", "demo", "--no-browser", "--once"]
    ended = subprocess.run(
        demo, cwd=tmp_path, env=dict(os.environ), capture_output=True, text=True, timeout=120
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "bot < Got message: Hello world" in ended.stdout
    assert proxy == []
