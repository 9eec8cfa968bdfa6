"""`wsh.serve`: make functions of this notebook a live bot, and swap them as cells are re-run."""

from __future__ import annotations

import functools
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Literal

from ..client.targets import hindrances
from ..config.nodes import shorten
from ..engine.texts import unwritable
from ..errors import RouteRefused
from ..functions.namespace import collect, name_of, route_at_hand
from ..kernels.batches import MAX_CLAIM, MAX_OPTIONS
from ..kernels.routes import paths_of
from ..routes import Route, compile_pattern
from .bot import Bot, BotErrors
from .link import Link
from .output import cell_context, write_below

WAIT = 5.0
"""Seconds that `serve` waits for a server to answer."""

MAX_WAIT = 86400.0
"""Seconds that `serve` can be told to wait, at most."""

bots: dict[str, Bot] = {}
"""The bots of this kernel by name, stopped ones too."""

_link: Link | None = None
_lock = threading.Lock()

OnError = Callable[..., Any] | Mapping[str, Any] | None


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
        name: The route's name; from the pattern by default.
        replace: Whether to take the route over from another kernel.
        wait: Seconds to wait for the server's answer. 0 returns at once and never raises what the
            server says: a refusal is then written below the cell, and is the bot's `state` and
            `reason`. So it is wherever nobody can wait: in a callback, or without subshells.
        options: Options of the route, as below ``kwargs:`` in a file (``max_message="64KiB"``);
            `every` takes functions: ``every={"30s": tick}``.

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
    for what, text, example in (("pattern", pattern, "/chat"), ("name", name, "chat")):
        if not isinstance(text, str):
            raise TypeError(
                f"wsh.serve: {what}: expected a str such as '{example}', found "
                f"{text!r:.60} of type {type(text).__name__}"
            )
        _check_text(text, what)
    kernel, shell = kernel_at_hand()
    if isinstance(wait, bool) or not isinstance(wait, (int, float)) or not 0 <= wait <= MAX_WAIT:
        raise ValueError(f"wait: expected seconds from 0 to {MAX_WAIT:g}, found {wait!r}")
    for key, instead in _NOT_HERE.items():
        if key in options:
            raise TypeError(f"{key} is asked in the server, before a kernel is; use {instead}")
    name = name or _free_name(pattern)
    handler, close = _on_error(on_error)
    given = {
        "open": open if open is not None else on_open,
        "on_message": on_message,
        "on_close": on_close,
        "on_error": handler,
        "on_pong": on_pong,
    }
    functions = collect(source, **{key: value for key, value in given.items() if value is not None})
    route = route_at_hand(
        pattern,
        functions,
        {**options, "on_error": {"close": close}},
        name=name,
        source=f"wsh.serve({shorten(pattern)})",
        context=cell_context(shell),
    )
    sent = {key: value for key, value in options.items() if key not in _HERE}
    claim = {
        "pattern": pattern,
        "options": sent,
        "page": _page(route),
        "events": list(functions),
        "replace": replace,
    }
    for key, value in sent.items():
        _check_text(key, "the name of an option")
        _check_text(value, key)
    _check_size(claim)
    link = _the_link(kernel, shell)
    bot = bots.get(route.name)
    if bot is None or bot.ended:
        bot = bots[route.name] = Bot(link, route.name, pattern)
    bot.functions = functions
    # Whether somebody waits is settled before the server is asked: what becomes of a refusal must
    # not depend on how soon it comes. A callback that serves another bot runs where the answer
    # arrives.
    waits = wait > 0 and link.has_subshells and not link.on_loop
    answer = _Answer(bot, route, awaited=waits)
    link.call(lambda: link.serve(route, claim, answer))
    _await_answer(link, answer, wait)
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


def _page(route: Route) -> str | Literal[False] | None:
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


class _Answer:
    """Take what the server says of a bot: it is raised where somebody waits, and else written.

    Args:
        bot: The bot.
        route: The route of this version of it.
        awaited: Whether somebody waits for the answer.
    """

    def __init__(self, bot: Bot, route: Route, *, awaited: bool) -> None:
        self._bot = bot
        self._route = route
        self._lock = threading.Lock()
        self._awaited = awaited
        self._refusal = ""
        self.came = threading.Event()

    def __call__(self, what: str, details: Any) -> None:
        self._bot.answered(what, details)
        if details and what in _NOT_SERVED:
            with self._lock:
                awaited, self._refusal = self._awaited, str(details)
            if not awaited and self._route.context is not None:
                context = self._route.context.copy()
                context.run(_say, f"{self._bot.name} {_NOT_SERVED[what]}: {details}")
        self.came.set()

    @property
    def awaited(self) -> bool:
        """Whether somebody waits."""
        return self._awaited

    def end_of_waiting(self) -> str:
        """Return the refusal that has come while somebody waited; later ones are written."""
        with self._lock:
            refusal = self._refusal if self._awaited else ""
            self._awaited = False
        return refusal


