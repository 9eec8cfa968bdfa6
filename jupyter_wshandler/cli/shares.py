"""What is shared, in words and as a table: times as people say them, nothing a terminal obeys."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from ..config.printing import printable
from .tables import aligned, clock, duration

ShareInfo: TypeAlias = Mapping[str, Any]
"""A share as the REST API tells of it."""

HEADINGS = ("ID", "BOT", "HERE", "USED", "ENDS", "LABEL")


def named(share: ShareInfo) -> str:
    """Return what a share is of and for, as the begin of a sentence."""
    bot = printable(str(share.get("path") or share.get("route") or "?"))
    label = printable(str(share.get("label") or ""))
    return f"{bot} for {label!r}" if label else bot


def guests(share: ShareInfo) -> str:
    """Return who may come, as the subject of a sentence."""
    uses, people = share.get("uses"), _people(share)
    if people:
        return people
    if uses is None:
        return "whoever has the link"
    return "one guest" if uses == 1 else f"{uses} guests"


def ends(share: ShareInfo, now: float | None = None) -> str:
    """Return until when a share works, as the end of a sentence.

    Args:
        share: The share.
        now: The time in seconds since 1970; the clock's where None.
    """
    expires = share.get("expires")
    if expires is None:
        return "until you revoke it"
    now = time.time() if now is None else now
    return f"until {clock(expires, now)} (for {duration(expires - now)})"


def shares_table(shares: Sequence[ShareInfo], now: float | None = None) -> list[str]:
    """Return the lines of a table of shares; the label comes last, as it may be of any width.

    Args:
        shares: What is shared.
        now: The time in seconds since 1970; the clock's where None.
    """
    now = time.time() if now is None else now
    return aligned([HEADINGS, *(_row(share, now) for share in shares)], right=(2, 3))


def _row(share: ShareInfo, now: float) -> tuple[str, ...]:
    expires, uses = share.get("expires"), share.get("uses")
    used = f"{share.get('used', 0)}" + ("" if uses is None else f" of {uses}")
    ending = "when you revoke it"
    if expires is not None:
        left = duration(expires - now)
        ending = f"{clock(expires, now)} (in {left})" if expires > now else "has ended"
    people = f"[{_people(share)}]" if _people(share) else ""
    return (
        printable(str(share["id"])),
        printable(str(share.get("path") or share.get("route") or "?")),
        str(share.get("guests") or 0),
        used,
        ending,
        " ".join(filter(None, (printable(str(share.get("label") or "")), people))),
    )


def _people(share: ShareInfo) -> str:
    """Return whom a share is for by their names; empty where it is for whoever has the link."""
    groups = [f"group {name}" for name in share.get("groups") or ()]
    return printable(", ".join([*(share.get("users") or ()), *groups]))
