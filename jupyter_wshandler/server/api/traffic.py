"""How many messages come and how long they take, at ``<base_url>/wshandler/api/traffic``."""

from __future__ import annotations

import time

from jupyter_server.auth.decorator import ws_authenticated

from ...backplane.measures import SECONDS
from .looking import LookingHandler


class TrafficHandler(LookingHandler):
    """The address of numbers that only grow: who asks twice has a rate.

    They are those of the routes that the user may look at, and of the event loop.
    """

    @ws_authenticated
    async def get(self) -> None:
        """Answer with ``{"life", "at", "bounds", "routes": {...}, "lag"}``.

        Messages are counted from the first question on, for as long as somebody asks each minute.
        `life` is another one where they were not counted since the question before. `took` has for
        each of the `bounds` (seconds), and for what is more, how many messages took as long: they
        waited, and their callback ran. `lag` has the same of how late the event loop was.
        """
        routes = await self.routes(None)
        traffic, manager = self.services.records.traffic, self.services.manager
        traffic.listen(manager.connections.values())
        counts, metrics = traffic.of_routes(routes), manager.metrics
        found = {}
        for name in routes:
            counted = counts.get(name)
            found[name] = {
                "messages": 0 if counted is None else counted.messages,
                "took": [] if counted is None else counted.took.counts,
                "opened": metrics.opened[name],
                "failed": metrics.errors[name],
            }
        self.answer(
            {
                "life": traffic.life,
                "at": time.time(),
                "bounds": SECONDS,
                "routes": found,
                "lag": manager.clock.lags.counts,
                "connections": sum(c.route in routes for c in manager.connections.values()),
            }
        )
