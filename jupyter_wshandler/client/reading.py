"""Who reads from a socket, where several wait: each takes what is its own, whoever has read it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from ..engine.asking import ClientEnd, NotSpoken
from ..types import CloseCode, Message

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection as AsyncSocket
    from websockets.sync.client import ClientConnection as SyncSocket

T = TypeVar("T")

Take = Callable[[], tuple[T] | None]
"""Takes what somebody waits for, in a tuple; None where it is not there yet."""

UNREAD = 10_000
"""Messages that may wait unread while an answer is waited for."""


class Overflow(RuntimeError):
    """The end of waiting for an answer: too many messages came before it that nobody has read."""


def _take_in(end: ClientEnd, frame: Message) -> None:
    end.receive(frame)
    if len(end.messages) > UNREAD:
        raise Overflow(
            f"{UNREAD:,} messages came before the answer, and nobody has read them: read them with "
            "recv() in a thread or task of its own, or ask on a connection of its own"
        )


class SyncReading:
    """The frames of a socket that blocks, read by whichever thread waits.

    Args:
        socket: The socket.
        end: What becomes of the frames.
    """

    def __init__(self, socket: SyncSocket, end: ClientEnd) -> None:
        self._socket = socket
        self._end = end
        self._turn = threading.Condition()
        self._reads = False

    def until(self, take: Take[T], timeout: float | None) -> T:
        """Return what is taken, as soon as it is there.

        Args:
            take: Is called by one thread at a time.
            timeout: Seconds, or None for no limit.

        Raises:
            TimeoutError: It did not come in time.
            websockets.exceptions.ConnectionClosed: The connection has ended.
            Overflow: See there.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            with self._turn:
                while (found := take()) is None and self._reads:
                    if not self._turn.wait(_left(deadline)):
                        raise TimeoutError
                if found is not None:
                    return found[0]
                self._reads = True
            try:
                self._read(_left(deadline))
            finally:
                with self._turn:
                    self._reads = False
                    self._turn.notify_all()

    def _read(self, seconds: float | None) -> None:
        frame = self._socket.recv(seconds)
        with self._turn:
            try:
                _take_in(self._end, frame)
                return
            except NotSpoken as error:
                reason = f"wsh.v1: {error}"
        self._socket.close(CloseCode.PROTOCOL_ERROR, reason)


def _left(deadline: float | None) -> float | None:
    return None if deadline is None else max(0.0, deadline - time.monotonic())


class AsyncReading:
    """The frames of a socket on an event loop, read by whichever task waits.

    Args:
        socket: The socket.
        end: What becomes of the frames.
    """

    def __init__(self, socket: AsyncSocket, end: ClientEnd) -> None:
        self._socket = socket
        self._end = end
        self._reads = False
        self._waiters: list[asyncio.Future[None]] = []

    async def until(self, take: Take[T], timeout: float | None) -> T:
        """Return what is taken, as soon as it is there; see `SyncReading.until`."""
        async with asyncio.timeout(timeout):
            while (found := take()) is None:
                if self._reads:
                    turn = asyncio.get_running_loop().create_future()
                    self._waiters.append(turn)
                    await turn
                else:
                    await self._read()
            return found[0]

    async def _read(self) -> None:
        self._reads = True
        try:
            frame = await self._socket.recv()
            try:
                _take_in(self._end, frame)
            except NotSpoken as error:
                await self._socket.close(CloseCode.PROTOCOL_ERROR, f"wsh.v1: {error}")
        finally:
            self._reads = False
            waiters, self._waiters = self._waiters, []
            for turn in waiters:
                if not turn.done():
                    turn.set_result(None)
