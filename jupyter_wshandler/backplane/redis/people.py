"""What one node has in the lists of who is present, and what becomes of it in a break."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import Any, Literal

from redis.exceptions import OutOfMemoryError

from ...errors import BackplaneDown
from ..base import Change, Entries, Entry, Position
from . import keys as forms
from .channel import Channel
from .keys import Keys
from .link import Link
from .request import Request
from .router import Router


class Presence:
    """The entries of presence of one node.

    While the node is alone its own people come and go here; the store learns of it afterwards.

    Args:
        router: The ways to the store.
        keys: What things are called there.
        lease: Seconds of a lease; 0 for none.
        safely: Calls a function, and writes to the log what it raises.
    """

    def __init__(
        self, router: Router, keys: Keys, lease: float, safely: Callable[..., object]
    ) -> None:
        self._router = router
        self._keys = keys
        self._lease = int(lease * 1000)
        self._safely = safely
        self._own: dict[str, dict[str, Entry]] = {}
        self._gone: dict[str, dict[str, None]] = {}  # entries that left while this node was alone

    def _asking(self, script: str, channel: str, *rest: Any) -> Request:
        words: list[Any] = [*self._keys.people(channel), self._keys.heard(channel)]
        words += [forms.new_epoch(), self._lease, *rest]
        return Request(words, script=script, keys=3, again=True)

    async def add(self, channel: str, found: Channel | None, key: str, entry: Entry) -> Position:
        """Add an entry; see `Backplane.add`.

        Args:
            channel: Its channel.
            found: What this node hears of the channel; None for nothing.
            key: Names the entry.
            entry: The entry.
        """
        packed = forms.pack(entry)
        self._own.setdefault(channel, {})[key] = entry
        self._gone.get(channel, {}).pop(key, None)
        try:
            reply = await self._do(self._asking("add", channel, key.encode(), packed))
        except BackplaneDown:
            return self._change_here("add", found, key, entry)
        return Position(reply[0].decode(), reply[1])

    async def remove(self, channel: str, found: Channel | None, key: str) -> None:
        """Remove an entry; see `Backplane.remove`."""
        own = self._own.get(channel, {})
        entry = own.pop(key, None)
        if not own:
            self._own.pop(channel, None)
        try:
            await self._do(self._asking("remove", channel, key.encode()))
        except BackplaneDown:
            self._gone.setdefault(channel, {})[key] = None
            if entry is not None:
                self._change_here("remove", found, key, entry)

    async def _do(self, request: Request) -> Any:
        """Have a change made by the store.

        Raises:
            BackplaneDown: There is no link. A node that was given up on just as the next link came
                asks that one: what it numbered by itself from now on would be taken for changes
                that the store will tell of.
        """
        while True:
            try:
                return await self._router.do(request)
            except BackplaneDown:
                if self._router.line(request.key).link is None:
                    raise
                request = request.copied()

    def _change_here(
        self, kind: Literal["add", "remove"], found: Channel | None, key: str, entry: Entry
    ) -> Position:
        """Tell this node of a change that the store does not know; the list comes anew later."""
        if found is None:
            return Position()
        known = found.people or Position()
        # The next number, so that clients take it; the list behind the break has its own.
        found.people = Position(known.epoch, known.offset + 1)
        found.has_people = True
        self._safely(found.receiver.changed, Change(found.people, kind, key, entry))
        return found.people

    async def renew(self, channel: str, keys: Sequence[str]) -> Sequence[str]:
        """Lease entries anew; return the keys of those that are not there any more."""
        words = [key.encode() for key in keys]
        try:
            lost = await self._router.do(self._asking("renew", channel, *words))
        except BackplaneDown:
            return []  # all is made again when it is back
        return [key.decode() for key in lost]

    async def entries(self, channel: str, found: Channel | None) -> Entries:
        """Return who is present; while this node is alone, who of its own is."""
        if found is not None:
            found.has_people = True
        while True:
            heard = None if found is None else found.people
            try:
                entries = forms.listed(await self._router.do(self._asking("entries", channel)))
            except BackplaneDown:
                known = Position() if found is None or found.people is None else found.people
                return Entries(dict(self._own.get(channel, {})), known)
            if found is None:
                return entries
            if found.people is None:
                found.people = entries.position  # what is told while this node is alone comes after
            if found.people == heard or found.people.epoch == entries.position.epoch:
                return entries
            # Changes of another epoch were heard meanwhile: which of the two is over?

    async def listed(self, link: Link, channel: str) -> Entries:
        """Return who is present, as one link says it."""
        return forms.listed(await link.ask(self._asking("entries", channel)))

    def is_in(self, channel: str) -> bool:
        """Return whether somebody of this node is in a list, or is to be taken out of it."""
        return channel in self._own or channel in self._gone

    async def make_again(self, link: Link, channel: str) -> None:
        """Tell the store what has changed in a break, and what it has lost."""
        gone = tuple(self._gone.get(channel, ()))
        own = self._own.get(channel, {})
        if gone:
            await link.ask(self._asking("remove", channel, *(key.encode() for key in gone)))
            self._gone.pop(channel, None)
        if not own:
            return
        words = [key.encode() for key in own]
        lost = map(bytes.decode, await link.ask(self._asking("renew", channel, *words)))
        await asyncio.gather(*(self._put_back(link, channel, key) for key in lost))

    async def _put_back(self, link: Link, channel: str, key: str) -> None:
        entry = self._own.get(channel, {}).get(key)
        if entry is None:  # it has left meanwhile
            return
        # A full store takes it later: who renews it is told that it is not there, and adds it.
        with contextlib.suppress(OutOfMemoryError):
            await link.ask(self._asking("add", channel, key.encode(), forms.pack(entry)))
