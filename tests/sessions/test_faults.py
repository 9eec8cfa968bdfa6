"""Sessions where the store hangs, the server dies, or a bot keeps too much in them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import signal
import sqlite3
import subprocess
import sys
import time

import pytest
from sessions.test_sessions import LOG, USER, Store, forgotten
from support.bots import bot_text
from support.memory import until
from support.server import running_server, wait_for
from support.visitor import Visitor

from jupyter_wshandler.sessions import manager as sessions
from jupyter_wshandler.sessions.manager import SessionManager
from jupyter_wshandler.sessions.values import MAX_SIZE


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
    assert f"takes more than {MAX_SIZE} characters" in caplog.text
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
        with contextlib.closing(sqlite3.connect(file)) as database, database:
            rows = dict(database.execute("SELECT id, value FROM wshandler_sessions"))
        assert json.loads(rows[name]) == {"said": "remember"}


COUNT = bot_text("session_faults")

LOCK = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
sys.stdin.readline()
database.execute("ROLLBACK")
"""


class Browser(Visitor):
    """Come back with the cookies of the last time."""

    def say(self, message):
        """Open a socket and send one message; return the answer."""
        with self.server.connect_sync("/bot", headers=self.cookie_header()) as client:
            self.keep(client.response.headers.get_all("Set-Cookie"))
            client.send(message)
            return json.loads(client.recv(timeout=10))


