"""Read one YAML file into a tree of values that know their line and column."""

from __future__ import annotations

import os
import stat
from typing import Any

import yaml

from jupyter_wshandler.config.model import Place, Problem
from jupyter_wshandler.config.nodes import (
    MAX_DEPTH,
    MAX_INTEGER,
    MAX_NODES,
    Node,
    Path,
    Tree,
    join_key,
)

MAX_FILE = 512 * 1024
"""Bytes a configuration file may have."""

_PREFIX = "tag:yaml.org,2002:"


class _Loader(yaml.SafeLoader):
    """A loader that composes nodes as SafeLoader does, to a bounded depth."""

    _depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self._depth >= MAX_DEPTH:
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            problem = f"nested more than {MAX_DEPTH} levels deep"
            raise yaml.composer.ComposerError(None, None, problem, mark)
        self._depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1


class _Stop(Exception):
    """The end of a walk that has already reported why."""


def read_file(path: str) -> Tree:
    """Read a YAML file; never raises for what is wrong with it.

    Args:
        path: The file's path, absolute or relative to the working directory.

    Returns:
        The tree; `root` is None where the file could not be read or is not YAML.
    """

    def failed(message: str, line: int = 1, column: int = 1) -> Tree:
        return Tree(None, [((), Problem(Place(path, line, column), message))])

    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            return failed("expected a YAML file, found a folder or device; name the file itself")
        if status.st_size > MAX_FILE:
            return failed(f"the file has {status.st_size} bytes; at most {MAX_FILE} are read")
        with open(path, "rb") as file:
            data = file.read(MAX_FILE + 1)
    except FileNotFoundError:
        return failed("the file does not exist; create it or correct its path")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        return failed(f"the file cannot be read: {reason}")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line, column = _position(data[: error.start].decode("utf-8", "replace"))
        return failed("the file is not UTF-8 text; save it as UTF-8", line, column)
    return read_text(text, path)


def read_text(text: str, source: str) -> Tree:
    """Read YAML text; never raises for what is wrong with it.

    Args:
        text: The YAML.
        source: The name that places show, usually the file's path.

    Returns:
        The tree; `root` is None where the text is not YAML.
    """

    def failed(message: str, line: int, column: int) -> Tree:
        return Tree(None, [((), Problem(Place(source, line, column), message))])

    try:
        loader = _Loader(text)
        try:
            top = loader.get_single_node()
        finally:
            loader.dispose()
    except yaml.reader.ReaderError as error:
        line, column = _position(text[: error.position])
        character = error.character if isinstance(error.character, int) else ord(error.character)
        message = f"not valid YAML: the character U+{character:04X} is not allowed in a text file"
        return failed(message, line, column)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        return failed(_yaml_message(error), line, column)
    except (RecursionError, ValueError, OverflowError, IndexError) as error:
        return failed(f"not valid YAML: {type(error).__name__}", 1, 1)
    if top is None:
        return failed("the file is empty; expected a mapping with the key url", 1, 1)
    return _Walker(source).run(top)


def _yaml_message(error: yaml.MarkedYAMLError) -> str:
    problem = error.problem or "it cannot be parsed"
    context = f" ({error.context})" if error.context else ""
    hint = ""
    if "\\t" in problem:
        hint = "; indent with spaces, YAML allows no tabs"
    elif "mapping values are not allowed" in problem:
        hint = "; look for a missing line break or quotes around a text with a colon"
    return f"not valid YAML: {problem}{context}{hint}"


def _position(before: str) -> tuple[int, int]:
    """Return line and column, counted from 1, of the character that follows `before`."""
    return before.count("\n") + 1, len(before) - before.rfind("\n")


