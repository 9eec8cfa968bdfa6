"""Sessions: what one user in one browser keeps between connections.

A session is named by a random id in a signed cookie that also binds it to the user it was made
for. Its values are JSON; they are stored only when they change, and nothing is stored for a
session that holds nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import json
import logging
import os
import secrets
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any, Protocol, TypeVar

MAX_AGE = 31 * 24 * 3600.0
"""Seconds that a session is kept after its last change."""

T = TypeVar("T")


class Session(dict[str, Any]):
    """Hold what a callback keeps for one user in one browser, as JSON values by name.

    ``session["id"]`` and ``session.id`` name the session; the id cannot be changed, and is not
    one of the stored values.

    Args:
        id: The session's name.
        values: What is stored of it.
    """

    def __init__(self, id: str, values: Mapping[str, Any] | None = None) -> None:
        super().__init__(values or {})
        super().__setitem__("id", id)
        self.id = id
        self._users = 0
        self._saved = _dump(dict(values or {}))
        self._touched = False
        self._complained: set[str] = set()

    def __setitem__(self, key: str, value: Any) -> None:
        if key == "id":
            raise KeyError("session['id'] cannot be changed; choose another key")
        super().__setitem__(key, value)

    def __delitem__(self, key: str) -> None:
        if key == "id":
            raise KeyError("session['id'] cannot be removed")
        super().__delitem__(key)

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Set several values, as dict.update does."""
        for key, value in dict(*args, **kwargs).items():
            self[key] = value

    def setdefault(self, key: str, default: Any = None) -> Any:
        """Return a value; set it first where it is missing."""
        if key not in self:
            self[key] = default
        return self[key]

    def pop(self, key: str, *default: Any) -> Any:
        """Remove a value and return it."""
        if key == "id":
            raise KeyError("session['id'] cannot be removed")
        return super().pop(key, *default)

    def popitem(self) -> tuple[str, Any]:
        """Remove the value set last and return it with its key."""
        for key in reversed(list(self)):
            if key != "id":
                return key, super().pop(key)
        raise KeyError("the session is empty")

    def clear(self) -> None:
        """Remove every value; the id stays."""
        super().clear()
        super().__setitem__("id", self.id)

    def __ior__(self, other: Any) -> Session:  # type: ignore[override,misc]
        self.update(other)
        return self

    def values_to_store(self) -> dict[str, Any]:
        """Return a copy without the id; a callback in a thread may be writing meanwhile."""
        while True:
            try:
                values = dict(self)
            except RuntimeError:  # it grew while it was copied
                continue
            values.pop("id", None)
            return values


def _dump(values: dict[str, Any]) -> str:
    return json.dumps(values, separators=(",", ":"), ensure_ascii=False, sort_keys=True)


class SessionStore(Protocol):
    """Keep sessions; every method is called on one worker thread, in order."""

    def load(self, id: str) -> dict[str, Any] | None:
        """Return a session's values, or None."""

    def save(self, sessions: Mapping[str, tuple[str, float]]) -> None:
        """Store values (as JSON text) and the time they expire at (seconds since 1970), by id."""

    def delete(self, ids: Sequence[str]) -> None:
        """Forget sessions."""

    def close(self) -> None:
        """Let go of files."""


class MemoryStore:
    """Keep sessions until the server stops."""

    def __init__(self) -> None:
        self._rows: dict[str, tuple[str, float]] = {}

    def load(self, id: str) -> dict[str, Any] | None:
        """Return a session's values, or None."""
        row = self._rows.get(id)
        if row is None or row[1] < time.time():
            return None
        values: dict[str, Any] = json.loads(row[0])
        return values

    def save(self, sessions: Mapping[str, tuple[str, float]]) -> None:
        """Store values and forget what has expired."""
        now = time.time()
        self._rows = {id: row for id, row in self._rows.items() if row[1] >= now}
        self._rows.update(sessions)

    def delete(self, ids: Sequence[str]) -> None:
        """Forget sessions."""
        for id in ids:
            self._rows.pop(id, None)

    def close(self) -> None:
        """Do nothing: there is nothing to let go of."""


