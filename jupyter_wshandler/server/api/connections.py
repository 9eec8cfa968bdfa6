"""Who is connected, at ``<base_url>/wshandler/api/connections`` and below it."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Iterable
from typing import Any

from jupyter_server.auth.decorator import ws_authenticated
from tornado.web import HTTPError

from ...callbacks.errorlog import username
from ...config.nodes import shorten
from ...connection.connection import Connection
from ...connection.phase import OPEN
from ...engine.asking import SUBPROTOCOL
from ...engine.frames import check_close
from ...kernels.batches import one_line
from ...rooms.names import user_of
from ...types import CloseCode
from ..access.authorize import ACTION, READ
from .base import OTHERS_ROUTE
from .looking import LookingHandler, page, page_size
from .rooms import spaces_of

USUAL, MOST = 100, 1000
"""Connections on a page, where nothing is said, and at most."""

SLICE = 1000
"""Connections that are looked at in one turn of the event loop."""

STATES = ("open", "away", "closing")
"""How a connection can be."""

CLOSED_HERE = "closed by an operator"
"""The reason that a client is told, where none is given."""

HEADER = 300
"""Characters of a header field that are shown."""


class ConnectionsLook(LookingHandler):
    """What the two addresses have in common."""

    async def hide_rooms(self, found: Iterable[dict[str, Any]]) -> None:
        """Take out the rooms of connections, those of spaces into which the user may not look.

        Args:
            found: What is told of the connections; `rooms` is None there afterwards.
        """
        spaces = spaces_of(self.services.manager.table).values()
        sharing = {route.name: routes for routes in spaces for route in routes}
        hidden: dict[str, bool] = {}
        for one in found:
            name = one["route"]
            if name not in hidden:
                # A route that is gone, with connections that close, has nobody to ask for.
                known = sharing.get(name)
                hidden[name] = known is None or bool(await self.why_not_into(known))
            if hidden[name]:
                one["rooms"] = None


class ConnectionsHandler(ConnectionsLook):
    """The address where connections are listed, in pages."""

    known = frozenset({"route", "user", "state", "after", "limit"})

    @ws_authenticated
    async def get(self) -> None:
        """Answer with ``{"connections": [...], "total", "next"}``, the oldest first.

        ``?route=``, ``?user=`` and ``?state=`` narrow it; ``?after=`` takes the `next` of the page
        before.
        """
        size, after = page_size(self, USUAL, MOST), self._after()
        user, state = self.get_query_argument("user", None), self.get_query_argument("state", None)
        if state is not None and state not in STATES:
            words = f"state: expected {', '.join(STATES)}; found {shorten(state)}"
            raise HTTPError(400, words)
        routes = await self.routes(self.get_query_argument("route", None))
        known, ledger = self.services.manager.connections, self.services.records.ledger
        traffic = self.services.records.traffic
        found: list[dict[str, Any]] = []
        total, following = 0, None
        for number, (name, since) in enumerate(ledger.after(0.0), 1):
            connection = known.get(name)
            if connection is not None and connection.route in routes:
                is_meant = user is None or user_of(connection.current_user) == user
                if is_meant and (state is None or state_of(connection) == state):
                    total += 1
                    if since > after and len(found) < size:
                        found.append(described(connection, since, traffic.of_connection(name)))
                    elif since > after and found and following is None:
                        following = found[-1]["opened"]
            if number % SLICE == 0:
                await asyncio.sleep(0)  # others get a turn of the loop
        await self.hide_rooms(found)
        self.answer(page("connections", found, total, following))

    def _after(self) -> float:
        text = self.get_query_argument("after", "0")
        with contextlib.suppress(ValueError):
            if math.isfinite(found := float(text)):
                return found
        raise HTTPError(400, f"after: expected the `next` of a page, found {shorten(text)}")


class ConnectionHandler(ConnectionsLook):
    """The address of one connection."""

    async def prepare(self) -> None:  # type: ignore[override]
        """Decide who may: to close a connection is more than to look at it."""
        self.action = READ if self.request.method in ("GET", "OPTIONS") else ACTION
        self.known = frozenset({"code", "reason"} if self.request.method == "DELETE" else ())
        await super().prepare()

    @ws_authenticated
    async def get(self, name: str) -> None:
        """Answer with the connection, and with what its client has said of itself."""
        connection = await self._connection(name)
        records = self.services.records
        since, received = records.ledger.since(name), records.traffic.of_connection(name)
        found = described(connection, since, received)
        headers = connection.request.headers
        for key, field in (("agent", "User-Agent"), ("origin", "Origin")):
            value = headers.get(field)
            found[key] = None if value is None else value[:HEADER]
        await self.hide_rooms([found])
        self.answer(found)

    @ws_authenticated
    async def delete(self, name: str) -> None:
        """Close the connection, with a ``?code=`` and a ``?reason=``: 204.

        Without them it is 1000, after which no client of ours comes back. 404 where there is no
        such connection.
        """
        code, reason = self._code(), self.get_query_argument("reason", CLOSED_HERE)
        try:
            check_close(code, reason)
        except ValueError as error:
            raise HTTPError(400, str(error)) from None
        connection = await self._connection(name)
        self.log.info(
            "Route %s: %s has closed connection %s of %s with %d from outside",
            connection.route,
            one_line(str(self.current_user.username), 60),
            connection.id,
            username(connection.current_user),
            code,
        )
        connection.end(code, reason)
        self.set_status(204)
        self.finish()

    def _code(self) -> int:
        text = self.get_query_argument("code", str(int(CloseCode.NORMAL)))
        if not (text.isascii() and text.isdigit() and len(text) == 4):
            words = f"code: expected a close code such as 1000 or 4000, found {shorten(text)}"
            raise HTTPError(400, words)
        return int(text)

    async def _connection(self, name: str) -> Connection:
        connection = self.services.manager.connections.get(name)
        if connection is None:
            raise HTTPError(404, "there is no such connection, or it has ended")
        if not await self.may_look_at(connection.entry):
            raise HTTPError(403, OTHERS_ROUTE)
        return connection


def state_of(connection: Connection) -> str:
    """Return how a connection is: one of `STATES`."""
    if connection.away:
        return "away"
    return "open" if connection.phase == OPEN else "closing"


def described(connection: Connection, since: float, received: int | None) -> dict[str, Any]:
    """Return what is told of a connection: nothing of what was said on it, and no secret.

    Args:
        connection: An open one.
        since: When it has opened, in seconds since 1970.
        received: Messages that have come on it since somebody counts; None where nobody does.
    """
    user, request, counts = connection.current_user, connection.request, connection.queue_counts()
    has_envelopes = connection.chat_answers is not None
    return {
        "id": connection.id,
        "route": connection.route,
        "path": request.path,
        "user": None if user is None else username(user),
        "kind": None if user is None else getattr(user, "kind", None) or "user",
        "share": getattr(user, "share", None) or None,
        "address": request.remote_ip,
        "opened": since,
        "state": state_of(connection),
        "protocol": connection.subprotocol or (SUBPROTOCOL if has_envelopes else None),
        "rooms": list(connection.rooms),
        "received": received,
        "waiting": counts.waiting,
        "queued": {"messages": counts.frames, "bytes": counts.bytes},
        "dropped": connection.dropped,
        "rate_limited": connection.rate_limited,
    }
