"""What a route's functions take and answer, told to a server in which they do not live."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from ..config.patterns import address_of
from ..functions.schemas import Schema
from ..routes import Route
from .definitions import Definitions, references
from .routes import Described, Exchange, Kind, described

MOST = 100
"""Named types, or functions, that are read of what another process says."""

DEEPEST = 50
"""Levels of JSON in one schema that are read of it."""


@dataclass(frozen=True, slots=True)
class Told:
    """What is told of a route.

    Attributes:
        typed: Whether a message is checked before a function is called.
        exchanges: What its functions take and answer.
        definitions: The named types that these refer to.
    """

    typed: bool
    exchanges: tuple[Exchange, ...]
    definitions: dict[str, Schema]


def told_of(route: Route) -> bytes:
    """Return what is to be told of a route, as JSON; empty where JSON cannot hold it.

    Args:
        route: A route with its functions.
    """
    definitions = Definitions()
    found = described(route, definitions)
    try:
        return msgspec.json.encode(Told(found.typed, found.exchanges, definitions.all))
    except (TypeError, ValueError):  # half a pair of surrogates in a name, say
        return b""


def described_anywhere(route: Route, definitions: Definitions) -> Described:
    """Return what a route's functions take and answer, wherever they live.

    Args:
        route: A route.
        definitions: Takes the named types.
    """
    told = _read(route.shapes) if route.shapes else None
    if told is None:
        return described(route, definitions)

    # All at once: each `take` looks at all named types.
    kinds = [kind for one in told.exchanges for kind in (*one.takes, *(one.answers or ()))]
    together = definitions.take({"anyOf": [kind.schema for kind in kinds]}, told.definitions)
    renamed = iter(together["anyOf"])

    def taken(some: tuple[Kind, ...]) -> tuple[Kind, ...]:
        return tuple(_renamed(kind, next(renamed)) for kind in some)

    exchanges = []
    for one in told.exchanges:
        takes = taken(one.takes)
        answers = None if one.answers is None else taken(one.answers)
        exchanges.append(Exchange(one.function, takes, answers, one.streams))
    pattern = route.config.pattern
    return Described(route.name, pattern, address_of(pattern), tuple(exchanges), told.typed, route)


def _renamed(kind: Kind, schema: Schema) -> Kind:
    """Return a kind with the schema that holds here; named after its type, it has the new name."""
    before, now = (str(one.get("$ref", "")).rpartition("/")[2] for one in (kind.schema, schema))
    return Kind(now if before and kind.name == before else kind.name, kind.form, schema)


@functools.lru_cache(maxsize=64)
def _read(said: bytes) -> Told | None:
    """Return what another process has said of a route; None where it is nothing of the kind."""
    try:
        told = msgspec.json.decode(said, type=Told)
    except (ValueError, RecursionError):
        return None
    if max(len(told.exchanges), len(told.definitions)) > MOST:
        return None
    kinds = [kind for one in told.exchanges for kind in (*one.takes, *(one.answers or ()))]
    choices: list[Schema] = [kind.schema for kind in kinds]
    whole = {"definitions": told.definitions, "anyOf": choices or [{}]}
    return told if _is_sound(whole) else None


def _is_sound(whole: Schema) -> bool:
    """Return whether this is a schema, of which whoever reads it comes to an end.

    Others read it together with those of all other routes: one that is none would spoil theirs.
    """
    # Only a server reads what a kernel says, and only where somebody asks: no kernel loads this.
    from jsonschema import Draft7Validator
    from jsonschema.exceptions import SchemaError

    named: dict[str, Schema] = whole["definitions"]
    if not _is_flat(whole, DEEPEST):
        return False
    try:
        Draft7Validator.check_schema(whole)
    except SchemaError:
        return False
    return references(whole) <= set(named) and not _leads_round(named)


def _is_flat(value: Any, left: int) -> bool:
    """Return whether JSON is nested no deeper than so many levels."""
    if not isinstance(value, (dict, list)):
        return True
    inner = value.values() if isinstance(value, dict) else value
    return left > 0 and all(_is_flat(one, left - 1) for one in inner)


def _leads_round(named: dict[str, Schema]) -> bool:
    """Return whether a type is itself, or one of its own choices: there is no such value.

    A type that holds itself, as a list of them does, is another matter.
    """
    ended: set[str] = set()

    def visit(name: str, before: tuple[str, ...]) -> bool:
        if name in before:
            return True
        if name in ended:
            return False
        found = any(visit(one, (*before, name)) for one in _choices(named[name]))
        ended.add(name)
        return found

    return any(visit(name, ()) for name in named)


def _choices(schema: Schema) -> Iterator[str]:
    """Yield the named types that a value of a schema is of, or may be."""
    if "$ref" in schema:
        yield schema["$ref"].rpartition("/")[2]
    for word in ("allOf", "anyOf", "oneOf"):
        for part in schema.get(word, ()):
            if isinstance(part, dict):
                yield from _choices(part)
