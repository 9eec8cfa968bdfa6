"""Where shares are kept: beside the sessions, in memory, in a SQLite file, or on Redis."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from typing import NamedTuple, Protocol, TypeVar

import msgspec

from ..sessions.sqlitefile import Log, SQLiteFile
from .share import Share, ended_by_now

T = TypeVar("T")

SQL = """
CREATE TABLE IF NOT EXISTS wshandler_shares (
    id TEXT PRIMARY KEY,
    server TEXT NOT NULL,
    hash TEXT NOT NULL,
    value TEXT NOT NULL,
    ended INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS wshandler_share_writes (
    server TEXT PRIMARY KEY,
    count INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS wshandler_share_guests (
    share TEXT NOT NULL,
    guest INTEGER NOT NULL,
    PRIMARY KEY (share, guest)
) WITHOUT ROWID;
CREATE TRIGGER IF NOT EXISTS wshandler_share_insert AFTER INSERT ON wshandler_shares BEGIN
    INSERT INTO wshandler_share_writes (server, count) VALUES (NEW.server, 1)
        ON CONFLICT (server) DO UPDATE SET count = count + 1;
END;
CREATE TRIGGER IF NOT EXISTS wshandler_share_update AFTER UPDATE ON wshandler_shares BEGIN
    INSERT INTO wshandler_share_writes (server, count) VALUES (NEW.server, 1)
        ON CONFLICT (server) DO UPDATE SET count = count + 1;
END;
CREATE TRIGGER IF NOT EXISTS wshandler_share_delete AFTER DELETE ON wshandler_shares BEGIN
    INSERT INTO wshandler_share_writes (server, count) VALUES (OLD.server, 1)
        ON CONFLICT (server) DO UPDATE SET count = count + 1;
END;
"""
"""Whoever writes, the second table counts it: by that the others know when to read again. The third
has who was counted and may come again."""


class StoreFailed(Exception):
    """A store that cannot be read or written, or does not answer; says what was to be done."""


class Kept(NamedTuple):
    """A share, and the hash of its token: what is stored of both."""

    share: Share
    hash: str


class Counted(NamedTuple):
    """What has become of a count.

    Attributes:
        done: Whether it is counted, now or before.
        kept: What is stored now.
        before: Whether the guest was counted before.
    """

    done: bool
    kept: Kept
    before: bool = False


class ShareStore(Protocol):
    """What keeps shares; one thread at a time calls it, never the loop's."""

    def load(self) -> list[Kept]:
        """Return all that are stored."""

    def changed(self) -> list[Kept] | None:
        """Return all that are stored where another one has written; None where nobody has."""

    def put(self, kept: Kept) -> None:
        """Store one, in place of what was stored of it; it is there when this returns.

        What has ended, stays so: another server of the same folder may have ended it. What was
        counted stays, too: only `count` changes that.
        """

    def guests(self) -> dict[str, set[int]]:
        """Return who was counted by name, by the ids of the shares."""

    def has_guest(self, share_id: str, guest: int) -> bool:
        """Return whether a guest was counted by name, by any server that has the store.

        Args:
            share_id: The share's id.
            guest: The guest; see `share.digest_of`.
        """

    def count(self, kept: Kept, change: int, guest: int | None = None) -> Counted:
        """Count uses in what is stored, at once for all servers that have the store in common.

        Nothing is counted of a share that has ended, nor what would be more than it may.

        Args:
            kept: The share as the caller knows it, which is stored where nothing is.
            change: How many uses more; less than 0 to give some back.
            guest: Whose use it is, who counts once; see `share.digest_of`. None for one who is
                nobody the next time.
        """

    def delete(self, share_ids: Iterable[str]) -> None:
        """Forget some."""

    def close(self) -> None:
        """Let go of files."""


class MemoryShares:
    """Shares that end with the process."""

    def __init__(self) -> None:
        self._kept: dict[str, Kept] = {}
        self._guests: dict[str, set[int]] = {}

    def load(self) -> list[Kept]:
        """Return all: none, when the process begins."""
        return list(self._kept.values())

    def changed(self) -> list[Kept] | None:
        """Return None: nobody else has it."""
        return None

    def put(self, kept: Kept) -> None:
        """Store one; what has ended, stays so, and what was counted."""
        stored = self._kept.get(kept.share.id)
        if stored is None or kept.share.ended or not stored.share.ended:
            self._kept[kept.share.id] = _with_uses_of(stored, kept)

    def guests(self) -> dict[str, set[int]]:
        """Return who was counted by name: nobody, when the process begins."""
        return {share_id: set(guests) for share_id, guests in self._guests.items()}

    def has_guest(self, share_id: str, guest: int) -> bool:
        """Return whether a guest was counted."""
        return guest in self._guests.get(share_id, ())

    def count(self, kept: Kept, change: int, guest: int | None = None) -> Counted:
        """Count uses."""
        guests = self._guests.setdefault(kept.share.id, set())
        known = guest in guests
        counted = _counted(self._kept.get(kept.share.id, kept), change, known)
        if counted.done:
            self._kept[kept.share.id] = counted.kept
            if guest is not None:
                guests.add(guest)
        return counted

    def delete(self, share_ids: Iterable[str]) -> None:
        """Forget some."""
        for share_id in share_ids:
            self._kept.pop(share_id, None)
            self._guests.pop(share_id, None)

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
        self._seen = 0

    def load(self) -> list[Kept]:
        """Return all of this server; one that cannot be read is left out, with a warning."""
        if not self._file.path.exists():
            return []  # there is nothing to read, and a file comes with the first share

        def read(connection: sqlite3.Connection) -> list[tuple[str, str, str]]:
            self._seen = self._writes(connection)
            return connection.execute(
                "SELECT id, hash, value FROM wshandler_shares WHERE server = ?", (self._server,)
            ).fetchall()

        found = (self._read(*row) for row in self._file.run(read))
        return [kept for kept in found if kept is not None]

    def changed(self) -> list[Kept] | None:
        """Return all where another process has written a share of this server."""
        if not self._file.path.exists():
            return None
        return None if self._file.run(self._writes) == self._seen else self.load()

    def put(self, kept: Kept) -> None:
        """Store one; what has ended, stays so, and what was counted."""

        def write(connection: sqlite3.Connection) -> None:
            self._put(connection, _with_uses_of(self._one(connection, kept.share.id), kept))

        self._write(write)

    def guests(self) -> dict[str, set[int]]:
        """Return who was counted by name, of this server's shares."""
        if not self._file.path.exists():
            return {}

        def read(connection: sqlite3.Connection) -> list[tuple[str, int]]:
            return connection.execute(
                "SELECT share, guest FROM wshandler_share_guests JOIN wshandler_shares "
                "ON share = id WHERE server = ? AND NOT ended",
                (self._server,),
            ).fetchall()

        found: dict[str, set[int]] = {}
        for share_id, guest in self._file.run(read):
            found.setdefault(share_id, set()).add(guest)
        return found

    def has_guest(self, share_id: str, guest: int) -> bool:
        """Return whether a guest was counted."""
        if not self._file.path.exists():
            return False
        return self._file.run(lambda connection: _was_counted(connection, share_id, guest))

    def count(self, kept: Kept, change: int, guest: int | None = None) -> Counted:
        """Count uses; nobody else writes from when they are read until they are written."""

        def count(connection: sqlite3.Connection) -> Counted:
            known = guest is not None and _was_counted(connection, kept.share.id, guest)
            stored = self._one(connection, kept.share.id) or kept
            counted = _counted(stored, change, known)
            if counted.done and not known:
                self._put(connection, counted.kept)
                if guest is not None:
                    row = (kept.share.id, guest)
                    connection.execute("INSERT INTO wshandler_share_guests VALUES (?, ?)", row)
            return counted

        return self._write(count)

    def delete(self, share_ids: Iterable[str]) -> None:
        """Forget some."""
        rows = [(share_id,) for share_id in share_ids]

        def remove(connection: sqlite3.Connection) -> None:
            connection.executemany("DELETE FROM wshandler_shares WHERE id = ?", rows)
            connection.executemany("DELETE FROM wshandler_share_guests WHERE share = ?", rows)

        self._write(remove)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write(self, action: Callable[[sqlite3.Connection], T]) -> T:
        """Run what writes as one transaction; what is written so is no news for `changed`."""

        def act(connection: sqlite3.Connection) -> tuple[int, T, int]:
            return self._writes(connection), action(connection), self._writes(connection)

        before, result, after = self._file.run(act, writes=True)
        if before == self._seen:
            self._seen = after
        return result

    def _writes(self, connection: sqlite3.Connection) -> int:
        """Return how often somebody has written a share of this server."""
        row = connection.execute(
            "SELECT count FROM wshandler_share_writes WHERE server = ?", (self._server,)
        ).fetchone()
        return 0 if row is None else int(row[0])

    def _one(self, connection: sqlite3.Connection, share_id: str) -> Kept | None:
        row = connection.execute(
            "SELECT id, hash, value FROM wshandler_shares WHERE id = ?", (share_id,)
        ).fetchone()
        return None if row is None else self._read(*row)

    def _read(self, name: str, digest: str, text: str) -> Kept | None:
        try:
            return Kept(msgspec.json.decode(text, type=Share), digest)
        except (msgspec.MsgspecError, ValueError) as error:
            self._log.warning("The stored share %s cannot be read: %s", name, error)
            return None

    def _put(self, connection: sqlite3.Connection, kept: Kept) -> None:
        text = msgspec.json.encode(kept.share).decode()
        connection.execute(
            "INSERT INTO wshandler_shares (id, server, hash, value, ended) "
            "VALUES (?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET value = excluded.value, "
            "ended = excluded.ended WHERE excluded.ended OR NOT wshandler_shares.ended",
            (kept.share.id, self._server, kept.hash, text, bool(kept.share.ended)),
        )


def _was_counted(connection: sqlite3.Connection, share_id: str, guest: int) -> bool:
    found = connection.execute(
        "SELECT 1 FROM wshandler_share_guests WHERE share = ? AND guest = ?", (share_id, guest)
    )
    return found.fetchone() is not None


def _with_uses_of(stored: Kept | None, kept: Kept) -> Kept:
    """Return what is to be stored, with the uses that are stored already."""
    if stored is None or stored.share.used == kept.share.used:
        return kept
    return kept._replace(share=msgspec.structs.replace(kept.share, used=stored.share.used))


def _counted(stored: Kept, change: int, before: bool) -> Counted:
    """Return what becomes of a share when uses of it are counted, if they may be."""
    share = stored.share
    change = 0 if before else change
    used = max(0, share.used + change)
    if ended_by_now(share) or (change > 0 and share.uses is not None and used > share.uses):
        return Counted(False, stored, before)
    return Counted(True, Kept(msgspec.structs.replace(share, used=used), stored.hash), before)
