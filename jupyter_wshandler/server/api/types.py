"""What a route takes and answers, at ``<base_url>/wshandler/api/types``."""

from __future__ import annotations

from typing import Any, get_args

from jupyter_server.auth.decorator import ws_authenticated
from tornado.web import HTTPError

from ...config.nodes import shorten
from ...routes import Route
from ...shapes.definitions import Definitions
from ...shapes.document import Document
from ...shapes.forms import Form, form_of, written
from ...shapes.routes import Kind
from ...shapes.told import described_anywhere
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
        no function says what it answers. With ``?form=`` the answer is a document for other
        programs instead, of the routes that are named, or of all that the user may use: an
        AsyncAPI document, a JSON schema, or a declaration for TypeScript. 404 where there is no
        such route, 409 where it is broken.
        """
        check_query(self, ("route", "form"))
        wanted = self.get_query_argument("form", None)
        names = self.get_query_arguments("route")
        if wanted is None:
            self._answer_with(await self._usable(names[-1] if names else ""))
            return
        form = form_of(wanted)
        if form is None:
            words = ", ".join(get_args(Form))
            raise HTTPError(400, f"form: expected one of {words}, found {shorten(wanted)}")
        routes = [await self._usable(name) for name in names] if names else await self._all()
        text = written(Document(routes, "the bots of a Jupyter server"), form)
        self.set_header("Cache-Control", "no-store")
        kind = "text/plain; charset=utf-8" if form == "ts" else "application/json"
        self.finish(text, set_content_type=kind)

    async def _usable(self, name: str) -> Route:
        """Return a route that can be described to the user."""
        route = self.services.manager.table.get(name)
        if route is None:
            raise HTTPError(404, f"there is no route {shorten(name)}; GET routes lists them")
        with self.answering():
            if not await self.may(resource_of(route)):
                raise HTTPError(403, OTHERS_ROUTE)
        if route.error:
            raise HTTPError(409, f"the route {shorten(name)} is broken; GET routes says why")
        return route

    async def _all(self) -> list[Route]:
        """Return all routes that can be described to the user."""
        found = []
        with self.answering():
            for route in self.services.manager.table:
                if not route.error and await self.may(resource_of(route)):
                    found.append(route)
        return found

    def _answer_with(self, route: Route) -> None:
        """Answer with what one route takes and answers."""
        definitions = Definitions()
        found = described_anywhere(route, definitions)
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
