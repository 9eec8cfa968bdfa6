"""The clock of a manager: one timer that looks at all its connections."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from typing import Any

from ..backplane.measures import Histogram
from ..connection.connection import REST, Connection
from ..routes import Route

TICK = 0.5
"""Seconds between two looks at the clock, where no route needs a finer one."""

MIN_TICK = 0.005
"""Seconds between two looks, at least, however short what a route asks for."""

RESTS = 0.005
"""Seconds in a tick for the idle connections that give away memory; the others have to wait."""

FLUSH = 0.5
"""Seconds between two savings of changed sessions: they are on disk within a second."""


def by_name(connections: Mapping[str, Connection]) -> Iterator[tuple[str, Connection]]:
    """Return the connections of now with their ids; some may come and go meanwhile.

    A list of pairs would be a tuple for each, which all live at once: ten thousand of them, made
    again and again, look to Python like a heap that grows, and it walks all objects there are to
    collect garbage. Here one tuple is used for all.

    Args:
        connections: The open connections by id.
    """
    return zip(list(connections), list(connections.values()), strict=False)


class Clock:
    """The clock of every connection: it looks at all of them, at a steady pace.

    A timer for each connection would have to be set again with each message; one timer for all
    costs a loop over them, twice a second, and nothing in between.

    Args:
        log: Where is written what goes wrong.
        connections: The open connections by id; the manager's own.
        routes: Returns the routes that are served.
        check: Called with each connection whose callback runs, and the time.
        flush: Saves the sessions that have changed.
        active: Called at most once a tick when connections kept the server alive.
        give_up: Called with the id of a connection that cannot be looked at.
    """

    def __init__(
        self,
        log: logging.Logger | logging.LoggerAdapter[Any],
        connections: Mapping[str, Connection],
        routes: Callable[[], Iterable[Route]],
        check: Callable[[Connection, float], object],
        flush: Callable[[], Awaitable[object]],
        active: Callable[[], object],
        give_up: Callable[[str], object],
    ) -> None:
        self._log = log
        self._connections = connections
        self._routes = routes
        self._check = check
        self._flush = flush
        self._active = active
        self._give_up = give_up
        self._task: asyncio.Task[None] | None = None
        self._tick = TICK
        self._tick_is_old = True
        self.lags = Histogram()
        """How many seconds the event loop was late for a look."""

    def start(self) -> None:
        """Begin, on the running event loop."""
        loop = asyncio.get_running_loop()
        self._task = loop.create_task(self._run(loop), name="wshandler clock")

    async def stop(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def routes_changed(self) -> None:
        """Take note that other routes are served, which may need a finer look."""
        # A notebook may serve a thousand routes in a row: they are looked at once, in a tick.
        self._tick_is_old = True

    async def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        flush_at = loop.time() + FLUSH
        rest_at = 0.0
        while True:
            if self._tick_is_old:
                self._tick_is_old, self._tick = False, self._how_often()
            due = loop.time() + self._tick
            await asyncio.sleep(self._tick)
            now = loop.time()
            self.lags.add(max(0.0, now - due))
            if self.look_at_all(now):
                self._active()
            if now >= rest_at:
                rest_at = self.let_rest(now, loop.time)
            if now >= flush_at:
                flush_at = now + FLUSH
                try:
                    await self._flush()
                except Exception:
                    self._log.exception("Sessions could not be saved; trying again later")

    def look_at_all(self, now: float) -> bool:
        """Let time pass for all connections; return whether one makes the server active.

        Args:
            now: The event loop's time, in seconds.
        """
        active = False
        for name, connection in by_name(self._connections):
            try:
                active |= self.look_at(connection, now)
            except Exception:
                # The clock of all must outlive what goes wrong with one.
                self._give_up(name)
        return active

    def look_at(self, connection: Connection, now: float) -> bool:
        """Let time pass for one connection; return whether it makes the server active.

        Args:
            connection: An open one.
            now: The event loop's time, in seconds.
        """
        connection.tick(now)
        if connection.work is not None:
            self._check(connection, now)
        return connection.keeps_alive(now)

    def let_rest(self, now: float, clock: Callable[[], float]) -> float:
        """Let idle connections give away memory, in what time there is for that.

        Args:
            now: The event loop's time, in seconds.
            clock: Returns that of now.

        Returns:
            When to do so again.
        """
        until = clock() + RESTS
        for name, connection in by_name(self._connections):
            try:
                if connection.rest(now) and clock() >= until:
                    return now
            except Exception:
                self._give_up(name)
        return now + REST / 2

    def _how_often(self) -> float:
        """Return the seconds between two looks that the routes of today need."""
        intervals = [
            seconds
            for config in [route.config for route in self._routes()]
            for seconds in (
                config.ping_interval,
                config.ping_timeout,
                config.timeout,
                config.idle_timeout,
                config.resume and config.resume.window,
            )
            if isinstance(seconds, (int, float)) and seconds > 0
        ]
        return max(MIN_TICK, min([TICK, *(seconds / 4 for seconds in intervals)]))
