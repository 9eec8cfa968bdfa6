"""Notice that a peer has gone whose bytes nobody reads at present."""

from __future__ import annotations

import select


def was_reset(descriptor: int) -> bool:
    """Say whether a socket's connection has broken off; reads nothing.

    A loop that has stopped reading a socket hears no more of it, and what the peer has sent before
    it broke off would be read first. The end of the peer's own direction (FIN) is no break.

    Args:
        descriptor: The socket's; -1 where there is none.
    """
    if descriptor < 0 or not hasattr(select, "poll"):
        return False
    asked = select.poll()
    asked.register(descriptor, 0)  # errors are told in any case (POSIX, poll)
    return any(events & (select.POLLERR | select.POLLHUP) for _, events in asked.poll(0))
