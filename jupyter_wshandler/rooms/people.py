"""Who is in one room: people, however many connections each of them has."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from ..backplane.base import Backplane, Change, Entries, Entry, Position
from ..connection.connection import Connection


class Member(NamedTuple):
    """A person in a room."""

    id: str
    """Names the person: the user's name, or one that is made up for a visitor without a login."""
    card: Any
    """What is shown of them: what `card` has returned for the first of their connections."""
    connections: int
    """Their open connections to the room; 0 while they are expected back."""
    since: float
    """When they came, in seconds since 1970."""


class Members(list[Member]):
    """People in a room, in the order in which they have come.

    Args:
        members: The members, or a page of them.
        position: The last change of presence that is counted in.
        total: How many there are, on all pages.
    """

    def __init__(self, members: list[Member], position: Position, total: int | None = None) -> None:
        super().__init__(members)
        self.epoch, self.offset = position
        self.total = len(members) if total is None else total


class Difference(NamedTuple):
    """A person who has come, gone, or changed; numbered as the list of members is."""

    kind: Literal["join", "leave", "update"]
    member: Member
    offset: int
    epoch: str


class Own(NamedTuple):
    """A connection of this node that is in the list."""

    connection: Connection
    entry: Entry
    leaves: asyncio.TimerHandle | None
    """When its person leaves, where the connection is lost."""
    is_going: bool = False
    """Whether it is being taken out."""


