"""The uses of shares on their way to the store, which alone knows how many there are."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from functools import partial

import msgspec

from ..sessions.sqlitefile import Log
from ..sessions.thread import StoreThread
from .stores import Counted, Kept, ShareStore
from .writer import RETRY_EVERY

COUNT_EVERY = 1.0
"""Seconds after which the uses of shares without a bound are stored."""


class Counts:
    """Counts in a store that other servers of the same folder count in, too.

    All methods belong to the event loop.

    Args:
        store: Where the shares are kept.
        worker: The thread in which the store is called.
        log: Takes warnings.
        known: Returns a share by its id, or None.
        heard: Gets each share as it is stored after a count.
    """

    def __init__(
        self,
        store: ShareStore,
        worker: StoreThread,
        log: Log,
        known: Callable[[str], Kept | None],
        heard: Callable[[Kept], object],
    ) -> None:
        self._store = store
        self._worker = worker
        self._log = log
        self._known = known
        self._heard = heard
        self._waiting: Counter[str] = Counter()
        self._sent: Counter[str] = Counter()
        self._again: dict[str, set[int]] = {}  # guests, to be counted once more
        self._timer: asyncio.TimerHandle | None = None
        self._stopped = False

    def owed(self, share_id: str) -> int:
        """Return how many uses are counted here that are not in what was last read of the store.

        Args:
            share_id: The share's id.
        """
        again = len(self._again.get(share_id, ()))
        return self._waiting[share_id] + self._sent[share_id] + again

    def take(self, kept: Kept, guest: int | None) -> asyncio.Future[Counted]:
        """Let the store say whether a share with a bound has a use left, and count it.

        Args:
            kept: The share.
            guest: Whose use it is; see `ShareStore.count`.
        """
        return self._submit(kept, 1, 0, guest)

    def add_guest(self, kept: Kept, guest: int) -> None:
        """Count a guest of a share without a bound, who counts once.

        Args:
            kept: The share.
            guest: Whose use it is.
        """
        self._sent[kept.share.id] += 1
        self._submit(kept, 1, 1, guest)

    def add(self, share_id: str, change: int, wait: float | None = None) -> None:
        """Count soon what needs no answer.

        Args:
            share_id: The share's id.
            change: How many uses more; less than 0 to give some back.
            wait: Seconds after which it is stored; None for `COUNT_EVERY`.
        """
        if self._stopped:
            return
        self._waiting[share_id] += change
        self._send_later(COUNT_EVERY if wait is None else wait)

    def _send_later(self, seconds: float) -> None:
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(seconds, self.send)

    def send(self) -> None:
        """Store what waits for it, now."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        waiting, self._waiting = self._waiting, Counter()
        for share_id, change in waiting.items():
            kept = self._known(share_id)
            if kept is not None and change:
                self._sent[share_id] += change
                self._submit(kept, change, change)
        again, self._again = self._again, {}
        for share_id, guests in again.items():
            kept = self._known(share_id)
            for guest in guests:
                if kept is not None:
                    self.add_guest(kept, guest)

    def stop(self) -> None:
        """Store what waits for it, and take no more."""
        self.send()
        self._stopped = True

    def _submit(
        self, kept: Kept, change: int, owed: int, guest: int | None = None
    ) -> asyncio.Future[Counted]:
        # What is stored where nothing is: without what is counted here, and on its way.
        used = max(0, kept.share.used - self.owed(kept.share.id))
        stored = Kept(msgspec.structs.replace(kept.share, used=used), kept.hash)
        counting = self._worker.submit(self._store.count, stored, change, guest)
        counting.add_done_callback(partial(self._done, kept.share.id, owed, guest))
        return counting

    def _done(
        self, share_id: str, owed: int, guest: int | None, counting: asyncio.Future[Counted]
    ) -> None:
        """Hear from the store, in the order in which it was asked."""
        self._sent[share_id] -= owed
        if not self._sent[share_id]:
            del self._sent[share_id]
        error = counting.exception()
        if error is None:
            self._heard(counting.result().kept)
            return
        self._log.warning("The use of a share cannot be counted: %s", error)
        if owed and guest is None:
            self.add(share_id, owed, RETRY_EVERY)
        elif owed and guest is not None and not self._stopped:
            # By name: one whose answer was lost may be counted already.
            self._again.setdefault(share_id, set()).add(guest)
            self._send_later(RETRY_EVERY)
