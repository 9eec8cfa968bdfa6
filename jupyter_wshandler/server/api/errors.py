"""What callbacks have raised, at ``<base_url>/wshandler/api/errors`` and below it."""

from __future__ import annotations

from itertools import islice
from typing import Any

from jupyter_server.auth.decorator import ws_authenticated
from tornado.web import HTTPError

from ...config.nodes import shorten
from ...kernels.batches import one_line
from ..access.authorize import ACTION, READ
from ..records.errors import EACH, KeptError
from .base import OTHERS_ROUTE
from .looking import LookingHandler, number, page, page_size

USUAL = 20
"""Errors on a page, where nothing is said; `EACH` at most."""


class ErrorsHandler(LookingHandler):
    """The address where the last errors are listed, and forgotten."""

    async def prepare(self) -> None:  # type: ignore[override]
        """Decide who may: to forget errors is more than to look at them."""
        is_look = self.request.method in ("GET", "OPTIONS")
        self.action = READ if is_look else ACTION
        self.known = frozenset({"route", "before", "limit"} if is_look else {"route"})
        await super().prepare()

    @ws_authenticated
    async def get(self) -> None:
        """Answer with ``{"errors": [...], "total", "next"}``, the newest first.

        ``?route=`` narrows it; ``?before=`` takes the `next` of the page before.
        """
        size, before = page_size(self, USUAL, EACH), number(self, "before", 2**53)
        routes = await self.routes(self.get_query_argument("route", None))
        book, whole = self.services.records.errors, await self.may_execute()
        kept = list(islice(book.newest(set(routes), before), size + 1))
        following = kept[size - 1].serial if size and len(kept) > size else None
        total = sum(book.count(name) for name in routes)
        self.answer(page("errors", [told(one, whole) for one in kept[:size]], total, following))

    @ws_authenticated
    async def delete(self) -> None:
        """Forget the errors of the ``?route=``, or of all that the user may look at: 204."""
        routes = await self.routes(self.get_query_argument("route", None))
        for name in routes:
            self.services.records.errors.forget(name)
        self.log.info(
            "%s has cleared the errors of %d routes from outside",
            one_line(str(self.current_user.username), 60),
            len(routes),
        )
        self.set_status(204)
        self.finish()


class ErrorHandler(LookingHandler):
    """The address of one error, by the id that the client was told."""

    @ws_authenticated
    async def get(self, error_id: str) -> None:
        """Answer with the error; 404 where it is not kept (any more)."""
        kept = self.services.records.errors.of_id(error_id)
        route = None if kept is None else self.services.manager.table.get(kept.route)
        if kept is None or route is None:
            raise HTTPError(404, f"no error {shorten(error_id)} is kept; the log may have it")
        if not await self.may_look_at(route):
            raise HTTPError(403, OTHERS_ROUTE)
        self.answer(told(kept, await self.may_execute()))


def told(kept: KeptError, whole: bool) -> dict[str, Any]:
    """Return an error as an answer has it.

    Args:
        kept: The error.
        whole: Whether who asks may see the code that has failed, and what it was sent.
    """
    return {
        "id": kept.error_id,
        "at": kept.at,
        "route": kept.route,
        "connection": kept.connection,
        "user": kept.user,
        "callback": kept.callback,
        "exception": kept.exception,
        "place": kept.place if whole else None,
        "traceback": kept.traceback if whole else None,
        "message": kept.message if whole else None,
    }
