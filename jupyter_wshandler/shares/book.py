"""The book of all shares of a server: issued, found by their token, used, ended."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Iterable
from functools import partial

import msgspec

from ..routes import Route, RouteTable
from ..sessions.sqlitefile import Log
from ..sessions.thread import StoreThread
from .asked import new_share
from .counts import Counts
from .others import NOT_NOW, Others
from .share import (
    CHANGED,
    EXPIRED,
    REVOKED,
    UNSHARED,
    USED_UP,
    GuestCard,
    Issued,
    People,
    Share,
    ShareEnded,
    ShareError,
    digest_of,
    ended_by_now,
    hash_of,
    is_over_since,
    terms_of,
)
from .stores import Counted, Kept, ShareStore, StoreFailed
from .writer import PATIENCE, Writer

Watcher = Callable[[Share, str], object]

MOST = 10_000
"""Shares of a server that have not ended, at most."""

REMEMBER = 31 * 86400.0
"""Seconds for which it is known of a share that has ended why it has."""

LONGEST_WAIT = 30.0
"""Seconds after which the clock is looked at again: it may have been set, or have stood still."""

MOST_GUESTS = 100_000
"""Guests of a share without a bound who count once; those who come later do at each socket."""


class ShareBook:
    """All shares of one server, in memory, and in a store that has them before anybody hears.

    All methods belong to the event loop.

    Args:
        store: Where they are kept.
        log: Takes warnings.
    """

    def __init__(self, store: ShareStore, log: Log) -> None:
        self._store = store
        self._log = log
        self._worker = StoreThread("wshandler-shares")
        self._kept: dict[str, Kept] = {}
        self._by_hash: dict[str, str] = {}
        self._guests: dict[str, set[int]] = {}
        self._watchers: list[Watcher] = []
        self._counts = Counts(store, self._worker, log, self._kept.get, self._heard)
        self._writer = Writer(store, self._worker, log, self._kept.get)
        self._loading: asyncio.Future[tuple[list[Kept], dict[str, set[int]]]] | None = None
        self._loaded = self._stopped = False
        self._others = Others(store, self._worker, self._merge, self._kept.values)
        self._timer: asyncio.TimerHandle | None = None

    # ---- life ------------------------------------------------------------------------------

    async def start(self) -> None:
        """Read what is stored, once; again where that has failed.

        Raises:
            StoreFailed: It cannot be read.
        """
        if self._loaded or self._stopped:
            return
        if self._loading is None:
            self._loading = self._worker.submit(lambda: (self._store.load(), self._store.guests()))
        loading = self._loading
        await asyncio.wait([loading], timeout=PATIENCE)
        if not loading.done():
            raise StoreFailed(NOT_NOW)
        if self._loading is loading:
            self._loading = None
            error = loading.exception()
            if error is not None:
                self._log.warning("The shares cannot be read: %s", error)
                raise StoreFailed(NOT_NOW) from error
            self._loaded = True
            stored, self._guests = loading.result()
            self._merge(stored)
            self._forget_old()
            self._others.start()
        elif not self._loaded:
            raise StoreFailed(NOT_NOW)

    async def stop(self, timeout: float = 2.0) -> None:
        """Store what is not stored yet, and close the store.

        Args:
            timeout: Seconds for it.
        """
        if self._stopped:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._others.stop()
        self._counts.stop()
        self._writer.stop()
        self._stopped = True
        await asyncio.wait([self._worker.submit(self._store.close)], timeout=timeout)
        self._worker.stop(0.5)

    async def look(self) -> None:
        """Hear now of what other servers with the same store have written.

        Raises:
            StoreFailed: The store cannot be read.
        """
        await self.start()
        await self._others.look()

    async def look_up(self, token: str | None, card: GuestCard | None) -> None:
        """Ask the store about a guest whom another server has let in, or given a link.

        Args:
            token: The token that the guest shows; None for none.
            card: What the guest's cookie holds; None for none.

        Raises:
            StoreFailed: The store cannot be read.
        """
        await self.start()
        is_new = token is not None and hash_of(token) not in self._by_hash
        if is_new or (card is not None and card.share not in self._kept):
            await self._others.look()
        share = None if card is None else self.get(card.share)
        if share is None or card is None or ended_by_now(share) or self.has_counted(share, card):
            return
        guest = digest_of(card.guest)
        if await self._others.has_counted(share, guest):
            self._guests.setdefault(share.id, set()).add(guest)

    def watch(self, callback: Watcher) -> None:
        """Call a function with each share that ends, and why, on the event loop.

        Args:
            callback: The function; it gets the share as it is now.
        """
        self._watchers.append(callback)

    # ---- what there is ------------------------------------------------------------------------

    def find(self, token: str) -> Share | None:
        """Return the share of a token, also one that has ended, or None."""
        name = self._by_hash.get(hash_of(token))
        return None if name is None else self._kept[name].share

    def get(self, share_id: str) -> Share | None:
        """Return the share of an id, also one that has ended, or None."""
        kept = self._kept.get(share_id)
        return None if kept is None else kept.share

    def shares(self, route: str | None = None) -> list[Share]:
        """Return the shares that have not ended, the oldest first.

        Args:
            route: The name of a route, for its own only.
        """
        found = [kept.share for kept in self._kept.values() if not ended_by_now(kept.share)]
        own = [share for share in found if route is None or share.route == route]
        return sorted(own, key=lambda share: share.created)

    def why_ended(self, share: Share, route: Route) -> str | None:
        """Return why a share lets nobody in any more, in words for a guest; None while it does.

        That it has no use left is none of it: who is in, stays; see `use`.

        Args:
            share: The share, as it was when it was found.
            route: The route that is served under its name.
        """
        kept = self._kept.get(share.id)
        if kept is None:
            return REVOKED
        words = ended_by_now(kept.share)
        if words:
            return words
        if route.name != share.route or terms_of(route.config) != share.terms:
            return CHANGED
        return None

    # ---- what becomes of them ------------------------------------------------------------------

    async def issue(
        self,
        route: Route,
        *,
        path: str | None = None,
        label: str = "",
        expires: float | None = None,
        uses: int | None = None,
        page: bool = True,
        people: People | None = None,
        by: str = "",
    ) -> Issued:
        """Issue a share, and return it with its token, which nobody is told again.

        Args:
            route: The route.
            path: The path below base_url that it opens; None where the route has one only.
            label: What it is called, and its guests are.
            expires: Seconds after which it ends; None for never.
            uses: How many guests it lets in; None for any number.
            page: Whether it opens the route's page, too.
            people: Whom it is for; None for whoever has the link.
            by: Who issues it.

        Raises:
            ShareError: It cannot be issued.
            StoreFailed: It cannot be stored.
        """
        await self.start()
        share = new_share(route, path, label, expires, uses, page, people, by)
        self._forget_old()
        if sum(not kept.share.ended for kept in self._kept.values()) >= MOST:
            raise ShareError(f"this server has {MOST} shares already; revoke some first")
        token = secrets.token_urlsafe(16)
        kept = Kept(share, hash_of(token))
        await self._writer.put(kept)
        self._kept[share.id] = kept
        self._by_hash[kept.hash] = share.id
        self._look_at_clock()
        return Issued(share, token)

    def has_counted(self, share: Share, card: GuestCard) -> bool:
        """Return whether a guest with a card has been counted.

        Args:
            share: The share.
            card: The guest's.
        """
        return not card.pending or digest_of(card.guest) in self._guests.get(share.id, ())

    async def use(self, share: Share, card: GuestCard) -> bool:
        """Count a guest; return whether they are one more: who has a pending card counts once.

        Of a share with a bound, the use is stored when this returns. One of a pending card is its
        guest's for good: they may be in by another socket, and come again without one.

        Args:
            share: The share.
            card: The guest's.

        Raises:
            ShareEnded: It lets nobody in any more.
            StoreFailed: The use cannot be stored.
        """
        kept = self._kept.get(share.id)
        if kept is None or ended_by_now(kept.share):
            raise ShareEnded(REVOKED if kept is None else ended_by_now(kept.share))
        known = self._guests.setdefault(share.id, set())
        guest = digest_of(card.guest) if card.pending else None
        if guest in known:
            return False
        if kept.share.uses_left == 0:
            raise ShareEnded(USED_UP)
        if kept.share.uses is None:
            if guest is None or len(known) >= MOST_GUESTS:
                self._count(kept, 1)
            else:
                known.add(guest)
                self._counts.add_guest(self._with_uses(kept, kept.share.used + 1), guest)
            return True
        # Other servers of the same folder count, too: the store says who is the last one.
        taking = self._counts.take(kept, guest)
        try:
            counted = await self._writer.answer(taking)
        except BaseException:
            taking.add_done_callback(partial(self._taken_too_late, share.id, guest))
            raise
        if not counted.done:
            raise ShareEnded(ended_by_now(counted.kept.share) or USED_UP)
        if guest is not None:
            known.add(guest)
        return not counted.before

    def unuse(self, share: Share) -> None:
        """Take back what `use` has counted, of a guest who did not come in after all.

        Args:
            share: The share.
        """
        kept = self._kept.get(share.id)
        if kept is None:
            return
        self._count(kept, -1)
        if kept.share.uses is not None:
            self._counts.send()  # whoever comes next is to find the place

    async def revoke(self, share_id: str, *, by: str = "") -> bool:
        """End a share now; return whether there was one that had not ended.

        Its guests are put out at once, whatever the store does.

        Args:
            share_id: The share's id.
            by: Who revokes it.

        Raises:
            StoreFailed: It has ended, but that cannot be stored; or it is not known here, and the
                store cannot be read.
        """
        await self.start()
        if share_id not in self._kept:
            await self._others.look()
        kept = self._kept.get(share_id)
        if kept is None or ended_by_now(kept.share):
            return False
        # Whom it is for by name has found it in a list, and knows of no link.
        ended = self._end(kept, REVOKED if kept.share.people is None else UNSHARED, by)
        try:
            await self._writer.put(ended)
        except BaseException:
            # Nobody can revoke it again: it has ended. It must not live again after a restart.
            self._writer.put_again(share_id)
            raise
        return True

    def judge(self, table: RouteTable) -> None:
        """End the shares whose route has other rules now than when they were issued.

        A route that is not there may come again: a notebook's bot, for one.

        Args:
            table: The routes that are served.
        """
        for kept in list(self._kept.values()):
            route = table.get(kept.share.route)
            if route is None or route.config_error or ended_by_now(kept.share):
                continue  # what a broken one is meant to be is not known
            if terms_of(route.config) != kept.share.terms:
                self._writer.put_soon(self._end(kept, CHANGED))

    # ---- the clock ---------------------------------------------------------------------------

    def _look_at_clock(self) -> None:
        """End what has expired, and look again when the next one does."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._stopped:
            return
        now = time.time()
        next_ = float("inf")
        for kept in list(self._kept.values()):
            expires = kept.share.expires
            if expires is None or kept.share.ended:
                continue
            if expires <= now:
                self._writer.put_soon(self._end(kept, EXPIRED))
            else:
                next_ = min(next_, expires - now)
        if next_ < float("inf"):
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(min(next_ + 0.01, LONGEST_WAIT), self._look_at_clock)

    def _end(self, kept: Kept, words: str, by: str = "") -> Kept:
        now = time.time()
        self._guests.pop(kept.share.id, None)
        share = msgspec.structs.replace(kept.share, ended=words, ended_at=now, ended_by=by)
        ended = self._kept[share.id] = Kept(share, kept.hash)
        for callback in self._watchers:
            try:
                callback(share, words)
            except Exception:  # the others have to hear of it, too
                self._log.exception("A share has ended, and who was to know failed")
        return ended

    # ---- other servers with the same store ------------------------------------------------------

    def _merge(self, stored: Iterable[Kept]) -> None:
        """Take what is stored, where it says more than is known here."""
        expiring = False
        for kept in stored:
            own = self._kept.get(kept.share.id)
            if own is None:
                expiring = True
                self._kept[kept.share.id] = kept
                self._by_hash[kept.hash] = kept.share.id
                continue
            own = self._with_uses(own, kept.share.used + self._counts.owed(kept.share.id))
            if kept.share.ended and not own.share.ended:
                self._end(own, kept.share.ended, kept.share.ended_by)
        if expiring:
            self._look_at_clock()  # the server that has issued it may not be there when it ends

    # ---- what is forgotten, and how often they were used ----------------------------------------

    def _forget_old(self) -> None:
        """Forget what has ended long ago."""
        long_ago = time.time() - REMEMBER
        old = [name for name, kept in self._kept.items() if is_over_since(kept.share, long_ago)]
        for name in old:
            self._by_hash.pop(self._kept.pop(name).hash, None)
            self._guests.pop(name, None)
        if old:
            self._writer.delete(old)

    def _count(self, kept: Kept, change: int) -> Kept:
        self._counts.add(kept.share.id, change)
        return self._with_uses(kept, kept.share.used + change)

    def _with_uses(self, kept: Kept, used: int) -> Kept:
        if used == kept.share.used:
            return kept
        share = msgspec.structs.replace(kept.share, used=max(0, used))
        self._kept[share.id] = counted = Kept(share, kept.hash)
        return counted

    def _heard(self, stored: Kept) -> None:
        if not self._stopped and stored.share.id in self._kept:
            self._merge([stored])

    def _taken_too_late(
        self, name: str, guest: int | None, taking: asyncio.Future[Counted]
    ) -> None:
        """Keep for its guest a use that was counted when nobody waited for it any more, or none."""
        kept = self._kept.get(name)
        if kept is not None and taking.exception() is None and taking.result().done:
            if guest is None:
                self.unuse(kept.share)
            else:
                self._guests.setdefault(name, set()).add(guest)
