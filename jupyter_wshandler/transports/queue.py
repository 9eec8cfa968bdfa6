"""The frames that wait to be sent on one connection."""

from __future__ import annotations

from collections import deque

JOIN_SIZE = 65536
"""Bytes that are joined into one write at most; a larger frame goes out on its own."""

CONTROL = 0x08
"""Set in the first byte of a frame that is no part of a message (RFC 6455 section 5.2)."""


class FrameQueue:
    """Frames in order; it knows how many bytes of the first have left already.

    Frames are kept as they are (a broadcast shares one object between all its members), and
    joined only when they are written.
    """

    __slots__ = ("_frames", "_offset", "size")

    def __init__(self) -> None:
        self._frames: deque[bytes] = deque()
        self._offset = 0
        self.size = 0

    def __len__(self) -> int:
        return len(self._frames)

    def append(self, frame: bytes) -> None:
        """Add one frame at the end."""
        self._frames.append(frame)
        self.size += len(frame)

    def chunk(self, limit: int = JOIN_SIZE) -> bytes | memoryview:
        """Return the next bytes to write, up to a limit where frames are joined.

        Args:
            limit: How many bytes are joined at most; a larger frame is returned whole.
        """
        frames = self._frames
        first = frames[0]
        if self._offset:
            return memoryview(first)[self._offset :]
        if len(frames) == 1 or len(first) >= limit:
            return first
        if self.size <= limit:
            return b"".join(frames)
        size = 0
        count = 0
        for frame in frames:
            size += len(frame)
            if size > limit:
                break
            count += 1
        return b"".join([frames[i] for i in range(count)])

    def sent(self, count: int) -> None:
        """Forget the first `count` bytes: the operating system has them."""
        self.size -= count
        count += self._offset
        frames = self._frames
        while frames and count >= len(frames[0]):
            count -= len(frames.popleft())
        self._offset = count

    def drop_oldest(self) -> int:
        """Drop the oldest message of which no byte has left; return its size, 0 if there is none.

        Pings, pongs and close frames stay: they are small, and the peer counts on them.
        """
        frames = self._frames
        for index in range(bool(self._offset), len(frames)):
            size = len(frames[index])
            if not frames[index][0] & CONTROL:
                del frames[index]
                self.size -= size
                return size
        return 0
