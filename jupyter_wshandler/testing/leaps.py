"""The event loop of a bot under test, whose clock can leap: two minutes pass in a moment.

What waits for a time is called at that time and in its order, as if the time had really passed:
pings, windows and idle connections, timers, and `asyncio.sleep` of the bot's own. What a thread
waits for (`time.sleep`) is none of the loop's, and takes as long as ever.
"""

from __future__ import annotations

import asyncio
import heapq
import sys
from collections.abc import Awaitable, Callable
from contextvars import Context
from typing import TypeVarTuple

if sys.platform == "win32":
    _Loop = asyncio.ProactorEventLoop
else:
    _Loop = asyncio.SelectorEventLoop

Ts = TypeVarTuple("Ts")

LEAPS = 5_000
"""Leaps in which a time passes, at most: where more is to be called, some of it is at once."""


class LeapingLoop(_Loop):
    """An event loop whose clock can be put forward."""

    def __init__(self) -> None:
        self._ahead = 0.0  # seconds
        self._whens: list[float] = []  # a heap of when something is to be called
        super().__init__()

    def time(self) -> float:
        """Return the time, in seconds; see `asyncio.loop.time`."""
        return super().time() + self._ahead

    def call_at(
        self,
        when: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """Call a function at a time; see `asyncio.loop.call_at`."""
        self._forget_past()
        heapq.heappush(self._whens, when)
        return super().call_at(when, callback, *args, context=context)

    def _forget_past(self) -> None:
        now = self.time()
        while self._whens and self._whens[0] <= now:
            heapq.heappop(self._whens)

    async def leap(self, seconds: float, settled: Callable[[], Awaitable[object]]) -> None:
        """Let time pass at once; runs on this loop.

        Args:
            seconds: How much.
            settled: Returns when what was to be done until now has been done.
        """
        await settled()  # what has just been begun may say when it wants to go on
        end = self.time() + seconds
        while (left := end - self.time()) > 0:
            self._forget_past()
            upcoming = self._whens[0] - self.time() if self._whens else left
            self._ahead += min(left, max(upcoming, seconds / LEAPS))
            await settled()
