"""Calls to a store that wait for their answers, made in a thread: for what is kept, and not told.

Sessions and shares are called in threads of their own, as a file would be. So this is one
connection that is asked and answers; nothing is heard on it. It has an event loop of its own, which
runs while a call does: the connections are the same as those of rooms (`address.Address`).

A call takes `TIMEOUT` seconds at most. Where the store has just not answered, the next calls fail
at once, so that nobody waits for the same thing one after another. A call whose answer was lost is
made once more on a new connection, so **each has to mean the same when it is made twice**: what
counts has an id that its script remembers.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from redis.exceptions import (
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)

from ... import forks
from ...errors import BackplaneError
from .address import STRANGER, Address
from .facts import Facts, read_facts
from .link import reason
from .scripts import Script

if TYPE_CHECKING:
    from redis.asyncio.connection import AbstractConnection

TIMEOUT = 1.5
"""Seconds for a call, its connection included; less than a session waits for its store."""

FIRST_REST = 0.25
LONGEST_REST = 5.0
"""Seconds after a failure in which nothing is tried: the first time, and at most."""


class StoreError(BackplaneError):
    """What a store does not do, or refuses; says why, and holds nothing of a login.

    Args:
        words: Why.
        is_unsure: Whether it may have been done all the same: the answer was lost.
    """

    def __init__(self, words: str, *, is_unsure: bool = False) -> None:
        super().__init__(words)
        self.is_unsure = is_unsure


class Call(NamedTuple):
    """One call: a command, or a script with its keys and arguments."""

    words: Sequence[Any]
    script: Script | None = None
    keys: int = 0

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


class Conversation:
    """One connection to a store, for calls that wait; one thread at a time makes them.

    Args:
        url: Where the store is; see `address.Address`. Nothing is connected before the first call.

    Raises:
        ValueError: It is none; the text never holds the URL's user or password.
    """

    def __init__(self, url: str) -> None:
        self._address = Address(url)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._connection: AbstractConnection | None = None
        self._rest = 0.0
        self._rests_until = 0.0
        self._why = ""
        self.facts = Facts()
        """What the store has said of itself when it was connected to last."""

    @property
    def shown(self) -> str:
        """The URL without what is secret in it."""
        return self._address.shown

    def ask(self, *calls: Call) -> list[Any]:
        """Make calls, in one go, and return their answers.

        Args:
            calls: Each means the same when it is made twice.

        Raises:
            StoreError: The store does not answer, or refuses one of them.
        """
        if time.monotonic() < self._rests_until:
            raise StoreError(self._why)
        loop = self._loop
        if loop is None:
            loop = self._loop = asyncio.new_event_loop()
            forks.guard(self)
        sent = _Sent()
        try:
            replies = loop.run_until_complete(self._within(calls, sent))
        except (OSError, TimeoutError, RedisError, BackplaneError) as error:
            raise self._failed(error, sent.is_sent) from None
        except (ValueError, EOFError):
            # What answers there speaks another protocol; redis-py stumbles over it.
            raise self._failed(BackplaneError(STRANGER), sent.is_sent) from None
        except BaseException:
            # What was asked may still be answered, and would be taken for the next answer.
            loop.run_until_complete(self._hang_up())
            raise
        self._rest = self._rests_until = 0.0
        for reply in replies:
            if isinstance(reply, ResponseError):
                if isinstance(reply, ReadOnlyError):
                    # It is a replica now: the next call looks who is to be written to.
                    loop.run_until_complete(self._hang_up())
                raise self._refused(reply)
        return replies

    def close(self) -> None:
        """Let go of the connection; the next call makes another one."""
        loop, self._loop = self._loop, None
        if loop is not None:
            forks.unguard(self)
            try:
                loop.run_until_complete(self._hang_up())
            finally:
                loop.close()

    def forked(self) -> None:
        """Let go, in a child process, of the copy of the connection: it is the parent's."""
        if self._loop is not None:
            forks.end_loop(self._loop, 0)

    # ---- on the loop of its own ------------------------------------------------------------------

    async def _within(self, calls: Sequence[Call], sent: _Sent) -> list[Any]:
        async with asyncio.timeout(TIMEOUT):
            is_old = self._connection is not None
            try:
                return await self._exchange(calls, sent)
            except (OSError, RedisError):
                await self._hang_up()
                if not is_old:
                    raise
            # The store was started again, perhaps, since it was asked last.
            return await self._exchange(calls, sent)

    async def _exchange(self, calls: Sequence[Call], sent: _Sent) -> list[Any]:
        if self._connection is None:
            await self._connect()
        sent.is_sent = True
        replies = await self._round([call.packed() for call in calls])
        unknown = [n for n, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
        if unknown:
            # These were not run: the store has forgotten them (a restart, SCRIPT FLUSH, an
            # eviction), or sees them for the first time.
            scripts = {calls[n].script for n in unknown}
            sources = [["SCRIPT", "LOAD", script.source] for script in scripts if script]
            again = await self._round([*sources, *(calls[n].packed() for n in unknown)])
            loads, anew = again[: len(sources)], again[len(sources) :]
            # Who may not load a script is to be told that, and not that there is none.
            refusal = next((reply for reply in loads if isinstance(reply, ResponseError)), None)
            for n, reply in zip(unknown, anew, strict=True):
                replies[n] = refusal or reply
        return replies

    async def _connect(self) -> None:
        self._connection = await self._address.connect()
        (info,) = await self._round([["INFO"]])
        if isinstance(info, ResponseError):
            raise info
        facts = read_facts(info)
        facts.check()
        self.facts = facts

    async def _round(self, commands: Sequence[Sequence[Any]]) -> list[Any]:
        """Send commands and read as many answers; a refusal is one of them."""
        connection = self._connection
        # It would connect anew by itself, to a store that may be another one by now.
        if connection is None or not connection.is_connected:
            raise ConnectionError("the connection was closed")
        await connection.send_packed_command(connection.pack_commands(commands), check_health=False)
        replies: list[Any] = []
        for _ in commands:
            try:
                replies.append(await connection.read_response())
            except ResponseError as refusal:
                replies.append(refusal)
        return replies

    async def _hang_up(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.disconnect(nowait=True)
            await asyncio.sleep(0)  # the loop may not run again for long

    # ---- what goes wrong -------------------------------------------------------------------------

    def _failed(self, error: BaseException, was_sent: bool) -> StoreError:
        if self._loop is not None:
            self._loop.run_until_complete(self._hang_up())
        text = str(error) if isinstance(error, BackplaneError) else reason(error)
        if isinstance(error, TimeoutError):
            text = f"no answer within {TIMEOUT:g} s"
        self._why = f"the store {self.shown} cannot be used: {text}"
        self._rest = min(LONGEST_REST, 2 * self._rest or FIRST_REST)
        self._rests_until = time.monotonic() + self._rest
        return StoreError(self._why, is_unsure=was_sent)

    def _refused(self, refusal: ResponseError) -> StoreError:
        text = reason(refusal)
        if isinstance(refusal, OutOfMemoryError) or "OOM" in text:
            text = "its memory is full"
        return StoreError(f"the store {self.shown} refuses: {text}")


class _Sent:
    """Whether something was sent."""

    is_sent = False
