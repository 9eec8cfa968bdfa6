"""The WebSocket's opening handshake as a Jupyter handler.

Jupyter and Tornado do HTTP, identity and authorization, `admission` decides; this module answers
101 and hands the byte stream over.
"""

from __future__ import annotations

from http.client import responses
from typing import Any

from jupyter_server.auth.decorator import allow_unauthenticated, ws_authenticated
from jupyter_server.base.handlers import FileFindHandler
from tornado.web import HTTPError, stream_request_body

from ..callbacks.errorlog import write_whole
from ..config.paths import as_escaped, normal_path
from ..connection.connection import Connection
from ..connection.request import Request
from ..engine.chat import SUBPROTOCOL
from ..engine.deflate import PerMessageDeflate
from ..engine.handshake import (
    Handshake,
    check_upgrade,
    select_subprotocol,
    upgrade_required,
)
from ..engine.protocol import Protocol
from ..errors import HandshakeError, LimitReached
from ..guard import sheltered
from ..manager.manager import WebSocketManager
from ..transports.handover import take_over
from ..types import Codec
from . import crossorigin, pages
from .access.admission import BROKEN, Refused, StaleLogin
from .access.asking import ClientGone
from .access.identity import session_id, user_key, user_keys
from .access.inquiry import InquiringHandler
from .access.recheck import Recheck
from .access.refusals import Refusal
from .api.bodies import Leftovers, UnreadBody, has_body
from .folderhandler import FolderHandler
from .hints import lost_upgrade


