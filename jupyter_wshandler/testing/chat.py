"""Talk to a bot without a server, and without `await`.

::

    chat = Chat(pingbot)
    chat.send("hi")
    chat.expect("Got message: hi")
    chat.close()
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from ..rooms.people import Member
from ..sessions.manager import Session
from ..types import Message, Sendable
from .arrival import Who
from .breaking import Break
from .chatbase import ChatBase
from .roomside import JoinedRoom
from .steps import run
from .traces import brief

__tracebackhide__ = True


class Chat(ChatBase):
    """The client of a bot that runs in this process, as it would on a server.

    The bot runs in a thread of its own, so this works where an event loop runs already, as in a
    notebook. `close` or the end of a ``with`` block leaves nothing behind.

    Raises:
        CallbackError: There is no callback, or one takes other arguments than it is given.
        ConfigError: The pattern or an option cannot be used.
        LimitReached: The route's `max_connections` are open.
        TimeoutError: `open` does not end in time; names it.
        Exception: Whatever `open` raises.
    """

    @brief
    def _begin(self) -> None:
        run(self._client.open(self._waits, self.timeout))

    @brief
    def visitor(
        self,
        user: Who = "",
        *,
        path: str = "",
        session: Session | Mapping[str, Any] | str | None = None,
        headers: Mapping[str, str] | None = None,
        wait: bool = True,
    ) -> Chat:
        """Return one more client of the same bot, also after this one has left.

        Args:
            user: Who it is; the same user where empty.
            path: Path and query, or a query behind this client's path.
            session: A session to come back to (``chat.session``), the id of one, or the values
                of a new one; without it the client has a new session.
            headers: Header fields of the opening request.
            wait: Whether to wait for the end of `open`.
        """
        other = self._another(user, path, session, headers, wait)
        run(other._client.open(wait, self.timeout))
        return other

    @brief
    def send(self, message: Sendable, *, wait: bool = True, timeout: float | None = None) -> None:
        """Send one message, and wait until the callback for it has ended.

        Args:
            message: str (text), bytes (binary), or what has a JSON form.
            wait: Whether to wait; then all that the callback has sent is in `received`.
            timeout: Seconds to wait at most.

        Raises:
            ConnectionClosed: The connection is closed.
            TimeoutError: The callback runs longer; names it.
            Exception: Whatever a callback has raised.
        """
        run(self._client.send(message, wait, self._seconds(timeout)))

    @brief
    def ask(self, message: Sendable, *, timeout: float | None = None) -> Any:
        """Send one message, and return what the bot answers to exactly that one.

        As for `client.Client.ask`: what the callback returns, or the list of what it yields. It
        does not stand in `received`; what the bot writes or pushes meanwhile does.

        Args:
            message: str (text), bytes (binary), or what has a JSON form.
            timeout: Seconds for the whole answer; then it is stopped.

        Raises:
            AnswerFailed: The answer was stopped, or the message is over the `ratelimit`.
            ConnectionClosed: The connection is closed.
            TimeoutError: The answer has not ended; names the callback.
            Exception: Whatever a callback has raised.
        """
        return run(self._client.ask(message, self._seconds(timeout)))

    @brief
    def stop(self, *, timeout: float | None = None) -> None:
        """Stop the answer that is being given, and wait until its callback has ended.

        As a client does that speaks `wsh.v1`: a generator gets GeneratorExit, a coroutine
        CancelledError; a plain function in a thread runs to its end.

        Args:
            timeout: Seconds to wait at most.

        Raises:
            TimeoutError: The callback still runs; names it.
        """
        run(self._client.stop(self._seconds(timeout)))

    @brief
    def join(
        self,
        room: str,
        *,
        since: tuple[str, int] | None = None,
        presence: bool = False,
        timeout: float | None = None,
    ) -> JoinedRoom:
        """Join a room as a client does over the wire, and wait for the answer of `may_join`.

        What is said there comes as all messages do.

        Args:
            room: The room's name.
            since: The last message that is known, as `JoinedRoom.since` has it.
            presence: Whether to be told who is in; then `members` of the room are known.
            timeout: Seconds to wait at most.

        Raises:
            RoomRefused: The room is not open to this client, or there are too many.
            ConnectionClosed: The connection is closed.
            TimeoutError: No answer came in time.
        """
        return run(self._client.join(room, since, presence, self._seconds(timeout)))

    @brief
    def leave(self, room: str, *, timeout: float | None = None) -> None:
        """Leave a room as a client does over the wire, and wait until it is out."""
        run(self._client.leave(room, self._seconds(timeout)))

    @brief
    def expect_members(
        self, room: str, expected: dict[str, int] | list[str], *, timeout: float | None = None
    ) -> list[Member]:
        """Wait until the people in a room are these, as this client is told; return them.

        Args:
            room: A room that was joined with ``presence=True``.
            expected: The ids of all in the order in which they have come, or the number of the
                connections of each.
            timeout: Seconds to wait at most.

        Raises:
            AssertionError: They are others when the time is over.
            LookupError: This client is not told.
        """
        return run(self._client.expect_members(room, expected, self._seconds(timeout)))

    @brief
    def read(self, *, timeout: float | None = None) -> Message:
        """Return the next message that was not read yet; wait for it.

        Raises:
            ConnectionClosed: The connection is closed, and all messages were read.
            TimeoutError: None came in time.
            Exception: Whatever a callback has raised.
        """
        return run(self._client.take(self._seconds(timeout)))

    @brief
    def expect(self, expected: object, *, timeout: float | None = None) -> Any:
        """Return the next message, which must be the expected one; wait for it.

        Args:
            expected: str or bytes, to be equal; dict or list, to be equal to the JSON in the
                message; a compiled pattern, to be found in it; a type: str, bytes, dict, list;
                or a function of the message that says whether it is right.
            timeout: Seconds to wait at most.

        Returns:
            The message; what its JSON holds where dict or list was expected.

        Raises:
            AssertionError: It is another one, and stays unread; or the connection is closed.
            TimeoutError: None came in time.
            Exception: Whatever a callback has raised.
        """
        return run(self._client.expect(expected, self._seconds(timeout)))

    @brief
    def expect_nothing(self, within: float = 0.1) -> None:
        """Fail if there is a message that was not read, or if one comes.

        Args:
            within: Seconds in which none may come.

        Raises:
            AssertionError: There is one.
        """
        run(self._client.expect_nothing(within))

    @brief
    def expect_close(
        self,
        code: int | None = None,
        reason: str | re.Pattern[str] | None = None,
        *,
        timeout: float | None = None,
    ) -> int:
        """Wait until the connection is closed and `on_close` has ended; return the close code.

        Args:
            code: What it must be closed with; anything where None. 1011 takes the error that a
                callback has raised as expected, too.
            reason: What the reason must be, or what must be found in it.
            timeout: Seconds to wait at most.

        Raises:
            AssertionError: It ended in another way.
            TimeoutError: It stays open, or its last callback runs on.
        """
        return run(self._client.expect_close(code, reason, self._seconds(timeout)))

    @brief
    def close(
        self, code: int | None = 1000, reason: str = "", *, timeout: float | None = None
    ) -> None:
        """Close as a browser does, and wait until `on_close` has ended; again without effect.

        The last client that leaves ends the bot's thread.

        Args:
            code: 1000, or one from 3000 to 4999; None closes without a code.
            reason: At most 123 bytes of UTF-8.
            timeout: Seconds to wait at most.

        Raises:
            TimeoutError: A callback runs on; names it.
            Exception: Whatever a callback has raised.
        """
        run(self._client.close(code, reason, self._seconds(timeout)))

    @brief
    def vanish(self, *, timeout: float | None = None) -> None:
        """End the connection without a word, as a browser that loses its network (1006)."""
        run(self._client.vanish(self._seconds(timeout)))

    def breaks(self, seconds: float = 0.0, *, timeout: float | None = None) -> Break:
        """Return a break of the connection, for ``with``: the client is away, and comes back.

        The route needs `resume`; without it a break is the end (1006), as it is where it takes
        longer than the `window`. See docs/testing.md.

        Args:
            seconds: How long it takes for the bot. They pass at once, where the block begins:
                `asyncio.sleep`, timers, the window and all clocks of the route see them pass.
            timeout: Seconds to wait at most for what the bot does about it.

        Raises:
            ConnectionClosed: The connection is closed.
            RuntimeError: The client is away already.
            TimeoutError: `on_away`, `on_resume`, or a callback for what was sent meanwhile, runs
                longer; names it.
            ValueError: The seconds are no time.
            Exception: Whatever a callback has raised.
        """
        return Break(self._client, seconds, self._seconds(timeout))

    def __enter__(self) -> Chat:
        return self

    @brief
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """Close this client; where it is the first one, all clients of the bot."""
        run(self._close_all(quietly=kind is not None))
