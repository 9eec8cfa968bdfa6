"""Who waits for what, on one connection: each takes what is its own, whoever else waits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from ..engine.asking import ClientEnd

T = TypeVar("T")

Take = Callable[[], tuple[T] | None]
"""Takes what somebody waits for, in a tuple; None where it is not there yet."""

UNREAD = 10_000
"""Messages that may wait unread while an answer is waited for."""

AHEAD = 64
"""Messages and values that are read before anybody waits for them."""


class Overflow(RuntimeError):
    """The end of waiting for an answer: too many messages came before it that nobody has read."""


class Waiters:
    """Those who wait for what a connection brings, and how far it is read ahead of them.

    Args:
        end: What has come.
    """

    def __init__(self, end: ClientEnd) -> None:
        self._end = end
        self._turns: list[asyncio.Future[None]] = []
        self._count = 0
        self._held: asyncio.Future[None] | None = None  # the reader's, while it is far ahead
        self._hurries = False  # somebody wants to know how the socket ends

    async def until(self, take: Take[T], over: Callable[[], None], timeout: float | None) -> T:
        """Return what is taken, as soon as it is there.

        Args:
            take: Takes it.
            over: Raises where nothing more can come.
            timeout: Seconds, or None for no limit.

        Raises:
            TimeoutError: It did not come in time.
            Overflow: See there.
        """
        if (found := take()) is None:
            self._count += 1
            try:
                async with asyncio.timeout(timeout):
                    while (found := take()) is None:
                        over()
                        self._check()
                        self.read_on()
                        await self.change()
            finally:
                self._count -= 1
        self.taken()
        return found[0]

    @property
    def is_held(self) -> bool:
        """Whether the reader waits."""
        return self._held is not None

    def taken(self) -> None:
        """Let the reader go on, where enough was taken: half, and not one by one."""
        if self._held is not None and (self._count or self._end.unread <= AHEAD // 2):
            self.read_on()

    def hurry(self) -> None:
        """Have the rest of the socket read, however much is unread."""
        self._hurries = True
        self.read_on()

    def begin(self) -> None:
        """Take note that a socket is read from its beginning."""
        self._hurries = False

    def _check(self) -> None:
        if len(self._end.messages) > UNREAD:
            raise Overflow(
                f"{UNREAD:,} messages came before the answer, and nobody has read them: read them "
                "with recv() in a thread or task of its own, or ask on a connection of its own"
            )

    async def change(self) -> None:
        """Wait until something has come or changed."""
        turn = asyncio.get_running_loop().create_future()
        self._turns.append(turn)
        await turn

    def notify(self) -> None:
        """Let all who wait look again."""
        turns, self._turns = self._turns, []
        for turn in turns:
            if not turn.done():
                turn.set_result(None)

    # ---- for the reader ------------------------------------------------------------------------

    @property
    def _far(self) -> bool:
        if self._hurries:
            return False
        if self._count:
            return len(self._end.messages) > UNREAD
        return self._end.unread >= AHEAD

    async def may_read(self) -> None:
        """Wait while so much is unread that the server is to feel it."""
        while self._far:
            self._held = asyncio.get_running_loop().create_future()
            try:
                await self._held
            finally:
                self._held = None

    def read_on(self) -> None:
        """Let the reader look again."""
        if self._held is not None and not self._held.done():
            self._held.set_result(None)
