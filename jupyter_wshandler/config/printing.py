"""Text for a terminal; a module of its own, as commands that ask a server load nothing else."""

from __future__ import annotations


def printable(text: str) -> str:
    """Return a text with what a terminal would obey, such as a line break, written out."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
