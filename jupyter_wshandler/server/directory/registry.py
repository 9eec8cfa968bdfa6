"""What is shared with whom: found by id, by its owner, and by each who may see it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator

from .messages import Listing, Wrong

OF_EACH_OWNER = 500
"""Bots that one person shares at the same time."""

AT_MOST = 50_000
"""Bots that all people of a Hub share."""


class Registry:
    """The bots that are shared, in memory.

    What is found here has not expired: that is looked at when it is asked for.

    Args:
        clock: Returns seconds since 1970.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._listings: dict[str, Listing] = {}
        self._owned: dict[str, set[str]] = {}
        self._users: dict[str, set[str]] = {}
        self._groups: dict[str, set[str]] = {}

    def __len__(self) -> int:
        return len(self._listings)

    def check(self, listing: Listing) -> None:
        """Check that a bot can be taken.

        Args:
            listing: What is to be shared.

        Raises:
            Wrong: It cannot: its id is somebody else's, or there are too many.
        """
        known = self._listings.get(listing.id)
        if known is not None:
            if (known.owner, known.server) != (listing.owner, listing.server):
                raise Wrong("another server shares something with this id; choose another one")
            return
        self.purge()
        if len(self._owned.get(listing.owner, ())) >= OF_EACH_OWNER:
            raise Wrong(f"you share {OF_EACH_OWNER} bots by name already; stop sharing one first")
        if len(self._listings) >= AT_MOST:
            raise Wrong("more bots are shared at this Hub than its directory takes")

    def put(self, listing: Listing) -> None:
        """Share a bot, or take what has changed of one.

        Args:
            listing: What is shared; `check` has found nothing against it.
        """
        self.remove(listing.id)
        self._listings[listing.id] = listing
        for index, key in self._entries(listing):
            index.setdefault(key, set()).add(listing.id)

    def remove(self, share: str) -> Listing | None:
        """Stop sharing a bot; return what it was, or None where it was not shared."""
        listing = self._listings.pop(share, None)
        if listing is not None:
            for index, key in self._entries(listing):
                ids = index.get(key, set())
                ids.discard(share)
                if not ids:
                    index.pop(key, None)
        return listing

    def get(self, share: str) -> Listing | None:
        """Return what is shared under an id, or None."""
        listing = self._listings.get(share)
        return None if listing is None or self._is_over(listing) else listing

    def by(self, owner: str) -> list[Listing]:
        """Return what somebody shares, the newest first."""
        return self._sorted(self._owned.get(owner, ()))

    def of(self, owner: str, server: str) -> list[Listing]:
        """Return what one server of somebody's shares, the newest first."""
        return [listing for listing in self.by(owner) if listing.server == server]

    def with_(self, user: str, groups: Iterable[str]) -> list[Listing]:
        """Return what is shared with somebody by others, the newest first."""
        ids = set(self._users.get(user, ()))
        for group in groups:
            ids |= self._groups.get(group, set())
        return [listing for listing in self._sorted(ids) if listing.owner != user]

    def purge(self) -> list[str]:
        """Forget what has expired; return its ids."""
        over = [share for share, listing in self._listings.items() if self._is_over(listing)]
        for share in over:
            self.remove(share)
        return over

    def _is_over(self, listing: Listing) -> bool:
        return listing.expires is not None and listing.expires <= self._clock()

    def _sorted(self, ids: Iterable[str]) -> list[Listing]:
        found = filter(None, map(self.get, ids))
        return sorted(found, key=lambda listing: (-listing.created, listing.id))

    def _entries(self, listing: Listing) -> Iterator[tuple[dict[str, set[str]], str]]:
        """Yield each index that a bot stands in, and the key there."""
        yield self._owned, listing.owner
        for user in listing.users:
            yield self._users, user
        for group in listing.groups:
            yield self._groups, group


def is_among(listing: Listing, user: str, groups: Iterable[str]) -> bool:
    """Return whether a bot is shared with somebody; its owner is always among them.

    Args:
        listing: What is shared.
        user: The Hub's name of the user.
        groups: Names of the user's groups.
    """
    if user == listing.owner or user in listing.users:
        return True
    return not {*listing.groups}.isdisjoint(groups)
