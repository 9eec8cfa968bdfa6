"""What is said to many: one system call for each of them, and as little as can be beside it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TypeVar

from ..engine.shared import Frames
from .direct import DirectTransport

_Member = TypeVar("_Member")


def send_to_many(
    ways: Mapping[DirectTransport, _Member],
    frames: Frames,
    apart: Collection[DirectTransport] = (),
) -> tuple[int, list[_Member], list[_Member]]:
    """Send some shared messages to all for whom nothing waits, and who can take them at once.

    With a thousand members, what is done beside the system call is done a thousand times, with
    objects that are no longer in the processor's cache. So nothing of a member is touched here
    but its transport and its socket, and these once: a copy of the mapping would count a reference
    to each, before the calls and behind them.

    Args:
        ways: Who belongs to a transport; it does not change meanwhile.
        frames: The messages in the form of all of these, in one piece.
        apart: Those of the transports that nothing is to be sent to.

    Returns:
        How many it was sent to, those of them for whom the rest waits now, and those whom nothing
        was sent to, who are to be sent it in the ordinary way.
    """
    whole, size = frames.whole, frames.size
    sent, rests, others = 0, [], []
    for transport in [way for way in ways if way not in apart] if apart else ways:
        sock = transport.way
        if sock is None or transport.queue is not None:
            others.append(ways[transport])
            continue
        try:
            count = sock.send(whole)
        except Exception:  # full, or lost: the ordinary way finds that, too, and knows what to do
            others.append(ways[transport])
            continue
        sent += 1
        if count != size:
            rests.append((transport, count))
    for transport, count in rests:
        transport.keep_rest(frames, count)
    return sent, [ways[transport] for transport, _ in rests], others
