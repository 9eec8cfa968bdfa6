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


class Address(NamedTuple):
    """What a client has asked for: a route, and what its pattern has found in the path."""

    route: str
    args: tuple[str | None, ...]
    kwargs: dict[str, str]

    @classmethod
    def of(cls, connection: Connection) -> Address:
        """Return the address of a connection."""
        args, kwargs = connection.path_args, connection.path_kwargs
        return cls(connection.route, tuple(args), dict(kwargs))


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
        digest = sha256(said.secret.encode()).digest()
        found = self._find(said.id, digest, set(users), Address.of(like))
        if isinstance(found, str):
            return found
        line = found.line
        return found if line is not None and line.goes_on_behind(said.received) else "lost"

    def give_away(self, name: str, digest: str, users: Iterable[str], address: Address) -> Refusal:
        """End a connection whose client has come to another server.

        Args:
            name: Its id.
            digest: SHA-256 of the secret that the client has shown there, in hexadecimal digits.
            users: Names of who asks there.
            address: What is asked for there.

        Returns:
            "elsewhere" where it has ended by that; why it has not, otherwise.
        """
        try:
            found = self._find(name, bytes.fromhex(digest), set(users), address)
        except ValueError:
            return "unknown"
        if isinstance(found, str):
            return found
        if found.line is None or not (found.line.is_away or found.line.drop()):
            return "ended"  # it is being ended already
        found.line.expire()
        return "elsewhere"

    def _find(
        self, name: str, digest: bytes, users: set[str], address: Address
    ) -> Connection | Refusal:
        connection = self._connections.get(name)
        line = None if connection is None else connection.line
        if connection is None or line is None or not compare_digest(line.digest, digest):
            return self._among_ended(name, digest, users)
        if not users & set(line.users):
            return "user"
        if Address.of(connection) != address or line.has_expired:
            return "unknown"
        return connection if connection.phase == OPEN else "ended"

    def _among_ended(self, name: str, digest: bytes, users: set[str]) -> Refusal:
        ended = self._ended.get(name)
        if ended is None or not compare_digest(ended.digest, digest):
            return "unknown"
        return "ended" if users & set(ended.users) else "user"

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
