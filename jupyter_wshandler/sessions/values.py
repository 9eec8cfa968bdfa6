"""The values of sessions: what of them is JSON, how much work that is, and whether they changed."""

from __future__ import annotations

import json
import marshal
from collections.abc import Callable
from typing import Any

from ..guard import is_interrupt, kind_of

MAX_REST = 5.0
"""Seconds between two encodings of one heavy session, at most, while it is in use."""


def to_json(value: object) -> str:
    """Return a value as compact JSON, without NaN and Infinity, which JSON does not have."""
    return json.dumps(value, allow_nan=False, separators=(",", ":"))


class TooLarge(Exception):
    """A session that takes more than is stored of one."""


MAX_SIZE = 1024 * 1024
"""Most characters of JSON that are stored for one session."""

_SCALARS = frozenset((int, float, bool, type(None)))

LIGHT = 2000
"""Values that are turned into JSON on the event loop, and 30 characters for each."""


def is_heavy(value: object) -> bool:
    """Say whether turning a value into JSON may take longer than a millisecond.

    It looks at no more than `LIGHT` values, and takes what changes meanwhile for heavy.
    """
    if isinstance(value, str):
        return len(value) > LIGHT * 30
    left = LIGHT
    waiting: list[Any] = [value]
    try:
        for one in waiting:  # which grows meanwhile
            left -= len(one)
            if left < 0:
                return True
            if isinstance(one, dict):
                for key in one:
                    if type(key) is str and len(key) > 30:
                        left -= len(key) // 30
                one = one.values()
            for part in one:
                kind = type(part)
                if kind is str:
                    if len(part) > 30:
                        left -= len(part) // 30
                elif kind not in _SCALARS:
                    if isinstance(part, (dict, list, tuple)):
                        waiting.append(part)
                    elif isinstance(part, str):
                        left -= len(part) // 30
    except RuntimeError:
        return True
    except BaseException as error:  # a value of a class of the user's may raise anything
        if is_interrupt(error):
            raise
    return left < 0


def mark_of(values: dict[str, Any]) -> tuple[int, int] | None:
    """Return what changes whenever a light session does; None where that cannot be told.

    It costs a tenth of its JSON. Version 2 of the format writes equal values equally.

    Args:
        values: A session that is not heavy.
    """
    try:
        data = marshal.dumps(dict(values), 2)
    except (ValueError, RuntimeError):  # holds what marshal does not know, or changes meanwhile
        return None
    except BaseException as error:  # a value of a class of the user's may raise anything
        if is_interrupt(error):
            raise
        return None
    return len(data), hash(data)


def is_surely_too_large(value: object) -> bool:
    """Say whether the JSON of a value is longer than `MAX_SIZE`, without making it.

    The encoder turns a text into JSON in one go, which for 30 MB takes a second of everybody's, and
    takes a second for what is not too large by far. What occurs twice, or in itself, is left to it.
    """
    waiting: list[object] = [value]
    known: set[int] = set()
    size = 0
    try:
        while waiting and size <= MAX_SIZE:
            one = waiting.pop()
            if isinstance(one, str):
                size += len(one) + 2
                continue
            size += 1
            if isinstance(one, (dict, list, tuple)):
                if id(one) in known:
                    return False
                known.add(id(one))
                waiting += one.values() if isinstance(one, dict) else one
                if isinstance(one, dict):
                    size += sum(len(key) + 3 for key in one if isinstance(key, str))
    except RuntimeError:  # a thread changes it meanwhile; the encoder sees the same
        return False
    return size > MAX_SIZE


def to_json_in_pieces(value: object) -> str:
    """Return what `to_json` does, in a thread that lets others run meanwhile.

    The encoder in C holds Python's lock until it is through; this one gives it up.

    Raises:
        TooLarge: It takes more than `MAX_SIZE`; the rest was not looked at.
    """
    if is_surely_too_large(value):
        raise TooLarge
    parts: list[str] = []
    size = 0
    encoder = json.JSONEncoder(allow_nan=False, separators=(",", ":"))
    for part in encoder.iterencode(value):
        parts.append(part)
        size += len(part)
        if size > MAX_SIZE:
            raise TooLarge
    return "".join(parts)


def why_not_json(
    key: object, value: object, to_json: Callable[[object], str] = to_json
) -> str | None:
    """Say why a value cannot be stored; never what it is."""
    if not isinstance(key, str):
        return f"its key is of type {type(key).__name__}; JSON has str"
    try:
        to_json(value)
    except RecursionError:
        return "it is nested too deeply for JSON"
    except (RuntimeError, TooLarge):
        raise
    except (TypeError, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    except BaseException as error:
        if is_interrupt(error):
            raise
        return f"{kind_of(error)} while it was turned into JSON"
    return None
