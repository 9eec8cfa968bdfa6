"""Where sessions are kept between connections: in memory, in one SQLite file, or on Redis."""

from __future__ import annotations

import logging
import os
import sqlite3
import time
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Protocol

from ..backplane.base import PREFIX
from ..backplane.choose import is_store, open_conversation
from .sqlitefile import Log, SQLiteFile

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

    def forget(self, session_id: str) -> None:
        """Take note that a session is in use here no more; in any thread, and at once."""

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

    def forget(self, session_id: str) -> None:
        """Do nothing: what is stored stays."""

    def close(self) -> None:
        """Do nothing: there is no file."""


class SQLiteStore:
    """Sessions in one SQLite file, which several servers of one machine may share.

    What the file is, `SQLiteFile` says.

    Args:
        path: The file; missing folders are made.
        log: Takes the warning that it is damaged.
        limit: Most sessions in it.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, log: Log | None = None, limit: int = MAX_IN_FILE
    ) -> None:
        self.path = Path(path)
        self._limit = limit
        self._purged = 0.0
        log = log or logging.getLogger(__name__)
        self._file = SQLiteFile(self.path, _SQL, log=log, opened=self._purge)

    def load(self, session_id: str) -> str | None:
        """Return what is stored for a session, or None."""

        def read(connection: sqlite3.Connection) -> str | None:
            row = connection.execute(
                "SELECT value FROM wshandler_sessions WHERE id = ? AND expires > ?",
                (session_id, time.time()),
            ).fetchone()
            return None if row is None else str(row[0])

        return self._file.run(read)

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

        self._file.run(write, writes=True)

    def delete(self, session_ids: Iterable[str]) -> None:
        """Forget sessions."""
        rows = [(session_id,) for session_id in session_ids]

        def remove(connection: sqlite3.Connection) -> None:
            connection.executemany("DELETE FROM wshandler_sessions WHERE id = ?", rows)

        self._file.run(remove, writes=True)

    def forget(self, session_id: str) -> None:
        """Do nothing: what is stored stays."""

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _purge(self, connection: sqlite3.Connection) -> None:
        self._purged = time.time()
        connection.execute("DELETE FROM wshandler_sessions WHERE expires <= ?", (self._purged,))
        connection.execute(
            "DELETE FROM wshandler_sessions WHERE id IN "
            "(SELECT id FROM wshandler_sessions ORDER BY expires DESC LIMIT -1 OFFSET ?)",
            (self._limit,),
        )


def open_store(url: str, *, log: Log | None = None, prefix: str = PREFIX) -> SessionStore:
    """Return the store that a URL names; it is opened when it is first used.

    Args:
        url: ``memory://``; ``sqlite:///`` and a path (so an absolute one begins with four
            slashes), or a plain path, where ``~`` is the home folder; or the URL of a Redis or
            Valkey server, as of a backplane.
        log: Takes the store's warnings.
        prefix: What the names of the keys on such a server begin with.

    Raises:
        ValueError: The URL names no such store, or its library is not installed.
    """
    if is_store(url):
        conversation = open_conversation(url)
        from .redisstore import RedisSessions

        return RedisSessions(conversation, prefix)
    file = file_of(url)
    return MemoryStore() if file is None else SQLiteStore(file, log=log)


def file_of(url: str) -> Path | None:
    """Return the file that a store's URL names; None for memory.

    Args:
        url: As for `open_store`, but none of a server.

    Raises:
        ValueError: The URL names no file, and not memory.
    """
    expected = (
        "expected memory://, sqlite:///path, a path to a file, or redis://HOST:PORT for the "
        "session store"
    )
    if url == "memory://":
        return None
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
    return file
