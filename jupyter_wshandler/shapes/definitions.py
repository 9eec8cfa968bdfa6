"""The named schemas of all routes of a document, each under a name of its own."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from ..functions.schemas import Schema

_PREFIX = "#/definitions/"


class Definitions:
    """Named schemas of several types; what is the same has one name, and what is not has two.

    Attributes:
        all: The schemas by name.
    """

    def __init__(self) -> None:
        self.all: dict[str, Schema] = {}
        self._originals: dict[str, dict[str, Schema]] = {}

    def take(self, schema: Schema, named: dict[str, Schema]) -> Schema:
        """Add what a schema refers to; return the schema with the names that hold here.

        Args:
            schema: The schema of a type, as `functions.schemas.schema_of` returns it.
            named: The schemas that it refers to.
        """
        names: dict[str, str] = {}
        inner = {name: references(one) for name, one in named.items()}
        for name in named:
            reach = _reach(name, named, inner)
            names[name] = self._name(re.sub(r"[^\w.-]", "_", name), reach)
            self._originals[names[name]] = reach

        def renamed(name: str) -> str:
            return _PREFIX + names.get(name, name)

        for name, one in named.items():
            self.all[names[name]] = with_references(one, renamed)
        taken: Schema = with_references(schema, renamed)
        return taken

    def _name(self, wanted: str, reach: dict[str, Schema]) -> str:
        name, number = wanted, 1
        while name in self._originals and self._originals[name] != reach:
            number += 1
            name = f"{wanted}{number}"
        return name


def _reach(name: str, named: dict[str, Schema], inner: dict[str, set[str]]) -> dict[str, Schema]:
    """Return the schemas that one refers to, itself and those that these refer to included."""
    found: dict[str, Schema] = {}
    waiting = [name]
    for one in waiting:  # which grows meanwhile
        if one not in found and one in named:
            found[one] = named[one]
            waiting += inner[one]
    return found


def references(schema: Any) -> set[str]:
    """Return the names that a schema refers to.

    Args:
        schema: A schema, or a part of one.
    """
    found: set[str] = set()

    def note(name: str) -> str:
        found.add(name)
        return name

    with_references(schema, note)
    return found


def with_references(schema: Any, to: Callable[[str], str]) -> Any:
    """Return a schema with other references.

    Args:
        schema: A schema, or a part of one.
        to: Returns the reference for a name.
    """
    if isinstance(schema, list):
        return [with_references(part, to) for part in schema]
    if not isinstance(schema, dict):
        return schema
    found: Schema = {}
    for key, value in schema.items():
        if key == "$ref" and isinstance(value, str):
            found[key] = to(value.removeprefix(_PREFIX))
        elif key in ("enum", "const", "default", "examples"):
            found[key] = value
        elif key in ("properties", "patternProperties"):  # of any names
            found[key] = {name: with_references(one, to) for name, one in value.items()}
        else:
            found[key] = with_references(value, to)
    return found
