"""The REST API below ``<base_url>/wshandler/api/``: what pages and programs ask for."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from jupyter_core.utils import ensure_async
from jupyter_server.auth.decorator import ws_authenticated
from jupyter_server.base.handlers import APIHandler
from tornado.web import HTTPError

from .identity import complete, is_allowed, user_key
from .tickets import SECONDS, Tickets

if TYPE_CHECKING:
    from ..manager import WebSocketManager
    from ..routes import Route
    from .recheck import Recheck


class TicketsHandler(APIHandler):
    """Give out tickets for routes with ``xsrf: ticket``.

    Jupyter's `prepare` checks login, Host and, for a login by cookie, XSRF before `post` runs.
    """

    auth_resource = "wshandler"
    # Messages are activity; what only leads to a socket is not.
    _track_activity = False

    def initialize(self, manager: WebSocketManager, recheck: Recheck, tickets: Tickets) -> None:
        """Take what the application gives."""
        self.manager = manager
        self.recheck = recheck
        self.tickets = tickets

    async def prepare(self) -> None:  # type: ignore[override]
        """Let Jupyter find out who asks, by answers as fresh as the socket will ask for."""
        self.socket_path = self._path()
        self.route = self._route()
        with self.recheck.fresh(self.route.config.auth.recheck if self.route else 0.0):
            await super().prepare()

    @ws_authenticated
    async def post(self) -> None:
        """Answer with a ticket for the socket at ``{"path": ...}``.

        The path is the whole one, base_url included, as it stands in the socket's URL. The answer
        is ``{"ticket": text, "expires_in": seconds}``; the ticket is null where none is needed: by
        the route, or by who sends a token. 403 where the user may not use the route, 404 where
        there is none.
        """
        path, route = self.socket_path, self.route
        if path is None:
            raise HTTPError(400, 'expected JSON: {"path": "/the/path/of/the/socket"}')
        if route is None:
            raise HTTPError(404, "no route has this path")
        user = complete(self.current_user)
        if not await ensure_async(
            self.authorizer.is_authorized(self, user, "execute", f"wshandler:{route.name}")
        ):
            raise HTTPError(403, "this user is not authorized for this route")
        if not is_allowed(user, route.config.auth):
            raise HTTPError(403, "this user may not use this route")
        ticket = None
        config = route.config
        if config.xsrf == "ticket" and config.auth.required and not self.token_authenticated:
            ticket = self.tickets.issue(user_key(user), route.name, path)
        self.set_header("Cache-Control", "no-store")
        self.finish(json.dumps({"ticket": ticket, "expires_in": SECONDS}))

    @ws_authenticated
    def options(self) -> None:
        """Refuse: pages of other sites send tokens, and need no ticket."""
        raise HTTPError(405)

    def _path(self) -> str | None:
        try:
            body = json.loads(self.request.body)
        except ValueError:
            return None
        path = body.get("path") if isinstance(body, dict) else None
        return path.partition("?")[0] if isinstance(path, str) and path[:1] == "/" else None

    def _route(self) -> Route | None:
        prefix = self.base_url.rstrip("/")
        if self.socket_path is None or not self.socket_path.startswith(prefix + "/"):
            return None
        found = self.manager.table.match(self.socket_path[len(prefix) :])
        return None if found is None else found[0]
