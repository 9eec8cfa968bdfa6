"""What `wsh.serve` asks the server for: checked here, where its author reads what is wrong."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from typing import Any, Literal

from ..config.nodes import shorten
from ..engine.texts import unwritable
from ..functions.namespace import EVENTS
from ..functions.roomoptions import OF_PRESENCE
from ..kernels.batches import MAX_CLAIM, MAX_OPTIONS, MAX_SHAPES
from ..routes import Route
from ..shapes.told import told_of

OnError = Callable[..., Any] | Mapping[str, Any] | None

HERE = frozenset({"every", "filters", "types", "page", "run", "threads", "timeout", "returns"})
"""Options that are the kernel's business, not the server's."""

_NOT_HERE = {
    "select_subprotocol": "subprotocols=[...]",
    "get_compression_options": "compression=True",
    "may_join": "handler.close(4403) in `open`",
}
"""Callbacks of the handshake, and the options that say the same."""

MAX_PAGE = 1024 * 1024
"""Characters of a page, at most."""


def check_names(pattern: object, name: object) -> None:
    """Refuse what is no pattern or no name.

    Raises:
        TypeError: It is no str.
        ValueError: It cannot be written in UTF-8.
    """
    for what, text, example in (("pattern", pattern, "/chat"), ("name", name, "chat")):
        if not isinstance(text, str):
            raise TypeError(
                f"wsh.serve: {what}: expected a str such as '{example}', found "
                f"{text!r:.60} of type {type(text).__name__}"
            )
        _check_text(text, what)


def check_options(options: Mapping[str, Any]) -> None:
    """Refuse options that only a route in a file can have.

    Raises:
        TypeError: With what to use instead.
    """
    for key, instead in _NOT_HERE.items():
        if key in options:
            raise TypeError(f"{key} is asked in the server, before a kernel is; use {instead}")
    presence = options.get("presence")
    for key in OF_PRESENCE:
        if isinstance(presence, Mapping) and key in presence:
            raise TypeError(
                f"presence: {key} is asked in the server; a notebook's rooms have members by name, "
                "and its `open` and `on_close` say who comes and goes"
            )


def claim_of(
    route: Route, pattern: str, options: Mapping[str, Any], replace: bool
) -> dict[str, Any]:
    """Return what the server is asked for.

    Args:
        route: The route with its functions.
        pattern: Its pattern, as it was given.
        options: Its options, as they were given.
        replace: Whether to take it over from another kernel.

    Raises:
        ValueError: A text among them cannot be written in UTF-8, or they take too much.
    """
    sent = {key: value for key, value in options.items() if key not in HERE}
    claim = {
        "pattern": pattern,
        "options": sent,
        "page": page_of(route),
        "events": [event for event in EVENTS if event in route.callbacks],
        "replace": replace,
    }
    for key, value in sent.items():
        _check_text(key, "the name of an option")
        _check_text(value, key)
    _check_size(claim)
    shapes = told_of(route)
    if shapes and len(shapes) <= MAX_SHAPES:  # what the console makes a form of
        claim["shapes"] = json.loads(shapes)
    return claim


def page_of(route: Route) -> str | Literal[False] | None:
    """Return the text of a route's page, or False where it has none.

    The server opens no file because a kernel says so.
    """
    path = route.config.page
    if path is None or path is False:
        return path
    if path.endswith(os.sep):
        raise ValueError(
            f"page: {path} is a folder, and a cell's page is one file; name its index.html, or "
            "serve the bot from a YAML file"
        )
    with open(path, encoding="utf-8") as file:
        text = file.read(MAX_PAGE + 1)
    if len(text) > MAX_PAGE:
        raise ValueError(f"page: {path} has more than {MAX_PAGE} characters; name a smaller file")
    return text


def _check_text(value: object, where: str) -> None:
    """Refuse what no message to the server can hold, before anything is sent."""
    found = unwritable(value, where)
    if found is not None:
        place, text = found
        raise ValueError(
            f"wsh.serve: {place}: expected text that UTF-8 can write, found {shorten(text)}, "
            "which has half of a pair of surrogates; leave it out"
        )


def _check_size(claim: dict[str, Any]) -> None:
    """Refuse what no server reads."""
    for what, value, most in (
        ("its options take", claim["options"], MAX_OPTIONS),
        ("its page and options take", claim, MAX_CLAIM),
    ):
        size = len(json.dumps(value, default=str).encode())
        if size > most:
            raise ValueError(
                f"{what} {size} bytes, of {most} at most; leave out what is not needed"
            )


def on_error_of(given: OnError) -> tuple[Callable[..., Any] | None, Any]:
    """Return the function for errors, and whether one closes the connection.

    Raises:
        TypeError: It is a mapping with other keys than these.
    """
    if isinstance(given, Mapping):
        unknown = set(given) - {"function", "close"}
        if unknown:
            raise TypeError(f"on_error: expected function and close, found {min(unknown)!r}")
        return given.get("function"), given.get("close", False)
    return given, False
