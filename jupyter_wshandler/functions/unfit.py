"""What is said of a message that does not fit: where, what was expected, what was found."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from types import EllipsisType
from typing import Any

import msgspec

from ..engine.jsonwords import cut, step_to
from ..errors import MessageRefused
from . import schemas
from .schemas import Schema, values_of

LONG = 60
"""Characters of a value that are shown; of a longer one its kind and length are told."""

WORDS = 200
"""Characters of what a validator of the author's says."""

MANY = 64
"""Entries among which the one is looked for whose key msgspec does not tell."""

LARGE = 16 * 1024
"""Characters of a message up to which it is looked for."""

Step = str | int | EllipsisType

Fails = Callable[[Any], str]
"""Returns what is said of a value where it does not fit; nothing where it does."""

_PLACE = re.compile(r"(.*) - at `(key)?(\$.*?)?`(?: in `(\$.*)`)?", re.DOTALL)
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]|\[\.\.\.\]")
_FIELD = re.compile(r"Object (missing required|contains unknown) field `(.*)`", re.DOTALL)

_NOTHING = object()


def no_binary() -> MessageRefused:
    """Return what is said of a binary message where text is expected."""
    return MessageRefused("$", "JSON, as text", "a binary message")


def by_msgspec(
    error: Exception, message: str, schema: Schema, named: dict[str, Schema], fails: Fails
) -> MessageRefused:
    """Return what is wrong with a message, from what msgspec says of it.

    Args:
        error: What msgspec has raised.
        message: The message.
        schema: The schema of what was expected.
        named: The schemas that it refers to.
        fails: Tries another value in the place of the message's.
    """
    if isinstance(error, RecursionError):
        return MessageRefused("$", "JSON that is not nested so deeply", shown(message))
    if not isinstance(error, msgspec.ValidationError):
        return _no_json(str(error).removeprefix("JSON is malformed: "), message)
    words, is_key, steps = _parsed(str(error))
    whole = _decoded(message)
    if Ellipsis in steps:
        steps = _looked_up(steps, whole, str(error), fails if len(message) <= LARGE else None)
    field = _FIELD.fullmatch(words)
    if field is not None:
        steps = [*steps, field[2]]
    if is_key:
        key = _wrong_key(steps, whole, str(error), fails if len(message) <= LARGE else None)
        names = _values(schemas.names_at(schema, named, _known(steps)))
        return MessageRefused(path_of(steps), f"keys as {names or _expected(words)}", key)
    if whole is _NOTHING and words.endswith("out of range"):
        return MessageRefused(path_of(steps), "a number in range", "one out of range")
    found = "no JSON" if whole is _NOTHING else shown(_at(whole, steps))
    if field is not None and field[1] == "contains unknown":
        return MessageRefused(path_of(steps), "no field of this name", found)
    known = _known(steps)
    places = schemas.at(schema, named, known, whole) if len(known) == len(steps) else []
    is_listed = field is not None or words.startswith("Invalid") or all(map(values_of, places))
    expected = _values(places) if is_listed else ""
    if field is not None:
        return MessageRefused(path_of(steps), expected or _kinds(places), "nothing")
    return MessageRefused(path_of(steps), expected or _expected(words), found)


def by_pydantic(error: Any, message: str) -> MessageRefused:
    """Return what is wrong with a message, from what pydantic says of it.

    Args:
        error: A `pydantic.ValidationError`.
        message: The message.
    """
    first = error.errors(include_url=False, include_context=False)[0]
    words = str(first["msg"])
    if first["type"] == "json_invalid":
        return _no_json(words.removeprefix("Invalid JSON: "), message)
    whole = node = _decoded(message)
    steps: list[Step] = []
    for step in first["loc"]:
        # The names of the members of a union are in it, too, and lead nowhere in the message.
        inner = _child(node, step)
        if inner is not _NOTHING:
            node = inner
            steps.append(step)
    if first["loc"][-1:] == ("[key]",):
        # It is the key that does not fit, whatever stands under it.
        key = steps.pop() if steps else first["loc"][0]
        return MessageRefused(path_of(steps), f"keys as {_told_by(words)}", shown(str(key)))
    if first["type"] == "missing":
        return MessageRefused(path_of([*steps, first["loc"][-1]]), "a value", "nothing")
    return MessageRefused(path_of(steps), _told_by(words), shown(_at(whole, steps)))


def of_tag(field: str, tags: Sequence[object], error: Exception, message: str) -> MessageRefused:
    """Return what is wrong with a message that does not say of which kind it is.

    Args:
        field: The field that says it.
        tags: The values that it may have.
        error: What msgspec has raised.
        message: The message.
    """
    if not isinstance(error, msgspec.ValidationError):
        return by_msgspec(error, message, {}, {}, lambda _: "")
    whole = _decoded(message)
    if not isinstance(whole, dict):
        return MessageRefused("$", "object", shown(whole))
    return MessageRefused(path_of([field]), alternatives(tags), shown(whole.get(field, _NOTHING)))


def _no_json(words: str, message: str) -> MessageRefused:
    return MessageRefused("$", "JSON", f"{shown(message)}: {cut(words, WORDS)}")


