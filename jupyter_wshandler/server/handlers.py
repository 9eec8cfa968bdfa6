"""What is answered at a route's address: the WebSocket's opening handshake, or the route's page.

Jupyter and Tornado do HTTP, identity and authorization, `admission` decides on them before a
handler's verb runs; `upgrade` answers 101 and hands the byte stream over.
"""

from __future__ import annotations

from http.client import responses
from typing import Any

from jupyter_server.auth.decorator import allow_unauthenticated, ws_authenticated
from jupyter_server.utils import url_path_join
from tornado.web import HTTPError, stream_request_body

from ..config.paths import as_escaped, normal_path
from ..connection.connection import Connection
from ..connection.opening import Opening
from ..connection.request import Request
from ..engine.handshake import upgrade_required
from ..engine.resuming import without_secret
from ..errors import LimitReached
from . import console, pages, sandbox
from .access.admission import BROKEN
from .access.asking import Unanswered
from .access.authorize import READ, RESOURCE
from .access.identity import session_id, user_key
from .access.refusals import Refusal
from .access.refused import GuestRefused, Refused
from .bodies import UnreadBody
from .folderhandler import FolderHandler
from .upgrade import UpgradeHandler

OFFERS = "Sec-Websocket-Protocol"
"""The header field in which a client says what it speaks, as Tornado spells it; a secret may be
in it, which nobody but this server is told."""


