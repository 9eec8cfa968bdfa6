"""What happens to connections, in order, while somebody follows it.

Nobody who does not look pays for it: the journal hears of connections only once it was asked, and
until nobody has asked for a minute.
"""

from __future__ import annotations

import time
from typing import Any

from ...callbacks.errorlog import kind_of, on_one_line, place_of, username
from ...connection.observer import Observers
from ...guard import tamed
from .followed import Followed
from .ledger import Ledger

KEPT = 1000
"""Happenings that are kept, the newest: who asks less often misses some, and is told so."""


class Journal(Followed):
    """What happens to connections: opened, closed, failed, refused.

    Args:
        observers: Those of the manager; the journal is one of them while it is followed.
        ledger: Knows since when a connection is open.
    """

    def __init__(self, observers: Observers, ledger: Ledger) -> None:
        super().__init__(observers, KEPT)
        self._ledger = ledger

    def opened(self, connection: Any) -> None:
        """Write down that a connection opens."""
        self._write("opened", connection, address=connection.request.remote_ip)

    def lost(self, connection: Any) -> None:
        """Write down that a connection has ended, and how."""
        self._write("closed", connection, **how_it_ended(connection, self._ledger))

    def failed(self, connection: Any, failure: Any) -> None:
        """Write down that a callback has raised something."""
        self._write("failed", connection, **what_failed(failure), id=failure.error_id)

    def refused(self, route: str, user: Any, status: int, reason: str) -> None:
        """Write down that somebody was refused.

        Args:
            route: The name of the route.
            user: Who; None for nobody with a login.
            status: The HTTP status.
            reason: Why, in words without a secret.
        """
        if self.listens:
            more = {"connection": None, "code": status, "reason": reason}
            self._say("refused", route, user, more)

    def _write(self, event: str, connection: Any, **more: Any) -> None:
        user = connection.current_user
        self._say(event, connection.route, user, {"connection": connection.id, **more})

    def _say(self, event: str, route: str, user: Any, more: dict[str, Any]) -> None:
        name = None if user is None else username(user)
        self.put(route, {"event": event, "at": time.time(), "route": route, "user": name, **more})


def how_it_ended(connection: Any, ledger: Ledger) -> dict[str, Any]:
    """Return what is told of the end of a connection.

    Args:
        connection: One whose byte stream has ended.
        ledger: Knows since when it was open.

    Returns:
        Its `code`, the `reason`, and for how many `seconds` it was open; None where that is not
        known.
    """
    since = ledger.since(connection.id)
    return {
        "code": int(connection.close_code),
        "reason": connection.close_reason or "",
        "seconds": round(max(0.0, time.time() - since), 3) if since else None,
    }


def what_failed(failure: Any) -> dict[str, Any]:
    """Return what is told of a failure: where and of what kind it was, and none of its words.

    Args:
        failure: A `CallbackFailure`.
    """
    return {
        "callback": on_one_line(failure.callback),
        "exception": kind_of(failure.exception),
        "place": place_of(tamed(failure.exception, "it")),
    }
