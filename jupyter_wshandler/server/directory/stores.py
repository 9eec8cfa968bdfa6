"""Where the directory keeps what is shared: in memory, or beside the sessions in SQLite."""

from __future__ import annotations

import contextlib
import os
import sqlite3
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
CREATE TABLE IF NOT EXISTS wshandler_directory_comers (
    share TEXT NOT NULL,
    user TEXT NOT NULL,
    PRIMARY KEY (share, user)
) WITHOUT ROWID;
"""


class ListingStore(Protocol):
    """What keeps the bots that are shared; one thread at a time calls it, never the loop's."""

    def load(self) -> list[Listing]:
        """Return all of them."""

    def put(self, listing: Listing) -> None:
        """Store one, in the place of what has its id."""

    def delete(self, shares: list[str]) -> None:
        """Forget some, and who has come by them; one that is not stored is no error."""

    def comers(self) -> list[tuple[str, str]]:
        """Return who has come by which share: the share's id, and the user's name."""

    def add_comer(self, share: str, user: str) -> None:
        """Store that somebody has come by a share."""

    def delete_comer(self, user: str) -> None:
        """Forget all that somebody has come by."""

    def close(self) -> None:
        """Let go of files."""


class MemoryListings:
    """Bots that are kept until the process ends."""

    def __init__(self) -> None:
        self._listings: dict[str, Listing] = {}
        self._comers: set[tuple[str, str]] = set()

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
        self._comers = {comer for comer in self._comers if comer[0] not in shares}

    def comers(self) -> list[tuple[str, str]]:
        """Return who has come by which share."""
        return list(self._comers)

    def add_comer(self, share: str, user: str) -> None:
        """Store that somebody has come by a share."""
        self._comers.add((share, user))

    def delete_comer(self, user: str) -> None:
        """Forget all that somebody has come by."""
        self._comers = {comer for comer in self._comers if comer[1] != user}

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

        def both(file: sqlite3.Connection) -> None:
            file.executemany("DELETE FROM wshandler_directory WHERE id = ?", rows)
            file.executemany("DELETE FROM wshandler_directory_comers WHERE share = ?", rows)

        self._file.run(both, writes=True)

    def comers(self) -> list[tuple[str, str]]:
        """Return who has come by which share."""
        return self._file.run(
            lambda file: file.execute(
                "SELECT share, user FROM wshandler_directory_comers"
            ).fetchall()
        )

    def add_comer(self, share: str, user: str) -> None:
        """Store that somebody has come by a share."""
        self._file.run(
            lambda file: file.execute(
                "INSERT OR IGNORE INTO wshandler_directory_comers VALUES (?, ?)", (share, user)
            ),
            writes=True,
        )

    def delete_comer(self, user: str) -> None:
        """Forget all that somebody has come by."""
        self._file.run(
            lambda file: file.execute(
                "DELETE FROM wshandler_directory_comers WHERE user = ?", (user,)
            ),
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
