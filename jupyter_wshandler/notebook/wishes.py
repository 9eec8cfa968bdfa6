"""What `bot.share` asks the server for: checked here, and waited for where somebody can wait."""

from __future__ import annotations

import contextvars
import math
from collections.abc import Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from ..config.nodes import shorten
from ..engine.texts import unwritable
from ..errors import ShareRefused
from .output import cell_context
from .share import Share

if TYPE_CHECKING:
    from .link import ServerLink

MAX_WAIT = 86400.0
"""Seconds that `share` can be told to wait, at most."""


def wish_of(
    label: object,
    expires: object,
    uses: object,
    page: object,
    path: object,
    users: Iterable[str] | str,
    groups: Iterable[str] | str,
) -> dict[str, Any]:
    """Return what the server is asked for; what the values mean is for the server to judge.

    Raises:
        TypeError: A value is of a type that none of them can have.
        ValueError: It cannot be written in JSON, or in UTF-8.
    """
    if isinstance(expires, timedelta):
        expires = expires.total_seconds()
    wish = {
        "label": _checked("label", label, str),
        "expires": _checked("expires", expires, str, int, float, None),
        "uses": _checked("uses", uses, int, None),
        "page": _checked("page", page, bool),
        "path": _checked("path", path, str, None),
        "users": _names("users", users),
        "groups": _names("groups", groups),
    }
    found = unwritable(wish, "wish")
    if found is not None:
        raise ValueError(
            f"bot.share: expected text that UTF-8 can write, found {shorten(found[1])}, which has "
            "half of a pair of surrogates; leave it out"
        )
    return wish


def _checked(name: str, value: object, *types: type | None) -> object:
    words: dict[type | None, str] = {
        str: "a str",
        int: "an int",
        float: "a float",
        bool: "True or False",
        None: "None",
    }
    fits = any(value is None if one is None else isinstance(value, one) for one in types)
    if fits and isinstance(value, bool) and bool not in types:
        fits = False  # it is an int to Python
    if not fits:
        expected = " or ".join(words[one] for one in types)
        raise TypeError(
            f"bot.share: {name}: expected {expected}, found {value!r:.60} of type "
            f"{type(value).__name__}"
        )
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"bot.share: {name}: expected a number of seconds or None, found {value}")
    return value


def _names(what: str, names: Iterable[str] | str) -> list[str]:
    listed = [names] if isinstance(names, str) else list(names)
    for name in listed:
        if not isinstance(name, str):
            raise TypeError(
                f"bot.share: {what}: expected names, found {name!r:.60} of type "
                f"{type(name).__name__}"
            )
    return listed


def share_route(link: ServerLink, route: str, wish: dict[str, Any], wait: float) -> Share:
    """Share a route of this kernel.

    Args:
        link: The way to the server.
        route: The route's name.
        wish: What the share is to be.
        wait: Seconds to wait for the server's answer; 0 returns at once.

    Raises:
        ShareRefused: The server has refused it, or has not answered.
    """
    if isinstance(wait, bool) or not isinstance(wait, (int, float)) or not 0 <= wait <= MAX_WAIT:
        raise ValueError(f"wait: expected seconds from 0 to {MAX_WAIT:g}, found {wait!r}")
    link.check_process()
    here = contextvars.copy_context() if link.on_loop else cell_context(link.kernel.shell)
    # Settled before the server is asked: what becomes of a refusal must not depend on how soon it
    # comes.
    waits = wait > 0 and link.has_subshells and not link.on_loop
    share = link.call(lambda: link.shares.ask(route, wish, None if waits else here))
    if not waits:
        return share
    try:
        # Where nobody has answered for long nobody is waited for again.
        share.answered.wait(min(wait, 0.2) if link.alone or link.silence else wait)
    finally:
        link.call(lambda: link.shares.give_up(share, _why_no_answer(link, route)))
    if share.state == "refused":
        raise ShareRefused(f"{route} is not shared: {share.reason}")
    return share


def _why_no_answer(link: ServerLink, route: str) -> str:
    if link.other_version is not None:
        return (
            "the server's jupyter_wshandler is another version than this kernel's; install the "
            "same in both, and restart both"
        )
    if link.silence:
        return f"nothing has come from the Jupyter server for {link.silence:.0f} s"
    if not link.attached:
        return (
            "no Jupyter server with jupyter_wshandler has answered, so its bot is not live; where "
            "one is enabled, install the same version in the server and in this kernel"
        )
    return "the server has not answered in time; a link that it makes yet is ended at once"
