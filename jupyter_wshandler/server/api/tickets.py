"""The REST API below ``<base_url>/wshandler/api/``: what pages and programs ask for."""

from __future__ import annotations

import json
import logging
from http.client import responses
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import msgspec
from jupyter_server.auth.decorator import ws_authenticated
from jupyter_server.base.handlers import APIHandler
from tornado.routing import Matcher, Rule
from tornado.web import HTTPError, RequestHandler, stream_request_body

from ...config.paths import normal_path, path_below
from .. import crossorigin
from ..access.identity import is_allowed, user_key, user_keys
from ..access.inquiry import InquiringHandler
from ..access.tickets import SECONDS, Tickets
from ..bodies import LastAnswer, Leftovers, T, UnreadBody, WrongBody, decoded, rules_for
from ..forwarded import read_forwarded

if TYPE_CHECKING:
    from ...manager.manager import WebSocketManager
    from ...routes import Route
    from ..access.recheck import Recheck
    from ..access.refusals import Refusals

NOWHERE = logging.Logger("jupyter_wshandler.nowhere", logging.CRITICAL + 1)
"""A log that takes nothing."""

BODY_SECONDS = 10.0
"""Seconds that a client has to send a body."""


class ApiHandler(InquiringHandler, APIHandler):
    """Serve one address of the API to who may: asked before a byte of a body is read.

    Jupyter's `prepare` checks Host, login, Origin and, for a login by cookie, XSRF; then the
    Authorizer is asked. A subclass says in `most` how large the bodies of its verbs may be, and
    takes one with `body_as`. `rules` makes its rules.
    """

    auth_resource = "wshandler"
    auth_action = "execute"

    most: dict[str, int] = {}
    """Bytes that a body may have, by verb, such as {"post": 4096}; other verbs have none."""

    # Messages are activity; what only leads to a socket is not.
    _track_activity = False

    leftovers: Leftovers
    body = b""

    @property
    def recheck_period(self) -> float:
        """How old the Hub's answer about who asks may be, in seconds; 0 leaves it to the Hub."""
        periods = [
            route.config.auth.recheck
            for route in self.manager.table
            if route.config.auth.required and route.config.auth.recheck
        ]
        return min(periods, default=0.0)

    def initialize(
        self,
        manager: WebSocketManager,
        recheck: Recheck,
        leftovers: Leftovers,
        tickets: Tickets | None = None,
        refusals: Refusals | None = None,
    ) -> None:
        """Take what the application gives."""
        self.manager = manager
        self.recheck = recheck
        self.leftovers = leftovers
        self.tickets = tickets or Tickets()
        self.refusals = refusals

    async def prepare(self) -> None:  # type: ignore[override]
        """Decide who may, by answers as fresh as the strictest route asks for."""
        read_forwarded(self)
        with self.answering():
            with self.recheck.fresh(self.recheck_period):
                await self.find_out_who(super().prepare)
            if self._finished:
                return
            user = self.current_user
            if user is None:
                raise HTTPError(403, "log in first, or send a token")
            if not await self.may(user, self.auth_action, self.auth_resource):
                raise HTTPError(403, "this user is not authorized for this")

    @property
    def named(self) -> str:
        """What log lines call this request."""
        return f"API {self.request.path}"

    def body_as(self, kind: type[T], expected: str) -> T:
        """Return what the body says.

        Args:
            kind: A msgspec.Struct.
            expected: What it should be, for who has sent something else.

        Raises:
            HTTPError: 400, it is not that.
        """
        try:
            return decoded(self.body, kind, expected)
        except WrongBody as error:
            # A `%` of the client's would be taken for a format.
            raise HTTPError(400, str(error).replace("%", "%%")) from None

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        """Write one line a refusal; Tornado's own would hold the query, and so the token."""
        if isinstance(value, HTTPError):
            why = value.log_message or value.reason or responses.get(value.status_code, "refused")
            self.log.info("API %s: %d: %s", self.request.path, value.status_code, why)
        else:
            self.log.error("API %s failed", self.request.path, exc_info=(typ, value, tb))

    @ws_authenticated
    def options(self) -> None:
        """Refuse: pages of other sites send tokens, and need nothing of what is here."""
        raise HTTPError(405)


