"""Both kinds of client: one that waits for each step, and one for an event loop."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import Enum
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from ..engine.frames import check_close
from ..engine.payload import to_message
from ..errors import ConnectionClosed
from ..types import CloseCode, Message, Sendable

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection as AsyncSocket
    from websockets.sync.client import ClientConnection as SyncSocket

ENDED = (CloseCode.NORMAL, CloseCode.GOING_AWAY, CloseCode.NO_STATUS)
"""How a connection ends without a failure: a loop over its messages just stops."""


class _Unset(Enum):
    DEFAULT = "the connection's own"


DEFAULT: Final = _Unset.DEFAULT
Timeout: TypeAlias = float | Literal[_Unset.DEFAULT] | None


class _Connection:
    """What both kinds of client have; `timeout` is the default of `recv`, in seconds."""

    def __init__(self, socket: Any, url: str, timeout: float | None) -> None:
        self._socket = socket
        self.url = url
        self.timeout = timeout

    @property
    def subprotocol(self) -> str | None:
        """The subprotocol that the server chose."""
        chosen: str | None = self._socket.subprotocol
        return chosen

    @property
    def close_code(self) -> int | None:
        """How the connection ended (RFC 6455 section 7.1.5); None while it is open."""
        code: int | None = self._socket.close_code
        return code

    @property
    def close_reason(self) -> str | None:
        """The reason that came with it; None while it is open."""
        reason: str | None = self._socket.close_reason
        return reason

    def __repr__(self) -> str:
        state = "open" if self.close_code is None else f"closed {self.close_code}"
        return f"<{type(self).__name__} {self.url.partition('?')[0]} {state}>"

    def _wait(self, timeout: Timeout) -> float | None:
        return self.timeout if timeout is DEFAULT else timeout

    @contextmanager
    def _translated(self, timeout: float | None = None) -> Iterator[None]:
        """Raise this package's exceptions in place of the library's."""
        from websockets.exceptions import ConnectionClosed as SocketClosed

        try:
            yield
        except SocketClosed as error:
            raise self._closed(error) from None
        except TimeoutError:
            raise TimeoutError(
                f"no message from {self.url.partition('?')[0]} within {timeout or 0:g} s; "
                "recv(timeout=60) waits longer, timeout=None without end"
            ) from None

    def _closed(self, error: Any) -> ConnectionClosed:
        code, reason = self.close_code or CloseCode.ABNORMAL, self.close_reason or ""
        ours = error.sent is not None and not error.rcvd_then_sent
        if ours and error.sent.code == CloseCode.MESSAGE_TOO_BIG:
            # The peer may answer with any code, or not at all; why it ended is known here.
            code, reason = CloseCode.MESSAGE_TOO_BIG, "a message was larger than max_size"
        text = f"the connection to {self.url.partition('?')[0]} is closed: {code}"
        return ConnectionClosed(f"{text} {reason}".rstrip() + _after(code, ours), code, reason)


class Client(_Connection):
    """A connection to a route that waits for each step; what ``with connect(...)`` gives.

    Attributes:
        url: The socket's URL; it holds no token.
        timeout: Seconds that `recv` waits by default, or None for no limit.
    """

    _socket: SyncSocket

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
        encoded = to_message(message, binary)
        with self._translated():
            self._socket.send(encoded)

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
            return self._socket.recv(wait)

    def recv_json(self, timeout: Timeout = DEFAULT) -> Any:
        """Return what the next message holds as JSON; raise as `recv`, and ValueError."""
        return _decoded(self.recv(timeout))

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


class AsyncClient(_Connection):
    """A connection to a route on an event loop; the same words as `Client`, awaited.

    Attributes:
        url: The socket's URL; it holds no token.
        timeout: Seconds that `recv` waits by default, or None for no limit.
    """

    _socket: AsyncSocket

    async def send(self, message: Sendable, binary: bool | None = None) -> None:
        """Send one message; see `Client.send`."""
        encoded = to_message(message, binary)
        with self._translated():
            await self._socket.send(encoded)

    async def recv(self, timeout: Timeout = DEFAULT) -> Message:
        """Return the next message; see `Client.recv`."""
        wait = self._wait(timeout)
        with self._translated(wait):
            async with asyncio.timeout(wait):
                return await self._socket.recv()

    async def recv_json(self, timeout: Timeout = DEFAULT) -> Any:
        """Return what the next message holds as JSON; see `Client.recv_json`."""
        return _decoded(await self.recv(timeout))

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


def _after(code: int, ours: bool) -> str:
    """Return what to do after a close code, as the end of a sentence."""
    advice: dict[int, str] = {
        CloseCode.MESSAGE_TOO_BIG: "; connect(..., max_size=...) takes larger ones" if ours else "",
        CloseCode.INTERNAL_ERROR: "" if ours else "; the server's log has the error",
        CloseCode.SERVICE_RESTART: "; connect again",
        CloseCode.TRY_AGAIN_LATER: "; connect again later",
        CloseCode.LOGGED_OUT: "; log in again",
    }
    return advice.get(code, "")


def _decoded(message: Message) -> Any:
    try:
        return json.loads(message)
    except ValueError as error:
        raise ValueError(f"expected JSON, found {message[:80]!r} ({error})") from None
