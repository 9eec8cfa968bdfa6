"""Identity over time: a login that has ended ends its open connections, too.

The handshake asks once; after that a user may log out, a token may be revoked, a membership may
be withdrawn. So the identity provider and the authorizer are asked again, once per credential
and period however many connections use it, and a logout is acted on at once.

Three answers are told apart:

- No: the connection is closed.
- Yes: it stays, until the period is over again.
- None at all, as the Hub is being restarted or a provider fails. Taken for a no, it would throw
  everybody out at each restart of the Hub; taken for a yes, it would let those stay for ever whose
  access was withdrawn meanwhile. So it stays for the route's `grace`, counted from the last answer.

There is one clock for all: it sleeps until the first period is over, and begins a task for each
question that is due. Nothing is held for a connection but the digest of its credential.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from jupyter_server.base.handlers import JupyterHandler
from tornado.web import Application

from ...callbacks.questions import ANSWER_TIMEOUT
from ...connection.connection import Connection
from ...manager.clock import by_name
from ...manager.manager import WebSocketManager
from ...routes import Route
from ...types import CloseCode
from ..heard import heard
from .asking import PATIENCE, AskedAgain, Asker, Denied, Unanswered, handler_of
from .authorize import is_authorized, resource_of
from .credentials import (
    cookie_digest,
    login_cookie,
    of_request,
    proof,
    question_about,
    signed_by_us,
)
from .hub import HubLogins
from .identity import complete, hub_auth_of, is_allowed
from .refusals import Refusals
from .unanswered import UnansweredLog

REMEMBER_AT_MOST = 10_000
"""Logins remembered as ended by a logout; the oldest are forgotten first."""

LONGEST_WAIT = 15.0
"""Seconds after which the periods are looked at again: a reload may have made them shorter."""

QUESTIONS_AT_A_TIME = 8
"""Credentials that are asked about at the same time."""

HUB, OURSELVES = "the Hub", "jupyter_wshandler"
"""Who has not answered, beside those whom `asking` knows."""


class _Logout:
    """A provider's `clear_login_cookie`, of which the recheck hears first.

    Args:
        recheck: Closes the connections of the browser that logs out.
        clear: The provider's own.
    """

    def __init__(self, recheck: Recheck, clear: Callable[[JupyterHandler], Any]) -> None:
        self._recheck = recheck
        self._clear = clear

    def __call__(self, handler: JupyterHandler) -> Any:
        """Close the browser's connections, and let the provider do what it does."""
        self._recheck.logged_out(handler)
        return self._clear(handler)


