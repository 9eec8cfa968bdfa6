"""Texts that UTF-8 cannot write: those with half of a pair of surrogates."""

from __future__ import annotations

from collections.abc import Mapping


def printable(text: str) -> str:
    """Return a text with what UTF-8 cannot write as backslash escapes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def is_writable(text: str) -> bool:
    """Say whether UTF-8 can write a text."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def unwritable(value: object, where: str) -> tuple[str, str] | None:
    """Return the first text in a value that UTF-8 cannot write, and where it is; or None.

    Args:
        value: A text, or mappings, lists and tuples of them.
        where: What the value itself is called.
    """
    waiting: list[tuple[str, object]] = [(where, value)]
    seen: set[int] = set()
    for place, one in waiting:  # which grows meanwhile
        if isinstance(one, str):
            if not is_writable(one):
                return place, one
        elif isinstance(one, (Mapping, list, tuple, set, frozenset)):
            if id(one) in seen:
                continue
            seen.add(id(one))
            if isinstance(one, Mapping):
                waiting += ((f"a key of {place}", key) for key in one)
                waiting += ((f"{place}[{key!r:.40}]", part) for key, part in one.items())
            else:
                waiting += ((f"{place}[{n}]", part) for n, part in enumerate(one))
    return None
