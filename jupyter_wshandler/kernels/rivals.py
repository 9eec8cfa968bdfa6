"""Which of many routes answer a path of another one, found without asking each of them."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator

from ..routes import Route


class Rivals:
    """Routes, among which one finds those that have a path in common with another.

    As far as one can see: a path is a sample of what a pattern matches. A route is found by what
    its paths begin with, so that a thousand of them cost a new one no more than a few.
    """

    def __init__(self) -> None:
        self._routes: dict[str, Route] = {}
        self._samples: list[tuple[str, str]] = []
        self._prefixes: dict[str, set[str]] = {}
        self._lengths: dict[int, int] = {}  # of the prefixes, and how many have it

    def add(self, route: Route) -> None:
        """Hold a route; there is none of its name."""
        prefix = _prefix(route)
        self._routes[route.name] = route
        insort(self._samples, (route.sample_path(), route.name))
        names = self._prefixes.setdefault(prefix, set())
        if not names:
            self._lengths[len(prefix)] = self._lengths.get(len(prefix), 0) + 1
        names.add(route.name)

    def remove(self, route: Route) -> None:
        """Hold a route no longer."""
        prefix = _prefix(route)
        del self._routes[route.name]
        del self._samples[bisect_left(self._samples, (route.sample_path(), route.name))]
        names = self._prefixes[prefix]
        names.remove(route.name)
        if not names:
            del self._prefixes[prefix]
            self._lengths[len(prefix)] -= 1
            if not self._lengths[len(prefix)]:
                del self._lengths[len(prefix)]

    def of(self, route: Route) -> Iterator[Route]:
        """Yield the routes that match the sample of a route, or whose sample it matches."""
        sample, prefix = route.sample_path(), _prefix(route)
        found = set()
        for length in self._lengths:
            for name in self._prefixes.get(sample[:length], ()) if length <= len(sample) else ():
                if _matches(self._routes[name], sample):
                    found.add(name)
        for index in range(bisect_left(self._samples, (prefix, "")), len(self._samples)):
            path, name = self._samples[index]
            if not path.startswith(prefix):
                break
            if name not in found and _matches(route, path):
                found.add(name)
        for name in sorted(found):
            yield self._routes[name]


def _prefix(route: Route) -> str:
    return "" if route.compiled is None else route.compiled.prefix


def _matches(route: Route, path: str) -> bool:
    return route.regex is not None and route.regex.match(path) is not None