class SQLiteStore:
    """Keep sessions in a SQLite file that several servers of one user may share.

    Args:
        path: The file; it is made readable by its owner only. A file that is no database is
            moved aside.
        log: Where that is said.
    """

    def __init__(self, path: str | Path, *, log: logging.Logger | Any = None) -> None:
        self._path = Path(path)
        self._log = log or logging.getLogger("jupyter_wshandler")
        self._database: sqlite3.Connection | None = None

    def _open(self) -> sqlite3.Connection:
        if self._database is None:
            try:
                self._database = self._connect()
            except sqlite3.DatabaseError as error:
                if isinstance(error, sqlite3.OperationalError):
                    raise
                aside = self._path.with_name(f"{self._path.name}.damaged-{int(time.time())}")
                self._log.warning(
                    "%s is not a session database; it is kept as %s and a new one begins",
                    self._path,
                    aside.name,
                )
                self._path.rename(aside)
                self._database = self._connect()
        return self._database

    def _connect(self) -> sqlite3.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600))
        self._path.chmod(0o600)
        database = sqlite3.connect(
            self._path, timeout=10.0, isolation_level=None, check_same_thread=False
        )
        try:
            database.execute("PRAGMA journal_mode=WAL")
            database.execute("PRAGMA synchronous=NORMAL")
            database.execute(
                "CREATE TABLE IF NOT EXISTS sessions"
                " (id TEXT PRIMARY KEY, data TEXT NOT NULL, expires REAL NOT NULL)"
            )
            database.execute("DELETE FROM sessions WHERE expires < ?", (time.time(),))
        except BaseException:
            database.close()
            raise
        return database

    def load(self, id: str) -> dict[str, Any] | None:
        """Return a session's values, or None."""
        row = (
            self._open()
            .execute("SELECT data FROM sessions WHERE id = ? AND expires >= ?", (id, time.time()))
            .fetchone()
        )
        if row is None:
            return None
        values: dict[str, Any] = json.loads(row[0])
        return values

    def save(self, sessions: Mapping[str, tuple[str, float]]) -> None:
        """Store values in one transaction, and forget what has expired."""
        database = self._open()
        database.execute("BEGIN IMMEDIATE")
        with database:
            database.executemany(
                "INSERT INTO sessions (id, data, expires) VALUES (?, ?, ?)"
                " ON CONFLICT (id) DO UPDATE SET data = excluded.data, expires = excluded.expires",
                [(id, data, expires) for id, (data, expires) in sessions.items()],
            )
            database.execute("DELETE FROM sessions WHERE expires < ?", (time.time(),))

    def delete(self, ids: Sequence[str]) -> None:
        """Forget sessions."""
        self._open().executemany("DELETE FROM sessions WHERE id = ?", [(id,) for id in ids])

    def close(self) -> None:
        """Close the file."""
        if self._database is not None:
            self._database.close()
            self._database = None


def open_store(url: str) -> SessionStore:
    """Return the store that a URL names.

    Args:
        url: ``memory://``, ``sqlite:///path`` or a plain path of a SQLite file.

    Raises:
        ValueError: It names nothing of these.
    """
    if url in ("memory://", "memory:"):
        return MemoryStore()
    scheme, separator, path = url.partition("://")
    if not separator and url:
        return SQLiteStore(Path(url).expanduser())
    if scheme == "sqlite" and path.startswith("/") and len(path) > 1:
        # As in other tools: three slashes begin a relative path, four an absolute one; a path
        # that is absolute after three is what people write, so both are taken.
        return SQLiteStore(Path(path if not path.startswith("//") else path[1:]).expanduser())
    raise ValueError(
        f"session_store is {url!r}; expected memory://, sqlite:///path/of/a/file or a path"
    )


class _Worker:
    """Run the store's work in order, on one daemon thread that starts with the first task."""

    def __init__(self) -> None:
        self._tasks: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread: Thread | None = None

    def submit(self, function: Callable[..., T], *args: Any) -> Future[T]:
        future: Future[T] = Future()

        def run() -> None:
            try:
                future.set_result(function(*args))
            except BaseException as error:
                future.set_exception(error)

        if self._thread is None:
            self._thread = Thread(target=self._work, name="wshandler-sessions", daemon=True)
            self._thread.start()
        self._tasks.put(run)
        return future

    def stop(self) -> None:
        self._tasks.put(None)
        self._thread = None

    def _work(self) -> None:
        while True:
            task = self._tasks.get()
            if task is None:
                return
            task()


