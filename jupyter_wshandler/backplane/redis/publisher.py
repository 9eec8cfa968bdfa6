"""A program that puts messages into rooms, and is no node: it hears nothing, and has no rooms."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from typing import Any, NamedTuple

from redis.exceptions import AuthenticationError, ReadOnlyError, RedisError

from ...errors import BackplaneDown, BackplaneError
from ..base import PREFIX, Position, Publication
from .cluster import Cluster, Shard, key_slot
from .keys import Keys
from .link import Finder, Link, reason
from .places import place_of
from .publishing import SpaceFacts, packed_within, publish_request, read_spaces
from .refusals import Strayed
from .request import Request

FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0
"""Seconds between two attempts after a break: doubled each time."""

FRESH = 5.0
"""Seconds for which is believed what nodes have said of their spaces."""

OWN = "x-"
"""What the ids of a program's own begin with: nodes have others."""


class Put(NamedTuple):
    """What has become of a message from outside."""

    position: Position
    """Its place in the room's history; offset 0 where it has none."""
    nodes: int | None
    """Servers that heard it; None where it had been published before."""


class RedisPublisher:
    """Publishes to the rooms of a deployment, over as many links as it takes.

    A link that breaks is made anew until the caller's time is over; one that cannot be made at the
    first attempt is an error at once. In a cluster it has one to each primary that it has needed.

    Args:
        url: Where the store is; see `places.place_of`.
        prefix: What the names of the deployment begin with.

    Raises:
        ValueError: The URL or the prefix cannot be.
    """

    def __init__(self, url: str, *, prefix: str = PREFIX) -> None:
        self._place = place_of(url)
        self._keys = Keys(prefix, self._place.database)
        # A server of a cluster tells what it numbers to those who hear it there.
        self._verb = "SPUBLISH" if isinstance(self._place, Cluster) else "PUBLISH"
        self._links: dict[str, Link] = {}  # by the name of the server
        self._shards: list[Shard] = []
        self._spaces: dict[str, SpaceFacts] = {}
        self._read_at = 0.0
        self._turn = asyncio.Lock()

    async def publish(
        self, space: str, channel: str, message: str | bytes, id: str = "", *, timeout: float
    ) -> Put:
        """Put a message into a room.

        Args:
            space: The room's space.
            channel: The room's channel.
            message: What is sent.
            id: Names the message, so that it is published once however often this is called with
                it; empty for a new one.
            timeout: Seconds that it may take, those included in which others come before it.

        Raises:
            LookupError: No node has ever served the space.
            ValueError: It has an id, and the room keeps nothing by which it could be found again.
            BackplaneDown: The store cannot be reached; says where it is unknown what has become of
                the message.
            BackplaneError: The store refuses, or the message is too large.
        """
        request: Request | None = None
        try:
            # One after the other, in the order of the calls.
            async with asyncio.timeout(timeout), self._turn:
                try:
                    facts = await self._facts(space)
                    request = self._request(space, channel, message, id, facts)
                    reply = await self._ask(request)
                except asyncio.CancelledError:
                    # What was not sent yet is not sent any more, and who comes next does not wait
                    # behind an answer that may never come.
                    await self.close()
                    raise
        except TimeoutError:
            what = "the message was not sent"
            if request is not None and request.is_sent:
                what = "whether the message has arrived is not known"
            raise BackplaneDown(
                f"the backplane has not answered within {timeout:g} s; {what}"
            ) from None
        if facts.keep is None:
            return Put(Position(), reply)
        epoch, offset, nodes = reply
        return Put(Position(epoch.decode(), offset), None if nodes < 0 else nodes)

    def _request(
        self, space: str, channel: str, message: str | bytes, id: str, facts: SpaceFacts
    ) -> Request:
        """Return the command that publishes a message."""
        if id and facts.keep is None:
            raise ValueError(
                f"the rooms of {space!r} have no history, in which a message with an id could be "
                "found again: leave id out, or write history: true below kwargs of its routes"
            )
        packed = packed_within(Publication(message), facts.max_message)
        name = (OWN + (id or secrets.token_hex(8))).encode()
        return publish_request(
            self._keys, channel, name, packed, facts.keep, verb=self._verb, is_named=bool(id)
        )

    async def _facts(self, space: str) -> SpaceFacts:
        """Return what the nodes say of a space now."""
        now = asyncio.get_running_loop().time()
        if space not in self._spaces or now - self._read_at > FRESH:
            await self._follow()
            request = Request(["HGETALL", self._keys.spaces], again=True)
            self._spaces, self._read_at = read_spaces(await self._ask(request)), now
        if space not in self._spaces:
            known = ", ".join(sorted(self._spaces)) or "none"
            raise LookupError(
                f"no server with the prefix {self._keys.prefix!r} on the backplane "
                f"{self._place.shown} has the space {space!r}; there are: {known}"
            )
        return self._spaces[space]

    async def _follow(self) -> None:
        """Hang up where the store is elsewhere by now.

        A primary that was replaced takes what is published, and tells it to nobody.
        """
        if isinstance(self._place, Cluster):
            with contextlib.suppress(BackplaneError):  # nobody knows better
                self._shards = await self._place.shards()
            primaries = {self._place.at(shard.primary).shown for shard in self._shards}
            for name in self._links.keys() - primaries:
                await self._links.pop(name).close()
        elif self._links and await self._place.moved():
            await self.close()

    async def _where(self, key: bytes) -> Finder:
        """Return what leads to the server that has a key."""
        if not isinstance(self._place, Cluster):
            return self._place
        self._shards = self._shards or await self._place.shards()
        slot = key_slot(key)
        for shard in self._shards:
            if any(slot in some for some in shard.slots):
                return self._place.at(shard.primary)
        raise BackplaneError("no server serves this room")

    async def _ask(self, request: Request) -> Any:
        """Have a command done, over another link where one breaks."""
        pause, has_begun = FIRST_PAUSE, False
        while True:
            try:
                link = await self._open(request.key)
                has_begun = True
                return await link.ask(request)
            except BackplaneDown as error:
                if not has_begun:
                    raise
                await self.close()
                if request.is_sent and not request.again:
                    raise BackplaneDown(
                        f"{error}; whether the message has arrived is not known"
                    ) from None
            except ReadOnlyError:
                # It is a replica now, and has not done it; who is the primary is asked for anew.
                await self.close()
                request = request.copied()
            except Strayed:
                # The key is elsewhere, or on its way, and nothing was done.
                self._shards = []
                request = request.copied()
                request.is_sent = False
            except RedisError as refusal:
                raise self._refused(refusal) from None
            await asyncio.sleep(pause)  # the caller's time is the bound
            pause = min(LONGEST_PAUSE, 2 * pause)

    async def _open(self, key: bytes) -> Link:
        """Return a link to the server that has a key."""
        try:
            place = await self._where(key)
            link = self._links.get(place.shown)
            if link is None:
                link = self._links[place.shown] = await Link.open(place, _hear_nothing)
        except AuthenticationError as error:
            raise self._refused(error) from None
        except (RedisError, OSError, TimeoutError, BackplaneError) as error:
            raise BackplaneDown(
                f"the backplane {self._place.shown} cannot be used: {reason(error)}"
            ) from None
        return link

    def _refused(self, refusal: RedisError) -> BackplaneError:
        return BackplaneError(f"the backplane {self._place.shown} refuses: {reason(refusal)}")

    async def close(self) -> None:
        """Hang up; the next message opens other links."""
        links, self._links, self._shards = self._links, {}, []
        for link in links.values():
            await link.close()


def _hear_nothing(channel: bytes, data: bytes) -> None:
    """Hear nothing: nothing is subscribed to."""
