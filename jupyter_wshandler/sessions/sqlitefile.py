"""One SQLite file that several processes may share, and that heals itself when it is damaged."""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
Log = logging.Logger | logging.LoggerAdapter[Any]

BUSY_TIMEOUT = 5.0
"""Seconds to wait for another process that writes to the same file."""


class SQLiteFile:
    """A database in one file; SQLite's locks do not hold on network file systems.

    The file is readable by its owner only. One that is damaged is moved aside, with a warning,
    and a new one is begun.

    Args:
        path: The file; missing folders are made.
        sql: Creates the tables where there are none.
        log: Takes the warning.
        opened: Called in a transaction each time that the file was opened.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        sql: str,
        *,
        log: Log | None = None,
        opened: Callable[[sqlite3.Connection], None] | None = None,
    ) -> None:
        self.path = Path(path)
        self._sql = sql
        self._log = log or logging.getLogger(__name__)
        self._opened = opened
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None
        self._lock = threading.Lock()

    def run(self, action: Callable[[sqlite3.Connection], T], *, writes: bool = False) -> T:
        """Call a function with the open database, and return what it returns.

        Args:
            action: The function; it may be called twice, where the file was damaged.
            writes: Whether it writes: then it is one transaction.
        """
        with self._lock:
            try:
                return self._try(action, writes)
            except sqlite3.DatabaseError as error:
                if not _is_damage(error):
                    raise
                self._move_aside(error)
                return self._try(action, writes)

    def close(self) -> None:
        """Close the file; the next call opens it again."""
        with self._lock:
            self._close()

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
            connection.executescript(self._sql)
            if self._opened is not None:
                connection.execute("BEGIN IMMEDIATE")
                self._opened(connection)
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


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino
