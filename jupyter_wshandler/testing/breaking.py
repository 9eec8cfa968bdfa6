"""Breaks of a chat's connection: the client is away for a time, and comes back.

`returning` is what travels; this is what a test says and waits for.
"""

from __future__ import annotations

import math
from types import TracebackType
from typing import Any

from ..engine.payload import to_message
from ..rooms.people import Member
from ..types import Sendable
from .clientside import ClientSide
from .returning import ReturningWay
from .roomside import JoinedRoom
from .steps import Steps, run, run_async
from .traces import brief

__tracebackhide__ = True


class BreakingClient(ClientSide):
    """One client of a bot, whose connection may break; see `ClientSide`."""

    _sent_away = False

    @property
    def is_away(self) -> bool:
        """Whether the client is away, and may come back."""
        way = self._way
        return way is not None and way.is_away and self.close_code is None

    @property
    def _way(self) -> ReturningWay | None:
        way = None if self.connection is None else self._transport
        return way if isinstance(way, ReturningWay) else None

    def break_off(self, seconds: float, timeout: float) -> Steps[None]:
        """Lose the connection, and wait until the bot has been told; then let time pass.

        Args:
            seconds: How much.
            timeout: Seconds for the bot to be told.
        """
        self.check_opened()
        self.bot.raise_error()
        if not (isinstance(seconds, (int, float)) and 0 <= seconds < math.inf):
            raise ValueError(
                f"breaks: expected seconds from 0, such as breaks(2), found {seconds!r}"
            )
        if self.close_code is not None or self._left:
            raise self._is_closed()
        if self.is_away:
            raise RuntimeError("this client is away already; a break ends with its `with` block")
        way = self._way
        if way is None:  # the route has no `resume`
            yield from self.vanish(timeout)
            if seconds and not self.bot.over:
                yield from self._do(self.bot.pass_time(seconds), "the time", timeout)
                self.bot.raise_error()
            return
        self.lines.append((">", f"[breaks for {seconds:g} s]" if seconds else "[breaks]"))
        yield from self._do(self._begin_break(way, seconds), "the break", timeout)
        yield from self._look_around(timeout)

    async def _begin_break(self, way: ReturningWay, seconds: float) -> None:
        way.break_off()
        await self.bot.settle()
        if seconds:
            await self.bot.pass_time(seconds)
        await self.bot.until_over(self, "on_away")

    def come_back(self, timeout: float) -> Steps[None]:
        """Come back, and wait until the bot has been told and has got what was sent meanwhile."""
        way = self._way
        if way is not None and self.is_away and not self.finished:
            yield from self._do(self._end_break(way), "the come-back", timeout)
            if self._sent_away and self.close_code is None:
                self._sent_away = False
                yield from self._until_handled(timeout)
        yield from self._look_around(timeout)

    async def _end_break(self, way: ReturningWay) -> None:
        self.lines.append((">", "[comes back]"))
        if way.come_back(self.bot.manager.resumes):
            await self.bot.settle()
            await self.bot.until_over(self, "on_resume")

    def _until_handled(self, timeout: float) -> Steps[None]:
        target = self._sent
        if not (yield self._wait(lambda: self._handled >= target or self.finished, timeout)):
            raise TimeoutError(
                "the callback for what was sent while the client was away has not ended within "
                f"{timeout:g} s: {self.bot.running()}"
            )

    def _look_around(self, timeout: float) -> Steps[None]:
        """Take note of what has become of the connection."""
        if self.close_code is not None or self._has_expired():
            yield self._wait(lambda: self.finished, timeout)
            if self.finished:
                yield from self._leave()
        self.bot.raise_error()

    def _has_expired(self) -> bool:
        line = None if self.connection is None else self.connection.line
        return line is not None and line.has_expired

    def _do(self, doing: Any, what: str, timeout: float) -> Steps[None]:
        future = self.bot.submit(doing)
        if not (yield self._wait(future.done, timeout)):
            future.cancel()
            raise TimeoutError(f"{what} is not over within {timeout:g} s: {self.bot.running()}")
        future.result()

    # ---- what a client can do that is away -----------------------------------------------------

    def send(self, message: Sendable, wait: bool, timeout: float) -> Steps[None]:
        """Send one message; where the client is away, it waits until it is back."""
        self._check_text(message)
        if self.is_away:
            self._sent_away, wait = True, False
        yield from super().send(message, wait, timeout)

    def ask(self, message: Sendable, timeout: float) -> Steps[Any]:
        """Send one message, and return what exactly that one is answered with."""
        self._check_there()
        self._check_text(message)
        return (yield from super().ask(message, timeout))

    def stop(self, timeout: float) -> Steps[None]:
        """Stop the answer that is being given, and wait until its callback has ended."""
        self._check_there()
        yield from super().stop(timeout)

    def join(
        self, room: str, since: tuple[str, int] | None, presence: bool, timeout: float
    ) -> Steps[JoinedRoom]:
        """Join a room as a client does, and wait for the answer."""
        self._check_there()
        self._check_text(room)
        return (yield from super().join(room, since, presence, timeout))

    def leave(self, room: str, timeout: float) -> Steps[None]:
        """Leave a room as a client does, and wait until it is out."""
        self._check_there()
        self._check_text(room)
        yield from super().leave(room, timeout)

    def expect_members(
        self, room: str, expected: dict[str, int] | list[str], timeout: float
    ) -> Steps[list[Member]]:
        """Wait until the people in a room are these, as this client is told."""
        self._check_there()
        return (yield from super().expect_members(room, expected, timeout))

    def _check_text(self, message: Sendable) -> None:
        """Refuse what cannot travel, where it would have to.

        Raises:
            UnicodeEncodeError: The text holds lone surrogates.
        """
        if self._way is not None and isinstance(whole := to_message(message), str):
            whole.encode()

    def _check_there(self) -> None:
        if self.is_away:
            raise RuntimeError(
                "this client is away, and would wait for an answer until it is back: do this "
                "behind the `with chat.breaks():` block; send() works in it, too"
            )


class Break:
    """A break of one client's connection, for ``with``.

    Args:
        client: The client.
        seconds: How long it takes for the bot.
        timeout: Seconds to wait at most.
    """

    def __init__(self, client: BreakingClient, seconds: float, timeout: float) -> None:
        self._client = client
        self._seconds = seconds
        self._timeout = timeout

    @brief
    def __enter__(self) -> None:
        run(self._client.break_off(self._seconds, self._timeout))

    @brief
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        try:
            run(self._client.come_back(self._timeout))
        except Exception:
            if kind is None:  # else another failure is on its way
                raise


class AsyncBreak:
    """The same for ``async with``; see `Break`."""

    def __init__(self, client: BreakingClient, seconds: float, timeout: float) -> None:
        self._client = client
        self._seconds = seconds
        self._timeout = timeout

    async def __aenter__(self) -> None:
        await run_async(self._client.break_off(self._seconds, self._timeout))

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        try:
            await run_async(self._client.come_back(self._timeout))
        except Exception:
            if kind is None:
                raise
