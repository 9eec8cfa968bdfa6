"""Load the configuration: merge its sources, check every route, report every mistake."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jupyter_wshandler.config.checks import Value
from jupyter_wshandler.config.described import key_names
from jupyter_wshandler.config.gramex import (
    HANDLER,
    HANDLERS,
    MEANINGLESS,
    UNSUPPORTED,
    condition_of,
    conditions_in,
    looks_like_ours,
    skipped,
)
from jupyter_wshandler.config.keys import KwargsEntry, RouteEntry
from jupyter_wshandler.config.model import BrokenRoute, Config, Place, Problem, RouteConfig
from jupyter_wshandler.config.nodes import (
    Node,
    Report,
    Tree,
    describe,
    from_python,
    is_number,
    shorten,
    suggest,
)
from jupyter_wshandler.config.patterns import (
    CompiledPattern,
    PatternError,
    analyse_pattern,
    below_base,
)
from jupyter_wshandler.config.reader import read_file
from jupyter_wshandler.config.values import KwargsReader

LONG_PING = 3600.0
"""Seconds between two pings from which on they are hardly meant: proxies give up far earlier."""

_VARIABLE = re.compile(r"\$\{?([A-Z_][A-Z0-9_]*)")


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


@dataclass(slots=True)
class _Entry:
    """Hold one route as written, with the mistakes that its source already has."""

    node: Node
    place: Place
    folder: str
    problems: list[Problem]


@dataclass(slots=True)
class _Pinned:
    """Hold the kwargs of ``defaults`` or ``enforce``, by canonical name."""

    written: dict[str, str] = field(default_factory=dict)
    values: dict[str, Value] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


class _Loading:
    def __init__(self, allow_public_routes: bool, idle_timeout: float) -> None:
        self._public = allow_public_routes
        self._idle_timeout = idle_timeout
        self._outside = Report()
        self._entries: dict[str, _Entry] = {}
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
            entry = _Entry(node, urls.keys[name], folder, problems)
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
        below = self._pinned(defaults, "c.WSHandlerApp.defaults")
        above = self._pinned(enforce, "c.WSHandlerApp.enforce")
        shared = below.problems + above.problems
        self._outside.problems += shared
        routes: list[RouteConfig] = []
        broken: list[BrokenRoute] = []
        for name, entry in self._entries.items():
            report = Report(name)
            report.problems = entry.problems + shared
            route = self._route(name, entry, below, above, report)
            self._outside.notes += report.notes
            if isinstance(route, RouteConfig):
                routes.append(route)
            else:
                broken.append(route)
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

    def _pinned(self, trait: Any, source: str) -> _Pinned:
        """Read ``defaults`` or ``enforce``; a mistake there breaks every route."""
        pinned = _Pinned()
        if trait is None:
            return pinned
        tree = from_python(trait, source)
        assert tree.root is not None
        report = Report()
        report.problems = [problem for _, problem in tree.problems]
        pinned.values, pinned.written = self._collect(tree.root, os.getcwd(), report)
        KwargsReader(report, self._public).read(pinned.values)
        pinned.problems = report.problems
        return pinned

    def _collect(
        self, node: Node, folder: str, report: Report
    ) -> tuple[dict[str, Value], dict[str, str]]:
        """Return kwargs by canonical name, and the name under which each was written."""
        values: dict[str, Value] = {}
        written: dict[str, str] = {}
        if not isinstance(node.value, dict):
            report.problem(node.place, f"expected a mapping of options, found {describe(node)}")
            return values, written
        valid = key_names(KwargsEntry)
        for name, child in node.value.items():
            place = node.keys[name]
            if name not in valid:
                report.problem(place, _unknown(name, valid))
                continue
            canonical = "open" if name == "on_open" else name
            if canonical in values:
                message = "open and on_open are two spellings of one key; remove one of the two"
                report.problem(place, message)
                continue
            values[canonical] = Value(child, folder)
            written[canonical] = name
            _refuse_variables(child, report)
        return values, written

    def _route(
        self, name: str, entry: _Entry, below: _Pinned, above: _Pinned, report: Report
    ) -> RouteConfig | BrokenRoute:
        node = entry.node
        if not isinstance(node.value, dict):
            report.problem(
                node.place, f"expected a mapping with pattern and kwargs, found {describe(node)}"
            )
            problems = tuple(report.problems)
            return BrokenRoute(name=name, pattern=None, place=entry.place, problems=problems)
        valid = key_names(RouteEntry)
        for key in node.value:
            if key not in valid:
                hint = _unknown(key, valid)
                if key in key_names(KwargsEntry):
                    hint = f"{key} belongs below kwargs"
                report.problem(node.keys[key], hint)
        self._handler(node, entry.place, report)
        pattern, compiled = self._pattern(node, entry.place, report)
        priority = self._priority(node, report)
        fields, kwargs = self._kwargs(node, entry, below, above, report)
        if compiled is not None and isinstance(fields.get("page"), str):
            _refuse_swallowed(compiled, node.value["pattern"].place, fields["page"], report)
        if report.problems or compiled is None or pattern is None:
            return BrokenRoute(
                name=name,
                pattern=pattern if compiled else None,
                place=entry.place,
                problems=tuple(dict.fromkeys(report.problems)),
                priority=priority,
                functions=fields.get("callbacks", {}),
                run=fields.get("run", "thread"),
            )
        route = RouteConfig(
            name=name,
            pattern=pattern,
            place=entry.place,
            priority=priority,
            kwargs=kwargs,
            **fields,
        )
        self._patterns.append((compiled, route))
        self._advise(route, report)
        return route

    def _handler(self, node: Node, place: Place, report: Report) -> None:
        if "handler" in node.value and "service" in node.value:
            message = "handler and service are two spellings of one key; remove one of the two"
            report.problem(node.keys["service"], message)
        handler = node.value.get("handler", node.value.get("service"))
        if handler is None:
            message = f"expected a handler, found none; write handler: {HANDLER}"
            report.problem(place, message)
        elif handler.value not in HANDLERS:
            report.problem(handler.place, f"expected {HANDLER}, found {describe(handler)}")

    def _pattern(
        self, node: Node, place: Place, report: Report
    ) -> tuple[str | None, CompiledPattern | None]:
        pattern = node.value.get("pattern")
        if pattern is None:
            report.problem(place, "expected a pattern, found none; write pattern: /your/path")
            return None, None
        if not isinstance(pattern.value, str):
            expected = "expected a pattern that begins with /"
            report.problem(pattern.place, f"{expected}, found {describe(pattern)}")
            return None, None
        try:
            return below_base(pattern.value), analyse_pattern(pattern.value)
        except PatternError as error:
            report.problem(pattern.place, str(error))
            return pattern.value, None

    def _priority(self, node: Node, report: Report) -> float:
        priority = node.value.get("priority")
        if priority is None:
            return 0
        if not is_number(priority.value):
            report.problem(priority.place, f"expected a number, found {describe(priority)}")
            return 0
        value: int | float = priority.value
        return value

    def _kwargs(
        self, node: Node, entry: _Entry, below: _Pinned, above: _Pinned, report: Report
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        kwargs = node.value.get("kwargs")
        values: dict[str, Value] = {}
        written: dict[str, str] = {}
        if kwargs is not None and kwargs.value is not None:
            values, written = self._collect(kwargs, entry.folder, report)
        for canonical, value in above.values.items():
            own = values.get(canonical)
            if own is not None and own.node.plain() != value.node.plain():
                name = written[canonical]
                message = f"{name} is overridden by {value.node.place}"
                report.note(own.node.place, message)
        merged = {**below.values, **values, **above.values}
        names = {**below.written, **written, **above.written}
        fields = KwargsReader(report, self._public).read(merged)
        if fields.get("keep_alive") != "connections":
            fields.setdefault("idle_timeout", self._idle_timeout)
        return fields, {names[key]: value.node.plain() for key, value in merged.items()}

    def _advise(self, route: RouteConfig, report: Report) -> None:
        """Note what works and yet is hardly meant."""
        events = set(route.callbacks)
        if not events:
            report.note(route.place, "nothing is configured: no function is ever called")
        if route.ping_interval >= LONG_PING:
            message = (
                f"ping_interval is {route.ping_interval / 3600:.1f} hours; a number means seconds, "
                "other than Jupyter's websocket_ping_interval, which is in milliseconds"
            )
            report.note(route.place, message)
        if "on_message" not in events:
            message = "there is no on_message: a client that sends a message is closed with 1003"
            report.note(route.place, message)

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


def _refuse_swallowed(pattern: CompiledPattern, place: Place, page: str, report: Report) -> None:
    """Refuse a folder as the page of a pattern that matches the paths of the folder's files."""
    below = f"{pattern.sample}/index.html"
    if page.endswith(os.sep) and pattern.regex.match(below):
        report.problem(
            place,
            f"page: is a folder, and this pattern takes the paths of its files, such as {below}, "
            "for addresses of the bot; write {name} for a segment in place of .*",
        )


def _unknown(name: str, valid: Sequence[str]) -> str:
    if name in MEANINGLESS:
        return MEANINGLESS[name]
    if name in UNSUPPORTED:
        return UNSUPPORTED[name]
    condition = condition_of(name)
    if condition is not None:
        return condition
    return f"unknown key {shorten(name)}; {suggest(name, valid)}"


def _refuse_variables(node: Node, report: Report) -> None:
    """Refuse ``$NAME``, which Gramex replaces and a literal text would silently not."""
    if isinstance(node.value, str):
        match = _VARIABLE.search(node.value)
        if match:
            message = f"${match[1]} is not supported; write the value itself"
            if match[1] == "YAMLURL":
                message = "$YAMLURL is known in a pattern only; write the value itself"
            report.problem(node.place, message)
    elif isinstance(node.value, (list, dict)):
        items = node.value.values() if isinstance(node.value, dict) else node.value
        for child in items:
            _refuse_variables(child, report)