class Recheck:
    """The watch over open connections: it asks again who they are, and closes what has ended.

    Args:
        application: Jupyter's web application.
        manager: Owns the connections.
        refusals: Takes note of who is put out.
        patience: Seconds that an answer may take while a client waits for it.
    """

    def __init__(
        self,
        application: Application,
        manager: WebSocketManager,
        refusals: Refusals,
        patience: float = ANSWER_TIMEOUT,
    ) -> None:
        self.patience = patience
        self._application = application
        self._manager = manager
        self._refusals = refusals
        # Questions are those of `question_about`: connections that are asked about together.
        self._asked_at: dict[str, float] = {}
        # When somebody has last answered, for each question and the name of a route: the
        # Authorizer may answer about one of a user's routes and fail at another.
        self._answered_at: dict[tuple[str, str], float] = {}
        # Logins that a logout has ended: the cookies themselves are still good.
        self._ended: OrderedDict[str, None] = OrderedDict()
        self._task: asyncio.Task[None] | None = None
        self._asking: dict[str, asyncio.Task[None]] = {}
        self.asker = Asker()
        self.unanswered = UnansweredLog(manager, refusals)
        self._due = float("inf")
        self._wake = asyncio.Event()
        self._places = asyncio.Semaphore(QUESTIONS_AT_A_TIME)
        hub_auth = hub_auth_of(application.settings.get("identity_provider"))
        self.hub = None if hub_auth is None else HubLogins(hub_auth, self._browser_logged_out)

    # ---- life ------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to ask again; also act on every logout from now on."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="wshandler recheck")
        # Jupyter tells nobody of a logout; this is what it calls for one.
        provider = self._application.settings.get("identity_provider")
        clear = getattr(provider, "clear_login_cookie", None)
        if clear is not None and not isinstance(clear, _Logout):
            provider.clear_login_cookie = _Logout(self, clear)  # type: ignore[union-attr]
        # It writes a line for each token that comes.
        if isinstance(getattr(provider, "log", None), logging.Logger):
            provider.log = heard(provider.log)  # type: ignore[union-attr]

    async def stop(self) -> None:
        """Stop asking."""
        # First: a question that does not let itself be cancelled would hold its task up.
        await self.asker.stop()
        tasks = [*filter(None, [self._task]), *self._asking.values()]
        self._task = None
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        if self.hub is not None:
            await self.hub.stop()

    # ---- what is known ------------------------------------------------------------------------

    def fresh(self, seconds: float) -> AbstractContextManager[None]:
        """Take no answer about an identity that is older, in this context.

        Args:
            seconds: A route's `recheck`; 0 leaves it to the identity provider.
        """
        return nullcontext() if self.hub is None else self.hub.fresh(seconds)

    def proof(self, handler: JupyterHandler) -> str | None:
        """Return the digest of what proved who asks, or None where it was no token nor cookie.

        Args:
            handler: A handler whose `current_user` is set.
        """
        return proof(handler) if self.hub is None else self.hub.credential(handler)

    def note_login(self, handler: JupyterHandler, connection: Connection) -> bool:
        """Note a new connection's credential; return whether it is not known to have ended.

        A handshake asks twice: before and after all that takes time. What the credential is, is
        found out once.

        Args:
            handler: The handshake's handler.
            connection: The connection that it opens.
        """
        if handler.current_user is None:
            return True
        # What came neither with a token nor with a cookie came with the request as a whole.
        digest = connection.credential
        if digest is None:
            digest = self.proof(handler) or of_request(connection.request)
            connection.take_credential(digest)
        # The period counts from the answer: the Hub may have given it a while before this
        # connection came, and it is no newer for having been used once more.
        answered_at = None if self.hub is None else self.hub.answered_at(digest)
        question, now = question_about(connection), answered_at or time.monotonic()
        asked_at = self._asked_at.setdefault(question, now)
        self._answered_at[question, connection.route] = now
        period = connection.entry.config.auth.recheck
        if period and asked_at + period < self._due:
            self._due = asked_at + period
            self._wake.set()
        return digest not in self._ended and (self.hub is None or not self.hub.is_nobody(digest))

    def is_overdue(self, handler: JupyterHandler, route: Route) -> bool:
        """Return whether the Hub's last word about who asks is too old to open a route with.

        Args:
            handler: A handler whose `current_user` is set.
            route: The route.
        """
        auth = route.config.auth
        if self.hub is None or handler.current_user is None or not (auth.recheck and auth.grace):
            return False
        digest = self.hub.credential(handler)
        answered_at = None if digest is None else self.hub.answered_at(digest)
        age = 0.0 if answered_at is None else time.monotonic() - answered_at
        return age >= max(auth.grace, auth.recheck)

    def logged_out(self, handler: JupyterHandler) -> None:
        """Close the connections of the browser that logs out.

        Args:
            handler: The handler that is about to clear the browser's login cookie.
        """
        cookie = login_cookie(handler)
        # A cookie that nobody signed is cleared, too; there is nothing to remember about it.
        if not cookie or not signed_by_us(handler):
            return
        self._browser_logged_out(cookie_digest(cookie))

    def _browser_logged_out(self, digest: str) -> None:
        # The login cookie is good for itself, at the Hub at least until the page there has been
        # loaded: it would open a socket again.
        self._ended[digest] = None
        while len(self._ended) > REMEMBER_AT_MOST:
            self._ended.popitem(last=False)
        for connection in list(self._manager.connections.values()):
            if connection.credential == digest:
                self._close(connection, CloseCode.LOGGED_OUT, "you have logged out")

    def _close(self, connection: Connection, code: int, reason: str) -> None:
        if connection.closed:  # it waits for the client's close frame, and was told why
            return
        try:
            self._refusals.closed(connection, code, reason)
            connection.end(code, reason)
        except Exception:
            # The others have to be closed, too.
            self._manager.log.exception("%r could not be closed", connection)

    # ---- asking again ---------------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            wait = min(LONGEST_WAIT, max(0.0, self._due - time.monotonic()))
            try:
                # Woken by a new connection whose period ends before all others.
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
        for name, connection in by_name(self._manager.connections):
            try:
                auth = connection.entry.config.auth
                if connection.credential is not None and auth.required and auth.recheck:
                    open_.setdefault(question_about(connection), []).append(connection)
            except Exception:
                # The others' logins are asked about, whatever has become of this one.
                self._manager.give_up(name)
        # What nobody has open any more is forgotten.
        self._asked_at = {q: at for q, at in self._asked_at.items() if q in open_}
        self._answered_at = {q: at for q, at in self._answered_at.items() if q[0] in open_}
        self._due = float("inf")
        for question, connections in open_.items():
            if question in self._asking:
                continue
            period = min(c.entry.config.auth.recheck for c in connections)
            if now - self._asked_at.setdefault(question, now) >= period:
                # One task for each: who is answered late holds nobody else up.
                self._asking[question] = asyncio.get_running_loop().create_task(
                    self._ask_again(question, connections, period), name="wshandler asks again"
                )
            else:
                self._due = min(self._due, self._asked_at[question] + period)

    async def _ask_again(self, question: str, connections: list[Connection], period: float) -> None:
        asked_at = time.monotonic()
        try:
            await self._ask(question, connections, period)
        except Unanswered as unanswered:
            # What the identity provider says at once, such as whether it was a token.
            self._without_answer(question, unanswered, connections)
        except Exception as error:
            # A fault of ours. It is no answer, and has an end like any other that is missing.
            self._without_answer(question, Unanswered(OURSELVES, error), connections)
        finally:
            del self._asking[question]
        # An answer that somebody else had got shortly before counts from then.
        digest = connections[0].credential or ""
        answered_at = None if self.hub is None else self.hub.answered_at(digest)
        if answered_at is not None and answered_at >= asked_at - period / 2:
            asked_at = answered_at
        self._asked_at[question] = asked_at
        self._due = min(self._due, asked_at + period)
        self._wake.set()

    async def _ask(self, question: str, connections: list[Connection], period: float) -> None:
        first = connections[0]
        handler = self._handler(first)
        # Who never answers must not hold up the end of the grace, or those who came meanwhile.
        graces = [c.entry.config.auth.grace for c in connections if c.entry.config.auth.grace]
        patience = min([PATIENCE, *graces])
        async with self._places:
            asked_at = time.monotonic()
            try:
                # Half a period old is fresh enough: so a question of somebody else's, such as a
                # handshake's with the same token, spares the Hub this one.
                with self.fresh(period / 2):
                    user = complete(await self.asker.who(handler, patience))
            except Unanswered as unanswered:
                self._without_answer(question, unanswered, connections, asked_at)
                return
        digest = first.credential or ""
        # Another login beside it, such as a cookie, may be good; it did not open these.
        if user is not None and (self.proof(handler) or of_request(first.request)) != digest:
            user = None
        verdicts: dict[str, bool] = {}
        for route in {c.entry for c in connections} if user is not None else ():
            try:
                verdicts[route.name] = await self._may(handler, route, patience)
            except Unanswered as unanswered:
                same = [c for c in connections if c.entry is route]
                self._without_answer(question, unanswered, same, asked_at)
        # What is known is acted on first, also where the last question has had no answer.
        self._carry_out(question, digest, user is not None, verdicts)
        answered_at = asked_at if self.hub is None else self.hub.answered_at(digest) or 0.0
        if answered_at < asked_at - period / 2:
            # It was the Hub's word of before: the Hub itself has not answered now.
            missing = Unanswered(HUB, ConnectionError("the Hub has not answered"))
            self._without_answer(question, missing, connections)
            return
        for name in verdicts:
            self._answered_at[question, name] = answered_at

    async def _may(self, handler: JupyterHandler, route: Route, patience: float) -> bool:
        """Return what the authorizer, and the rules of a route, say of the handler's user."""
        resource = resource_of(route)
        try:
            may = await is_authorized(self.asker, handler, resource, patience=patience)
        except Denied:
            return False
        return may and is_allowed(handler.current_user, route.config.auth)

    def _carry_out(
        self, question: str, digest: str, known: bool, verdicts: dict[str, bool]
    ) -> None:
        """Close the connections whose login has ended, or whose user may not use them any more."""
        known_to_hub = self.hub is not None and self.hub.is_known(digest)
        result = "allowed"
        for connection in list(self._manager.connections.values()):
            if connection.credential != digest or not connection.entry.config.auth.required:
                continue
            if question_about(connection) != question:
                continue
            # The Hub knows whose the token is, and the provider says nobody: the user may not use
            # this server any more, which is no end of the login.
            if not known and not known_to_hub:
                result = "ended"
                self._close(connection, CloseCode.LOGGED_OUT, "your login has ended")
            elif not known or not verdicts.get(connection.route, True):
                result = "forbidden"
                self._close(connection, CloseCode.FORBIDDEN, "you are no longer allowed here")
        if not known or verdicts:
            self._manager.metrics.rechecks[result] += 1

    def _without_answer(
        self,
        question: str,
        unanswered: Unanswered,
        connections: list[Connection],
        asked_at: float | None = None,
    ) -> None:
        """Leave connections open that nobody can be asked about, but not for ever."""
        now = time.monotonic()
        since = now if asked_at is None else asked_at
        waited = {
            c.route: now - self._answered_at.setdefault((question, c.route), since)
            for c in connections
        }
        self.unanswered.note(unanswered, len(connections), max(waited.values(), default=0.0))
        for connection in connections:
            auth = connection.entry.config.auth
            if auth.required and auth.grace and waited[connection.route] >= auth.grace:
                self._close(
                    connection,
                    CloseCode.LOGGED_OUT,
                    f"nobody could be asked about your login for {waited[connection.route]:.0f} s",
                )

    def _handler(self, connection: Connection) -> AskedAgain:
        """Return a handler for the connection's opening request, to ask about it again."""
        return handler_of(self._application, connection.request)
