"""Empty a server before it is stopped, at ``<base_url>/wshandler/api/drain``."""

from __future__ import annotations

import msgspec
from jupyter_server.auth.decorator import ws_authenticated
from tornado.web import HTTPError

from ...kernels.batches import one_line
from .base import ApiHandler

SECONDS = 10.0
"""Seconds in which clients go, where nothing else is said."""

LONGEST = 3600.0
"""Seconds that they may be given."""

NOT_NAMED = (
    "this user may not drain the server; its administrator names who may in "
    "c.WSHandlerApp.publishers, and SIGTERM drains it in any case"
)

EXPECTED = f'JSON such as {{"seconds": 30}}, with 0 to {LONGEST:g}'


class Wish(msgspec.Struct, forbid_unknown_fields=True):
    """How a server is to be emptied.

    Attributes:
        seconds: In which its clients go, each at its own time.
    """

    seconds: float = SECONDS


class DrainHandler(ApiHandler):
    """The address where a server is emptied, by whom the Authorizer lets do it.

    Whoever may talk to a bot of a server with bots only must not end it for all others: there, it
    is for those whom the administrator has named.
    """

    most = {"post": 1000}

    async def prepare(self) -> None:  # type: ignore[override]
        """Decide who may, before a byte of the body is read."""
        await super().prepare()
        if not self._finished and self.services.publishers.why_not_at_all(self.current_user):
            raise HTTPError(403, NOT_NAMED)

    @ws_authenticated
    def get(self) -> None:
        """Answer with ``{"draining": ..., "connections": ...}``."""
        self._answer_state()

    @ws_authenticated
    def post(self) -> None:
        """Begin, if it has not begun, and answer as `get`.

        The body is a `Wish`, or there is none.
        """
        wish = self.body_as(Wish, EXPECTED) if self.body else Wish()
        if not 0 <= wish.seconds <= LONGEST:  # nor is it what is no number
            raise HTTPError(400, f"expected {EXPECTED}: found {wish.seconds:g}")
        self.log.info("The server is drained, as %s wants", self._who)
        patience = self.settings["wshandler"].stop_timeout
        self.services.manager.drain.begin(wish.seconds, patience)
        self._answer_state()

    @ws_authenticated
    async def delete(self) -> None:
        """Take new clients again, and answer as `get`."""
        if self.services.manager.stopping:
            raise HTTPError(409, "the server is stopping already")
        await self.services.manager.drain.end()
        self.log.info("The server takes new clients again, as %s wants", self._who)
        self._answer_state()

    @property
    def _who(self) -> str:
        return one_line(str(self.current_user.username), 60)

    def _answer_state(self) -> None:
        drain = self.services.manager.drain
        self.answer({"draining": drain.is_on, "connections": drain.left})
