"""A share of a bot of this kernel: its link, who is in by it, and what a cell shows of it."""

from __future__ import annotations

import contextlib
import contextvars
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Protocol

import msgspec

from ..connection.connection import Connection
from ..kernels.events import ShareState
from .output import LiveOutput
from .shareview import Guest, page_of_share, summary

OUTPUTS = 10
"""Outputs of a share that are shown anew when something changes."""

PACE = 0.25
"""Seconds between two changes of what cells show of a share, at least."""

WAIT = 5.0
"""Seconds that a cell waits for the server's answer."""


class Office(Protocol):
    """Whoever speaks with the server about shares."""

    script: str
    """The URL of what shows a share below a cell; empty until a server has answered."""

    @property
    def kernel(self) -> Any:
        """The ipykernel."""

    def revoke(self, share: Share) -> bool:
        """Ask the server to end a share; return whether the answer can be waited for.

        Raises:
            ShareRefused: Nobody can be asked.
        """

    def revoked(self, share: Share, seconds: float) -> None:
        """Wait until the server has ended a share.

        Raises:
            ShareRefused: It has not.
        """

    def inside(self, route: str, share_id: str) -> list[tuple[Connection, Guest]]:
        """Return who is in by a share: the connections, and whose each is."""

    def later(self, seconds: float, function: Callable[[], object]) -> None:
        """Call a function on the bots' loop; from any thread."""


class Share:
    """One share of a bot: a link that opens its route, and nothing else of the server.

    Attributes:
        route: The name of the bot's route.
    """

    def __init__(
        self,
        office: Office,
        route: str,
        state: ShareState,
        wish: dict[str, Any] | None = None,
        context: contextvars.Context | None = None,
    ) -> None:
        self._office = office
        self.route = route
        self._details = state
        self.wish = wish
        """What was asked for; None of a share that was not made here."""
        self.context = context
        """Of the cell that has asked for it."""
        self._state = "open" if state.id else "waiting"
        self._reason = ""
        self.answered = threading.Event()
        self._outputs: deque[tuple[str, LiveOutput]] = deque(maxlen=OUTPUTS)
        self._due = False

    # ---- what it is ----------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """The link to give away.

        Empty until the server has answered, and of a share that this kernel has not made itself:
        a link is shown once.
        """
        return self._details.url

    @property
    def id(self) -> str:
        """What the server calls it; proves nothing."""
        return self._details.id

    @property
    def label(self) -> str:
        """What guests are called by callbacks, and what you know it by."""
        return self._details.label

    @property
    def path(self) -> str:
        """The path that it opens, below the server's base URL."""
        return self._details.path

    @property
    def page(self) -> bool:
        """Whether guests get the bot's page, too."""
        return self._details.page

    @property
    def users(self) -> list[str]:
        """The users of the Hub that it is for; empty where whoever has the link is let in."""
        return list(self._details.users)

    @property
    def groups(self) -> list[str]:
        """The groups of the Hub that it is for."""
        return list(self._details.groups)

    @property
    def created(self) -> datetime | None:
        """When it was made."""
        return _moment(self._details.created) if self._details.created else None

    @property
    def expires(self) -> datetime | None:
        """When it ends by itself; None where it does not."""
        return None if self._details.expires is None else _moment(self._details.expires)

    @property
    def seconds_left(self) -> float | None:
        """Seconds until it ends by itself; None where it does not."""
        if self.state in ("ended", "refused"):
            return 0.0
        expires = self._details.expires
        return None if expires is None else max(0.0, expires - time.time())

    @property
    def uses(self) -> int | None:
        """As many guests as it may let in; None without a limit."""
        return self._details.uses

    @property
    def used(self) -> int:
        """As many guests as it has let in."""
        return self._details.used

    @property
    def uses_left(self) -> int | None:
        """As many guests as it will still let in; None without a limit."""
        if self.uses is None:
            return None
        return 0 if self.state == "ended" else max(0, self.uses - self.used)

    @property
    def state(self) -> str:
        """What has become of it: "waiting" (for the server), "open", "refused" or "ended"."""
        return "ended" if self._is_over() else self._state

    @property
    def reason(self) -> str:
        """Why, where it is not open any more."""
        return self._reason or ("it has expired" if self._is_over() else "")

    def _is_over(self) -> bool:
        expires = self._details.expires
        return self._state == "open" and expires is not None and expires <= time.time()

    @property
    def connections(self) -> list[Connection]:
        """Who is in by it now; each is what callbacks get as `handler`."""
        return [connection for connection, _ in self._inside()]

    @property
    def inside(self) -> list[Guest]:
        """Whose each of them is, as the server has said it, whatever the bot has made of it."""
        return [guest for _, guest in self._inside()]

    def _inside(self) -> list[tuple[Connection, Guest]]:
        return self._office.inside(self.route, self.id) if self.id else []

    def revoke(self) -> None:
        """End it: the link opens nothing any more, and whoever is in is closed with 4403.

        Where a cell can wait, it has happened when this returns.

        Raises:
            ShareRefused: The server cannot be asked, or has not answered; the link may work still.
        """
        if self.state in ("ended", "refused"):
            return
        if self._office.revoke(self):
            self._office.revoked(self, WAIT)

    # ---- what the server says; on the bots' loop -------------------------------------------------

    def update(self, state: ShareState) -> None:
        """Take what the server says of it; the link stays what it was."""
        self._details = msgspec.structs.replace(state, url=state.url or self._details.url)
        if self._state == "waiting":
            self._state = "open"
        self.changed()

    def end(self, state: str, reason: str) -> None:
        """Take note that it is open no longer.

        Args:
            state: "ended" or "refused".
            reason: Why.
        """
        if self._state not in ("ended", "refused"):
            self._state, self._reason = state, reason
            self.changed()

    # ---- what a cell shows ---------------------------------------------------------------------

    def __repr__(self) -> str:
        # A link is a secret, and a repr ends in logs and in files.
        return f"<Share {summary(self)}>"

    def _repr_html_(self) -> str:
        return page_of_share(self, uuid.uuid4().hex, self._office.script)

    def _ipython_display_(self) -> None:
        """Show it so that it can be shown anew: who is in changes, and it ends."""
        key = uuid.uuid4().hex
        self._outputs.append((key, LiveOutput(self._office.kernel, self._shown(key))))
        self.changed()  # what has happened meanwhile

    def _shown(self, key: str) -> dict[str, str]:
        page = page_of_share(self, key, self._office.script)
        return {"text/plain": repr(self), "text/html": page}

    def changed(self) -> None:
        """Show it anew, soon; from any thread."""
        if self._outputs and not self._due:
            self._due = True
            self._office.later(PACE, self._show_anew)

    def _show_anew(self) -> None:
        self._due = False
        for key, output in tuple(self._outputs):
            with contextlib.suppress(OSError):  # the kernel may be ending
                output.replace(self._shown(key))


def _moment(seconds: float) -> datetime:
    """Return a time as this machine's clock shows it."""
    return datetime.fromtimestamp(seconds, UTC).astimezone()
