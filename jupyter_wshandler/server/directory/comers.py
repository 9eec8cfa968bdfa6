"""Who has come by which share: nobody else does a user's server get to know anything about."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Any

from .errors import NotStored
from .stores import ListingStore


class Comers:
    """Who has come by which share, in memory and stored.

    Args:
        store: Keeps it beside what is shared.
        ask: Calls a method of the store in its thread.
    """

    def __init__(self, store: ListingStore, ask: Callable[..., Awaitable[Any]]) -> None:
        self._store = store
        self._ask = ask
        self._came: dict[str, set[str]] = {}

    async def load(self) -> None:
        """Read who has come before.

        Raises:
            NotStored: It cannot be read.
        """
        for share, user in await self._ask(self._store.comers):
            self._came.setdefault(share, set()).add(user)

    def has(self, share: str, user: str) -> bool:
        """Return whether somebody has come by a share.

        Args:
            share: The id of the share.
            user: The Hub's name of the user.
        """
        return user in self._came.get(share, ())

    async def add(self, share: str, user: str) -> None:
        """Take note that somebody comes by a share.

        Where that cannot be stored, they open it from the list again after the next start.

        Args:
            share: The id of the share.
            user: The Hub's name of the user.
        """
        if not self.has(share, user):
            self._came.setdefault(share, set()).add(user)
            with suppress(NotStored):
                await self._ask(self._store.add_comer, share, user)

    def forget(self, shares: Iterable[str]) -> None:
        """Forget who has come by some shares that have ended; the store does so with the shares.

        Args:
            shares: The ids of the shares.
        """
        for share in shares:
            self._came.pop(share, None)

    async def forget_user(self, user: str) -> None:
        """Forget somebody who is no user of the Hub any more.

        Args:
            user: The name that they had.
        """
        known = [share for share, users in self._came.items() if user in users]
        for share in known:
            self._came[share].discard(user)
        if known:
            with suppress(NotStored):
                await self._ask(self._store.delete_comer, user)
