"""Ways for calls that wait: to one server, to the primary of a service, to those of a cluster.

Who is to be asked is found when a connection is made, and looked at again every few seconds by
whoever asks: a primary that only its Sentinels have lost goes on to take what will be lost. What a
server has not done, as it is no primary any more, is asked of the one that is.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Protocol

from redis.exceptions import (
    AskError,
    ClusterDownError,
    MasterDownError,
    MovedError,
    ReadOnlyError,
    RedisError,
    TryAgainError,
)

from ...errors import BackplaneError
from .address import Address, Host
from .cluster import SLOTS, Cluster, key_slot
from .facts import Facts
from .link import Finder
from .sentinel import Sentinels
from .talk import LOOK, Call, Talk

NotPrimary = (ReadOnlyError, MasterDownError)
"""What a replica says of what it has not done."""

PAUSES = (0.02, 0.3)
"""Seconds between two looks at a slot that is on its way: the first pause, and the longest."""


_AGAIN = object()
"""The answer of a server of a cluster that has hung up."""


class OtherLife(BackplaneError):
    """A store that lives anew, and was asked for nothing."""


class Sent:
    """What has become of some calls so far.

    Args:
        life: The life of the store that they are meant for; empty for any.
    """

    def __init__(self, life: str = "") -> None:
        self._life = life
        self.is_sent = False
        """Whether one was sent, so that it may have been done."""
        self.waits_for = ""
        """Why they wait, where it is not an answer."""

    def send(self, facts: Facts) -> None:
        """Take note that they are being sent.

        Args:
            facts: What the server says of itself.

        Raises:
            OtherLife: They are meant for another life of it.
        """
        if self._life and facts.life != self._life:
            raise OtherLife("the store lives anew")
        self.is_sent = True


class Way(Protocol):
    """Who knows whom to ask."""

    facts: Facts
    """What the server has said of itself that was connected to last."""

    def life_of(self, key: bytes) -> str:
        """Return the life of the server that has a key, as it was known last; empty for none."""

    async def ask(self, calls: Sequence[Call], sent: Sent) -> list[Any]:
        """Make calls, in one go, and return their answers; a refusal is one of them.

        Args:
            calls: Each means the same when it is made twice.
            sent: Takes what becomes of them.

        Raises:
            Exception: They cannot be made; of redis-py's kinds, `OSError`, or `BackplaneError`.
        """

    async def hang_up(self) -> None:
        """Let go of all connections."""


def way_to(place: Address | Sentinels | Cluster, patience: Callable[[], float]) -> Way:
    """Return the way to a place.

    Args:
        place: Where the store is, or who knows it.
        patience: Says how many seconds it may take to hear where it is by now.
    """
    return ClusterWay(place, patience) if isinstance(place, Cluster) else OneWay(place, patience)


class OneWay:
    """The way to a server alone, or to the primary of a service.

    Args:
        place: Who knows where it is.
        patience: As of `way_to`.
    """

    def __init__(self, place: Finder, patience: Callable[[], float]) -> None:
        self._place = place
        self._patience = patience
        self._talk: Talk | None = None
        self.facts = Facts()

    def life_of(self, key: bytes) -> str:
        """Return the life of the one server."""
        return self.facts.life

    async def ask(self, calls: Sequence[Call], sent: Sent) -> list[Any]:
        """Make calls; see `Way`."""
        await self._look()
        is_old = self._talk is not None
        try:
            replies = await self._exchange(calls, sent)
            if not any(isinstance(reply, NotPrimary) for reply in replies):
                return replies
        except (OSError, RedisError):
            # The store was started again, perhaps, since it was asked last.
            if not is_old:
                raise
        # It is a replica now, or away: who is to be asked is found anew.
        await self.hang_up()
        return await self._exchange(calls, sent)

    async def _exchange(self, calls: Sequence[Call], sent: Sent) -> list[Any]:
        if self._talk is None:
            self._talk = await Talk.open(await self._place.find())
            self.facts = self._talk.facts
        sent.send(self.facts)
        return await self._talk.do(calls)

    async def _look(self) -> None:
        """Look now and then whether the server still is what it was, and the one to be used."""
        talk = self._talk
        if talk is None or not talk.is_look_due:
            return
        try:
            await talk.look()
            self.facts = talk.facts
            if not await self._has_moved():
                return
        except (OSError, RedisError, BackplaneError):
            pass  # the next connection says what is wrong
        await self.hang_up()

    async def _has_moved(self) -> str:
        # Where the Sentinels hang, the primary is asked all the same.
        try:
            async with asyncio.timeout(self._patience()):
                return await self._place.moved()
        except TimeoutError:
            return ""

    async def hang_up(self) -> None:
        """Let go of the connection."""
        talk, self._talk = self._talk, None
        if talk is not None:
            await talk.close()


class ClusterWay:
    """The ways to the primaries of a cluster, each from its first call on.

    Args:
        cluster: The cluster.
        patience: As of `way_to`.
    """

    def __init__(self, cluster: Cluster, patience: Callable[[], float]) -> None:
        self._cluster = cluster
        self._patience = patience
        self._by_slot: list[Host] = []
        self._mapped_at = float("-inf")
        self._talks: dict[Host, Talk] = {}
        self._lives: dict[Host, str] = {}
        self._away: Host | None = None
        self.facts = Facts()

    def life_of(self, key: bytes) -> str:
        """Return the life of the server that has a key, as it was known last."""
        return self._lives.get(self._by_slot[key_slot(key)], "") if self._by_slot else ""

    async def ask(self, calls: Sequence[Call], sent: Sent) -> list[Any]:
        """Make calls; see `Way`."""
        await self._look()
        replies: list[Any] = [None] * len(calls)
        left: Sequence[int] = range(len(calls))
        pause, longest = PAUSES
        while True:
            by_host: dict[Host, list[int]] = {}
            for n in left:
                by_host.setdefault(self._by_slot[key_slot(calls[n].key)], []).append(n)
            left = []
            for host, numbers in by_host.items():
                found = await self._exchange(host, [calls[n] for n in numbers], sent)
                for n, reply in zip(numbers, found, strict=True):
                    replies[n] = reply
                left += [n for n in numbers if _has_strayed(replies[n])]
            if not left:
                return replies
            if any(isinstance(replies[n], TryAgainError) for n in left):
                sent.waits_for = "the cluster has not moved this to another server"
            await asyncio.sleep(pause)
            pause = min(longest, 2 * pause)
            await self._map()

    async def _exchange(self, host: Host, calls: Sequence[Call], sent: Sent) -> list[Any]:
        """Ask one server; what it is not to be asked any more, has strayed."""
        is_old = host in self._talks
        # Until it answers, or has been replaced, the cluster is away as a whole: it would be back
        # with each call to another server.
        self._away = host
        try:
            talk = await self._talk(host)
            sent.send(talk.facts)
            replies = await talk.do(calls)
            for n, reply in enumerate(replies):
                if isinstance(reply, ClusterDownError):
                    raise reply
                if isinstance(reply, AskError) and not isinstance(reply, MovedError):
                    there = await self._talk((reply.host or host[0], reply.port))
                    (replies[n],) = await there.do([calls[n]], asks=True)
        except OtherLife:
            self._away = None
            raise
        except (OSError, RedisError, BackplaneError) as error:
            await self._leave(host)
            if not is_old or isinstance(error, ClusterDownError):
                raise
            replies = [_AGAIN] * len(calls)
        self._away = None
        return replies

    async def _talk(self, host: Host) -> Talk:
        talk = self._talks.get(host)
        if talk is None:
            talk = self._talks[host] = await Talk.open(self._cluster.at(host))
        elif talk.is_look_due:
            await talk.look()
        self.facts = talk.facts
        self._lives[host] = talk.facts.life
        return talk

    # ---- who serves what -------------------------------------------------------------------------

    async def _look(self) -> None:
        """Ask now and then who serves what, and whether who was away is there again."""
        if not self._by_slot or self._away is not None:
            await self._map()
        elif time.monotonic() - self._mapped_at >= LOOK:
            # Where nobody says, those are asked who have served it before.
            self._mapped_at = time.monotonic()
            with suppress(TimeoutError, BackplaneError):
                async with asyncio.timeout(self._patience()):
                    await self._map()
        if self._away is not None and self._away in self._by_slot:
            await self._talk(self._away)
        self._away = None

    async def _map(self) -> None:
        """Ask the cluster who serves what.

        Raises:
            BackplaneError: Nobody says.
        """
        by_slot = [("", 0)] * SLOTS
        for shard in await self._cluster.shards():
            for slots in shard.slots:
                by_slot[slots.start : slots.stop] = [shard.primary] * len(slots)
        self._by_slot, self._mapped_at = by_slot, time.monotonic()
        for host in self._talks.keys() - set(by_slot):
            await self._leave(host)

    async def _leave(self, host: Host) -> None:
        talk = self._talks.pop(host, None)
        if talk is not None:
            await talk.close()

    async def hang_up(self) -> None:
        """Let go of all connections."""
        for host in tuple(self._talks):
            await self._leave(host)


def _has_strayed(reply: Any) -> bool:
    """Return whether a call has to be made once more, where it belongs by then."""
    return reply is _AGAIN or isinstance(reply, (AskError, TryAgainError, *NotPrimary))
