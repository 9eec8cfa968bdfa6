"""One room on this node: its members, and what is on its way to them."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from typing import NamedTuple

from ..backplane.base import Change, Position, Publication
from ..connection.answers import Answers
from ..connection.connection import Connection
from ..engine.roomframes import SaidInRoom
from .outcome import Outcome
from .people import People
from .watch import Watch

_LOG = logging.getLogger("jupyter_wshandler")


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
    """

    __slots__ = (
        "_epoch",
        "_outcome_of",
        "_pending",
        "_put_off",
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
    ) -> None:
        self.space = space
        self.name = name
        self.channel = channel
        self.people = people
        self.members: dict[Connection, None] = {}
        self.waiting: dict[Connection, list[Item]] = {}
        """Members who are being told of what was said before, and what waits behind that."""
        self.by_wire: dict[Connection, Watch | None] = {}
        """Members whose clients have asked for it in `wsh.v1`: they hear of the room's end, and
        with a `Watch` of who is in."""
        self.position = Position()
        self._epoch = ""  # of what was delivered last
        self._pending: list[Item] = []
        self._put_off = put_off
        self._outcome_of = outcome_of

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

    # ---- delivery ------------------------------------------------------------------------------

    @property
    def is_pending(self) -> bool:
        """Whether something is on its way."""
        return bool(self._pending)

    def is_for(self, connection: Connection) -> bool:
        """Return whether a connection is a member."""
        return connection in self.members

    def deliver(self) -> None:
        """Send what is on its way, in one piece to each member."""
        items, self._pending = self._pending, []
        if not items:
            return
        shared = self._shared(items, self._epoch, len(self.members))
        self._epoch = items[-1].position.epoch
        excluded = {item.publication.exclude for item in items if item.publication.exclude}
        held, delivered = self.waiting, 0
        missed = [0] * len(items)
        plain = not held and not excluded
        for connection in tuple(self.members):
            try:
                if plain:
                    delivered += connection.write_shared(shared)
                elif connection in held:
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
        self.members.pop(connection, None)
        self.waiting.pop(connection, None)
        if connection in self.by_wire:
            del self.by_wire[connection]
            return connection.chat_answers
        return None