class RouteHandler(FolderHandler):
    """Serve every method on the path of one route; subclasses decorate the verbs."""

    # ---- what is answered -------------------------------------------------------------------

    async def serve(self) -> None:
        """Answer a GET: the upgrade, or the route's page."""
        with self.answering():
            await self._serve()

    async def _serve(self) -> None:
        pairs = list(self.request.headers.get_all())
        upgrade = self.upgrading
        if not upgrade:
            self.set_header("Vary", "Accept, Cookie")
        self.refuse_if_stopping()
        # A server under pytest-jupyter never runs the extension's start hook.
        await self.manager.start()
        healthy = await self.manager.heal(self.route)
        if not upgrade:
            self.refuse_without_page(healthy)
        if upgrade and self.route.host is not None and self.route.host.busy:
            raise Refused(503, "the notebook's kernel is busy", {"Retry-After": "5"})
        connection = self.manager.connection(
            self.route,
            Request(
                pairs,
                as_escaped(self.request.uri or "/"),
                self.request.remote_ip or "",
                self.request.protocol,
                self.request.host,
            ),
            current_user=self.current_user,
            path_args=self.route_args,
            path_kwargs=self.route_kwargs,
        )
        opened = False
        try:
            name, new = session_id(self, secure=self.secure_cookie)
            connection._session = await self.manager.sessions.attach(
                name, self._user_key(), new=new
            )
            if upgrade:
                self.refuse_if_logged_out(connection)
            self.check_membership()
            if upgrade:
                self.take_seat(connection)
            await self.check_condition(connection)
            if not healthy:
                raise Refused(503, BROKEN)
            if upgrade:
                opened = await self.upgrade(connection, pairs)
            else:
                await self.serve_page()
        finally:
            if not opened:
                self.manager.release(connection)

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

    def refuse_if_stopping(self) -> None:
        """Refuse while the server stops: nobody would say goodbye to a new connection."""
        if self.manager.stopping:
            raise Refused(503, "the server is stopping")

    def refuse_if_logged_out(self, connection: Connection) -> None:
        """Refuse a credential that has ended, where the route asks for one at all."""
        if not self.recheck.admit(self, connection) and self.route.config.auth.required:
            raise StaleLogin("this login has ended; log in again")

    def take_seat(self, connection: Connection) -> None:
        """Take the connection's place in the limits, before functions of the route's run for it.

        Raises:
            Refused: There is none.
        """
        try:
            self.manager.admit(connection, self._visitor())
        except LimitReached as error:
            self.silent = True
            raise Refused(error.status, error.reason, error.headers) from None

    def _user_key(self) -> str:
        user = self.current_user
        return "anonymous" if user is None else user_key(user)

    def _visitor(self) -> str:
        """Return who counts as one for the limits: a user, a token, or an address."""
        if self.current_user is None:
            return f"address:{self.request.remote_ip}"
        return user_keys(self)[0]

    async def serve_page(self) -> None:
        """Answer with the route's page, or with a file of the folder that it is."""
        if self.route.folder:
            await self.serve_folder()
            return
        if isinstance(self.route.config.page, str):
            await self.serve_file()
            return
        # Reading it sets the cookie that the page's POST for a ticket is checked with.
        _ = self.xsrf_token
        body, policy = pages.render(self.route, self.scripts)
        self.set_header("Content-Type", pages.HTML)
        self.set_header("Cache-Control", "no-cache")
        if policy:
            # Beside Jupyter's own: a browser obeys both.
            self.add_header("Content-Security-Policy", policy)
        self.finish(body)

    async def upgrade(self, connection: Connection, pairs: list[tuple[str, str]]) -> bool:
        """Complete the handshake and open the connection.

        Args:
            connection: The connection to open.
            pairs: The request's header fields.

        Returns:
            Whether it is open: a client may leave in the middle.
        """
        method, version = self.request.method or "", self.request.version
        try:
            handshake = check_upgrade(method, version, pairs)
        except HandshakeError as error:
            detail = lost_upgrade(self.request)
            raise Refused(error.status, error.reason, error.headers, detail=detail) from None
        chats = SUBPROTOCOL in handshake.subprotocols
        # It is between our chat and us, and no business of the route's.
        offered = [name for name in handshake.subprotocols if name != SUBPROTOCOL]
        subprotocol = await self.choose_subprotocol(connection, offered)
        deflate, extensions = await self.choose_compression(connection, handshake)
        # The route's own functions may have taken their time; nothing is awaited from here on.
        self.refuse_if_stopping()
        self.refuse_if_logged_out(connection)
        self.clear_header("Content-Type")
        self.set_status(101)
        self.set_header("Upgrade", "websocket")
        self.set_header("Connection", "Upgrade")
        self.set_header("Sec-WebSocket-Accept", handshake.accept)
        if subprotocol is not None:
            self.set_header("Sec-WebSocket-Protocol", subprotocol)
            connection.subprotocol = subprotocol
        elif chats:
            self.set_header("Sec-WebSocket-Protocol", SUBPROTOCOL)
        if extensions:
            self.set_header("Sec-WebSocket-Extensions", extensions)
        self.finish()
        taken = take_over(self.detach(), self.manager.io, self.carrier)
        if taken is None:
            return False
        transport, early = taken
        protocol: Codec = Protocol(max_message=self.route.config.max_message, deflate=deflate)
        if chats and subprotocol is None:
            protocol = connection.envelop(protocol)
        self.manager.open(connection, protocol, transport, early)
        return True

    async def choose_subprotocol(self, connection: Connection, offered: list[str]) -> str | None:
        """Return the subprotocol to answer with, or None (RFC 6455 section 4.2.2)."""
        if not offered:
            return None
        if "select_subprotocol" not in self.route.callbacks:
            spoken = self.route.config.subprotocols
            found = select_subprotocol(offered, spoken)
            if found is None:
                self.refusals.unspoken(self.route.config.name, offered, spoken)
            return found
        chosen = await self._ask_about(connection, "select_subprotocol", list(offered))
        # Only of a real str are `==` and `repr` known to do no more than they say.
        if chosen is not None and (type(chosen) is not str or chosen not in offered):
            self.log.error(
                "Route %s: select_subprotocol returned %s, which the client did not offer",
                self.route.config.name,
                repr(chosen) if type(chosen) is str else type(chosen).__name__,
            )
            raise Refused(500, "the route's select_subprotocol failed")
        if chosen is None:
            self.refusals.unspoken(self.route.config.name, offered, None)
            return None
        return str(chosen)

    async def choose_compression(
        self, connection: Connection, handshake: Handshake
    ) -> tuple[PerMessageDeflate | None, str | None]:
        """Return the compression that client and route agree on, and the header to say so."""
        options: dict[str, Any] | None = {} if self.route.config.compression else None
        if "get_compression_options" in self.route.callbacks:
            options = await self._ask_about(connection, "get_compression_options")
            if options is not None and type(options) is not dict:
                options = self._plain(options)
        if options is None or not handshake.extensions:
            return None, None
        if self.route.config.queue.slow == "drop_oldest":
            # A dropped message must not be the one that later ones refer to.
            options = {**options, "server_no_context_takeover": True}
        try:
            return PerMessageDeflate.negotiate(handshake.extensions, options)
        except ValueError as error:
            self.log.error("Route %s: compression options: %s", self.route.config.name, error)
            raise Refused(500, "the route's compression options are wrong") from None

    def _plain(self, options: Any) -> dict[str, Any]:
        try:
            return sheltered("get_compression_options", dict, options)
        except Exception as error:
            name = self.route.config.name
            text = f"Route {name}: get_compression_options returned no mapping"
            write_whole(self.log, text, error)
            raise Refused(500, "the route's get_compression_options failed") from None

    async def _ask_about(self, connection: Connection, event: str, *args: Any) -> Any:
        try:
            return await self.ask_route(connection, event, *args)
        except (Refused, ClientGone):
            raise
        except Exception as error:
            write_whole(self.log, f"Route {self.route.config.name}: its {event} failed", error)
            raise Refused(500, f"the route's {event} failed") from None

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
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.set_header("Cache-Control", "no-store")
        self.finish(f"{status_code}: {sentence}\n")

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        """Write one line a refusal; Tornado's own would hold the query, and so the token."""
        if isinstance(value, HTTPError):
            if self.upgrading:
                self.remember(value)
            self.refusals.handshake(
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
        for key in user_keys(self):
            path = normal_path(as_escaped(self.request.path))
            self.refusals.recent.put((key, self.get_origin() or "", path), refusal)


class PrivateRouteHandler(RouteHandler):
    """Serve a route that needs a login, whatever `allow_unauthenticated_access` says."""

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
    """Serve a route with ``auth: false``, which the administrator has allowed."""

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
    """Refuse a request with a body to a route that needs a login, before the body is read."""

    async def prepare(self) -> None:  # type: ignore[override]
        """Decide who may, and refuse those who may, too."""
        await super().prepare()
        if not self._finished:
            self.refuse_body()


@stream_request_body
class PublicRouteHandlerWithBody(UnreadBody, PublicRouteHandler):
    """Refuse a request with a body to a route with ``auth: false``, before the body is read."""

    async def prepare(self) -> None:  # type: ignore[override]
        """Decide on what is decided for everybody, and refuse."""
        await super().prepare()
        if not self._finished:
            self.refuse_body()


@stream_request_body
class StaticHandler(UnreadBody, InquiringHandler, FileFindHandler):
    """Serve the extension's files for browsers as Jupyter does, but read no bodies."""

    def initialize(  # type: ignore[override]
        self, leftovers: Leftovers, recheck: Recheck, manager: WebSocketManager, **settings: Any
    ) -> None:
        """Take what the application gives."""
        super().initialize(**settings)
        self.leftovers = leftovers
        self.recheck = recheck
        self.manager = manager

    def set_cors_headers(self) -> None:
        """Let the pages load the helper that the `origins` of a route admits."""
        super().set_cors_headers()
        self.set_header("Vary", "Origin")
        origin = self.request.headers.get("Origin", "")
        if origin and crossorigin.admitted(self.manager, origin):
            crossorigin.let_read(self, origin, cookies=False)

    def get_content_type(self) -> str:
        """Return the type of a file; that of TypeScript's declarations is plain text."""
        # Machines' tables know the ending as another program's, or as that of a film.
        if str(self.absolute_path).endswith(".d.ts"):
            return "text/plain; charset=utf-8"
        return super().get_content_type()

    async def prepare(self) -> None:  # type: ignore[override]
        """Refuse a body."""
        self.lets_body_in = not has_body(self.request.headers)
        with self.answering():
            await self.find_out_who(super().prepare)
        if not self.lets_body_in:
            raise HTTPError(400 if self.request.method in ("GET", "HEAD") else 405)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Answer with one plain sentence.

        Jupyter's page of an error needs a user, and raises where a method is refused before.
        """
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish(f"{status_code}: {responses.get(status_code, 'refused')}\n")
