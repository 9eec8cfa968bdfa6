"""The routes, at ``<base_url>/wshandler/api/routes``, and messages to their clients below it."""

from __future__ import annotations

from collections import Counter
from typing import Any

from jupyter_server.auth.decorator import ws_authenticated
from tornado.web import HTTPError

from ...config.nodes import shorten
from ...kernels.batches import one_line
from ...manager.push import deliver
from ...routes import Route
from .. import pages
from ..access.admission import BROKEN
from ..access.authorize import ACTION, READ, resource_of
from .base import ApiHandler
from .publish import EXPECTED, Publication, PublishingHandler

STOPPED = "{} has stopped it; run its cell to serve it again"
"""What a notebook is told of a bot of its own."""

CONFIGURED = "this route is one of the server's configuration: take it out there to stop it"

ANEW = "this bot was served anew meanwhile, or stopped; look again before you stop it"


class RoutePublication(Publication):
    """A message to the clients of a route.

    Attributes:
        user: The name of the user whom it is for; everyone where neither is there.
        to: The id of the connection, or the name of the user, whom it is for.
    """

    user: str | None = None
    to: str | None = None


class RoutesHandler(ApiHandler):
    """The address where routes are listed."""

    action = READ

    @ws_authenticated
    async def get(self) -> None:
        """Answer with ``{"routes": [...]}``, those that the Authorizer lets the user use."""
        manager = self.services.manager
        with self.answering():
            routes = [route for route in manager.table if await self.may(resource_of(route))]
        open_now = Counter(c.route for c in manager.connections.values() if not c.closed)
        self.answer({"routes": [self._described(r, open_now[r.name]) for r in routes]})

    def _described(self, route: Route, connections: int) -> dict[str, Any]:
        error = route.error
        if error and self.services.publishers.why_not_at_all(self.current_user):
            error = BROKEN  # files and lines of a server's are not for those who only use it
        return {
            "name": route.name,
            "pattern": route.config.pattern,
            "host": "module" if route.host is None else "kernel",
            "state": route.state,
            "error": error,
            "connections": connections,
            "kernel": getattr(route.host, "kernel_id", None),
            "page": next((path for _, path in pages.openable([] if error else [route])), None),
        }


class RouteClientsHandler(PublishingHandler):
    """The address of one route, for messages to its clients."""

    async def prepare(self) -> None:  # type: ignore[override]
        """Decide who may, before a byte of a message is read: to stop is more than to send."""
        if self.request.method == "DELETE":
            self.action = ACTION
        await super().prepare()
        if not self._finished:
            self.route = await self._route(self.path_args[0])

    @ws_authenticated
    async def post(self, name: str) -> None:
        """Send a message to the route's clients, and answer with how many there are.

        The body is a `RoutePublication`. 403 where the user may not, 404 where there is no such
        route.
        """
        await self.publish_once(self._publish)

    @ws_authenticated
    async def delete(self, name: str) -> None:
        """Stop a bot of a notebook: 204.

        Its connections are closed, and the notebook is told. 409 for a route of the configuration,
        and for one that was served anew since it was looked up.
        """
        who = one_line(str(self.current_user.username), 60)
        if not self.services.manager.served.take_away(self.route, STOPPED.format(who)):
            raise HTTPError(409, CONFIGURED if self.route.host is None else ANEW)
        self.log.info("Route %s: stopped by %s from outside", name, who)
        self.set_status(204)
        self.finish()

    async def _publish(self) -> dict[str, Any]:
        route = self.route
        said, message = await self.publication(RoutePublication)
        if said.user is not None and said.to is not None:
            raise HTTPError(400, f"expected {EXPECTED}: found both user and to")
        sent = deliver(self.services.manager, route.name, message, to=said.to, user=said.user)
        self.log.info(
            "Route %s: %s has sent to %d of %d connections from outside",
            route.name,
            one_line(str(self.current_user.username), 60),
            sent,
            sent.connections,
        )
        return {"route": route.name, "delivered": int(sent), "connections": sent.connections}

    async def _route(self, name: str) -> Route:
        """Return the route of a name, if the user may send to its clients.

        Raises:
            HTTPError: 403, they may not; 404, there is none.
        """
        self.check_publisher()
        route = self.services.manager.table.get(name)
        if route is None:
            # Not their names: some may be for others only.
            words = f"there is no route {shorten(name)}; `jupyter wshandler routes` lists them"
            raise HTTPError(404, words)
        await self.check_route(route)
        return route
