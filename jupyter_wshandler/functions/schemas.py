"""The JSON schema of a type, in the one dialect that AsyncAPI, editors and our own words go by.

It is draft 07, which is what AsyncAPI 3.0 means where nothing else is said. msgspec and pydantic
write draft 2020-12, some of which means something else in draft 07, or nothing.
"""

from __future__ import annotations

import math
from typing import Any

import msgspec

Schema = dict[str, Any]

DIALECT = "http://json-schema.org/draft-07/schema#"

NAMED = ("properties", "definitions", "patternProperties")
"""Keywords below which names stand that are no keywords."""

VALUES = ("enum", "const", "default", "examples")
"""Keywords below which values stand."""

REF = "#/definitions/{name}"
"""What a reference to a named type looks like."""


def schema_of(annotation: Any, *, by_pydantic: bool = False) -> tuple[Schema, dict[str, Schema]]:
    """Return the JSON schema of a type, and those of the named types that it refers to.

    Args:
        annotation: The type.
        by_pydantic: Whether a model of pydantic is in it.

    Returns:
        The schema, and one for each name; references are of the form `REF`.

    Raises:
        TypeError: No JSON can be of this type.
    """
    if by_pydantic:
        from pydantic import TypeAdapter

        template = REF.replace("{name}", "{model}")
        found = TypeAdapter(annotation).json_schema(ref_template=template)
        named = found.pop("$defs", {})
    else:
        (found,), named = msgspec.json.schema_components(
            (annotation,), schema_hook=_refuse, ref_template=REF
        )
    return in_draft_07(found), {name: in_draft_07(one) for name, one in named.items()}


def _refuse(kind: type) -> Schema:
    """Refuse a class that is none of those which JSON can hold."""
    raise TypeError(f"{kind.__qualname__} is no type that JSON is decoded to")


def in_draft_07(schema: Any) -> Any:
    """Return a schema as draft 07 has it.

    Args:
        schema: A schema of draft 2020-12, or a part of one.
    """
    if isinstance(schema, list):
        return [in_draft_07(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    found: Schema = {}
    for key, value in schema.items():
        if key == "discriminator":
            # A keyword of OpenAPI; AsyncAPI's of that name is a text. The members of the union
            # name their tags themselves.
            continue
        if not _is_json(value if key in VALUES or isinstance(value, float) else None):
            continue  # a default or a bound that is infinite: it would spoil the whole document
        if key == "prefixItems":
            found["items"] = in_draft_07(value)
        elif key == "items" and "prefixItems" in schema:
            found["additionalItems"] = in_draft_07(value)
        elif key in NAMED:
            found[key] = {name: in_draft_07(one) for name, one in value.items()}
        elif key in VALUES:
            found[key] = value
        else:
            found[key] = in_draft_07(value)
    if found.get("format") == "decimal":
        # It is text, so that no digit is lost, but a number is taken as well.
        return {**_without(found, "format"), "type": ["string", "number"]}
    if found.get("format") == "partial-time":  # which is no format of JSON schema's
        return _without(found, "format")
    return found


def _is_json(value: Any) -> bool:
    """Return whether none of the numbers is in a value that JSON does not have."""
    if isinstance(value, float):
        return math.isfinite(value)
    inner = value.values() if isinstance(value, dict) else value
    return not isinstance(value, (dict, list, tuple)) or all(map(_is_json, inner))


def _without(schema: Schema, key: str) -> Schema:
    return {name: value for name, value in schema.items() if name != key}


def at(
    schema: Schema, named: dict[str, Schema], steps: list[str | int], value: Any = None
) -> list[Schema]:
    """Return the schemas that hold for what is at a path: several where there is a union.

    Args:
        schema: The schema of the whole.
        named: Those that it refers to.
        steps: The names and the indices that lead there.
        value: A value of the whole; what it says by its tags that it is not is left out.
    """
    found = _branches(schema, named)
    for step in steps:
        likely = [one for one in found if _may_be(one, named, value)] or found
        inner = [child for one in likely if (child := _child(one, step)) is not None]
        found = [branch for child in inner for branch in _branches(child, named)]
        if isinstance(value, dict):
            value = value.get(step)
        else:
            is_there = isinstance(value, list) and isinstance(step, int) and step < len(value)
            value = value[step] if is_there else None
    return found


def _may_be(schema: Schema, named: dict[str, Schema], value: Any) -> bool:
    """Return whether no tag of a value says that it is of another kind."""
    fixed = fixed_in(schema, named) if isinstance(value, dict) else {}
    return all(value[field] in tags for field, tags in fixed.items() if field in value)


def names_at(schema: Schema, named: dict[str, Schema], steps: list[str | int]) -> list[Schema]:
    """Return the schemas of the names of an object's fields that is at a path.

    Args:
        schema: The schema of the whole.
        named: Those that it refers to.
        steps: The names and the indices that lead there.
    """
    found = [place.get("propertyNames") for place in at(schema, named, steps)]
    return [branch for one in found if isinstance(one, dict) for branch in _branches(one, named)]


def _branches(schema: Schema, named: dict[str, Schema]) -> list[Schema]:
    reference = schema.get("$ref")
    if isinstance(reference, str):
        return _branches(named.get(reference.rpartition("/")[2], {}), named)
    parts = schema.get("anyOf", schema.get("oneOf", schema.get("allOf")))
    if parts is None:
        return [schema]
    return [branch for part in parts for branch in _branches(part, named)]


def _child(schema: Schema, step: str | int) -> Schema | None:
    if isinstance(step, str):
        inner = schema.get("properties", {}).get(step, schema.get("additionalProperties"))
    else:
        inner = schema.get("items")
        if isinstance(inner, list):
            inner = inner[step] if step < len(inner) else None
    return inner if isinstance(inner, dict) else None


def fixed_in(schema: Schema, named: dict[str, Schema]) -> dict[str, tuple[str | int, ...]]:
    """Return the fields of an object that can only have some texts or numbers, each with these.

    Args:
        schema: The schema; of a union nothing is returned.
        named: Those that it refers to.
    """
    branches = _branches(schema, named)
    found: dict[str, tuple[str | int, ...]] = {}
    for name, inner in branches[0].get("properties", {}).items() if len(branches) == 1 else ():
        places = _branches(inner, named)
        values = values_of(places[0]) if len(places) == 1 else ()
        if values and all(type(value) in (str, int) for value in values):
            found[name] = tuple(values)
    return found


def refuses(schema: Schema, named: dict[str, Schema], field: str) -> bool:
    """Return whether an object must not have a field.

    Args:
        schema: The schema.
        named: Those that it refers to.
        field: The field's name.
    """
    return all(
        branch.get("additionalProperties") is False and field not in branch.get("properties", {})
        for branch in _branches(schema, named)
    )


def values_of(schema: Schema) -> list[Any]:
    """Return the values that something may have, where these are listed."""
    found: list[Any] = schema.get("enum", [schema["const"]] if "const" in schema else [])
    return found
