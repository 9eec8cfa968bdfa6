"""Sessions: one live object per session, saved when it has changed and not otherwise."""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from pathlib import Path

import pytest
from support.bots import bot_text
from support.memory import until

from jupyter_wshandler.sessions import encoding
from jupyter_wshandler.sessions import manager as sessions
from jupyter_wshandler.sessions.manager import Session, SessionManager
from jupyter_wshandler.sessions.stores import MemoryStore, open_store

LOG = logging.getLogger("test-sessions")
USER = "user:alice"


class Store(MemoryStore):
    """A store in memory that can be slow or broken, and counts."""

    def __init__(self) -> None:
        super().__init__()
        self.saves: list[dict[str, str]] = []
        self.loads: list[str] = []
        self.deleted: list[str] = []
        self.threads: set[str] = set()
        self.open = threading.Event()
        self.open.set()
        self.error: Exception | None = None

    def _work(self) -> None:
        self.threads.add(threading.current_thread().name)
        assert self.open.wait(20), "the test did not open the store"
        if self.error is not None:
            raise self.error

    def load(self, session_id: str) -> str | None:
        self.loads.append(session_id)
        self._work()
        return super().load(session_id)

    def save(self, items: Mapping[str, tuple[str, float]]) -> None:
        self._work()
        self.saves.append({name: text for name, (text, _) in items.items()})
        super().save(items)

    def delete(self, session_ids: Iterable[str]) -> None:
        self._work()
        names = list(session_ids)
        self.deleted += names
        super().delete(names)

    def content(self) -> dict[str, str]:
        return {name: text for name, (text, _) in self._items.items()}


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
async def manager(store: Store) -> AsyncIterator[SessionManager]:
    manager = SessionManager(store, log=LOG)
    yield manager
    store.open.set()
    await manager.stop()
    assert "wshandler-sessions" not in [thread.name for thread in threading.enumerate()]


async def forgotten(manager: SessionManager) -> None:
    await until(lambda: not manager._live, "the end of all sessions")
    assert not manager._touched
    assert not manager._unsaved


# ---- attach, detach, save --------------------------------------------------------------------


async def test_row_a_session_written_to_is_saved_when_its_connection_ends(
    manager: SessionManager, store: Store
) -> None:
    session = await manager.attach("s1", USER)
    manager.touch(session)
    session["n"] = [1, {"a": None}]
    manager.detach(session)
    await forgotten(manager)
    assert store.content() == {"s1": '{"n":[1,{"a":null}]}'}
    again = await manager.attach("s1", USER)
    assert again is not session
    assert again == {"id": "s1", "n": [1, {"a": None}]}
    manager.detach(again)


async def test_row_anonymous_visitors_who_store_nothing_leave_nothing_behind(
    manager: SessionManager, store: Store
) -> None:
    for n in range(5):
        session = await manager.attach(f"s{n}", "anonymous")
        manager.touch(session)  # its id was printed
        assert session["id"] == f"s{n}"
        await manager.flush()
        manager.detach(session)
    await forgotten(manager)
    assert (store.saves, store.deleted, store.content()) == ([], [], {})


async def test_row_two_connections_of_one_session_share_one_live_object(
    manager: SessionManager, store: Store
) -> None:
    first, second = await asyncio.gather(*[manager.attach("s1", USER) for _ in range(2)])
    assert first is second
    assert store.loads == ["s1"]
    assert await manager.attach("s1", USER) is first
    manager.touch(first)
    first["n"] = 1
    manager.detach(first)
    manager.detach(first)
    await asyncio.sleep(0.02)
    assert store.saves == []
    assert await manager.attach("s1", USER) is first
    manager.detach(first)
    manager.detach(first)
    await forgotten(manager)
    assert store.saves == [{"s1": '{"n":1}'}]


async def test_sessions_of_different_ids_share_nothing(manager: SessionManager) -> None:
    first, second = await manager.attach("s1", USER), await manager.attach("s2", USER)
    first["n"] = 1
    assert second == {"id": "s2"}
    manager.detach(first)
    manager.detach(second)


async def test_a_quick_reconnect_gets_the_live_object_while_it_is_being_saved(
    manager: SessionManager, store: Store
) -> None:
    session = await manager.attach("s1", USER)
    manager.touch(session)
    session["n"] = 1
    store.open.clear()
    manager.detach(session)
    assert await manager.attach("s1", USER) is session  # before the save has begun
    manager.detach(session)
    await until(lambda: manager._live["s1"].saving, "the save")
    async with asyncio.timeout(5):  # the store is busy with the save, and is not asked
        assert await manager.attach("s1", USER) is session
    session["n"] = 2
    store.open.set()
    await until(lambda: store.content() == {"s1": '{"n":1}'}, "the first save")
    await asyncio.sleep(0.02)
    assert await manager.attach("s1", USER) is session
    manager.detach(session)
    manager.detach(session)
    await forgotten(manager)
    assert store.content() == {"s1": '{"n":2}'}


