"""Calls to a store that wait for their answers, made in a thread: for what is kept, and not told.

Sessions and shares are called in threads of their own, as a file would be. So they have connections
that are asked and answer; nothing is heard on them. There is an event loop for them, which runs
while a call does: where the store is, and who it is, is found as for rooms (`places`, `ways`).

A call takes `TIMEOUT` seconds at most. Where the store has just not answered, the next calls fail
at once, so that nobody waits for the same thing one after another. A call whose answer was lost is
made once more on a new connection, so **each has to mean the same when it is made twice**: what
counts has an id that its script remembers.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from redis.exceptions import OutOfMemoryError, RedisError, ResponseError

from ... import forks
from ...errors import BackplaneError
from .address import STRANGER
from .facts import Facts
from .link import reason
from .places import place_of
from .talk import Call
from .ways import OtherLife, Sent, way_to

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


class Conversation:
    """A way to a store, for calls that wait; one thread at a time makes them.

    Args:
        url: Where the store is; see `places.place_of`. Nothing is connected before the first call.

    Raises:
        ValueError: It is none; the text never holds the URL's user or password.
    """

    def __init__(self, url: str) -> None:
        # Several that do not answer are asked within the time of one call.
        place = place_of(url, TIMEOUT / 4)
        self._way = way_to(place, lambda: TIMEOUT / 3)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._rest = 0.0
        self._rests_until = 0.0
        self._why = ""
        self.shown = place.shown
        """The URL without what is secret in it."""

    @property
    def facts(self) -> Facts:
        """What the server has said of itself that was connected to last."""
        return self._way.facts

    def life_of(self, key: bytes) -> str:
        """Return what names the life of the server that has a key.

        In another one it may have lost what it has acknowledged, see `facts.Facts.life`.

        Args:
            key: The key's name.

        Returns:
            The life as it was known at the last call; empty where nobody was asked yet.
        """
        return self._way.life_of(key)

    def ask(self, *calls: Call, life: str = "") -> list[Any]:
        """Make calls, in one go, and return their answers.

        Args:
            calls: Each means the same when it is made twice.
            life: The life of the store that they are meant for; empty for any.

        Raises:
            OtherLife: The store lives anew; none was made in this life.
            StoreError: The store does not answer, or refuses one of them.
        """
        if time.monotonic() < self._rests_until:
            raise StoreError(self._why)
        loop = self._loop
        if loop is None:
            loop = self._loop = asyncio.new_event_loop()
            forks.guard(self)
        sent = Sent(life)
        try:
            replies = loop.run_until_complete(self._within(calls, sent))
        except OtherLife:
            raise
        except (OSError, TimeoutError, RedisError, BackplaneError) as error:
            raise self._failed(error, sent) from None
        except (ValueError, EOFError):
            # What answers there speaks another protocol; redis-py stumbles over it.
            raise self._failed(BackplaneError(STRANGER), sent) from None
        except BaseException:
            # What was asked may still be answered, and would be taken for the next answer.
            loop.run_until_complete(self._way.hang_up())
            raise
        self._rest = self._rests_until = 0.0
        for reply in replies:
            if isinstance(reply, ResponseError):
                raise self._refused(reply)
        return replies

    def close(self) -> None:
        """Let go of all connections; the next call makes other ones."""
        loop, self._loop = self._loop, None
        if loop is not None:
            forks.unguard(self)
            try:
                loop.run_until_complete(self._way.hang_up())
            finally:
                loop.close()

    def forked(self) -> None:
        """Let go, in a child process, of the copy of the connections: they are the parent's."""
        if self._loop is not None:
            forks.end_loop(self._loop, 0)

    # ---- on the loop of its own ------------------------------------------------------------------

    async def _within(self, calls: Sequence[Call], sent: Sent) -> list[Any]:
        async with asyncio.timeout(TIMEOUT):
            return await self._way.ask(calls, sent)

    # ---- what goes wrong -------------------------------------------------------------------------

    def _failed(self, error: BaseException, sent: Sent) -> StoreError:
        if self._loop is not None:
            self._loop.run_until_complete(self._way.hang_up())
        text = str(error) if isinstance(error, BackplaneError) else reason(error)
        if isinstance(error, TimeoutError):
            text = f"{sent.waits_for or 'no answer'} within {TIMEOUT:g} s"
        self._why = f"the store {self.shown} cannot be used: {text}"
        self._rest = min(LONGEST_REST, 2 * self._rest or FIRST_REST)
        self._rests_until = time.monotonic() + self._rest
        return StoreError(self._why, is_unsure=sent.is_sent)

    def _refused(self, refusal: ResponseError) -> StoreError:
        text = reason(refusal)
        if isinstance(refusal, OutOfMemoryError) or "OOM" in text:
            text = "its memory is full"
        return StoreError(f"the store {self.shown} refuses: {text}")