class WithBodyHandler(UnreadBody, ApiHandler):
    """Read a body into memory where it is a small one, and from who may send it."""

    async def prepare(self) -> None:  # type: ignore[override]
        """Decide who may, and whether the body can be what is expected."""
        await super().prepare()
        if self._finished:
            return
        verb = (self.request.method or "").lower()
        if verb == "options" or getattr(type(self), verb) is getattr(RequestHandler, verb):
            raise HTTPError(405)
        if verb not in self.most:
            raise HTTPError(400, "a body means nothing here")
        if self.request.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
            raise HTTPError(415, "send the body as it is, without a Content-Encoding")
        self._may_have = self.most[verb]
        length = self.request.headers.get("Content-Length", "").strip()
        if length.isascii() and length.isdigit() and int(length[:20]) > self._may_have:
            raise self._too_large()
        self._received = bytearray()
        connection: Any = self.request.connection
        connection.set_body_timeout(BODY_SECONDS)
        self.lets_body_in = True

    def _too_large(self) -> HTTPError:
        return HTTPError(413, f"a body of more than {self._may_have} bytes is not read")

    def data_received(self, chunk: bytes) -> Any:
        """Take a piece of the body."""
        if self._finished:
            return None
        self._received += chunk
        if len(self._received) > self._may_have:
            # It had no length, and so could not be refused before.
            return self._refuse_the_rest()
        self.body = bytes(self._received)
        return None

    async def _refuse_the_rest(self) -> None:
        connection: Any = self.request.connection
        self._received.clear()
        error = self._too_large()
        self.refuse_now(error)
        # Tornado waits with reading on until this is done, and finds the stream closed.
        await self.leftovers.skipped(connection.stream)

    def refuse_now(self, error: HTTPError) -> None:
        """Answer while the body still comes.

        Args:
            error: The answer.
        """
        connection: Any = self.request.connection
        self.log_exception(type(error), error, None)
        self.request.connection = LastAnswer(connection, None)
        self.send_error(error.status_code, exc_info=(type(error), error, None))


def rules(matcher: Matcher, handler: type[ApiHandler], settings: dict[str, Any]) -> list[Rule]:
    """Return the rules of an address of the API.

    Args:
        matcher: Matches the address.
        handler: Serves it.
        settings: What its `initialize` gets.
    """
    with_body = type(f"{handler.__name__}WithBody", (WithBodyHandler, handler), {})
    return rules_for(matcher, handler, stream_request_body(with_body), settings)


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
    """Give out tickets for routes with ``xsrf: ticket``."""

    most = {"post": 4096}

    _quiet = False
    """Whether nothing is written to the log about this request."""

    @property
    def log(self) -> Any:
        """Where Jupyter and this package write what becomes of a request."""
        return NOWHERE if self._quiet else super().log

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
        return bool(self.origin) and crossorigin.named(self.manager, self.origin)

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
            self._quiet = not self.tickets.is_news(path)
            raise HTTPError(404, "no route has this path")
        self.tickets.found(path)
        if not crossorigin.named_by(route, self.origin) and not super().check_origin():
            raise HTTPError(403, "this origin is not allowed")
        user = self.current_user
        ticket, config = None, route.config
        with self.answering():
            if not await self.may(user, "execute", f"wshandler:{route.name}"):
                raise HTTPError(403, "this user is not authorized for this route")
            if not is_allowed(user, config.auth):
                raise HTTPError(403, "this user may not use this route")
        self.set_header("Cache-Control", "no-store")
        if asked.refused:
            self.finish(json.dumps({"ticket": None, "refused": self._refused(path)}))
            return
        if config.xsrf == "ticket" and config.auth.required and not self.token_authenticated:
            ticket = self.tickets.issue(user_key(user), route.name, normal_path(path))
        self.finish(json.dumps({"ticket": ticket, "expires_in": SECONDS}))

    def _arriving(self, path: str, base: str) -> str:
        """Return the path of a socket as it arrives here, from what it is in a browser."""
        known = unquote(base) == unquote(self.base_url)
        if known or not base.endswith("/") or not path.startswith(base):
            return path
        return self.base_url + path[len(base) :]

    def _refused(self, path: str) -> dict[str, Any] | None:
        if self.refusals is None:
            return None
        for key in user_keys(self):
            found = self.refusals.recent.get((key, self.origin, normal_path(path)))
            if found is not None:
                return found._asdict()
        return None

    def _route(self, path: str) -> Route | None:
        below = path_below(self.base_url, path)
        found = None if below is None else self.manager.table.find(below)
        # A file of a page has no socket.
        return None if found is None or found[1] else found[0][0]
