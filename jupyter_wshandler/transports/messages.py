"""The transport of connections whose messages travel whole; see `engine.messages`."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable

from ..engine.frames import Close, Event
from ..engine.messages import Frame, size_of
from ..engine.shared import Frames
from ..types import Outstanding, Receiver


class MessageTransport:
    """The way of whole frames to a peer that says when it has taken them.

    What the peer has not taken yet stays within a window; the rest waits here, where the
    connection's `queue` bounds it. Without a window everything leaves at once. Pings count as
    messages do, as a callback can send any number of them; a close frame needs no room, as it is
    the last.

    Args:
        loop: The event loop.
        deliver: Gets each frame as it leaves.
        ended: Called when our side ends the connection without the peer's doing.
        messages: Messages and pings that the peer may have untaken, at most; 0 for no window.
        size: Bytes in them, at most; one is always allowed.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        deliver: Callable[[Frame], object],
        ended: Callable[[], object],
        *,
        messages: int = 0,
        size: int = 0,
    ) -> None:
        self._loop = loop
        self._deliver = deliver
        self._ended = ended
        self._messages = messages
        self._size = size
        self._untaken: deque[int] = deque()
        self._untaken_size = 0
        self._queue: deque[Frame] = deque()
        self._queued_size = 0
        self._receiver: Receiver | None = None
        self._closing = False
        self._over = False

    @property
    def queued_bytes(self) -> int:
        """Bytes that wait for the peer to take what it has; at least 1 where a frame waits."""
        return max(self._queued_size, len(self._queue))

    @property
    def queued_frames(self) -> int:
        """Frames that wait."""
        return len(self._queue)

    def outstanding(self) -> Outstanding:
        """Return what waits: of the rest, the peer says itself that it has it."""
        return Outstanding(self.queued_bytes, -self.queued_bytes)

    def start(self, receiver: Receiver, early: Iterable[Event]) -> None:
        """Begin to deliver to the receiver."""
        self._receiver = receiver
        if self._over:  # `open` has run, and its write found the peer gone
            self._loop.call_soon(self._tell_lost)
        elif early:
            receiver.data_received(early)

    def feed(self, events: Iterable[Event]) -> None:
        """Take what the peer sends."""
        if self._receiver is not None:
            self._receiver.data_received(events)

    def write(self, frame: Frame | None) -> None:
        """Send one frame now, or queue it; never blocks and never raises."""
        if frame is None or self._over or self._closing:
            return
        if self._queue or not self._has_room(frame):
            self._queue.append(frame)
            self._queued_size += size_of(frame)
        else:
            self._send(frame)

    def write_all(self, frames: Frames) -> bool:
        """Send the frames of some shared messages; return whether something waits."""
        for frame in frames.each:
            self.write(frame)
        return bool(self._queue)

    def seal(self) -> None:
        """Take note that the close frame has been written; `write` knows by itself."""

    def _has_room(self, frame: Frame) -> bool:
        if not self._messages or not self._untaken or isinstance(frame, Close):
            return True
        size = self._untaken_size + size_of(frame)
        return len(self._untaken) < self._messages and size <= self._size

    def _send(self, frame: Frame) -> None:
        if self._messages and not isinstance(frame, Close):
            size = size_of(frame)
            self._untaken.append(size)
            self._untaken_size += size
        self._deliver(frame)

    def taken(self, count: int) -> None:
        """Note that the peer has taken messages and pings, and send on.

        Args:
            count: How many, the oldest first.
        """
        for _ in range(min(count, len(self._untaken))):
            self._untaken_size -= self._untaken.popleft()
        sent = False
        while self._queue and self._has_room(self._queue[0]):
            frame = self._queue.popleft()
            self._queued_size -= size_of(frame)
            self._send(frame)
            sent = True
        if self._closing and not self._queue:
            self.abort()
        elif sent and self._receiver is not None:
            self._receiver.writing_resumed()

    def drop_oldest(self) -> int:
        """Drop the oldest message that waits; return its size (1 for an empty one), or 0."""
        for index, frame in enumerate(self._queue):
            if isinstance(frame, (str, bytes)):
                del self._queue[index]
                self._queued_size -= len(frame)
                return max(1, len(frame))
        return 0

    def fileno(self) -> int:
        """Return -1: there is no socket."""
        return -1

    def pause_reading(self) -> None:
        """Do nothing: the peer waits for what it has sent to be handled."""

    def resume_reading(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Send what waits, then end."""
        self._closing = True
        if not self._queue:
            self.abort()

    def end(self) -> None:
        """Send what waits, then end: there is no direction to keep open."""
        self.close()

    def abort(self) -> None:
        """End at once and drop what waits."""
        if not self._over:
            self._ended()
            self.lost()

    def lost(self) -> None:
        """Take note that the connection is over."""
        if self._over:
            return
        self._over = True
        self._queue.clear()
        self._queued_size = 0
        # In a later turn: a callback that writes may be on the stack, and must not find that its
        # connection was ended from within the write.
        self._loop.call_soon(self._tell_lost)

    def _tell_lost(self) -> None:
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            receiver.connection_lost()
