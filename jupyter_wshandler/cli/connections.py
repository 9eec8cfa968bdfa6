"""``jupyter wshandler connections``: who is connected to a running server, and close one."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode

from ..config.printing import printable
from .asking import Asking, print_json
from .send import name_of
from .tables import aligned, duration

HEADINGS = ("ID", "BOT", "USER", "ADDRESS", "OPEN FOR", "STATE", "QUEUED", "PATH")

PAGE = 1000
"""Connections that are asked for at a time, at most."""


def connections(
    bot: str = "",
    *,
    user: str | None = None,
    state: str | None = None,
    limit: int = 100,
    close: Sequence[str] = (),
    code: int | None = None,
    reason: str | None = None,
    as_json: bool = False,
    url: str = "",
    token: str | None = None,
) -> int:
    """List who is connected, the oldest first, or close connections.

    Args:
        bot: The path, the pattern or the name of the bot whose are wanted; all where empty.
        user: The name of the user whose are wanted; everyone's where None.
        state: "open", "away" or "closing"; any where None.
        limit: Connections to list at most; 0 for all.
        close: The ids of connections to close, in place of a list.
        code: The close code; the server's own where None.
        reason: What their clients are told; the server's own word where None.
        as_json: Print what the server answers, for programs.
        url: Base URL of the server; the one that runs here where empty.
        token: What to log in with, "" for nothing; found as `client.connect` does where None.

    Returns:
        0 if it is done; 1 where there is no server, no such connection, or it refuses; 2 for what
        cannot be meant.
    """
    ask = Asking("connections", bot, url, token)

    def work() -> None:
        if close:
            _close(ask, close, {"code": code, "reason": reason}, as_json)
            return
        asked = {"user": user, "state": state}
        if bot:
            asked["route"] = name_of(ask, bot) if bot.startswith("/") else bot
        found, total = _list(ask, {k: v for k, v in asked.items() if v is not None}, limit)
        if as_json:
            print_json({"connections": found, "total": total})
            return
        _print(found, total)

    return ask.run(work)


def _list(ask: Asking, asked: dict[str, str], limit: int) -> tuple[list[Any], int]:
    """Return connections, page by page, and how many there are in all."""
    found: list[Any] = []
    after: dict[str, Any] = {}
    while True:
        size = min(PAGE, limit - len(found)) if limit else PAGE
        query = urlencode({**asked, **after, "limit": size})
        answer = ask("GET", f"connections?{query}")
        found += answer["connections"]
        if answer["next"] is None or (limit and len(found) >= limit):
            return found, int(answer["total"])
        after = {"after": repr(float(answer["next"]))}


def _print(found: Sequence[Mapping[str, Any]], total: int) -> None:
    if not found:
        print("Nobody is connected.", file=sys.stderr)
        return
    now = time.time()
    print("\n".join(aligned([HEADINGS, *(_row(one, now) for one in found)], (4, 6))), flush=True)
    if len(found) < total:
        print(f"\nThese are {len(found)} of {total}; --limit 0 lists all.", file=sys.stderr)


def _row(one: Mapping[str, Any], now: float) -> tuple[str, ...]:
    user = one["user"] or "-"
    who = user if one["kind"] in (None, "user") else f"{user} ({one['kind']})"
    age = duration(now - float(one["opened"]))
    found = [one["id"], one["route"], who, one["address"], age, one["state"]]
    found += [one["queued"]["messages"], one["path"]]
    return tuple(printable(str(cell)) for cell in found)


def _close(ask: Asking, ids: Sequence[str], how: Mapping[str, Any], as_json: bool) -> None:
    query = urlencode({key: value for key, value in how.items() if value is not None})
    for name in ids:
        ask("DELETE", f"connections/{quote(name, safe='')}" + (f"?{query}" if query else ""))
        if not as_json:
            print(f"Closed {printable(name)}.", flush=True)
    if as_json:
        print_json({"closed": list(ids)})
