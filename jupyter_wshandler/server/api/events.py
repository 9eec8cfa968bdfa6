"""What happens to connections, as it happens, at ``<base_url>/wshandler/api/events``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from jupyter_server.auth.decorator import ws_authenticated
from tornado.web import HTTPError

from ...config.nodes import shorten
from ..records.followed import PLACE, Followed, Happening
from .looking import LookingHandler, number

LONGEST = 30
"""Seconds that a question may wait for something to happen, at most."""


class FollowingHandler(LookingHandler):
    """An address of who follows something: what has happened since they have asked last."""

    async def follow(
        self, record: Followed, wanted: Callable[[Happening], object]
    ) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """Return what has happened since ``?since=``, and what an answer has besides.

        Where nothing has happened it waits for ``?wait=`` seconds.

        Args:
            record: What is followed.
            wanted: Returns whether something is for who asks.

        Raises:
            HTTPError: 400, no answer has said such a place.
        """
        seconds = min(number(self, "wait", 2**53) or 0, LONGEST)
        place = self.get_query_argument("since", "")
        if len(place) > PLACE:
            words = f"since: expected the `next` of the answer before, found {shorten(place)}"
            raise HTTPError(400, words)
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        page = record.since(place)
        found, complete = [one.said for one in page.happenings if wanted(one)], page.complete
        while place and complete and not found:
            left = until - loop.time()
            if left <= 0 or self.gone.done():
                break
            before = page.place
            await record.wait(left, self.gone)
            page = record.since(before)
            found, complete = [one.said for one in page.happenings if wanted(one)], page.complete
            if page.place == before:
                break  # the time is over, or nobody may wait
        return found, {"next": page.place, "complete": complete}


class EventsHandler(FollowingHandler):
    """The address of who follows a server."""

    known = frozenset({"route", "since", "wait"})

    @ws_authenticated
    async def get(self) -> None:
        """Answer with ``{"events": [...], "next", "complete"}``, the oldest first.

        The first question has no ``?since=``: what happens is written down from then on, for as
        long as somebody asks each minute. The next one takes the `next` of the answer before, and
        waits ``?wait=`` seconds where nothing has happened. `complete` says whether nothing is
        missing in between.
        """
        routes = await self.routes(self.get_query_argument("route", None))
        journal = self.services.records.journal
        events, more = await self.follow(journal, lambda one: one.route in routes)
        if not await self.may_execute():
            events = [{**event, "place": None} if "place" in event else event for event in events]
        self.answer({"events": events, **more})
