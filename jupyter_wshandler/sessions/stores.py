"""Where sessions are kept between connections: in memory, or in one SQLite file."""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

T = TypeVar("T")
Log = logging.Logger | logging.LoggerAdapter[Any]

BUSY_TIMEOUT = 5.0
"""Seconds to wait for another process that writes to the same file."""

PURGE_EVERY = 3600.0
"""Seconds between two removals of what has expired."""

MAX_IN_MEMORY = 10_000
MAX_IN_FILE = 100_000
"""Most sessions that a store keeps; past that the ones that expire first are dropped."""

_SQL = """
CREATE TABLE IF NOT EXISTS wshandler_sessions (
    id TEXT PRIMARY KEY,
    value TEXT NOT NULL,
    expires REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS wshandler_sessions_expires ON wshandler_sessions (expires);
"""


class SessionStore(Protocol):
    """What keeps sessions as JSON text; one thread at a time calls it, never the loop's."""

    def load(self, session_id: str) -> str | None:
        """Return what is stored for a session and has not expired, or None."""

    def save(self, items: Mapping[str, tuple[str, float]]) -> None:
        """Store sessions: JSON text and the time at which it expires (seconds since 1970)."""

    def delete(self, session_ids: Iterable[str]) -> None:
        """Forget sessions; one that is not stored is no error."""

    def close(self) -> None:
        """Let go of files; the next call opens them again."""


class MemoryStore:
    """Sessions that are kept until the process ends."""

    def __init__(self, *, limit: int = MAX_IN_MEMORY) -> None:
        self._limit = limit
        self._items: OrderedDict[str, tuple[str, float]] = OrderedDict()
        self._purged = time.time()

    def load(self, session_id: str) -> str | None:
        """Return what is stored for a session, or None."""
        item = self._items.get(session_id)
        return item[0] if item is not None and item[1] > time.time() else None

    def save(self, items: Mapping[str, tuple[str, float]]) -> None:
        """Store sessions; the oldest are dropped past the limit."""
        for session_id, item in items.items():
            self._items[session_id] = item
            self._items.move_to_end(session_id)
        now = time.time()
        if now - self._purged >= PURGE_EVERY:
            self._purged = now
            self.delete([name for name, item in self._items.items() if item[1] <= now])
        while len(self._items) > self._limit:
            self._items.popitem(last=False)

    def delete(self, session_ids: Iterable[str]) -> None:
        """Forget sessions."""
        for session_id in session_ids:
            self._items.pop(session_id, None)

    def close(self) -> None:
        """Do nothing: there is no file."""


