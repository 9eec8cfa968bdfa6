"""From the JSON text of a message to what an annotation says, or to what is wrong with it."""

from __future__ import annotations

import dataclasses
import secrets
import types
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, Literal, NewType, Union, get_args, get_origin

import msgspec

from ..errors import MessageRefused
from . import unfit
from .schemas import Schema, fixed_in, schema_of

RAW = (str, bytes, object, Any, None, type(None))
"""Annotations of a function that takes messages as they come."""

UNUSABLE = (msgspec.MsgspecError, ValueError, RecursionError)
"""What a decoder raises of a message that does not fit; pydantic's errors are a ValueError."""

Decode = Callable[[str], Any]

Named = dict[str, Schema]


class Shape:
    """What the messages of one function have to be.

    Args:
        annotation: The type that is written in JSON.
        takes_bytes: Whether binary messages are given to the function, as they are.
        decode: Returns what the JSON text of one holds; raises one of `UNUSABLE`.
        schema: The JSON schema of the type.
        named: The schemas that it refers to.
    """

    __slots__ = ("annotation", "decode", "named", "schema", "takes_bytes")

    def __init__(
        self, annotation: Any, takes_bytes: bool, decode: Decode, schema: Schema, named: Named
    ) -> None:
        self.annotation = annotation
        self.takes_bytes = takes_bytes
        self.decode = decode
        self.schema = schema
        self.named = named

    def refusal(self, error: Exception, message: str) -> MessageRefused:
        """Return what is wrong with a message.

        Args:
            error: What `decode` has raised.
            message: The message.
        """
        if isinstance(error, WrongTag):
            return unfit.of_tag(error.field, error.tags, error.error, message)
        if hasattr(error, "errors"):
            return unfit.by_pydantic(error, message)
        return unfit.by_msgspec(error, message, self.schema, self.named, self._fails)

    def _fails(self, value: Any) -> str:
        try:
            self.decode(msgspec.json.encode(value).decode())
        except UNUSABLE as error:
            return str(error)
        return ""


def shape_of(annotation: Any) -> Shape | None:
    """Return what messages have to be; None where a function takes them as they come.

    Args:
        annotation: What the function's author has written at the parameter that gets a message.

    Raises:
        TypeError: No message can be of this type; says why.
    """
    parts = list(members(annotation))
    if all(any(part is raw for raw in RAW) for part in parts):
        return None
    takes_bytes = any(part is bytes for part in parts)
    if takes_bytes:
        parts = [part for part in parts if part is not bytes]
        annotation = Union[tuple(parts)]  # noqa: UP007 # nobody knows how many there are
    if is_pydantics(annotation):
        from pydantic import TypeAdapter

        schema, named = schema_of(annotation, by_pydantic=True)
        return Shape(annotation, takes_bytes, TypeAdapter(annotation).validate_json, schema, named)
    if _is_told_apart_by_us(parts):
        return _by_tag(annotation, parts, takes_bytes)
    # The schema finds a class of the author's that JSON cannot hold, deep inside of another, too.
    schema, named = schema_of(annotation)
    decode = msgspec.json.Decoder(_with_checked_tag(annotation, parts)).decode
    return Shape(annotation, takes_bytes, decode, schema, named)


def members(annotation: Any) -> Iterator[Any]:
    """Return the members of a union, those of unions in it included; else the annotation alone."""
    annotation = bare(annotation)
    if get_origin(annotation) in (Union, types.UnionType):
        for part in get_args(annotation):
            yield from members(part)
    else:
        yield annotation


def bare(annotation: Any) -> Any:
    """Return a type without its other names, and without words about it that bound nothing.

    Args:
        annotation: The type, or a `NewType`, an alias or an `Annotated` of it.
    """
    while True:
        if type(annotation).__name__ == "TypeAliasType":  # `type Message = Ask | Vote`, Python 3.12
            annotation = annotation.__value__
        elif isinstance(annotation, NewType):
            annotation = annotation.__supertype__
        elif get_origin(annotation) is Annotated and not _is_bounded(annotation):
            annotation = annotation.__origin__
        else:
            return annotation


_BOUNDS = ("gt", "ge", "lt", "le", "multiple_of", "pattern", "min_length", "max_length", "tz")
"""What `msgspec.Meta` bounds a value by; all else in it is words."""


def _is_bounded(annotation: Any) -> bool:
    """Return whether what stands beside a type in an `Annotated` refuses some of its values."""
    return is_pydantics(annotation) or any(
        isinstance(beside, msgspec.Meta)
        and any(getattr(beside, bound) is not None for bound in _BOUNDS)
        for beside in annotation.__metadata__
    )


def is_pydantics(annotation: Any) -> bool:
    """Return whether a model of pydantic, or what it knows of a field, is in an annotation."""
    if hasattr(annotation, "__pydantic_core_schema__"):
        return True
    inner = (*get_args(annotation), *getattr(annotation, "__metadata__", ()))
    return any(
        type(part).__module__.startswith("pydantic.") or is_pydantics(part) for part in inner
    )


