"""One room on this node: its members, and what is on its way to them."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable
from typing import NamedTuple

from ..backplane.base import Change, Entries, Position, Publication
from ..connection.answers import Answers
from ..connection.connection import Connection
from ..engine.roomframes import SaidInRoom
from ..transports.direct import DirectTransport
from ..transports.many import send_to_many
from .outcome import Outcome
from .people import People
from .watch import Watch

_LOG = logging.getLogger("jupyter_wshandler")

MARK = 0.02
"""Seconds in which it is noted at most once of each member that something was sent to it: the
clock that asks for it looks a few times a second."""

BEGINNING = Position()


class Published(NamedTuple):
    """What has become of a message to a room."""

    offset: int
    """Its number in the room's history, from 1; 0 in a room without one."""
    delivered: int
    """Connections of this server that it was written to, or waits for."""


class Item(NamedTuple):
    """A message on its way to the members."""

    publication: Publication
    position: Position
    outcome: Outcome[Published] | None


class Room:
    """A room with members on this node; it hears of its channel.

    What is said in one turn of the loop goes to each member in one piece, at the end of the turn.

    Args:
        space: The space that it belongs to.
        name: Its name.
        channel: Its name on the backplane.
        people: Who is in it, where the space has presence.
        put_off: Has it delivered at the end of the turn.
        outcome_of: Returns what the sender of a message of this node waits for.
        again: Tells its members that messages were missed, with the place behind which it is whole
            again; or with None that the list of who is in has come anew.
    """

    __slots__ = (
        "_again",
        "_epoch",
        "_marked",
        "_outcome_of",
        "_pending",
        "_put_off",
        "_ways",
        "by_wire",
        "channel",
        "members",
        "name",
        "people",
        "position",
        "space",
        "waiting",
    )

    def __init__(
        self,
        space: str,
        name: str,
        channel: str,
        people: People | None,
        put_off: Callable[[Room], object],
        outcome_of: Callable[[Publication], Outcome[Published] | None],
        again: Callable[[Room, Position | None], object],
    ) -> None:
        self.space = space
        self.name = name
        self.channel = channel
        self.people = people
        self.members: dict[Connection, tuple[str, DirectTransport] | None] = {}
        """Who is in, each with its place in `_ways`, if it has one: where it was put, it is found,
        whatever has become of it since."""
        # By the form of what they read: members who are sent it by `transports.many`.
        self._ways: dict[str, dict[DirectTransport, Connection]] = {}
        self._marked = 0.0
        self.waiting: dict[Connection, list[Item]] = {}
        """Members who are being told of what was said before, and what waits behind that."""
        self.by_wire: dict[Connection, Watch | None] = {}
        """Members whose clients have asked for it in `wsh.v1`: they hear of the room's end, and
        with a `Watch` of who is in."""
        self.position = BEGINNING
        self._epoch = ""  # of what was delivered last
        self._pending: list[Item] = []
        self._put_off = put_off
        self._outcome_of = outcome_of
        self._again = again

    @property
    def is_over(self) -> bool:
        """Whether nobody of this node is in it, or expected back."""
        return not self.members and (self.people is None or not self.people.own)

    # ---- the receiver of the channel -----------------------------------------------------------

    def published(self, publication: Publication, position: Position) -> None:
        """Take a message, and deliver it at the end of this turn of the loop."""
        if position.offset:
            known = self.position
            if position.epoch == known.epoch and position.offset <= known.offset:
                return  # it was filled in from the history already
            self.position = position
        if not self._pending:
            self._put_off(self)
        self._pending.append(Item(publication, position, self._outcome_of(publication)))

    def changed(self, change: Change) -> None:
        """Take a change of who is present."""
        if self.people is not None:
            self.people.changed(change)

    def missed(self, position: Position) -> None:
        """Take note that messages were missed on the way here."""
        self.position = position
        self._again(self, position)

    def listed(self, entries: Entries) -> None:
        """Take the list of who is present anew."""
        if self.people is not None and self.people.relist(entries):
            self._again(self, None)

    # ---- delivery ------------------------------------------------------------------------------

    @property
    def is_pending(self) -> bool:
        """Whether something is on its way."""
        return bool(self._pending)

    def is_for(self, connection: Connection) -> bool:
        """Return whether a connection is a member."""
        return connection in self.members

    def add(self, connection: Connection) -> None:
        """Make a connection a member."""
        way = connection.way_of_many()
        self.members[connection] = way
        if way is not None:
            self._ways.setdefault(way[0], {})[way[1]] = connection

    def deliver(self) -> None:
        """Send what is on its way, in one piece to each member."""
        items, self._pending = self._pending, []
        if not items:
            return
        shared = self._shared(items, self._epoch, len(self.members))
        self._epoch = items[-1].position.epoch
        excluded = {item.publication.exclude for item in items if item.publication.exclude}
        held = self.waiting
        missed = [0] * len(items)
        apart = {c for c in self.members if c.id in excluded} if excluded else set()
        apart.update(held)
        delivered, members = self._deliver_to_many(shared, apart)
        for connection in members:
            try:
                if connection in held:
                    held[connection].extend(items)
                    delivered += 1
                elif connection.id in excluded:
                    delivered += self._deliver_some(connection, items, missed)
                else:
                    delivered += connection.write_shared(shared)
            except Exception:
                # One that its own bot has written into must not keep a message from the others.
                _LOG.exception("A member of a room could not be sent what was said; it is ended")
                with contextlib.suppress(Exception):
                    connection.abort()
        for item, fewer in zip(items, missed, strict=True):
            if item.outcome is not None:
                item.outcome.set(Published(item.position.offset, delivered - fewer))

    def _deliver_to_many(
        self, shared: SaidInRoom, apart: set[Connection]
    ) -> tuple[int, list[Connection]]:
        """Send what members get to those who take it at once.

        Args:
            shared: The messages.
            apart: Members who get something else.

        Returns:
            How many it was sent to, and the members who have not been dealt with.
        """
        delivered, rest, known = 0, [*apart], len(apart)
        now = time.monotonic()
        is_due = now - self._marked >= MARK
        for form, ways in self._ways.items():
            left = {way[1] for m in apart if (way := self.members.get(m)) and way[0] == form}
            known += len(ways) - len(left)
            if len(left) == len(ways):
                continue
            frames = next(iter(ways.values())).frames_for_many(shared)
            if frames is None or frames.whole is None:
                rest += [member for member in ways.values() if member not in apart]
                continue
            sent, waiting, others = send_to_many(ways, frames, left)
            delivered += sent
            rest += others
            if is_due:
                for connection in ways.values():
                    connection.was_sent_to()
            for connection in waiting:
                connection.was_sent_to(waits=True)
        if is_due:
            self._marked = now
        if known < len(self.members):  # some are reached in no such way
            many = set[Connection]().union(*(ways.values() for ways in self._ways.values()))
            rest += [c for c in self.members if c not in many and c not in apart]
        return delivered, rest

    def _deliver_some(self, connection: Connection, items: list[Item], missed: list[int]) -> bool:
        """Send a member what it is not left out of; count what it is."""
        rest = []
        for index, item in enumerate(items):
            if item.publication.exclude == connection.id:
                missed[index] += 1
            else:
                rest.append(item)
        is_open = connection.write_shared(self._shared(rest, ""))
        if not is_open:  # then it counts for none, and is not missed by any
            for index, item in enumerate(items):
                missed[index] -= item.publication.exclude == connection.id
        return is_open

    def release(self, connection: Connection, known: Position) -> None:
        """Send a member what waited until it was told of what was said before.

        Args:
            connection: The member.
            known: The last message that it was told of.
        """
        rest = []
        for item in self.waiting.pop(connection, []):
            place = item.position
            is_told = place.epoch == known.epoch and 0 < place.offset <= known.offset
            if not is_told and item.publication.exclude != connection.id:
                rest.append(item)
        if rest:
            connection.write_shared(self._shared(rest, known.epoch))

    def hold(self, connection: Connection) -> None:
        """Keep what is said from now on from a member, until `release`."""
        self.waiting.setdefault(connection, [])

    def _shared(self, items: list[Item], epoch: str, clients: int = 1) -> SaidInRoom:
        """Return messages as clients get them that know of an epoch of the room's history."""
        messages = [item.publication.message for item in items]
        positions = [item.position for item in items]
        return SaidInRoom(self.name, messages, positions, epoch, clients)

    def forget(self, connection: Connection) -> Answers | None:
        """Forget a member; return what its client is told by that it is out, where it wants to."""
        way = self.members.pop(connection, None)
        if way is not None:
            self._ways[way[0]].pop(way[1], None)
            if not self._ways[way[0]]:
                del self._ways[way[0]]
        self.waiting.pop(connection, None)
        if connection in self.by_wire:
            del self.by_wire[connection]
            return connection.chat_answers
        return None
