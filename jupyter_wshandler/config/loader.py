"""Load the configuration: merge its sources, check every route, report every mistake."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping, Sequence
from typing import Any

from jupyter_wshandler.config.gramex import (
    HANDLER,
    HANDLERS,
    condition_of,
    conditions_in,
    looks_like_ours,
    skipped,
)
from jupyter_wshandler.config.model import BrokenRoute, Config, Problem, RouteConfig
from jupyter_wshandler.config.nodes import Node, Report, Tree, describe, from_python, shorten
from jupyter_wshandler.config.patterns import CompiledPattern
from jupyter_wshandler.config.reader import read_file
from jupyter_wshandler.config.route import RouteReader, WrittenRoute


def load(
    *,
    files: Sequence[str] = (),
    url: Mapping[str, Any] | None = None,
    defaults: Mapping[str, Any] | None = None,
    enforce: Mapping[str, Any] | None = None,
    allow_public_routes: bool = False,
    idle_timeout: float = 0.0,
) -> Config:
    """Load the configuration from all its sources; never raises for a mistake in them.

    Args:
        files: YAML files; of two routes of one name the later file's is used.
        url: The trait ``c.WSHandlerApp.url``, shaped like ``url:`` in a file; beats the files.
        defaults: ``c.WSHandlerApp.defaults``: kwargs for every route that has not its own.
        enforce: ``c.WSHandlerApp.enforce``: kwargs that no file and no route may override.
        allow_public_routes: Whether a route may say ``auth: false``.
        idle_timeout: Seconds for routes that have not their own; not for those that say
            ``keep_alive: connections``. 0 is none.

    Returns:
        The routes, those that are broken with every reason, and what else there is to say.
    """
    loading = _Loading(allow_public_routes, idle_timeout)
    for path in (files,) if isinstance(files, str) else files:
        loading.add_file(os.fspath(path))
    if url is not None:
        loading.add_trait(url)
    return loading.finish(defaults, enforce)


def load_route(
    name: str,
    pattern: str,
    kwargs: Mapping[str, Any],
    *,
    source: str = "",
    defaults: Mapping[str, Any] | None = None,
    enforce: Mapping[str, Any] | None = None,
    allow_public_routes: bool = False,
    idle_timeout: float = 0.0,
) -> RouteConfig | BrokenRoute:
    """Check one route that comes from code.

    Args:
        name: The route's name.
        pattern: Its pattern.
        kwargs: Its options, as below ``kwargs:`` in a file.
        source: What the errors call the place of the options.
        defaults: As for `load`.
        enforce: As for `load`.
        allow_public_routes: As for `load`.
        idle_timeout: As for `load`.

    Returns:
        The route, or what is wrong with it.
    """
    loading = _Loading(allow_public_routes, idle_timeout)
    entry = {"pattern": pattern, "handler": HANDLER, "kwargs": dict(kwargs)}
    loading.add_trait({name: entry}, source)
    config = loading.finish(defaults, enforce)
    return (config.routes or config.broken)[0]


class _Loading:
    """One load, source by source: what stands in them, and what is wrong outside the routes."""

    def __init__(self, allow_public_routes: bool, idle_timeout: float) -> None:
        self._public = allow_public_routes
        self._idle_timeout = idle_timeout
        self._outside = Report()
        self._entries: dict[str, WrittenRoute] = {}
        self._folders: list[str] = []
        self._files: list[str] = []
        self._patterns: list[tuple[CompiledPattern, RouteConfig]] = []
        self._hidden: list[Problem] = []

    def add_file(self, path: str) -> None:
        tree = read_file(path)
        self._files.append(path)
        folder = os.path.dirname(os.path.abspath(path))
        if folder not in self._folders:
            self._folders.append(folder)
        self._outside.problems += [problem for where, problem in tree.problems if not where]
        if tree.root is None:
            return
        root = tree.root
        if not isinstance(root.value, dict):
            message = f"expected a mapping with the key url, found {describe(root)}"
            self._outside.problem(root.place, message)
            return
        others = [name for name in root.value if name not in ("url", "import")]
        self._refuse_conditions(root, [name for name in others if name.startswith("url ")])
        if "import" in root.value:
            message = "import is not supported; name several files in c.WSHandlerApp.config_file"
            self._outside.problem(root.keys["import"], message)
        if "url" not in root.value:
            near = difflib.get_close_matches("url", others, n=1, cutoff=0.6)
            found = f", found {near[0]}" if near else ""
            message = f"expected the key url with a mapping of routes{found}"
            self._outside.problem(root.keys[near[0]] if near else root.place, message)
        elif others:
            names = ", ".join(shorten(name)[1:-1] for name in others)
            self._outside.note(root.place, f"skipped what is not about routes: {names}")
        if "url" in root.value:
            self._add_routes(root.value["url"], tree, ("url",), folder)

    def add_trait(self, url: Any, source: str = "c.WSHandlerApp.url") -> None:
        tree = from_python(url, source)
        assert tree.root is not None
        self._add_routes(tree.root, tree, (), os.getcwd())

    def _add_routes(self, urls: Node, tree: Tree, prefix: tuple[str, ...], folder: str) -> None:
        routes = urls.value if isinstance(urls.value, dict) else {}
        depth = len(prefix)
        by_route: dict[str, list[Problem]] = {}
        for where, problem in tree.problems:
            if where[:depth] != prefix or (not where and depth):
                continue
            name = where[depth] if len(where) > depth else None
            if name in routes:
                assert name is not None
                by_route.setdefault(name, []).append(_of_route(problem, name))
            else:
                self._outside.problems.append(problem)
        if not isinstance(urls.value, dict):
            expected = "expected a mapping of names to routes"
            self._outside.problem(urls.place, f"{expected}, found {describe(urls)}")
        elsewhere: list[str] = []
        for name, node in routes.items():
            handler = _other_handler(node)
            if handler is not None:
                elsewhere.append(handler)
                continue
            problems = by_route.get(name, [])
            around = Node({name: node}, urls.place, urls.keys)
            problems += [
                Problem(inside.keys[key], condition_of(key) or "", name)
                for key, inside in conditions_in(around)
            ]
            entry = WrittenRoute(node, urls.keys[name], folder, problems)
            replaced = self._entries.pop(name, None)
            if replaced is not None:
                self._outside.note(entry.place, f"replaces the route at {replaced.place}")
            self._entries[name] = entry
        if elsewhere:
            self._outside.note(urls.place, skipped(elsewhere))

    def _refuse_conditions(self, root: Node, names: Sequence[str]) -> None:
        for name in names:
            message = condition_of(name)
            if message is not None:
                self._outside.problem(root.keys[name], message)

    def finish(self, defaults: Any, enforce: Any) -> Config:
        reader = RouteReader(defaults, enforce, self._public, self._idle_timeout)
        self._outside.problems += reader.problems
        routes: list[RouteConfig] = []
        broken: list[BrokenRoute] = []
        for name, written in self._entries.items():
            report = Report(name)
            read = reader.read(name, written, report)
            self._outside.notes += report.notes
            if isinstance(read, BrokenRoute):
                broken.append(read)
            else:
                route, pattern = read
                routes.append(route)
                self._patterns.append((pattern, route))
        self._same_pattern()
        return Config(
            routes=tuple(routes),
            broken=tuple(broken),
            problems=tuple(self._outside.problems),
            hidden=tuple(self._hidden),
            notes=tuple(dict.fromkeys(self._outside.notes)),
            folders=tuple(self._folders),
            files=tuple(self._files),
        )

    def _same_pattern(self) -> None:
        winners: dict[str, str] = {}
        ordered = sorted(
            self._patterns, key=lambda pair: pair[0].sort_key(pair[1].priority, pair[1].name)
        )
        for compiled, route in ordered:
            winner = winners.setdefault(compiled.literal or compiled.regex.pattern, route.name)
            if winner != route.name:
                message = f"never reached: the route {shorten(winner)} has the same pattern"
                self._hidden.append(Problem(route.place, message, route.name))
                self._outside.note(route.place, message)


def _other_handler(node: Node) -> str | None:
    """Return the handler of an entry that is clearly not ours; a near miss is a mistake."""
    if not isinstance(node.value, dict):
        return None
    handler = node.value.get("handler", node.value.get("service"))
    if handler is None or not isinstance(handler.value, str) or handler.value in HANDLERS:
        return None
    return None if looks_like_ours(handler.value) else handler.value


def _of_route(problem: Problem, name: str) -> Problem:
    return Problem(problem.place, problem.message, name)
