"""After a violation: where is the peer's close frame, among what nobody reads any more?"""

from __future__ import annotations

from .frames import CLOSE, FIN, MAX_CONTROL

MAX_SKIMMED = 8192
"""Frames per chunk that are looked at after a violation, for the peer's close frame."""


def skim(data: bytes, at: int) -> tuple[bool | None, bytes, int]:
    """Look for a client's close frame, so that the stream can end once the peer sends no more.

    What cannot be a client's frame is the end of looking: then nobody knows where the next one
    begins. So is a chunk of very many small frames, which nobody sends who waits for an answer.

    Args:
        data: What the peer has sent.
        at: Where in it, or behind it, the next frame begins.

    Returns:
        Whether it came (None: not yet; False: it cannot be found any more), the beginning of a
        frame that is to stand before what comes next, and how many bytes of that are to be
        skipped.
    """
    end = len(data)
    held = b""
    looks = MAX_SKIMMED
    while at < end:
        looks -= 1
        if not looks:
            return False, b"", 0
        size, body = (data[at + 1] & 0x7F, at + 6) if end - at > 1 else (0, end + 1)
        if size >= 126:
            body += 2 if size == 126 else 8
            size = int.from_bytes(data[at + 2 : body - 4], "big")
        closing = data[at] == FIN | CLOSE and size <= MAX_CONTROL
        if body + (size if closing else 0) > end:
            held = data[at:]
            break
        if closing or data[at + 1] < 128:
            return data[at + 1] > 127, b"", 0
        at = body + size
    return None, held, max(0, at - end)
