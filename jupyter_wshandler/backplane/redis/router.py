"""Which way leads to what: one way to a server alone, one to each primary of a cluster.

In a cluster each shard has a lifeline of its own, with two connections, and what a room publishes
is told by the server that numbers it ("sharded" pub/sub), so that a link that lives has missed
nothing: an ordinary PUBLISH goes to the other servers by way of the cluster's bus, which may lose
it without a word. Who serves which slots is asked for each new link, every few seconds, and
whenever a server says that it does not serve something; then what waits, and the channels that are
heard, go to where they belong. While a slot is on its way from one server to the other its rooms
wait: what one of them says meanwhile nobody would hear.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

from redis.exceptions import MovedError, RedisError, ResponseError

from ...errors import BackplaneDown, BackplaneError
from .address import Address, Host, shown_host
from .cluster import SLOTS, Cluster, Shard, key_slot
from .lifeline import MAX_WAITING, MAX_WAITING_BYTES, Lifeline
from .link import Finder
from .request import Request, seen

FRESH = 0.2
"""Seconds for which what a cluster has said of itself is not asked again without a reason."""

MOVING = 15.0
"""Seconds for which a command waits for a slot that is on its way to another server."""

PAUSES = (0.01, 0.5)
"""Seconds between two looks at what is on its way: the first pause, and the longest."""


class Router:
    """The one way to a server alone, or to the primary of a service.

    Args:
        line: The way.
    """

    publish: str = "PUBLISH"
    """The command that publishes to a channel."""
    asks_for_several: bool = True
    """Whether one script may ask for several channels."""

    def __init__(self, line: Lifeline) -> None:
        self._line = line

    @property
    def lines(self) -> Sequence[Lifeline]:
        """All ways that there are."""
        return (self._line,)

    @property
    def waiting(self) -> int:
        """Commands that wait, for a link or for their slot."""
        return sum(line.waiting for line in self.lines)

    @property
    def waiting_bytes(self) -> int:
        """Bytes in them."""
        return sum(line.waiting_bytes for line in self.lines)

    def line(self, key: bytes) -> Lifeline:
        """Return the way to what has a key or a channel of this name."""
        return self._line

    def start(self) -> None:
        """Begin on the running event loop; without effect where it has begun."""
        for line in self.lines:
            line.start()

    async def do(self, request: Request) -> Any:
        """Have a command done, and return the answer; see `Lifeline.do`."""
        return await self._line.do(request)

    async def refresh(self) -> None:
        """Ask anew who serves what.

        Raises:
            BackplaneError: Nobody says.
        """

    def unsettle(self) -> None:
        """Take note that something is not heard where it belongs."""

    async def close(self) -> None:
        """End all ways; what waits fails."""
        for line in self.lines:
            await line.close()


class Part:
    """One shard of a cluster, and the way to it.

    Args:
        router: Who knows which server is its primary.
    """

    def __init__(self, router: ClusterRouter) -> None:
        self._router = router
        self.line: Lifeline
        self.shard: Shard | None = None
        """As the cluster has described it last; None where nobody has said yet."""
        self.is_over = False
        """Whether it serves nothing any more."""
        self._found: Host | None = None

    @property
    def shown(self) -> str:
        """The URL without what is secret in it, and the primary."""
        whole = self._router.cluster.shown
        return whole if self.shard is None else f"{whole} ({shown_host(self.shard.primary)})"

    async def find(self) -> Address:
        """Return where its primary is now."""
        await self._router.refresh()
        if self.shard is None or self.is_over:
            raise BackplaneError("it serves nothing any more")
        self._found = self.shard.primary
        return self._router.cluster.at(self._found)

    async def moved(self) -> str:
        """Say which is its primary, where that is another one by now."""
        try:
            await self._router.refresh()
        except BackplaneError:
            return ""
        if self.shard is None or self.shard.primary == self._found:
            return ""
        return f"{shown_host(self.shard.primary)} is the primary now"


class ClusterRouter(Router):
    """The ways to the primaries of a cluster.

    Args:
        cluster: The cluster.
        make: Makes the way to one shard.
        rehome: Has each channel heard where it belongs; returns whether all are.
    """

    publish = "SPUBLISH"
    asks_for_several = False

    def __init__(
        self,
        cluster: Cluster,
        make: Callable[[Finder], Lifeline],
        rehome: Callable[[], Awaitable[bool]],
    ) -> None:
        self.cluster = cluster
        self._make = make
        self._rehome = rehome
        self._parts: list[Part] = []
        # Until the cluster has said who serves what, one way stands for all.
        self._by_slot: list[Part] = [self._add_part()] * SLOTS
        self._moving: deque[Request] = deque()
        self._moving_bytes = 0
        self._moving_slots: set[int] = set()
        self._asking: asyncio.Task[None] | None = None
        self._asked = float("-inf")
        self._settling: asyncio.Task[None] | None = None
        self._ending: set[asyncio.Task[None]] = set()
        self._is_closed = False
        self._has_begun = False

    def _add_part(self) -> Part:
        part = Part(self)
        part.line = self._make(part)
        part.line.on_stray = self._stray
        self._parts.append(part)
        return part

    @property
    def lines(self) -> Sequence[Lifeline]:
        """The ways to all shards."""
        return [part.line for part in self._parts]

    @property
    def waiting(self) -> int:
        """Commands that wait, for a link or for their slot."""
        return super().waiting + len(self._moving)

    @property
    def waiting_bytes(self) -> int:
        """Bytes in them."""
        return super().waiting_bytes + self._moving_bytes

    def line(self, key: bytes) -> Lifeline:
        """Return the way to what has a key or a channel of this name."""
        return self._by_slot[key_slot(key)].line

    def start(self) -> None:
        """Begin on the running event loop; without effect where it has begun."""
        if not self._has_begun:
            self._has_begun = True
            super().start()

    async def do(self, request: Request) -> Any:
        """Have a command done, and return the answer; see `Lifeline.do`."""
        if self._moving_slots and key_slot(request.key) in self._moving_slots:
            # Behind those of its room that wait, so that none overtakes another.
            self._hold(request)
            return await self.line(request.key).outcome(request)
        return await self.line(request.key).do(request)

    # ---- who serves what -------------------------------------------------------------------------

    async def refresh(self) -> None:
        """Ask the cluster who serves what, unless it has said so a moment ago.

        Raises:
            BackplaneError: Nobody says.
        """
        loop = asyncio.get_running_loop()
        if self._asking is None:
            if loop.time() - self._asked < FRESH:
                return
            self._asking = loop.create_task(self._ask(), name="wshandler backplane slots")
            self._asking.add_done_callback(seen)
        await asyncio.shield(self._asking)

    async def _ask(self) -> None:
        try:
            shards = await self.cluster.shards()
            self._asked = asyncio.get_running_loop().time()
            if not self._is_closed:
                self._take(shards)
        finally:
            self._asking = None

    def _take(self, shards: list[Shard]) -> None:
        """Have one way for each shard: the one that it had, or another one."""
        left, before = list(self._parts), self._by_slot
        parts: dict[str, Part] = {}
        for is_same in (_has_same_primary, _is_successor, _is_unknown):
            for shard in shards:
                if shard.id not in parts:
                    found = next((part for part in left if is_same(part, shard)), None)
                    if found is not None:
                        left.remove(found)
                        parts[shard.id] = found
        self._by_slot = list(before)
        for shard in shards:
            part = parts.get(shard.id)
            is_new = part is None
            if part is None:
                part = self._add_part()
            old, part.shard = part.shard, shard
            for slots in shard.slots:
                self._by_slot[slots.start : slots.stop] = [part] * len(slots)
            if is_new:
                part.line.start()
            elif old is not None and old.primary != shard.primary:
                part.line.end(f"{shown_host(shard.primary)} is the primary now")
        for part in left:
            self._end(part)
        if self._by_slot != before:
            self._sort()

    def _end(self, part: Part) -> None:
        """Have no way to a shard that serves nothing any more."""
        part.is_over = True
        self._parts.remove(part)
        work = part.line.close(self._take_in)
        task = asyncio.get_running_loop().create_task(work, name="wshandler backplane end")
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    def _sort(self) -> None:
        """Have what waits for a way wait for the one that leads there."""
        for line in self.lines:
            for request in line.sort_out(partial(self._is_of, line)):
                self._take_in(request)
        self.unsettle()

    def _is_of(self, line: Lifeline, request: Request) -> bool:
        return self.line(request.key) is line

    def _take_in(self, request: Request) -> None:
        self.line(request.key).take_in(request)

    # ---- what is on its way ----------------------------------------------------------------------

    def _stray(self, request: Request, error: ResponseError) -> None:
        """Take a command whose keys are elsewhere, or on their way."""
        if isinstance(error, MovedError):
            self._asked = float("-inf")
        # Only who has just been turned away is told: one that waits may be taken at the next try.
        since = request.strayed_at
        if since and asyncio.get_running_loop().time() - since > MOVING:
            request.answer(
                BackplaneError(
                    f"the cluster has been moving this room for {MOVING:g} s; look at "
                    "`redis-cli --cluster check`"
                )
            )
        else:
            self._hold(request)

    def _hold(self, request: Request) -> None:
        is_full = len(self._moving) >= MAX_WAITING
        if self._is_closed or is_full or self._moving_bytes + request.size > MAX_WAITING_BYTES:
            request.answer(BackplaneError("too much waits for the backplane already; send less"))
            return
        request.strayed_at = request.strayed_at or asyncio.get_running_loop().time()
        self._moving_bytes += request.size
        self._moving.append(request)
        self._moving_slots.add(key_slot(request.key))
        self.unsettle()

    def unsettle(self) -> None:
        """Take note that something is not where it belongs; it is looked after from now on."""
        if self._settling is None and not self._is_closed:
            work = self._settle()
            loop = asyncio.get_running_loop()
            self._settling = loop.create_task(work, name="wshandler backplane settle")

    async def _settle(self) -> None:
        """Look, again and again, until everything is where it belongs."""
        pause, longest = PAUSES
        try:
            while True:
                try:
                    await self.refresh()
                except (BackplaneError, RedisError, OSError):
                    self._asked = float("-inf")
                had_moving = bool(self._moving)  # and may have again, in a moment
                self._send_again()
                is_home = await self._rehome()
                if is_home and not had_moving and not self._moving:
                    return
                await asyncio.sleep(pause)
                self._asked = float("-inf")
                pause = min(longest, 2 * pause)
        finally:
            self._settling = None

    def _send_again(self) -> None:
        moving, self._moving, self._moving_bytes = self._moving, deque(), 0
        self._moving_slots.clear()
        for request in moving:
            if not request.future.done():
                self._take_in(request)

    async def close(self) -> None:
        """End all ways; what waits fails."""
        self._is_closed = True
        tasks = [task for task in (self._settling, self._asking) if task is not None]
        for task in tasks:
            task.cancel()
        await super().close()
        for task in (*tasks, *self._ending):
            await asyncio.wait((task,))
        for request in self._moving:
            request.answer(BackplaneDown("the backplane is closed"))
        self._moving.clear()
        self._moving_bytes = 0


def _has_same_primary(part: Part, shard: Shard) -> bool:
    return part.shard is not None and part.shard.id == shard.id


def _is_successor(part: Part, shard: Shard) -> bool:
    return part.shard is not None and shard.id in part.shard.members


def _is_unknown(part: Part, shard: Shard) -> bool:
    return part.shard is None
