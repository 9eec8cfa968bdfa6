"""Check what a route says of breaks: `resume`."""

from __future__ import annotations

from typing import Any

from jupyter_wshandler.config.checks import Checks, Value, reads
from jupyter_wshandler.config.described import Key, keys_of
from jupyter_wshandler.config.entries import KeepEntry, ResumeEntry
from jupyter_wshandler.config.keys import KwargsEntry
from jupyter_wshandler.config.model import ResumeConfig
from jupyter_wshandler.config.nodes import Node, shorten, suggest
from jupyter_wshandler.config.units import parse_duration, parse_size

MIN_WINDOW, MAX_WINDOW = 0.1, 3600.0
"""Seconds that a connection may wait for a client that is away."""

MAX_KEEP = 100_000
"""Messages that may be kept for one client, at most."""

MIN_BYTES = 1024
"""Bytes that are kept at least."""


class ResumeChecks(Checks):
    """What turns what a route says of breaks into the `resume` of its `RouteConfig`."""

    @reads("resume")
    def _resume(self, name: str, value: Value) -> dict[str, Any] | None:
        node = value.node
        if isinstance(node.value, bool):
            return {name: ResumeConfig() if node.value else None}
        if not isinstance(node.value, dict) or not node.value:
            self._expected(keys_of(KwargsEntry)[name], node)
            return None
        before = len(self._report.problems)
        fields: dict[str, Any] = {}
        for key, child in self._known_keys(node, keys_of(ResumeEntry)):
            if key.name == "window":
                fields["window"] = self._window(key, child)
            elif not isinstance(child.value, dict) or not child.value:
                self._expected(key, child)
            else:
                for kept, amount in self._known_keys(child, keys_of(KeepEntry)):
                    fields[kept.name] = self._kept(kept, amount)
        return None if len(self._report.problems) > before else {name: ResumeConfig(**fields)}

    def _window(self, key: Key, node: Node) -> float | None:
        seconds = self._parsed(key, node, parse_duration)
        if seconds is not None and not MIN_WINDOW <= seconds <= MAX_WINDOW:
            self._expected(key, node)
        return seconds

    def _kept(self, key: Key, node: Node) -> int | None:
        if key.name == "messages":
            return self._integer(key, node, MAX_KEEP)
        size = self._parsed(key, node, parse_size)
        if size is not None and size < MIN_BYTES:
            self._expected(key, node)
        return size

    def _known_keys(self, node: Node, keys: dict[str, Key]) -> list[tuple[Key, Node]]:
        """Return the children whose keys are known; the others are reported."""
        for name in node.value:
            if name not in keys:
                message = f"unknown key {shorten(name)}; {suggest(name, keys)}"
                self._report.problem(node.keys[name], message)
        return [(keys[name], child) for name, child in node.value.items() if name in keys]