def _parsed(words: str) -> tuple[str, bool, list[Step]]:
    """Return what msgspec says, whether it says that of a key, and the steps to where it is."""
    match = _PLACE.fullmatch(words)
    if match is None:
        return words, False, []
    steps: list[Step] = []
    for found in _STEP.finditer((match[3] or match[4] or "$")[1:]):
        steps.append(found[1] or (int(found[2]) if found[2] else ...))
    return match[1], match[2] is not None, steps


def _known(steps: Sequence[Step]) -> list[str | int]:
    return [step for step in steps if not isinstance(step, EllipsisType)]


def _wrong_key(steps: Sequence[Step], whole: Any, words: str, fails: Fails | None) -> str:
    """Return the key of an object that is told as wrong, as far as it is found."""
    here = _at(whole, steps)
    if fails is None or not isinstance(here, dict):
        return "another key"
    for key in list(here)[:MANY]:
        if fails(_with(whole, steps, {key: here[key]})) == words:
            return shown(key)
    return "another key"


def _looked_up(steps: list[Step], whole: Any, words: str, fails: Fails | None) -> list[Step]:
    """Return the steps with the keys for which msgspec writes `[...]`, as far as they are found."""
    found: list[Step] = []
    for step in steps:
        here = _at(whole, found)
        if not isinstance(step, EllipsisType) or fails is None:
            found.append(step)
            continue
        keys: list[Any] = []
        if isinstance(here, dict):
            keys = list(here)[:MANY]
        elif isinstance(here, list):
            keys = list(range(len(here)))[:MANY]
        for key in keys:
            alone = {key: here[key]} if isinstance(here, dict) else [here[key]]
            if fails(_with(whole, found, alone)) == words:
                found.append(key)
                break
        else:
            return [*found, *steps[len(found) :]]
    return found


def _with(whole: Any, steps: Sequence[Step], value: Any) -> Any:
    """Return a copy of a value with another one at a place in it."""
    if not steps:
        return value
    first: Any = steps[0]
    inner = _with(whole[first], steps[1:], value)
    if isinstance(whole, dict):
        return {**whole, first: inner}
    return [*whole[:first], inner, *whole[first + 1 :]]


def _decoded(message: str) -> Any:
    try:
        return msgspec.json.decode(message)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return _NOTHING  # it goes wrong behind the place that is told


def _at(whole: Any, steps: Sequence[Step]) -> Any:
    for step in steps:
        whole = _child(whole, step)
    return whole


def _child(value: Any, step: object) -> Any:
    if isinstance(value, dict) and isinstance(step, str):
        return value.get(step, _NOTHING)
    if isinstance(value, list) and isinstance(step, int) and 0 <= step < len(value):
        return value[step]
    return _NOTHING


# ---- words ---------------------------------------------------------------------------------------


def path_of(steps: Sequence[Step]) -> str:
    """Return a path as it is told to a client: ``$.rows[3].when``."""
    path = "$"
    for step in steps:
        if isinstance(step, EllipsisType):
            path += "[...]"
        else:
            path += f"[{step}]" if isinstance(step, int) else step_to(step)
    return path


def shown(value: Any) -> str:
    """Return what is told of a value: its JSON where it is short, or else its kind."""
    if value is _NOTHING:
        return "nothing"
    if isinstance(value, (dict, list)):
        kind, unit = ("object", "member") if isinstance(value, dict) else ("array", "item")
        return f"{kind} with {len(value)} {unit}{'s' * (len(value) != 1)}"
    text = json.dumps(value, ensure_ascii=False)
    if len(text) <= LONG:
        return text
    if isinstance(value, str):
        return f"text of {len(value)} characters"
    return f"number of {len(text)} digits"


def alternatives(values: Sequence[object]) -> str:
    """Return the values that something may have, in words."""
    texts = [json.dumps(value, ensure_ascii=False) for value in values]
    if len(texts) > MANY:
        texts = [*texts[:MANY], "..."]
    return " or ".join(filter(None, [", ".join(texts[:-1]), texts[-1]])) if texts else ""


def _values(places: Sequence[Schema]) -> str:
    found: list[object] = []
    for place in places:
        found += [value for value in values_of(place) if value not in found]
    return alternatives(found)


def _kinds(places: Sequence[Schema]) -> str:
    found: list[str] = []
    for place in places:
        kinds = place.get("type", [])
        found += [kinds] if isinstance(kinds, str) else kinds
    words = {"string": "str", "integer": "int", "number": "float", "boolean": "bool"}
    return " | ".join(dict.fromkeys(words.get(kind, kind) for kind in found)) or "a value"


def _expected(words: str) -> str:
    """Return what was expected, of what msgspec says: ``Expected `int`, got `str```."""
    if words.startswith("Expected "):
        return words.removeprefix("Expected ").partition(", got ")[0].replace("`", "")
    if words.startswith("Invalid "):
        # "Invalid RFC3339 encoded datetime"; of an enum's value the schema knows more.
        return cut(f"a valid {words.removeprefix('Invalid ').partition(' value')[0]}", WORDS)
    return _told_by(words)  # what the author's own `__post_init__` has raised


def _told_by(words: str) -> str:
    """Return what a validator says, of which pydantic says how it has said it."""
    for beginning in ("Input should be ", "Value error, ", "Assertion failed, "):
        words = words.removeprefix(beginning)
    return cut(words, WORDS) or "another value"
