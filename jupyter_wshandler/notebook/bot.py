"""A bot that lives in this kernel: what `serve` returns, and what a cell shows of it."""

from __future__ import annotations

import html
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from ..callbacks.errorlog import CallbackFailure, ErrorLog, place_of, username
from ..connection.connection import Connection
from ..engine.payload import to_message
from ..errors import ConnectionClosed, ShareRefused
from ..types import Sendable
from .output import LiveOutput, bot_logger, write_below
from .share import WAIT, Share
from .shareview import literal
from .tracebacks import format_error
from .wishes import share_route, wish_of

if TYPE_CHECKING:
    from .link import ServerLink

ERRORS = 100
"""Errors that a bot remembers."""

WHOLE = 10
"""Errors among them that keep their traceback, with all that was in the variables."""

HELD = 16 * 2**20
"""Characters and bytes of the messages that errors are remembered with; the newest has its own."""

OUTPUTS = 10
"""Outputs of a bot that waits which show it anew when it is live."""

PACE = 256
"""Messages that a cell sends in a row before it waits for them to leave."""

PATIENCE = 1.0
"""Seconds that it waits: who reads slowly is for the route's `queue` to judge."""

_SENTENCES = {
    "waiting": "waiting for a Jupyter server with jupyter_wshandler to serve it",
    "live": "live",
    "stopped": "stopped",
    "refused": "not served",
    "displaced": "no longer served",
}


def _size(message: object) -> int:
    return len(message) if isinstance(message, (str, bytes)) else 0


