"""Check what a route says of its filters, and what the server says of those of all routes."""

from __future__ import annotations

import keyword
from typing import Any

from jupyter_wshandler.config.checks import Checks, Value, reads
from jupyter_wshandler.config.model import FunctionSpec
from jupyter_wshandler.config.nodes import Node, describe, shorten

MAX_FILTERS = 16
"""Filters of one route, at most: each is called for every message."""

EXPECTED = "expected the name of a filter, a module or something in one, such as audit.Cards"


class FilterChecks(Checks):
    """What turns what a route says of its filters into the fields of its `RouteConfig`."""

    @reads("filters")
    def _filters(self, name: str, value: Value) -> dict[str, Any] | None:
        node = value.node
        entries: list[Node] = node.value if isinstance(node.value, list) else [node]
        if len(entries) > MAX_FILTERS:
            expected = f"expected at most {MAX_FILTERS} filters"
            self._report.problem(node.place, f"{expected}, found {len(entries)}")
            return None
        found: list[FunctionSpec] = []
        for entry in entries:
            if not isinstance(entry.value, str):
                self._report.problem(entry.place, f"{EXPECTED}, found {describe(entry)}")
                continue
            text = entry.value.strip()
            why = why_no_filter(text)
            if why is None and any(text == one.function for one in found):
                why = f"{shorten(text)} stands twice"
            if why is not None:
                self._report.problem(entry.place, f"{EXPECTED}; {why}")
                continue
            found.append(FunctionSpec(function=text, place=entry.place))
        return {name: tuple(found)}


def why_no_filter(text: str) -> str | None:
    """Return why a text cannot be the name of a filter, or None.

    Args:
        text: What is to be one.
    """
    parts = text.split(".")
    if all(p.isascii() and p.isidentifier() and not keyword.iskeyword(p) for p in parts):
        return None
    return f"found {shorten(text)}"
