"""One spelling for all paths that are equal: what is compared with a pattern is written like it.

A client may send ``/caf%c3%a9``, ``/caf%C3%A9`` or the bytes themselves, and ``%7E`` or ``~``
(RFC 3986 section 6.2.2). An escaped slash stays what it is: it stands in a segment, and a plain one
between two.
"""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import quote, unquote

_PLAIN = frozenset(
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
    # Some browsers send these as they are, others escape them; no path may hold them as they are.
    '"<>[\\]^`{|}'
)
"""Characters that mean the same whether they are escaped or not."""

_PRINTABLE = "".join(map(chr, range(0x21, 0x7F)))
_ESCAPES = re.compile(r"(?:%[0-9A-Fa-f]{2}){1,4}")
_UNUSUAL = re.compile(r"%[0-9A-Fa-f]{2}|[^\x21-\x7e]|%")

MAX_ESCAPED = 10_000
"""Characters that are looked at: an escape is three of a path that may have 2048 bytes."""


def normal_path(path: str) -> str:
    """Return the spelling that all paths equal to this one have.

    Args:
        path: A path, escaped or not, without its query. One that is far too long to match any
            pattern is returned as it is.
    """
    if len(path) > MAX_ESCAPED:
        return path
    return _UNUSUAL.sub(_normal, path)


def escaped_character(text: str) -> str:
    """Return the escape that a text begins with, ``%2F`` or all of ``%C3%A9``; "" if with none."""
    found = _ESCAPES.match(text)
    if found is None:
        return ""
    first = int(found[0][1:3], 16)
    whole = found[0][: 3 * (1 + (first >= 0xC2) + (first >= 0xE0) + (first >= 0xF0))]
    try:
        return whole if len(unquote(whole, errors="strict")) == 1 else whole[:3]
    except UnicodeDecodeError:
        return whole[:3]


def as_escaped(received: str) -> str:
    """Escape what a client has sent as bytes.

    Args:
        received: A path or URI as Tornado has it: each byte is one character.
    """
    if received.isascii():
        return received
    return quote(received, safe=_PRINTABLE, encoding="latin-1", errors="replace")


def path_below(base_url: str, path: str) -> str | None:
    """Return the part of a path below a server's base URL, beginning with ``/``, or None.

    Args:
        base_url: The server's base URL.
        path: The whole path, escaped.

    Returns:
        The rest in its normal spelling; None where the path is of no such server.
    """
    prefix = _normal_prefix(base_url)
    path = normal_path(path)
    return path[len(prefix) :] if path.startswith(prefix + "/") else None


@lru_cache(maxsize=16)
def _normal_prefix(base_url: str) -> str:
    return normal_path(base_url.rstrip("/"))


def _normal(match: re.Match[str]) -> str:
    text = match[0]
    # A percent sign that begins no escape must not begin one when what follows is unescaped.
    if len(text) == 1:
        return quote(text, errors="surrogatepass")
    character = chr(int(text[1:], 16))
    return character if character in _PLAIN else text.upper()
