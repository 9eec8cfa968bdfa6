"""The messages of a route or of a connection as they travel, while their owner watches them.

It is off until somebody asks, for what they ask for alone, and a minute after the last question it
is off again. What is kept is bounded: the begin of each message, so many a second, the newest.
"""

from __future__ import annotations

import asyncio
import base64
import time
from typing import Any, Literal, NamedTuple

from ...callbacks.errorlog import username
from ...connection.observer import Observers
from ...types import Question
from .followed import IDLE, Followed

KEPT = 500
"""Messages that are kept, the newest."""

TEXT = 500
"""Characters, or bytes, of a message that are kept."""

A_SECOND = 200
"""Messages that are kept of one second; who watches is told that some are missing."""

WATCHED = 8
"""Routes and connections that are watched at a time."""

WATCHING = 16
"""People who watch each of them."""


class Watched(NamedTuple):
    """Whose messages somebody watches."""

    kind: Literal["route", "connection"]
    name: str
    """The route's name, or the connection's id."""


class Watch(NamedTuple):
    """That somebody watches something."""

    is_new: bool
    """Whether they have not done so before, or not for a while."""
    begun: int
    """The number of the last happening before they began: nothing up to it is for them."""


class _Asked(NamedTuple):
    """When somebody who watches has asked last, and where they began."""

    at: float
    begun: int


class Frames(Followed):
    """The messages of what is watched, before they are framed and after they were read.

    While it listens, each message of the server costs two look-ups in a small table, and
    messages to rooms are told of one by one.

    Args:
        observers: Those of the manager.
    """

    def __init__(self, observers: Observers) -> None:
        super().__init__(observers, KEPT)
        self._watched: dict[Watched, dict[str, _Asked]] = {}  # each with who does, by their keys
        self._second = 0
        self._left = 0  # of this second

    def watch(self, wanted: Watched, who: str) -> Watch | None:
        """Take note that somebody watches something.

        Args:
            wanted: Whose messages.
            who: Who watches; a key that their next question has again.

        Returns:
            Whether they are new, and from where on they may see; None where too much else is
            watched, or too many others watch this.
        """
        now = asyncio.get_running_loop().time()
        self._let_go(now)
        those = self._watched.get(wanted)
        if those is None:
            if len(self._watched) >= WATCHED:
                return None
            those = self._watched[wanted] = {}
        asked = those.get(who)
        if asked is None and len(those) >= WATCHING:
            return None
        begun = self.serial if asked is None else asked.begun
        those[who] = _Asked(now, begun)
        return Watch(asked is None, begun)

    def _let_go(self, now: float) -> None:
        """Forget who has not asked for a while, and what nobody watches any more."""
        for wanted, those in list(self._watched.items()):
            for who in [who for who, asked in those.items() if now - asked.at > IDLE]:
                del those[who]
            if not those:
                del self._watched[wanted]

    def message_in(self, connection: Any, message: Any) -> None:
        """Keep what has come."""
        self._note("in", connection, message)

    def message_out(self, connection: Any, message: Any) -> None:
        """Keep what is sent."""
        self._note("out", connection, message)

    def _note(self, way: str, connection: Any, message: Any) -> None:
        watched = self._watched
        if Watched("route", connection.route) not in watched and (
            Watched("connection", connection.id) not in watched
        ):
            return
        now = time.time()
        if int(now) != self._second:
            self._second, self._left = int(now), A_SECOND
        if self._left <= 0:
            self.skip()
            return
        self._left -= 1
        user = connection.current_user
        said = {
            "at": now,
            "way": way,
            "route": connection.route,
            "connection": connection.id,
            "user": None if user is None else username(user),
            **told(message.message if isinstance(message, Question) else message),
        }
        self.put(connection.route, said)

    def forget(self) -> None:
        """Watch nothing any more."""
        self._watched.clear()
        super().forget()


def told(message: str | bytes) -> dict[str, Any]:
    """Return what is told of a message: its begin, and its size.

    Args:
        message: As it travels.
    """
    if isinstance(message, str):
        return {"text": message[:TEXT], "size": len(message)}
    return {"binary": base64.b64encode(message[:TEXT]).decode(), "size": len(message)}
