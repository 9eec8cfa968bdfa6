"""Who may open a WebSocket, or see a route's page: decided before anything else of ours runs.

No code of the user's runs here, but for the function that a route names for deciding (`condition`).
"""

from __future__ import annotations

import asyncio
from typing import Any

from jupyter_server.auth.authorizer import AllowAllAuthorizer
from jupyter_server.auth.identity import IdentityProvider, PasswordIdentityProvider
from jupyter_server.base.handlers import JupyterHandler
from jupyter_server.base.websocket import WebSocketMixin
from tornado.httputil import url_concat
from tornado.web import HTTPError

from ...callbacks.errorlog import write_whole
from ...config.origins import OriginRules
from ...config.paths import as_escaped, normal_path
from ...connection.connection import Connection
from ...engine.handshake import is_upgrade
from ...errors import ConnectionClosed, ConnectionRefused, NoAnswer, PoolBusy
from ...guard import sheltered
from ...rooms.names import first_rooms
from .. import pages
from ..forwarded import read_forwarded
from ..hints import lost_upgrade, refused_origin
from ..routing import Found
from ..services import Services
from .asking import ClientGone, Unanswered
from .authorize import resource_of
from .guesthandler import GuestHandler
from .identity import cookie_name, hub_auth_of, is_allowed, user_key, user_keys
from .refused import Refused, StaleLogin, WrongOrigin
from .setcookie import set_cookie_line, signed_value
from .tickets import ARGUMENT as TICKET
from .waiting import begin

UNASKED = "the Hub cannot be asked who you are; try again"

BROKEN = "this route is broken; its error is in the server's log"


_PROVIDERS = {IdentityProvider, PasswordIdentityProvider}
_REPLACED = {"get_user", "get_user_token", "get_user_cookie", "is_authorized"}
_ASKED = {"condition", "may_join", "select_subprotocol", "get_compression_options"}
"""Jupyter's own who are asked about a request, what may be somebody else's in them, and the
functions of a route's that take part in a handshake."""


