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


class Watched(NamedTuple):
    """Whose messages somebody watches."""

    kind: Literal["route", "connection"]
    name: str
    """The route's name, or the connection's id."""


class Frames(Followed):
    """The messages of what is watched, before they are framed and after they were read.

    While it listens, each message of the server costs two look-ups in a small table, and
    messages to rooms are told of one by one.

    Args:
        observers: Those of the manager.
    """

    def __init__(self, observers: Observers) -> None:
        super().__init__(observers, KEPT)
        self._watched: dict[Watched, float] = {}  # each with when it was asked for last
        self._second = 0
        self._left = 0  # of this second

    def watch(self, wanted: Watched) -> bool | None:
        """Take note that somebody watches something.

        Args:
            wanted: Whose messages.

        Returns:
            Whether nobody has watched it before; None where too much else is watched.
        """
        now = asyncio.get_running_loop().time()
        for one, asked in list(self._watched.items()):
            if now - asked > IDLE:
                del self._watched[one]
        is_new = wanted not in self._watched
        if is_new and len(self._watched) >= WATCHED:
            return None
        self._watched[wanted] = now
        return is_new

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
