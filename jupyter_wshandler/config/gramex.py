"""What a file written for Gramex says that is none of ours: handlers, their keys, conditions."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterable, Iterator

from jupyter_wshandler.config.nodes import Node, shorten

HANDLER = "WebSocketHandler"
"""The handler of a route."""

HANDLERS = (HANDLER, f"gramex.handlers.{HANDLER}", "Websocket")
"""Its spellings: Gramex's own from 1.67 on is the last one, usually as `service:`."""

MEANINGLESS = {
    name: f"{name} has no meaning on a WebSocket route; remove it"
    for name in (
        "methods",
        "cors",
        "headers",
        "validate",
        "redirect",
        "transform",
        "set_xsrf",
        "xsrf_cookies",
        "error",
        "log",
    )
}
"""Keys of Gramex's other handlers, each with the sentence that refuses it."""

MEANINGLESS_AUTH = {
    name: f"auth.{name} has no meaning on a WebSocket route, where nobody is redirected; remove it"
    for name in ("login_url", "template", "methods", "query")
}
"""The same for keys below auth."""

UNSUPPORTED = {
    name: f"{name} is not supported by this version; remove it" for name in ("notebook", "kernel")
}
"""Keys that one might rightly expect; silence about them would be a trap."""

GRAMEX_RATELIMIT = dict.fromkeys(
    ("keys", "limit", "pool"),
    "keys, limit and pool are Gramex's, where connections per time are counted; to bound those "
    "that are open write max_connections: {user: 20}, to bound what they send write "
    "ratelimit: {messages: 100/s, per: user}",
)
"""Keys below ratelimit that have become others."""

_CONDITION = re.compile(r"(.*?)\s+if\s+(\S.*)", re.DOTALL)

NAMED_AT_MOST = 8
"""Handlers that the note about skipped entries names."""


def looks_like_ours(handler: str) -> bool:
    """Return whether a handler's name is hardly meant for another one: a slip in ours.

    Args:
        handler: What stands behind `handler:` or `service:`.
    """
    name = handler[:80].rpartition(".")[2].casefold().replace("_", "").replace("-", "")
    return any(
        difflib.SequenceMatcher(None, ours, theirs).ratio() > 0.85
        for ours, theirs in (
            ("websocket", name.removesuffix("handler")),
            ("websockethandler", name),
        )
    )


def condition_of(key: str) -> str | None:
    """Return what is wrong with a key that holds a condition of Gramex's, or None.

    Gramex takes such a key only where its expression is true. Nothing of a file is evaluated
    here, and to serve what Gramex would leave out would open it.

    Args:
        key: A key of a mapping, such as ``bot if not prod``.
    """
    match = _CONDITION.fullmatch(key)
    if match is None:
        return None
    return (
        f"{shorten(key)} has a condition, which is not evaluated here; write the key {match[1]!r} "
        "alone in the files of the servers where it holds"
    )


def conditions_in(node: Node) -> Iterator[tuple[str, Node]]:
    """Find the keys with a condition below a value, each with the mapping that it stands in."""
    if isinstance(node.value, dict):
        for key, child in node.value.items():
            if _CONDITION.fullmatch(key):
                yield key, node
            yield from conditions_in(child)
    elif isinstance(node.value, list):
        for child in node.value:
            yield from conditions_in(child)


def skipped(handlers: Iterable[str]) -> str:
    """Return one sentence about the entries that other handlers serve.

    Args:
        handlers: The handler of each entry.
    """
    counts = Counter(handlers)
    named = [
        f"{shorten(name)[1:-1]}{f' ({count})' if count > 1 else ''}"
        for name, count in counts.most_common(NAMED_AT_MOST)
    ]
    more = f" and {len(counts) - len(named)} more" if len(counts) > len(named) else ""
    entries = "1 entry" if counts.total() == 1 else f"{counts.total()} entries"
    return f"skipped {entries} of other handlers: {', '.join(named)}{more}"
