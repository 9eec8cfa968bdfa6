"""Look for a peer's close frame among what nobody reads any more."""

from __future__ import annotations

from .frames import CLOSE, FIN, MAX_CONTROL

MAX_SKIMMED = 8192
"""Frames per chunk that are looked at after a violation, for the peer's close frame."""


class Skim:
    """What is looked at after a violation, so that the stream can end as soon as the peer's does.

    Args:
        left: Bytes of the frame being read that have still to come.

    Attributes:
        answered: True once the peer's close frame came, False where it cannot be found any more,
            None until then.
    """

    __slots__ = ("_held", "_left", "answered")

    def __init__(self, left: int, *, answered: bool | None = None) -> None:
        self._held = b""
        self._left = left
        self.answered = answered

    def look(self, data: bytes) -> None:
        """Go over the frames in a chunk, as far as it holds any of a client's.

        What cannot be a client's frame is the end of looking: then nobody knows where the next
        one begins. So is a chunk of very many small frames, which nobody sends who waits for an
        answer.

        Args:
            data: What came, in any portions.
        """
        if self.answered is not None:
            return
        if self._held:
            data, self._held = self._held + data, b""
        at, end = self._left, len(data)
        looks = MAX_SKIMMED
        while at < end:
            looks -= 1
            if not looks:
                self.answered = False
                return
            size, body = (data[at + 1] & 0x7F, at + 6) if end - at > 1 else (0, end + 1)
            if size >= 126:
                body += 2 if size == 126 else 8
                size = int.from_bytes(data[at + 2 : body - 4], "big")
            closing = data[at] == FIN | CLOSE and size <= MAX_CONTROL
            if body + (size if closing else 0) > end:
                self._held = data[at:]
                break
            if closing or data[at + 1] < 128:
                self.answered = data[at + 1] > 127
                return
            at = body + size
        self._left = max(0, at - end)
