"""Check what a route says of its rooms: `rooms`, `may_join`, `space`, `history` and `presence`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import msgspec

from jupyter_wshandler.config.checks import Checks, Value, reads
from jupyter_wshandler.config.described import Key, keys_of
from jupyter_wshandler.config.entries import HistoryEntry, PresenceEntry
from jupyter_wshandler.config.functions import parse_function
from jupyter_wshandler.config.keys import KwargsEntry
from jupyter_wshandler.config.model import HistoryConfig, Place, PresenceConfig
from jupyter_wshandler.config.nodes import Node, Report, shorten, suggest
from jupyter_wshandler.config.units import parse_duration, parse_size

MAX_ROOM = 200
"""Characters in the name of a room or a space, at most."""

MAX_ROOMS = 64
"""Rooms that one connection may be in at a time."""

MAX_KEPT = 10_000
"""Messages of a room that may be kept, at most."""

MAX_LINGER = 300.0
"""Seconds that a lost person may stay in the list, at most."""

USER_ROOM = "user:"
"""What the names of the rooms of one user begin with; a visitor's own choice never does."""

PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
"""A group of the pattern, or `user`, in the name of a room."""


def why_not_name(name: object) -> str | None:
    """Return why something cannot be the name of a room or a space, or None.

    Args:
        name: What is to be one.
    """
    if not isinstance(name, str):
        return f"a name is a text, found a {type(name).__name__}"
    if not 1 <= len(name) <= MAX_ROOM:
        return f"a name has 1 to {MAX_ROOM} characters, found {len(name)}"
    if not name.isprintable():
        return f"a name has printable characters only, found {shorten(name)}"
    return None


class RoomChecks(Checks):
    """What turns what a route says of its rooms into the fields of its `RouteConfig`."""

    @reads("rooms")
    def _rooms(self, name: str, value: Value) -> dict[str, Any] | None:
        node = value.node
        entries = node.value if isinstance(node.value, list) else [node]
        if len(entries) > MAX_ROOMS:
            self._expected(keys_of(KwargsEntry)[name], node)
            return None
        found: list[str] = []
        for entry in entries:
            why = why_not_name(entry.value)
            if why is None and re.search(r"[{}]", PLACEHOLDER.sub("", entry.value)):
                why = f"a brace stands alone in {shorten(entry.value)}; write {{room}} for a group"
            if why is None and entry.value.startswith(USER_ROOM):
                own = entry.value == USER_ROOM + "{user}"
                why = None if own else "the only room that begins with user: is user:{user}"
            if why is None and entry.value in found:
                why = f"{shorten(entry.value)} stands twice"
            if why is not None:
                self._report.problem(entry.place, f"expected the name of a room; {why}")
                continue
            found.append(entry.value)
        return {name: tuple(found)}

    @reads("space")
    def _space(self, name: str, value: Value) -> dict[str, Any] | None:
        why = why_not_name(value.node.value)
        if why is not None:
            self._report.problem(value.node.place, f"expected the name of a space; {why}")
            return None
        return {name: value.node.value}

    @reads("may_join")
    def _may_join(self, name: str, value: Value) -> dict[str, Any] | None:
        spec = parse_function(value.node, name, self._report)
        return None if spec is None else {name: spec}

    @reads("history")
    def _history(self, name: str, value: Value) -> dict[str, Any] | None:
        fields = self._switched(name, value.node, keys_of(HistoryEntry), self._history_field)
        return None if fields is None else {name: HistoryConfig(**fields) if fields else None}

    def _history_field(self, key: Key, node: Node) -> Any:
        number: Any
        before = len(self._report.problems)
        if key.name in ("size", "replay"):
            number = node.value
            least = 1 if key.name == "size" else 0
            if (
                isinstance(number, bool)
                or not isinstance(number, int)
                or not least <= number <= MAX_KEPT
            ):
                number = None
        elif key.name == "ttl":
            number = self._parsed(key, node, parse_duration)
        else:
            number = self._parsed(key, node, parse_size)
            number = None if number is not None and number < 1024 else number
        if number is None or (key.name == "ttl" and number == 0):
            if len(self._report.problems) == before:
                self._expected(key, node)
            return None
        return number

    @reads("presence")
    def _presence(self, name: str, value: Value) -> dict[str, Any] | None:
        fields = self._switched(name, value.node, keys_of(PresenceEntry), self._presence_field)
        return None if fields is None else {name: PresenceConfig(**fields) if fields else None}

    def _presence_field(self, key: Key, node: Node) -> Any:
        if key.name != "linger":
            return parse_function(node, key.name, self._report)
        seconds = self._parsed(key, node, parse_duration)
        if seconds is not None and seconds > MAX_LINGER:
            self._expected(key, node)
            return None
        return seconds

    def _switched(
        self, name: str, node: Node, keys: dict[str, Key], field: Any
    ) -> dict[str, Any] | None:
        """Read `true`, `false` or a mapping; empty is off, None a mistake that was reported."""
        if node.value is False:
            return {}
        first = next(iter(keys))
        if node.value is True:
            return _DEFAULTS[first]
        if not isinstance(node.value, dict):
            self._expected(keys_of(KwargsEntry)[name], node)
            return None
        before = len(self._report.problems)
        fields = dict(_DEFAULTS[first])
        for child_name, child in node.value.items():
            if child_name not in keys:
                message = f"unknown key {shorten(child_name)}; {suggest(child_name, keys)}"
                self._report.problem(node.keys[child_name], message)
                continue
            found = field(keys[child_name], child)
            if found is not None:
                fields[child_name] = found
        return None if len(self._report.problems) > before else fields


_DEFAULTS: dict[str, dict[str, Any]] = {
    "size": msgspec.structs.asdict(HistoryConfig()),
    "card": msgspec.structs.asdict(PresenceConfig()),
}
"""What a mapping that says nothing means, by the first key that it may have."""


def check_groups(rooms: Iterable[str], groups: Iterable[str], place: Place, report: Report) -> None:
    """Report rooms that are named by groups which the pattern does not have.

    Args:
        rooms: The names as written.
        groups: The named groups of the pattern.
        place: Where the route stands.
        report: Takes the problems.
    """
    known = set(groups)
    for room in rooms:
        for group in PLACEHOLDER.findall(room):
            if group == "user" and "user" in known:
                report.problem(
                    place,
                    f"rooms: {{user}} in {shorten(room)} is the user who has logged in, and the "
                    "pattern has a group of that name, which a visitor chooses; rename the group",
                )
            elif group != "user" and group not in known:
                have = ", ".join(sorted(known)) or "none"
                report.problem(
                    place,
                    f"rooms: expected a named group of the pattern, or user, in {shorten(room)}, "
                    f"found {{{group[:40]}}}; the pattern's groups: {have}",
                )
