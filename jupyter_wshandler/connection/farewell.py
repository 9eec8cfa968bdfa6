"""How long a peer is waited for after our close frame."""

from __future__ import annotations

from ..transports.outstanding import Taking
from ..types import Transport

CLOSE_TIMEOUT = 5.0
"""Seconds for the peer to answer a close frame, and for callbacks to finish after its own."""

LINGER = 2.0
"""Seconds for a peer that broke the protocol to answer our close frame. One that still sends has
not seen it yet, and has `CLOSE_TIMEOUT` from its last bytes on."""

LINGER_AT_MOST = 30.0
"""Seconds for which a peer is read on that goes on sending after our close frame."""

LINGER_BYTES = 256 * 1024 * 1024
"""Bytes that it may send meanwhile; nothing of them is kept."""

DRAIN_AT_MOST = 600.0
"""Seconds for which a peer may go on taking what was sent before our close frame. A `queue:` of
64 MiB leaves in it at 110 KB a second, and what waits by default, with the 4 MiB of the system, at
9 KB: the slowest lines that a browser is used on. Who takes a byte at a time holds memory until
then, and no longer."""


class Farewell:
    """What is known of a peer since our close frame was written.

    Args:
        now: The event loop's time, in seconds.
        reads_on: Whether it may be sending still, as it has not said goodbye itself.
    """

    __slots__ = ("_drained_by", "_taken_at", "_taking", "leftover", "patience")

    def __init__(self, now: float, *, reads_on: bool = True) -> None:
        self.leftover = 0  # bytes that it has sent meanwhile
        self.patience = now + LINGER_AT_MOST if reads_on else 0.0  # while it sends, until then
        self._drained_by = now + DRAIN_AT_MOST
        self._taking: Taking | None = None
        self._taken_at = now - CLOSE_TIMEOUT  # never, as yet

    def hurry(self) -> None:
        """Wait no longer for anything: the next deadline is the last."""
        self.patience = self._drained_by = 0.0

    def look(self, transport: Transport, now: float) -> None:
        """Remember what is outstanding, and when the peer took some of it: at each tick.

        The first look is the clock's, as most that was sent is taken before it comes. To look at
        the deadline only would give a peer all its time again for an acknowledgement that came
        40 ms after the first look, as a system sends it that has nothing else to say.

        Args:
            transport: Carries it.
            now: The event loop's time, in seconds.
        """
        if self._taking is None:
            self._taking = Taking(transport.outstanding())
        elif self._taking.rest and self._taking.goes_on(transport.outstanding()):
            self._taken_at = now

    def goes_on(self, now: float) -> bool:
        """Return whether the peer has taken some of what was sent before, not long ago.

        Args:
            now: The event loop's time, in seconds.
        """
        return now < min(self._drained_by, self._taken_at + CLOSE_TIMEOUT)
