"""The configuration as a table for people: what `check` prints and the server logs at start."""

from __future__ import annotations

from typing import Any

from jupyter_wshandler.config.model import AuthConfig, BrokenRoute, Config, RouteConfig
from jupyter_wshandler.config.patterns import PatternError, analyse_pattern

_HEADER = ("ROUTE", "PATTERN", "CALLBACKS", "AUTH", "ORIGINS")
_WIDEST = 44


def route_table(config: Config) -> list[str]:
    """Return the routes as lines of text, in the order in which they match.

    Args:
        config: What `load` returned.

    Returns:
        A header and a line for each route; empty if there is none.
    """
    every: list[RouteConfig | BrokenRoute] = [*config.routes, *config.broken]
    routes = sorted(every, key=_order)
    if not routes:
        return []
    rows = [_HEADER, *(_row(route) for route in routes)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADER))]
    lines = []
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        lines.append("  ".join(cells).rstrip())
    return lines


def printable(text: str) -> str:
    """Return a text with what a terminal would obey, such as a line break, written out."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _order(route: RouteConfig | BrokenRoute) -> tuple[Any, ...]:
    try:
        compiled = analyse_pattern(route.pattern or "")
    except PatternError:
        return (1, route.name)
    return (0, *compiled.sort_key(route.priority, route.name))


def _row(route: RouteConfig | BrokenRoute) -> tuple[str, ...]:
    name, pattern = _cell(route.name), _cell(route.pattern or "?")
    if isinstance(route, BrokenRoute):
        count = len(route.problems)
        noun = "problem" if count == 1 else "problems"
        return name, pattern, f"BROKEN: {count} {noun}, see below", "", ""
    types = [f"types({', '.join(route.types)})"] if route.types else []
    callbacks = _cell(" ".join([*route.callbacks, *types]) or "none")
    return name, pattern, callbacks, _auth(route.auth), _origins(route.origins)


def _auth(auth: AuthConfig) -> str:
    if not auth.required:
        return "PUBLIC"
    parts = ["login"]
    for key in ("users", "groups", "scopes"):
        values = getattr(auth, key)
        if values:
            parts.append(_either(key, values))
    if auth.membership:
        rules = [
            " and ".join(_either(key, values) for key, values in rule.items())
            for rule in auth.membership
        ]
        parts.append(" or ".join(rules))
    if auth.condition is not None:
        parts.append(f"{auth.condition.function}()")
    return _cell(", ".join(parts))


def _either(key: str, values: tuple[Any, ...]) -> str:
    return f"{key}={'|'.join(map(str, values))}"


def _origins(origins: tuple[str, ...] | None) -> str:
    if origins is None:
        return "this server"
    return "ANY" if "*" in origins else _cell(" ".join(origins))


def _cell(text: str) -> str:
    text = printable(text)
    return text if len(text) <= _WIDEST else text[: _WIDEST - 3] + "..."
