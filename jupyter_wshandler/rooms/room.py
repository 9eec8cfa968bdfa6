"""One room on this node: its members, and what is on its way to them."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from typing import NamedTuple

from ..backplane.base import Change, Position, Publication
from ..connection.connection import Connection
from ..engine.shared import SharedMessages
from .outcome import Outcome
from .people import People

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
        "_outcome_of",
        "_pending",
        "_put_off",
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
        self.position = Position()
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
        shared = SharedMessages([item.publication.message for item in items])
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
                rest.append(item.publication.message)
        is_open = connection.write_shared(SharedMessages(rest))
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
                rest.append(item.publication.message)
        if rest:
            connection.write_shared(SharedMessages(rest))
