"""Check one route as written, with what the administrator adds to every route."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
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
)
from jupyter_wshandler.config.keys import KwargsEntry, RouteEntry
from jupyter_wshandler.config.model import BrokenRoute, Place, Problem, RouteConfig
from jupyter_wshandler.config.nodes import (
    Node,
    Report,
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
from jupyter_wshandler.config.rooms import check_groups
from jupyter_wshandler.config.values import KwargsReader

LONG_PING = 3600.0
"""Seconds between two pings from which on they are hardly meant: proxies give up far earlier."""

_VARIABLE = re.compile(r"\$\{?([A-Z_][A-Z0-9_]*)")


@dataclass(slots=True)
class WrittenRoute:
    """One route as written, with the mistakes that its source already has.

    Args:
        node: What stands below the route's name.
        place: Where the name stands.
        folder: The folder that relative paths in it start from.
        problems: What is wrong with it so far.
    """

    node: Node
    place: Place
    folder: str
    problems: list[Problem]


@dataclass(slots=True)
class _Pinned:
    """The kwargs of ``defaults`` or ``enforce``, by canonical name."""

    written: dict[str, str] = field(default_factory=dict)
    values: dict[str, Value] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


class RouteReader:
    """What checks routes one by one, with the kwargs that every route gets.

    Args:
        defaults: Kwargs for each route that has not its own.
        enforce: Kwargs that no route may override.
        allow_public_routes: Whether a route may say ``auth: false``.
        idle_timeout: Seconds for routes that have not their own and do not say
            ``keep_alive: connections``; 0 is none.

    Attributes:
        problems: The mistakes in ``defaults`` and ``enforce``, which break every route.
    """

    def __init__(
        self, defaults: Any, enforce: Any, allow_public_routes: bool, idle_timeout: float
    ) -> None:
        self._public = allow_public_routes
        self._idle_timeout = idle_timeout
        self._below = self._pinned(defaults, "c.WSHandlerApp.defaults")
        self._above = self._pinned(enforce, "c.WSHandlerApp.enforce")
        self.problems = self._below.problems + self._above.problems

    def read(
        self, name: str, written: WrittenRoute, report: Report
    ) -> tuple[RouteConfig, CompiledPattern] | BrokenRoute:
        """Check a route; return it with its pattern, or what is known of a broken one.

        Args:
            name: The route's name.
            written: What its source says.
            report: Takes what is wrong with it, and the notes about it.
        """
        report.problems += written.problems + self.problems
        node = written.node
        if not isinstance(node.value, dict):
            report.problem(
                node.place, f"expected a mapping with pattern and kwargs, found {describe(node)}"
            )
            problems = tuple(report.problems)
            return BrokenRoute(name=name, pattern=None, place=written.place, problems=problems)
        _refuse_unknown(node, report)
        _check_handler(node, written.place, report)
        pattern, compiled = _read_pattern(node, written.place, report)
        priority = _read_priority(node, report)
        fields, kwargs = self._kwargs(node, written.folder, report)
        if compiled is not None and isinstance(fields.get("page"), str):
            _refuse_swallowed(compiled, node.value["pattern"].place, fields["page"], report)
        if compiled is not None:
            check_groups(fields.get("rooms", ()), compiled.regex.groupindex, written.place, report)
        if report.problems or compiled is None or pattern is None:
            return BrokenRoute(
                name=name,
                pattern=pattern if compiled else None,
                place=written.place,
                problems=tuple(dict.fromkeys(report.problems)),
                priority=priority,
                functions=fields.get("callbacks", {}),
                run=fields.get("run", "thread"),
            )
        route = RouteConfig(
            name=name,
            pattern=pattern,
            place=written.place,
            priority=priority,
            kwargs=kwargs,
            **fields,
        )
        _advise(route, report)
        return route, compiled

    def _pinned(self, trait: Any, source: str) -> _Pinned:
        """Read ``defaults`` or ``enforce``; a mistake there breaks every route."""
        pinned = _Pinned()
        if trait is None:
            return pinned
        tree = from_python(trait, source)
        assert tree.root is not None
        report = Report()
        report.problems = [problem for _, problem in tree.problems]
        pinned.values, pinned.written = _collect(tree.root, os.getcwd(), report)
        KwargsReader(report, self._public).read(pinned.values)
        pinned.problems = report.problems
        return pinned

    def _kwargs(
        self, node: Node, folder: str, report: Report
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        below, above = self._below, self._above
        kwargs = node.value.get("kwargs")
        values: dict[str, Value] = {}
        written: dict[str, str] = {}
        if kwargs is not None and kwargs.value is not None:
            values, written = _collect(kwargs, folder, report)
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


def _collect(node: Node, folder: str, report: Report) -> tuple[dict[str, Value], dict[str, str]]:
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


def _refuse_unknown(node: Node, report: Report) -> None:
    valid = key_names(RouteEntry)
    for key in node.value:
        if key not in valid:
            hint = _unknown(key, valid)
            if key in key_names(KwargsEntry):
                hint = f"{key} belongs below kwargs"
            report.problem(node.keys[key], hint)


def _check_handler(node: Node, place: Place, report: Report) -> None:
    if "handler" in node.value and "service" in node.value:
        message = "handler and service are two spellings of one key; remove one of the two"
        report.problem(node.keys["service"], message)
    handler = node.value.get("handler", node.value.get("service"))
    if handler is None:
        message = f"expected a handler, found none; write handler: {HANDLER}"
        report.problem(place, message)
    elif handler.value not in HANDLERS:
        report.problem(handler.place, f"expected {HANDLER}, found {describe(handler)}")


def _read_pattern(
    node: Node, place: Place, report: Report
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


def _read_priority(node: Node, report: Report) -> float:
    priority = node.value.get("priority")
    if priority is None:
        return 0
    if not is_number(priority.value):
        report.problem(priority.place, f"expected a number, found {describe(priority)}")
        return 0
    value: int | float = priority.value
    return value


def _refuse_swallowed(pattern: CompiledPattern, place: Place, page: str, report: Report) -> None:
    """Refuse a folder as the page of a pattern that matches the paths of the folder's files."""
    below = f"{pattern.sample}/index.html"
    if page.endswith(os.sep) and pattern.regex.match(below):
        report.problem(
            place,
            f"page: is a folder, and this pattern takes the paths of its files, such as {below}, "
            "for addresses of the bot; write {name} for a segment in place of .*",
        )


def _advise(route: RouteConfig, report: Report) -> None:
    """Note what works and yet is hardly meant."""
    events = set(route.callbacks)
    if not events and not route.types:
        report.note(route.place, "nothing is configured: no function is ever called")
    if route.ping_interval >= LONG_PING:
        message = (
            f"ping_interval is {route.ping_interval / 3600:.1f} hours; a number means seconds, "
            "other than Jupyter's websocket_ping_interval, which is in milliseconds"
        )
        report.note(route.place, message)
    if "on_message" not in events and not route.types:
        message = "there is no on_message: a client that sends a message is closed with 1003"
        report.note(route.place, message)


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
