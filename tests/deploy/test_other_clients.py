"""What docs/pages.md says of other clients that connect again is what they do with our codes."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest
import websocket
import websockets.asyncio.client
from support.server import running_server, wait_for
from websockets.exceptions import ConnectionClosed, InvalidStatus

DOCS = (Path(__file__).parents[2] / "docs" / "pages.md").read_text(encoding="utf-8")

CONFIG = """
url:
  out: {pattern: /out, handler: WebSocketHandler,
        kwargs: {on_message: bots.echo, open: bots.sign_out}}
  one: {pattern: /one, handler: WebSocketHandler,
        kwargs: {on_message: bots.echo, max_connections: {user: 1}}}
"""
BOTS = """
async def sign_out(handler):
    handler.close(4401, "signed out")

async def echo(handler, message):
    return message
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("other-clients")
    with running_server(CONFIG, folder=folder, modules={"bots.py": BOTS}) as running:
        yield running


def endless(server, path: str):
    return websockets.asyncio.client.connect(
        server.ws(path), additional_headers=server.headers(), proxy=None
    )


async def test_the_loop_of_websockets_asks_again_at_once_after_a_socket_that_opens_and_ends(server):
    assert "opened again without a pause" in DOCS
    codes = []
    async with asyncio.timeout(20):  # with its pauses after a failure, from 3 s up, it took longer
        async for client in endless(server, "/out"):
            with pytest.raises(ConnectionClosed):
                await client.recv()
            codes.append(client.close_code)
            if len(codes) == 10:
                break
    assert codes == [4401] * 10


@pytest.mark.parametrize(("path", "status"), [("/one", 429), ("/nowhere", 404)])
async def test_the_loop_of_websockets_ends_on_a_refusal(server, path, status):
    assert "403, 404 or 429 ends the loop with `InvalidStatus`" in " ".join(DOCS.split())
    async with server.connect("/one"), asyncio.timeout(20):
        sockets = aiter(endless(server, path))
        with pytest.raises(InvalidStatus) as refusal:
            await anext(sockets)
    assert refusal.value.response.status_code == status


@pytest.mark.parametrize("reconnect", [None, 1])
def test_websocket_client_hides_our_code_where_it_reconnects(server, reconnect):
    assert "run_forever(reconnect=...)" in DOCS
    opened, closed = [], []
    app = websocket.WebSocketApp(
        server.ws("/out"),
        header=[f"Authorization: token {server.token}"],
        on_open=lambda app: opened.append(app.sock),
        on_reconnect=lambda app: opened.append(app.sock),
        on_close=lambda _, code, reason: closed.append((code, reason)),
    )
    runner = threading.Thread(
        target=app.run_forever, kwargs={"reconnect": reconnect} if reconnect else {}, daemon=True
    )
    runner.start()
    if reconnect:
        wait_for(lambda: len(opened) >= 3, 20, "the third socket")
        assert closed == []
        app.close()
    runner.join(20)
    assert reconnect or closed == [(4401, "signed out")]
    assert not runner.is_alive()
    for sock in opened:  # it forgets those before the last
        sock.shutdown()
