"""The sandbox that guests' pages are in, and what is written into them for it.

A guest may have a login of their own at the same host, which whoever has written the page must not
get. In the sandbox the page has an origin that equals no other: no cookies, no storage, and nothing
that its scripts could read of the visitor's other pages (HTML, section "Sandboxing"; CSP3 section
6.3.2). What it needs instead is written into it: a ticket, and where its files are.
"""

from __future__ import annotations

import codecs
import re
from html import escape

POLICY = "sandbox allow-scripts allow-forms allow-downloads allow-popups"
"""A Content-Security-Policy; without ``allow-same-origin``, which would undo it."""

NAME = "wshandler-guest"
"""Of the ``meta`` element that `wshandler.js` looks for."""

BELOW = "/wshandler/guest/"
"""Begins the addresses below base_url of what guests' pages ask for."""

# What may stand before a document's head. None of it needs to be looked into.
_BEFORE = re.compile(
    rb"(?:\s+|<!--(?:-?>|.*?--!?>)|<!(?!--)[^>]*>|<\?[^>]*>)+", re.DOTALL | re.IGNORECASE
)
_HTML, _HEAD = (
    re.compile(rb"<" + name + rb"(?=[\s>/])(?:[^>\"']|\"[^\"]*\"|'[^']*')*>", re.IGNORECASE)
    for name in (b"html", b"head")
)


def insertion(ticket: str, base: str = "") -> bytes:
    """Return what is written into a guest's page.

    Args:
        ticket: The page's.
        base: What the addresses in the page are relative to; empty where that is its own.
    """
    found = f'<meta name="{NAME}" content="{escape(ticket)}"/>'
    if base:
        found += f'<base href="{escape(base)}"/>'
    return found.encode("ascii", "xmlcharrefreplace")


def up(below: str) -> str:
    """Return how a page writes the server's base URL, relative to its own address.

    A proxy may serve all this below a prefix that nobody here knows.

    Args:
        below: The page's path below base_url, beginning with a slash.
    """
    return "../" * (below.count("/") - 1) or "./"


def place(start: bytes) -> int:
    """Return where in a document something is written that has to come first in its head.

    An element in front of ``<head>`` begins a head of its own, which the author's goes on with
    (HTML section 13.2.6.4.3), so that a wrong guess does no harm, as long as nothing that is
    written stands within a comment, a tag, or in front of what says which HTML this is.

    Args:
        start: The document's beginning, as bytes of UTF-8 or another superset of ASCII.
    """
    at = len(codecs.BOM_UTF8) if start.startswith(codecs.BOM_UTF8) else 0
    for expression in (_BEFORE, _HTML, _BEFORE, _HEAD):
        found = expression.match(start, at)
        if found is not None:
            at = found.end()
    return at


def inserted(start: bytes, text: bytes) -> bytes:
    """Return a document's beginning with a text written into it.

    Args:
        start: The beginning.
        text: What `insertion` returns: ASCII.
    """
    if start[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        # Every other byte of it is a superset of ASCII, as far as a head is concerned.
        little = start.startswith(codecs.BOM_UTF16_LE)
        at = 2 + 2 * place(start[2 if little else 3 :: 2])
        text = text.decode("ascii").encode("utf-16-le" if little else "utf-16-be")
    else:
        at = place(start)
    return start[:at] + text + start[at:]
