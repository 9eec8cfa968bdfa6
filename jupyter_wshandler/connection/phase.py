"""How far a connection has come, from the handshake to its end."""

from __future__ import annotations

from enum import IntEnum


class Phase(IntEnum):
    """How far a connection has come; a later phase is a greater number.

    What the two close frames have to do with it is known by the codec (`engine.protocol`): a
    connection is still open here while callbacks handle what came before the client's.
    """

    OPENING = 0
    """The handshake is under way: nothing can be sent."""
    OPEN = 1
    """Messages flow both ways."""
    PEER_CLOSED = 2
    """The client has said goodbye; what it has sent before is handled, and may be answered."""
    CLOSING = 3
    """Our close frame has been written: nothing more can be sent."""
    CLOSED = 4
    """The byte stream has ended; `on_close` runs, or has run."""
    FORKED = 5
    """This process is a forked child: the connection is its parent's."""

    @property
    def words(self) -> str:
        """What is told to people."""
        return _WORDS[self]


_WORDS = (
    "opening",
    "open",
    "closed by the client",
    "closing",
    "closed",
    "the server's, and this process is a fork of it: send from the parent",
)

# One look-up where a phase is compared for each message, instead of two.
OPENING, OPEN, PEER_CLOSED, CLOSING, CLOSED, FORKED = Phase
