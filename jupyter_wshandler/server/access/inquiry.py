"""What a request asks of others before it is answered: who sends it, and whether they may.

The identity provider and the Authorizer are somebody else's code. Where one fails, or says nothing
for a while, the request is answered all the same: 503, with a sentence that tells a client nothing
of the cause, which is in the log once a minute.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from http import HTTPStatus
from typing import Any

from jupyter_server.base.call_context import CallContext
from jupyter_server.base.handlers import JupyterHandler
from tornado.web import Finish, HTTPError

from ..heard import counted, heard
from ..services import Services
from .asking import AUTHORIZER, IDENTITY, ClientGone, Denied, Unanswered, at_once
from .authorize import ACTION, is_authorized
from .identity import complete

NO_ANSWER = {
    IDENTITY: "the server cannot find out who you are; try again later",
    AUTHORIZER: "the server cannot find out whether you may do this; try again later",
}
"""What a client is told, by who has not answered."""

SILENT_LOG = logging.Logger("jupyter_wshandler.silent", logging.CRITICAL + 1)
"""A log that takes nothing."""

CLIENT_GONE = 499
"""The status of a request whose client has gone, in metrics and logs: nobody reads it."""


class InquiringHandler(JupyterHandler):
    """A handler whose questions to the identity provider and the Authorizer have an end."""

    services: Services

    silent = False
    """Whether nothing more is logged about this request, as it has been said often enough."""

    _gone: asyncio.Future[None] | None = None

    def initialize(self, services: Services, **more: Any) -> None:
        """Take what the handlers of this server share.

        Args:
            services: That.
            more: What a class of Jupyter's takes in this place.
        """
        super().initialize(**more)
        self.services = services
        self.memo: dict[str, str | None] = {}
        # `bodies` knows nothing of the services, and looks for it here.
        self.leftovers = services.leftovers

    @property
    def log(self) -> logging.Logger:
        """Where lines about this request go, Jupyter's own included."""
        return SILENT_LOG if self.silent else heard(super().log)

    @property
    def gone(self) -> asyncio.Future[None]:
        """Done as soon as the client has closed its connection."""
        if self._gone is None:
            self._gone = asyncio.get_running_loop().create_future()
        return self._gone

    def on_connection_close(self) -> None:
        """Take note that nobody waits for the answer any more."""
        if not self.gone.done():
            self.gone.set_result(None)
        super().on_connection_close()

    def _log(self) -> None:
        """Log the request; where it failed, without the query of the page that it came from.

        Jupyter writes the Referer of what is answered with 500 and above, and before 2.21 whole:
        with the token in it.
        """
        page = self.request.headers.get("Referer", "")
        if self.get_status() >= HTTPStatus.INTERNAL_SERVER_ERROR and "?" in page:
            self.request.headers["Referer"] = page.partition("?")[0]
        upgraded = self.get_status() == HTTPStatus.SWITCHING_PROTOCOLS
        if not (upgraded and not self.log.isEnabledFor(logging.DEBUG) and counted(self)):
            super()._log()

    def answering(self) -> AbstractContextManager[None]:
        """Answer with 503 where somebody who was asked in here has not.

        Raises:
            HTTPError: 503; as `unavailable` makes it.
            Finish: The client has gone.
        """
        return _Answering(self)

    def end(self, error: BaseException) -> None:
        """Raise what a request ends with that has had no answer; without effect for all else.

        Args:
            error: What was raised.

        Raises:
            HTTPError: 503.
            Finish: The client has gone.
        """
        if isinstance(error, Unanswered):
            self.services.recheck.unanswered.request(error, self.named)
            raise self.unavailable(NO_ANSWER[error.asked]) from None
        if isinstance(error, ClientGone):
            self.set_status(CLIENT_GONE, "client has gone")
            raise Finish from None

    @property
    def named(self) -> str:
        """What log lines call this request; holds no query."""
        return self.request.path

    def unavailable(self, sentence: str) -> HTTPError:
        """Return the 503 for a client.

        Args:
            sentence: What it is told.
        """
        return HTTPError(503, sentence)

    async def find_out_who(self, prepare: Callable[[], Any]) -> None:
        """Let Jupyter find out who asks, and set `current_user`.

        Args:
            prepare: The `prepare` of a class of Jupyter's, bound to this handler.

        Raises:
            HTTPError: It refuses the request.
            Unanswered: The identity provider has failed, or does not answer.
            ClientGone: Nobody waits for the answer.
        """
        CallContext.set(CallContext.JUPYTER_HANDLER, self)
        recheck = self.services.recheck
        try:
            await recheck.asker.ask(IDENTITY, prepare, self, recheck.patience, self.gone)
        except Denied as denied:
            raise denied.error from None
        if not self._finished:
            at_once(IDENTITY, _check_user, self.current_user)

    async def may(self, resource: str, action: str = ACTION) -> bool:
        """Return whether the Authorizer lets who asks do something.

        Args:
            resource: With what: see `authorize`.
            action: What: to run it, unless something else is said.

        Raises:
            HTTPError: It refuses the request.
            Unanswered: It has failed, or does not answer.
            ClientGone: Nobody waits for the answer.
        """
        recheck = self.services.recheck
        try:
            return await is_authorized(
                recheck.asker, self, resource, action, patience=recheck.patience, gone=self.gone
            )
        except Denied as denied:
            raise denied.error from None

    @property
    def token_authenticated(self) -> bool:
        """Whether a token has proved who asks, by the identity provider's word."""
        return at_once(IDENTITY, self.identity_provider.is_token_authenticated, self)

    def skip_check_origin(self) -> bool:
        """Return whether the identity provider says that the request's origin matters not."""
        return not at_once(IDENTITY, self.identity_provider.should_check_origin, self)


class _Answering(AbstractContextManager[None]):
    """See `InquiringHandler.answering`; a generator would cost more than what it does."""

    def __init__(self, handler: InquiringHandler) -> None:
        self._handler = handler

    def __enter__(self) -> None:
        """Do nothing."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Say what is said where nobody has answered."""
        if error is not None:
            self._handler.end(error)


def _check_user(user: Any) -> None:
    """Raise TypeError where an identity provider's user is none that can be told from others."""
    if user is not None and not isinstance(getattr(user, "username", None), str):
        raise TypeError(
            f"expected a jupyter_server.auth.User with a username, found {type(user).__name__}"
        )
    complete(user)
