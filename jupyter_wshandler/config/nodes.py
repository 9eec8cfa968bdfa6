"""A configuration as a tree that knows where each of its values was written."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from jupyter_wshandler.config.model import Place, Problem

MAX_DEPTH = 32
"""Levels of mappings and lists a configuration may have."""
MAX_NODES = 50_000
"""Values a configuration may hold once its YAML aliases are written out."""
MAX_INTEGER = 2**63

Path = tuple[str, ...]


@dataclass(slots=True, frozen=True)
class Node:
    """One value with its place.

    Args:
        value: A scalar, a list of nodes, or a dict of nodes by key.
        place: Where the value begins.
        keys: For a dict: where each key stands.
    """

    value: Any
    place: Place
    keys: dict[str, Place] = field(default_factory=dict)

    def plain(self) -> Any:
        """Return the value as ordinary Python data, without places."""
        if isinstance(self.value, dict):
            return {name: child.plain() for name, child in self.value.items()}
        if isinstance(self.value, list):
            return [child.plain() for child in self.value]
        return self.value


@dataclass(slots=True)
class Tree:
    """What one source gave: its root, if any, and the mistakes met on the way.

    Each problem comes with its path of keys, so that one inside a route can be told from one
    that concerns the whole source.
    """

    root: Node | None
    problems: list[tuple[Path, Problem]] = field(default_factory=list)


class Report:
    """The problems and notes of one route, or of what stands outside any route."""

    def __init__(self, route: str | None = None) -> None:
        self.route = route
        self.problems: list[Problem] = []
        self.notes: list[str] = []

    def problem(self, place: Place, message: str) -> None:
        """Add one mistake."""
        self.problems.append(Problem(place, message, self.route))

    def note(self, place: Place, message: str) -> None:
        """Add one sentence for the log that is not an error."""
        self.notes.append(str(Problem(place, message)))


def join_key(parent: str, name: str | int, *, bracket: bool = False) -> str:
    """Return the key path of a child, such as ``url.bot.kwargs.origins[0]``."""
    if isinstance(name, int):
        return f"{parent}[{name}]"
    if bracket or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]*", name):
        return f"{parent}[{name!r}]"
    return f"{parent}.{name}" if parent else name


def describe(value: Any) -> str:
    """Return words for a value that was found where another was expected."""
    if isinstance(value, Node):
        value = value.value
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return f"the number {value!r}"
    if isinstance(value, str):
        return "an empty text" if not value else f"the text {shorten(value)}"
    if isinstance(value, (list, tuple)):
        return "a list" if value else "an empty list"
    if isinstance(value, Mapping):
        return "a mapping" if value else "an empty mapping"
    return f"a Python object of type {type(value).__name__}"


def shorten(text: str, limit: int = 60) -> str:
    """Return the text quoted, cut in the middle of nowhere if it is long."""
    return repr(text if len(text) <= limit else text[: limit - 3] + "...")


def suggest(name: str, valid: Iterable[str]) -> str:
    """Return a clause that names the nearest valid name, or all of them if none is near."""
    names = sorted(valid)
    folded = {candidate.casefold(): candidate for candidate in names}
    near = difflib.get_close_matches(name[:100].casefold(), folded, n=1, cutoff=0.6)
    if near:
        return f"did you mean {folded[near[0]]}?"
    return f"valid here: {', '.join(names)}"


def from_python(value: Any, source: str) -> Tree:
    """Turn the value of a trait into a tree.

    Args:
        value: What the administrator's configuration holds.
        source: The trait's name, such as ``c.WSHandlerApp.url``.

    Returns:
        The tree; what is no plain data becomes a problem and a value of None.
    """
    return _Converter(source).run(value)


class _Converter:
    """What turns ordinary Python data into nodes."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._count = 0
        self._tree = Tree(None)

    def run(self, value: Any) -> Tree:
        self._tree.root = self._node(value, "", ())
        return self._tree

    def _problem(self, place: Place, path: Path, message: str) -> None:
        self._tree.problems.append((path, Problem(place, message)))

    def _node(self, value: Any, key: str, path: Path) -> Node:
        place = Place(self._source, key=key)
        self._count += 1
        if len(path) > MAX_DEPTH or self._count > MAX_NODES:
            if self._count <= MAX_NODES + 1:
                self._problem(place, path, "nested too deeply or too large for a configuration")
            return Node(None, place)
        if isinstance(value, Mapping):
            return self._mapping(value, place, path)
        if isinstance(value, (list, tuple)):
            children = [
                self._node(item, join_key(key, index), (*path, str(index)))
                for index, item in enumerate(value)
            ]
            return Node(children, place)
        if isinstance(value, int) and not -MAX_INTEGER <= value < MAX_INTEGER:
            self._problem(place, path, "the number is too large")
            return Node(None, place)
        if value is not None and not isinstance(value, (str, int, float)):
            found = describe(value)
            hint = " (name a function as the text 'module.function')" if callable(value) else ""
            self._problem(place, path, f"expected plain data, found {found}{hint}")
            return Node(None, place)
        return Node(value, place)

    def _mapping(self, value: Mapping[Any, Any], place: Place, path: Path) -> Node:
        children: dict[str, Node] = {}
        keys: dict[str, Place] = {}
        for name, item in value.items():
            if not isinstance(name, str):
                found = describe(name)
                self._problem(place, path, f"expected a text as key, found {found}")
                continue
            key = join_key(place.key, name, bracket=not path)
            children[name] = self._node(item, key, (*path, name))
            keys[name] = Place(self._source, key=key)
        return Node(children, place, keys)


def is_number(value: Any) -> bool:
    """Say whether a value is a finite number; True and False are none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return isinstance(value, int) or math.isfinite(value)
