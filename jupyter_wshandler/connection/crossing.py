"""What threads have asked of a connection and its loop has not taken yet, in bounded memory."""

from __future__ import annotations

import threading

PATIENCE = 2.0
"""Seconds that a thread waits for the loop: a loop that waits for this thread must go on."""


class Crossing:
    """What is on its way from threads to the loop, counted so that threads wait for their turn."""

    __slots__ = (
        "_changed",
        "_jammed",
        "_lock",
        "_messages",
        "_size",
        "_waiting",
        "closing",
        "dropped",
        "ended",
        "over",
    )

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._messages = self._size = 0
        self._waiting = 0  # threads
        self._jammed = False  # a thread has waited in vain, and nothing was taken since
        self.closing = False  # a close is on its way, a second one would change nothing
        self.ended = False  # the loop was too slow for a route that closes then
        self.over = False  # the connection takes nothing any more
        self.dropped = 0

    @property
    def under_way(self) -> bool:
        """Whether the loop has something to take."""
        return self._messages > 0 or self.closing

    def enter(self, size: int, messages: int, limit: int, patience: float) -> bool:
        """Wait until there is room, and take it; return False where there was none in time.

        Args:
            size: Bytes of what crosses; alone it always has room.
            messages: How many may be on their way, at most.
            limit: Bytes in them, at most.
            patience: Seconds to wait, at most.
        """
        with self._lock:  # the bare lock: to enter the condition costs two calls more
            if not self._has_room(size, messages, limit):
                if self._jammed:
                    return False
                self._waiting += 1
                room = self._changed.wait_for(
                    lambda: self._has_room(size, messages, limit), patience
                )
                self._waiting -= 1
                if not room:
                    self._jammed = True
                    return False
            self._messages += 1
            self._size += size
            return True

    def _has_room(self, size: int, messages: int, limit: int) -> bool:
        return (
            not self._messages
            or self.over  # nobody waits for a connection that has ended
            or (self._messages < messages and self._size + size <= limit)
        )

    def leave(self, size: int) -> None:
        """Note that the loop has taken something of so many bytes."""
        with self._lock:
            self._messages -= 1
            self._size -= size
            self._jammed = False
            if self._waiting:
                self._changed.notify_all()

    def end(self) -> None:
        """Wake the threads that wait: the connection takes nothing any more."""
        with self._changed:
            self.over = True
            self._changed.notify_all()

    def drop(self) -> None:
        """Count a message that had no room."""
        with self._changed:
            self.dropped += 1
