"""What this kernel has shared: asked of the server, remembered, and told by it when it changes."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import json
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, TypeVar

from ..connection.connection import Connection
from ..connection.observer import Observer
from ..errors import ShareRefused
from ..kernels import events
from ..kernels.events import OfShares, ShareState
from .manager import NotebookManager
from .output import write_below
from .share import Share
from .shareview import Guest, guest_of

T = TypeVar("T")

ENDED = 100
"""Shares of a route that have ended and are remembered, so that what comes late finds them."""

LOST = "the server knows it no longer"

NO_SERVER = (
    "no Jupyter server hears this kernel now, so the link cannot be ended and may work still; "
    "revoke it when the server is back"
)

NO_ANSWER = (
    "the server has not answered within {:g} s; whether the link works still is not known. "
    "Look at bot.shares, and revoke it again"
)


class WayToServer(Protocol):
    """What is used of the kernel's way to its server: see `link.ServerLink`."""

    kernel: Any
    manager: NotebookManager
    loop: asyncio.AbstractEventLoop
    attached: bool
    has_subshells: bool

    @property
    def alive(self) -> bool:
        """Whether the thread of the bots runs."""

    @property
    def on_loop(self) -> bool:
        """Whether the calling thread is the bots' own."""

    @property
    def silence(self) -> float:
        """Seconds since anything came from the server; 0 as long as that may be by chance."""

    def check_process(self) -> None:
        """Refuse to work in a fork."""

    def call(self, function: Callable[[], T], timeout: float = 10.0) -> T:
        """Call a function on the bots' loop and return its result."""


@dataclass(eq=False)
class _Asked:
    """What the server has been asked of a share, or will be as soon as it serves the route."""

    number: int
    share: Share
    sent: bool = False
    given_up: bool = False
    came: threading.Event = field(default_factory=threading.Event)
    refusal: str = ""


class _Came(NamedTuple):
    """A guest who is in, and by what: the name of a route, and the id of a share."""

    connection: Connection
    share: tuple[str, str]
    guest: Guest


