"""Identity over time: a login that has ended ends its open connections, too.

The handshake asks once; after that a user may log out, a token may be revoked, a membership may
be withdrawn. So the identity provider and the authorizer are asked again, once per credential
and period however many connections use it, and a logout is acted on at once.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from jupyter_core.utils import ensure_async
from jupyter_server.base.handlers import JupyterHandler
from tornado.httputil import HTTPHeaders, HTTPServerRequest, RequestStartLine
from tornado.web import Application, HTTPError

from ..connection import Connection
from ..manager import WebSocketManager
from ..routes import Route
from ..types import CloseCode
from .hub import HubLogins
from .identity import complete, hub_auth_of, is_allowed
from .refusals import Refusals

REMEMBER_AT_MOST = 10_000
"""Logins remembered as ended by a logout; the oldest are forgotten first."""

LONGEST_WAIT = 15.0
"""Seconds after which the periods are looked at again: a reload may have made them shorter."""

QUESTIONS_AT_A_TIME = 8
"""Credentials that are asked about at the same time."""


class Nowhere:
    """Be the connection of a request that nobody sent."""

    context = None

    def set_close_callback(self, callback: Any) -> None:
        """Ignore the callback: nothing is open."""


def login_cookie(handler: JupyterHandler) -> str | None:
    """Return the request's login cookie, as it came."""
    provider = handler.identity_provider
    if not hasattr(provider, "get_cookie_name"):
        return None
    return handler.get_cookie(provider.get_cookie_name(handler))


def credential_digests(handler: JupyterHandler) -> tuple[str, ...]:
    """Return digests of what a request proves its identity with; none is a secret itself.

    Args:
        handler: Any handler of the request.

    Returns:
        The digest of what proved it first: a token beside a good login cookie proves nothing
        unless the identity provider says that it did.
    """
    fields = []
    provider = handler.identity_provider
    token = provider.get_token(handler) if hasattr(provider, "get_token") else None
    token = token or handler.request.headers.get("Authorization")
    if token:
        fields.append(f"token:{token}")
    cookie = login_cookie(handler)
    if cookie:
        by_cookie = (
            not provider.is_token_authenticated(handler)
            and handler.get_signed_cookie(provider.get_cookie_name(handler)) is not None
        )
        fields.insert(0 if by_cookie else len(fields), f"cookie:{cookie}")
    return tuple(hashlib.sha256(field.encode()).hexdigest() for field in fields)


def _is_refusal(error: Exception) -> bool:
    """Return whether an exception says no, as at the handshake, and not that nobody can say."""
    return isinstance(error, HTTPError) and error.status_code < 500


