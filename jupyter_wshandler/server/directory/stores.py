"""Where the directory keeps what is shared: in memory, or beside the sessions in SQLite."""

from __future__ import annotations

import contextlib
import os
from typing import Protocol

import msgspec

from ...sessions.sqlitefile import Log, SQLiteFile
from ...sessions.stores import file_of
from .messages import Listing

_SQL = """
CREATE TABLE IF NOT EXISTS wshandler_directory (
    id TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;
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

    What has been stored is there when `put` returns: it survives `kill -9`.

    Args:
        path: The file; it is made for its owner only.
        log: Takes warnings.
    """

    def __init__(self, path: str | os.PathLike[str], *, log: Log | None = None) -> None:
        self._file = SQLiteFile(path, _SQL, log=log)

    def load(self) -> list[Listing]:
        """Return all of them; a row that nobody can read is left out, and stays where it is."""
        rows = self._file.run(
            lambda file: file.execute("SELECT value FROM wshandler_directory").fetchall()
        )
        found = []
        for (value,) in rows:
            with contextlib.suppress(msgspec.MsgspecError):
                found.append(msgspec.json.decode(value, type=Listing))
        return found

    def put(self, listing: Listing) -> None:
        """Store one."""
        row = (listing.id, msgspec.json.encode(listing).decode())
        self._file.run(
            lambda file: file.execute(
                "INSERT INTO wshandler_directory (id, value) VALUES (?, ?) "
                "ON CONFLICT (id) DO UPDATE SET value = excluded.value",
                row,
            ),
            writes=True,
        )

    def delete(self, shares: list[str]) -> None:
        """Forget some."""
        rows = [(share,) for share in shares]
        self._file.run(
            lambda file: file.executemany("DELETE FROM wshandler_directory WHERE id = ?", rows),
            writes=True,
        )

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def open_listings(session_store: str, *, log: Log | None = None) -> ListingStore:
    """Return the store that stands beside that of the sessions.

    Args:
        session_store: The URL of the sessions' store; see `sessions.stores.open_store`.
        log: Takes warnings.

    Raises:
        ValueError: It names no store.
    """
    path = file_of(session_store)
    return MemoryListings() if path is None else SQLiteListings(path, log=log)
