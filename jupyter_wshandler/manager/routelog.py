"""What is written about routes: what is served, what is broken, each thing once."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence

from ..config.model import Config
from ..routes import Route

REMEMBER = 1000
"""Sentences that are remembered as said."""


class RouteLog:
    """What is written to the log about the routes: what has changed.

    Args:
        log: Where lines go.
    """

    def __init__(self, log: logging.Logger | logging.LoggerAdapter[logging.Logger]) -> None:
        self._log = log
        self._said: set[str] = set()

    def say(self, level: int, sentences: Iterable[str]) -> None:
        """Write sentences that have not been written before.

        Args:
            level: A level of `logging`.
            sentences: One line each.
        """
        for sentence in sentences:
            if sentence not in self._said:
                if len(self._said) > REMEMBER:
                    self._said.clear()
                self._said.add(sentence)
                self._log.log(level, "%s", sentence)

    def loaded(self, config: Config) -> None:
        """Write what a configuration says beside its routes."""
        self.say(logging.INFO, config.notes)
        self.say(logging.ERROR, map(str, config.problems))

    def routes(
        self, routes: Sequence[Route], before: Mapping[str, Route], warnings: Iterable[str]
    ) -> None:
        """Write what of the routes is not as it was.

        Args:
            routes: The configured routes now.
            before: Those before, by name.
            warnings: What was noticed as their functions were looked up.
        """
        for route in routes:
            self._route(route, before.get(route.name))
        self.say(logging.WARNING, warnings)
        public = [route.name for route in routes if not route.config.auth.required]
        if public:
            sentence = "Open to everyone, without login (auth: false): " + ", ".join(public)
            self.say(logging.WARNING, [sentence])

    def _route(self, route: Route, old: Route | None) -> None:
        pattern = route.config.pattern
        if route.state == "ready":
            if old is None or old.state != "ready" or old.config.pattern != pattern:
                self._log.info("Route %s serves %s", route.name, pattern)
        elif old is None or old.error != route.error:
            for line in route.error.splitlines():
                self._log.error("Route %s is broken: %s", route.name, line)
            if route.connections:
                self._log.error(
                    "Route %s: %d open connections go on as before; new ones get 503",
                    route.name,
                    route.connections,
                )

    def not_reloaded(self, errors: Iterable[str], known: Iterable[str]) -> None:
        """Write why files are not served as they are on disk, each reason until it is mended.

        Args:
            errors: The reasons now.
            known: Those that were written already.
        """
        for error in errors:
            if error not in known:
                self._log.error("Not reloaded, the last good version goes on: %s", error)
