"""How a real server stops: every client is told, every on_close runs, nothing holds up the exit."""

from __future__ import annotations

import asyncio
import collections
import http.client
import re
import signal
import sys
import time

import pytest
import websockets.exceptions
from support.bots import bot_text
from support.server import WITHOUT_LAB, running_server, wait_for

CONFIG = """
url:
  quick:
    pattern: /quick
    handler: WebSocketHandler
    kwargs: {open: stopbot.on_open, on_message: stopbot.echo, on_close: stopbot.on_close}
  stuck:
    pattern: /stuck
    handler: WebSocketHandler
    kwargs: {on_message: stopbot.stuck}
  busy:
    pattern: /busy
    handler: WebSocketHandler
    kwargs: {on_message: stopbot.busy, on_close: stopbot.on_close}
"""

STOPBOT = bot_text("stop")


def serving(folder, *arguments):
    return running_server(
        CONFIG, folder=folder, modules={"stopbot.py": STOPBOT}, extra_args=[*arguments]
    )


async def wait_to_be_closed(socket):
    try:
        while True:
            await socket.recv()
    except websockets.exceptions.ConnectionClosed as closed:
        return closed.rcvd.code if closed.rcvd else 1006


async def open_many(server, path, count):
    sockets = []
    for start in range(0, count, 50):
        batch = min(50, count - start)
        sockets += await asyncio.gather(
            *(server.connect(path, open_timeout=30) for _ in range(batch))
        )
    return sockets


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
async def test_a_thousand_clients_are_told_1001_and_every_on_close_runs_once(tmp_path, sig):
    many = 1000 if sig == signal.SIGTERM else 50
    with serving(tmp_path, "--log-level=WARN") as server:
        sockets = await open_many(server, "/quick", many)
        waiting = [asyncio.ensure_future(wait_to_be_closed(socket)) for socket in sockets]
        begun = time.monotonic()
        server.process.send_signal(sig)
        codes = collections.Counter(await asyncio.wait_for(asyncio.gather(*waiting), 20))
        await asyncio.to_thread(server.process.wait, 12)
        assert time.monotonic() - begun < 12
        assert codes == {1001: many}
        assert server.log_text().count("on_close ") == many
        assert f"on_close {many} quick 1001" in server.log_text()


async def test_callbacks_that_never_end_are_named_and_hold_up_no_exit(tmp_path):
    with serving(tmp_path, "--WSHandlerApp.stop_timeout=2") as server:
        async with server.connect("/stuck") as stuck, server.connect("/busy") as busy:
            await stuck.send("go")
            await busy.send("go")
            await asyncio.to_thread(
                wait_for,
                lambda: "stuck begins" in server.log_text() and "busy begins" in server.log_text(),
            )
            begun = time.monotonic()
            server.process.send_signal(signal.SIGTERM)
            codes = await asyncio.gather(wait_to_be_closed(stuck), wait_to_be_closed(busy))
            await asyncio.to_thread(server.process.wait, 12)
        assert codes == [1001, 1001]
        assert time.monotonic() - begun < 10
        log = server.log_text()
        assert "stopbot.stuck still ran" in log
        assert "stopbot.busy still ran" in log
        assert "on_close 1 busy 1001" in log
        assert "was destroyed but it is pending" not in log


async def test_a_server_that_stops_answers_503_to_an_upgrade_on_a_connection_it_still_has(tmp_path):
    with serving(tmp_path, "--WSHandlerApp.stop_timeout=4") as server:
        # Jupyter listens no more once it stops, but serves the connections that it has.
        kept = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
        kept.request("GET", "/api/status", headers=server.headers())
        kept.getresponse().read()
        async with server.connect("/busy") as busy:
            await busy.send("go")
            await asyncio.to_thread(wait_for, lambda: "busy begins" in server.log_text())
            server.process.send_signal(signal.SIGTERM)
            assert await wait_to_be_closed(busy) == 1001
            upgrade = {
                "Upgrade": "websocket",
                "Connection": "Upgrade",
                "Sec-WebSocket-Version": "13",
                "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
            }
            kept.request("GET", "/quick", headers=server.headers() | upgrade)
            answer = await asyncio.to_thread(kept.getresponse)
            assert answer.status == 503
            assert b"stopping" in answer.read()
        kept.close()


BAD = re.compile(r"Traceback|Error|Exception|was destroyed|never retrieved|never awaited")
"""What the log of a server that stops in order has none of."""


@pytest.mark.parametrize("command", ["server", "serve"])
@pytest.mark.parametrize(
    "signals",
    [
        (signal.SIGTERM, signal.SIGTERM),
        (signal.SIGINT, signal.SIGINT, signal.SIGTERM, signal.SIGINT),
    ],
    ids=["SIGTERM", "SIGINT"],
)
def test_a_second_signal_while_the_server_stops_changes_nothing_and_leaves_no_traceback(
    tmp_path, command, signals
):
    (tmp_path / "own.yaml").write_text(CONFIG)
    serve = [sys.executable, "-m", "jupyter_wshandler", "serve", str(tmp_path / "own.yaml")]
    with running_server(
        CONFIG if command == "server" else None,
        folder=tmp_path,
        modules={"stopbot.py": STOPBOT},
        command=serve if command == "serve" else None,
        extra_args=["--WSHandlerApp.stop_timeout=2", WITHOUT_LAB],
    ) as server:
        with server.connect_sync("/quick") as quick, server.connect_sync("/stuck") as stuck:
            assert quick.recv(timeout=10) == "ready"
            stuck.send("go")
            wait_for(lambda: "stuck begins" in server.log_text())
            mark = len(server.log_text())
            for number, sig in enumerate(signals):
                server.process.send_signal(sig)
                wait_for(lambda n=number: server.log_text().count("received signal") > n)
            with pytest.raises(websockets.exceptions.ConnectionClosed) as closed:
                quick.recv(timeout=10)
            assert closed.value.rcvd.code == 1001
            assert server.process.wait(15) == 0
        log = server.log_text()[mark:]
        assert log.count("The server stops already") == len(signals) - 1
        assert len(re.findall(r"Shutting down \d+ extension", log)) == 1
        assert log.count("on_close 1 quick 1001") == 1
        assert not BAD.search(log), log


def test_a_stop_by_the_api_which_jupyter_does_twice_leaves_no_traceback_either(tmp_path):
    with serving(tmp_path, WITHOUT_LAB) as server:
        with server.connect_sync("/quick") as quick:
            assert quick.recv(timeout=10) == "ready"
            mark = len(server.log_text())
            server.fetch("api/shutdown", method="POST", data=b"")
            assert server.process.wait(15) == 0
        log = server.log_text()[mark:]
        assert log.count("on_close 1 quick 1001") == 1
        assert not BAD.search(log), log
