"""The directory itself: what it takes, whom it tells, and who may open what.

It knows nothing of HTTP: `handlers` and `forservers` do.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from ...sessions.thread import StoreThread
from .codes import Codes, Grant
from .comers import Comers
from .errors import NotShared, NotStored, ServerStopped
from .hub import Hub, HubSilent, Place, ServerId, lacking
from .messages import ARRIVAL, HOME, Listing, Person, Question, Redemption, Registration, Verdict
from .registry import Registry, is_among
from .stores import ListingStore

T = TypeVar("T")

PURGE_EVERY = 3600.0
"""Seconds between two removals of what has expired."""

RETRY_EVERY = 5.0
"""Seconds after which the store is told again what it could not forget."""

STOPPED_ONLY_HERE = "this has ended, but that cannot be stored now; it is tried again"

NOT_COME = "open this from the page that lists it"

AT_A_TIME = 10
"""Users that the Hub is asked about at the same time, for one page or one message."""


class Directory:
    """What people of one Hub share with each other by name.

    Attributes:
        lacks_scopes: Whether the Hub has said that this service may not ask what it needs to.

    Args:
        hub: Is asked who is who.
        store: Keeps what is shared.
        home: What browsers reach this service at: a URL, or a path, with a slash at its end.
        log: Takes one line for each share that begins or ends.
        clock: Returns seconds since 1970.
    """

    def __init__(
        self,
        hub: Hub,
        store: ListingStore,
        home: str,
        log: Any,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.hub = hub
        self.home = home
        self.lacks_scopes = False
        self.registry = Registry(clock)
        self.codes = Codes()
        self._clock = clock
        self._store = store
        self.comers = Comers(store, self._ask_store)
        self._log = log
        self._thread = StoreThread("wshandler-directory")
        self._loading: asyncio.Task[None] | None = None
        self._advising: asyncio.Task[None] | None = None
        self._purged = 0.0
        self._writing = asyncio.Lock()
        self._written: dict[str, float] = {}
        # What has ended and is still stored: a new start must not bring it back.
        self._ended: dict[str, Listing] = {}
        self._retry: asyncio.Task[None] | None = None

    # ---- life ------------------------------------------------------------------------------

    def start(self) -> None:
        """Find out whether the Hub lets this service ask, and say so where it does not."""
        if self._advising is None:
            self._advising = asyncio.get_running_loop().create_task(
                self._advise(), name="wshandler directory asks what it may"
            )

    async def _advise(self) -> None:
        try:
            missing = await self.hub.missing_scopes()
        except HubSilent as silent:
            self.note_silence(silent.sentence)
            return
        self.lacks_scopes = bool(missing)
        if missing:
            self.note_silence(lacking(missing))

    async def loaded(self) -> None:
        """Wait until what was shared before is read; begin to read it where nobody has."""
        if self._loading is None or (self._loading.done() and self._loading.exception()):
            self._loading = asyncio.get_running_loop().create_task(
                self._load(), name="wshandler reads the directory"
            )
        await asyncio.shield(self._loading)

    async def _load(self) -> None:
        for listing in await self._ask_store(self._store.load):
            self.registry.put(listing)
        await self.comers.load()

    async def _ask_store(self, function: Callable[..., T], *args: Any) -> T:
        try:
            found: T = await self._thread.submit(function, *args)
        except Exception as error:
            self._log.warning("Directory: the store of what is shared fails: %s", error)
            raise NotStored from error
        return found

    async def _forget(self) -> None:
        """Have the store forget what has ended; again in a while where it cannot."""
        names = list(self._ended)
        try:
            await self._ask_store(self._store.delete, names)
        except NotStored:
            if self._retry is None:
                self._retry = asyncio.get_running_loop().create_task(
                    self._forget_later(), name="wshandler directory stores again"
                )
            raise
        for name in names:
            self._ended.pop(name, None)

    async def _forget_later(self) -> None:
        while self._ended:
            await asyncio.sleep(RETRY_EVERY)
            with suppress(NotStored):
                async with self._writing:
                    await self._forget()
        self._retry = None

    async def stop(self) -> None:
        """End what runs, and let go of the store."""
        for task in (self._loading, self._advising, self._retry):
            if task is not None and not task.done():
                task.cancel()
                await asyncio.wait([task])
        await self.hub.stop()
        if self._ended:
            with suppress(Exception):  # there is nobody any more who could be told
                await asyncio.wait_for(self._thread.submit(self._store.delete, [*self._ended]), 2)
        self._thread.submit(self._store.close)
        self._thread.stop(2.0)

    # ---- for users' servers ----------------------------------------------------------------

    async def register(self, server: ServerId, asked: Registration) -> Listing:
        """Take a bot that a user's server shares, or what has changed of it.

        Args:
            server: The server, by the Hub's word.
            asked: What it says.

        Raises:
            Wrong: It cannot be taken.
            NotStored: It cannot be stored.
        """
        asked.check()
        await self.loaded()
        async with self._writing:
            return await self._register(server, asked)

    async def _register(self, server: ServerId, asked: Registration) -> Listing:
        known = self.registry.get(asked.id)
        listing = Listing(
            id=asked.id,
            owner=server.owner,
            server=server.name,
            route=asked.route,
            path=asked.path,
            label=asked.label,
            users=tuple(dict.fromkeys(asked.users)),
            groups=tuple(dict.fromkeys(asked.groups)),
            created=self._clock() if known is None else known.created,
            expires=asked.expires,
            page=asked.page,
        )
        self.registry.check(listing)
        await self._purge()
        # On the disk before anybody is told that it is shared.
        await self._ask_store(self._store.put, listing)
        self._ended.pop(listing.id, None)
        self.registry.put(listing)
        self._log.info("Directory: %s shares %s as %s", server.owner, listing.route, listing.id)
        return listing

    async def withdraw(self, share: str, by: Callable[[Listing], bool]) -> bool:
        """Stop sharing a bot; return whether it was shared.

        Args:
            share: The id of the share.
            by: Whether it is theirs who asks.

        Raises:
            NotStored: It has ended, but that cannot be stored yet.
        """
        await self.loaded()
        async with self._writing:
            listing = self.registry.get(share) or self._ended.get(share)
            if listing is None or not by(listing):
                return False
            # Nobody comes in any more, whatever the store does.
            self.registry.remove(share)
            self.comers.forget([share])
            self._ended[share] = listing
            try:
                await self._forget()
            except NotStored:
                raise NotStored(STOPPED_ONLY_HERE) from None
        self._log.info("Directory: %s shares %s no more", listing.owner, share)
        return True

    async def of(self, server: ServerId) -> list[Listing]:
        """Return all that a server shares.

        Args:
            server: The server, by the Hub's word.
        """
        await self.loaded()
        return self.registry.of(*server)

    async def redeem(self, server: ServerId, asked: Redemption) -> Person | None:
        """Say who has come with a code, or None where the code is not good.

        Args:
            server: Who asks, by the Hub's word.
            asked: What has come.

        Raises:
            NotShared: It was good, and is not shared with them any more.
            HubSilent: The Hub cannot be asked.
        """
        user = self.codes.take(
            asked.code,
            owner=server.owner,
            server=server.name,
            share=asked.share,
            path=asked.path,
            state=asked.state,
        )
        if not user:
            return None
        await self.loaded()
        verdict = await self._verdict(server, Question(asked.share, user), True)
        if verdict.allowed is None:
            raise HubSilent(verdict.why)
        if not verdict.allowed:
            raise NotShared(verdict.why)
        await self.comers.add(asked.share, user)
        return Person(user, verdict.groups)

    async def check(self, server: ServerId, asked: Sequence[Question]) -> list[Verdict]:
        """Say who may still use what a server shares, in the order of the questions.

        Of those who have never come by that share it is told nothing: whoever has a server must
        not find out here who there is at the Hub, and in which groups they are.

        Args:
            server: Who asks, by the Hub's word.
            asked: The questions.
        """
        await self.loaded()
        places = asyncio.Semaphore(AT_A_TIME)

        async def one(question: Question) -> Verdict:
            async with places:
                has_come = self.comers.has(question.share, question.user)
                return await self._verdict(server, question, has_come)

        return list(await asyncio.gather(*map(one, asked)))

    async def _verdict(self, server: ServerId, question: Question, has_come: bool) -> Verdict:
        listing = self.registry.get(question.share)
        if listing is None or (listing.owner, listing.server) != server:
            return Verdict(allowed=False, why="this is not shared any more", shared=False)
        if not has_come:
            return Verdict(allowed=False, why=NOT_COME)
        try:
            user = await self.hub.user(question.user)
        except HubSilent as silent:
            return Verdict(allowed=None, why=silent.sentence)
        if user is None:
            # Whoever is called so next is somebody else.
            await self.comers.forget_user(question.user)
            return Verdict(allowed=False, why="your account is not there any more")
        if not is_among(listing, user.name, user.groups):
            return Verdict(allowed=False, why="this is not shared with you any more")
        return Verdict(allowed=True, groups=user.groups)

    # ---- for people ------------------------------------------------------------------------

    async def open(self, user: str, share: str) -> str:
        """Return where to go to open a bot: an address of its own server's, without any code.

        There the browser is given what a code is bound to. Who owns the server needs none.

        Args:
            user: The Hub's name of who asks.
            share: The id of the share.

        Raises:
            NotShared: It is not shared with them, or its server is stopped.
            HubSilent: The Hub cannot be asked.
        """
        listing = await self._shared_with(user, share)
        place = await self._place(listing)
        if not place.ready:
            raise ServerStopped(f"{_whose(listing)} is stopped; ask {listing.owner} to start it")
        server = place.url.rstrip("/")
        return server + listing.path if user == listing.owner else f"{server}/{ARRIVAL}/{share}"

    async def code(self, user: str, share: str, state: str) -> tuple[str, str]:
        """Return where to go to open a bot, and a code to go there with.

        Args:
            user: The Hub's name of who asks.
            share: The id of the share.
            state: The digest of what the server has given the browser.

        Raises:
            NotShared: It is not shared with them, or its server is stopped.
            HubSilent: The Hub cannot be asked.
        """
        where = await self.open(user, share)
        listing = await self._shared_with(user, share)
        grant = Grant(user, share, listing.owner, listing.server, listing.path, state)
        return where, self.codes.issue(grant)

    async def overview(self, user: str, groups: Iterable[str]) -> dict[str, Any]:
        """Return what is shared with somebody, and by them, as JSON has it.

        Args:
            user: The Hub's name of who asks.
            groups: Names of the user's groups.
        """
        await self.loaded()
        with_me = self.registry.with_(user, groups)
        by_me = self.registry.by(user)
        found = await self._states({listing.owner for listing in (*with_me, *by_me)})
        return {
            "user": user,
            "with_me": [self._described(listing, found, False) for listing in with_me],
            "by_me": [self._described(listing, found, True) for listing in by_me],
        }

    def _described(
        self, listing: Listing, servers: dict[str, dict[str, Place] | None], own: bool
    ) -> dict[str, Any]:
        known = servers.get(listing.owner)
        place = None if known is None else known.get(listing.server)
        state = "unknown" if known is None else "running" if place and place.ready else "stopped"
        described: dict[str, Any] = {
            "id": listing.id,
            "owner": listing.owner,
            "server": listing.server,
            "route": listing.route,
            "path": listing.path,
            "label": listing.label,
            "created": listing.created,
            "expires": listing.expires,
            "page": listing.page,
            "state": state,
            "open": f"{self.home}{HOME}/open/{listing.id}",
        }
        if own:
            # Whom else it is shared with is nobody's business but the owner's.
            described |= {"users": list(listing.users), "groups": list(listing.groups)}
        return described

    async def _states(self, owners: set[str]) -> dict[str, dict[str, Place] | None]:
        """Return the servers of each owner by name; None where the Hub does not tell."""
        places = asyncio.Semaphore(AT_A_TIME)

        async def one(owner: str) -> dict[str, Place] | None:
            async with places:
                try:
                    user = await self.hub.user(owner)
                except HubSilent:
                    return None
                return {} if user is None else user.servers

        ordered = sorted(owners)
        return dict(zip(ordered, await asyncio.gather(*map(one, ordered)), strict=True))

    async def _shared_with(self, user: str, share: str) -> Listing:
        await self.loaded()
        listing = self.registry.get(share)
        known = await self.hub.user(user) if listing is not None else None
        # The same words for what never was and for what is others': ids tell nothing.
        if listing is None or known is None or not is_among(listing, known.name, known.groups):
            raise NotShared("this is not shared with you, or not any more")
        return listing

    async def _place(self, listing: Listing) -> Place:
        owner = await self.hub.user(listing.owner)
        place = None if owner is None else owner.servers.get(listing.server)
        return Place("", False) if place is None or not place.url else place

    async def _purge(self) -> None:
        if self._clock() - self._purged < PURGE_EVERY:
            return
        self._purged = self._clock()
        over = self.registry.purge()
        if over:
            self.comers.forget(over)
            await self._ask_store(self._store.delete, over)

    def note_silence(self, sentence: str) -> None:
        """Write that the Hub could not be asked, at most once a minute for each reason.

        Args:
            sentence: What it was.
        """
        now = self._clock()
        if now - self._written.get(sentence, 0.0) < 60.0:
            return
        if len(self._written) > 100:
            self._written.clear()
        self._written[sentence] = now
        self._log.warning("Directory: %s", sentence)


def _whose(listing: Listing) -> str:
    return f"{listing.owner}'s server" + (f" {listing.server!r}" if listing.server else "")
