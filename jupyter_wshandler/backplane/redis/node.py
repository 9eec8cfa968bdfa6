"""One node of a deployment whose rooms stand on Redis or Valkey."""

from __future__ import annotations

import contextlib
import itertools
import logging
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...errors import BackplaneDown, BackplaneError
from ..base import (
    MAX_MESSAGE,
    PREFIX,
    Backplane,
    Entries,
    Entry,
    Keep,
    Past,
    Position,
    Publication,
    Receiver,
    UserReceiver,
)
from ..measures import Histogram, State
from . import keys as forms
from .address import Address
from .catchup import CatchUp
from .channel import Channel
from .cluster import Cluster
from .counts import Counts
from .keys import Keys, Told
from .lifeline import ALONE, PATIENCE, Lifeline
from .link import Finder
from .people import Presence
from .places import place_of
from .publishing import packed_within, publish_request
from .request import Request
from .router import ClusterRouter, Router
from .sentinel import Sentinels

LEASE = 20.0
"""Seconds after which an entry is over that its node has not renewed. With the time until somebody
looks (`rooms.leases`), a node that has died is in no list of members after 30 s."""

MAX_SHOWN = 10_000
"""Messages that are remembered as delivered here while this node was alone."""

WORSE: tuple[State, ...] = ("up", "refusing", "away", "alone")
"""The states of the ways to a store; where there are several, the last of these counts."""

Log = logging.Logger | logging.LoggerAdapter[Any]