async def test_only_what_has_changed_is_written(manager: SessionManager, store: Store) -> None:
    session = await manager.attach("s1", USER)
    other = await manager.attach("s2", USER)
    manager.touch(session)
    manager.touch(other)
    session["n"] = {"deep": [1]}
    await manager.flush()
    await manager.flush()
    assert store.saves == [{"s1": '{"n":{"deep":[1]}}'}]
    session["n"]["deep"].append(2)  # a change inside a value counts
    await manager.flush()
    assert store.saves[1:] == [{"s1": '{"n":{"deep":[1,2]}}'}]
    session["n"]["deep"].pop()
    session["n"]["deep"].append(2)
    await manager.flush()
    manager.detach(session)
    manager.detach(other)
    await forgotten(manager)
    assert len(store.saves) == 2


async def test_a_session_that_was_only_read_is_not_written(
    manager: SessionManager, store: Store
) -> None:
    text = '{"n":1.5,"a":"\\u00e9","t":[1,{"b":null}]}'
    store._items["s1"] = (text, time.time() + 100)
    session = await manager.attach("s1", USER)
    assert session["a"] == "\u00e9"
    manager.touch(session)
    await manager.flush()
    manager.detach(session)
    await forgotten(manager)
    assert (store.saves, store.content()) == ([], {"s1": text})


async def test_a_callback_that_writes_long_after_it_took_the_session_is_saved_too(
    manager: SessionManager, store: Store
) -> None:
    session = await manager.attach("s1", USER)
    manager.touch(session)
    await manager.flush()
    session["answer"] = "late"
    await manager.flush()
    assert store.content() == {"s1": '{"answer":"late"}'}
    manager.detach(session)


async def test_a_session_emptied_again_is_deleted(manager: SessionManager, store: Store) -> None:
    session = await manager.attach("s1", USER)
    manager.touch(session)
    session["n"] = 1
    await manager.flush()
    session.clear()
    await manager.flush()
    assert (store.content(), store.deleted) == ({}, ["s1"])
    await manager.flush()
    manager.detach(session)
    await forgotten(manager)
    assert store.deleted == ["s1"]


async def test_the_store_works_in_one_thread_of_its_own(
    manager: SessionManager, store: Store
) -> None:
    for n in range(20):
        session = await manager.attach(f"s{n}", USER)
        manager.touch(session)
        session["n"] = n
        manager.detach(session)
    await forgotten(manager)
    assert store.threads == {"wshandler-sessions"}


async def test_a_slow_store_does_not_hold_up_the_loop(
    manager: SessionManager, store: Store
) -> None:
    session = await manager.attach("s1", USER)
    manager.touch(session)
    session["n"] = 1
    store.open.clear()
    async with asyncio.timeout(5):
        await manager.flush(wait=False)
    began = time.monotonic()
    await asyncio.sleep(0)
    assert time.monotonic() - began < 1
    flush = asyncio.create_task(manager.flush())
    await asyncio.sleep(0.02)
    assert not flush.done()
    store.open.set()
    await flush
    assert store.content() == {"s1": '{"n":1}'}
    manager.detach(session)


async def test_sessions_that_end_together_are_saved_together(
    manager: SessionManager, store: Store
) -> None:
    held = [await manager.attach(f"s{n}", USER) for n in range(50)]
    for n, session in enumerate(held):
        manager.touch(session)
        session["n"] = n
    for session in held:
        manager.detach(session)
    await forgotten(manager)
    assert [len(items) for items in store.saves] == [50]


async def test_detaching_twice_or_a_strangers_session_has_no_effect(
    manager: SessionManager, store: Store
) -> None:
    session = await manager.attach("s1", USER)
    manager.detach(Session("s1"))
    manager.detach(Session("never seen"))
    assert await manager.attach("s1", USER) is session
    manager.detach(session)
    manager.detach(session)
    manager.detach(session)
    await forgotten(manager)
    manager.touch(session)  # a thread that comes too late
    await manager.flush()
    await forgotten(manager)


async def test_a_client_that_leaves_while_its_session_is_loaded_spoils_it_for_nobody(
    manager: SessionManager, store: Store
) -> None:
    store._items["s1"] = ('{"n":1}', time.time() + 100)
    store.open.clear()
    leaving = asyncio.create_task(manager.attach("s1", USER))
    staying = asyncio.create_task(manager.attach("s1", USER))
    await until(lambda: store.loads, "the load")
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    store.open.set()
    session = await staying
    assert session["n"] == 1
    manager.detach(session)
    await forgotten(manager)


