"""Messages of a route or a connection as they travel, at ``<base_url>/wshandler/api/frames``."""

from __future__ import annotations

from jupyter_server.auth.decorator import ws_authenticated
from tornado.web import HTTPError

from ...kernels.batches import one_line
from ...routes import Route
from ..access.identity import user_keys
from ..records.followed import Happening
from ..records.frames import WATCHED, WATCHING, Watched
from .base import OTHERS_ROUTE
from .events import FollowingHandler

NEITHER = "expected ?route=NAME or ?connection=ID: whose messages?"

NOT_EXECUTE = "messages are for who may execute wshandler; the Authorizer does not let this user"

TOO_MANY = (
    f"{WATCHED} routes and connections are watched already, or this one by {WATCHING} others; "
    "try again later"
)


class FramesHandler(FollowingHandler):
    """The address of who watches messages: for whom the Authorizer lets `execute` the extension.

    Nobody's messages are kept before this is asked for them, nor once it was not for a minute.
    """

    known = frozenset({"route", "connection", "since", "wait"})

    async def prepare(self) -> None:  # type: ignore[override]
        """Decide who may: to watch is more than to look."""
        await super().prepare()
        if not self._finished and not await self.may_execute():
            raise HTTPError(403, NOT_EXECUTE)

    @ws_authenticated
    async def get(self) -> None:
        """Answer with ``{"frames": [...], "next", "complete"}``, the oldest first.

        They are those of the ``?route=``, or of the ``?connection=``; the first question has an
        empty answer, and the next one takes the `next` of the one before as ``?since=``. Nobody is
        told of what has travelled before they have asked for the first time.
        """
        watched, route = await self._wanted()
        frames = self.services.records.frames
        with self.answering():
            who = user_keys(self)[0]
        watch = frames.watch(watched, who)
        if watch is None:
            raise HTTPError(409, TOO_MANY)
        if watch.is_new:
            self.log.info(
                "Route %s: %s watches the messages of the %s from outside",
                route.name,
                one_line(str(self.current_user.username), 60),
                watched.kind if watched.kind == "route" else f"connection {watched.name}",
            )
            # What others have had kept is not theirs; a place is one where they have missed it.
            missed = bool(self.get_query_argument("since", ""))
            place = frames.since("").place
            self.answer({"frames": [], "next": place, "complete": not missed})
            return

        def is_meant(one: Happening) -> bool:
            return bool(one.serial > watch.begun and one.said[watched.kind] == watched.name)

        found, more = await self.follow(frames, is_meant)
        self.answer({"frames": found, **more})

    async def _wanted(self) -> tuple[Watched, Route]:
        """Return whose messages are asked for.

        Raises:
            HTTPError: 400, of nobody; 403, not for who asks; 404, there is no such thing.
        """
        name = self.get_query_argument("connection", None)
        route = self.get_query_argument("route", None)
        if (name is None) is (route is None):
            raise HTTPError(400, NEITHER)
        if route is not None:
            return Watched("route", route), (await self.routes(route))[route]
        connection = self.services.manager.connections.get(str(name))
        if connection is None:
            raise HTTPError(404, "there is no such connection, or it has ended")
        if not await self.may_look_at(connection.entry):
            raise HTTPError(403, OTHERS_ROUTE)
        return Watched("connection", connection.id), connection.entry
