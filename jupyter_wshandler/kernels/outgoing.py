"""The way of clients' messages to the kernel that handles them."""

from __future__ import annotations

from collections.abc import Set
from typing import Any

from ..connection.turns import next_message
from ..engine.asking import message_frame
from ..engine.protocol import Pong
from ..types import Question
from . import events
from .connection import KernelConnection
from .courier import LONG, Courier
from .details import describe

MAX_WAITING = 16 * 1024 * 1024
"""Bytes that wait for one kernel, at most; reading from its clients pauses beyond it."""


class Outgoing:
    """Messages of clients that a kernel is given, as far as it has room.

    There are two bounds. Each connection has a window, so that a client that sends much waits for
    its own messages to be handled. And all that waits for the kernel together is bounded: a
    connection that meets this bound is blocked until the kernel has taken something, of whomever.

    Args:
        courier: Sends events to the kernel.
    """

    def __init__(self, courier: Courier) -> None:
        self._courier = courier
        self._blocked: set[KernelConnection] = set()

    @property
    def blocked(self) -> tuple[KernelConnection, ...]:
        """The connections that wait until the kernel has taken something."""
        return tuple(self._blocked)

    def forget(self, connection: KernelConnection) -> None:
        """Forget a connection that has ended."""
        self._blocked.discard(connection)

    def open(self, connection: KernelConnection, headers: Set[str]) -> None:
        """Tell the kernel of a new connection, before all that it is given of it.

        Args:
            connection: The connection.
            headers: Names of header fields that kernels are told beside the harmless ones.
        """
        details = describe(connection, headers)
        self._courier.put(events.Open(connection.id, details), size=4096)
        connection.mark_opened()
        if connection.away:
            connection.tell_away(True)

    def hand_over(self, connection: KernelConnection, *, alive: bool) -> None:
        """Give the kernel what waits in a connection's inbox, as far as there is room.

        Args:
            connection: An open connection, or one that has ended with messages in its inbox.
            alive: Whether the kernel is there.
        """
        self._blocked.discard(connection)
        while True:
            if not connection.has_room():
                return  # what the kernel takes wakes it again
            if connection.has_messages and self._courier.waiting >= MAX_WAITING and alive:
                self._blocked.add(connection)
                return
            # Asked where nothing waits, too: that says that the message before has left, and the
            # connection may read on.
            message = next_message(connection)
            if message is None:
                return
            self._put(connection, message)

    def _put(self, connection: KernelConnection, message: Any) -> None:
        put, name = self._courier.put, connection.id
        if type(message) is Question:  # the kernel's end takes it out of its envelope again
            message = message_frame(message.message, message.number)
        if type(message) is str and len(message) <= LONG:
            connection.give(len(message))
            put(events.Text(name, message), size=64 + len(message))
        elif type(message) is str:
            # Beside the JSON: within it there would be many copies, here and in the kernel.
            connection.give(len(message))
            put(events.Long(name), message.encode(), size=64 + len(message))
        elif type(message) is bytes:
            connection.give(len(message))
            put(events.Binary(name), message, size=64 + len(message))
        elif isinstance(message, Pong):
            put(events.Pong(name), message.payload, size=64 + len(message.payload))