class SQLiteStore:
    """Sessions in one SQLite file, which several servers of one machine may share.

    The file is readable by its owner only. One that is damaged is moved aside, with a warning,
    and a new one is begun. SQLite's locks do not hold on network file systems.

    Args:
        path: The file; missing folders are made.
        log: Takes the warning.
        limit: Most sessions in it.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, log: Log | None = None, limit: int = MAX_IN_FILE
    ) -> None:
        self.path = Path(path)
        self._log = log or logging.getLogger(__name__)
        self._limit = limit
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None
        self._purged = 0.0
        self._lock = threading.Lock()

    def load(self, session_id: str) -> str | None:
        """Return what is stored for a session, or None."""

        def read(connection: sqlite3.Connection) -> str | None:
            row = connection.execute(
                "SELECT value FROM wshandler_sessions WHERE id = ? AND expires > ?",
                (session_id, time.time()),
            ).fetchone()
            return None if row is None else str(row[0])

        return self._do(read)

    def save(self, items: Mapping[str, tuple[str, float]]) -> None:
        """Store sessions in one transaction."""
        rows = [(session_id, value, expires) for session_id, (value, expires) in items.items()]

        def write(connection: sqlite3.Connection) -> None:
            connection.executemany(
                "INSERT INTO wshandler_sessions (id, value, expires) VALUES (?, ?, ?) "
                "ON CONFLICT (id) DO UPDATE SET value = excluded.value, expires = excluded.expires",
                rows,
            )
            if time.time() - self._purged >= PURGE_EVERY:
                self._purge(connection)

        self._do(write, writes=True)

    def delete(self, session_ids: Iterable[str]) -> None:
        """Forget sessions."""
        rows = [(session_id,) for session_id in session_ids]

        def remove(connection: sqlite3.Connection) -> None:
            connection.executemany("DELETE FROM wshandler_sessions WHERE id = ?", rows)

        self._do(remove, writes=True)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._close()

    def _do(self, action: Callable[[sqlite3.Connection], T], *, writes: bool = False) -> T:
        with self._lock:
            try:
                return self._try(action, writes)
            except sqlite3.DatabaseError as error:
                if not _is_damage(error):
                    raise
                self._move_aside(error)
                return self._try(action, writes)

    def _try(self, action: Callable[[sqlite3.Connection], T], writes: bool) -> T:
        if self._connection is not None and self._file != _identity(self.path):
            self._close()  # somebody moved the file, or another server found it damaged
        connection = self._connection or self._open()
        if not writes:
            return action(connection)
        connection.execute("BEGIN IMMEDIATE")
        try:
            result = action(connection)
            connection.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            raise
        return result

    def _open(self) -> sqlite3.Connection:
        self._create()
        self._file = _identity(self.path)
        # One thread at a time uses it, but not always the same one.
        connection = sqlite3.connect(
            self.path, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False
        )
        try:
            with contextlib.suppress(sqlite3.OperationalError):  # not on every file system
                connection.execute("PRAGMA journal_mode = WAL").fetchone()
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.executescript(_SQL)
            connection.execute("BEGIN IMMEDIATE")
            self._purge(connection)
            connection.execute("COMMIT")
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        return connection

    def _create(self) -> None:
        """Make the file for its owner only; SQLite gives its companions the same mode."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        except FileExistsError:
            # By its path: closing a descriptor of the file would drop SQLite's locks on it.
            if os.name == "posix" and self.path.stat().st_mode & 0o077:
                os.chmod(self.path, 0o600)

    def _purge(self, connection: sqlite3.Connection) -> None:
        self._purged = time.time()
        connection.execute("DELETE FROM wshandler_sessions WHERE expires <= ?", (self._purged,))
        connection.execute(
            "DELETE FROM wshandler_sessions WHERE id IN "
            "(SELECT id FROM wshandler_sessions ORDER BY expires DESC LIMIT -1 OFFSET ?)",
            (self._limit,),
        )

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                connection.close()

    def _move_aside(self, error: sqlite3.DatabaseError) -> None:
        self._close()
        if self._file != _identity(self.path):
            return  # another server has moved it already
        aside = f"{self.path}.damaged-{time.strftime('%Y%m%d-%H%M%S')}"
        while os.path.exists(aside):
            aside += "x"
        for suffix in ("", "-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                os.replace(f"{self.path}{suffix}", f"{aside}{suffix}")
        self._log.warning(
            "The session file %s is damaged (%s); it was moved to %s and a new one is begun",
            self.path,
            error,
            aside,
        )


def open_store(url: str, *, log: Log | None = None) -> SessionStore:
    """Return the store that a URL names; its file is opened when it is first used.

    Args:
        url: ``memory://``, ``sqlite:///`` and a path (so an absolute one begins with four
            slashes), or a plain path. ``~`` is the home folder.
        log: Takes the store's warnings.

    Raises:
        ValueError: The URL names no such store.
    """
    expected = "expected memory://, sqlite:///path or a path to a file for the session store"
    if url == "memory://":
        return MemoryStore()
    scheme, separator, _ = url.partition("://")
    path = url
    if separator:
        if scheme != "sqlite":
            # The rest of the URL may hold a password.
            raise ValueError(f"{expected}, found a URL that begins with {scheme[:40]}://")
        path = url.removeprefix("sqlite:///")
        if path == url:
            raise ValueError(f"{expected}, found {url!r}; a path follows three slashes")
    if not path.strip() or path == ":memory:":
        raise ValueError(f"{expected}, found {url!r}; memory:// keeps sessions in memory")
    file = Path(path).expanduser()
    if file.is_dir():
        raise ValueError(f"{expected}, found {url!r}, which is a folder; add the name of a file")
    return SQLiteStore(file, log=log)


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino
