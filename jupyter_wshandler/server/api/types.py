"""What a route takes and answers, at ``<base_url>/wshandler/api/types``."""

from __future__ import annotations

from typing import Any

from jupyter_server.auth.decorator import ws_authenticated
from tornado.web import HTTPError

from ...config.nodes import shorten
from ...shapes.definitions import Definitions
from ...shapes.routes import Kind, described
from ..access.authorize import READ, resource_of
from .base import OTHERS_ROUTE, ApiHandler
from .looking import check_query


class TypesHandler(ApiHandler):
    """The address where the types of a route's messages are told, to who may use the route."""

    action = READ

    @ws_authenticated
    async def get(self) -> None:
        """Answer with ``{"route", "typed", "takes", "answers", "definitions"}`` of the ``?route=``.

        `takes` and `answers` are lists of ``{"name", "form", "schema"}``; `answers` is null where
        no function says what it answers. Of a bot in a kernel nothing is known here. 404 where
        there is no such route, 409 where it is broken.
        """
        check_query(self, ("route",))
        name = self.get_query_argument("route", "")
        route = self.services.manager.table.get(name)
        if route is None:
            raise HTTPError(404, f"there is no route {shorten(name)}; GET routes lists them")
        with self.answering():
            if not await self.may(resource_of(route)):
                raise HTTPError(403, OTHERS_ROUTE)
        if route.error:
            raise HTTPError(409, f"the route {shorten(name)} is broken; GET routes says why")
        definitions = Definitions()
        found = described(route, definitions)
        takes = [kind for one in found.exchanges for kind in one.takes]
        answers = None
        if found.exchanges and all(one.answers is not None for one in found.exchanges):
            answers = [kind for one in found.exchanges for kind in one.answers or ()]
        self.answer(
            {
                "route": route.name,
                "address": found.address,
                "typed": found.typed,
                "takes": [_told(kind) for kind in takes],
                "answers": None if answers is None else [_told(kind) for kind in answers],
                "definitions": definitions.all,
            }
        )


def _told(kind: Kind) -> dict[str, Any]:
    return {"name": kind.name, "form": kind.form, "schema": kind.schema}
