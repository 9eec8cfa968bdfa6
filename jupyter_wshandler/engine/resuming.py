"""How a connection of `wsh.v1` is taken up again after a break; no input or output.

A client that can do so says it in its handshake, as one more subprotocol behind `wsh.v1`: the only
place where a page's script can say anything. `docs/protocol.md` has the whole of it.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from typing import Literal, NamedTuple

from .asking import SUBPROTOCOL

OFFER = "wsh.resume"
"""The subprotocol by which a client says that it can resume."""

COMES_BACK = 4900
"""The close code by which a client says that it will come back at once."""

GOING_AWAY = 1001
"""The close code of a page that goes away, and may be reloaded (RFC 6455 section 7.4.1)."""

BREAKS = frozenset({GOING_AWAY, COMES_BACK})
"""Close codes of a client's that do not end its connection, but interrupt it."""

HEAD = struct.Struct(">iI")
"""What a binary frame begins with: the number of the question or of the answer, 0 for none; and the
number of the frame."""

LAST_NUMBER = 2**32 - 1
"""The largest number of a frame: in binary frames it has 4 bytes."""

_comes_back = re.compile(
    rf"{re.escape(OFFER)}\.([0-9a-zA-Z]{{1,64}})\.([0-9A-Za-z_-]{{16,128}})\.(0|[1-9][0-9]{{0,9}})"
).fullmatch

Refusal = Literal["unknown", "user", "lost", "ended", "elsewhere"]
"""Why a connection cannot be taken up again."""


class ComeBack(NamedTuple):
    """What a client says that comes back.

    Args:
        id: The connection's id.
        secret: The secret that the client was given with it; in no log, and kept nowhere.
        received: The number of the last frame of the server's that the client has.
    """

    id: str
    secret: str
    received: int

    def __repr__(self) -> str:
        return f"<ComeBack of {self.id}>"


def is_offer(subprotocol: str) -> bool:
    """Return whether a subprotocol is between a client and us, and no business of a route's.

    Args:
        subprotocol: One of those that a client lists.
    """
    return subprotocol in (SUBPROTOCOL, OFFER) or subprotocol.startswith(f"{OFFER}.")


def can_resume(subprotocols: Sequence[str]) -> bool:
    """Return whether a client says that it can resume, whether it comes back or is new."""
    return SUBPROTOCOL in subprotocols and any(
        name == OFFER or name.startswith(f"{OFFER}.") for name in subprotocols
    )


def come_back(subprotocols: Sequence[str]) -> ComeBack | None:
    """Return what a client says that comes back; None for one that is new.

    Args:
        subprotocols: Those that it lists. One that nobody could have been given is as good as
            none: it is of no connection.
    """
    for name in subprotocols:
        found = _comes_back(name)
        if found is not None:
            return ComeBack(found[1], found[2], int(found[3]))
        if name.startswith(f"{OFFER}."):
            return ComeBack("", "", 0)
    return None


def offer(resumed: ComeBack | None = None) -> list[str]:
    """Return the subprotocols that a client lists.

    Args:
        resumed: The connection that it takes up again; None for a new one.
    """
    if resumed is None:
        return [SUBPROTOCOL, OFFER]
    return [SUBPROTOCOL, f"{OFFER}.{resumed.id}.{resumed.secret}.{resumed.received}"]


def without_secret(value: str) -> str:
    """Return a header field without what only the server is told in it.

    Args:
        value: The value of a Sec-WebSocket-Protocol field.
    """
    names = (name.strip() for name in value.split(","))
    return ", ".join(OFFER if name.startswith(f"{OFFER}.") else name for name in names)
