"""Check what a route says of compression: `compression`."""

from __future__ import annotations

from typing import Any

from jupyter_wshandler.config.checks import Checks, Value, reads
from jupyter_wshandler.config.described import Key, keys_of
from jupyter_wshandler.config.entries import CompressionEntry
from jupyter_wshandler.config.keys import KwargsEntry
from jupyter_wshandler.config.nodes import Node, shorten, suggest
from jupyter_wshandler.config.units import parse_size

RANGES = {"compression_level": (0, 9), "mem_level": (1, 9), "max_window_bits": (9, 15)}
"""The lowest and the highest value of each number."""


class CompressionChecks(Checks):
    """What turns what a route says of compression into the `compression` of its `RouteConfig`."""

    @reads("compression")
    def _compression(self, name: str, value: Value) -> dict[str, Any] | None:
        node = value.node
        if isinstance(node.value, bool):
            return {name: {} if node.value else None}
        if not isinstance(node.value, dict) or not node.value:
            self._expected(keys_of(KwargsEntry)[name], node)
            return None
        before = len(self._report.problems)
        keys = keys_of(CompressionEntry)
        options: dict[str, Any] = {}
        for option, child in node.value.items():
            if option not in keys:
                message = f"unknown key {shorten(option)}; {suggest(option, keys)}"
                self._report.problem(node.keys[option], message)
            else:
                options[option] = self._option(keys[option], child)
        return None if len(self._report.problems) > before else {name: options}

    def _option(self, key: Key, node: Node) -> int | None:
        if key.name == "min_size":
            return self._parsed(key, node, parse_size)
        if key.name in RANGES:
            low, high = RANGES[key.name]
            is_right = type(node.value) is int and low <= node.value <= high
        else:
            is_right = type(node.value) is bool
        if not is_right:
            self._expected(key, node)
        return node.value if is_right else None
