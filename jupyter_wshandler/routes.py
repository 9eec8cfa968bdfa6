"""Routes and the table that finds the one for a path."""

from __future__ import annotations

import os
import re
from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Mapping
from contextvars import Context
from typing import Any
from urllib.parse import unquote

from jupyter_wshandler.config.model import BrokenRoute, RouteConfig
from jupyter_wshandler.config.paths import normal_path
from jupyter_wshandler.config.patterns import (
    MAX_PATH,
    CompiledPattern,
    PatternError,
    analyse_pattern,
)
from jupyter_wshandler.types import Callback, Filters


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


class Route:
    """One route: its configuration, and its functions.

    Args:
        config: The configuration; of a broken route only what could be read of it.
        callbacks: The functions by event.
        error: Why the route is broken; empty if it is not.
        config_error: Whether the reason is in the configuration, so that waiting cannot mend it.
        host: Who runs the functions, a `connection.host.Host`, where it is not the manager that
            serves the route; `WebSocketManager.host_of` says who it is. A connection knows its
            route, so that the type cannot be named here.
        context: What the functions run in, where it is not the manager's own; it names the
            manager.
        page: The text of its page, where that is no file.
        shapes: What its functions take and answer, as whoever runs them elsewhere says
            (`shapes.told`); empty where nobody does.

    Attributes:
        filters: What looks at its messages; None where nothing does. Callbacks have the way in
            around them already (`functions.filtering`).
    """

    __slots__ = (
        "callbacks",
        "compiled",
        "config",
        "config_error",
        "connections",
        "context",
        "error",
        "filters",
        "host",
        "page",
        "regex",
        "segments",
        "shapes",
        "state",
    )

    def __init__(
        self,
        config: RouteConfig,
        callbacks: Mapping[str, Callback] | None = None,
        error: str = "",
        *,
        config_error: bool = False,
        host: Any = None,
        context: Context | None = None,
        page: str | None = None,
        shapes: bytes = b"",
    ) -> None:
        self.config = config
        self.page = page
        self.shapes = shapes
        self.host = host
        self.context = context
        self.callbacks: dict[str, Callback] = dict(callbacks or {})
        self.filters: Filters | None = None
        self.error = error
        self.config_error = config_error
        self.state = "broken" if error else "ready"
        self.connections = 0
        self.regex: re.Pattern[str] | None = None
        self.compiled: CompiledPattern | None = None
        self.segments: frozenset[str] = frozenset()
        try:
            self.compiled = analyse_pattern(config.pattern)
        except PatternError:
            if not error:
                raise
        else:
            self.regex, self.segments = self.compiled.regex, self.compiled.segments

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

    @property
    def folder(self) -> str:
        """The folder that is the route's page, with a slash at its end; empty for any other."""
        page = self.config.page
        return page if isinstance(page, str) and page.endswith(os.sep) else ""

    def sample_path(self) -> str:
        """Return a path that the pattern may match; empty where there is no usable pattern."""
        return "" if self.compiled is None else self.compiled.sample

    def __repr__(self) -> str:
        return f"<Route {self.name!r} {self.config.pattern!r} {self.state}>"


MAX_DEPTH = 16
"""Segments of a path that may lead into the folder of a page."""

Match = tuple[Route, list[str], dict[str, str]]

Key = tuple[int, float, int, int, int, str]
"""What orders the routes of a table; no two routes have the same."""


