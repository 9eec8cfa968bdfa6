"""Check single values against what their keys take."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from jupyter_wshandler.config.described import Key
from jupyter_wshandler.config.nodes import Node, Report, describe


@dataclass(slots=True)
class Value:
    """Hold one key of kwargs as written.

    Args:
        node: The value.
        folder: The folder that relative paths in it start from.
    """

    node: Node
    folder: str


class Checks:
    """Check values and report those that are not what their keys take.

    Args:
        report: Takes the problems and notes.
    """

    def __init__(self, report: Report) -> None:
        self._report = report

    def _expected(self, key: Key, node: Node) -> None:
        takes = key.takes.replace("`", "")
        self._report.problem(node.place, f"expected {takes}, found {describe(node)}")

    def _typed(self, key: Key, node: Node) -> Any:
        """Return the value if it has the key's declared type, else report and return UNSET."""
        try:
            return msgspec.convert(node.plain(), key.type, strict=True)
        except msgspec.ValidationError:
            self._expected(key, node)
            return msgspec.UNSET

    def _integer(self, key: Key, node: Node, highest: int) -> int | None:
        number = node.value
        if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= highest:
            self._expected(key, node)
            return None
        return number

    def _parsed(
        self, key: Key, node: Node, parse: Callable[[int | float | str], Any]
    ) -> Any | None:
        """Parse a quantity; None where a problem was reported."""
        if not isinstance(node.value, (int, float, str)) or isinstance(node.value, bool):
            self._expected(key, node)
            return None
        try:
            return parse(node.value)
        except ValueError as error:
            self._report.problem(node.place, str(error))
            return None
