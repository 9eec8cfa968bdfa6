"""How far the closing handshake is (RFC 6455 section 7.1)."""

from __future__ import annotations

from enum import IntEnum


class CloseState(IntEnum):
    """How far the two close frames are: whose was sent, and whose came."""

    FLOWING = 0
    """Messages flow both ways."""
    CLOSE_CAME = 1
    """The peer's close frame came, ours was not sent."""
    CLOSE_SENT = 2
    """Our close frame was sent, the peer's did not come yet."""
    CLOSE_DONE = 3
    """Both close frames were exchanged."""
    FAILED = 4
    """The peer broke the protocol; of whatever follows only its close frame counts (7.1.7)."""


# One look-up where a state is compared for each frame, instead of two.
FLOWING, CLOSE_CAME, CLOSE_SENT, CLOSE_DONE, FAILED = CloseState