class RedisBackplane(Backplane):
    """A node whose store is a Redis or Valkey server, or a cluster of them.

    Args:
        url: Where it is; see `places.place_of`.
        prefix: What the names of all keys and pub/sub channels of the deployment begin with.
        lease: Seconds of a lease; 0 for none.
        log: Where changes of its state go.
        max_message: Bytes of a message at most.
        patience: Seconds of a break in which what is asked for waits, and nothing is given up.

    Raises:
        ValueError: The URL or the prefix cannot be.
    """

    def __init__(
        self,
        url: str,
        *,
        prefix: str = PREFIX,
        lease: float = LEASE,
        log: Log | None = None,
        max_message: int = MAX_MESSAGE,
        patience: float = PATIENCE,
    ) -> None:
        self.node = secrets.token_hex(8)
        self.lease = lease
        self._log = log or logging.getLogger("jupyter_wshandler")
        self._max = max_message
        place = place_of(url)
        self._keys = Keys(prefix, place.database)
        self._channels: dict[str, Channel] = {}
        self._by_heard: dict[bytes, Channel] = {}
        self._users: UserReceiver | None = None
        self._serial = 0
        # Ids of messages on their way, with the place that each was heard at.
        self._saying: dict[bytes, Position | None] = {}
        self._shown: OrderedDict[bytes, None] = OrderedDict()
        self._is_shown = self._shown.__contains__  # once for all channels
        self._had_garbage = False
        self._counts = Counts()
        self._patience = patience
        self._lines_made = 0
        self._router = self._route(place)
        self._people = Presence(self._router, self._keys, lease, self._safely)
        self._catchup = CatchUp(
            self._router, self._keys, self._people, self._channels, self._counts, self._log.warning
        )

    def _route(self, place: Address | Sentinels | Cluster) -> Router:
        if isinstance(place, Cluster):
            return ClusterRouter(place, self._make_line, lambda: self._catchup.rehome())
        return Router(self._make_line(place))

    def _make_line(self, place: Finder) -> Lifeline:
        self._lines_made += 1
        return Lifeline(
            place,
            self._patience,
            self._keys.beat(f"{self.node}-{self._lines_made}"),
            self._hear,
            lambda line, link: self._catchup.restore(line, link),
            self._log,
        )

    # ---- state -----------------------------------------------------------------------------------

    @property
    def trouble(self) -> str:
        """What is wrong; empty where nothing is."""
        return self._worst_line.trouble

    @property
    def state(self) -> State:
        """How it stands to the other nodes."""
        return self._worst_line.state

    @property
    def _worst_line(self) -> Lifeline:
        return max(self._router.lines, key=lambda line: WORSE.index(line.state))

    def counts(self) -> dict[str, float]:
        """Return numbers for the metrics."""
        lines, counts = self._router.lines, self._counts
        return {
            "up": float(all(line.is_up for line in lines)),
            "lag_seconds": max(line.lag for line in lines),
            "breaks": sum(line.breaks for line in lines),
            "gaps": counts.gaps,
            "messages_filled": counts.filled,
            "rooms_missed": counts.missed,
            "messages_lost": sum(line.lost for line in lines),
            "channels": len(self._channels),
            "resubscriptions": counts.resubscribed,
            "epochs_changed": counts.epochs,
            "publishing": len(self._saying),
            "outbox_messages": self._router.waiting,
            "outbox_bytes": self._router.waiting_bytes,
        }

    @property
    def publish_times(self) -> Histogram:
        """How long publishing has taken."""
        return self._counts.publishing

    # ---- messages --------------------------------------------------------------------------------

    async def publish(
        self, channel: str, publication: Publication, keep: Keep | None = None
    ) -> Position:
        """Number a message, keep it, and give it to all who have subscribed."""
        self._router.start()
        packed = packed_within(publication, self._max)
        self._serial += 1
        name = f"{self.node}-{self._serial:x}".encode()
        verb = self._router.publish
        request = publish_request(self._keys, channel, name, packed, keep, verb=verb)
        self._saying[name] = None
        began = time.monotonic()
        try:
            reply = await self._router.do(request)
        except BackplaneDown:
            line = self._router.line(request.key)
            if line.is_closed:
                raise
            if keep is not None and line.is_alone:
                line.keep(request.copied())
            reply = ALONE
        finally:
            heard_at = self._saying.pop(name)
        if reply is ALONE:
            return self._show(channel, name, publication) if heard_at is None else heard_at
        self._counts.publishing.add(time.monotonic() - began)
        return Position() if keep is None else Position(reply[0].decode(), reply[1])

    def _show(self, channel: str, name: bytes, publication: Publication) -> Position:
        """Deliver a message on this node, which is alone; nothing numbers it."""
        self._shown[name] = None
        if len(self._shown) > MAX_SHOWN:
            self._shown.popitem(last=False)
        found = self._channels.get(channel)
        if found is not None:
            found.is_blind = True  # the others get it later, or never
            self._safely(found.receiver.published, publication, Position())
        return Position()

    async def history(self, channel: str, since: Position | None = None, limit: int = 0) -> Past:
        """Return what was published after a position, the oldest first."""
        reply = await self._log_after(channel, since or Position(), limit or 1 << 40, since is None)
        epoch, end, _, entries = reply
        position = Position(epoch.decode(), end)
        first = end - len(entries) + 1
        read = (forms.logged(number, data) for number, data in enumerate(entries, first))
        found = [one[0] for one in read if one is not None]
        if not position.epoch:
            return Past(found, Position(), since is None or since == Position())
        if since is None:
            return Past(found, position, len(found) == len(entries))
        is_same = since.epoch == position.epoch and since.offset <= end
        return Past(found, position, is_same and len(found) == end - since.offset)

    async def _log_after(
        self, channel: str, since: Position, limit: int, is_all: bool = False
    ) -> list[Any]:
        reply: list[Any] = await self._do(self._catchup.reading(channel, since, limit, is_all))
        return reply

    async def clear(self, channel: str) -> None:
        """Forget what a channel's log holds; its numbers go on."""
        await self._do(Request(self._keys.log(channel), script="clear", keys=2))

    async def send_to_user(self, user: str, publication: Publication) -> None:
        """Give a message to the node of every connection of a user."""
        self._router.start()
        packed_within(publication, self._max)
        packed = forms.pack((user, publication))
        try:
            await self._router.do(Request([self._router.publish, self._keys.users, packed]))
        except BackplaneDown:
            if not self._router.line(self._keys.users).is_alone or self._users is None:
                raise
            self._safely(self._users, user, publication)

    async def _do(self, request: Request) -> Any:
        self._router.start()
        return await self._router.do(request)

    # ---- presence --------------------------------------------------------------------------------

    async def add(self, channel: str, key: str, entry: Entry) -> Position:
        """Add an entry of presence, or put another in its place; it is leased from now on."""
        self._router.start()
        return await self._people.add(channel, self._channels.get(channel), key, entry)

    async def remove(self, channel: str, key: str) -> None:
        """Remove an entry; without effect, and without a change, where there is none."""
        self._router.start()
        await self._people.remove(channel, self._channels.get(channel), key)

    async def renew(self, channel: str, keys: Sequence[str]) -> Sequence[str]:
        """Lease entries anew; return the keys of those that are not there any more."""
        self._router.start()
        return await self._people.renew(channel, keys)

    async def entries(self, channel: str) -> Entries:
        """Return who is present."""
        self._router.start()
        return await self._people.entries(channel, self._channels.get(channel))

    # ---- what is heard ---------------------------------------------------------------------------

    async def subscribe(self, channel: str, receiver: Receiver) -> None:
        """Hear of a channel from now on."""
        self._router.start()
        found = self._channels.get(channel)
        if found is not None:
            found.receiver = receiver
            return
        heard = self._keys.heard(channel)
        found = Channel(channel, heard, receiver, self._is_shown, self._counts)
        self._channels[channel] = self._by_heard[heard] = found
        await self._catchup.attach(found)

    async def unsubscribe(self, channel: str) -> None:
        """Hear of a channel no more."""
        found = self._channels.pop(channel, None)
        if found is None:
            return
        del self._by_heard[found.heard]
        if found.link is not None:
            try:
                await found.link.unsubscribe(found.heard)
            except BackplaneDown:
                return  # the next link knows nothing of it

    async def receive_for_users(self, receiver: UserReceiver) -> None:
        """Hear of the messages that are sent to users."""
        self._users = receiver
        self._router.start()
        await self._catchup.receive_for_users()

    def _hear(self, heard: bytes, data: bytes) -> None:
        """Take what is published; it was written by another node, or by anybody with the URL."""
        try:
            if heard == self._keys.users:
                if self._users is not None:
                    self._safely(self._users, *forms.unpack_for_user(data))
                return
            channel = self._by_heard.get(heard)
            if channel is None:
                return
            if data[:1] == b"m":
                self._hear_message(channel, forms.message(data))
            elif channel.hear_change(forms.change(data)):
                self._catchup.look_again(channel)
        except Exception as error:
            if not self._had_garbage:
                self._had_garbage = True
                self._log.error(
                    "What came from the backplane cannot be read or delivered (%s); more of it "
                    "is left out without a word",
                    type(error).__name__,
                )

    def _hear_message(self, channel: Channel, told: Told) -> None:
        if told.id in self._saying:
            self._saying[told.id] = told.position
        if channel.hear(told):
            self._catchup.look_again(channel)

    def _safely(self, function: Callable[..., object], *args: Any) -> None:
        try:
            function(*args)
        except Exception:
            self._log.exception("What came from the backplane could not be delivered")

    # ---- for those who publish from outside ------------------------------------------------------

    def announce(self, spaces: Mapping[str, Keep | None]) -> None:
        """Say how much is kept in the rooms of each space that is served here."""
        self._router.start()
        self._catchup.announce(spaces, self._max)

    # ---- its end ---------------------------------------------------------------------------------

    async def sweep(self) -> None:
        """Look after what the store may have lost; it lets go of what is over by itself."""
        self._catchup.look_after_spaces()
        for line in self._router.lines:
            if line.state == "refusing":
                await self._try(line)

    async def _try(self, line: Lifeline) -> None:
        """Find out whether a store that has refused takes messages again, also while none is said.

        Args:
            line: The way to it.
        """
        channels = map("try-{}".format, itertools.count())
        channel = next(one for one in channels if self._router.line(self._keys.heard(one)) is line)
        packed, keep = forms.pack(Publication("")), Keep(size=1, bytes=1000, ttl=1.0)
        with contextlib.suppress(BackplaneError):
            await line.do(publish_request(self._keys, channel, b"try", packed, keep))

    async def close(self) -> None:
        """Let go of everything of this node."""
        await self._router.close()
        await self._catchup.close()
        self._channels.clear()
        self._by_heard.clear()
        self._users = None
