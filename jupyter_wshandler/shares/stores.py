"""Where shares are kept: in memory, or in the SQLite file of the sessions."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import NamedTuple, Protocol

import msgspec

from ..sessions.sqlitefile import Log, SQLiteFile
from ..sessions.stores import file_of
from .share import Share

_SQL = """
CREATE TABLE IF NOT EXISTS wshandler_shares (
    id TEXT PRIMARY KEY,
    server TEXT NOT NULL,
    hash TEXT NOT NULL,
    value TEXT NOT NULL,
    ended INTEGER NOT NULL
) WITHOUT ROWID;
"""


class StoreFailed(Exception):
    """A store that cannot be read or written, or does not answer; says what was to be done."""


class Kept(NamedTuple):
    """A share, and the hash of its token: what is stored of both."""

    share: Share
    hash: str


class ShareStore(Protocol):
    """What keeps shares; one thread at a time calls it, never the loop's."""

    def load(self) -> list[Kept]:
        """Return all that are stored."""

    def changed(self) -> list[Kept] | None:
        """Return all that are stored where somebody has written since; None where nobody has."""

    def put(self, kept: Kept) -> None:
        """Store one, in place of what was stored of it; it is there when this returns.

        What has ended, stays so: another server of the same folder may have ended it.
        """

    def delete(self, share_ids: Iterable[str]) -> None:
        """Forget some."""

    def close(self) -> None:
        """Let go of files."""


class MemoryShares:
    """Shares that end with the process."""

    def load(self) -> list[Kept]:
        """Return nothing: there is no time before."""
        return []

    def changed(self) -> list[Kept] | None:
        """Return None: nobody else has it."""
        return None

    def put(self, kept: Kept) -> None:
        """Do nothing: the book has it."""

    def delete(self, share_ids: Iterable[str]) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class SQLiteShares:
    """Shares in a table of the sessions' file, which the servers of one user may have in common.

    Args:
        file: The file.
        server: Names the server; the shares of others are not seen.
        log: Takes warnings.
    """

    def __init__(self, file: SQLiteFile, server: str, log: Log) -> None:
        self._file = file
        self._server = server
        self._log = log
        self._version = 0

    def load(self) -> list[Kept]:
        """Return all of this server; one that cannot be read is left out, with a warning."""
        if not self._file.path.exists():
            return []  # there is nothing to read, and a file comes with the first share

        def read(connection: sqlite3.Connection) -> list[tuple[str, str, str]]:
            self._version = _version(connection)
            return connection.execute(
                "SELECT id, hash, value FROM wshandler_shares WHERE server = ?", (self._server,)
            ).fetchall()

        found = []
        for name, digest, text in self._file.run(read):
            try:
                found.append(Kept(msgspec.json.decode(text, type=Share), digest))
            except (msgspec.MsgspecError, ValueError) as error:
                self._log.warning("The stored share %s cannot be read: %s", name, error)
        return found

    def changed(self) -> list[Kept] | None:
        """Return all where another process, or the sessions of this one, have written since."""
        if not self._file.path.exists():
            return None
        return None if self._file.run(_version) == self._version else self.load()

    def put(self, kept: Kept) -> None:
        """Store one; what has ended, stays so."""
        text = msgspec.json.encode(kept.share).decode()
        row = (kept.share.id, self._server, kept.hash, text, bool(kept.share.ended))

        def write(connection: sqlite3.Connection) -> None:
            connection.execute(
                "INSERT INTO wshandler_shares (id, server, hash, value, ended) "
                "VALUES (?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET value = excluded.value, "
                "ended = excluded.ended WHERE excluded.ended OR NOT wshandler_shares.ended",
                row,
            )

        self._file.run(write, writes=True)

    def delete(self, share_ids: Iterable[str]) -> None:
        """Forget some."""
        rows = [(share_id,) for share_id in share_ids]

        def remove(connection: sqlite3.Connection) -> None:
            connection.executemany("DELETE FROM wshandler_shares WHERE id = ?", rows)

        self._file.run(remove, writes=True)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _version(connection: sqlite3.Connection) -> int:
    """Return a number that is another one when another connection has written."""
    return int(connection.execute("PRAGMA data_version").fetchone()[0])


def open_shares(url: str, server: str, log: Log) -> ShareStore:
    """Return the store of shares beside a store of sessions; its file is opened when it is used.

    Args:
        url: The sessions' store; see `sessions.stores.open_store`.
        server: Names the server, the same after it was started again.
        log: Takes warnings.

    Raises:
        ValueError: The URL names no store.
    """
    path = file_of(url)
    return (
        MemoryShares()
        if path is None
        else SQLiteShares(SQLiteFile(path, _SQL, log=log), server, log)
    )
