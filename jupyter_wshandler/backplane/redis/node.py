"""One node of a deployment whose rooms stand on Redis or Valkey."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...errors import BackplaneDown
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
from .channel import Channel
from .counts import Counts
from .keys import Keys, Told
from .lifeline import ALONE, PATIENCE, Lifeline
from .link import Link, Request
from .people import Presence
from .publishing import packed_within, publish_request, spaces_request

LEASE = 20.0
"""Seconds after which an entry is over that its node has not renewed. With the time until somebody
looks (`rooms.leases`), a node that has died is in no list of members after 30 s."""

AT_ONCE = 200
"""Channels that are made again at a time."""

MAX_SHOWN = 10_000
"""Messages that are remembered as delivered here while this node was alone."""

Log = logging.Logger | logging.LoggerAdapter[Any]


class RedisBackplane(Backplane):
    """A node whose store is a Redis or Valkey server.

    Args:
        url: Where it is; see `address.Address`.
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
        self._keys = Keys(prefix)
        self._channels: dict[str, Channel] = {}
        self._by_heard: dict[bytes, Channel] = {}
        self._users: UserReceiver | None = None
        self._spaces: dict[str, Keep | None] = {}
        self._serial = 0
        # Ids of messages on their way, with the place that each was heard at.
        self._saying: dict[bytes, Position | None] = {}
        self._shown: OrderedDict[bytes, None] = OrderedDict()
        self._is_shown = self._shown.__contains__  # once for all channels
        self._fills: set[asyncio.Task[None]] = set()
        self._had_garbage = False
        self.gaps = 0
        self.filled = 0
        self.missed = 0
        self._counts = Counts()
        beat = self._keys.beat(self.node)
        address = Address(url)
        self._line = Lifeline(address, patience, beat, self._hear, self._restore, self._log)
        self._people = Presence(self._line, self._keys, lease, self._safely)

    # ---- state -----------------------------------------------------------------------------------

    @property
    def trouble(self) -> str:
        """What is wrong; empty where nothing is."""
        return self._line.trouble

    @property
    def state(self) -> State:
        """How it stands to the other nodes."""
        return self._line.state

    def counts(self) -> dict[str, float]:
        """Return numbers for the metrics."""
        line, counts = self._line, self._counts
        return {
            "up": float(line.is_up),
            "lag_seconds": line.lag,
            "breaks": line.breaks,
            "gaps": self.gaps,
            "messages_filled": self.filled,
            "rooms_missed": self.missed,
            "messages_lost": line.lost,
            "channels": len(self._channels),
            "resubscriptions": counts.resubscribed,
            "epochs_changed": counts.epochs,
            "publishing": len(self._saying),
            "outbox_messages": line.waiting,
            "outbox_bytes": line.waiting_bytes,
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
        self._line.start()
        packed = packed_within(publication, self._max)
        self._serial += 1
        name = f"{self.node}-{self._serial:x}".encode()
        request = publish_request(self._keys, channel, name, packed, keep)
        self._saying[name] = None
        began = time.monotonic()
        try:
            reply = await self._line.do(request)
        except BackplaneDown:
            if self._line.is_closed:
                raise
            if keep is not None and self._line.is_alone:
                self._line.keep(request.copied())
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
        found = [forms.logged(number, data)[0] for number, data in enumerate(entries, first)]
        if not position.epoch:
            return Past(found, Position(), since is None or since == Position())
        if since is None:
            return Past(found, position, True)
        is_same = since.epoch == position.epoch and since.offset <= end
        return Past(found, position, is_same and len(found) == end - since.offset)

    async def _log_after(
        self, channel: str, since: Position, limit: int, is_all: bool = False
    ) -> list[Any]:
        reply: list[Any] = await self._do(self._reading(channel, since, limit, is_all))
        return reply

    def _reading(
        self, channel: str, since: Position, limit: int, is_all: bool = True, begun: bool = False
    ) -> Request:
        after = "-" if is_all and not since.epoch else since.epoch
        words = [
            *self._keys.log(channel),
            forms.new_epoch(),
            since.offset,
            after,
            limit,
            int(begun),
        ]
        return Request(words, script="history", keys=2, again=True)

    async def clear(self, channel: str) -> None:
        """Forget what a channel's log holds; its numbers go on."""
        await self._do(Request(self._keys.log(channel), script="clear", keys=2))

    async def send_to_user(self, user: str, publication: Publication) -> None:
        """Give a message to the node of every connection of a user."""
        self._line.start()
        packed_within(publication, self._max)
        packed = forms.pack((user, publication))
        try:
            await self._line.do(Request(["PUBLISH", self._keys.users, packed]))
        except BackplaneDown:
            if not self._line.is_alone or self._users is None:
                raise
            self._safely(self._users, user, publication)

    async def _do(self, request: Request) -> Any:
        self._line.start()
        return await self._line.do(request)

    # ---- presence --------------------------------------------------------------------------------

    async def add(self, channel: str, key: str, entry: Entry) -> Position:
        """Add an entry of presence, or put another in its place; it is leased from now on."""
        self._line.start()
        return await self._people.add(channel, self._channels.get(channel), key, entry)

    async def remove(self, channel: str, key: str) -> None:
        """Remove an entry; without effect, and without a change, where there is none."""
        self._line.start()
        await self._people.remove(channel, self._channels.get(channel), key)

    async def renew(self, channel: str, keys: Sequence[str]) -> Sequence[str]:
        """Lease entries anew; return the keys of those that are not there any more."""
        self._line.start()
        return await self._people.renew(channel, keys)

    async def entries(self, channel: str) -> Entries:
        """Return who is present."""
        self._line.start()
        return await self._people.entries(channel, self._channels.get(channel))

    # ---- what is heard ---------------------------------------------------------------------------

    async def subscribe(self, channel: str, receiver: Receiver) -> None:
        """Hear of a channel from now on."""
        self._line.start()
        found = self._channels.get(channel)
        if found is not None:
            found.receiver = receiver
            return
        heard = self._keys.heard(channel)
        found = Channel(channel, heard, receiver, self._is_shown, self._counts)
        self._channels[channel] = self._by_heard[heard] = found
        link = self._line.link
        if link is None:
            await self._line.settled.wait()
            # Where there is no link it is subscribed when there is one.
            found.is_blind = found.link is None
            return
        found.link = link
        try:
            await link.subscribe([heard])
            reply = await self._line.do(self._reading(channel, Position(), -1))
        except (BackplaneDown, TimeoutError):
            return  # the next link does it
        if found.known is None:
            found.fill(reply)

    async def unsubscribe(self, channel: str) -> None:
        """Hear of a channel no more."""
        found = self._channels.pop(channel, None)
        if found is None:
            return
        del self._by_heard[found.heard]
        if self._line.link is not None:
            try:
                await self._line.link.unsubscribe(found.heard)
            except BackplaneDown:
                return  # the next link knows nothing of it

    async def receive_for_users(self, receiver: UserReceiver) -> None:
        """Hear of the messages that are sent to users."""
        self._users = receiver
        self._line.start()
        await self._line.settled.wait()

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
                self._look_again(channel)
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
            self._look_again(channel)

    def _safely(self, function: Callable[..., object], *args: Any) -> None:
        try:
            function(*args)
        except Exception:
            self._log.exception("What came from the backplane could not be delivered")

    # ---- for those who publish from outside ------------------------------------------------------

    def announce(self, spaces: Mapping[str, Keep | None]) -> None:
        """Say how much is kept in the rooms of each space that is served here."""
        self._spaces = dict(spaces)
        self._line.start()
        if self._line.link is not None:
            self._tell_spaces(self._line.link)

    def _tell_spaces(self, link: Link) -> None:
        if self._spaces:
            link.send(spaces_request(self._keys, self._spaces, self._max))

    # ---- gaps ------------------------------------------------------------------------------------

    def _look_again(self, channel: Channel) -> None:
        """Fill a gap that was seen on a link that lives."""
        self.gaps += 1
        link = self._line.link
        if link is None or channel.link is not link:
            return  # the next link does it
        work = self._fill(link, channel)
        task = asyncio.get_running_loop().create_task(work, name="wshandler backplane gap")
        self._fills.add(task)
        task.add_done_callback(self._fills.discard)

    async def _fill(self, link: Link, channel: Channel) -> None:
        """Read what a channel has missed, and go on with it, until nothing is missing."""
        if channel.filling is link:
            return  # whoever does sees this gap, too
        channel.filling = link
        try:
            while channel.lacks_messages or channel.lacks_people:
                if channel.lacks_messages:
                    await self._fill_messages(link, channel)
                if channel.lacks_people:
                    channel.relist(await self._people.listed(link, channel.name))
        except BackplaneDown:
            return  # the next link does it
        except Exception as error:
            link.end(error)
        finally:
            if channel.filling is link:
                channel.filling = None

    async def _fill_messages(self, link: Link, channel: Channel) -> None:
        reading = self._reading(channel.name, channel.since, 1 << 40, begun=True)
        if channel.known is None:
            reading = self._reading(channel.name, Position(), -1)
        found, is_short = channel.fill(await link.ask(reading))
        self.filled += found
        self.missed += is_short
        channel.go_on()

    async def _restore(self, link: Link) -> None:
        """Make everything again on a new link."""
        await link.subscribe([self._keys.users])
        while True:
            some = [one for one in self._channels.values() if one.link is not link]
            if not some:
                break
            for channel in some:
                self._counts.resubscribed += channel.link is not None
                channel.hold()
                channel.link = link
            await link.subscribe([channel.heard for channel in some])
        self._line.take_commands(link)
        self._tell_spaces(link)
        channels = list(self._channels.values())
        for start in range(0, len(channels), AT_ONCE):
            part = channels[start : start + AT_ONCE]
            await asyncio.gather(*(self._make_again(link, channel) for channel in part))

    async def _make_again(self, link: Link, channel: Channel) -> None:
        await self._people.make_again(link, channel.name)
        await self._fill(link, channel)

    # ---- its end ---------------------------------------------------------------------------------

    async def sweep(self) -> None:
        """Do nothing: the store lets go of what is over by itself."""

    async def close(self) -> None:
        """Let go of everything of this node."""
        await self._line.close()
        for task in tuple(self._fills):
            task.cancel()
        if self._fills:
            await asyncio.wait(tuple(self._fills))
        self._channels.clear()
        self._by_heard.clear()
        self._users = None
