"""What was answered to requests that may be repeated: the same again, and nothing is done twice."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any, NamedTuple

SECONDS = 600.0
"""Seconds for which an outcome is kept."""

MOST = 10_000
"""Outcomes that are kept; the oldest are forgotten first."""


class OtherRequest(Exception):
    """A key that another request has had."""


class _Outcome(NamedTuple):
    until: float
    digest: bytes
    """Of the body, so that another one is seen."""
    answer: asyncio.Future[Any]


class Outcomes:
    """The outcomes of requests by their keys, as `Idempotency-Key` names them.

    See draft-ietf-httpapi-idempotency-key-header. What has failed is not kept: it was not done,
    and may be tried again.
    """

    def __init__(self) -> None:
        self._kept: dict[tuple[str, ...], _Outcome] = {}

    async def once(
        self, key: tuple[str, ...], digest: bytes, work: Callable[[], Awaitable[Any]]
    ) -> tuple[Any, bool]:
        """Do something once for a key.

        Args:
            key: Names the request: who asks, for what, and the key of theirs.
            digest: Of what they have sent.
            work: Does it, and returns the answer.

        Returns:
            The answer, and whether it is that of an earlier request.

        Raises:
            OtherRequest: The key has had another body.
            Exception: Whatever the work raises, or has raised for the request that it waited for.
        """
        now = monotonic()
        known = self._kept.get(key)
        if known is not None and now < known.until:
            if known.digest != digest:
                raise OtherRequest
            return await asyncio.shield(known.answer), True
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._make_room(now)
        self._kept.pop(key, None)
        mine = self._kept[key] = _Outcome(now + SECONDS, digest, answer)
        try:
            found = await work()
        except BaseException as error:
            if self._kept.get(key) is mine:
                del self._kept[key]
            if isinstance(error, Exception):
                answer.set_exception(error)
                answer.exception()  # where nobody waits for it, nobody has to look
            else:
                answer.cancel()
            raise
        answer.set_result(found)
        return found, False

    def _make_room(self, now: float) -> None:
        """Forget what is over, which stands first, and the oldest where there is much."""
        while self._kept:
            oldest = next(iter(self._kept))
            if now < self._kept[oldest].until and len(self._kept) < MOST:
                break
            del self._kept[oldest]
