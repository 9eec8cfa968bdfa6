"""Talk to a bot without a server, for those who want to `await`."""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping
from types import TracebackType
from typing import Any

from ..rooms.people import Member
from ..sessions.manager import Session
from ..types import Message, Sendable
from .arrival import Who
from .breaking import AsyncBreak
from .chatbase import ChatBase
from .roomside import JoinedRoom
from .steps import run_async

__tracebackhide__ = True


class AsyncChat(ChatBase):
    """The same as `Chat` with the same words, awaited.

    ``async with AsyncChat(bot) as chat:`` or ``chat = await AsyncChat(bot)`` opens it. The bot
    runs in a thread of its own here, too, so that one that blocks does not block the test.
    """

    async def _open(self) -> AsyncChat:
        await run_async(self._client.open(self._waits, self.timeout))
        return self

    def __await__(self) -> Generator[Any, None, AsyncChat]:
        return self._open().__await__()

    async def __aenter__(self) -> AsyncChat:
        return await self._open()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """Close this client; where it is the first one, all clients of the bot."""
        await run_async(self._close_all(quietly=kind is not None))

    def visitor(
        self,
        user: Who = "",
        *,
        path: str = "",
        session: Session | Mapping[str, Any] | str | None = None,
        headers: Mapping[str, str] | None = None,
        wait: bool = True,
    ) -> AsyncChat:
        """Return one more client, which `await` or `async with` opens; see `Chat.visitor`."""
        return self._another(user, path, session, headers, wait)

    async def send(
        self, message: Sendable, *, wait: bool = True, timeout: float | None = None
    ) -> None:
        """Send one message, and wait until the callback for it has ended; see `Chat.send`."""
        await run_async(self._client.send(message, wait, self._seconds(timeout)))

    async def ask(self, message: Sendable, *, timeout: float | None = None) -> Any:
        """Send one message, and return its answer; see `Chat.ask`."""
        return await run_async(self._client.ask(message, self._seconds(timeout)))

    async def stop(self, *, timeout: float | None = None) -> None:
        """Stop the answer that is being given; see `Chat.stop`."""
        await run_async(self._client.stop(self._seconds(timeout)))

    async def join(
        self,
        room: str,
        *,
        since: tuple[str, int] | None = None,
        presence: bool = False,
        timeout: float | None = None,
    ) -> JoinedRoom:
        """Join a room as a client does over the wire; see `Chat.join`."""
        return await run_async(self._client.join(room, since, presence, self._seconds(timeout)))

    async def leave(self, room: str, *, timeout: float | None = None) -> None:
        """Leave a room as a client does over the wire; see `Chat.leave`."""
        await run_async(self._client.leave(room, self._seconds(timeout)))

    async def expect_members(
        self, room: str, expected: dict[str, int] | list[str], *, timeout: float | None = None
    ) -> list[Member]:
        """Wait until the people in a room are these; see `Chat.expect_members`."""
        return await run_async(self._client.expect_members(room, expected, self._seconds(timeout)))

    async def read(self, *, timeout: float | None = None) -> Message:
        """Return the next message that was not read yet; see `Chat.read`."""
        return await run_async(self._client.take(self._seconds(timeout)))

    async def expect(self, expected: object, *, timeout: float | None = None) -> Any:
        """Return the next message, which must be the expected one; see `Chat.expect`."""
        return await run_async(self._client.expect(expected, self._seconds(timeout)))

    async def expect_nothing(self, within: float = 0.1) -> None:
        """Fail if there is an unread message, or if one comes; see `Chat.expect_nothing`."""
        await run_async(self._client.expect_nothing(within))

    async def expect_close(
        self,
        code: int | None = None,
        reason: str | re.Pattern[str] | None = None,
        *,
        timeout: float | None = None,
    ) -> int:
        """Wait until the connection is closed; see `Chat.expect_close`."""
        return await run_async(self._client.expect_close(code, reason, self._seconds(timeout)))

    async def close(
        self, code: int | None = 1000, reason: str = "", *, timeout: float | None = None
    ) -> None:
        """Close as a browser does; see `Chat.close`."""
        await run_async(self._client.close(code, reason, self._seconds(timeout)))

    async def vanish(self, *, timeout: float | None = None) -> None:
        """End the connection without a word; see `Chat.vanish`."""
        await run_async(self._client.vanish(self._seconds(timeout)))

    def breaks(self, seconds: float = 0.0, *, timeout: float | None = None) -> AsyncBreak:
        """Return a break of the connection, for ``async with``; see `Chat.breaks`."""
        return AsyncBreak(self._client, seconds, self._seconds(timeout))