# ---- what says of which kind a message is ----------------------------------------------------


class WrongTag(ValueError):
    """A message that does not say of which kind it is, or says one that there is not.

    Args:
        error: What msgspec says of it.
        field: The field that says of which kind a message is.
        tags: The values that it may have.
    """

    def __init__(self, error: Exception, field: str, tags: Sequence[str | int]) -> None:
        super().__init__(str(error))
        self.error, self.field, self.tags = error, field, tags


def tag_reader(field: str, tags: Sequence[str | int]) -> Callable[[str], str | int]:
    """Return what reads the tag of a message, and nothing else of it.

    Args:
        field: The field that has it.
        tags: The values that it may have.

    Returns:
        A function of the text of a message; it raises `WrongTag`.
    """
    head: Any = msgspec.defstruct("Head", [("tag", Literal[tuple(tags)])], rename={"tag": field})
    decode = msgspec.json.Decoder(head).decode

    def read(message: str) -> str | int:
        try:
            tag: str | int = decode(message).tag
        except UNUSABLE as error:
            raise WrongTag(error, field, tags) from None
        return tag

    return read


def tag_of(kind: Any) -> tuple[str, str | int] | None:
    """Return the field of a tagged `msgspec.Struct` that has its tag, and the tag.

    Args:
        kind: Any type; None is returned for what is none.
    """
    kind = bare(kind)
    if not msgspec.inspect.is_struct_type(kind):
        return None
    config: Any = (get_origin(kind) or kind).__struct_config__
    return None if config.tag is None else (config.tag_field, config.tag)


def _is_object(kind: Any) -> bool:
    """Return whether a type is an object with fields in JSON."""
    own = get_origin(kind) or kind
    if msgspec.inspect.is_struct_type(kind):
        return not own.__struct_config__.array_like
    return isinstance(own, type) and (
        dataclasses.is_dataclass(own)
        or hasattr(own, "__attrs_attrs__")
        or (issubclass(own, dict) and hasattr(own, "__required_keys__"))
    )


def _is_told_apart_by_us(parts: Sequence[Any]) -> bool:
    """Return whether a union is one that msgspec does not tell apart by itself."""
    tags = [tag_of(part) for part in parts if _is_object(part)]
    fields = {tag[0] for tag in tags if tag is not None}
    return len(tags) > 1 and (None in tags or len(fields) > 1)


def _by_tag(annotation: Any, parts: Sequence[Any], takes_bytes: bool) -> Shape:
    """Return the shape of a union of objects, of which a field says which one it is."""
    for part in parts:
        if not _is_object(part):
            raise TypeError(
                f"{name_of(part)} cannot stand in a union with several dataclasses or TypedDicts"
            )
    schemas = [schema_of(part) for part in parts]
    fixed = [fixed_in(*schema) for schema in schemas]
    for field in fixed[0]:
        tags = [tag for one in fixed for tag in one.get(field, ())]
        if all(field in one for one in fixed) and len(set(tags)) == len(tags):
            break
    else:
        names = " and ".join(name_of(part) for part in parts)
        raise TypeError(
            f"nothing tells {names} apart; give each a field such as "
            f'type: Literal["{name_of(parts[0]).lower()}"], or a msgspec.Struct tag=True'
        )
    read = tag_reader(field, tags)
    decoders: dict[str | int, Decode] = {}
    for part, one in zip(parts, fixed, strict=True):
        decoders |= dict.fromkeys(one[field], msgspec.json.Decoder(part).decode)

    def decode(message: str) -> Any:
        return decoders[read(message)](message)

    named = {name: one for _, found in schemas for name, one in found.items()}
    return Shape(
        annotation, takes_bytes, decode, {"anyOf": [schema for schema, _ in schemas]}, named
    )


def _with_checked_tag(annotation: Any, parts: Sequence[Any]) -> Any:
    """Return the type to decode: one in which a message without its tag is refused.

    msgspec takes a message without a tag for a Struct that is alone, and for one of several it
    does not. So one that is alone gets a neighbour whose tag nobody can know.
    """
    tagged = [part for part in parts if tag_of(part) is not None]
    tag = tag_of(tagged[0]) if len(tagged) == 1 else None
    if tag is None:
        return annotation
    nobody = msgspec.defstruct(
        "Nobody",
        [],
        tag_field=tag[0],
        tag=secrets.token_hex(16) if isinstance(tag[1], str) else secrets.randbits(62),
        array_like=(get_origin(tagged[0]) or tagged[0]).__struct_config__.array_like,
    )
    return Union[annotation, nobody]  # noqa: UP007 # a union of types that are known only here


def name_of(kind: Any) -> str:
    """Return what a type is called in a message to its author."""
    return getattr(kind, "__name__", None) or str(kind)
