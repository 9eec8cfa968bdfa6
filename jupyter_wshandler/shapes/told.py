"""What a route's functions take and answer, told to a server in which they do not live."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from ..config.patterns import address_of
from ..functions.schemas import Schema
from ..routes import Route
from .definitions import Definitions
from .routes import Described, Exchange, Kind, described

MOST = 100
"""Named types, or functions, that are read of what another process says."""


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


def _read(said: bytes) -> Told | None:
    """Return what another process has said of a route; None where it is nothing of the kind."""
    try:
        told = msgspec.json.decode(said, type=Told)
    except (ValueError, RecursionError):
        return None
    if max(len(told.exchanges), len(told.definitions)) > MOST:
        return None
    return told
