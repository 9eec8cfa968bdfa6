"""What the functions of a route take and answer, as their annotations say."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from ..config.patterns import address_of
from ..functions.decoders import is_pydantics, members
from ..functions.dispatch import Dispatcher
from ..functions.resolve import BoundCallback
from ..functions.schemas import Schema, schema_of
from ..functions.typed import answered_by
from ..routes import Route
from .definitions import Definitions

Form = Literal["json", "text", "binary"]


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of message.

    Attributes:
        name: What to call it.
        form: How it travels: as JSON, as text, or as bytes.
        schema: Of JSON what it holds; of the others nothing.
    """

    name: str
    form: Form
    schema: Schema = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Exchange:
    """What one function takes, and what it answers.

    Attributes:
        function: The function's name.
        takes: The kinds of messages that it is given.
        answers: The kinds that it returns or yields; None where nobody has said that.
        streams: Whether it yields them, any number.
    """

    function: str
    takes: tuple[Kind, ...]
    answers: tuple[Kind, ...] | None
    streams: bool


@dataclass(frozen=True, slots=True)
class Described:
    """A route as its clients see it.

    Attributes:
        name: The route's name.
        pattern: Its pattern.
        address: The path, its groups as ``{name}``; None where the pattern is no address.
        exchanges: What its functions take and answer.
        typed: Whether a message is checked before a function is called.
        route: The route.
    """

    name: str
    pattern: str
    address: str | None
    exchanges: tuple[Exchange, ...]
    typed: bool
    route: Route


def described(route: Route, definitions: Definitions) -> Described:
    """Return what a route's functions take and answer.

    Args:
        route: A route with its functions.
        definitions: Takes the named types.
    """
    callback: Any = route.callbacks.get("on_message")
    exchanges: list[Exchange] = []
    typed = isinstance(callback, Dispatcher)
    if isinstance(callback, Dispatcher):
        for key, choice in callback.choices.items():
            kind = _tagged(callback.field, callback.tags[key], choice, key, definitions)
            exchanges.append(_exchange(choice, (kind,), definitions))
    elif isinstance(callback, BoundCallback):
        typed = callback.takes is not None
        exchanges.append(_exchange(callback, tuple(_taken(callback, definitions)), definitions))
    pattern = route.config.pattern
    return Described(route.name, pattern, address_of(pattern), tuple(exchanges), typed, route)


def _exchange(
    callback: BoundCallback, takes: tuple[Kind, ...], definitions: Definitions
) -> Exchange:
    answer = answered_by(callback.function)
    streams = callback.kind in ("gen", "asyncgen")
    if answer is None or callback.spec.args is not None:
        return Exchange(callback.name, takes, None, streams)
    annotation, is_stream = answer
    return Exchange(
        callback.name,
        takes,
        tuple(_answers(annotation, definitions)),
        streams or is_stream,
    )


def _taken(callback: BoundCallback, definitions: Definitions) -> Iterator[Kind]:
    shape = callback.takes
    if shape is None:
        yield Kind("text", "text")
        yield Kind("bytes", "binary")
        return
    yield from _kinds(definitions.take(shape.schema, shape.named), "message")
    if shape.takes_bytes:
        yield Kind("bytes", "binary")


def _tagged(
    field: str, tag: str | int, callback: BoundCallback, key: str, definitions: Definitions
) -> Kind:
    """Return the kind of message that one function of ``types:`` gets."""
    own: Schema = {"type": "object", "properties": {field: {"enum": [tag]}}, "required": [field]}
    if callback.takes is None:
        return Kind(key, "json", own)
    schema = definitions.take(callback.takes.schema, callback.takes.named)
    named = definitions.all.get(str(schema.get("$ref", "")).rpartition("/")[2], schema)
    if field in named.get("required", ()):  # its type has the tag already
        return Kind(key, "json", schema)
    return Kind(key, "json", {"allOf": [schema, own]})


def _answers(annotation: Any, definitions: Definitions) -> Iterator[Kind]:
    parts = [part for part in members(annotation) if part is not None and part is not type(None)]
    others = []
    for part in parts:
        if part is str:
            yield Kind("text", "text")
        elif part is bytes:
            yield Kind("bytes", "binary")
        else:
            others.append(part)
    for part in others:
        try:
            schema = schema_of(part, by_pydantic=is_pydantics(part))
        except Exception:
            # What is sent has a JSON form all the same: a table of pandas, say.
            yield Kind("answer", "json")
        else:
            yield from _kinds(definitions.take(*schema), "answer")


def _kinds(schema: Schema, name: str) -> Iterator[Kind]:
    """Return the kinds of messages of a schema: one for each member of a union of named types."""
    parts = schema.get("anyOf", [schema])
    if all(set(part) == {"$ref"} for part in parts):
        for part in parts:
            yield Kind(part["$ref"].rpartition("/")[2], "json", part)
    else:
        yield Kind(name, "json", schema)