class Bot:
    """A route whose callbacks live in this kernel.

    Attributes:
        name: The route's name.
        pattern: The route's pattern.
        url: Where clients connect (``ws://...``); empty until a server has answered.
        path: The path of it, with the server's base URL.
        functions: The callbacks by event, as they were served last.
        types: The functions of `types` by their tags, as they were served last.
    """

    def __init__(self, link: ServerLink, name: str, pattern: str) -> None:
        self._link = link
        self.name = name
        self.pattern = pattern
        self.url = ""
        self.path = ""
        self.script = ""
        self._state = "waiting"
        self._reason = ""
        self.functions: dict[str, Callable[..., Any]] = {}
        self.types: dict[str, Callable[..., Any]] = {}
        self._errors: deque[CallbackFailure] = deque(maxlen=ERRORS)
        self._ended = False
        self._sent = 0
        self._outputs: deque[LiveOutput] = deque(maxlen=OUTPUTS)

    @property
    def state(self) -> str:
        """What has become of it: "waiting", "live", "stopped", "refused" or "displaced"."""
        if self._is_dead():
            return "displaced"
        return "waiting" if self._silence else self._state

    @property
    def reason(self) -> str:
        """Why, where it is not live any more; of a live one why its last version is refused."""
        if self._is_dead():
            return "the thread of this kernel's bots has ended; run the cell again"
        if self._silence:
            return (
                f"nothing has come from the Jupyter server for {self._silence:.0f} s; it has "
                "ended, or something holds it up"
            )
        return self._reason

    @property
    def _silence(self) -> float:
        return self._link.silence if self._state == "live" else 0.0

    def _is_dead(self) -> bool:
        return not self._ended and not self._link.alive

    # ---- what a cell does with it --------------------------------------------------------------

    @property
    def connections(self) -> list[Connection]:
        """The open connections now; each is what callbacks get as `handler`."""
        if self._ended:
            return []
        connections = list(self._link.manager.connections.values())
        return [c for c in connections if c.route == self.name and not c.closed]

    def send(self, message: Sendable, *, to: str | None = None) -> int:
        """Send a message to the bot's clients.

        Args:
            message: what ``handler.write_message`` takes.
            to: A connection's id or a user's name; everyone where None.

        Returns:
            The number of connections that it was sent to.

        Raises:
            TypeError: The message is None, or holds what has no JSON form.
        """
        whole = to_message(message)
        self._link.check_process()
        sent = 0
        for connection in self.connections:
            user = getattr(connection.current_user, "username", None)
            if to is None or to in (connection.id, user):
                try:
                    connection.write_message(whole)
                except ConnectionClosed:
                    continue
                sent += 1
        self._sent += sent
        if self._sent >= PACE and not self._link.on_loop:
            self._sent = 0
            self._link.let_leave(PATIENCE)
        return sent

    @property
    def errors(self) -> list[CallbackFailure]:
        """What callbacks have raised, the newest last.

        Each has ``handler``, ``message``, ``exception``, ``callback`` and ``at`` (seconds since
        1970).
        """
        return list(self._errors)

    def add_error(self, error: CallbackFailure) -> None:
        """Remember what a callback has raised; called on the bots' loop."""
        self._errors.append(error)
        while len(self._errors) > 1 and sum(_size(e.message) for e in self._errors) > HELD:
            self._errors.popleft()
        if len(self._errors) > WHOLE:
            # What is in the variables of a failed call may be large, and its traceback holds it.
            self._errors[-WHOLE - 1].exception.__traceback__ = None

    def stop(self) -> None:
        """Serve the bot no longer; its clients are closed with 1012."""
        if self._is_dead():
            self.end("stopped", "")
        elif not self._ended:
            self._link.call(lambda: self._link.withdraw(self.name))
            self.end("stopped", "")

    # ---- what a cell gives away ----------------------------------------------------------------

    def share(
        self,
        label: str = "",
        expires: str | float | timedelta | None = "2h",
        uses: int | None = None,
        page: bool = True,
        *,
        path: str | None = None,
        users: Iterable[str] = (),
        groups: Iterable[str] = (),
        wait: float = WAIT,
    ) -> Share:
        """Share the bot: whoever has the link gets in, to this bot and to nothing else.

        The same wish again returns the share that is open already, so that a cell can be run
        again; another `label` makes another link.

        Args:
            label: What guests are called by callbacks, and what you know the share by.
            expires: When it ends by itself: a duration ("2h", "7d"), seconds, or None for never.
            uses: As many guests as it lets in; None for no limit.
            page: Whether guests get the bot's page, too, and not only its socket.
            path: The path that it opens, of a pattern that has many.
            users: Users of the JupyterHub that it is for, where a server of bots keeps a list.
            groups: The same for groups.
            wait: Seconds to wait for the server's answer. 0 returns at once and never raises what
                the server says: a refusal is then written below the cell, and is the share's
                `state` and `reason`. So it is in an `async` callback, and without subshells.

        Returns:
            The share: `url`, `connections`, `uses_left`, `revoke`.

        Raises:
            ShareRefused: It may not be shared, or so; says why, and who can change that.
            TypeError: A value is of another type.
            ValueError: A text among them cannot be written in UTF-8.
        """
        wish = wish_of(label, expires, uses, page, path, users, groups)
        if self._is_dead() or self._ended:
            raise ShareRefused(
                f"{self.name} is not served ({self.state}"
                + (f": {self.reason}" if self.reason else "")
                + "); serve it again, and share what that returns"
            )
        return share_route(self._link, self.name, wish, wait)

    @property
    def shares(self) -> list[Share]:
        """The open shares, whoever has made them; the oldest first."""
        return [] if self._is_dead() else self._link.shares.of(self.name)

    def end(self, state: str, reason: str) -> None:
        """Take note that the bot is served no longer.

        Args:
            state: "stopped", "refused" or "displaced".
            reason: Why.
        """
        self._ended = True
        self._state, self._reason = state, reason

    @property
    def ended(self) -> bool:
        """Whether the bot is served no longer; serving its pattern again makes a new one."""
        return self._ended

    # ---- what the server says ------------------------------------------------------------------

    def answered(self, what: str, details: Any) -> None:
        """Take the server's answer; called on the bots' loop.

        Args:
            what: See `ServerLink.serve`.
            details: Where the bot is served, or why it is not.
        """
        if what == "served":
            self._state, self._reason = "live", ""
            self._ended = False
            self.url, self.path = details["url"], details["path"]
            self.script = details.get("script", "")
            self.pattern = details["pattern"]
        elif what == "waiting":
            self._state, self._reason = "waiting", ""
        elif what == "swapped":
            self._reason = ""
        elif what == "kept":
            self._reason = f"its last version is refused: {details}"
        elif what in ("refused", "displaced"):
            self.end(what, str(details))
        if self._state != "waiting":
            self._show_anew()

    # ---- what a cell shows ---------------------------------------------------------------------

    def __repr__(self) -> str:
        count = len(self.connections)
        what = _SENTENCES[self.state] + (f": {self.reason}" if self.reason else "")
        who = f", {count} connection{'' if count == 1 else 's'}" if self.state == "live" else ""
        return f"<Bot {self.name} at {self.url or self.pattern}: {what}{who}>"

    def _ipython_display_(self) -> None:
        """Show a bot that waits, so that its chat takes that place when it is live.

        Raises:
            NotImplementedError: It does not wait: IPython shows it as it shows anything.
        """
        if self.state != "waiting":
            raise NotImplementedError
        self._outputs.append(LiveOutput(self._link.kernel, self._shown()))
        if self._state != "waiting":  # the answer has come meanwhile
            self._show_anew()

    def _show_anew(self) -> None:
        while self._outputs:
            with suppress(IndexError, OSError):  # both threads may be at it; a kernel may be ending
                self._outputs.popleft().replace(self._shown())

    def _shown(self) -> dict[str, str]:
        return {"text/plain": repr(self), "text/html": self._repr_html_()}

    def _repr_html_(self) -> str:
        return _page(self) if self.state == "live" else f"<pre>{html.escape(repr(self))}</pre>"