class SessionManager:
    """Hold the live sessions of all connections and save what changes.

    Args:
        store: Where sessions are kept.
        log: Where failures are reported; never with a session's values.
        max_age: Seconds that a session is kept after its last change.
    """

    def __init__(
        self,
        store: SessionStore,
        *,
        log: logging.Logger | logging.LoggerAdapter[Any],
        max_age: float = MAX_AGE,
    ) -> None:
        self._store = store
        self._log = log
        self._max_age = max_age
        self._live: dict[str, Session] = {}
        self._loading: dict[str, asyncio.Future[Session]] = {}
        self._worker = _Worker()
        self._saving = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    # ---- the cookie ------------------------------------------------------------------------

    @staticmethod
    def new_id() -> str:
        """Return a new random id."""
        return secrets.token_urlsafe(24)

    @staticmethod
    def cookie_value(id: str, user_key: str) -> str:
        """Return what the cookie holds: the id, and a hash that binds it to a user.

        Args:
            id: The session's id.
            user_key: A name of the user that stays the same.
        """
        return f"{id}.{hashlib.sha256(f'{id}:{user_key}'.encode()).hexdigest()[:32]}"

    @staticmethod
    def id_from_cookie(value: str, user_keys: Sequence[str]) -> str | None:
        """Return the id in a cookie, or None if it was made for somebody else.

        Args:
            value: What the cookie holds, its signature checked.
            user_keys: Names of the user who sends it; one must be the cookie's.
        """
        id = value.rpartition(".")[0]
        for key in user_keys:
            expected = SessionManager.cookie_value(id, key)
            if id and hmac.compare_digest(expected.encode(), value.encode()):
                return id
        return None

    # ---- live sessions ---------------------------------------------------------------------

    async def attach(self, id: str, user_key: str) -> Session:
        """Return the live session of an id; all its connections share one object.

        Args:
            id: From the cookie, or new.
            user_key: Whose it is; only for the log.

        Returns:
            The session; `detach` it when the connection ends.
        """
        session = self._live.get(id)
        if session is None:
            loading = self._loading.get(id)
            if loading is None:
                loading = self._loading[id] = asyncio.ensure_future(self._load(id))
            try:
                session = await asyncio.shield(loading)
            finally:
                if loading.done():
                    self._loading.pop(id, None)
        session._users += 1
        return session

    async def _load(self, id: str) -> Session:
        values: dict[str, Any] | None = None
        try:
            values = await asyncio.wrap_future(self._worker.submit(self._store.load, id))
        except Exception as error:
            self._log.error("Sessions cannot be loaded (%s); this one begins empty", error)
        session = self._live[id] = Session(id, values)
        return session

    def detach(self, session: Session) -> None:
        """Hear that a connection of the session has ended: save it, forget it with its last."""
        session._users -= 1
        if session._touched and not self._is_saved(session):
            task = asyncio.get_running_loop().create_task(
                self._save([session]), name="wshandler session"
            )
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        elif session._users <= 0:
            self._live.pop(session.id, None)

    def touch(self, session: Session) -> None:
        """Remember that a callback looked at the session, so that `flush` does."""
        session._touched = True

    async def flush(self) -> None:
        """Save every session that has changed since it was saved."""
        changed = [s for s in self._live.values() if s._touched and not self._is_saved(s)]
        if changed:
            await self._save(changed)

    async def stop(self) -> None:
        """Save what has changed and let go of the store."""
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self.flush()
        with contextlib.suppress(Exception):
            await asyncio.wrap_future(self._worker.submit(self._store.close))
        self._worker.stop()

    def _is_saved(self, session: Session) -> bool:
        return self._text(session) == session._saved

    def _text(self, session: Session) -> str:
        values = session.values_to_store()
        try:
            return _dump(values)
        except (TypeError, ValueError, RuntimeError):
            return _dump({key: v for key, v in values.items() if self._is_json(session, key, v)})

    def _is_json(self, session: Session, key: str, value: Any) -> bool:
        try:
            _dump({key: value})
        except (TypeError, ValueError, RuntimeError) as error:
            if key not in session._complained:
                session._complained.add(key)
                self._log.warning(
                    "session[%r] is not saved: a session holds JSON values, and it is %s (%s)",
                    key,
                    type(value).__name__,
                    type(error).__name__,
                )
            return False
        return True

    async def _save(self, sessions: Sequence[Session]) -> None:
        async with self._saving:
            texts = {session.id: (session, self._text(session)) for session in sessions}
            expires = time.time() + self._max_age
            full = {id: (text, expires) for id, (_, text) in texts.items() if text != "{}"}
            empty = [id for id, (s, text) in texts.items() if text == "{}" and s._saved != "{}"]
            try:
                if full:
                    await asyncio.wrap_future(self._worker.submit(self._store.save, full))
                if empty:
                    await asyncio.wrap_future(self._worker.submit(self._store.delete, empty))
            except Exception as error:
                self._log.error("Sessions cannot be saved (%s); trying again later", error)
            else:
                for session, text in texts.values():
                    session._saved = text
            for session, _ in texts.values():
                if session._users <= 0 and self._live.get(session.id) is session:
                    del self._live[session.id]
