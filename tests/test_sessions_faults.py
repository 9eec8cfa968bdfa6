"""Sessions where the store hangs, the server dies, or a bot keeps too much in them."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import sqlite3
import time

import pytest
from support.server import running_server, wait_for
from test_sessions import LOG, USER, Store, forgotten, until

from jupyter_wshandler import sessions
from jupyter_wshandler.sessions import MAX_SIZE, SessionManager


@pytest.fixture
def store():
    return Store()


@pytest.fixture
async def manager(store, monkeypatch):
    monkeypatch.setattr(sessions, "PATIENCE", 0.2)
    manager = SessionManager(store, log=LOG)
    yield manager
    store.open.set()
    await manager.stop()


async def test_a_store_that_hangs_holds_nobody_up_and_is_joined_when_it_comes_back(
    manager, store, caplog
):
    caplog.set_level(logging.INFO)
    store._items["s1"] = ('{"n":1,"old":1}', time.time() + 100)
    for times in (1, 2):
        store.open.clear()
        began = time.monotonic()
        found = [await manager.attach(f"s{times + k}", USER) for k in range(3)]
        assert time.monotonic() - began < 1.0
        assert manager.hangs == times
        assert caplog.text.count("has not answered for 0.2 s") == times
        for session in found:
            manager.touch(session)
            session["n"] = 2
            await manager.flush(wait=False)
            await manager.flush(wait=False)
            manager.detach(session)
        store.open.set()
        await forgotten(manager)
        assert caplog.text.count("answers again") == times
    assert json.loads(store.content()["s1"]) == {"n": 2, "old": 1}
    assert json.loads(store.content()["s2"]) == {"n": 2}


async def test_a_hanging_store_does_not_pile_up_writes(manager, store):
    session = await manager.attach("s1", USER, new=True)
    store.open.clear()
    manager.touch(session)
    for n in range(200):
        session["n"] = n
        await manager.flush(wait=False)
    assert manager._worker.waiting() <= 1
    store.open.set()
    await manager.flush()
    await until(lambda: store.content().get("s1") == '{"n":199}', "the last change")
    manager.detach(session)


async def test_a_session_of_200_000_entries_is_encoded_off_the_loop(manager, store, caplog):
    session = await manager.attach("s1", USER, new=True)
    session["big"] = {str(n): n for n in range(200_000)}
    manager.touch(session)
    slowest = 0.0
    flush = asyncio.create_task(manager.flush())
    while not flush.done():
        began = time.perf_counter()
        await asyncio.sleep(0.001)
        slowest = max(slowest, time.perf_counter() - began)
    assert slowest < 0.1
    assert f"takes over {MAX_SIZE} characters" in caplog.text
    assert not store.content()
    session["big"] = {str(n): n for n in range(20_000)}
    session["bad"] = object()
    await manager.flush()
    assert len(json.loads(store.content()["s1"])["big"]) == 20_000
    assert "session['bad']" in caplog.text
    manager.detach(session)


BOT = """
def on_message(handler, message):
    handler.session["said"] = message
    return handler.session["id"]
"""
YAML = """
url:
  bot:
    pattern: /bot
    handler: WebSocketHandler
    kwargs: {on_message: keepbot.on_message}
"""


@pytest.mark.parametrize("ends", [True, False], ids=["after the close", "a second after a change"])
def test_kill_9_loses_no_session(tmp_path, ends):
    with running_server(YAML, folder=tmp_path, modules={"keepbot.py": BOT}) as server:
        with server.connect_sync("/bot") as client:
            client.send("remember")
            name = client.recv()
            if not ends:
                time.sleep(1.2)
                server.process.send_signal(signal.SIGKILL)
        if ends:
            time.sleep(0.1)
            server.process.send_signal(signal.SIGKILL)
        server.process.wait(10)
        file = tmp_path / ".jupyter-state" / "data" / "wshandler-sessions.db"
        wait_for(file.exists, what="the file")
        with sqlite3.connect(file) as database:
            rows = dict(database.execute("SELECT id, value FROM wshandler_sessions"))
        assert json.loads(rows[name]) == {"said": "remember"}
