"""The connections that were woken in one turn of the loop, whose work is done in the next.

Answers that leave while other connections are still being read bring the next messages of their
clients one by one, and the loop turns for each of them. With many connections that costs more than
the turn which is saved.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

REST = 0.001
"""Seconds until the others go on, where one of them runs the event loop itself, or ends it."""


class Woken(Generic[T]):
    """What was woken and has not begun.

    Args:
        loop: The event loop.
        begin: Called with each in the next turn of the loop, in the order of `add`.
    """

    __slots__ = ("_begin", "_is_due", "_loop", "_waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop, begin: Callable[[T], object]) -> None:
        self._loop = loop
        self._begin = begin
        self._waiting: deque[T] = deque()
        self._is_due = False

    def add(self, woken: T) -> None:
        """Begin with it in the next turn of the loop."""
        self._waiting.append(woken)
        if not self._is_due:
            self._is_due = True
            self._loop.call_soon(self._begin_all)

    def _begin_all(self) -> None:
        self._is_due = False
        waiting = self._waiting
        count = len(waiting)  # what is woken meanwhile comes after what is read meanwhile
        # As with nest_asyncio, which lets a callback run the loop; a timer that is cancelled costs
        # no turn, as another callback would.
        rest = self._loop.call_later(REST, self._begin_all) if count > 1 else None
        while count and waiting:
            count -= 1
            self._begin(waiting.popleft())
        if rest is not None:
            rest.cancel()