class People:
    """The list of those who are in a room, put together from the changes of its channel.

    Args:
        backplane: Has the entries.
        channel: The room's name there.
        linger: Seconds that the last connection of a person is expected back.
        done: Takes what the backplane answers to a change, which may be an awaitable, and calls a
            function with the answer.
        differs: Called with each difference, and a connection of this node that it comes by; None
            where it comes from another node.
        left: Called when a connection of this node has left the list.
    """

    __slots__ = (
        "_backplane",
        "_by_person",
        "_channel",
        "_differs",
        "_done",
        "_early",
        "_left",
        "_linger",
        "_position",
        "is_listing",
        "is_unread",
        "own",
    )

    def __init__(
        self,
        backplane: Backplane,
        channel: str,
        linger: float,
        done: Callable[..., object],
        differs: Callable[[Difference, Connection | None], object],
        left: Callable[[], object],
    ) -> None:
        self._backplane = backplane
        self._channel = channel
        self._linger = linger
        self._done = done
        self._differs = differs
        self._left = left
        self._position = Position()
        self._early: list[Change] | None = []  # came before the list was read
        self._by_person: dict[str, dict[str, Entry]] = {}
        self.is_listing = False
        """Whether the list is just being taken anew."""
        self.is_unread = False
        """Whether the list could not be read, and is to be read again."""
        self.own: dict[str, Own] = {}
        """The connections of this node that are in the list, by id."""

    def begin(self, entries: Entries, is_late: bool = False) -> None:
        """Take the list as it is; what has changed since is known, and of no other epoch.

        Args:
            entries: The list.
            is_late: Whether connections of this node may be in it already, and were told nothing.
        """
        early, self._early = self._early or [], None
        if is_late:
            self.relist(entries)
        else:
            self._position = entries.position
            for key, entry in entries.by_key.items():
                self._by_person.setdefault(entry.person, {})[key] = entry
        for change in early:
            same = change.position.epoch == entries.position.epoch
            if same and change.position.offset > entries.position.offset:
                self.changed(change)

    def could_not_begin(self, error: BaseException) -> None:
        """Take note that the list could not be read: the store refuses, say."""
        self.is_unread = True
        self._early = []  # the next list has it

    def relist(self, entries: Entries) -> bool:
        """Take the list anew, as changes of it were missed; return whether there was one before.

        What this node itself has in it stays: it is on its way to the list.
        """
        if self._early is not None:
            return False  # the first one is still to come, and is whole
        self.is_listing = True  # who is told of changes gets the list behind them
        known = {key: one for group in self._by_person.values() for key, one in group.items()}
        for key, entry in known.items():
            if key not in entries.by_key and key not in self.own:
                self.changed(Change(entries.position, "remove", key, entry))
        for key, entry in entries.by_key.items():
            if known.get(key) != entry:
                self.changed(Change(entries.position, "add", key, entry))
        self._position = entries.position
        self.is_listing = False
        return True

    # ---- connections of this node ----------------------------------------------------------------

    def enter(self, connection: Connection, entry: Entry) -> None:
        """Put a connection into the list; its person is not away any more.

        Args:
            connection: A member of the room.
            entry: What is shown of its person.
        """
        self.own[connection.id] = Own(connection, entry, None)
        self._done(self._backplane.add(self._channel, connection.id, entry))
        for key in tuple(self._by_person.get(entry.person, ())):
            own = self.own.get(key)
            if own is not None and own.leaves is not None:
                self.remove(key)

    def leave(self, key: str, loop: asyncio.AbstractEventLoop | None) -> None:
        """Take a connection out of the list, or expect its person back for a while.

        Args:
            key: The connection's id.
            loop: Measures the time, where the connection was lost; None where it has left.
        """
        own = self.own.get(key)
        if own is None:
            return
        others = self._by_person.get(own.entry.person, {})
        is_last = not any(not entry.away for other, entry in others.items() if other != key)
        if loop is None or not self._linger or not is_last:
            self.remove(key)
            return
        entry = Entry(own.entry.person, own.entry.card, own.entry.since, away=True)
        leaves = loop.call_later(self._linger, self.remove, key)
        self.own[key] = Own(own.connection, entry, leaves)
        self._done(self._backplane.add(self._channel, key, entry))

    def remove(self, key: str) -> None:
        """Take a connection out of the list now."""
        own = self.own.get(key)
        if own is None:
            return
        if own.leaves is not None:
            own.leaves.cancel()
        going = self.own[key] = Own(own.connection, own.entry, None, is_going=True)
        self._done(self._backplane.remove(self._channel, key), lambda _: self._forget(key, going))

    def _forget(self, key: str, own: Own) -> None:
        """Forget a connection that is in the list no more; one that has come again stays."""
        if self.own.get(key) is own:
            del self.own[key]
            self._left()

    def end(self) -> None:
        """Expect nobody back any more."""
        for key, own in tuple(self.own.items()):
            if own.leaves is not None:
                self.remove(key)

    # ---- changes of the channel ------------------------------------------------------------------

    def changed(self, change: Change) -> None:
        """Take a change of the list, and say what it means for its person."""
        if self._early is not None:
            self._early.append(change)
            return
        self._position = change.position
        key, entry = change.key, change.entry
        entries = self._by_person.setdefault(entry.person, {})
        before = _member(entry.person, entries) if entries else None
        if change.kind == "add":
            entries[key] = entry
        else:
            entries.pop(key, None)
        own = self.own.get(key)
        self._differ(change, before, None if own is None else own.connection)
        if own is None or change.kind == "add" or own.entry != entry:
            return
        if own.is_going:
            self._forget(key, own)
        else:  # its lease was over, as this node has stood still; it is there all the same
            self._done(self._backplane.add(self._channel, key, entry))

    def _differ(self, change: Change, before: Member | None, connection: Connection | None) -> None:
        """Say what a change means for its person."""
        person, position = change.entry.person, change.position
        entries = self._by_person[person]
        if not entries:
            del self._by_person[person]
            if before is not None:
                gone = Member(before.id, before.card, 0, before.since)
                self._tell("leave", gone, position, connection)
            return
        after = _member(person, entries)
        if before is None:
            self._tell("join", after, position, connection)
        elif before != after:
            self._tell("update", after, position, connection)

    def _tell(
        self,
        kind: Literal["join", "leave", "update"],
        member: Member,
        position: Position,
        connection: Connection | None,
    ) -> None:
        self._differs(Difference(kind, member, position.offset, position.epoch), connection)

    def members(self, limit: int, start: int) -> Members:
        """Return a page of the list.

        Args:
            limit: People on it, at most.
            start: How many come before it.
        """
        return members_of(self._by_person, self._position, limit, start)


def members_of(
    by_person: dict[str, dict[str, Entry]], position: Position, limit: int, start: int
) -> Members:
    """Return a page of a list of members.

    Args:
        by_person: The entries of each person by key.
        position: The last change that is counted in.
        limit: People on the page, at most.
        start: How many come before it.
    """
    found = [_member(person, entries) for person, entries in by_person.items() if entries]
    found.sort(key=lambda member: (member.since, member.id))
    return Members(found[start : start + limit], position, len(found))


def grouped(entries: Entries) -> dict[str, dict[str, Entry]]:
    """Return the entries of each person."""
    found: dict[str, dict[str, Entry]] = {}
    for key, entry in entries.by_key.items():
        found.setdefault(entry.person, {})[key] = entry
    return found


def _member(person: str, entries: dict[str, Entry]) -> Member:
    first = min(entries.values(), key=lambda entry: (entry.since, entry.away))
    open_ones = sum(not entry.away for entry in entries.values())
    return Member(person, first.card, open_ones, first.since)