def _page(bot: Bot) -> str:
    """Return a chat with a bot for the output of a cell, with words where no script runs."""
    element = f"wshandler-{bot.name}-{time.monotonic_ns():x}"
    options = {"path": bot.path, "title": bot.name, "key": bot.path}
    address = html.escape(bot.url, quote=True)
    return (
        f'<div id="{html.escape(element, quote=True)}">'
        f"<p><b>{html.escape(bot.name)}</b> is {_SENTENCES[bot.state]} at "
        f"<code>{address}</code>. Run the cell to chat with it here.</p></div>\n"
        '<script type="module">\n'
        f"import({literal(bot.script)}).then((chat) => "
        f"chat.mount({literal(element)}, {literal(options)}));\n"
        "</script>"
    )


class BotErrors:
    """What callbacks have raised: shown below the cell that serves the bot, and remembered.

    Args:
        bots: This kernel's bots by name.
        shell: Returns IPython's shell.
    """

    def __init__(self, bots: dict[str, Bot], shell: Callable[[], Any]) -> None:
        self._bots = bots
        self._shell = shell
        self._log = ErrorLog(bot_logger())

    def write(self, failure: CallbackFailure, now: float) -> None:
        """Take one failure; the same one again and again is shown in one line each."""
        c, error = failure.handler, failure.exception
        bot = self._bots.get(c.route)
        if bot is not None:
            bot.add_error(failure)
        after = "" if c.entry.config.on_error_close else "; the connection stays open"
        # A token has no name of its own; Jupyter shows people such a user by another one.
        who = getattr(c.current_user, "display_name", None) or username(c.current_user)
        heading = (
            f"{c.route}: {failure.callback} failed for {who}, connection {c.id}, "
            f"error {failure.error_id}{after}"
        )
        if self._log.is_news(failure, now):
            text = f"{heading}\n{format_error(self._shell(), error)}\n"
        else:
            line = place_of(error)
            text = f"{heading}: {type(error).__name__} at {line}, as before\n"
        write_below(text)
