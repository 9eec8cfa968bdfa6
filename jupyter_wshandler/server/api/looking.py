"""Look at what a server does: what all addresses have in common that tell of other people."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tornado.web import HTTPError, RequestHandler

from ...config.nodes import shorten
from ...routes import Route
from ..access.authorize import ACTION, READ, RESOURCE, resource_of
from .base import OTHERS_ROUTE, ApiHandler


class LookingHandler(ApiHandler):
    """An address that tells of a route's connections, to who speaks for the route.

    Whoever only uses a bot is told nothing of the others who do. The same people may look who may
    send to all clients of a route, but that `read` is asked for, and that a function of the
    route's own which decides on connections is not needed for a look.
    """

    action = READ

    known: frozenset[str] = frozenset()
    """Arguments that the query may have."""

    async def prepare(self) -> None:  # type: ignore[override]
        """Decide who may."""
        await super().prepare()
        if self._finished:
            return
        why = self.services.publishers.why_not_at_all(self.current_user)
        if why:
            raise HTTPError(403, why)
        check_query(self, self.known)

    async def may_look_at(self, route: Route) -> bool:
        """Return whether the user may see who is connected to a route."""
        if self.services.publishers.why_no_look(self.current_user, route):
            return False
        with self.answering():
            return await self.may(resource_of(route))

    async def why_not_into(self, routes: Iterable[Route]) -> str:
        """Return why the user may not look into the rooms that some routes share; empty if so.

        Args:
            routes: All routes of a space.
        """
        publishers, user = self.services.publishers, self.current_user
        for route in routes:
            # As for the rooms themselves, see `spaces`.
            with self.answering():
                if not (await self.may(resource_of(route), READ) and await self.may_look_at(route)):
                    return OTHERS_ROUTE
            why = publishers.why_not(user, route) or publishers.why_not_in_rooms(user, route)
            if why:
                return why
        return ""

    async def may_execute(self) -> bool:
        """Return whether the user may see what others have sent, and where code has failed."""
        with self.answering():
            return await self.may(RESOURCE, ACTION)

    async def routes(self, name: str | None) -> dict[str, Route]:
        """Return the routes that the user may look at, by name.

        Args:
            name: That of the only one that is wanted; None for all.

        Raises:
            HTTPError: 403, the one that is wanted is not among them; 404, there is none.
        """
        table = self.services.manager.table
        if name is None:
            return {route.name: route for route in table if await self.may_look_at(route)}
        route = table.get(name)
        if route is None:
            words = f"there is no route {shorten(name)}; `jupyter wshandler routes` lists them"
            raise HTTPError(404, words)
        if not await self.may_look_at(route):
            raise HTTPError(403, OTHERS_ROUTE)
        return {name: route}


def check_query(handler: RequestHandler, known: Iterable[str]) -> None:
    """Refuse a question with an argument that means nothing: it may be misspelt.

    Args:
        handler: Has the question.
        known: The arguments that it may have; a token may be there as well.

    Raises:
        HTTPError: 400.
    """
    for name in handler.request.query_arguments:
        if name not in known and name != "token":
            those = ", ".join(sorted(known)) or "none"
            raise HTTPError(400, f"unknown argument {shorten(name)}; there are: {those}")


def number(handler: RequestHandler, name: str, most: int) -> int | None:
    """Return the number in an argument of the query; None where it is not there.

    Args:
        handler: Has the question.
        name: The argument's name.
        most: The largest number that may be.

    Raises:
        HTTPError: 400, it is none.
    """
    text = handler.get_query_argument(name, None)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= most):
        words = f"{name}: expected a number from 0 to {most}, found {shorten(text)}"
        raise HTTPError(400, words)
    return int(text)


def page_size(handler: RequestHandler, usual: int, most: int) -> int:
    """Return how many things a page may have, as `limit` in the query says.

    Args:
        handler: Has the question.
        usual: How many where nothing is said.
        most: How many at most, whatever is said.

    Raises:
        HTTPError: 400, it is no number.
    """
    given = number(handler, "limit", 2**53)
    return usual if given is None else min(given, most)


def page(name: str, found: list[Any], total: int, following: Any) -> dict[str, Any]:
    """Return a page of a list as an answer has it.

    Args:
        name: What the list is called.
        found: What is on the page.
        total: How many there are on all pages.
        following: What the question for the next page begins after; None where this is the last.
    """
    return {name: found, "total": total, "next": following}
