"""Does a message match what a test expects of it?"""

from __future__ import annotations

import json
import re
from typing import Any

from ..types import Message

SHOWN = 500
"""Characters of a message that a failure shows."""

_KINDS = "str, bytes, dict, list, a compiled pattern, a type, or a function of the message"


def match(expected: object, message: Message) -> tuple[bool, Any]:
    """Compare a message; return whether it matches, and the message or the JSON it holds.

    Args:
        expected: str or bytes, to be equal; dict or list, to be equal to the JSON in it; a
            compiled pattern, to be found in it; a type (of it, or dict or list for its JSON); or
            a function that says whether the message is right.
        message: What came.

    Raises:
        TypeError: Nothing can be expected so.
    """
    if expected in (dict, list) or isinstance(expected, (dict, list)):
        try:
            value = json.loads(message)
        except ValueError:
            return False, message
        if isinstance(expected, type):
            return isinstance(value, expected), value
        return value == expected, value
    if isinstance(expected, (str, bytes)):
        return type(message) is type(expected) and message == expected, message
    if isinstance(expected, re.Pattern):
        same = isinstance(message, type(expected.pattern))
        return same and expected.search(message) is not None, message
    if isinstance(expected, type):
        return isinstance(message, expected), message
    if callable(expected):
        return bool(expected(message)), message
    raise TypeError(f"expected {_KINDS}, found {type(expected).__name__}")


def describe(expected: object) -> str:
    """Return what is expected, in words for a failure."""
    if isinstance(expected, re.Pattern):
        return f"a match of {expected.pattern!r}"
    if expected in (dict, list):
        return f"JSON with a {expected.__name__}"
    if isinstance(expected, (dict, list)):
        return f"JSON equal to {shown(expected)}"
    if isinstance(expected, type):
        return f"a message of type {expected.__name__}"
    if callable(expected):
        return f"a message for which {getattr(expected, '__qualname__', expected)} is true"
    return shown(expected)


def shown(value: object) -> str:
    """Return a value in a length that can be read."""
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}... ({len(text)} characters)"