class RouteHandler(UpgradeHandler, FolderHandler):
    """All methods at the address of one route; subclasses decorate the verbs."""

    # ---- what is answered -------------------------------------------------------------------

    async def serve(self) -> None:
        """Answer a GET: the upgrade, or the route's page."""
        with self.answering():
            await self._serve()

    async def _serve(self) -> None:
        """Ask the route's own questions in their order, and answer.

        `admission` has asked the server's: who is it, from which page, may they run this route?
        What follows may run code of the route's, so that each question comes before all that are
        dearer, and before all whose answer is none of a stranger's business:

        1. Is there anything to open or to show? That needs no connection and no session.
        2. Has the login ended, or does the route's `auth` leave the user out? A user who may not
           come in takes no place from those who may.
        3. Is there a place? Functions of the route's run for no more clients than have one.
        4. What do the route's own functions say (`condition`, `may_join`)?
        5. Does the route work at all? Its being broken is told to those whom it would have served.
        """
        upgrade = self.upgrading
        if not upgrade:
            self.set_header("Vary", "Accept, Cookie")
        self.refuse_if_stopping()
        # A server under pytest-jupyter never runs the extension's start hook.
        await self.services.manager.start()
        healthy = await self.services.manager.heal(self.route)
        if not upgrade:
            self.refuse_without_page(healthy)
        if upgrade and self.services.manager.host_of(self.route).busy:
            raise Refused(503, "the notebook's kernel is busy", {"Retry-After": "5"})
        connection = self._connection()
        opened = False
        try:
            name, new = self._session()
            sessions = self.services.manager.sessions
            connection.take_session(await sessions.attach(name, self._user_key(), new=new))
            if upgrade:
                self.refuse_if_logged_out(connection)
            self.check_membership()
            if upgrade:
                await self.look_for_resumed(connection)
            if upgrade and self.resumed is None:
                self.take_seat(connection)
            await self.check_condition(connection)
            if self.resumed is None:
                await self.check_rooms(connection)
            if not healthy and self.resumed is None:
                raise Refused(503, BROKEN)
            if upgrade:
                opened = await self._upgrade(connection)
            else:
                await self.serve_page()
        finally:
            if not opened:
                # Gives back what it has taken: its place, and its share of the session.
                self.services.manager.release(connection)

    def _session(self) -> tuple[str, bool]:
        """Return the id of the request's session, and whether it is new."""
        claim = self.claim
        if claim is not None and claim.card is not None:
            return claim.card.session, not claim.is_known
        return session_id(self, self.names, secure=self.services.secure_cookie)

    async def _upgrade(self, connection: Connection) -> bool:
        """Open the connection; a guest who has not come before counts when it opens."""
        if self.resumed is not None:
            return await self.upgrade(connection)
        await self.count_guest()
        opened = False
        try:
            opened = await self.upgrade(connection)
        finally:
            if not opened:
                self.give_use_back()
        if self.claim is not None and self.guest is not None and opened:
            self.services.guest_pages.take(connection, self.guest)
            self.services.guests.take(connection, self.guest)
            self.services.guests.came(self.claim)
        return opened

    def _connection(self) -> Connection:
        """Return the connection that may open: what the route's functions are asked about."""
        return self.services.manager.connection(
            self.route,
            Opening(
                Request(
                    [
                        (name, without_secret(value) if name == OFFERS else value)
                        for name, value in self.request.headers.get_all()
                    ],
                    as_escaped(self.request.uri or "/"),
                    self.request.remote_ip or "",
                    self.request.protocol,
                    self.request.host,
                ),
                current_user=self.current_user,
                path_args=self.found.args,
                path_kwargs=self.found.kwargs,
            ),
        )

    def refuse_without_page(self, healthy: bool = True) -> None:
        """Refuse to show a page where the route has none, or none is asked for.

        Args:
            healthy: Whether the route's functions are there. Whoever asks without a browser is
                told so; a page says it after the route's own rules.
        """
        if self.route.config_error:
            # What is wrong with it may be its page.
            raise Refused(503, BROKEN)
        if self.page_wanted:
            return
        if not healthy:
            raise Refused(503, BROKEN)
        # In HTTP/1.0 the field means nothing (RFC 9110 section 7.8).
        old = self.request.version == "HTTP/1.0"
        asked = [] if old else self.request.headers.get_list("Upgrade")
        raise Refused(
            426,
            "this is a WebSocket; connect to it with ws:// or wss://",
            {**upgrade_required(asked), "Vary": "Accept, Cookie"},
        )

    def refuse_body(self) -> None:
        """Refuse a request with a body: no route takes one."""
        asked_for_page = self.request.method == "HEAD" and self.page_wanted
        if self.request.method != "GET" and not asked_for_page:
            self.refuse_method()
        if self.upgrading:
            raise Refused(400, "a request for a WebSocket must not have a body")
        self.refuse_without_page()
        raise Refused(400, "a page is shown to a request without a body")

    async def serve_head(self) -> None:
        """Answer a HEAD: that of the page, where GET would get it."""
        if self.upgrading or not self.page_wanted:
            self.refuse_method()
        await self.serve()

    def take_seat(self, connection: Connection) -> None:
        """Take the connection's place in the limits, before functions of the route's run for it.

        Raises:
            Refused: There is none.
        """
        try:
            is_guest = self.guest is not None
            self.services.manager.admit(connection, self._visitor(), guest=is_guest)
        except LimitReached as error:
            # A reached limit has a line of its own, once a minute.
            self.silent = True
            raise Refused(error.status, error.reason, error.headers) from None

    def _user_key(self) -> str:
        user = self.current_user
        return "anonymous" if user is None else user_key(user)

    def _visitor(self) -> str:
        """Return who counts as one for the limits: a user, a token, or an address."""
        if self.current_user is None:
            return f"address:{self.request.remote_ip}"
        return self.names[0]

    async def serve_page(self) -> None:
        """Answer with the route's page, or with a file of the folder that it is."""
        if self.claim is not None:
            self.sandbox()
        if self.route.folder:
            await self.serve_folder()
            return
        if isinstance(self.route.config.page, str):
            await self.serve_file()
            return
        link = await self.console_seen_from_here() if self.route.page is None else ""
        static_url, path = self.services.static_url, self.request.path
        body, policy = pages.render(self.route, static_url, path, link)
        text = self.written_into_page()
        if text:
            whole = body.encode() if isinstance(body, str) else body
            body = sandbox.inserted(whole, text)
        else:
            # Reading it sets the cookie that the page's POST for a ticket is checked with.
            _ = self.xsrf_token
            self.set_header("Cache-Control", "no-cache")
        self.set_header("Content-Type", pages.HTML)
        if policy:
            # Beside Jupyter's own: a browser obeys both.
            self.add_header("Content-Security-Policy", policy)
        self.finish(body)

    async def console_seen_from_here(self) -> str:
        """Return where the console is, for a link to it; empty for who may not see it."""
        user = self.current_user
        if user is None or self.claim is not None or self.services.publishers.why_not_at_all(user):
            return ""
        try:
            may_see = await self.may(RESOURCE, READ)
        except (HTTPError, Unanswered):  # the chat is there all the same
            return ""
        where = url_path_join(self.base_url, console.PATH)
        return pages.seen_from(self.request.path, where) if may_see else ""

    # ---- refusals ---------------------------------------------------------------------------

    def refuse_method(self) -> None:
        """Answer a method that a WebSocket route does not have."""
        raise Refused(405, "a WebSocket is opened with GET")

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Answer with one plain sentence: no traceback, no template."""
        error = (kwargs.get("exc_info") or (None, None))[1]
        sentence = responses.get(status_code, "refused")
        if isinstance(error, Refused):
            sentence = error.sentence
            for name, value in error.headers.items():
                self.set_header(name, value)
        if status_code == 405:
            # Tornado refuses the methods it does not know itself, and says no more than that.
            self.set_header("Allow", "GET, HEAD" if pages.exists(self.route) else "GET")
        self.set_header("Cache-Control", "no-store")
        reads = self.page_wanted and pages.accepts_html(self.accepted)
        if isinstance(error, GuestRefused) and reads:
            self.set_header("Content-Type", pages.HTML)
            self.set_header("Content-Security-Policy", f"{pages.POLICY}; {sandbox.POLICY}")
            path, static_url = self.request.path, self.services.static_url
            self.finish(pages.render_refusal(sentence, static_url, path))
            return
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish(f"{status_code}: {sentence}\n")

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        """Write one line a refusal; Tornado's own would hold the query, and so the token."""
        if isinstance(value, HTTPError):
            if self.upgrading:
                self.remember(value)
            self.services.refusals.handshake(
                self.route.config.name,
                getattr(self, "_jupyter_current_user", None),
                value.status_code,
                value.sentence if isinstance(value, Refused) else value.reason or "refused",
                detail=value.detail if isinstance(value, Refused) else "",
                silent=self.silent,
            )
        else:
            self.log.error(
                "Route %s: the handshake failed",
                self.route.config.name,
                exc_info=(typ, value, tb),
            )

    def remember(self, error: HTTPError) -> None:
        """Keep what was refused for who was: a browser tells its page nothing of it."""
        user = getattr(self, "_jupyter_current_user", None)
        if user is None or not isinstance(error, Refused):
            return
        refusal = Refusal(error.status_code, error.sentence, error.cause)
        for key in self.names:
            path = normal_path(as_escaped(self.request.path))
            self.services.refusals.recent.put((key, self.get_origin() or "", path), refusal)


