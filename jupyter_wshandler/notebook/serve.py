"""`wsh.serve`: make functions of this notebook a live bot, and swap them as cells are re-run."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable
from typing import Any

from ..client.targets import hindrances
from ..config.nodes import shorten
from ..functions.namespace import collect, name_of, route_at_hand
from ..kernels.routes import paths_of
from ..routes import compile_pattern
from .asking import OnError, check_names, check_options, claim_of, on_error_of
from .bot import Bot, BotErrors
from .kernel import kernel_at_hand
from .link import ServerLink
from .output import cell_context
from .waiting import ServerAnswer, await_answer, say

WAIT = 5.0
"""Seconds that `serve` waits for a server to answer."""

MAX_WAIT = 86400.0
"""Seconds that `serve` can be told to wait, at most."""

bots: dict[str, Bot] = {}
"""The bots of this kernel by name, stopped ones too."""

_link: ServerLink | None = None
_lock = threading.Lock()


def serve(
    pattern: str,
    source: object = None,
    /,
    *,
    open: Callable[..., Any] | None = None,
    on_open: Callable[..., Any] | None = None,
    on_message: Callable[..., Any] | None = None,
    on_close: Callable[..., Any] | None = None,
    on_error: OnError = None,
    on_pong: Callable[..., Any] | None = None,
    on_away: Callable[..., Any] | None = None,
    on_resume: Callable[..., Any] | None = None,
    name: str = "",
    replace: bool = False,
    wait: float = WAIT,
    **options: Any,
) -> Bot:
    """Serve functions of this notebook as a WebSocket of its Jupyter server.

    Served again under the same pattern, new functions take the place of the old ones and the
    connections stay open.

    Args:
        pattern: Path below the server's base URL, as a route's ``pattern``.
        source: A module, a mapping such as ``globals()``, an object with the callbacks as
            attributes, or one function, which is taken for `on_message`.
        open: Called with the handler when a client has connected; also `on_open`.
        on_open: Another spelling of `open`.
        on_message: Called with the handler and each message.
        on_close: Called with the handler when the connection has ended.
        on_error: Called with the handler and what a callback raised; or a mapping with
            ``function`` and ``close``. Here, other than in a file, a failed callback does not
            close the connection unless ``{"close": True}`` says so.
        on_pong: Called with the handler and the payload of a pong.
        on_away: Called with the handler when its client is away and may come back (`resume`).
        on_resume: Called with the handler when it has come back.
        name: The route's name; from the pattern by default.
        replace: Whether to take the route over from another kernel.
        wait: Seconds to wait for the server's answer. 0 returns at once and never raises what the
            server says: a refusal is then written below the cell, and is the bot's `state` and
            `reason`. So it is wherever nobody can wait: in a callback, or without subshells.
        options: Options of the route, as below ``kwargs:`` in a file (``max_message="64KiB"``);
            `every`, `types` and `filters` take functions: ``every={"30s": tick}``.

    Returns:
        The bot: `url`, `connections`, `send`, `errors`, `stop`.

    Raises:
        CallbackError: There is no callback, or one takes other arguments than it is given.
        ConfigError: The pattern or an option cannot be used.
        RouteRefused: The server has refused it while it was waited for; says why and what to do.
        RuntimeError: This is no Jupyter kernel.
        TypeError: The pattern or the name is no str.
        ValueError: A text among them cannot be written in UTF-8, or they take too much.
    """
    check_names(pattern, name)
    kernel, shell = kernel_at_hand()
    if isinstance(wait, bool) or not isinstance(wait, (int, float)) or not 0 <= wait <= MAX_WAIT:
        raise ValueError(f"wait: expected seconds from 0 to {MAX_WAIT:g}, found {wait!r}")
    check_options(options)
    name = name or _free_name(pattern)
    handler, close = on_error_of(on_error)
    given = {
        "open": open if open is not None else on_open,
        "on_message": on_message,
        "on_close": on_close,
        "on_error": handler,
        "on_pong": on_pong,
        "on_away": on_away,
        "on_resume": on_resume,
    }
    types = options.get("types") or {}
    given = {key: value for key, value in given.items() if value is not None}
    functions = collect(source, needed=not types, **given)
    route = route_at_hand(
        pattern,
        functions,
        {**options, "on_error": {"close": close}},
        name=name,
        source=f"wsh.serve({shorten(pattern)})",
        context=cell_context(shell),
    )
    claim = claim_of(route, pattern, options, replace)
    link = _the_link(kernel, shell)
    bot = bots.get(route.name)
    if bot is None or bot.ended:
        bot = bots[route.name] = Bot(link, route.name, pattern)
    bot.functions, bot.types = functions, dict(types)
    # Whether somebody waits is settled before the server is asked: what becomes of a refusal must
    # not depend on how soon it comes. A callback that serves another bot runs where the answer
    # arrives.
    waits = wait > 0 and link.has_subshells and not link.on_loop
    answer = ServerAnswer(bot, route, awaited=waits)
    link.call(lambda: link.serve(route, claim, answer))
    await_answer(link, answer, wait)
    return bot


def _free_name(pattern: str) -> str:
    """Return the name of the bot with a pattern, or one for a new bot that no other has.

    A group that has another name now makes no other bot.
    """
    paths = _paths(pattern) if isinstance(pattern, str) else ""
    for bot in bots.values():
        if not bot.ended and (bot.pattern == pattern or (paths and _paths(bot.pattern) == paths)):
            return bot.name
    wanted = name = name_of(pattern)
    number = 1
    while name in bots and not bots[name].ended:
        number += 1
        name = f"{wanted}-{number}"
    return name


@functools.lru_cache(4096)
def _paths(pattern: str) -> str:
    """Return what equal patterns have in common; nothing where there is no sound pattern."""
    try:
        return paths_of(compile_pattern(pattern))
    except ValueError:
        return ""


def _why_not_served(path: str) -> str | None:
    """Return why a bot of this kernel with a path has no server yet, or None; waits a little.

    Whoever serves a bot and talks to it at once must not talk to another server's.

    Args:
        path: As in the URL, below the server's base URL.
    """
    own = [bot for bot in bots.values() if bot.state == "waiting" and _has(bot, path)]
    link = _link
    if not own or link is None:
        return None
    deadline = time.monotonic() + WAIT
    while link.has_subshells and not (link.alone or link.on_loop) and time.monotonic() < deadline:
        if all(bot.state != "waiting" for bot in own):
            return None
        time.sleep(0.02)
    if all(bot.state != "waiting" for bot in own):
        return None
    when = (
        "no Jupyter server with jupyter_wshandler knows this kernel"
        if link.has_subshells or link.attached
        else "a kernel without subshells (before ipykernel 7) is heard when its cell has ended: "
        "connect in a later cell"
    )
    return (
        f"the bot {own[0].name!r} of this kernel ({own[0].pattern}) waits: {when}. Without a "
        "server, jupyter_wshandler.testing.Chat talks to it; another server is named with "
        "connect(..., server=...)"
    )


def _has(bot: Bot, path: str) -> bool:
    """Return whether a path is a bot's; none is where the pattern cannot be read."""
    try:
        return compile_pattern(bot.pattern).match(path) is not None
    except ValueError:
        return False


hindrances.append(_why_not_served)


def _the_link(kernel: Any, shell: Any) -> ServerLink:
    global _link
    with _lock:
        cut_off = ""
        if _link is not None and _link.kernel is kernel and not _link.alive:
            say(
                "The thread of this kernel's bots had ended; it is made anew. Bots that were "
                "served before are served again when their cells are run again."
            )
            _link.abandon()
            for bot in bots.values():
                if not bot.ended:
                    bot.end("displaced", "the thread of this kernel's bots has ended")
            cut_off = _link.cut_off
            _link = None
        if _link is None or _link.kernel is not kernel:
            _link = ServerLink(kernel, BotErrors(bots, lambda: shell))
            _link.cut_off = cut_off
        return _link
