"""Who may take which connection up again: those that are away, and those that have ended."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from hashlib import sha256
from hmac import compare_digest
from typing import NamedTuple

from ..connection.connection import Connection
from ..connection.observer import Observer
from ..connection.phase import OPEN
from ..engine.resuming import ComeBack, Refusal
from ..metrics import Metrics

AWAY_AT_MOST = 20_000
"""Connections whose clients may be away at a time: they have no descriptor that would bound them.
With more, a break is an end."""

ENDED_AT_MOST = 10_000
"""Connections that are remembered as ended, for clients that come back to one."""


class _Ended(NamedTuple):
    """A connection that has ended by somebody's doing."""

    digest: bytes
    users: tuple[str, ...]
    until: float


class Resumes(Observer):
    """The connections that outlive breaks, as the manager sees them.

    A client that comes back names a connection and proves with its secret that it is the same.
    Nothing is kept here of those that are open: they are found by their id.

    Args:
        connections: The open connections by id; the manager's own.
        metrics: Counts who has come back, and who could not.
    """

    def __init__(self, connections: Mapping[str, Connection], metrics: Metrics) -> None:
        self._connections = connections
        self._metrics = metrics
        self._ended: OrderedDict[str, _Ended] = OrderedDict()
        self.stopping = False

    @property
    def away(self) -> int:
        """How many connections there are whose clients are away."""
        return sum(connection.away for connection in self._connections.values())

    def keeps_away(self) -> bool:
        """Return whether one more connection may outlive a break."""
        if self.stopping:
            return False
        # Only where there are that many are they counted.
        return len(self._connections) < AWAY_AT_MOST or self.away < AWAY_AT_MOST

    def find(self, said: ComeBack, like: Connection, users: Iterable[str]) -> Connection | Refusal:
        """Return the connection that a client comes back to, or why it cannot.

        Args:
            said: What the client says.
            like: The connection that it would have instead: the same address is asked for.
            users: Names of who asks now.
        """
        connection = self._connections.get(said.id)
        line = None if connection is None else connection.line
        if connection is None or line is None or not line.knows(said.secret):
            return self._among_ended(said, users)
        if not set(users) & set(line.users):
            return "user"
        same_address = (
            connection.route == like.route
            and connection.path_args == like.path_args
            and connection.path_kwargs == like.path_kwargs
        )
        if not same_address or line.has_expired:
            return "unknown"
        if connection.phase != OPEN:
            return "ended"
        if not line.goes_on_behind(said.received):
            return "lost"
        return connection

    def _among_ended(self, said: ComeBack, users: Iterable[str]) -> Refusal:
        ended = self._ended.get(said.id)
        digest = sha256(said.secret.encode()).digest()
        if ended is None or not compare_digest(ended.digest, digest):
            return "unknown"
        return "ended" if set(users) & set(ended.users) else "user"

    def give_up(self, said: ComeBack) -> None:
        """Wait no longer for a client that has come back and can only begin anew."""
        connection = self._connections.get(said.id)
        if connection is not None and connection.line is not None:
            connection.line.expire()

    def make_room(self, route: str, user: str) -> bool:
        """End the connection of a user whose client is away longest, for one who is there.

        Args:
            route: The route's name.
            user: Who the connection counts for in its limits.

        Returns:
            Whether there was one.
        """
        lines = [
            connection.line
            for connection in self._connections.values()
            if connection.away and connection.route == route and connection.counted_as == user
        ]
        line = min((line for line in lines if line), key=lambda one: one.until, default=None)
        if line is not None:
            line.expire()
        return line is not None

    def count(self, route: str, outcome: str) -> None:
        """Count a client that has come back.

        Args:
            route: The route's name.
            outcome: "resumed", or why it could not.
        """
        self._metrics.resumes[route, outcome] += 1

    # ---- what becomes of connections -------------------------------------------------------------

    def lost(self, connection: Connection) -> None:
        """Remember a connection that has ended by somebody's doing, not by its client's."""
        line, config = connection.line, connection.resume_config
        if line is None or config is None or line.has_expired:
            return
        now = asyncio.get_running_loop().time()
        ended = self._ended
        ended[connection.id] = _Ended(line.digest, line.users, now + config.window)
        while ended and (len(ended) > ENDED_AT_MOST or next(iter(ended.values())).until < now):
            ended.popitem(last=False)
