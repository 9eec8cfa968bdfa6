"""Jupyter events of what happens: connections that open and end, callbacks that fail, reloads.

As long as nobody records them (``c.EventLogger.handlers``, or a listener) each costs some
microseconds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..callbacks.errorlog import username
from ..connection.observer import Observer
from ..functions.reload import Reload
from .records.journal import how_it_ended, what_failed
from .records.ledger import Ledger

OPENED = "urn:jupyter-wshandler:opened"
CLOSED = "urn:jupyter-wshandler:closed"
FAILED = "urn:jupyter-wshandler:failed"
RELOADED = "urn:jupyter-wshandler:reloaded"

Emit = Callable[[str, dict[str, Any]], None]
"""Sends an event, by the id of its schema, where somebody takes it."""


class Happenings(Observer):
    """What happens to connections and routes, told as Jupyter events.

    Args:
        emit: Sends an event.
        ledger: Knows since when a connection is open.
    """

    def __init__(self, emit: Emit, ledger: Ledger) -> None:
        self._emit = emit
        self._ledger = ledger

    def opened(self, connection: Any) -> None:
        """Tell that a connection opens."""
        self._emit(OPENED, {**_who(connection), "address": connection.request.remote_ip})

    def lost(self, connection: Any) -> None:
        """Tell that a connection has ended, and how."""
        end = how_it_ended(connection, self._ledger)
        self._emit(CLOSED, {**_who(connection), **end, "seconds": end["seconds"] or 0.0})

    def failed(self, connection: Any, failure: Any) -> None:
        """Tell that a callback has raised something."""
        what = {**what_failed(failure), "error": failure.error_id}
        self._emit(FAILED, {**_who(connection), **what})

    def reloaded(self, result: Reload) -> None:
        """Tell that routes were loaded again, or why they were not.

        Args:
            result: What has come of it.
        """
        self._emit(
            RELOADED,
            {
                "files": list(result.files),
                "code": result.code,
                "added": list(result.added),
                "changed": list(result.changed),
                "removed": list(result.removed),
                "closed": result.closed,
                "errors": list(result.errors),
            },
        )


def _who(connection: Any) -> dict[str, Any]:
    user = connection.current_user
    known = user is not None
    return {
        "route": connection.route,
        "connection": connection.id,
        "user": username(user) if known else None,
        "kind": _kind(user) if known else None,
    }


def _kind(user: Any) -> str:
    try:
        return str(getattr(user, "kind", None) or "user")
    except Exception:  # a bot has put something else in the user's place
        return "user"
