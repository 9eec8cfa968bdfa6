"""Tickets for routes with ``xsrf: ticket``, at ``<base_url>/wshandler/api/tickets``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import msgspec
from jupyter_server.auth.decorator import ws_authenticated
from tornado.web import HTTPError

from ...config.paths import normal_path, path_below
from .. import crossorigin
from ..access.authorize import resource_of
from ..access.identity import is_allowed, user_key, user_keys
from ..access.tickets import SECONDS
from .base import ApiHandler

if TYPE_CHECKING:
    from ...routes import Route


class TicketRequest(msgspec.Struct):
    """What a page sends.

    Attributes:
        path: The path of its socket, as the browser has it.
        base: base_url, as the browser has it; empty where that is not known.
        refused: Whether it asks why the last handshake at the path was refused.
    """

    path: str
    base: str = ""
    refused: bool = False


class TicketsHandler(ApiHandler):
    """The address where pages fetch tickets for routes with ``xsrf: ticket``."""

    most = {"post": 4096}

    @property
    def origin(self) -> str:
        """Where the page is from that asks; empty where that is not said."""
        return str(self.request.headers.get("Origin", ""))

    async def prepare(self) -> None:  # type: ignore[override]
        """Tell a browser, before it asks, whether a page that a route's `origins` names may."""
        # Different answers to different origins.
        self.set_header("Vary", "Origin")
        if self.request.method == "OPTIONS" and self.check_host() and self._is_named():
            crossorigin.let_read(self, self.origin, cookies=True)
            self.set_header("Access-Control-Allow-Methods", "POST")
            self.set_header(
                "Access-Control-Allow-Headers", "Authorization, Content-Type, X-XSRFToken"
            )
            self.set_header("Access-Control-Max-Age", "600")
            self.set_status(204)
            self.finish()
            return
        await super().prepare()

    def _is_named(self) -> bool:
        return bool(self.origin) and crossorigin.named(self.services.manager, self.origin)

    def check_origin(self, origin_to_satisfy_tornado: str = "") -> bool:
        """Let pages ask that a route's `origins` names; which route they ask of, comes later."""
        return self._is_named() or super().check_origin(origin_to_satisfy_tornado)

    def set_cors_headers(self) -> None:
        """Let pages read the answer that a route's `origins` names."""
        super().set_cors_headers()
        if self._is_named():
            crossorigin.let_read(self, self.origin, cookies=True)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Answer with an error that the same pages may read; Tornado has cleared the headers."""
        self.set_header("Vary", "Origin")
        if self._is_named():
            crossorigin.let_read(self, self.origin, cookies=True)
        super().write_error(status_code, **kwargs)

    @ws_authenticated
    async def post(self) -> None:
        """Answer with a ticket for the socket at ``{"path": ...}``.

        The path is the whole one, base_url included, as it stands in the socket's URL. A page that
        says in `base` what base_url is in its browser may be behind a proxy that strips a prefix,
        or sets another: the ticket is for the path below base_url. The answer is
        ``{"ticket": text, "expires_in": seconds}``; the ticket is null where none is needed: by
        the route, or by who sends a token. 403 where the user may not use the route, or a page of
        another origin not this one, 404 where there is none. With ``"refused": true`` no ticket is
        given, and the answer has ``"refused"`` with the `status`, `reason` and `cause` of the last
        handshake that this page was refused at that path, or null.
        """
        expected = 'JSON: {"path": "/the/path/of/the/socket"}'
        asked = self.body_as(TicketRequest, expected)
        path = self._arriving(asked.path.partition("?")[0], asked.base)
        if not path.startswith("/"):
            raise HTTPError(400, f"expected {expected}: the path does not begin with /")
        route = self._route(path)
        if route is None:
            # A page asks again and again, for as long as its tab is open.
            self.silent = not self.services.tickets.is_news(path)
            raise HTTPError(404, "no route has this path")
        self.services.tickets.found(path)
        if not crossorigin.named_by(route, self.origin) and not super().check_origin():
            raise HTTPError(403, "this origin is not allowed")
        user = self.current_user
        ticket, config = None, route.config
        with self.answering():
            if not await self.may(resource_of(route)):
                raise HTTPError(403, "this user is not authorized for this route")
            if not is_allowed(user, config.auth):
                raise HTTPError(403, "this user may not use this route")
        self.set_header("Cache-Control", "no-store")
        if asked.refused:
            self.finish(json.dumps({"ticket": None, "refused": self._refused(path)}))
            return
        if config.xsrf == "ticket" and config.auth.required and not self.token_authenticated:
            ticket = self.services.tickets.issue(user_key(user), route.name, normal_path(path))
        self.finish(json.dumps({"ticket": ticket, "expires_in": SECONDS}))

    def _arriving(self, path: str, base: str) -> str:
        """Return the path of a socket as it arrives here, from what it is in a browser."""
        known = unquote(base) == unquote(self.base_url)
        if known or not base.endswith("/") or not path.startswith(base):
            return path
        return self.base_url + path[len(base) :]

    def _refused(self, path: str) -> dict[str, Any] | None:
        for key in user_keys(self):
            found = self.services.refusals.recent.get((key, self.origin, normal_path(path)))
            if found is not None:
                return {"status": found.status, "reason": found.reason, "cause": found.cause}
        return None

    def _route(self, path: str) -> Route | None:
        below = path_below(self.base_url, path)
        found = None if below is None else self.services.manager.table.find(below)
        # A file of a page has no socket.
        return None if found is None or found[1] else found[0][0]
