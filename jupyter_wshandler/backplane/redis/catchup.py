"""How the channels of a node catch up: with what they have missed, and on each new link."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ...errors import BackplaneDown
from ..base import Position
from . import keys as forms
from .channel import Channel
from .keys import Keys
from .lifeline import Lifeline
from .link import Link
from .people import Presence
from .request import Request

AT_ONCE = 200
"""Channels that are made again at a time."""


class CatchUp:
    """What has the channels of one node catch up.

    Args:
        line: Returns the way to the store.
        keys: What things are called there.
        people: Who of this node is present.
        channels: What the node hears, by name.
    """

    def __init__(
        self,
        line: Callable[[], Lifeline],
        keys: Keys,
        people: Presence,
        channels: dict[str, Channel],
    ) -> None:
        self._line = line
        self._keys = keys
        self._people = people
        self._channels = channels
        self._fills: set[asyncio.Task[None]] = set()
        self.gaps = 0
        self.filled = 0
        self.missed = 0

    # ---- gaps ------------------------------------------------------------------------------------

    def look_again(self, channel: Channel) -> None:
        """Fill a gap that was seen on a link that lives."""
        self.gaps += 1
        link = self._line().link
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
        reading = self.reading(channel.name, channel.since, 1 << 40, begun=True)
        if channel.known is None:
            reading = self.reading(channel.name, Position(), -1)
        found, is_short = channel.fill(await link.ask(reading))
        self.filled += found
        self.missed += is_short
        channel.go_on()

    def reading(
        self, channel: str, since: Position, limit: int, is_all: bool = True, begun: bool = False
    ) -> Request:
        """Return what asks for a log; see the script `history`.

        Args:
            channel: Whose log.
            since: The last message that is known.
            limit: Messages to return at most, the newest ones; -1 for none.
            is_all: Whether all that there is counts as wanted where `since` has no epoch.
            begun: Whether of another epoch only what it began with is wanted.
        """
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

    # ---- a new link ------------------------------------------------------------------------------

    async def restore(self, link: Link) -> None:
        """Make everything again on a new link."""
        await link.subscribe([self._keys.users])
        while True:
            some = [one for one in self._channels.values() if one.link is not link]
            if not some:
                break
            for channel in some:
                channel.hold()
                channel.link = link
            await link.subscribe([channel.heard for channel in some])
        self._line().take_commands(link)
        channels = list(self._channels.values())
        for start in range(0, len(channels), AT_ONCE):
            part = channels[start : start + AT_ONCE]
            await asyncio.gather(*(self._make_again(link, channel) for channel in part))

    async def _make_again(self, link: Link, channel: Channel) -> None:
        await self._people.make_again(link, channel.name)
        await self._fill(link, channel)

    async def close(self) -> None:
        """Fill nothing any more."""
        for task in tuple(self._fills):
            task.cancel()
        if self._fills:
            await asyncio.wait(tuple(self._fills))