@contextlib.contextmanager
def locked(file):
    """Let another process keep the session file to itself."""
    command = [sys.executable, "-c", LOCK, str(file)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "locked\n"
        try:
            yield
        finally:
            other.stdin.write("\n")
            other.stdin.close()


def test_returning_browsers_open_while_another_process_holds_the_file(tmp_path):
    modules = {"keepbot.py": COUNT}
    file = tmp_path / ".jupyter-state" / "data" / "wshandler-sessions.db"
    with running_server(YAML, folder=tmp_path, modules=modules) as server:
        browsers = [Browser(server) for _ in range(4)]
        for browser in browsers:
            assert browser.say("keep") == {"n": 1, "kept": "yes"}
    again = running_server(YAML, folder=tmp_path, modules=modules, port=server.port)
    with locked(file), again as server:
        began = time.monotonic()
        for browser in browsers:
            browser.server = server
            came = time.monotonic()
            assert browser.say("forget" if browser is browsers[0] else "hello")["n"] == 1
            assert time.monotonic() - came < 2.5
        # Only the first one waits at all.
        assert time.monotonic() - began < 4
        time.sleep(max(0.0, began + 6 - time.monotonic()))
        with server.connect_sync("/bot") as client:  # a new one notices nothing
            client.send("new")
            assert json.loads(client.recv(timeout=2))["n"] == 1
        assert server.log_text().count("session store has not answered") == 1
        assert server.log_text().count("session store cannot be") <= 1
        assert b"wshandler_session_store_hangs_total 1.0" in server.fetch("/metrics")[2]
        leave = time.monotonic()
    # The server has stopped meanwhile, while the file was still held.
    assert time.monotonic() - leave < 20


def test_sessions_are_whole_after_the_file_was_held(tmp_path):
    modules = {"keepbot.py": COUNT}
    file = tmp_path / ".jupyter-state" / "data" / "wshandler-sessions.db"
    with running_server(YAML, folder=tmp_path, modules=modules) as server:
        forgets, keeps = Browser(server), Browser(server)
        for browser in (forgets, keeps):
            assert browser.say("keep") == {"n": 1, "kept": "yes"}
    with contextlib.ExitStack() as stack:
        lock = stack.enter_context(contextlib.ExitStack())
        lock.enter_context(locked(file))
        again = running_server(YAML, folder=tmp_path, modules=modules, port=server.port)
        server = stack.enter_context(again)
        forgets.server = keeps.server = server
        assert forgets.say("forget") == {"n": 1, "kept": None}
        assert keeps.say("hello") == {"n": 1, "kept": None}
        lock.close()
        wait_for(lambda: "session store answers again" in server.log_text(), 15)
        assert forgets.say("hello") == {"n": 2, "kept": None}
        assert keeps.say("hello") == {"n": 2, "kept": "yes"}


async def test_what_was_removed_while_the_store_hung_does_not_come_back(manager, store):
    stored = '{"a":1,"b":2,"c":3}'
    for name in ("s1", "s2", "s3"):
        store._items[name] = (stored, time.time() + 100)
    store.open.clear()
    one, two, three = [await manager.attach(name, USER) for name in ("s1", "s2", "s3")]
    one.pop("a", None)
    two.clear()
    two["b"] = 20
    three["a"] = 10
    del three["a"]
    for session in (one, two, three):
        manager.touch(session)
        manager.detach(session)
    store.open.set()
    await forgotten(manager)
    found = {name: json.loads(text) for name, text in store.content().items()}
    assert found == {"s1": {"b": 2, "c": 3}, "s2": {"b": 20}, "s3": {"b": 2, "c": 3}}


async def test_idle_sessions_cost_next_to_nothing_and_late_changes_are_found(
    manager, store, monkeypatch
):
    monkeypatch.setattr(sessions, "WATCHED", 0.3)
    encoded = []
    encoder = manager._encoder
    dump = encoder.dump
    monkeypatch.setattr(encoder, "dump", lambda live: encoded.append(live) or dump(live))
    session = await manager.attach("s1", USER, new=True)
    items = session["items"] = [1]
    manager.touch(session)
    for _ in range(20):
        await manager.flush(wait=False)
    assert len(encoded) == 1
    await asyncio.sleep(0.4)
    items.append(2)  # nobody asked for the session since

    async def saved():
        await manager.flush(wait=False)
        return store.content().get("s1") == '{"items":[1,2]}'

    async with asyncio.timeout(5):
        while not await saved():
            await asyncio.sleep(0.01)
    assert len(encoded) == 2
    manager.detach(session)


async def test_a_heavy_session_is_not_encoded_again_at_once(manager, store):
    session = await manager.attach("s1", USER, new=True)
    session["big"] = {str(n): n for n in range(50_000)}
    manager.touch(session)
    await manager.flush()
    saves = len(store.saves)
    for n in range(20):
        session["n"] = n
        await manager.flush(wait=False)
        await asyncio.sleep(0.001)
    assert len(store.saves) == saves
    manager.detach(session)  # but what it holds is saved as the connection ends
    await forgotten(manager)
    assert json.loads(store.content()["s1"])["n"] == 19


async def test_a_session_too_large_to_save_is_let_go_though_the_clock_comes_by_meanwhile(
    manager, store, caplog
):
    calls = []
    encode = manager._encoder.dump_heavy

    def slow(live):
        calls.append(live)
        time.sleep(0.05)  # longer than a round of the clock below
        return encode(live)

    manager._encoder.dump_heavy = slow
    session = await manager.attach("s1", USER, new=True)
    manager.touch(session)
    session["much"] = [{"n": n} for n in range(MAX_SIZE // 8)]
    for _ in range(3):
        await manager.flush(wait=False)
        await asyncio.sleep(0.02)
    manager.detach(session)
    end = time.monotonic() + 20
    while manager._live and time.monotonic() < end:
        await manager.flush(wait=False)
        await asyncio.sleep(0.01)
    assert manager._live == manager._touched == {}
    assert len(calls) <= 3
    assert caplog.text.count("is not saved: it takes more than") == 1
    assert "s1" not in store.content()


async def test_one_session_that_cannot_be_encoded_costs_no_other_its_changes(
    manager, store, caplog
):
    encode = manager._encoder.dump

    def fails_once(live):
        if live.session.id == "s2":
            raise LookupError("what the session holds")
        return encode(live)

    manager._encoder.dump = fails_once
    found = [await manager.attach(f"s{n}", USER, new=True) for n in (1, 2, 3)]
    for session in found:
        manager.touch(session)
        session["n"] = 1
    await manager.flush()
    assert sorted(store.content()) == ["s1", "s3"]
    assert caplog.text.count("is not saved: it cannot be encoded (LookupError)") == 1
    assert "what the session holds" not in caplog.text
    manager._encoder.dump = encode
    await manager.flush()
    assert sorted(store.content()) == ["s1", "s2", "s3"]


async def test_a_session_emptied_behind_our_back_is_saved_like_any_other(manager, store):
    found = [await manager.attach(f"s{n}", USER, new=True) for n in (1, 2)]
    for session in found:
        manager.touch(session)
        session["n"] = 1
    dict.clear(found[1])
    found[1]["m"] = 2
    await manager.flush()
    assert store.content() == {"s1": '{"n":1}', "s2": '{"m":2}'}


async def test_a_session_that_is_too_large_again_is_warned_about_again(manager, store, caplog):
    session = await manager.attach("s1", USER, new=True)
    manager.touch(session)
    for text in ("x" * (MAX_SIZE + 1), "small", "y" * (MAX_SIZE + 1)):
        session["text"] = text
        await manager.flush()
        await manager.flush()
    assert caplog.text.count("is not saved: it takes") == 2
    assert store.content() == {"s1": '{"text":"small"}'}
