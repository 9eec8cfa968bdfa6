"""How the channels of a node catch up: with what they have missed, on each new link, and where a
cluster has them now.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from redis.exceptions import ResponseError

from ...errors import BackplaneDown, BackplaneError
from ..base import Keep, Position
from . import keys as forms
from .channel import Channel
from .counts import Counts
from .keys import Keys
from .lifeline import Lifeline
from .link import Link
from .people import Presence
from .publishing import SpaceFacts, read_spaces, spaces_request
from .refusals import Strayed, is_of_one_key
from .request import Request
from .router import MOVING, PAUSES, Router

AT_ONCE = 200
"""Channels that are made again at a time."""

MAX_READ = 1024 * 1024
"""Bytes of messages after which one script reads no further channel's."""


class CatchUp:
    """What has the channels of one node catch up.

    Args:
        router: The ways to the store.
        keys: What things are called there.
        people: Who of this node is present.
        channels: What the node hears, by name.
        counts: What the node counts.
        warn: Writes a line for the administrator, given as a logger takes it.
    """

    def __init__(
        self,
        router: Router,
        keys: Keys,
        people: Presence,
        channels: dict[str, Channel],
        counts: Counts,
        warn: Callable[..., object],
    ) -> None:
        self._warn = warn
        self._router = router
        self._keys = keys
        self._people = people
        self._channels = channels
        self._counts = counts
        self._users: Link | None = None  # where messages to users are heard
        self._spaces: dict[str, Keep | None] = {}
        self._max = 0
        self._told_spaces: Link | None = None  # where was said what the spaces keep
        self._odd: dict[str, SpaceFacts] = {}  # what others say of spaces of this node
        self._fills: set[asyncio.Task[None]] = set()

    # ---- gaps ------------------------------------------------------------------------------------

    def look_again(self, channel: Channel) -> None:
        """Fill a gap that was seen on a link that lives."""
        self._counts.gaps += 1
        link = self._router.line(channel.heard).link
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
                try:
                    await self._read(link, channel)
                except ResponseError as refusal:
                    if not is_of_one_key(refusal):
                        raise
                    channel.skip()
        except BackplaneDown:
            return  # the next link does it
        except Strayed:
            self._let_go(link, [channel])
        except Exception as error:
            link.end(error)
        finally:
            if channel.filling is link:
                channel.filling = None

    async def _read(self, link: Link, channel: Channel) -> None:
        if channel.lacks_messages:
            await self._fill_messages(link, channel)
        if channel.lacks_people:
            before = channel.epochs_held
            channel.relist(await self._people.listed(link, channel.name), before)

    async def _fill_messages(self, link: Link, channel: Channel) -> None:
        before = channel.epochs_held
        reading = Request(
            [*self._keys.log(channel.name), forms.new_epoch(), *_missing(channel)],
            script="history",
            keys=2,
            again=True,
        )
        self._take(channel, await link.ask(reading), before)

    def _take(self, channel: Channel, reply: list[Any], before: set[str]) -> None:
        found, is_short = channel.fill(reply)
        self._counts.filled += found
        self._counts.missed += is_short
        channel.go_on(before)

    async def _fill_several(self, link: Link, channels: list[Channel]) -> None:
        """Read what channels have missed by one script: ten thousand of them take their time.

        Those that it does not come to, and what else they lack, are left to `_fill`.
        """
        before = {one: one.epochs_held for one in channels}
        keys = [key for one in channels for key in self._keys.log(one.name)]
        words = [*keys, forms.new_epoch(), MAX_READ]
        for one in channels:
            one.filling = link
            words += _missing(one)
        reading = Request(words, script="histories", keys=len(keys), again=True)
        try:
            replies = await link.ask(reading)
            for one, reply in zip(channels, replies, strict=True):
                if reply is not None:
                    self._take(one, reply, before[one])
        except BackplaneDown:
            return  # the next link does it
        except Exception as error:
            if not (isinstance(error, ResponseError) and is_of_one_key(error)):
                link.end(error)  # else each is read by itself
        finally:
            for one in channels:
                if one.filling is link:
                    one.filling = None

    def reading(self, channel: str, since: Position, limit: int, is_all: bool = True) -> Request:
        """Return what asks for a log; see the script `history`.

        Args:
            channel: Whose log.
            since: The last message that is known.
            limit: Messages to return at most, the newest ones; -1 for none.
            is_all: Whether all that there is counts as wanted where `since` has no epoch.
        """
        after = "-" if is_all and not since.epoch else since.epoch
        words = [*self._keys.log(channel), forms.new_epoch(), since.offset, after, limit, 0]
        return Request(words, script="history", keys=2, again=True)

    # ---- where channels are heard ----------------------------------------------------------------

    async def attach(self, channel: Channel) -> None:
        """Hear of a channel that is new; return once nothing that follows is left out.

        Raises:
            BackplaneError: Its slot of a cluster is on its way to another server for too long.
        """
        pause, longest = PAUSES
        till = asyncio.get_running_loop().time() + MOVING
        while True:
            line = self._router.line(channel.heard)
            link = line.link
            if link is None:
                await line.settled.wait()
                if line is self._router.line(channel.heard) and line.link is None:
                    # Where there is no link it is subscribed when there is one.
                    channel.is_blind = channel.link is None
                    return
                continue
            if channel.link is link:
                # The new link has it already, or will in a moment.
                if not channel.lacks_messages:
                    return
                await asyncio.sleep(pause)
                continue
            channel.link = link
            try:
                await link.subscribe([channel.heard])
                reading = self.reading(channel.name, Position(), -1)
                reply = await self._router.do(reading)
            except (BackplaneDown, TimeoutError):
                return  # the next link does it
            except Strayed as error:
                if channel.link is link:  # else somebody has it on its way already
                    channel.link = None
                if asyncio.get_running_loop().time() > till:
                    raise BackplaneError(
                        f"the cluster has no place for this room: {error}"
                    ) from None
                await asyncio.sleep(pause)
                pause = min(longest, 2 * pause)
                await self._refresh()
                continue
            if channel.known is None:
                channel.fill(reply)
            if channel.lacks_messages and channel.link is link:  # it was on its way meanwhile
                await self._fill(link, channel)
            return

    async def receive_for_users(self) -> None:
        """Return once messages to users are heard, or there is nobody to hear them from."""
        while True:
            line = self._router.line(self._keys.users)
            await line.settled.wait()
            if line is self._router.line(self._keys.users):
                return

    async def _refresh(self) -> None:
        try:
            await self._router.refresh()
        except BackplaneError:
            return  # the next look says it

    async def restore(self, line: Lifeline, link: Link) -> None:
        """Make everything again on a new link."""
        link.on_lost = self._lose
        await self._hear_for_users(line, link)
        while True:
            some = [one for one in self._of(line) if one.link is not link]
            if not some or not await self._move(link, some):
                break
        line.take_commands(link)
        self._tell_spaces()
        await self._make_all_again(link, [one for one in self._of(line) if one.link is link])
        self._people.forget(self._channels)
        self._router.unsettle()  # of a cluster something may have moved meanwhile

    def _of(self, line: Lifeline) -> list[Channel]:
        return [one for one in self._channels.values() if self._router.line(one.heard) is line]

    async def _hear_for_users(self, line: Lifeline, link: Link) -> None:
        users = self._keys.users
        if self._router.line(users) is not line or self._users is link:
            return
        try:
            await link.subscribe([users])
            self._users = link
        except Strayed:
            self._router.unsettle()

    async def _move(self, link: Link, channels: list[Channel]) -> bool:
        """Hear of channels on a link, and hold what comes; return whether it is the right one."""
        for channel in channels:
            # One that was let go of has no link, and was heard before nevertheless.
            self._counts.resubscribed += channel.link is not None or channel.known is not None
            channel.hold(channel.link is not None and channel.link.ended.done())
            channel.link = link
        try:
            await link.subscribe([channel.heard for channel in channels])
        except Strayed:
            self._let_go(link, channels)
            return False
        return True

    async def _make_all_again(self, link: Link, channels: list[Channel]) -> None:
        for start in range(0, len(channels), AT_ONCE):
            part = channels[start : start + AT_ONCE]
            if self._router.asks_for_several:
                some = [one for one in part if one.lacks_messages and one.filling is not link]
                if some:
                    await self._fill_several(link, some)
            rest = [one for one in part if self._is_to_be_made_again(one)]
            await asyncio.gather(*(self._make_again(link, one) for one in rest))

    def _is_to_be_made_again(self, channel: Channel) -> bool:
        return channel.lacks_messages or channel.lacks_people or self._people.is_in(channel.name)

    async def _make_again(self, link: Link, channel: Channel) -> None:
        try:
            await self._people.make_again(link, channel.name)
        except Strayed:
            self._let_go(link, [channel])
            return
        except ResponseError as refusal:
            if not is_of_one_key(refusal):
                raise
        await self._fill(link, channel)

    def _let_go(self, link: Link, channels: list[Channel]) -> None:
        """Take note that channels belong to another server of the cluster, or will in a moment."""
        for channel in channels:
            if channel.link is link:
                channel.link = None
        self._router.unsettle()

    def _lose(self, link: Link, heard: bytes) -> None:
        """Take note that a server does not tell of a channel any more."""
        if heard == self._keys.users and self._users is link:
            self._users = None
        self._let_go(link, [one for one in self._channels.values() if one.heard == heard])

    async def rehome(self) -> bool:
        """Have each channel heard where it belongs; return whether all are."""
        self._tell_spaces()
        by_line: dict[Lifeline, list[Channel]] = {}
        for channel in self._channels.values():
            line = self._router.line(channel.heard)
            # Where there is no link yet, the new one does it.
            if line.link is not None and channel.link is not line.link:
                by_line.setdefault(line, []).append(channel)
        users = self._router.line(self._keys.users)
        if users.link is not None and self._users is not users.link:
            by_line.setdefault(users, [])
        moves = [self._bring(line, some) for line, some in by_line.items()]
        return all(await asyncio.gather(*moves))

    async def _bring(self, line: Lifeline, channels: list[Channel]) -> bool:
        link = line.link
        if link is None:
            return True
        try:
            await self._hear_for_users(line, link)
            if not await self._move(link, channels):
                return False
            await self._make_all_again(link, channels)
        except (BackplaneDown, TimeoutError):
            return True  # the next link does it
        except Exception as error:
            link.end(error)
            return True
        return all(one.link is link for one in channels)

    # ---- for those who publish from outside ------------------------------------------------------

    def announce(self, spaces: Mapping[str, Keep | None], most: int) -> None:
        """Say how much is kept in the rooms of each space, now and on each new link.

        Args:
            spaces: The spaces, with what is kept of each of their rooms.
            most: Bytes of a message.
        """
        self._spaces, self._max, self._told_spaces = dict(spaces), most, None
        self._tell_spaces()

    def _tell_spaces(self) -> None:
        """Say it where it belongs, unless it was said there."""
        line = self._router.line(self._keys.spaces)
        if self._spaces and line.link is not None and line.link is not self._told_spaces:
            self._told_spaces = line.link
            line.post(spaces_request(self._keys, self._spaces, self._max))

    def look_after_spaces(self) -> None:
        """Look whether the store still knows, and say it again where it does not.

        FLUSHALL ends no link. What other nodes say of a space is left alone, and the administrator
        told once where it is something else: what one node keeps and another one does not, clients
        miss without being told.
        """
        line = self._router.line(self._keys.spaces)
        if self._spaces and line.link is not None and line.link is self._told_spaces:
            asking = Request(["HGETALL", self._keys.spaces], again=True)
            asking.future.add_done_callback(self._see_spaces)
            line.post(asking)

    def _see_spaces(self, future: asyncio.Future[Any]) -> None:
        if future.cancelled() or future.exception() is not None:
            return  # the next look says more
        told: list[bytes] = future.result()
        if not {name.encode() for name in self._spaces} <= set(told[::2]):
            self._told_spaces = None
            self._tell_spaces()
        for space, facts in read_spaces(told).items():
            keep = self._spaces.get(space)
            own = SpaceFacts(keep, self._max)
            if space in self._spaces and facts not in (own, self._odd.get(space)):
                self._odd[space] = facts
                self._warn(
                    "Another server says of the space %r: %s; this one: %s. All servers of a "
                    "deployment need the same `history` and `backplane_max_message`: else clients "
                    "miss messages without being told",
                    space,
                    facts.told(),
                    own.told(),
                )

    # ---- its end ---------------------------------------------------------------------------------

    async def close(self) -> None:
        """Fill nothing any more."""
        for task in tuple(self._fills):
            task.cancel()
        if self._fills:
            await asyncio.wait(tuple(self._fills))


def _missing(channel: Channel) -> list[Any]:
    """Return what the script `past` takes for what a channel has missed."""
    if channel.known is None:
        return [0, "-", -1, 1]
    return [channel.since.offset, channel.since.epoch, 1 << 40, 1]
