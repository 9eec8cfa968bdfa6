"""How many connections may be open: of a user, an address, a route, and of the process.

What an open one may send is in `rates.py`; a `Seat` stands for both.
"""

from __future__ import annotations

import logging
import math

import msgspec

from ..config.model import MaxConnections, RouteConfig
from ..errors import LimitReached
from .descriptors import SHARE, DescriptorGuard
from .rates import Meter, RateLimiter

RETRY_AFTER = 10
"""Seconds after which a refused client may ask again; nobody knows when a place is free."""

LINGERING = 64
"""Connections of the process that may have given their place back while they still end."""

QUIET = 60.0
"""Seconds between two lines in the log about the same limit."""


class ConnectionCounter:
    """The open connections of one route, counted: all, by user and by address."""

    def __init__(self) -> None:
        self.total = 0
        self.users: dict[str, int] = {}
        self.addresses: dict[str, int] = {}

    def reached(self, limits: MaxConnections, user: str, address: str) -> str:
        """Say which limit another connection would break; empty where none.

        Args:
            limits: The route's `max_connections`.
            user: Names the user, or the visitor without a login.
            address: The peer's address.
        """
        if limits.user and self.users.get(user, 0) >= limits.user:
            return f"you have {limits.user} open here already, which is the most a user may have"
        if limits.address and self.addresses.get(address, 0) >= limits.address:
            return f"{limits.address} are open from this address already, which is the most"
        if limits.route and self.total >= limits.route:
            return f"{limits.route} are open here already, which is the most this route takes"
        return ""

    def add(self, user: str, address: str) -> None:
        """Count one connection."""
        self.total += 1
        self.users[user] = self.users.get(user, 0) + 1
        self.addresses[address] = self.addresses.get(address, 0) + 1

    def remove(self, user: str, address: str) -> None:
        """Take one connection out of the counts."""
        self.total -= 1
        for counts, key in ((self.users, user), (self.addresses, address)):
            counts[key] -= 1
            if not counts[key]:
                del counts[key]


class Seat(msgspec.Struct, eq=False, gc=False):
    """The place of one connection in its route's counts.

    Args:
        limits: Who has given it.
        counter: Counts it from now on; None once it has been given back.
        user: Names the user, or the visitor without a login.
        address: The peer's address.
        guest: Whether it is somebody who has come by a share.

    Attributes:
        meter: Weighs the connection's messages; None where the route has no `ratelimit`.
    """

    # A msgspec struct that Python does not look at when it collects garbage: nothing that it refers
    # to knows the seat, so that it is in no cycle.
    _limits: Limits
    _counter: ConnectionCounter | None
    user: str
    _address: str
    _guest: bool
    _limiter: RateLimiter | None = None
    _lingers: bool = False
    _key: str = ""
    meter: Meter | None = None

    def __post_init__(self) -> None:
        assert self._counter is not None
        self._counter.add(self.user, self._address)

    def adopt(self, config: RouteConfig, now: float) -> Meter | None:
        """Go by a configuration, the first or a changed one; return the meter, if any.

        Args:
            config: The route's configuration.
            now: The event loop's time, in seconds.
        """
        limiter = self._limits.limiter(config, guest=self._guest)
        if self._counter is not None and limiter is not self._limiter:
            if self._limiter is not None:
                self._limiter.leave(self._key, now)
            self._limiter, self.meter = limiter, None
            if limiter is not None:
                self.meter, self._key = limiter.enter(self.user, self._address, now)
        return self.meter

    def linger(self, now: float) -> None:
        """Give the place back though the socket is still open, unless too many have done so.

        A client could otherwise hold any number of sockets by breaking the protocol on each.

        Args:
            now: The event loop's time, in seconds.
        """
        if self._counter is not None and self._limits.lingering < LINGERING:
            self.leave(now)
            self._limits.lingering += 1
            self._lingers = True

    def leave(self, now: float) -> None:
        """Give the place back; again without effect.

        Args:
            now: The event loop's time, in seconds.
        """
        if self._lingers:
            self._lingers = False
            self._limits.lingering -= 1
        counter, self._counter = self._counter, None
        if counter is None:
            return
        counter.remove(self.user, self._address)
        if self._limiter is not None:
            self._limiter.leave(self._key, now)


class Limits:
    """What decides whether one more connection may open; it outlives a reload of the routes.

    Args:
        log: Where refusals are told, one line a minute for each limit.
        descriptors: Guards the process's descriptors.

    Attributes:
        lingering: Connections that have given their place back and still end.
    """

    def __init__(
        self,
        log: logging.Logger | logging.LoggerAdapter[logging.Logger],
        descriptors: DescriptorGuard | None = None,
    ) -> None:
        self._log = log
        self._descriptors = descriptors or DescriptorGuard()
        self.lingering = 0
        self._counters: dict[str, ConnectionCounter] = {}
        self._limiters: dict[tuple[str, bool], tuple[object, RateLimiter | None]] = {}
        self._told: dict[str, tuple[float, int]] = {}

    def admit(
        self, config: RouteConfig, user: str, address: str, now: float, *, guest: bool = False
    ) -> Seat:
        """Count a connection that is about to open.

        Args:
            config: The route's configuration.
            user: Names the user, or the visitor without a login.
            address: The peer's address.
            now: The event loop's time, in seconds.
            guest: Whether it is somebody who has come by a share.

        Returns:
            Its place, to be given back when it has closed or did not open after all.

        Raises:
            LimitReached: There is no place: 429 for `max_connections`, 503 for descriptors.
        """
        guard = self._descriptors
        counter = self._counters.setdefault(config.name, ConnectionCounter())
        reached = counter.reached(config.max_connections, user, address)
        if reached:
            self._tell(
                config.name, now, "Route %s: 429 for %s: %s", config.name, _shown(user), reached
            )
            raise LimitReached(429, f"too many connections: {reached}", RETRY_AFTER)
        if guard.reached(now):
            self._tell(
                "",
                now,
                "503 for new connections: %d descriptors are open, and %d (%d %% of the limit) may "
                "be; raise the limit with `ulimit -n`",
                guard.open,
                guard.allowed,
                SHARE * 100,
            )
            raise LimitReached(503, "the server is full; try again later", RETRY_AFTER)
        seat = Seat(self, counter, user, address, guest)
        seat.adopt(config, now)
        return seat

    def limiter(self, config: RouteConfig, *, guest: bool = False) -> RateLimiter | None:
        """Return what shares out a route's `ratelimit`; a new one where that has changed.

        Args:
            config: The route's configuration.
            guest: Whether it is for guests, for whom something else may hold.
        """
        limit = config.guest_ratelimit if guest else config.ratelimit
        # What an address may send is one for all who come from it, where all have the same limit.
        key = (config.name, limit != config.ratelimit)
        basis = (limit, config.max_message)
        known = self._limiters.get(key)
        if known is None or known[0] != basis:
            limiter = None if limit is None else RateLimiter(limit, config.max_message)
            known = self._limiters[key] = (basis, limiter)
        return known[1]

    def _tell(self, limit: str, now: float, line: str, *args: object) -> None:
        """Write one line a minute about a limit; a client that is refused asks again."""
        told_at, unsaid = self._told.get(limit, (-math.inf, 0))
        if now - told_at < QUIET:
            self._told[limit] = (told_at, unsaid + 1)
            return
        self._told[limit] = (now, 0)
        self._log.warning(line + "%s", *args, f"; {unsaid} more before" if unsaid else "")


def _shown(user: str) -> str:
    """Return a name for a log line; what stands for a token is none of its business."""
    kind, _, name = user.partition(":")
    return "a token" if kind == "token" else name or user