class AdmissionHandler(GuestHandler, WebSocketMixin, JupyterHandler):
    """The decision who may use one route; a subclass says what is answered then."""

    upgrading = False
    """Whether a socket is asked for."""

    page_path: str | None = None
    """What a path names in the folder that is the route's page; None at the route's address."""

    _known_names: tuple[Any, list[str]] | None = None

    @property
    def names(self) -> list[str]:
        """The names that a session may be bound to; from `user_keys`, which is asked once."""
        user = self.current_user
        if self._known_names is None or self._known_names[0] is not user:
            self._known_names = (user, user_keys(self))
        return self._known_names[1]

    @property
    def accepted(self) -> list[str]:
        """The values of the request's Accept fields."""
        return self.request.headers.get_list("Accept")

    def initialize(self, services: Services, found: Found) -> None:  # type: ignore[override]
        """Take what the handlers share, and what the matcher has found.

        Args:
            services: What the handlers share.
            found: The route of the request's path.
        """
        super().initialize(services)
        self.found = found
        self.route = found.route
        self.cookie_lines: dict[str, str] = {}
        self.page_path = found.page_path

    def _execute(self, transforms: list[Any], *args: bytes, **kwargs: bytes) -> Any:
        """Answer the request: at once, where nothing that was written for a task of its own runs.

        Args:
            transforms: Tornado's.
            args: What its rules have found in the path; ours find nothing.
            kwargs: The same, by name.
        """
        answering = super()._execute(transforms, *args, **kwargs)
        return begin(answering) if self._may_begin else answering

    @property
    def _may_begin(self) -> bool:
        """Whether all who are asked about the request are known to answer without waiting."""
        provider = self.settings.get("identity_provider")
        authorizer = self.settings.get("authorizer")
        return (
            type(provider) in _PROVIDERS
            and type(authorizer) is AllowAllAuthorizer
            and _REPLACED.isdisjoint(vars(provider))
            and _REPLACED.isdisjoint(vars(authorizer))
            and _ASKED.isdisjoint(self.route.callbacks)
            and self.route.host is None
            and self.request.method == "GET"
        )

    # ---- who may -------------------------------------------------------------------------

    async def prepare(self) -> None:  # type: ignore[override]
        """Decide on identity, origin and authorization, before anything else runs."""
        read_forwarded(self)
        with self.answering():
            await self.decide()

    async def decide(self) -> None:
        """Decide on identity, origin and authorization.

        Raises:
            HTTPError: The request is refused.
            Unanswered: Somebody who was asked has failed, or does not answer.
            ClientGone: Nobody waits for the answer.
        """
        upgrade = is_upgrade(list(self.request.headers.get_all()))
        self.upgrading = upgrade = upgrade and not pages.is_visit(self.request)
        page = self.page_wanted = not upgrade and pages.wanted(self.route, self.request)
        # Whoever is logged out is led to the login where a person looks at the answer.
        leads = page and (not self.page_path or pages.accepts_html(self.accepted))
        if await self.comes_as_guest():
            if page and self.claim is not None and self.claim.in_query:
                self.exchange(self.claim)
                return
        else:
            await self.identify(leads)
        if self._finished:
            return
        required = self.route.config.auth.required
        user = self.current_user
        if user is None and required:
            if leads:
                self.redirect_to_login()
                return
            raise Refused(403, "log in first, or send a token")
        if upgrade and not self.origin_allowed():
            raise WrongOrigin(self._origin_hint())
        if user is not None and self.claim is None and not await self.may(resource_of(self.route)):
            raise Refused(403, "this user is not authorized for this route")
        if upgrade and self.page_path:
            raise Refused(404, "this is a file of a page; the WebSocket is at the page's address")
        if upgrade:
            self.check_ticket()

    async def identify(self, redirect: bool) -> None:
        """Let Jupyter find out who asks; the Hub's answer is no older than `recheck`.

        Args:
            redirect: Whether somebody who is not logged in is sent to the login.

        Raises:
            Refused: The Hub cannot be asked.
        """
        try:
            with self.services.recheck.fresh(self.route.config.auth.recheck):
                await self.find_out_who(
                    lambda: JupyterHandler.prepare(self, _redirect_to_login=redirect)
                )
        except Unanswered as unanswered:
            is_hub = hub_auth_of(self.identity_provider) is not None
            if is_hub and unanswered.result == "unreachable":
                raise self.unavailable(UNASKED) from None
            raise
        if self.services.recheck.is_overdue(self, self.route):
            raise Refused(503, UNASKED, {"Retry-After": "5"})

    @property
    def named(self) -> str:
        """What log lines call this request."""
        return f"Route {self.route.config.name}"

    def unavailable(self, sentence: str) -> HTTPError:
        """Return the 503 for a client."""
        return Refused(503, sentence, {"Retry-After": "5"})

    def set_cookie(self, name: str, *args: Any, **kwargs: Any) -> None:
        """Set a cookie, but none of JupyterHub's on a socket.

        JupyterHub makes a login cookie of a token in the address of a page. It would not for a
        socket either, and does not see that this is one.
        """
        if self.upgrading and self.services.recheck.hub is not None and name != cookie_name(self):
            return
        line = None
        if self.upgrading and len(args) == 1 and name not in getattr(self, "_new_cookie", ()):
            line = set_cookie_line(name, args[0], **kwargs)
        if line is not None:
            self.cookie_lines[name] = line
        else:
            self.cookie_lines.pop(name, None)
            super().set_cookie(name, *args, **kwargs)

    def create_signed_value(
        self, name: str, value: str | bytes, version: int | None = None
    ) -> bytes:
        """Return a value with its time and its signature."""
        known = None
        if version is None:
            known = signed_value(self.settings.get("cookie_secret"), name, value)
        return super().create_signed_value(name, value, version) if known is None else known

    def flush(self, include_footers: bool = False) -> asyncio.Future[None]:
        """Send what there is, and the cookies before it."""
        if not self._headers_written:
            for line in self.cookie_lines.values():
                self.add_header("Set-Cookie", line)
        return super().flush(include_footers)

    def take_cookies(self) -> list[str]:
        """Return the values of the Set-Cookie fields that belong to the answer."""
        others = getattr(self, "_new_cookie", {})
        return [*self.cookie_lines.values(), *(c.OutputString(None) for c in others.values())]

    def redirect_to_login(self) -> None:
        """Send a browser to Jupyter's login page and back."""
        url = self.get_login_url()
        # The Hub's has a query of its own, and remembers where its user came from.
        self.redirect(url if "?" in url else url_concat(url, {"next": self.request.path}))

    def origin_allowed(self) -> bool:
        """Return whether the page that asks may use this route.

        Nobody else checks: Tornado's check lives in its own WebSocketHandler.
        """
        origin = self.get_origin()
        if self.claim is not None and origin == "null":
            return self.claim.lets_null
        site = self.request.headers.get("Sec-Fetch-Site", "")
        if origin is None:
            # A script has neither field; a browser that hides its origin is refused.
            return site not in ("cross-site", "same-site")
        if len(self.request.headers.get_list("Origin")) > 1:
            return False
        if self.route.config.origins is not None:
            return OriginRules.of(self.route.config.origins).matches(origin)
        return bool(self.check_origin(origin))

    def skip_check_origin(self) -> bool:
        """Return whether the request's origin matters not: of a guest it always does."""
        return self.claim is None and super().skip_check_origin()

    def _origin_hint(self) -> str:
        pattern = getattr(self.allow_origin_pat, "pattern", self.allow_origin_pat)
        allow = self.allow_origin or str(pattern or "")
        found = refused_origin(self.request, self.route.config.origins, allow)
        return "; ".join(filter(None, (found, lost_upgrade(self.request))))

    def check_ticket(self) -> None:
        """Take the ticket of a browser that brings its login cookie, where the route wants one.

        Raises:
            Refused: There is none, or it is not good (any more).
        """
        config = self.route.config
        if config.xsrf != "ticket" or not config.auth.required:
            return
        if self.claim is not None:
            if not self.claim.is_explicit:
                raise StaleLogin("a ticket is needed; open the link again")
            return
        if self.token_authenticated:
            return
        text = self.get_query_argument(TICKET, "")
        if not text:
            raise StaleLogin("a ticket is needed; a page fetches it from wshandler/api/tickets")
        who, path = user_key(self.current_user), normal_path(as_escaped(self.request.path))
        if not self.services.tickets.take(text, who, config.name, path):
            raise StaleLogin("the ticket is not good here, or not any more; fetch a new one")

    def check_membership(self) -> None:
        """Apply what the route says of its users: `users`, `groups`, `scopes`, `membership`.

        Raises:
            Refused: The user is none of them.
        """
        if self.claim is not None:
            return  # the owner has let them in, who are no users
        if not is_allowed(self.current_user, self.route.config.auth):
            raise Refused(403, "this user may not use this route")

    async def check_condition(self, connection: Connection) -> None:
        """Ask the route's own function, its `condition`.

        Raises:
            Refused: It says no, it fails, or it does not answer.
            ClientGone: Nobody waits for the answer.
        """
        auth = self.route.config.auth
        if auth.condition is None:
            return
        if "condition" not in self.route.callbacks:
            raise Refused(503, BROKEN)
        try:
            answer = await self.ask_route(connection, "condition")
            allowed = sheltered("condition", bool, answer)
        except ConnectionRefused as refusal:
            raise Refused(403, _words_of(refusal) or "refused by the route's rule") from None
        except (Refused, ClientGone):
            raise
        except Exception as error:
            name = self.route.config.name
            write_whole(self.log, f"Route {name}: its auth function failed", error)
            raise Refused(403, "refused by the route's rule") from None
        if not allowed:
            raise Refused(403, "refused by the route's rule")

    async def check_rooms(self, connection: Connection) -> None:
        """Ask the route's own function about the rooms of a connection, its `may_join`.

        Raises:
            Refused: It says no, it fails, or it does not answer; or a name can be no room's.
            ClientGone: Nobody waits for the answer.
        """
        try:
            rooms = first_rooms(connection)
        except ConnectionRefused as refusal:
            raise Refused(403, str(refusal)) from None
        if self.route.config.may_join is None:
            return
        if "may_join" not in self.route.callbacks:
            raise Refused(503, BROKEN)
        for room in rooms:
            try:
                answer = await self.ask_route(connection, "may_join", room)
                allowed = sheltered("may_join", bool, answer)
            except (Refused, ClientGone):
                raise
            except ConnectionRefused as refusal:
                raise Refused(403, _words_of(refusal) or "this room is not open to you") from None
            except Exception as error:
                name = self.route.config.name
                write_whole(self.log, f"Route {name}: its may_join failed", error)
                raise Refused(403, "this room is not open to you") from None
            if not allowed:
                raise Refused(403, "this room is not open to you")

    async def ask_route(self, connection: Connection, event: str, *args: Any) -> Any:
        """Call a function of the route's that takes part in the handshake.

        Args:
            connection: The connection that is to open.
            event: The function: "condition", or another one that `WebSocketManager.ask` takes.
            args: What it gets after the connection.

        Raises:
            Refused: 503, it does not answer, or no thread is free for it.
            ClientGone: Nobody waits for the answer.
            Exception: Whatever the function raises.
        """
        try:
            return await self.services.manager.ask(connection, event, *args, gone=self.gone)
        except NoAnswer as error:
            late = Unanswered(f"its {event}", error, late=True)
            self.services.recheck.unanswered.request(late, self.named)
            raise self.unavailable(
                f"this route's {event} does not answer; try again later"
            ) from None
        except PoolBusy as error:
            busy = Unanswered("the threads", error, late=True)
            self.services.recheck.unanswered.request(busy, self.named)
            raise self.unavailable("the server is busy; try again later") from None
        except ConnectionClosed:
            if self.gone.done():
                raise ClientGone from None
            raise


def _words_of(refusal: ConnectionRefused) -> str:
    """Return what a rule says to whom it refuses; nothing where even that fails."""
    try:
        return sheltered("condition", str, refusal)
    except Exception:
        return ""