class Recheck:
    """Ask again who is behind the open connections, and close those whose login has ended.

    Args:
        application: Jupyter's web application.
        manager: Owns the connections.
        refusals: Takes note of who is put out.
    """

    def __init__(
        self, application: Application, manager: WebSocketManager, refusals: Refusals
    ) -> None:
        self._application = application
        self._manager = manager
        self._refusals = refusals
        self._asked_at: dict[str, float] = {}
        self._ended: OrderedDict[str, None] = OrderedDict()
        self._task: asyncio.Task[None] | None = None
        self._asking: dict[str, asyncio.Task[None]] = {}
        self._complained = False
        self._due = float("inf")
        self._wake = asyncio.Event()
        self._places = asyncio.Semaphore(QUESTIONS_AT_A_TIME)
        hub_auth = hub_auth_of(application.settings.get("identity_provider"))
        self.hub = None if hub_auth is None else HubLogins(hub_auth, self._browser_logged_out)

    # ---- life ------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to ask again; also act on every logout from now on."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="wshandler recheck")
        provider = self._application.settings.get("identity_provider")
        clear = getattr(provider, "clear_login_cookie", None)
        if clear is None or getattr(clear, "_wshandler", False):
            return

        def clear_login_cookie(handler: JupyterHandler) -> Any:
            self.logged_out(handler)
            return clear(handler)

        clear_login_cookie._wshandler = True  # type: ignore[attr-defined]
        provider.clear_login_cookie = clear_login_cookie  # type: ignore[union-attr]

    async def stop(self) -> None:
        """Stop asking."""
        tasks = [*filter(None, [self._task]), *self._asking.values()]
        self._task = None
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        if self.hub is not None:
            await self.hub.stop()

    # ---- what is known ------------------------------------------------------------------------

    @contextmanager
    def fresh(self, seconds: float) -> Iterator[None]:
        """Take no answer about an identity that is older, in this context.

        Args:
            seconds: A route's `recheck`; 0 leaves it to the identity provider.
        """
        if self.hub is None:
            yield
            return
        with self.hub.fresh(seconds):
            yield

    def credentials(self, handler: JupyterHandler) -> tuple[str, ...]:
        """Return digests of what a request proves its identity with, the best one first.

        Args:
            handler: A handler whose identity has been asked for.
        """
        if self.hub is None:
            return credential_digests(handler)
        credential = self.hub.credential(handler)
        return () if credential is None else (credential,)

    def admit(self, handler: JupyterHandler, connection: Connection) -> bool:
        """Note a new connection's credential; return whether it is known to have ended.

        Args:
            handler: The handshake's handler.
            connection: The connection that it opens.
        """
        digests = self.credentials(handler)
        # A token that is good speaks for itself; a login cookie beside it may be old.
        connection._credential = digests[0] if digests else None
        if connection._credential is None:
            return True
        digest, now = connection._credential, time.monotonic()
        # The Hub may have been asked a while before this connection came.
        answered_at = None if self.hub is None else self.hub.answered_at(digest)
        asked_at = self._asked_at.setdefault(digest, answered_at or now)
        period = connection._route.config.auth.recheck
        if period and asked_at + period < self._due:
            self._due = asked_at + period
            self._wake.set()
        return digest not in self._ended and (self.hub is None or not self.hub.is_nobody(digest))

    def logged_out(self, handler: JupyterHandler) -> None:
        """Close the connections of the browser that logs out.

        Args:
            handler: The handler that is about to clear the browser's login cookie.
        """
        cookie = login_cookie(handler)
        name = handler.identity_provider.get_cookie_name(handler) if cookie else ""
        # A cookie that nobody signed is cleared, too; there is nothing to remember about it.
        if not cookie or handler.get_signed_cookie(name) is None:
            return
        self._browser_logged_out(hashlib.sha256(f"cookie:{cookie}".encode()).hexdigest())

    def _browser_logged_out(self, digest: str) -> None:
        # The login cookie is good for itself, at the Hub at least until the page there has been
        # loaded: it would open a socket again.
        self._ended[digest] = None
        while len(self._ended) > REMEMBER_AT_MOST:
            self._ended.popitem(last=False)
        for connection in self._of(digest):
            self._close(connection, CloseCode.LOGGED_OUT, "you have logged out")

    def _of(self, digest: str) -> list[Connection]:
        return [c for c in self._manager.connections.values() if c._credential == digest]

    def _close(self, connection: Connection, code: int, reason: str) -> None:
        try:
            self._refusals.closed(connection, code, reason)
            connection._close(code, reason)
        except Exception:
            # The others have to be closed, too.
            self._manager.log.exception("%r could not be closed", connection)

    # ---- asking again ---------------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            wait = min(LONGEST_WAIT, max(0.0, self._due - time.monotonic()))
            try:
                # `wait_for` of Python 3.11 may swallow the cancellation of `stop`.
                async with asyncio.timeout(wait):
                    await self._wake.wait()
            except TimeoutError:
                try:
                    self._ask_who_is_due()
                except Exception:
                    # What asks about all must outlive what goes wrong with one.
                    self._due = time.monotonic() + 1.0
                    self._manager.log.exception("Open connections could not be looked at")
            self._wake.clear()

    def _ask_who_is_due(self) -> None:
        """Begin to ask about every credential whose period is over."""
        now = time.monotonic()
        open_: dict[str, list[Connection]] = {}
        for connection in self._manager.connections.values():
            auth = connection._route.config.auth
            if connection._credential is not None and auth.required and auth.recheck:
                open_.setdefault(connection._credential, []).append(connection)
        self._asked_at = {d: at for d, at in self._asked_at.items() if d in open_}
        self._due = float("inf")
        for digest, connections in open_.items():
            if digest in self._asking:
                continue
            period = min(c._route.config.auth.recheck for c in connections)
            if now - self._asked_at.setdefault(digest, now) >= period:
                # One task for each: who is answered late holds nobody else up.
                self._asking[digest] = asyncio.get_running_loop().create_task(
                    self._ask_again(digest, connections, period), name="wshandler asks again"
                )
            else:
                self._due = min(self._due, self._asked_at[digest] + period)

    async def _ask_again(self, digest: str, connections: list[Connection], period: float) -> None:
        asked_at = time.monotonic()
        try:
            await self._ask(digest, connections, period)
        except Exception:
            self._manager.log.exception("A login could not be asked for again")
        finally:
            del self._asking[digest]
        # An answer that somebody else had got shortly before counts from then.
        answered_at = None if self.hub is None else self.hub.answered_at(digest)
        if answered_at is not None and answered_at >= asked_at - period / 2:
            asked_at = answered_at
        self._asked_at[digest] = asked_at
        self._due = min(self._due, asked_at + period)
        self._wake.set()

    async def _ask(self, digest: str, connections: list[Connection], period: float) -> None:
        verdicts: dict[str, bool] = {}
        try:
            handler = self._handler(connections[0])
            async with self._places:
                with self.fresh(period / 2):
                    user = await ensure_async(handler.identity_provider.get_user(handler))
            # Another login beside it, such as a cookie, may be good; it did not open these.
            if user is not None and self.credentials(handler)[:1] != (digest,):
                user = None
            handler.current_user = complete(user)
            if user is not None:
                for route in {c._route for c in connections}:
                    verdicts[route.name] = await self._may(handler, route)
        except Exception as error:
            if not _is_refusal(error):
                self._complain(error)
                return
            user = None
        self._complained = False
        known = self.hub is not None and self.hub.is_known(digest)
        for connection in self._of(digest):
            if not connection._route.config.auth.required:
                continue
            if user is None and not known:
                self._close(connection, CloseCode.LOGGED_OUT, "your login has ended")
            elif user is None or not verdicts.get(connection.route, True):
                self._close(connection, CloseCode.FORBIDDEN, "you are no longer allowed here")

    async def _may(self, handler: JupyterHandler, route: Route) -> bool:
        """Return what the authorizer, and the rules of a route, say of the handler's user."""
        user = handler.current_user
        try:
            authorized = await ensure_async(
                handler.authorizer.is_authorized(
                    handler, user, "execute", f"wshandler:{route.name}"
                )
            )
        except Exception as error:
            if not _is_refusal(error):
                raise
            return False
        return bool(authorized) and is_allowed(user, route.config.auth)

    def _complain(self, error: Exception) -> None:
        """Log once that nobody can be asked; who cannot be asked has not said no."""
        if not self._complained:
            self._complained = True
            self._manager.log.warning(
                "Logins of open connections cannot be asked for again: %s", type(error).__name__
            )

    def _handler(self, connection: Connection) -> JupyterHandler:
        """Return a handler for the connection's opening request, to ask about it again."""
        request = connection.request
        headers = HTTPHeaders()
        for name, value in request.headers.items():
            headers.add(name, value)
        again = HTTPServerRequest(
            start_line=RequestStartLine("GET", request.uri, "HTTP/1.1"),
            headers=headers,
            connection=Nowhere(),  # type: ignore[arg-type]
        )
        again.remote_ip = request.remote_ip
        again.protocol = request.protocol
        return JupyterHandler(self._application, again)
