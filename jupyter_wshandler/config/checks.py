"""Check single values against what their keys take."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

import msgspec

from jupyter_wshandler.config.described import Key
from jupyter_wshandler.config.nodes import Node, Report, describe


@dataclass(slots=True)
class Value:
    """One key of kwargs as written.

    Args:
        node: The value.
        folder: The folder that relative paths in it start from.
    """

    node: Node
    folder: str


Reader: TypeAlias = Callable[[Any, str, Value], dict[str, Any] | None]
_Method = TypeVar("_Method", bound=Reader)

READERS: dict[str, Reader] = {}
"""The method of `KwargsReader` that reads each key of kwargs; a test compares it with the keys of
`KwargsEntry`."""


def reads(*keys: str) -> Callable[[_Method], _Method]:
    """Make the decorated method the one that reads these keys.

    It gets the key's name and the value, and returns the fields of the route that this sets; None
    where it sets none, or a mistake was reported.
    """

    def register(method: _Method) -> _Method:
        READERS.update(dict.fromkeys(keys, method))
        return method

    return register


class Checks:
    """What finds values that are not what their keys take, and reports them.

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
