"""The way between a chat and its bot: one transport in memory, and what each end needs of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from ..connection.connection import Connection
from ..engine.messages import Close, Frame
from ..sessions.manager import Session
from ..transports.messages import MessageTransport


class ChatWay(Protocol):
    """What a client needs of the way to its bot; called on the bot's loop."""

    def feed(self, events: Iterable[Any]) -> None:
        """Take what the client says."""

    def pause(self) -> None:
        """Read no more."""

    def resume(self) -> None:
        """Read what waits, and go on."""

    def lost(self) -> None:
        """End without a word."""


class Client(Protocol):
    """What the bot's side needs of the client of a connection; called on the bot's loop."""

    connection: Connection | None
    finished: bool
    """Whether the bot's last callback for this client has ended."""

    def began(self, connection: Connection, transport: ChatWay, session: Session) -> None:
        """Take what was opened for this client."""

    def opened(self) -> None:
        """Note that `open` has ended."""

    def handled(self) -> None:
        """Note that one message is done with."""

    def deliver(self, frame: Frame) -> None:
        """Take one frame of the bot's."""

    def lost(self) -> None:
        """Take note that the bot's side has ended the connection."""

    def end(self) -> None:
        """Take note that the last callback has ended."""


class ChatTransport(MessageTransport):
    """The way to a client that may stop reading; then frames wait in the bot's queue."""

    reading = True

    def _has_room(self, frame: Frame) -> bool:
        # A close frame has room at once: a test hears of the end without reading all before it.
        return self.reading or isinstance(frame, Close)

    def pause(self) -> None:
        """Read no more."""
        self.reading = False

    def resume(self) -> None:
        """Read what waits, and go on."""
        self.reading = True
        self.taken(0)
