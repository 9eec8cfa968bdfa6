"""The words for what has no JSON form: which object, of what type, and what to do about it.

All of them are bounded, and none asks an object that may be anything what it is.
"""

from __future__ import annotations

import json
from typing import Any

ADVICE = "turn it into str, bytes, a number, a list or a dict first"

PICTURES = (
    # Told by what they can do: none of these libraries is imported to find out.
    (("savefig",), "fig.savefig(buffer, format='png')"),
    (("get_figure", "plot"), "ax.figure.savefig(buffer, format='png')"),
    (("save", "thumbnail"), "picture.save(buffer, format='PNG')"),
)
"""Attributes of objects that show a picture, and how such a one becomes what can be sent."""


def advice_for(value: object) -> str:
    """Return what to do with an object that has no JSON form."""
    for attributes, call in PICTURES:
        if all(hasattr(type(value), name) for name in attributes):
            return (
                f"a picture is sent as PNG bytes: buffer = io.BytesIO(), {call}, and send "
                "buffer.getvalue()"
            )
    return ADVICE


def subject(path: str) -> str:
    """Return what an error calls the object at a path; `$` is the path of the whole value."""
    return "the value" if path == "$" else path


def step_to(key: Any) -> str:
    """Return how a path goes on to what is under a key, without giving long keys away whole."""
    if key is None or isinstance(key, bool):
        return f".{json.dumps(key)}"
    text = cut(str(key) if isinstance(key, (str, int, float)) else type(key).__name__)
    return f".{text}" if text.isidentifier() else f"[{text!r}]"


def shown(key: Any) -> str:
    """Return a key for an error."""
    if key is None or type(key) in (str, int, float, bool):
        return cut(repr(key))
    return f"one of type {type_name(type(key))}"


def type_name(kind: type) -> str:
    """Return the name of a type, with its module where that is not Python's own."""
    module = kind.__module__
    return kind.__qualname__ if module == "builtins" else f"{module}.{kind.__qualname__}"


def cut(text: str, most: int = 40) -> str:
    """Return a text of so many characters at most, with an ellipsis where it was longer."""
    return text if len(text) <= most else f"{text[: most - 1]}…"