class BotShares(Observer):
    """The shares of this kernel's bots, those that others have made among them.

    Whatever changes something belongs to the bots' loop.

    Args:
        link: The way to the server.
        put: Sends an event to the server, with the bytes that it counts for.
        served: Says whether the server serves a route of this kernel.
    """

    def __init__(
        self,
        link: WayToServer,
        put: Callable[[events.Event, int], object],
        served: Callable[[str], bool],
    ) -> None:
        self._link = link
        self._put = put
        self._served = served
        self._number = 0
        self._shares: dict[str, dict[str, Share]] = {}
        self._making: dict[int, _Asked] = {}
        self._ending: dict[str, _Asked] = {}
        self._inside: dict[str, _Came] = {}
        self.script = ""
        """The URL of what shows a share below a cell; empty until a server has answered."""

    @property
    def kernel(self) -> Any:
        """The ipykernel."""
        return self._link.kernel

    # ---- to make one -----------------------------------------------------------------------------

    def ask(self, route: str, wish: dict[str, Any], context: contextvars.Context | None) -> Share:
        """Share a route, or return the open share that was made here by the very same wish.

        A cell that is run again has not to invalidate, or to double, the link that people have.

        Args:
            route: The route's name.
            wish: What the share is to be.
            context: Of the cell, where a refusal is written that nobody waits for.
        """
        for share in self._known(route):
            if share.wish == wish and share.state in ("open", "waiting"):
                return share
        state = ShareState(
            "", str(wish["label"]), users=list(wish["users"]), groups=list(wish["groups"])
        )
        share = Share(self, route, state, wish, context)
        self._number += 1
        asked = self._making[self._number] = _Asked(self._number, share)
        if self._served(route):
            self._send(asked)
        return share

    def _known(self, route: str) -> list[Share]:
        made = list(self._shares.get(route, {}).values())
        return [*made, *(a.share for a in self._making.values() if a.share.route == route)]

    def of(self, route: str) -> list[Share]:
        """Return the shares of a route that are open, or wait for the server; the oldest first."""
        return [s for s in self._known(route) if s.state in ("open", "waiting")]

    def _send(self, asked: _Asked) -> None:
        asked.sent = True
        size = 1024 + len(json.dumps(asked.share.wish))
        self._put(events.Share(asked.share.route, asked.number, asked.share.wish), size)

    def give_up(self, share: Share, why: str) -> None:
        """Wait for the server's answer no longer; a link that comes yet is ended at once.

        Args:
            share: Where it has been answered meanwhile, that counts.
            why: What is said of it from now on, otherwise.
        """
        if share.answered.is_set():
            return
        for number, asked in tuple(self._making.items()):
            if asked.share is share:
                asked.given_up = True
                if not asked.sent:
                    del self._making[number]
        share.end("refused", why)
        share.answered.set()

    # ---- to end one ------------------------------------------------------------------------------

    def revoke(self, share: Share) -> bool:
        """Ask the server to end a share; return whether the answer can be waited for.

        Raises:
            ShareRefused: No server is in reach.
        """
        link = self._link
        link.check_process()
        if not link.alive:
            raise ShareRefused(NO_SERVER)
        link.call(lambda: self._revoke(share))
        return link.has_subshells and not link.on_loop

    def _revoke(self, share: Share) -> None:
        if share.state == "waiting":
            self.give_up(share, "it was revoked before it was made")
            return
        if not self._link.attached or self._link.silence:
            raise ShareRefused(NO_SERVER)
        self._number += 1
        self._ending[share.id] = _Asked(self._number, share, sent=True)
        self._put(events.Unshare(share.route, self._number, share.id), 128)

    def revoked(self, share: Share, seconds: float) -> None:
        """Wait until the server has ended a share.

        Raises:
            ShareRefused: It has not.
        """
        asked = self._ending.get(share.id)
        if asked is None:
            return
        if not asked.came.wait(seconds):
            raise ShareRefused(NO_ANSWER.format(seconds))
        if asked.refusal:
            raise ShareRefused(asked.refusal)

    # ---- what the server says --------------------------------------------------------------------

    def hear(self, event: OfShares) -> None:
        """Take what the server says of shares."""
        if isinstance(event, events.Shared):
            self._shared(event)
        elif isinstance(event, events.NotShared):
            self._not_shared(event)
        elif isinstance(event, events.Shares):
            self._all(event.name, event.states)
        else:
            self._ended(event.name, event.share, event.why)

    def _shared(self, event: events.Shared) -> None:
        asked, state = self._making.pop(event.number, None), event.state
        if asked is None or asked.given_up:
            # Nobody knows the link, and nobody is to find it open.
            self._number += 1
            self._put(events.Unshare(event.name, self._number, state.id), 128)
            return
        share = asked.share
        self._shares.setdefault(event.name, {})[state.id] = share
        share.update(state)
        share.answered.set()

    def _not_shared(self, event: events.NotShared) -> None:
        asked = self._making.pop(event.number, None)
        if asked is not None:
            self._refused(asked.share, event.why)
            return
        for share_id, ending in tuple(self._ending.items()):
            if ending.number == event.number:
                del self._ending[share_id]
                ending.refusal = event.why
                ending.came.set()

    def _refused(self, share: Share, why: str) -> None:
        share.end("refused", why)
        if share.context is not None:
            context = share.context.copy()
            context.run(write_below, f"{share.route} is not shared: {why}\n")
        share.answered.set()

    def _all(self, route: str, states: Iterable[ShareState]) -> None:
        known = self._shares.setdefault(route, {})
        told = {state.id: state for state in states}
        for share_id, share in known.items():
            if share_id not in told:
                share.end("ended", share.reason or LOST)
        for share_id, state in told.items():
            if share_id in known:
                known[share_id].update(state)
            else:
                known[share_id] = Share(self, route, state)
        over = [share_id for share_id, share in known.items() if share.state == "ended"]
        for share_id in over[: max(0, len(over) - ENDED)]:
            del known[share_id]

    def _ended(self, route: str, share_id: str, why: str) -> None:
        share = self._shares.get(route, {}).get(share_id)
        if share is not None:
            share.end("ended", why)
        asked = self._ending.pop(share_id, None)
        if asked is not None:
            asked.came.set()

    # ---- the way there ---------------------------------------------------------------------------

    def serving(self, route: str, where: Mapping[str, str]) -> None:
        """Take note that the server serves a route: what was wished before is asked for now.

        Args:
            route: The route's name.
            where: The addresses that the server has answered with.
        """
        folder, slash, _ = where.get("script", "").rpartition("/")
        self.script = f"{folder}{slash}share.js" if slash else ""
        for asked in tuple(self._making.values()):
            if asked.share.route == route and not asked.sent:
                self._send(asked)

    def attached(self) -> None:
        """Take note of another server, or of a new way to the same: it has heard nothing yet."""
        for number, asked in tuple(self._making.items()):
            asked.sent = False
            if asked.given_up:
                del self._making[number]

    def detached(self) -> None:
        """Take note that no server is in reach: what was to be ended is not known to be."""
        for ending in self._ending.values():
            ending.refusal = NO_SERVER
            ending.came.set()
        self._ending.clear()

    def gone(self, route: str | None, why: str) -> None:
        """Take note that a route is not served: nobody answers what was wished of it.

        Args:
            route: The route's name; None for all.
            why: Why.
        """
        for number, asked in tuple(self._making.items()):
            if route in (None, asked.share.route):
                del self._making[number]
                self._refused(asked.share, f"the bot is not served: {why}")

    # ---- who is in -------------------------------------------------------------------------------

    def inside(self, route: str, share_id: str) -> list[tuple[Connection, Guest]]:
        """Return who is in by a share: the connections, and whose each is."""
        return [
            (came.connection, came.guest)
            for came in list(self._inside.values())
            if came.share == (route, share_id) and not came.connection.closed
        ]

    def later(self, seconds: float, function: Callable[[], object]) -> None:
        """Call a function on the bots' loop; from any thread."""
        loop = self._link.loop
        with contextlib.suppress(RuntimeError):  # it has ended
            loop.call_soon_threadsafe(loop.call_later, seconds, function)

    def opened(self, connection: Connection) -> None:
        """Hear that somebody has come; who, is kept: a bot may write into its connections."""
        share_id = _share_of(connection)
        if share_id:
            guest = guest_of(connection.current_user)
            came = _Came(connection, (connection.route, share_id), guest)
            self._inside[connection.id] = came
            self._look(came)

    def lost(self, connection: Connection) -> None:
        """Hear that somebody has left."""
        came = self._inside.pop(connection.id, None)
        if came is not None:
            self._look(came)

    def _look(self, came: _Came) -> None:
        route, share_id = came.share
        share = self._shares.get(route, {}).get(share_id)
        if share is not None:
            share.changed()


def _share_of(connection: Connection) -> str:
    """Return the id of the share that a guest has come by; "" for anybody else."""
    user = connection.current_user
    if user is None or getattr(user, "kind", None) != "guest":
        return ""
    return str(getattr(user, "share", "") or "")