class PrivateRouteHandler(RouteHandler):
    """A route that needs a login, whatever `allow_unauthenticated_access` says."""

    @ws_authenticated
    async def get(self) -> None:
        """Open the WebSocket, or show the page."""
        await self.serve()

    @ws_authenticated
    async def head(self) -> None:
        """Show what GET would show, without its body."""
        await self.serve_head()

    @ws_authenticated
    def post(self) -> None:
        """Refuse."""
        self.refuse_method()

    put = patch = delete = options = post


class PublicRouteHandler(RouteHandler):
    """A route with ``auth: false``, which the administrator has allowed."""

    @allow_unauthenticated
    async def get(self) -> None:
        """Open the WebSocket, or show the page."""
        await self.serve()

    @allow_unauthenticated
    async def head(self) -> None:
        """Show what GET would show, without its body."""
        await self.serve_head()

    @allow_unauthenticated
    def post(self) -> None:
        """Refuse."""
        self.refuse_method()

    put = patch = delete = options = post


@stream_request_body
class PrivateRouteHandlerWithBody(UnreadBody, PrivateRouteHandler):
    """A route that needs a login, for requests with a body: refused before it is read."""

    _may_begin = False  # it waits for what is still in the network

    async def prepare(self) -> None:  # type: ignore[override]
        """Decide who may, and refuse those who may, too."""
        await super().prepare()
        if not self._finished:
            self.refuse_body()


@stream_request_body
class PublicRouteHandlerWithBody(UnreadBody, PublicRouteHandler):
    """A route with ``auth: false``, for requests with a body: refused before it is read."""

    _may_begin = False  # it waits for what is still in the network

    async def prepare(self) -> None:  # type: ignore[override]
        """Decide on what is decided for everybody, and refuse."""
        await super().prepare()
        if not self._finished:
            self.refuse_body()
