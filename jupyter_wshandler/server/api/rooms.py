"""Which rooms there are, at ``<base_url>/wshandler/api/spaces`` and in each of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from jupyter_server.auth.decorator import ws_authenticated
from tornado.web import HTTPError

from ...config.nodes import shorten
from ...rooms.names import NOTEBOOK, space_of
from ...routes import Route
from .looking import LookingHandler, page, page_size

USUAL, MOST = 100, 1000
"""Rooms on a page, where nothing is said, and at most."""


class SpacesHandler(LookingHandler):
    """The address where spaces are listed."""

    @ws_authenticated
    async def get(self) -> None:
        """Answer with ``{"spaces": [...]}``, those into whose rooms the user may look."""
        rooms, found = self.services.manager.rooms, []
        for space, routes in spaces_of(self.services.manager.table).items():
            if not await self.why_not_into(routes):
                keeps = [route.config.history is not None for route in routes]
                shows = [route.config.presence is not None for route in routes]
                found.append(
                    {
                        "space": space.removeprefix(NOTEBOOK),
                        "host": "kernel" if space.startswith(NOTEBOOK) else "module",
                        "routes": [route.name for route in routes],
                        "rooms": len(rooms.there(space)),
                        "history": any(keeps),
                        "presence": any(shows),
                    }
                )
        self.answer({"spaces": found})


class RoomsHandler(LookingHandler):
    """The address where the rooms of a space are listed, in pages."""

    known = frozenset({"after", "limit"})

    @ws_authenticated
    async def get(self, name: str) -> None:
        """Answer with ``{"space", "rooms": [...], "total", "next"}``, by their names.

        They are the rooms that have members on this server. ``?after=`` takes the `next` of the
        page before. The rooms of other users are left out.
        """
        size, after = page_size(self, USUAL, MOST), self.get_query_argument("after", "")
        space, routes = self._space(name)
        why = await self.why_not_into(routes)
        if why:
            raise HTTPError(403, why)
        may = self.services.publishers.may_look_into
        rooms = self.services.manager.rooms.there(space)
        known = sorted(one for one in rooms.items() if may(self.current_user, one[0]))
        found = [{"room": room, "connections": count} for room, count in known if room > after]
        following = found[size - 1]["room"] if 0 < size < len(found) else None
        self.answer({"space": name, **page("rooms", found[:size], len(known), following)})

    def _space(self, name: str) -> tuple[str, list[Route]]:
        space = find_space(self.services.manager.table, name)
        if space is None:
            words = f"there is no space {shorten(name)}, and no route of that name"
            raise HTTPError(404, words)
        return space, spaces_of(self.services.manager.table)[space]


def spaces_of(table: Iterable[Route]) -> dict[str, list[Route]]:
    """Return the spaces that there are, each with the routes that share its rooms.

    Args:
        table: All routes.
    """
    found: dict[str, list[Route]] = {}
    for route in table:
        found.setdefault(space_of(route), []).append(route)
    return found


def find_space(table: Any, name: str) -> str | None:
    """Return the space that a name means; None where there is none.

    Args:
        table: The routes.
        name: That of a space, or of a route: then that one's.
    """
    spaces, named = {space_of(route) for route in table}, table.get(name)
    # A notebook's space is another one than the configured one of its name, which comes first.
    for space in (name, NOTEBOOK + name):
        if space in spaces:
            return space
    return None if named is None else space_of(named)
