"""The server's answer to `wsh.serve`: waited for, raised, or written below the cell."""

from __future__ import annotations

import threading
from typing import Any

from ..errors import RouteRefused
from ..routes import Route
from .bot import Bot
from .link import ServerLink
from .output import write_below

_NOT_SERVED = {
    "refused": "is not served",
    "kept": "is served as it was, without this change",
    "overtaken": "was replaced by a later version, and would not have been served",
    "displaced": "is no longer served",
}
"""What is said of a bot below its cell."""


class ServerAnswer:
    """What the server says of a bot: it is raised where somebody waits, and else written.

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
        """Take what the server says; see `claims.Answer`."""
        self._bot.answered(what, details)
        if details and what in _NOT_SERVED:
            with self._lock:
                awaited, self._refusal = self._awaited, str(details)
            if not awaited and self._route.context is not None:
                context = self._route.context.copy()
                context.run(say, f"{self._bot.name} {_NOT_SERVED[what]}: {details}")
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


def await_answer(link: ServerLink, answer: ServerAnswer, wait: float) -> None:
    """Wait for the server's answer where somebody can, and say below the cell what is missing.

    Args:
        link: The way to the server.
        answer: Gets what it says.
        wait: Seconds to wait, at most.

    Raises:
        RouteRefused: The server has refused the bot.
    """
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
        say(
            f"Nothing has come from the Jupyter server for {link.silence:.0f} s; the bot is served "
            "when one answers."
        )
        return
    if not link.has_subshells:
        if not link.attached:
            say(
                "This kernel has no subshells (ipykernel 7 has): the bot is live once this cell "
                "has ended, and waits whenever a cell runs."
            )
        return
    if not wait or link.attached:
        return
    if link.alone:
        say("Still no Jupyter server with jupyter_wshandler: the bot waits for one.")
        return
    link.alone = True
    say(
        f"No Jupyter server with jupyter_wshandler has answered within {wait:g} s; the bot goes "
        "live when one does. Is the extension enabled (jupyter server extension list), and was "
        "this kernel started by that server?"
    )


def say(sentence: str) -> None:
    """Write a sentence below the cell."""
    write_below(sentence + "\n")
