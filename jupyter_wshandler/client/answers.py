"""The answer to one question while it comes, piece by piece."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any

from ..engine.asking import Asked, Ending


def next_value(asked: Asked) -> tuple[tuple[Any, ...]] | None:
    """Take the next value of an answer: a tuple with it, an empty one at the end."""
    if asked.values:
        return ((asked.values.popleft(),),)
    return None if asked.how is None else ((),)


def ended(asked: Asked) -> tuple[bool] | None:
    """Return whether an answer has ended, as something to be taken."""
    return None if asked.how is None else (True,)


class Coming:
    """What both kinds of answer have.

    Args:
        asked: The question; None where it is not sent yet.
    """

    def __init__(self, asked: Asked | None) -> None:
        self._asked = asked
        self._over = False  # nobody wants more of it

    @property
    def how(self) -> Ending | None:
        """How it has ended; None while it has not.

        "done", "stopped", "failed", "refused", or "unknown" where it was lost with the connection.
        """
        return None if self._asked is None else self._asked.how

    @property
    def number(self) -> int:
        """The question's number on its connection; 0 while it is not sent."""
        return 0 if self._asked is None else self._asked.number

    def _check(self, asked: Asked) -> None:
        """Raise once where it has not ended well; but who has stopped it knows that."""
        first, self._over = not self._over, True
        if first and asked.how != "stopped":
            asked.check()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.how or 'under way'}>"


class Answer(Coming):
    """The answer to one question, value by value; what `Client.stream` returns.

    Leaving its ``with`` block stops it where it has not ended.

    Args:
        asked: The question.
        take: Waits for the next value.
        stop: Stops it.
    """

    _asked: Asked

    def __init__(
        self,
        asked: Asked,
        take: Callable[[Asked], tuple[Any, ...]],
        stop: Callable[[Asked], object],
    ) -> None:
        super().__init__(asked)
        self._take = take
        self._stop = stop

    def stop(self) -> None:
        """Have the bot stop; what has come so far can still be taken."""
        self._stop(self._asked)

    def __iter__(self) -> Answer:
        """Return the values one by one: what was returned, or each that was yielded."""
        return self

    def __next__(self) -> Any:
        found = () if self._over else self._take(self._asked)
        if not found:
            self._check(self._asked)
            raise StopIteration
        return found[0]

    def __enter__(self) -> Answer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.stop()


class AsyncAnswer(Coming):
    """The answer to one question, value by value; what `AsyncClient.stream` returns.

    The question is sent when the first value is awaited, or with ``async with``, whose end stops
    the answer where it has not ended.

    Args:
        begin: Sends the question.
        take: Waits for the next value.
        stop: Stops it.
    """

    def __init__(
        self,
        begin: Callable[[], Awaitable[Asked]],
        take: Callable[[Asked], Awaitable[tuple[Any, ...]]],
        stop: Callable[[Asked], Awaitable[object]],
    ) -> None:
        super().__init__(None)
        self._begin = begin
        self._take = take
        self._stop = stop

    async def _begun(self) -> Asked:
        if self._asked is None:
            self._asked = await self._begin()
        return self._asked

    async def stop(self) -> None:
        """Have the bot stop; what has come so far can still be taken."""
        if self._asked is not None:
            await self._stop(self._asked)
        else:
            self._over = True  # it is not sent, and need not be

    def __aiter__(self) -> AsyncAnswer:
        """Return the values one by one: what was returned, or each that was yielded."""
        return self

    async def __anext__(self) -> Any:
        if self._over:
            raise StopAsyncIteration
        asked = await self._begun()
        found = await self._take(asked)
        if not found:
            self._check(asked)
            raise StopAsyncIteration
        return found[0]

    async def __aenter__(self) -> AsyncAnswer:
        await self._begun()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        await self.stop()
