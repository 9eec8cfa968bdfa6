"""One connection to one server that is asked and answers, and what it is asked."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from redis.exceptions import NoScriptError, ResponseError

from .facts import read_facts
from .refusals import known
from .scripts import Script

if TYPE_CHECKING:
    from redis.asyncio.connection import AbstractConnection

    from .address import Address

LOOK = 5.0
"""Seconds after which a server is asked again whether it still is what it was."""


class Call(NamedTuple):
    """One call: a command, or a script with its keys and arguments."""

    words: Sequence[Any]
    script: Script | None = None
    keys: int = 0

    @property
    def key(self) -> bytes:
        """What says where it belongs in a cluster: its first key."""
        word = self.words[0 if self.script else 1]
        return word if isinstance(word, bytes) else str(word).encode()

    def packed(self) -> list[Any]:
        """Return the words as they are sent."""
        if self.script is None:
            return list(self.words)
        return ["EVALSHA", self.script.sha, self.keys, *self.words]


def script_of(source: str) -> Script:
    """Return a script by its text."""
    whole = source.encode()
    # SHA-1 is what EVALSHA takes; nothing rests on its strength.
    return Script(whole, hashlib.sha1(whole, usedforsecurity=False).hexdigest())


class Talk:
    """A connection to a server that will do, by what it says of itself.

    Args:
        connection: The connection, which is open.
        address: Where it leads to.
    """

    def __init__(self, connection: AbstractConnection, address: Address) -> None:
        self._connection = connection
        self._address = address
        self._looked_at = 0.0
        self.facts = read_facts(b"")
        """What the server has said of itself last."""

    @classmethod
    async def open(cls, address: Address) -> Talk:
        """Connect, and look at the server.

        Args:
            address: Where it is.

        Raises:
            Exception: It cannot be, or will not do; as of `Address.connect`, or `BackplaneError`.
        """
        talk = cls(await address.connect(), address)
        try:
            await talk.look()
        except BaseException:
            await talk.close()
            raise
        return talk

    @property
    def is_look_due(self) -> bool:
        """Whether nobody has looked at it for some seconds."""
        return time.monotonic() - self._looked_at >= LOOK

    async def look(self) -> None:
        """Look what the server says of itself now.

        Raises:
            BackplaneError: It will not do any more.
            RedisError: It does not say.
        """
        (info,) = await self._round([["INFO"]])
        if isinstance(info, ResponseError):
            raise info
        facts = read_facts(info)
        facts.check(self._address.is_sharded, is_found=self._address.is_found)
        self.facts, self._looked_at = facts, time.monotonic()

    async def do(self, calls: Sequence[Call], *, asks: bool = False) -> list[Any]:
        """Make calls, in one go, and return the answers; a refusal is one of them.

        Args:
            calls: What is asked.
            asks: Whether the slot is on its way to this server of a cluster, so that it has to be
                told for each that this is known.
        """
        replies = await self._make(calls, asks)
        unknown = [n for n, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
        if unknown:
            # These were not run: the server has forgotten them (a restart, SCRIPT FLUSH, an
            # eviction), or sees them for the first time.
            scripts = {calls[n].script for n in unknown}
            sources = [["SCRIPT", "LOAD", script.source] for script in scripts if script]
            loads = await self._round(sources)
            anew = await self._make([calls[n] for n in unknown], asks)
            # Who may not load a script is to be told that, and not that there is none.
            refusal = next((reply for reply in loads if isinstance(reply, ResponseError)), None)
            for n, reply in zip(unknown, anew, strict=True):
                replies[n] = refusal or reply
        return replies

    async def _make(self, calls: Sequence[Call], asks: bool) -> list[Any]:
        if not asks:
            return await self._round([call.packed() for call in calls])
        both = [words for call in calls for words in (["ASKING"], call.packed())]
        return (await self._round(both))[1::2]

    async def _round(self, commands: Sequence[Sequence[Any]]) -> list[Any]:
        """Send commands and read as many answers."""
        connection = self._connection
        # It would connect anew by itself, to a store that may be another one by now.
        if not connection.is_connected:
            raise ConnectionError("the connection was closed")
        await connection.send_packed_command(connection.pack_commands(commands), check_health=False)
        replies: list[Any] = []
        for _ in commands:
            try:
                replies.append(await connection.read_response())
            except ResponseError as refusal:
                replies.append(known(refusal))
        return replies

    async def close(self) -> None:
        """Hang up."""
        await self._connection.disconnect(nowait=True)
        await asyncio.sleep(0)  # the loop may not run again for long