class _Walker:
    """What turns PyYAML's nodes into ours, with aliases written out and their number bounded."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._count = 0
        self._tree = Tree(None)
        self._scalars = yaml.constructor.SafeConstructor()

    def run(self, top: yaml.Node) -> Tree:
        try:
            self._tree.root = self._node(top, "", ())
        except _Stop:
            self._tree.root = None
        return self._tree

    def _place(self, node: yaml.Node, key: str) -> Place:
        return Place(self._source, node.start_mark.line + 1, node.start_mark.column + 1, key)

    def _problem(self, place: Place, path: Path, message: str) -> None:
        self._tree.problems.append((path, Problem(place, message)))

    def _node(self, node: yaml.Node, key: str, path: Path) -> Node:
        place = self._place(node, key)
        self._count += 1
        if self._count > MAX_NODES or len(path) > MAX_DEPTH:
            message = (
                f"more than {MAX_NODES} values or {MAX_DEPTH} levels once its aliases are written "
                "out; use fewer or smaller aliases"
            )
            self._problem(place, (), message)
            raise _Stop
        tag = node.tag.removeprefix(_PREFIX)
        if isinstance(node, yaml.MappingNode) and tag == "map":
            return self._mapping(node, place, path)
        if isinstance(node, yaml.SequenceNode) and tag == "seq":
            children = [
                self._node(item, join_key(key, index), (*path, str(index)))
                for index, item in enumerate(node.value)
            ]
            return Node(children, place)
        if isinstance(node, yaml.ScalarNode):
            return Node(self._scalar(node, tag, place, path), place)
        self._problem(place, path, f"the tag {node.tag} is not supported; write plain data")
        return Node(None, place)

    def _scalar(self, node: yaml.ScalarNode, tag: str, place: Place, path: Path) -> Any:
        text: str = node.value
        # A date keeps its text: no option is a date, and a literal travels as JSON.
        if tag in {"str", "timestamp", "value", "merge"}:
            return text
        if tag == "null":
            return None
        try:
            if tag == "bool":
                return self._scalars.bool_values[text.lower()]
            if tag == "int" and len(text) <= 70:
                number = self._scalars.construct_yaml_int(node)
                if -MAX_INTEGER <= number < MAX_INTEGER:
                    return number
            elif tag == "float" and len(text) <= 400:
                return self._scalars.construct_yaml_float(node)
        except (ValueError, KeyError, IndexError, OverflowError):
            self._problem(place, path, f"the value is no valid {tag}")
            return None
        if tag in {"int", "float"}:
            self._problem(place, path, "the number is too large")
        else:
            self._problem(place, path, f"the tag {node.tag} is not supported; write plain data")
        return None

    def _mapping(self, node: yaml.MappingNode, place: Place, path: Path) -> Node:
        children: dict[str, Node] = {}
        keys: dict[str, Place] = {}
        merged: list[yaml.Node] = []
        for key_node, value_node in node.value:
            if key_node.tag == _PREFIX + "merge":
                merged.append(value_node)
                continue
            name = self._key(key_node, place.key, path)
            if name is None:
                continue
            key = join_key(place.key, name)
            key_place = self._place(key_node, key)
            if name in keys:
                first = keys[name].line
                message = f"the key stands twice, first in line {first}; remove one of the two"
                self._problem(key_place, (*path, name), message)
                continue
            keys[name] = key_place
            children[name] = self._node(value_node, key, (*path, name))
        for value_node in merged:
            self._merge(value_node, children, keys, place, path)
        return Node(children, place, keys)

    def _merge(
        self,
        node: yaml.Node,
        children: dict[str, Node],
        keys: dict[str, Place],
        place: Place,
        path: Path,
    ) -> None:
        """Add what ``<<: *name`` brings; the mapping's own keys win."""
        sources = node.value if isinstance(node, yaml.SequenceNode) else [node]
        for source in sources:
            if not isinstance(source, yaml.MappingNode):
                where = self._place(node, place.key)
                self._problem(where, path, "expected a mapping to merge behind <<")
                continue
            base = self._node(source, place.key, (*path, "<<"))
            for name, child in base.value.items() if isinstance(base.value, dict) else ():
                if name not in children:
                    children[name] = child
                    keys[name] = base.keys[name]

    def _key(self, node: yaml.Node, parent: str, path: Path) -> str | None:
        place = self._place(node, parent)
        if not isinstance(node, yaml.ScalarNode):
            self._problem(place, path, "expected a text as key, found a list or mapping")
            return None
        if node.tag == _PREFIX + "null":
            self._problem(place, path, "expected a text as key, found nothing")
            return None
        # YAML 1.1 reads a bare on, yes or 404 as no text; as a key the text is what was meant.
        text: str = node.value
        return text
