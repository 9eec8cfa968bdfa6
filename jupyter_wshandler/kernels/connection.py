"""A connection whose callbacks run in a kernel: what of it is in the kernel's hands."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from ..connection.answers import Answers
from ..connection.breaks import QueueCounts
from ..connection.connection import Connection
from ..connection.phase import PEER_CLOSED
from ..connection.sending import Sent
from ..engine.envelope import EnvelopeCodec
from ..engine.messages import Frame
from ..types import Codec

WINDOW = 64
"""Messages that the kernel may have and not have handled, as many as an inbox holds."""

WINDOW_SIZE = 1024 * 1024
"""Bytes in them, at most; one message is always allowed."""


class _Relay(Answers):
    """The answers of a connection that the kernel marks, and is told to stop."""

    __slots__ = ("_tell",)

    def __init__(
        self, connection: Connection, codec: EnvelopeCodec, tell: Callable[[int], object]
    ) -> None:
        super().__init__(connection, codec)
        self._tell = tell

    def stop(self, number: int) -> None:
        """Take a message from the inbox, or stop its answer in the kernel."""
        if not self.skip(number):
            self._tell(number)


class KernelConnection(Connection):
    """An open WebSocket whose messages are handled in a kernel.

    Args:
        args: See `Connection`.
        on_leaving: Called once where the client leaves before its messages are handled.
        on_stop: Called with the id of a message whose answer is to be stopped.
        on_away: Called when the client is away (True), and when it is back.
        details: See `Connection`.
    """

    __slots__ = (
        "close_is_held",
        "ended_there",
        "held",
        "held_size",
        "lost_at",
        "on_away",
        "on_leaving",
        "on_stop",
        "told_closing",
        "untaken",
        "untaken_size",
    )

    def __init__(
        self,
        *args: Any,
        on_leaving: Callable[[KernelConnection], object],
        on_stop: Callable[[KernelConnection, int], object],
        on_away: Callable[[KernelConnection, bool], object],
        **details: Any,
    ) -> None:
        super().__init__(*args, **details)
        self.on_leaving = on_leaving
        self.on_stop = on_stop
        self.on_away = on_away
        self.untaken: deque[int] = deque()
        self.untaken_size = 0
        # Waits for room at a client that reads slowly.
        self.held: deque[Frame] | None = None
        self.held_size = 0
        self.close_is_held = False  # the kernel has closed it behind them
        self.lost_at = 0.0
        self.told_closing = False  # the kernel knows that the client is leaving
        self.ended_there = False  # its last callback has run in the kernel

    def envelop(
        self,
        codec: Codec,
        *,
        confirms: bool = True,
        kind: type[EnvelopeCodec] = EnvelopeCodec,
    ) -> Codec:
        """Return a codec around another that speaks `wsh.v1`; the kernel has one as well."""
        envelopes = kind(codec)
        envelopes.limit(self._route.config.max_message)
        relay = _Relay(self, envelopes, lambda number: self.on_stop(self, number))
        self._answers = envelopes.stopper = relay
        return envelopes

    @property
    def is_answering(self) -> bool:
        """Whether its client may wait for an answer that the kernel gives."""
        return super().is_answering or (self._answers is not None and bool(self.untaken))

    def stop_oldest(self) -> bool:
        """Stop the answer that the kernel gives now, or take back the message whose turn it is."""
        if not self.untaken:
            return super().stop_oldest()
        self.on_stop(self, 0)
        return True

    def tell_away(self, away: bool) -> None:
        """Have the kernel hear that the client is away, or back."""
        self.on_away(self, away)

    def relay(self, message: str | bytes) -> Sent:
        """Send what comes from the kernel: it has its envelope already, where there is one."""
        codec = self._protocol
        if not isinstance(codec, EnvelopeCodec):
            return self.write_message(message)
        self.deliver_said()  # which has no envelope yet
        codec.whole = True
        try:
            return self._send(message)
        finally:
            codec.whole = False

    def queue_counts(self) -> QueueCounts:
        """Return what waits on it; what the kernel has and has not handled waits, too."""
        counts = super().queue_counts()
        return counts._replace(waiting=counts.waiting + len(self.untaken))

    def has_room(self) -> bool:
        """Return whether the kernel may be given one more message."""
        return not self.untaken or (len(self.untaken) < WINDOW and self.untaken_size < WINDOW_SIZE)

    def give(self, size: int) -> None:
        """Note that the kernel is given a message of so many bytes."""
        self.untaken.append(size)
        self.untaken_size += size
        self._active = True

    def take(self, count: int) -> None:
        """Note that the kernel has handled messages."""
        self._active = True
        for _ in range(min(count, len(self.untaken))):
            self.untaken_size -= self.untaken.popleft()

    def tick(self, now: float) -> None:
        """Look at the clock; a message in the kernel's hands is no idleness."""
        if self.untaken:
            self._active = True
        super().tick(now)

    def settle(self) -> None:
        """Answer the client's close frame once the kernel has handled its messages.

        The kernel is told, so that a generator that nobody listens to any more is closed there.
        """
        if self._phase == PEER_CLOSED and self.untaken and self._io.loop.time() < self._deadline:
            if not self.told_closing:
                self.told_closing = True
                self.on_leaving(self)
            return
        super().settle()
