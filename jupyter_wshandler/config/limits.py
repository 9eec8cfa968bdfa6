"""Check the limits of a route: `max_connections` and `ratelimit`."""

from __future__ import annotations

from functools import partial
from typing import Any

import msgspec

from jupyter_wshandler.config.checks import Checks, Value, reads
from jupyter_wshandler.config.described import Key, keys_of
from jupyter_wshandler.config.entries import MaxConnectionsEntry, RatelimitEntry
from jupyter_wshandler.config.gramex import GRAMEX_RATELIMIT
from jupyter_wshandler.config.keys import KwargsEntry
from jupyter_wshandler.config.model import MaxConnections, Rate, Ratelimit
from jupyter_wshandler.config.nodes import Node, shorten, suggest
from jupyter_wshandler.config.units import parse_duration, parse_rate

MAX_COUNT = 1_000_000
"""Connections that a limit may name at most."""


class LimitChecks(Checks):
    """What turns the limits of a route into the fields of its `RouteConfig`."""

    @reads("max_connections")
    def _max_connections(self, name: str, value: Value) -> dict[str, Any] | None:
        node = value.node
        if not isinstance(node.value, dict) or not node.value:
            number = self._integer(keys_of(KwargsEntry)[name], node, MAX_COUNT)
            return None if number is None else {name: MaxConnections(user=number)}
        keys = keys_of(MaxConnectionsEntry)
        found = {
            child_name: self._integer(keys[child_name], child, MAX_COUNT)
            for child_name, child in self._known(node, keys).items()
        }
        if None in found.values() or len(found) < len(node.value):
            return None
        return {name: MaxConnections(**found)}  # type: ignore[arg-type]

    @reads("ratelimit")
    def _ratelimit(self, name: str, value: Value) -> dict[str, Any] | None:
        node = value.node
        if node.value is False or node.value == "off":
            return {name: None}
        if not isinstance(node.value, dict):
            self._expected(keys_of(KwargsEntry)[name], node)
            return None
        keys = keys_of(RatelimitEntry)
        for key in node.value:
            if key in GRAMEX_RATELIMIT:
                self._report.problem(node.keys[key], GRAMEX_RATELIMIT[key])
                return None
        before = len(self._report.problems)
        fields: dict[str, Any] = {}
        for child_name, child in self._known(node, keys).items():
            fields[child_name] = self._rate_field(keys[child_name], child)
        if len(self._report.problems) == before and not {"messages", "bytes"} & fields.keys():
            message = "expected messages, bytes or both, such as {messages: 100/s}, found neither"
            self._report.problem(node.place, message)
        return {name: Ratelimit(**fields)} if len(self._report.problems) == before else None

    def _rate_field(self, key: Key, node: Node) -> Any:
        if key.name in ("messages", "bytes"):
            parse = partial(parse_rate, of_bytes=key.name == "bytes")
            rate = self._parsed(key, node, parse)
            return None if rate is None else Rate(*rate)
        if key.name == "burst":
            seconds = self._parsed(key, node, parse_duration)
            if seconds == 0:
                self._expected(key, node)
            return seconds
        typed = self._typed(key, node)
        return None if typed is msgspec.UNSET else typed

    def _known(self, node: Node, keys: dict[str, Key]) -> dict[str, Node]:
        """Return the children whose keys are known; the others are reported."""
        for name in node.value:
            if name not in keys:
                message = f"unknown key {shorten(name)}; {suggest(name, keys)}"
                self._report.problem(node.keys[name], message)
        return {name: child for name, child in node.value.items() if name in keys}
