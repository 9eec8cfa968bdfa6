"""Which thread is the first of a route's connections: the same for all while its calls are short.

Spread over the threads, the messages that one turn of the loop reads wake one thread each, which
costs several times what a short call costs. So connections whose first call in a thread is of a
message begin in one thread of the route, which is woken once for all of them. As soon as a call is
seen there that takes long, those that would wait for it go on elsewhere, and the connections that
come next are spread, as are those whose `open` runs in a thread: it may make what binds them to it.
"""

from __future__ import annotations

import time
from collections.abc import Container

from .job import Worker

SPREAD = 60.0
"""Seconds for which a route's connections are spread after a long call."""


class Gathering:
    """The threads in which the connections of routes are gathered; on the event loop's thread.

    Args:
        threads: Those of the pool that count.
    """

    __slots__ = ("_homes", "_slow", "_threads")

    def __init__(self, threads: Container[Worker]) -> None:
        self._threads = threads
        self._homes: dict[str, Worker] = {}
        self._slow: dict[str, float] = {}

    def home_of(self, route: str) -> Worker | None:
        """Return the thread in which new connections of a route begin; None where they are spread.

        Args:
            route: Its name.
        """
        worker = self._homes.get(route)
        if worker is not None and worker not in self._threads:
            del self._homes[route]
            return None
        return worker

    def begin(self, route: str, worker: Worker) -> bool:
        """Gather connections of a route in a thread from now on, unless its calls take long.

        Args:
            route: Its name.
            worker: The thread that was given the first of them.

        Returns:
            Whether they are gathered.
        """
        since = self._slow.get(route)
        if since is not None:
            if time.monotonic() - since < SPREAD:
                return False
            del self._slow[route]
        self._homes[route] = worker
        worker.gathers = True
        return True

    def spread(self, route: str, worker: Worker, now: float) -> None:
        """Gather nobody any more in a thread: a call takes long there.

        Args:
            route: Whose call it is.
            worker: The thread.
            now: The time, in seconds.
        """
        self._slow[route] = now
        if self._homes.get(route) is worker:
            del self._homes[route]
