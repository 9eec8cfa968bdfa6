"""A store of shares that cannot be read: it is news for guests, and for nobody else."""

from __future__ import annotations

import hashlib
import sqlite3
from contextlib import closing

import pytest
import websockets.exceptions
from support.bots import bot_text
from support.server import running_server

YAML = """
url:
  who: {pattern: /who, handler: WebSocketHandler, kwargs: {on_message: shared.who}}
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("store")
    with closing(sqlite3.connect(folder / "store.db")) as connection, connection:
        connection.execute("CREATE TABLE wshandler_shares (id TEXT PRIMARY KEY)")  # another one's
    connection.close()
    with running_server(
        YAML,
        folder=folder,
        modules={"shared.py": bot_text("shared")},
        extra_args=[f"--WSHandlerApp.session_store=sqlite:///{folder}/store.db"],
    ) as running:
        yield running


def guest_cookie(server) -> str:
    """Return a guest cookie as a browser may still have it of an earlier visit."""
    name = hashlib.sha256(b"/who").hexdigest()[:8]
    return f"wshandler-guest-{name}-{server.port}=old"


def status_of(server, path="/who", **options) -> tuple[int, str]:
    with pytest.raises(websockets.exceptions.InvalidStatus) as caught:
        server.connect_sync(path, **options)
    response = caught.value.response
    return response.status_code, response.body.decode()


def test_a_login_that_has_a_guest_cookie_as_well_needs_no_share(server):
    with server.connect_sync("/who", headers={"Cookie": guest_cookie(server)}) as ws:
        ws.send("hi")
        assert '"kind":"user"' in ws.recv(timeout=5)


def test_a_guest_is_told_that_the_shares_cannot_be_read_and_to_try_again(server):
    words = (503, "503: the shares cannot be read now; try again\n")
    assert status_of(server, token=False, headers={"Cookie": guest_cookie(server)}) == words
    header = {"Authorization": f"Bearer {'A' * 22}"}
    assert status_of(server, token=False, headers=header) == words
    assert status_of(server, f"/who?share_token={'A' * 22}", token=False) == words
