"""What other servers that have the store of shares in common write into it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import TypeVar

from ..sessions.thread import StoreThread
from .share import Share
from .stores import Kept, ShareStore, StoreFailed
from .writer import PATIENCE

T = TypeVar("T")

NOT_NOW = "the shares cannot be read now; try again"

COMPARE_EVERY = 0.5
"""Seconds after which it is looked whether another server has ended a share."""

REMIND_EVERY = 5.0
"""Seconds after which is looked where all have ended: a store that has lost that is told again."""


class Others:
    """What hears of other servers: twice a second while a share is open, and when it is asked.

    All methods belong to the event loop.

    Args:
        store: Where the shares are kept.
        worker: The thread in which the store is called.
        merge: Takes what is stored.
        known: Returns the shares that this server knows.
    """

    def __init__(
        self,
        store: ShareStore,
        worker: StoreThread,
        merge: Callable[[Iterable[Kept]], object],
        known: Callable[[], Iterable[Kept]],
    ) -> None:
        self._store = store
        self._worker = worker
        self._merge = merge
        self._known = known
        self._timer: asyncio.TimerHandle | None = None
        self._looking: asyncio.Future[list[Kept] | None] | None = None
        self._stopped = False
        self._looked_at = 0.0

    def start(self) -> None:
        """Look from now on."""
        if not self._stopped:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(COMPARE_EVERY, self._compare)

    def stop(self) -> None:
        """Look no more."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()

    async def look(self) -> None:
        """Hear now of what others have written.

        Raises:
            StoreFailed: The store cannot be read.
        """
        if self._stopped:
            raise StoreFailed(NOT_NOW)
        # One that is under way may have looked before that was written which is looked for.
        if self._looking is not None:
            await asyncio.wait([self._looking], timeout=PATIENCE)
        await self._answer(self._look())

    async def has_counted(self, share: Share, guest: int) -> bool:
        """Return whether another server has counted a guest.

        Args:
            share: The share.
            guest: The guest; see `share.digest_of`.

        Raises:
            StoreFailed: The store cannot be read, and the guest may be let in or not by that.
        """
        try:
            asked = self._worker.submit(self._store.has_guest, share.id, guest)
            return await self._answer(asked)
        except StoreFailed:
            if share.uses is not None:
                raise
            return False  # where there is no bound, they come in either way, and count once

    async def _answer(self, asked: asyncio.Future[T]) -> T:
        done, _ = await asyncio.wait([asked], timeout=PATIENCE)
        if not done or asked.exception() is not None:
            raise StoreFailed(NOT_NOW)
        return asked.result()

    def _look(self) -> asyncio.Future[list[Kept] | None]:
        if self._looking is None:
            self._looked_at = time.monotonic()
            self._looking = self._worker.submit(self._store.changed)
            self._looking.add_done_callback(self._looked)
        return self._looking

    def _looked(self, future: asyncio.Future[list[Kept] | None]) -> None:
        self._looking = None
        if future.exception() is None and not self._stopped:
            self._merge(future.result() or ())

    def _compare(self) -> None:
        if self._stopped:
            return
        known = list(self._known())
        is_open = any(not kept.share.ended for kept in known)
        is_due = is_open or (known and time.monotonic() - self._looked_at >= REMIND_EVERY)
        if is_due and not self._worker.waiting():
            self._look().add_done_callback(lambda _: self.start())
        else:
            self.start()