class RouteTable:
    """The routes that are served, in the order in which they are tried for a path.

    A reload swaps one table for another; only routes of notebooks come and go in one, each at a
    cost that hardly depends on how many there are.

    The order is by priority, then more slashes, then fewer wildcards, then more literal
    characters, then the name.

    Args:
        routes: The routes, in any order; those without a usable pattern are listed only.
        last: Routes that match only where none of the others does.
    """

    __slots__ = (
        "_by_name",
        "_folders",
        "_keys",
        "_listed",
        "_literals",
        "_order",
        "_regexes",
        "_routes",
    )

    def __init__(self, routes: Iterable[Route] = (), last: Iterable[Route] = ()) -> None:
        self._by_name: dict[str, Route] = {}
        self._folders: set[str] = set()  # the names of routes whose page is a folder
        self._listed: dict[str, Route] = {}
        # A literal path is found by one look-up, but a regex that is ordered before it still wins.
        self._literals: dict[str, list[tuple[Key, Route]]] = {}
        matching = [(_key(0, route), route) for route in routes if self._matches(route)]
        matching += [(_key(1, route), route) for route in last if self._matches(route)]
        matching.sort(key=_first)
        self._keys = {route.name: key for key, route in matching}
        self._order = matching
        self._regexes: list[tuple[Key, Route]] = []
        for entry in matching:
            literal = _literal(entry[1])
            if literal is not None:
                self._literals.setdefault(literal, []).append(entry)
            else:
                self._regexes.append(entry)
        self._routes: tuple[Route, ...] | None = None

    def _matches(self, route: Route) -> bool:
        """Take note of a route; say whether it is one that can match a path."""
        self._by_name[route.name] = route
        if route.folder:
            self._folders.add(route.name)
        if route.compiled is None:
            self._listed[route.name] = route
        return route.compiled is not None

    @property
    def routes(self) -> tuple[Route, ...]:
        """The routes in their order, those without a usable pattern behind the others."""
        if self._routes is None:
            self._routes = (*(route for _, route in self._order), *self._listed.values())
        return self._routes

    def __len__(self) -> int:
        return len(self._order) + len(self._listed)

    def __iter__(self) -> Iterator[Route]:
        return iter(self.routes)

    def get(self, name: str) -> Route | None:
        """Return the route of this name, or None."""
        return self._by_name.get(name)

    def put(self, route: Route) -> None:
        """Add a route behind all that the table was made of, in place of one of its name."""
        self.discard(route.name)
        if self._matches(route):
            key = self._keys[route.name] = _key(1, route)
            insort(self._order, (key, route), key=_first)
            insort(self._same_kind(route), (key, route), key=_first)

    def discard(self, name: str) -> None:
        """Take the route of this name out, where there is one."""
        route = self._by_name.pop(name, None)
        self._routes = None
        self._folders.discard(name)
        self._listed.pop(name, None)
        key = self._keys.pop(name, None)
        if route is None or key is None:
            return
        entries = self._same_kind(route)
        for found in (self._order, entries):
            del found[bisect_left(found, key, key=_first)]
        if not entries and entries is not self._regexes:
            del self._literals[_literal(route) or ""]

    def _same_kind(self, route: Route) -> list[tuple[Key, Route]]:
        literal = _literal(route)
        return self._regexes if literal is None else self._literals.setdefault(literal, [])

    def match(self, path: str) -> Match | None:
        """Find the route that answers a path.

        Args:
            path: The request's path below base_url, beginning with ``/``, still escaped. How it is
                escaped does not matter: equal paths match alike (RFC 3986 section 6.2.2).

        Returns:
            The route, its unnamed groups and its named groups, unescaped; as in Tornado a
            pattern with a named group gives only named ones. None if no route matches, or if the
            path has over 2048 bytes. A route does not match where a group is not UTF-8 or a
            ``{name}`` could be a path: the next one is tried.
        """
        path = path if len(path) > MAX_PATH else normal_path(path)
        if len(path) > MAX_PATH:
            return None
        literals = self._literals.get(path)
        before = len(self._regexes)
        if literals is not None:
            before = bisect_left(self._regexes, literals[0][0], key=_first)
        for index in range(before):
            route = self._regexes[index][1]
            match = route.regex.match(path)  # type: ignore[union-attr] # none without is in here
            found = None if match is None else _with_groups(route, match)
            if found is not None:
                return found
        return None if literals is None else (literals[0][1], [], {})

    def find(self, path: str) -> tuple[Match, str | None] | None:
        """Find the route that answers a path, also where its page is a folder with the path in it.

        A route of the path itself comes first, then the longest way to a folder.

        Args:
            path: As for `match`.

        Returns:
            What `match` returns, and the rest of the path within the route's folder, still
            escaped: "" where no more than a slash follows. It is None at the route's own address.
        """
        found = self.match(path)
        if found is not None:
            return found, None
        if not self._folders or len(path) > MAX_PATH:
            return None
        end = len(path)
        for _ in range(MAX_DEPTH):
            end = path.rfind("/", 0, end)
            if end <= 0:
                break
            found = self.match(path[:end])
            if found is not None and found[0].folder:
                return found, path[end + 1 :]
        return None


def _first(entry: tuple[Key, Route]) -> Key:
    return entry[0]


def _key(tier: int, route: Route) -> Key:
    assert route.compiled is not None
    return (tier, *route.compiled.sort_key(route.config.priority, route.name))


def _literal(route: Route) -> str | None:
    return None if route.compiled is None else route.compiled.literal


def _with_groups(route: Route, match: re.Match[str]) -> Match | None:
    try:
        if match.re.groupindex:
            named = {key: _unescape(value) for key, value in match.groupdict("").items()}
            if any(could_be_a_path(named[name]) for name in route.segments):
                return None
            return route, [], named
        return route, [_unescape(value) for value in match.groups("")], {}
    except UnicodeDecodeError:
        return None


MAX_SEGMENT = 255
"""Bytes of a ``{name}``: as many as a file's name may have."""


def could_be_a_path(value: str) -> bool:
    """Say whether the value of a ``{name}`` would lead elsewhere as part of a path or URL.

    Args:
        value: What stood in the path, unescaped once. Bots make names of files of it.
    """
    previous = None
    for _ in range(4):  # what is still escaped may be unescaped by the next one who has it
        if value == previous:
            break
        if value.strip(" .") == "" or len(value.encode("utf-8", "replace")) > MAX_SEGMENT:
            return True
        if any(c in "/\\" or c < " " or "\x7f" <= c <= "\x9f" for c in value):
            return True
        previous, value = value, unquote(value, errors="replace")
    return False


def _unescape(value: str) -> str:
    return unquote(value, errors="strict") if "%" in value else value
