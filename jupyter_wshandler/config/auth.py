"""Check who may open a connection: `auth`."""

from __future__ import annotations

from typing import Any

from jupyter_wshandler.config.checks import Checks, Value, reads
from jupyter_wshandler.config.described import key_names, keys_of
from jupyter_wshandler.config.entries import AuthEntry
from jupyter_wshandler.config.functions import parse_function
from jupyter_wshandler.config.gramex import MEANINGLESS_AUTH
from jupyter_wshandler.config.model import AuthConfig
from jupyter_wshandler.config.nodes import Node, Report, describe, suggest
from jupyter_wshandler.config.units import parse_duration

_KNOWN_ATTRIBUTES = ("username", "name", "display_name", "groups", "scopes", "kind", "admin")

MIN_RECHECK = 0.1
"""Seconds between two questions about a login, at least."""


class AuthChecks(Checks):
    """What turns `auth` of a route into the field of its `RouteConfig`.

    Args:
        report: Takes the problems and notes.
        allow_public_routes: Whether ``auth: false`` is permitted.
    """

    def __init__(self, report: Report, allow_public_routes: bool) -> None:
        super().__init__(report)
        self._public = allow_public_routes

    @reads("auth")
    def _auth(self, name: str, value: Value) -> dict[str, Any] | None:
        node = value.node
        if node.value is True:
            return {name: AuthConfig()}
        if node.value is False:
            if not self._public:
                self._report.problem(
                    node.place,
                    "auth: false opens the route to everyone, which only the administrator may "
                    "permit with c.WSHandlerApp.allow_public_routes = True; until then remove it",
                )
            return {name: AuthConfig(required=False)}
        if not isinstance(node.value, dict) or not node.value:
            hint = ""
            if isinstance(node.value, str) and node.value.lower() in {"yes", "true", "on"}:
                hint = "; write auth: true, without quotes"
            elif not node.value:
                hint = "; write auth: true, or remove it, to admit every logged-in user"
            expected = "true, false or a mapping such as {groups: [staff]}"
            self._report.problem(node.place, f"expected {expected}, found {describe(node)}{hint}")
            return None
        return self._auth_mapping(name, node)

    def _auth_mapping(self, name: str, node: Node) -> dict[str, Any] | None:
        report, before = self._report, len(self._report.problems)
        fields: dict[str, Any] = {}
        for key, child in node.value.items():
            if key == "membership":
                fields[key] = self._membership(child)
            elif key in ("users", "groups", "scopes"):
                fields[key] = self._names(key, child)
            elif key in ("condition", "function"):
                fields["condition"] = parse_function(child, "condition", report)
            elif key in MEANINGLESS_AUTH:
                report.problem(node.keys[key], MEANINGLESS_AUTH[key])
            elif key in ("recheck", "recheck_grace"):
                fields[key] = self._recheck(key, child)
            elif key == "guests":
                typed = self._typed(keys_of(AuthEntry)[key], child)
                fields[key] = typed is True
            else:
                hint = suggest(key, key_names(AuthEntry))
                report.problem(node.keys[key], f"unknown key {key!r}; {hint}")
        if "condition" in node.value and "function" in node.value:
            message = "condition and function are two spellings of one key; remove one of the two"
            report.problem(node.keys["function"], message)
        if len(report.problems) > before:
            return None
        return {name: AuthConfig(**fields)}

    def _names(self, key: str, node: Node) -> tuple[str, ...]:
        entries = node.value if isinstance(node.value, list) else [node]
        expected = f"expected {keys_of(AuthEntry)[key].takes}"
        if not entries:
            self._report.problem(node.place, f"{expected}, found an empty list: nobody matches")
        for entry in entries:
            if not isinstance(entry.value, str) or not entry.value:
                self._report.problem(entry.place, f"{expected}, found {describe(entry)}")
            elif "*" in entry.value and key != "scopes":
                self._report.problem(entry.place, _no_wildcard(key, entry))
        return tuple(entry.value for entry in entries)

    def _recheck(self, name: str, node: Node) -> float:
        if node.value is False or node.value == "off":
            return 0.0
        key = keys_of(AuthEntry)[name]
        seconds = self._parsed(key, node, parse_duration)
        if seconds is not None and seconds < MIN_RECHECK:
            expected = f"expected {key.takes} of at least {MIN_RECHECK} s, or off"
            self._report.problem(node.place, f"{expected}, found {describe(node)}")
        return seconds or 0.0

    def _membership(self, node: Node) -> tuple[dict[str, tuple[Any, ...]], ...]:
        expected = "expected a mapping of user attributes to values, or a list of such mappings"
        entries = node.value if isinstance(node.value, list) else [node]
        if not entries:
            self._report.problem(node.place, f"{expected}, found an empty list")
        rules = []
        for entry in entries:
            if not isinstance(entry.value, dict) or not entry.value:
                self._report.problem(entry.place, f"{expected}, found {describe(entry)}")
                continue
            rules.append({key: self._allowed(child) for key, child in entry.value.items()})
            for key in entry.value:
                if key not in _KNOWN_ATTRIBUTES:
                    hint = suggest(key, _KNOWN_ATTRIBUTES)
                    message = f"Jupyter's users have no attribute {key!r} by default; {hint}"
                    self._report.note(entry.keys[key], message)
        return tuple(rules)

    def _allowed(self, node: Node) -> tuple[Any, ...]:
        values = node.value if isinstance(node.value, list) else [node]
        for value in values:
            if not isinstance(value.value, (str, int)):
                expected = "expected a value or a list of values"
                self._report.problem(value.place, f"{expected}, found {describe(value)}")
            elif value.value == "*":
                self._report.problem(value.place, _no_wildcard("membership", value))
        if not values:
            message = "expected a value or a list of values, found an empty list: nobody matches"
            self._report.problem(node.place, message)
        return tuple(value.value for value in values)


def _no_wildcard(key: str, node: Node) -> str:
    return (
        f"{key} takes whole names, found {describe(node)}: nobody matches; to admit everybody who "
        "is logged in, remove it"
    )
