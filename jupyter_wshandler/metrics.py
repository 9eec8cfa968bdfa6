"""Counters of what happens on the routes; plain numbers, which the server shows in /metrics."""

from __future__ import annotations

from collections import Counter

from .types import CloseCode

_KNOWN_CODES = frozenset(int(code) for code in CloseCode)


class Metrics:
    """What counts, by the name of the route.

    Attributes:
        opened: Connections that were opened.
        closed: Connections that have ended, by route and close code; a code that is a bot's or
            a client's own counts as "other", so that nobody can make the list grow.
        dropped: Messages that were not sent to a slow client.
        rate_limited: Messages that were not taken from a client over its `ratelimit`.
        unhandled: Messages that waited when their connection was lost, and were dropped.
        errors: Callbacks that failed.
        refused: Requests that were refused, by route and HTTP status.
        rechecks: Questions whether the login of open connections still holds, by what came of
            them: "allowed", "ended", "forbidden"; "unreachable" and "failed" where nobody
            has answered.
        resumes: Clients that have come back after a break, by route and what came of it: "resumed",
            or why it could not be.
        share_uses: Guests who have come by a share.
        guests_refused: Guests who were refused, by route and reason.
    """

    __slots__ = (
        "closed",
        "dropped",
        "errors",
        "guests_refused",
        "opened",
        "rate_limited",
        "rechecks",
        "refused",
        "resumes",
        "share_uses",
        "unhandled",
    )

    def __init__(self) -> None:
        self.opened: Counter[str] = Counter()
        self.closed: Counter[tuple[str, str]] = Counter()
        self.dropped: Counter[str] = Counter()
        self.rate_limited: Counter[str] = Counter()
        self.unhandled: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.refused: Counter[tuple[str, str]] = Counter()
        self.rechecks: Counter[str] = Counter()
        self.resumes: Counter[tuple[str, str]] = Counter()
        self.share_uses: Counter[str] = Counter()
        self.guests_refused: Counter[tuple[str, str]] = Counter()

    def ended(self, route: str, code: int | None, dropped: int, rate_limited: int) -> None:
        """Count a connection that has ended.

        Args:
            route: The route's name.
            code: Its close code.
            dropped: Messages that were not sent to it.
            rate_limited: Messages that were not taken from it.
        """
        self.closed[route, str(code) if code in _KNOWN_CODES else "other"] += 1
        if dropped:
            self.dropped[route] += dropped
        if rate_limited:
            self.rate_limited[route] += rate_limited
