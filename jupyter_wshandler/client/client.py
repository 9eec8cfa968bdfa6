"""Both kinds of client: one that waits for each step, and one for an event loop."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ..engine.asking import Asked, stop_frame
from ..engine.frames import check_close
from ..errors import ConnectionClosed
from ..types import CloseCode, Message, Sendable
from .answers import Answer, AsyncAnswer, ended, next_value
from .connected import DEFAULT, ENDED, Connected, Timeout, decoded
from .reading import AsyncReading, SyncReading

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection as AsyncSocket
    from websockets.sync.client import ClientConnection as SyncSocket


class Client(Connected):
    """A connection to a route that waits for each step; what ``with connect(...)`` gives.

    Attributes:
        url: The socket's URL; it holds no token.
        timeout: Seconds that `recv` waits by default, or None for no limit.
    """

    _socket: SyncSocket

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._reading = None if self._end is None else SyncReading(self._socket, self._end)
        self._sending = threading.Lock()

    def send(self, message: Sendable, binary: bool | None = None) -> None:
        """Send one message; waits for as long as the server has no room for it.

        Args:
            message: str (text), bytes (binary), or what has a JSON form, as for
                `handler.write_message`.
            binary: True or False forces the frame's type for str and bytes.

        Raises:
            ConnectionClosed: The connection is closed.
            TypeError: The message is None, or holds what has no JSON form.
        """
        frame = self._framed(message, binary)
        with self._translated():
            self._socket.send(frame)

    def recv(self, timeout: Timeout = DEFAULT) -> Message:
        """Return the next message.

        Args:
            timeout: Seconds to wait at most, None for no limit; `self.timeout` by default.

        Raises:
            ConnectionClosed: The connection is closed, and all messages were taken.
            TimeoutError: None came in time; the connection stays open.
        """
        wait = self._wait(timeout)
        with self._translated(wait):
            if self._reading is not None:
                return self._reading.until(self._next_message, wait)
            first, self._first = self._first, None
            return self._socket.recv(wait) if first is None else first

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
            AnswerFailed: The callback has failed, the message was refused, or `stop` was called.
            ConnectionClosed: The connection is closed.
            TimeoutError: The answer did not end in time.
            RuntimeError: The server does not speak `wsh.v1`.
        """
        asked = self._begin(message, binary)
        assert self._reading is not None
        wait = self._wait(timeout)
        try:
            with self._translated(wait):
                self._reading.until(partial(ended, asked), wait)
        except BaseException:
            self._give_up(asked)
            raise
        return asked.result()

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
            RuntimeError: The server does not speak `wsh.v1`.
        """
        take = partial(self._take, self._wait(timeout))
        return Answer(self._begin(message, binary), take, self._stop)

    def stop(self) -> None:
        """Have the bot stop all answers that were asked for and have not ended."""
        self._stop(None)

    def _begin(self, message: Sendable, binary: bool | None) -> Asked:
        # Together, as the numbers must leave in their order.
        with self._translated(), self._sending:
            asked, frame = self._ask(message, binary)
            self._socket.send(frame)
        return asked

    def _take(self, wait: float | None, asked: Asked) -> tuple[Any, ...]:
        assert self._reading is not None
        with self._translated(wait):
            return self._reading.until(partial(next_value, asked), wait)

    def _stop(self, asked: Asked | None) -> None:
        for one in self._under_way(asked):
            with self._translated():
                self._socket.send(stop_frame(one.number))

    def _give_up(self, asked: Asked) -> None:
        with suppress(ConnectionClosed):
            self._stop(asked)
        if self._end is not None:
            self._end.forget(asked)

    def close(self, code: int = CloseCode.NORMAL, reason: str = "") -> None:
        """Close the connection and wait for the server's answer; do nothing if it is closed.

        Args:
            code: The close code: 1000, or one of your own from 3000 to 4999.
            reason: At most 123 bytes of UTF-8.

        Raises:
            ValueError: The code may not be sent, or the reason is too long.
        """
        check_close(code, reason)
        # What nobody has read stands before the server's answer, and the library reads on only
        # as its queue is emptied.
        reader = threading.Thread(target=self._drain, name="wshandler client close", daemon=True)
        reader.start()
        self._socket.close(code, reason)
        reader.join()

    def _drain(self) -> None:
        from websockets.exceptions import ConcurrencyError, ConnectionClosed

        with suppress(ConnectionClosed, ConcurrencyError):
            while True:
                self._socket.recv()

    def __iter__(self) -> Client:
        """Return the messages one by one, however long each takes, until the end."""
        return self

    def __next__(self) -> Message:
        try:
            return self.recv(None)
        except ConnectionClosed as error:
            if error.code in ENDED:
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
    """A connection to a route on an event loop; the same words as `Client`, awaited.

    Attributes:
        url: The socket's URL; it holds no token.
        timeout: Seconds that `recv` waits by default, or None for no limit.
    """

    _socket: AsyncSocket

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._reading = None if self._end is None else AsyncReading(self._socket, self._end)

    async def send(self, message: Sendable, binary: bool | None = None) -> None:
        """Send one message; see `Client.send`."""
        await self._send(self._framed(message, binary))

    async def recv(self, timeout: Timeout = DEFAULT) -> Message:
        """Return the next message; see `Client.recv`."""
        wait = self._wait(timeout)
        with self._translated(wait):
            if self._reading is not None:
                return await self._reading.until(self._next_message, wait)
            if self._first is not None:
                first, self._first = self._first, None
                return first
            async with asyncio.timeout(wait):
                return await self._socket.recv()

    async def recv_json(self, timeout: Timeout = DEFAULT) -> Any:
        """Return what the next message holds as JSON; see `Client.recv_json`."""
        return decoded(await self.recv(timeout))

    async def ask(
        self, message: Sendable, timeout: Timeout = DEFAULT, *, binary: bool | None = None
    ) -> Any:
        """Send a message and return its answer; see `Client.ask`."""
        asked, frame = self._ask(message, binary)
        assert self._reading is not None
        wait = self._wait(timeout)
        try:
            await self._send(frame)
            with self._translated(wait):
                await self._reading.until(partial(ended, asked), wait)
        except BaseException:
            await self._give_up(asked)
            raise
        return asked.result()

    def stream(
        self, message: Sendable, timeout: Timeout = DEFAULT, *, binary: bool | None = None
    ) -> AsyncAnswer:
        """Send a message and return its answer while it comes; see `Client.stream`."""
        begin = partial(self._begin, message, binary)
        return AsyncAnswer(begin, partial(self._take, self._wait(timeout)), self._stop)

    async def stop(self) -> None:
        """Have the bot stop all answers that have not ended; see `Client.stop`."""
        await self._stop(None)

    async def _begin(self, message: Sendable, binary: bool | None) -> Asked:
        asked, frame = self._ask(message, binary)
        await self._send(frame)
        return asked

    async def _send(self, frame: Message) -> None:
        with self._translated():
            await self._socket.send(frame)

    async def _take(self, wait: float | None, asked: Asked) -> tuple[Any, ...]:
        assert self._reading is not None
        with self._translated(wait):
            return await self._reading.until(partial(next_value, asked), wait)

    async def _stop(self, asked: Asked | None) -> None:
        for one in self._under_way(asked):
            await self._send(stop_frame(one.number))

    async def _give_up(self, asked: Asked) -> None:
        # Whoever was cancelled must not wait for a server that takes nothing any more.
        with suppress(ConnectionClosed, TimeoutError):
            async with asyncio.timeout(1):
                await self._stop(asked)
        if self._end is not None:
            self._end.forget(asked)

    async def close(self, code: int = CloseCode.NORMAL, reason: str = "") -> None:
        """Close the connection; see `Client.close`."""
        check_close(code, reason)
        reader = asyncio.create_task(self._drain(), name="wshandler client close")
        try:
            await self._socket.close(code, reason)
        finally:
            reader.cancel()
            await asyncio.wait([reader])

    async def _drain(self) -> None:
        from websockets.exceptions import ConcurrencyError, ConnectionClosed

        with suppress(ConnectionClosed, ConcurrencyError):
            while True:
                await self._socket.recv()

    def __aiter__(self) -> AsyncClient:
        """Return the messages one by one, however long each takes, until the end."""
        return self

    async def __anext__(self) -> Message:
        try:
            return await self.recv(None)
        except ConnectionClosed as error:
            if error.code in ENDED:
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
