"""What is heard of connections only while somebody asks for it, so that nobody else pays for it."""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from itertools import islice
from typing import Any, NamedTuple

from ...connection.observer import Observer, Observers

IDLE = 60.0
"""Seconds without a question after which nothing is heard any more."""

WAITING = 100
"""Questions that wait for something to happen at a time."""

PLACE = 40
"""Characters of a place in a record, at most."""


class WhileAsked(Observer):
    """An observer that is one only while somebody asks what it has heard, and a minute more.

    Args:
        observers: Those of the manager.
    """

    def __init__(self, observers: Observers) -> None:
        self._observers = observers
        self._asked = 0.0  # on the clock of the event loop
        self._timer: asyncio.TimerHandle | None = None

    @property
    def listens(self) -> bool:
        """Whether it hears of connections now."""
        return self._timer is not None

    @property
    def is_awaited(self) -> bool:
        """Whether somebody waits for what comes next."""
        return False

    def forget(self) -> None:
        """Forget what was heard: nothing more is, for now."""

    def listen(self) -> None:
        """Take note that somebody asks, and hear of connections from now on."""
        loop = asyncio.get_running_loop()
        self._asked = loop.time()
        if self._timer is None:
            self._observers.add(self)
            self._timer = loop.call_later(IDLE, self._rest)

    def _rest(self) -> None:
        """Hear of nothing any more, where nobody has asked for a while."""
        loop = asyncio.get_running_loop()
        left = self._asked + IDLE - loop.time()
        if left > 0 or self.is_awaited:
            self._timer = loop.call_later(max(1.0, left), self._rest)
        else:
            self.stop()

    def stop(self) -> None:
        """Hear of nothing any more, and forget what was heard."""
        if self._timer is None:
            return
        self._timer.cancel()
        self._timer = None
        self._observers.remove(self)
        self.forget()


class Happening(NamedTuple):
    """One thing that has happened."""

    serial: int
    """Its number in the record."""
    route: str
    said: dict[str, Any]
    """What is told of it."""


class Page(NamedTuple):
    """What has happened since a place in a record."""

    happenings: list[Happening]
    place: str
    """Where the next page begins."""
    complete: bool
    """Whether nothing is missing between this page and the one before."""


class Followed(WhileAsked):
    """A record of what happens, in order, for those who follow it: the newest, up to a number.

    Args:
        observers: Those of the manager.
        most: Happenings that are kept: who asks less often misses some, and is told so.
    """

    def __init__(self, observers: Observers, most: int) -> None:
        super().__init__(observers)
        self._kept: deque[Happening] = deque(maxlen=most)
        self._serial = 0
        self._life = secrets.token_hex(4)
        self._waiting: set[asyncio.Future[None]] = set()

    @property
    def serial(self) -> int:
        """The number of the last happening."""
        return self._serial

    def put(self, route: str, said: dict[str, Any]) -> None:
        """Write something down.

        Args:
            route: The name of the route where it has happened.
            said: What is told of it.
        """
        self._serial += 1
        self._kept.append(Happening(self._serial, route, said))
        self._wake()

    def skip(self) -> None:
        """Take note that something has happened and is not written down."""
        self._serial += 1
        self._wake()

    def since(self, place: str) -> Page:
        """Return what has happened since a place; from now on it is written down.

        Args:
            place: What the last page has said; empty for the first one, which is empty.
        """
        self.listen()
        life, _, number = place.partition("-")
        here = f"{self._life}-{self._serial}"
        if not place:
            return Page([], here, True)
        is_ours = life == self._life and number.isdecimal() and len(number) <= PLACE
        known = int(number) if is_ours else -1
        if not 0 <= known <= self._serial:
            # Nobody has asked for a while, or the server was started again.
            return Page(list(self._kept), here, False)
        found = [one for one in self._newest(self._serial - known) if one.serial > known]
        return Page(found, here, len(found) == self._serial - known)

    def _newest(self, count: int) -> list[Happening]:
        return list(islice(self._kept, max(0, len(self._kept) - count), None))

    async def wait(self, seconds: float, gone: asyncio.Future[None]) -> None:
        """Wait until something happens; not at all where too many wait already.

        Args:
            seconds: For how long, at most.
            gone: Done when nobody waits any more.
        """
        if len(self._waiting) >= WAITING:
            return
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(waiting)
        try:
            await asyncio.wait({waiting, gone}, timeout=seconds, return_when="FIRST_COMPLETED")
        finally:
            self._waiting.discard(waiting)
            waiting.cancel()

    @property
    def is_awaited(self) -> bool:
        """Whether somebody waits for something to happen."""
        return bool(self._waiting)

    def forget(self) -> None:
        """Forget what has happened, and let nobody wait."""
        self._kept.clear()
        self._life = secrets.token_hex(4)  # whoever asks next has missed something
        self._wake()

    def _wake(self) -> None:
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)
