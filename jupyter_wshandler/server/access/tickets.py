"""Tickets: what a page fetches, so that a login cookie alone opens no socket.

A browser sends a cookie with every socket to the cookie's host, also with one that another user's
page on that host opens; such a page has the same origin, so that the origin tells nothing. A
ticket is fetched with a POST, which Jupyter's XSRF rule lets through for the user's own pages only.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from time import monotonic
from typing import NamedTuple

SECONDS = 30.0
"""How long a ticket is good."""

WARNINGS = 3
"""How often in a row the log says that a path has no route."""

PATHS = 1000
"""Paths that this is counted for."""

FOR_EACH_USER = 100
"""Tickets of one user that are good at the same time; the oldest are forgotten first."""

ARGUMENT = "ws_token"
"""The query argument that carries it. Jupyter's access log leaves out what has such a name."""


class _Ticket(NamedTuple):
    route: str
    path: str
    until: float


class Tickets:
    """The tickets that are good now, each of them once.

    They are kept in memory, so that a ticket is good at the server that gave it, and nowhere else.
    """

    def __init__(self) -> None:
        self._of_user: dict[str, OrderedDict[str, _Ticket]] = {}
        self._missing: OrderedDict[str, int] = OrderedDict()

    def issue(self, user: str, route: str, path: str) -> str:
        """Return a new ticket.

        Args:
            user: Names whoever asks for it.
            route: The name of the route that it opens.
            path: The path of the socket.
        """
        now = monotonic()
        self._forget_old(now)
        own = self._of_user.setdefault(user, OrderedDict())
        while len(own) >= FOR_EACH_USER:
            own.popitem(last=False)
        text = secrets.token_urlsafe(24)
        own[text] = _Ticket(route, path, now + SECONDS)
        return text

    def take(self, text: str, user: str, route: str, path: str) -> bool:
        """Take a ticket out of circulation; return whether it was good for this socket.

        Args:
            text: What the client sent.
            user: Names whoever sent it.
            route: The name of the route.
            path: The path of the socket.
        """
        own = self._of_user.get(user)
        ticket = None if own is None else own.pop(text, None)
        return (
            ticket is not None
            and (ticket.route, ticket.path) == (route, path)
            and monotonic() < ticket.until
        )

    def is_news(self, path: str) -> bool:
        """Count a request for a path that no route has; return whether the log is to say so.

        Args:
            path: The path of the socket.
        """
        count = self._missing.pop(path, 0) + 1
        self._missing[path] = count
        if len(self._missing) > PATHS:
            self._missing.popitem(last=False)
        return count <= WARNINGS

    def found(self, path: str) -> None:
        """Take note that a path has a route; that it has none is news again."""
        self._missing.pop(path, None)

    def _forget_old(self, now: float) -> None:
        for user, own in list(self._of_user.items()):
            while own and next(iter(own.values())).until < now:
                own.popitem(last=False)
            if not own:
                del self._of_user[user]
