"""What is heard of connections only while somebody asks for it, so that nobody else pays for it."""

from __future__ import annotations

import asyncio

from ...connection.observer import Observer, Observers

IDLE = 60.0
"""Seconds without a question after which nothing is heard any more."""


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
