"""What happens to connections, in order, while somebody follows it.

Nobody who does not look pays for it: the journal hears of connections only once it was asked, and
until nobody has asked for a minute.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import deque
from itertools import islice
from typing import Any, NamedTuple

from ...callbacks.errorlog import kind_of, on_one_line, place_of, username
from ...connection.observer import Observers
from ...guard import tamed
from .followed import WhileAsked
from .ledger import Ledger

KEPT = 1000
"""Happenings that are kept, the newest: who asks less often misses some, and is told so."""

WAITING = 100
"""Questions that wait for something to happen at a time."""


class Happening(NamedTuple):
    """One thing that has happened."""

    serial: int
    """Its number in the journal."""
    route: str
    said: dict[str, Any]
    """What is told of it; `event` says what kind it is."""


class Page(NamedTuple):
    """What has happened since a place in the journal."""

    happenings: list[Happening]
    place: str
    """Where the next page begins."""
    complete: bool
    """Whether nothing is missing between this page and the one before."""


class Journal(WhileAsked):
    """What happens to connections: opened, closed, failed, refused.

    Args:
        observers: Those of the manager; the journal is one of them while it is followed.
        ledger: Knows since when a connection is open.
    """

    def __init__(self, observers: Observers, ledger: Ledger) -> None:
        super().__init__(observers)
        self._ledger = ledger
        self._kept: deque[Happening] = deque(maxlen=KEPT)
        self._serial = 0
        self._life = secrets.token_hex(4)
        self._waiting: set[asyncio.Future[None]] = set()

    # ---- what it hears -------------------------------------------------------------------------

    def opened(self, connection: Any) -> None:
        """Write down that a connection opens."""
        self._write("opened", connection, address=connection.request.remote_ip)

    def lost(self, connection: Any) -> None:
        """Write down that a connection has ended, and how."""
        since = self._ledger.since(connection.id)
        self._write(
            "closed",
            connection,
            code=connection.close_code,
            reason=connection.close_reason or "",
            seconds=round(max(0.0, time.time() - since), 3) if since else None,
        )

    def failed(self, connection: Any, failure: Any) -> None:
        """Write down that a callback has raised something."""
        self._write(
            "failed",
            connection,
            callback=on_one_line(failure.callback),
            exception=kind_of(failure.exception),
            place=place_of(tamed(failure.exception, "it")),
            id=failure.error_id,
        )

    def refused(self, route: str, user: Any, status: int, reason: str) -> None:
        """Write down that somebody was refused.

        Args:
            route: The name of the route.
            user: Who; None for nobody with a login.
            status: The HTTP status.
            reason: Why, in words without a secret.
        """
        if self.listens:
            self._put(
                "refused", route, user, {"connection": None, "code": status, "reason": reason}
            )

    def _write(self, event: str, connection: Any, **more: Any) -> None:
        user = connection.current_user
        self._put(event, connection.route, user, {"connection": connection.id, **more})

    def _put(self, event: str, route: str, user: Any, more: dict[str, Any]) -> None:
        self._serial += 1
        name = None if user is None else username(user)
        said = {"event": event, "at": time.time(), "route": route, "user": name, **more}
        self._kept.append(Happening(self._serial, route, said))
        self._wake()

    # ---- who follows it ------------------------------------------------------------------------

    def since(self, place: str) -> Page:
        """Return what has happened since a place; from now on it is written down.

        Args:
            place: What the last page has said; empty for the first one, which is empty.
        """
        self.listen()
        life, _, number = place.partition("-")
        here = f"{self._life}-{self._serial}"
        if not place:
            return Page([], here, True)
        known = int(number) if life == self._life and number.isdecimal() else -1
        if not 0 <= known <= self._serial:
            # Nobody has asked for a while, or the server was started again.
            return Page(list(self._kept), here, False)
        missed = self._serial - known
        found = list(islice(self._kept, max(0, len(self._kept) - missed), None))
        return Page(found, here, len(found) == missed)

    async def wait(self, seconds: float, gone: asyncio.Future[None]) -> None:
        """Wait until something happens; not at all where too many wait already.

        Args:
            seconds: For how long, at most.
            gone: Done when nobody waits any more.
        """
        if len(self._waiting) >= WAITING:
            return
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(waiting)
        try:
            await asyncio.wait({waiting, gone}, timeout=seconds, return_when="FIRST_COMPLETED")
        finally:
            self._waiting.discard(waiting)
            waiting.cancel()

    @property
    def is_awaited(self) -> bool:
        """Whether somebody waits for something to happen."""
        return bool(self._waiting)

    def forget(self) -> None:
        """Forget what has happened, and let nobody wait."""
        self._kept.clear()
        self._life = secrets.token_hex(4)  # whoever asks next has missed something
        self._wake()

    def _wake(self) -> None:
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)
