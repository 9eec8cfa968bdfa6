"""Who was refused, or put out, where and why: a number, a line in the log, and an event."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple

from ...callbacks.errorlog import username
from ...config.nodes import shorten
from .eventwriter import EventWriter

if TYPE_CHECKING:
    from jupyter_events.logger import EventLogger

    from ...connection.connection import Connection
    from ...manager.manager import WebSocketManager

EVENT = "urn:jupyter-wshandler:refused"
"""Somebody was refused, or put out."""

REMEMBER = 200
"""Lines about subprotocols that are remembered, so that each is written once."""

SHARE = "urn:jupyter-wshandler:share"
"""What has become of a share; see `guests`."""

UNANSWERED = "urn:jupyter-wshandler:unanswered"
"""Nobody could say whether somebody is to be put out; see `unanswered`."""


RECENT_SECONDS = 30.0
"""Seconds for which a refusal is kept for the page that it was said to."""

MOST_RECENT = 1000
"""Refusals that are kept; the oldest are forgotten first."""


class Refusal(NamedTuple):
    """What a handshake was answered with."""

    status: int
    reason: str
    cause: str


class RecentRefusals:
    """The last refusal of each page, kept for a moment.

    A browser tells a page nothing of a handshake that was refused. The page asks for it, with the
    same login and from the same origin, and nobody else hears of it.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, str, str], tuple[float, Refusal]] = OrderedDict()

    def put(self, who: tuple[str, str, str], refusal: Refusal) -> None:
        """Keep a refusal.

        Args:
            who: The user, the page's origin ("" for none) and the socket's path.
            refusal: What was said.
        """
        self._kept.pop(who, None)
        while len(self._kept) >= MOST_RECENT:
            self._kept.popitem(last=False)
        self._kept[who] = (monotonic() + RECENT_SECONDS, refusal)

    def get(self, who: tuple[str, str, str]) -> Refusal | None:
        """Return the last refusal, or None where there was none of late.

        Args:
            who: As for `put`.
        """
        until, refusal = self._kept.get(who, (0.0, None))
        return refusal if monotonic() < until else None


class Refusals:
    """The record of every refusal, without any secret.

    Args:
        manager: Has the metrics and the log.
        events: Jupyter's event logger; the administrator says where events go
            (``c.EventLogger.handlers``). None for a server without.
    """

    def __init__(self, manager: WebSocketManager, events: EventLogger | None) -> None:
        self._manager = manager
        self.events = EventWriter(manager, events)
        self._told: set[str] = set()
        self.recent = RecentRefusals()
        self._hearers: list[Callable[[str, Any, int, str], object]] = []

    def handshake(
        self,
        route: str,
        user: Any,
        status: int,
        reason: str,
        *,
        detail: str = "",
        silent: bool = False,
    ) -> None:
        """Note that a request to a route was refused.

        Args:
            route: The route's name.
            user: Jupyter's user, or None.
            status: The HTTP status.
            reason: Why, in words without a secret.
            detail: More words for the log: what the client has sent, and what to do.
            silent: Whether there is no line in the log.
        """
        self._manager.metrics.refused[route, str(status)] += 1
        if not silent:
            why = f"{reason}: {detail}" if detail else reason
            self._manager.log.info("Route %s: %d for %s: %s", route, status, username(user), why)
        for hear in self._hearers:
            hear(route, user, status, reason)
        self._emit(route, user, status, reason)

    def heard_by(self, hear: Callable[[str, Any, int, str], object]) -> None:
        """Tell somebody of each refused request from now on.

        Args:
            hear: Called with the route's name, the user or None, the HTTP status, and why.
        """
        self._hearers.append(hear)

    def unspoken(self, route: str, offered: Sequence[str], spoken: Sequence[str] | None) -> None:
        """Note that a client has offered subprotocols, and is answered without one.

        Browsers give such a connection up (RFC 6455 section 4.1), and tell their page nothing.

        Args:
            route: The route's name.
            offered: What the client speaks.
            spoken: What the route does; None where a function of its own has chosen none.
        """
        names = shorten(", ".join(offered), 200)
        if spoken is None:
            why = "its select_subprotocol has chosen none"
        elif spoken:
            why = f"its subprotocols are {', '.join(spoken)}"
        else:
            why = "it has no subprotocols; list them in its `subprotocols`"
        line = (
            f"Route {route}: a client offers the subprotocols {names}, and none is spoken: {why}. "
            "Browsers give the connection up"
        )
        if line in self._told:
            return
        if len(self._told) >= REMEMBER:
            self._told.clear()
        self._told.add(line)
        self._manager.log.warning("%s", line)

    def closed(self, connection: Connection, code: int, reason: str, user: Any = None) -> None:
        """Note that an open connection is closed, as its user may not use it any more.

        Args:
            connection: The connection.
            code: The close code: 4401 or 4403.
            reason: Why.
            user: Whose it is, by the word of who has let them in; None for the connection's own
                word, which a bot may have written over.
        """
        user = connection.current_user if user is None else user
        self._manager.log.info(
            "Route %s: closing %s of %s with %d: %s",
            connection.route,
            connection.id,
            username(user),
            code,
            reason,
        )
        self._emit(connection.route, user, code, reason)

    def _emit(self, route: str, user: Any, status: int, reason: str) -> None:
        data = {"route": route, "status": int(status), "reason": reason, "user": None, "kind": None}
        if user is not None:
            data |= {"user": username(user), "kind": getattr(user, "kind", None) or "user"}
        self.emit(EVENT, data)

    def emit(self, event: str, data: dict[str, Any]) -> None:
        """Send an event, where the server has somebody who takes it.

        Args:
            event: The id of its schema.
            data: What the schema describes.
        """
        self.events.emit(event, data)