async def test_a_client_that_leaves_alone_while_its_session_is_loaded_leaves_nothing(
    manager: SessionManager, store: Store
) -> None:
    store.open.clear()
    leaving = asyncio.create_task(manager.attach("s1", USER))
    await until(lambda: store.loads, "the load")
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    store.open.set()
    await forgotten(manager)


async def test_a_stored_session_expires_31_days_after_its_last_change(
    manager: SessionManager, store: Store
) -> None:
    session = await manager.attach("s1", USER)
    manager.touch(session)
    session["n"] = 1
    await manager.flush()
    expires = store._items["s1"][1]
    assert abs(expires - time.time() - 31 * 86400) < 60
    manager.detach(session)


# ---- what goes wrong -------------------------------------------------------------------------


async def test_a_value_that_is_not_json_is_named_by_its_key_and_the_others_are_saved(
    manager: SessionManager, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    session = await manager.attach("s1", USER)
    manager.touch(session)
    deep: list[object] = []
    deep.append(deep)
    session.update({"good": 1, "bad": {"the secret"}, "nan": float("nan"), "deep": deep})
    session[("a", "key")] = 1  # type: ignore[index]
    await manager.flush()
    assert store.content() == {"s1": '{"good":1}'}
    texts = [record.getMessage() for record in caplog.records]
    assert len(texts) == 4
    assert texts[0] == (
        "The value of session['bad'] of user:alice is not saved: "
        "TypeError: Object of type set is not JSON serializable"
    )
    assert "session['nan']" in texts[1]
    assert "session['deep']" in texts[2]
    assert "its key is of type tuple; JSON has str" in texts[3]
    assert "the secret" not in caplog.text
    session["good"] = 2
    await manager.flush()
    assert store.content() == {"s1": '{"good":2}'}
    assert len(caplog.records) == 4  # once is enough
    session["bad"] = "mended"
    await manager.flush()
    assert store.content() == {"s1": '{"good":2,"bad":"mended"}'}
    manager.detach(session)


async def test_a_value_nested_too_deeply_is_not_saved(
    manager: SessionManager, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    session = await manager.attach("s1", USER)
    manager.touch(session)
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    session.update(deep=deep, good=1)
    await manager.flush()
    assert store.content() == {"s1": '{"good":1}'}
    assert "session['deep'] of user:alice is not saved: it is nested too deeply" in caplog.text
    del session["deep"]
    manager.detach(session)
    while deep:  # freed step by step: Python would recurse
        deep = deep.pop()  # type: ignore[assignment]


async def test_a_session_over_its_size_keeps_what_was_stored_before(
    manager: SessionManager,
    store: Store,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(encoding, "MAX_SIZE", 100)
    session = await manager.attach("s1", USER)
    manager.touch(session)
    session["n"] = "small"
    await manager.flush()
    session["n"] = "x" * 200
    await manager.flush()
    await manager.flush()
    assert store.content() == {"s1": '{"n":"small"}'}
    assert [record.getMessage() for record in caplog.records] == [
        "The session of user:alice is not saved: it takes 208 characters of JSON, of 100 at most"
    ]
    manager.detach(session)
    await forgotten(manager)


async def test_threads_may_change_a_session_while_it_is_saved(
    manager: SessionManager, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    session = await manager.attach("s1", USER)
    manager.touch(session)
    stop = threading.Event()
    errors: list[BaseException] = []

    def change(start: int) -> None:
        try:
            n = start
            while not stop.is_set():
                n += 1
                session[f"k{n % 97}"] = {"list": [n] * 10}
                session.pop(f"k{(n + 50) % 97}", None)
                session.setdefault("inner", {})[f"k{n % 31}"] = n
                session["inner"].pop(f"k{(n + 7) % 31}", None)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=change, args=(n * 13,)) for n in range(2)]
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + 20
        while len(store.saves) < 50 and time.monotonic() < deadline:
            await manager.flush()
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        sys.setswitchinterval(before)
    assert errors == []
    assert caplog.records == []
    assert len(store.saves) >= 50
    await manager.flush()
    expected = dict(session)
    del expected["id"]
    assert json.loads(store.content()["s1"]) == expected
    manager.detach(session)


async def test_a_value_that_changes_while_it_is_saved_is_tried_again(
    manager: SessionManager, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    class Restless(dict[str, int]):
        changes = 3

        def items(self):
            if self.changes:
                self.changes -= 1
                raise RuntimeError("dictionary changed size during iteration")
            return super().items()

    session = await manager.attach("s1", USER)
    manager.touch(session)
    session["n"] = restless = Restless(a=1)
    await manager.flush()
    assert store.content() == {"s1": '{"n":{"a":1}}'}
    restless.changes = 10**9
    restless["a"] = 2
    await manager.flush()
    assert store.content() == {"s1": '{"n":{"a":1}}'}
    restless.changes = 0
    await manager.flush()
    assert store.content() == {"s1": '{"n":{"a":2}}'}
    assert caplog.records == []
    manager.detach(session)


async def test_a_store_that_cannot_be_written_is_tried_again_with_one_warning(
    manager: SessionManager, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    session = await manager.attach("s1", USER)
    manager.touch(session)
    session["n"] = 1
    store.error = sqlite3.OperationalError("disk is full")
    await manager.flush()
    await manager.flush()
    manager.detach(session)
    await until(lambda: manager._unsaved, "the session that could not be saved")
    assert [record.getMessage() for record in caplog.records] == [
        "The session store cannot be written (OperationalError: disk is full); "
        "changes are kept in memory, and tried again"
    ]
    assert await manager.attach("s1", USER) is session
    manager.detach(session)
    await until(lambda: manager._unsaved, "the session that could not be saved")
    store.error = None
    await manager.flush()
    await forgotten(manager)
    assert store.content() == {"s1": '{"n":1}'}
    assert caplog.records[-1].getMessage() == "The session store can be written again"


async def test_what_cannot_be_saved_takes_bounded_memory(
    manager: SessionManager,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(sessions, "MAX_UNSAVED", 3)
    store.error = None
    for n in range(6):
        session = await manager.attach(f"s{n}", USER)
        manager.touch(session)
        session["n"] = n
        store.error = OSError("no space")
        manager.detach(session)
        await until(lambda n=n: f"s{n}" in manager._unsaved, "the failed save")
        store.error = None
    assert [*manager._unsaved] == [*manager._live] == ["s3", "s4", "s5"]
    assert caplog.text.count("Over 3 sessions wait for a store that does not take them") == 1


async def test_a_store_that_cannot_be_read_gives_an_empty_session_that_joins_it_later(
    manager: SessionManager, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    store._items["s1"] = ('{"n":1,"old":1}', time.time() + 100)
    store.error = OSError("permission denied")
    session = await manager.attach("s1", USER)
    assert session == {"id": "s1"}
    assert "The session store cannot be read (OSError: permission denied)" in caplog.text
    store.error = None
    manager.touch(session)
    session["n"] = 2
    await manager.flush()
    manager.detach(session)
    await forgotten(manager)
    assert {k: json.loads(v) for k, v in store.content().items()} == {"s1": {"n": 2, "old": 1}}
    assert (await manager.attach("s1", USER))["n"] == 2


@pytest.mark.parametrize("text", ["{", "[1]", "null", ""])
async def test_a_stored_text_that_is_no_json_object_begins_anew(
    manager: SessionManager, store: Store, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    store._items["s1"] = (text, time.time() + 100)
    session = await manager.attach("s1", USER)
    assert session == {"id": "s1"}
    assert "The stored session of user:alice is no JSON object" in caplog.text
    manager.detach(session)


# ---- the end ---------------------------------------------------------------------------------


async def test_stop_saves_what_is_open_and_later_calls_do_no_harm(store: Store) -> None:
    manager = SessionManager(store, log=LOG)
    session = await manager.attach("s1", USER)
    manager.touch(session)
    session["n"] = 1
    await manager.stop()
    assert store.content() == {"s1": '{"n":1}'}
    manager.touch(session)
    await manager.flush()
    manager.detach(session)
    late = await manager.attach("s1", USER)
    assert late == {"id": "s1"}
    manager.detach(late)
    await manager.stop()
    await forgotten(manager)
    assert "wshandler-sessions" not in [thread.name for thread in threading.enumerate()]


async def test_stop_does_not_wait_for_ever_for_a_store(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    manager = SessionManager(store, log=LOG)
    session = await manager.attach("s1", USER)
    manager.touch(session)
    session["n"] = 1
    store.open.clear()
    began = time.monotonic()
    await manager.stop(0.05)
    assert time.monotonic() - began < 5
    assert "did not answer within 0.05 s" in caplog.text
    store.open.set()
    await until(
        lambda: "wshandler-sessions" not in [thread.name for thread in threading.enumerate()],
        "the end of the thread",
    )


def test_a_manager_that_was_never_used_starts_no_thread() -> None:
    async def run() -> None:
        manager = SessionManager(MemoryStore(), log=LOG)
        assert "wshandler-sessions" not in [thread.name for thread in threading.enumerate()]
        await manager.stop()

    asyncio.run(run())


# ---- with a real file ------------------------------------------------------------------------


async def test_two_servers_share_a_session_file(tmp_path: Path) -> None:
    file = tmp_path / "sessions.db"
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", bot_text("session_counter"), f"sqlite:///{file}"],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert (done.returncode, done.stderr) == (0, "")
    manager = SessionManager(open_store(str(file)), log=LOG)
    session = await manager.attach("shared", USER)
    assert session["n"] == 100
    manager.detach(session)
    await manager.stop()
