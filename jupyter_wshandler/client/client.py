"""Both kinds of client: one that waits for each step, and one for an event loop."""

from __future__ import annotations

import weakref
from collections.abc import Coroutine
from functools import partial
from types import TracebackType
from typing import Any, TypeVar

from ..engine.frames import check_close
from ..errors import ConnectionClosed
from ..types import CloseCode, Message, Sendable
from .answers import Answer, AsyncAnswer
from .connected import DEFAULT, Connected, Timeout, decoded
from .core import Core
from .ends import Closing, closed
from .loopthread import LoopThread
from .rooms import AsyncRoom, OnMembers, Room, Since, wanted

T = TypeVar("T")


class Client(Connected):
    """A connection to a route that waits for each step; what ``with connect(...)`` gives.

    Args:
        core: The connection.
        timeout: Seconds that `recv` waits by default, or None for no limit.
        thread: Where the connection lives; it ends with it.
    """

    def __init__(self, core: Core, timeout: float | None, thread: LoopThread) -> None:
        super().__init__(core, timeout)
        self._thread = thread
        # Whoever forgets to close it leaves no thread behind.
        weakref.finalize(self, thread.end, wait=False).atexit = False

    def send(self, message: Sendable, binary: bool | None = None) -> None:
        """Send one message; waits for as long as the server has no room for it.

        While the connection is lost it is kept, and sent when that is back.

        Args:
            message: str (text), bytes (binary), or what has a JSON form, as for
                `handler.write_message`.
            binary: True or False forces the frame's type for str and bytes.

        Raises:
            ConnectionClosed: The connection is closed.
            QueueFull: It is lost, and as much waits for it as may.
            TypeError: The message is None, or holds what has no JSON form.
        """
        self._call(self._core.send(message, binary))

    def recv(self, timeout: Timeout = DEFAULT) -> Message:
        """Return the next message.

        Args:
            timeout: Seconds to wait at most, None for no limit; `self.timeout` by default.

        Raises:
            ConnectionClosed: The connection is closed, and all messages were taken.
            TimeoutError: None came in time; the connection stays open.
        """
        found = self._core.recv_now()
        if found is None:
            return self._call(self._core.recv(self._wait(timeout)))
        if self._core.is_held and not self._thread.is_over:
            self._thread.soon(self._core.taken)
        return found[0]

    def recv_json(self, timeout: Timeout = DEFAULT) -> Any:
        """Return what the next message holds as JSON; raise as `recv`, and ValueError."""
        return decoded(self.recv(timeout))

    def ask(
        self, message: Sendable, timeout: Timeout = DEFAULT, *, binary: bool | None = None
    ) -> Any:
        """Send a message and return what the bot answers to exactly that one.

        That is what its callback returns: text as str, binary as bytes, None, or anything else as
        what its JSON holds; the list of what it has yielded, where it is a generator. Whoever
        waits no longer, for the timeout or for Ctrl-C, has the bot stop.

        Args:
            message: As for `send`.
            timeout: Seconds for the whole answer, None for no limit; `self.timeout` by default.
            binary: As for `send`.

        Raises:
            AnswerFailed: The callback has failed, the message was refused, `stop` was called, or
                the answer was lost with its connection.
            ConnectionClosed: The connection is closed.
            QueueFull: See `send`.
            TimeoutError: The answer did not end in time.
            RuntimeError: The server does not speak `wsh.v1`.
        """
        return self._call(self._core.ask(message, binary, self._wait(timeout)))

    def stream(
        self, message: Sendable, timeout: Timeout = DEFAULT, *, binary: bool | None = None
    ) -> Answer:
        """Send a message and return its answer while it comes: iterate over it.

        Args:
            message: As for `send`.
            timeout: Seconds for each value, None for no limit; `self.timeout` by default.
            binary: As for `send`.

        Raises:
            ConnectionClosed: The connection is closed.
            QueueFull: See `send`.
            RuntimeError: The server does not speak `wsh.v1`.
        """
        core, wait = self._core, self._wait(timeout)
        asked = self._call(core.begin(message, binary))
        return Answer(
            asked,
            lambda asked: self._call(core.take(wait, asked)),
            lambda asked: self._call_unless_over(core.stop(asked)),
        )

    def stop(self) -> None:
        """Have the bot stop all answers that were asked for and have not ended."""
        self._call_unless_over(self._core.stop(None))

    def join(
        self,
        room: str,
        since: Since = None,
        *,
        presence: bool = False,
        on_members: OnMembers | None = None,
    ) -> Room:
        """Join a room of the route's, and return it.

        After a break in which the connection could not be kept it is joined again, and what was
        missed comes where the room has a history; `recovered` says whether that was all.

        Args:
            room: Its name.
            since: Epoch and offset after which nothing may be missed, as `Room.since` has it.
            presence: Whether to know who is there.
            on_members: Is told who is there, and of each who comes, changes or leaves; must be a
                plain function that does not wait. It may be called before this returns.

        Raises:
            RoomRefused: The route does not let this connection in.
            ConnectionClosed: The connection is closed.
            TimeoutError: The server has not answered within `timeout`.
            RuntimeError: The server does not speak `wsh.v1`.
        """
        joined = wanted(room, since, presence, on_members)
        self._call(self._core.join(joined, self.timeout))
        return Room(self._core, joined, self.timeout, self._call)

    def close(self, code: int = CloseCode.NORMAL, reason: str = "") -> None:
        """Close the connection and wait for the server's answer; do nothing if it is closed.

        Args:
            code: The close code: 1000, or one of your own from 3000 to 4999.
            reason: At most 123 bytes of UTF-8.

        Raises:
            ValueError: The code may not be sent, or the reason is too long.
        """
        check_close(code, reason)
        try:
            self._call_unless_over(self._core.close(code, reason))
        finally:
            self._thread.end()

    def _call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine where the connection lives."""
        if self._thread.is_over:
            coroutine.close()
            closing = self._core.closing or Closing(CloseCode.ABNORMAL, "", ours=True)
            raise closed(self.url, closing)
        return self._thread.call(coroutine)

    def _call_unless_over(self, coroutine: Coroutine[Any, Any, T]) -> T | None:
        if self._thread.is_over:
            coroutine.close()
            return None
        return self._thread.call(coroutine)

    def __iter__(self) -> Client:
        """Return the messages one by one, however long each takes, until the end."""
        return self

    def __next__(self) -> Message:
        try:
            return self.recv(None)
        except ConnectionClosed as error:
            if self._ends_well(error):
                raise StopIteration from None
            raise

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.close(CloseCode.INTERNAL_ERROR if kind else CloseCode.NORMAL)


class AsyncClient(Connected):
    """A connection to a route on an event loop; the same words as `Client`, awaited."""

    async def send(self, message: Sendable, binary: bool | None = None) -> None:
        """Send one message; see `Client.send`."""
        await self._core.send(message, binary)

    async def recv(self, timeout: Timeout = DEFAULT) -> Message:
        """Return the next message; see `Client.recv`."""
        return await self._core.recv(self._wait(timeout))

    async def recv_json(self, timeout: Timeout = DEFAULT) -> Any:
        """Return what the next message holds as JSON; see `Client.recv_json`."""
        return decoded(await self.recv(timeout))

    async def ask(
        self, message: Sendable, timeout: Timeout = DEFAULT, *, binary: bool | None = None
    ) -> Any:
        """Send a message and return its answer; see `Client.ask`."""
        return await self._core.ask(message, binary, self._wait(timeout))

    def stream(
        self, message: Sendable, timeout: Timeout = DEFAULT, *, binary: bool | None = None
    ) -> AsyncAnswer:
        """Send a message and return its answer while it comes; see `Client.stream`."""
        begin = partial(self._core.begin, message, binary)
        take = partial(self._core.take, self._wait(timeout))
        return AsyncAnswer(begin, take, self._core.stop)

    async def stop(self) -> None:
        """Have the bot stop all answers that have not ended; see `Client.stop`."""
        await self._core.stop(None)

    async def join(
        self,
        room: str,
        since: Since = None,
        *,
        presence: bool = False,
        on_members: OnMembers | None = None,
    ) -> AsyncRoom:
        """Join a room of the route's, and return it; see `Client.join`."""
        joined = wanted(room, since, presence, on_members)
        await self._core.join(joined, self.timeout)
        return AsyncRoom(self._core, joined, self.timeout)

    async def close(self, code: int = CloseCode.NORMAL, reason: str = "") -> None:
        """Close the connection; see `Client.close`."""
        await self._core.close(code, reason)

    def __aiter__(self) -> AsyncClient:
        """Return the messages one by one, however long each takes, until the end."""
        return self

    async def __anext__(self) -> Message:
        try:
            return await self.recv(None)
        except ConnectionClosed as error:
            if self._ends_well(error):
                raise StopAsyncIteration from None
            raise

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        await self.close(CloseCode.INTERNAL_ERROR if kind else CloseCode.NORMAL)