_NOT_SERVED = {
    "refused": "is not served",
    "kept": "is served as it was, without this change",
    "overtaken": "was replaced by a later version, and would not have been served",
    "displaced": "is no longer served",
}
"""What is said of a bot below its cell."""

_HERE = frozenset({"every", "page", "run", "threads", "timeout", "returns"})
"""Options that are the kernel's business, not the server's."""

_NOT_HERE = {
    "select_subprotocol": "subprotocols=[...]",
    "get_compression_options": "compression=True",
}
"""Callbacks of the handshake, and the options that say the same."""

MAX_PAGE = 1024 * 1024
"""Characters of a page, at most."""


def _on_error(given: OnError) -> tuple[Callable[..., Any] | None, Any]:
    if isinstance(given, Mapping):
        unknown = set(given) - {"function", "close"}
        if unknown:
            raise TypeError(f"on_error: expected function and close, found {min(unknown)!r}")
        return given.get("function"), given.get("close", False)
    return given, False


def _await_answer(link: Link, answer: _Answer, wait: float) -> None:
    if answer.awaited:
        # Where nobody answered the first time nobody is waited for again: a notebook that runs
        # without a server has many cells.
        answer.came.wait(min(wait, 0.2) if link.alone or link.silence else wait)
        refusal = answer.end_of_waiting()
        if refusal:
            raise RouteRefused(refusal)
    if link.on_loop or answer.came.is_set():
        return
    if link.silence:
        _say(
            f"Nothing has come from the Jupyter server for {link.silence:.0f} s; the bot is served "
            "when one answers."
        )
        return
    if not link.has_subshells:
        if not link.attached:
            _say(
                "This kernel has no subshells (ipykernel 7 has): the bot is live once this cell "
                "has ended, and waits whenever a cell runs."
            )
        return
    if not wait or link.attached:
        return
    if link.alone:
        _say("Still no Jupyter server with jupyter_wshandler: the bot waits for one.")
        return
    link.alone = True
    _say(
        f"No Jupyter server with jupyter_wshandler has answered within {wait:g} s; the bot goes "
        "live when one does. Is the extension enabled (jupyter server extension list), and was "
        "this kernel started by that server?"
    )


def _say(sentence: str) -> None:
    write_below(sentence + "\n")


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


def kernel_at_hand() -> tuple[Any, Any]:
    """Return this process's ipykernel and IPython shell.

    Raises:
        RuntimeError: It is no Jupyter kernel, or one of another kind.
    """
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    kernel = getattr(shell, "kernel", None)
    if kernel is None:
        raise RuntimeError(
            "wsh.serve() makes bots of a Jupyter kernel (ipykernel), and this process is none; "
            "outside a notebook, name the functions in a file for `jupyter wshandler serve`, or "
            "try them with jupyter_wshandler.testing.Chat"
        )
    # Others look like it, and have no thread beside the cells, or no way to what ipykernel sends.
    comms = getattr(kernel, "comm_manager", None)
    if not hasattr(comms, "comms") or not all(hasattr(kernel, name) for name in _OF_IPYKERNEL):
        module = type(shell).__module__.partition(".")[0]
        name = {"xeus_python_shell": "xeus-python"}.get(module, module)
        raise RuntimeError(
            f"the bots of a notebook live in ipykernel, and this kernel is another one ({name}); "
            "choose a kernel such as `Python 3 (ipykernel)`, name the functions in a file for "
            "`jupyter wshandler serve`, or try them here with jupyter_wshandler.testing.Chat"
        )
    return kernel, shell


_OF_IPYKERNEL = ("session", "iopub_socket", "get_parent", "_publish_status")
"""What the bridge uses of a kernel."""


def _the_link(kernel: Any, shell: Any) -> Link:
    global _link
    with _lock:
        cut_off = ""
        if _link is not None and _link.kernel is kernel and not _link.alive:
            _say(
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
            _link = Link(kernel, BotErrors(bots, lambda: shell))
            _link.cut_off = cut_off
        return _link
