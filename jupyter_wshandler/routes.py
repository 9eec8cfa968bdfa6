"""Routes and the table that finds the one for a path."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextvars import Context
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import unquote

from jupyter_wshandler.config.model import BrokenRoute, RouteConfig
from jupyter_wshandler.config.patterns import MAX_PATH, PatternError, analyse_pattern
from jupyter_wshandler.types import Callback

if TYPE_CHECKING:
    from jupyter_wshandler.connection import Connection


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """Compile a route's pattern, anchored at both ends.

    Args:
        pattern: A regular expression of a path; ``{name}`` stands for one segment.

    Returns:
        The expression; groups hold the parts of the path as they came, still escaped.

    Raises:
        PatternError: If it is no pattern of a path, or could be made to match slowly.
    """
    return analyse_pattern(pattern).regex


class RouteHost(Protocol):
    """Run the callbacks of a route somewhere else than in this process."""

    busy: bool
    """Whether it takes no new connections now."""

    def connect(self, route: Route, **details: Any) -> Connection:
        """Return a connection whose callbacks run there; see `WebSocketManager.connection`."""


class Route:
    """Join a route's configuration with its functions.

    Args:
        config: The configuration; of a broken route only what could be read of it.
        callbacks: The functions by event.
        error: Why the route is broken; empty if it is not.
        config_error: Whether the reason is in the configuration, so that waiting cannot mend it.
        host: Who runs the functions, where it is not the manager.
        context: What the functions run in, where it is not the manager's own; it names the
            manager.
        page: The text of its page, where that is no file.
    """

    __slots__ = (
        "_sample",
        "callbacks",
        "config",
        "config_error",
        "connections",
        "context",
        "error",
        "host",
        "page",
        "regex",
        "state",
    )

    def __init__(
        self,
        config: RouteConfig,
        callbacks: Mapping[str, Callback] | None = None,
        error: str = "",
        *,
        config_error: bool = False,
        host: RouteHost | None = None,
        context: Context | None = None,
        page: str | None = None,
    ) -> None:
        self.config = config
        self.page = page
        self.host = host
        self.context = context
        self.callbacks: dict[str, Callback] = dict(callbacks or {})
        self.error = error
        self.config_error = config_error
        self.state = "broken" if error else "ready"
        self.connections = 0
        self.regex: re.Pattern[str] | None = None
        self._sample = ""
        try:
            compiled = analyse_pattern(config.pattern)
        except PatternError:
            if not error:
                raise
        else:
            self.regex, self._sample = compiled.regex, compiled.sample

    @classmethod
    def from_broken(cls, broken: BrokenRoute) -> Route:
        """Make the route that stands for a broken one: listed, and 503 where it has a pattern."""
        config = RouteConfig(
            name=broken.name,
            pattern=broken.pattern or "",
            place=broken.place,
            priority=broken.priority,
        )
        error = "\n".join(str(problem) for problem in broken.problems) or "the route is broken"
        return cls(config, error=error, config_error=True)

    @property
    def name(self) -> str:
        """Return the route's name."""
        return self.config.name

    def sample_path(self) -> str:
        """Return a path that the pattern may match; empty where there is no usable pattern."""
        return self._sample

    def __repr__(self) -> str:
        return f"<Route {self.name!r} {self.config.pattern!r} {self.state}>"


Match = tuple[Route, list[str], dict[str, str]]


class RouteTable:
    """Find the route of a path; never changes, so that a reload swaps one for another.

    The order is by priority, then more slashes, then fewer wildcards, then more literal
    characters, then the name.

    Args:
        routes: The routes, in any order; those without a usable pattern are listed only.
        last: Routes that match only where none of the others does.
    """

    __slots__ = ("_by_name", "_literals", "_regexes", "routes")

    def __init__(self, routes: Iterable[Route] = (), last: Iterable[Route] = ()) -> None:
        matching, listed = [], []
        for tier, group in enumerate((routes, last)):
            for route in group:
                if route.regex is None:
                    listed.append(route)
                else:
                    compiled = analyse_pattern(route.config.pattern)
                    key = (tier, *compiled.sort_key(route.config.priority, route.name))
                    matching.append((key, compiled.literal, route))
        matching.sort(key=lambda entry: entry[0])
        self.routes: tuple[Route, ...] = (*(entry[2] for entry in matching), *listed)
        self._by_name = {route.name: route for route in self.routes}
        # A literal path is found by one look-up, but a regex that is ordered before it still wins.
        self._literals: dict[str, tuple[int, Route]] = {}
        regexes: list[tuple[re.Pattern[str], Route]] = []
        for _, literal, route in matching:
            if literal is not None:
                self._literals.setdefault(literal, (len(regexes), route))
            elif route.regex is not None:
                regexes.append((route.regex, route))
        self._regexes = tuple(regexes)

    def __len__(self) -> int:
        return len(self.routes)

    def __iter__(self) -> Iterator[Route]:
        return iter(self.routes)

    def get(self, name: str) -> Route | None:
        """Return the route of this name, or None."""
        return self._by_name.get(name)

    def match(self, path: str) -> Match | None:
        """Find the route that answers a path.

        Args:
            path: The request's path below base_url, beginning with ``/``, still escaped.

        Returns:
            The route, its unnamed groups and its named groups, unescaped; as in Tornado a
            pattern with a named group gives only named ones. None if no route matches, if the
            path has over 2048 bytes, or if a group is not UTF-8.
        """
        if len(path) > MAX_PATH:
            return None
        before, found = self._literals.get(path, (len(self._regexes), None))
        for index in range(before):
            regex, route = self._regexes[index]
            match = regex.match(path)
            if match is not None:
                return _with_groups(route, match)
        return None if found is None else (found, [], {})


def _with_groups(route: Route, match: re.Match[str]) -> Match | None:
    try:
        if match.re.groupindex:
            named = match.groupdict("")
            return route, [], {key: _unescape(value) for key, value in named.items()}
        return route, [_unescape(value) for value in match.groups("")], {}
    except UnicodeDecodeError:
        return None


def _unescape(value: str) -> str:
    return unquote(value, errors="strict") if "%" in value else value
