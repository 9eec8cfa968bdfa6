"""What the book of shares has stored: now, or as soon as the store can."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from ..sessions.sqlitefile import Log
from ..sessions.thread import StoreThread
from .stores import Kept, ShareStore, StoreFailed

T = TypeVar("T")

PATIENCE = 5.0
"""Seconds that anybody waits for the store."""

RETRY_EVERY = 5.0
"""Seconds after which is stored again what could not be stored."""


class Writer:
    """Writes shares into their store, in the order of the calls.

    All methods belong to the event loop.

    Args:
        store: Where the shares are kept.
        worker: The thread in which the store is called.
        log: Takes warnings.
        known: Returns a share by its id, or None.
    """

    def __init__(
        self,
        store: ShareStore,
        worker: StoreThread,
        log: Log,
        known: Callable[[str], Kept | None],
    ) -> None:
        self._store = store
        self._worker = worker
        self._log = log
        self._known = known
        self._failed: set[str] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._stopped = False

    async def put(self, kept: Kept) -> None:
        """Store a share; it is stored when this returns.

        Args:
            kept: The share.

        Raises:
            StoreFailed: It is not.
        """
        await self.answer(self._worker.submit(self._store.put, kept))

    async def answer(self, asked: asyncio.Future[T]) -> T:
        """Return what the store answers.

        Args:
            asked: What it was asked.

        Raises:
            StoreFailed: It cannot do it, or does not answer.
        """
        done, _ = await asyncio.wait([asked], timeout=PATIENCE)
        error = asked.exception() if done else TimeoutError("it does not answer")
        if error is not None:
            self._log.warning("A share cannot be stored: %s", error)
            raise StoreFailed("the server cannot store this now; try again") from error
        return asked.result()

    def put_soon(self, kept: Kept) -> None:
        """Store that a share has ended; again where that fails.

        Args:
            kept: The share.
        """
        if not self._stopped:
            writing = self._submit(self._store.put, kept)
            writing.add_done_callback(partial(self._put, kept.share.id))

    def put_again(self, share_id: str) -> None:
        """Store later that a share has ended, which could not be stored.

        Args:
            share_id: The share's id.
        """
        if self._stopped:
            return
        self._failed.add(share_id)
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(RETRY_EVERY, self._put_failed)

    def delete(self, share_ids: list[str]) -> None:
        """Forget shares, soon.

        Args:
            share_ids: Their ids.
        """
        self._submit(self._store.delete, share_ids)

    def stop(self) -> None:
        """Store what could not be stored, and take no more."""
        if self._timer is not None:
            self._timer.cancel()
        self._put_failed()
        self._stopped = True

    def _put(self, share_id: str, writing: asyncio.Future[Any]) -> None:
        if writing.exception() is not None:
            self.put_again(share_id)

    def _put_failed(self) -> None:
        self._timer = None
        names, self._failed = self._failed, set()
        for name in names:
            kept = self._known(name)
            if kept is not None:
                self.put_soon(kept)

    def _submit(self, function: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = self._worker.submit(function, *args)
        future.add_done_callback(self._submitted)
        return future

    def _submitted(self, future: asyncio.Future[Any]) -> None:
        error = future.exception()
        if error is not None:
            self._log.warning("What has become of a share cannot be stored: %s", error)
