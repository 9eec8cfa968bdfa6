"""Where the directory keeps what is shared: in memory, or beside the sessions in SQLite."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path
from typing import Protocol

import msgspec

from ...sessions.stores import BUSY_TIMEOUT, SQLiteStore, open_store
from .messages import Listing

_SQL = """
CREATE TABLE IF NOT EXISTS wshandler_directory (
    id TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID
"""


class ListingStore(Protocol):
    """What keeps the bots that are shared; one thread at a time calls it, never the loop's."""

    def load(self) -> list[Listing]:
        """Return all of them."""

    def put(self, listing: Listing) -> None:
        """Store one, in the place of what has its id."""

    def delete(self, shares: list[str]) -> None:
        """Forget some; one that is not stored is no error."""

    def close(self) -> None:
        """Let go of files."""


class MemoryListings:
    """Bots that are kept until the process ends."""

    def __init__(self) -> None:
        self._listings: dict[str, Listing] = {}

    def load(self) -> list[Listing]:
        """Return all of them."""
        return list(self._listings.values())

    def put(self, listing: Listing) -> None:
        """Store one."""
        self._listings[listing.id] = listing

    def delete(self, shares: list[str]) -> None:
        """Forget some."""
        for share in shares:
            self._listings.pop(share, None)

    def close(self) -> None:
        """Do nothing: there is no file."""


class SQLiteListings:
    """Bots in a table of their own in the file of the sessions.

    What has been stored is on the disk when `put` returns: it survives `kill -9`.

    Args:
        path: The file; it is made for its owner only.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._connection: sqlite3.Connection | None = None

    def load(self) -> list[Listing]:
        """Return all of them; a row that nobody can read is left out, and stays where it is."""
        found = []
        for (value,) in self._open().execute("SELECT value FROM wshandler_directory"):
            with contextlib.suppress(msgspec.MsgspecError):
                found.append(msgspec.json.decode(value, type=Listing))
        return found

    def put(self, listing: Listing) -> None:
        """Store one."""
        value = msgspec.json.encode(listing).decode()
        self._open().execute(
            "INSERT INTO wshandler_directory (id, value) VALUES (?, ?) "
            "ON CONFLICT (id) DO UPDATE SET value = excluded.value",
            (listing.id, value),
        )

    def delete(self, shares: list[str]) -> None:
        """Forget some."""
        rows = [(share,) for share in shares]
        self._open().executemany("DELETE FROM wshandler_directory WHERE id = ?", rows)

    def close(self) -> None:
        """Close the file."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _open(self) -> sqlite3.Connection:
        if self._connection is not None:
            return self._connection
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        # One thread at a time uses it, but not always the same one.
        connection = sqlite3.connect(
            self.path, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False
        )
        try:
            with contextlib.suppress(sqlite3.OperationalError):  # not on every file system
                connection.execute("PRAGMA journal_mode = WAL").fetchone()
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute(_SQL)
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        return connection


def open_listings(session_store: str) -> ListingStore:
    """Return the store that stands beside that of the sessions.

    Args:
        session_store: The URL of the sessions' store; see `sessions.stores.open_store`.

    Raises:
        ValueError: It names no store.
    """
    beside = open_store(session_store)
    return SQLiteListings(beside.path) if isinstance(beside, SQLiteStore) else MemoryListings()
