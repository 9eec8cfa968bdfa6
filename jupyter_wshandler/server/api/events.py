"""What happens to connections, as it happens, at ``<base_url>/wshandler/api/events``."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from jupyter_server.auth.decorator import ws_authenticated

from ...routes import Route
from ..records.journal import Page
from .looking import LookingHandler, number

LONGEST = 30
"""Seconds that a question may wait for something to happen, at most."""


class EventsHandler(LookingHandler):
    """The address of who follows a server: what has happened since they have asked last."""

    known = frozenset({"route", "since", "wait"})

    @ws_authenticated
    async def get(self) -> None:
        """Answer with ``{"events": [...], "next", "complete"}``, the oldest first.

        The first question has no ``?since=``: what happens is written down from then on, for as
        long as somebody asks each minute. The next one takes the `next` of the answer before, and
        waits ``?wait=`` seconds where nothing has happened. `complete` says whether nothing is
        missing in between.
        """
        seconds = min(number(self, "wait", 2**53) or 0, LONGEST)
        routes = await self.routes(self.get_query_argument("route", None))
        journal, place = self.services.records.journal, self.get_query_argument("since", "")
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        found = journal.since(place)
        complete = found.complete
        while place and complete and not self._of(found, routes):
            left = until - loop.time()
            if left <= 0 or self.gone.done():
                break
            before = found.place
            await journal.wait(left, self.gone)
            found = journal.since(before)
            complete = found.complete
            if found.place == before:
                break  # the time is over, or nobody may wait
        events = self._of(found, routes)
        if not await self.may_execute():
            events = [{**event, "place": None} if "place" in event else event for event in events]
        self.answer({"events": events, "next": found.place, "complete": complete})

    @staticmethod
    def _of(found: Page, routes: Mapping[str, Route]) -> list[dict[str, Any]]:
        return [one.said for one in found.happenings if one.route in routes]
