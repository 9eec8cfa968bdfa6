"""How a key of the configuration says what it takes, and how a reader asks it."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple, TypeAlias, get_args, get_type_hints

import msgspec
from msgspec import Meta

Quantity: TypeAlias = int | float | str
Scalar: TypeAlias = str | int | float | bool


def doc(description: str, takes: str, default: str = "", **schema: Any) -> Meta:
    """Describe a key: what it does, what it takes in words, and its default as written."""
    return Meta(
        description=description,
        extra={"takes": takes, "default": default},
        extra_json_schema=schema or None,
    )


class Key(NamedTuple):
    """One key as a reader sees it; `doc` says what the fields hold."""

    name: str
    takes: str
    default: str
    description: str
    type: Any
    required: bool


@cache
def keys_of(struct: type[msgspec.Struct]) -> dict[str, Key]:
    """Return the keys of one kind of mapping, in the order of their declaration."""
    hints = get_type_hints(struct, include_extras=True)
    found = {}
    for field in msgspec.structs.fields(struct):
        written, meta = get_args(hints[field.name])
        found[field.name] = Key(
            field.name,
            meta.extra["takes"],
            meta.extra["default"],
            meta.description,
            written,
            field.required,
        )
    return found


def key_names(struct: type[msgspec.Struct]) -> tuple[str, ...]:
    """Return the names of the keys of one kind of mapping."""
    return tuple(keys_of(struct))
