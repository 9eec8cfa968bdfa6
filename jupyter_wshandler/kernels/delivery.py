"""The way of a kernel's messages to their clients, some of whom read slowly."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque

from ..connection.farewell import CLOSE_TIMEOUT
from ..connection.sending import SENT, Sent
from ..engine.messages import Close, Frame, Ping, size_of
from ..errors import ConnectionClosed
from ..transports.loop import LoopIO
from .connection import KernelConnection
from .courier import WINDOW, WINDOW_SIZE, Courier


class Delivery:
    """Messages of a kernel to its clients, in order.

    A client that reads slowly holds up nobody else: what the kernel has sent it already waits on
    its connection, and the kernel hears of no more room for it. Its window bounds what waits; what
    is more counts in the kernel, where the route's `queue` bounds it.

    Args:
        io: The event loop.
        courier: Tells the kernel what was sent on, so that it may send more.
    """

    def __init__(self, io: LoopIO, courier: Courier) -> None:
        self._io = io
        self._courier = courier
        self._waits: set[asyncio.Task[None]] = set()

    def send(self, connection: KernelConnection, message: str | bytes | Ping) -> None:
        """Send one message or ping, or let it wait behind others.

        Raises:
            ValueError: The kernel has sent more than its window allows.
        """
        if connection.held is not None:
            if connection.closed:  # what comes after our close frame goes nowhere
                self._courier.take(connection.id)
            else:
                _hold(connection, connection.held, message)
            return
        sent = _write(connection, message)
        if sent is SENT:
            self._courier.take(connection.id)
            return
        connection.held = deque()
        connection.held_size = 0
        task = self._io.loop.create_task(
            self._send_on(connection, connection.held, sent),
            name=f"wshandler {connection.id} waits for room",
        )
        self._waits.add(task)
        task.add_done_callback(self._waits.discard)

    async def _send_on(self, connection: KernelConnection, held: deque[Frame], sent: Sent) -> None:
        while True:
            with contextlib.suppress(ConnectionClosed):
                await sent
            self._courier.take(connection.id)
            while held and isinstance(held[0], Close):
                connection.end(held[0].code, held[0].reason)
                held.popleft()
            if not held:
                break
            message = held.popleft()
            assert not isinstance(message, Close)
            connection.held_size -= size_of(message)
            sent = _write(connection, message)
        connection.held = None

    def close(self, connection: KernelConnection, code: int, reason: str) -> None:
        """Close a connection behind the messages that wait for it.

        Behind a socket they would be in its buffer, and leave before the close frame, too. A client
        that does not take them has as long as one that does not answer a close frame.

        Raises:
            ValueError: The kernel has sent more than its window allows.
        """
        held = connection.held
        if held is None:
            connection.end(code, reason)
        elif not connection.closed and not connection.close_is_held:
            _hold(connection, held, Close(code, reason))
            connection.close_is_held = True
            self._io.loop.call_later(CLOSE_TIMEOUT, _close_now, connection, held, code, reason)

    def end(self) -> None:
        """Wait for nobody any more."""
        for task in tuple(self._waits):
            task.cancel()


def _hold(connection: KernelConnection, held: deque[Frame], frame: Frame) -> None:
    size = connection.held_size + size_of(frame)
    # A kernel that keeps to its window never gets here, however its messages are split.
    if len(held) > WINDOW or (connection.held_size and size > 2 * WINDOW_SIZE):
        raise ValueError("more messages than the connection's window allows")
    held.append(frame)
    connection.held_size = size


def _close_now(connection: KernelConnection, held: deque[Frame], code: int, reason: str) -> None:
    if connection.held is held and not connection.closed:
        held.clear()
        connection.held_size = 0
        connection.end(code, reason)


def _write(connection: KernelConnection, message: str | bytes | Ping) -> Sent:
    if isinstance(message, Ping):
        # A ping that is not sent because the queue is full counts as sent, in its turn: the kernel
        # is only told a number, and takes its oldest messages for those.
        with contextlib.suppress(ConnectionClosed):
            connection.ping(message.payload)
        return SENT
    try:
        return connection.relay(message)
    except ConnectionClosed:
        return SENT
