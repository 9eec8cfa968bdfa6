"""Where sessions are kept: memory, or a SQLite file that several servers share."""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import stat
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.stores import Store, running_store

from jupyter_wshandler.backplane.redis import conversation as conversations
from jupyter_wshandler.sessions import stores
from jupyter_wshandler.sessions.redisstore import RedisSessions
from jupyter_wshandler.sessions.stores import MemoryStore, SessionStore, SQLiteStore, open_store

FAR = time.time() + 86400


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for a store on a machine that has much else to do."""
    monkeypatch.setattr(conversations, "TIMEOUT", 30.0)


@pytest.fixture(scope="module")
def redis() -> Iterator[Store]:
    with running_store("redis") as redis:
        yield redis


@pytest.fixture(params=["memory", "sqlite", "redis"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SessionStore]:
    urls = {"memory": "memory://", "sqlite": f"sqlite:///{tmp_path}/s.db"}
    if request.param == "redis":
        redis = request.getfixturevalue("redis")
        redis.say("FLUSHALL")
        urls["redis"] = redis.url
    store = open_store(urls[request.param])
    yield store
    store.close()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "new" / "folder" / "sessions.db"


@pytest.fixture
def sqlite(file: Path) -> Iterator[SQLiteStore]:
    store = SQLiteStore(file)
    yield store
    store.close()


def test_what_was_saved_is_loaded_and_replaced_and_deleted(store: SessionStore) -> None:
    assert store.load("a") is None
    store.save({"a": ('{"n":1}', FAR), "b": ('{"ü":"\\ud83d"}', FAR)})
    assert store.load("a") == '{"n":1}'
    assert json.loads(store.load("b") or "") == {"ü": "\ud83d"}
    store.save({"a": ('{"n":2}', FAR)})
    assert store.load("a") == '{"n":2}'
    store.delete(["a", "never stored"])
    assert store.load("a") is None
    assert json.loads(store.load("b") or "") == {"ü": "\ud83d"}


def test_what_has_expired_is_not_loaded(store: SessionStore) -> None:
    store.save({"a": ('{"n":1}', time.time() - 1), "b": ('{"n":2}', FAR)})
    assert (store.load("a"), store.load("b")) == (None, '{"n":2}')


def test_what_has_expired_is_removed(
    store: SessionStore, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.save({"a": ("{}", time.time() - 1)})
    monkeypatch.setattr(stores, "PURGE_EVERY", 0)
    store.save({"b": ("{}", FAR)})
    if isinstance(store, RedisSessions):
        assert request.getfixturevalue("redis").say("DBSIZE") == b":1\r\n"
    else:
        assert stored(store) == ["b"]


def stored(store: SessionStore) -> list[str]:
    if isinstance(store, MemoryStore):
        return sorted(store._items)
    assert isinstance(store, SQLiteStore)
    connection = sqlite3.connect(store.path)
    try:
        return [row[0] for row in connection.execute("SELECT id FROM wshandler_sessions")]
    finally:
        connection.close()


def test_no_store_keeps_more_than_its_limit(file: Path) -> None:
    memory = MemoryStore(limit=3)
    for n in range(5):
        memory.save({f"s{n}": ("{}", FAR)})
    assert stored(memory) == ["s2", "s3", "s4"]
    sqlite = SQLiteStore(file, limit=3)
    sqlite.save({f"s{n}": ("{}", FAR + n) for n in range(5)})
    sqlite.close()
    assert sqlite.load("s4") == "{}"
    assert stored(sqlite) == ["s2", "s3", "s4"]
    sqlite.close()


def test_the_file_survives_a_restart(sqlite: SQLiteStore, file: Path) -> None:
    sqlite.save({"a": ("{}", FAR)})
    sqlite.close()
    again = SQLiteStore(file)
    assert again.load("a") == "{}"
    again.close()


@pytest.mark.skipif(os.name != "posix", reason="the mode of files is a POSIX notion")
def test_the_file_and_its_companions_are_for_their_owner_only(
    sqlite: SQLiteStore, file: Path
) -> None:
    before = os.umask(0)
    try:
        sqlite.save({"a": ("{}", FAR)})
        found = {path.name: stat.S_IMODE(path.stat().st_mode) for path in file.parent.iterdir()}
    finally:
        os.umask(before)
    assert set(found.values()) == {0o600}
    assert "sessions.db-wal" in found
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


@pytest.mark.skipif(os.name != "posix", reason="the mode of files is a POSIX notion")
def test_a_file_that_others_could_read_is_closed_to_them(file: Path) -> None:
    file.parent.mkdir(parents=True)
    file.touch(0o644)
    store = SQLiteStore(file)
    assert store.load("a") is None
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    store.close()


@pytest.mark.parametrize("content", [b"this is no database, " * 500, None])
def test_a_damaged_file_is_moved_aside_with_a_warning_and_a_new_one_is_begun(
    file: Path, content: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    file.parent.mkdir(parents=True)
    if content is None:  # a database whose pages were overwritten
        good = SQLiteStore(file)
        good.save({f"s{n}": (f'{{"n":"{"x" * 500}"}}', FAR) for n in range(200)})
        good.close()
        size = file.stat().st_size
        content = file.read_bytes()[:4096] + b"\x5a" * (size - 4096)
    file.write_bytes(content)
    store = SQLiteStore(file, log=logging.getLogger("test"))
    assert store.load("s1") is None
    store.save({"a": ("{}", FAR)})
    assert store.load("a") == "{}"
    (aside,) = [path for path in file.parent.iterdir() if "damaged" in path.name]
    assert aside.read_bytes() == content
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert f"The session file {file} is damaged" in caplog.text
    assert str(aside) in caplog.text
    store.close()


def test_a_file_damaged_while_it_is_in_use_is_replaced_too(
    sqlite: SQLiteStore, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sqlite.save({f"s{n}": (f'{{"n":"{"x" * 500}"}}', FAR) for n in range(200)})
    sqlite.close()
    assert sqlite.load("s1") is not None
    with open(file, "r+b") as damaged:
        damaged.seek(4096)
        damaged.write(b"\x5a" * (file.stat().st_size - 4096))
    for n in range(200):  # the first few may still be in SQLite's memory
        sqlite.load(f"s{n}")
    sqlite.save({"a": ("{}", FAR)})
    assert sqlite.load("a") == "{}"
    assert "is damaged" in caplog.text


def test_a_file_that_somebody_deleted_or_replaced_is_begun_anew(
    sqlite: SQLiteStore, file: Path
) -> None:
    sqlite.save({"a": ("{}", FAR)})
    for path in file.parent.iterdir():
        path.unlink()
    sqlite.save({"b": ("{}", FAR)})
    assert (sqlite.load("a"), sqlite.load("b")) == (None, "{}")
    assert file.exists()


def test_two_stores_of_one_process_share_a_file(sqlite: SQLiteStore, file: Path) -> None:
    other = SQLiteStore(file)
    for n in range(20):
        sqlite.save({"a": (f'{{"n":{n}}}', FAR)})
        assert other.load("a") == f'{{"n":{n}}}'
        other.save({"b": (f'{{"n":{n}}}', FAR)})
        assert sqlite.load("b") == f'{{"n":{n}}}'
    other.close()


def test_a_write_waits_for_another_server_that_writes(sqlite: SQLiteStore, file: Path) -> None:
    sqlite.save({"a": ("{}", FAR)})
    other = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    release = threading.Timer(0.2, lambda: other.execute("COMMIT"))
    release.start()
    began = time.monotonic()
    sqlite.save({"b": ("{}", FAR)})
    assert time.monotonic() - began > 0.1
    release.join()
    other.close()
    assert sqlite.load("b") == "{}"


def test_two_processes_share_a_file(sqlite: SQLiteStore, file: Path) -> None:
    code = """
        import sys, time
        from jupyter_wshandler.sessions.stores import SQLiteStore
        store = SQLiteStore(sys.argv[1])
        for n in range(200):
            store.save({f"{sys.argv[2]}{n}": ('{"n":%d}' % n, time.time() + 1000)})
        store.close()
    """
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(code), str(file), name],
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in "xy"
    ]
    for n in range(100):
        sqlite.save({f"z{n}": ("{}", FAR)})
    for process in processes:
        assert process.communicate(timeout=60) == (None, "")
        assert process.returncode == 0
    assert sqlite.load("z99") == "{}"
    for name in "xy":
        assert [sqlite.load(f"{name}{n}") for n in range(200)] == [
            f'{{"n":{n}}}' for n in range(200)
        ]


def test_a_folder_that_cannot_be_written_raises_and_a_later_call_tries_again(
    tmp_path: Path,
) -> None:
    (tmp_path / "blocked").write_text("a file where a folder should be")
    store = SQLiteStore(tmp_path / "blocked" / "s.db")
    with pytest.raises(OSError):
        store.load("a")
    (tmp_path / "blocked").unlink()
    store.save({"a": ("{}", FAR)})
    assert store.load("a") == "{}"
    store.close()


def test_urls_and_paths_name_stores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert isinstance(open_store("memory://"), MemoryStore)
    for url, path in [
        (f"sqlite:///{tmp_path}/s.db", tmp_path / "s.db"),
        ("sqlite:///relative/s.db", Path("relative/s.db")),
        (str(tmp_path / "s.db"), tmp_path / "s.db"),
        ("~/s.db", tmp_path / "s.db"),
        ("sqlite:///~/s.db", tmp_path / "s.db"),
    ]:
        store = open_store(url)
        assert isinstance(store, SQLiteStore)
        assert store.path == path
    assert list(tmp_path.iterdir()) == []  # nothing is opened before it is needed


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("mysql://:secret@host/0", "a URL that begins with mysql://"),
        ("", "''"),
        ("  ", "'  '"),
        ("sqlite://", "'sqlite://'; a path follows three slashes"),
        ("sqlite://s.db", "'sqlite://s.db'; a path follows three slashes"),
        ("sqlite:///", "'sqlite:///'; memory:// keeps sessions in memory"),
        ("sqlite:///:memory:", "memory:// keeps sessions in memory"),
        (":memory:", "memory:// keeps sessions in memory"),
        ("memory://x", "a URL that begins with memory://"),
        (".", "which is a folder"),
    ],
)
def test_other_urls_are_refused_without_showing_a_password(url: str, found: str) -> None:
    with pytest.raises(ValueError) as caught:
        open_store(url)
    text = str(caught.value)
    assert text.startswith("expected memory://, sqlite:///path, a path to a file, or redis://HOST")
    assert found in text
    assert "secret" not in text
