"""One client that is told who is in a room: the list first, and every change of it then."""

from __future__ import annotations

import contextlib
from collections import deque
from typing import Any

import msgspec

from ..connection.connection import Connection
from ..engine.jsontext import to_json
from ..engine.roomframes import Envelopes
from ..errors import ConnectionClosed
from .people import Difference, Member, Members

PAGE = 100
"""Members on a page of a list."""

MAX_HELD = 1000
"""Changes that wait behind a list for a client that reads slowly; then it gets a new list."""

WORDS = {"join": "joined", "update": "changed", "leave": "left"}


class Watch:
    """What one client is told of the members of one room, in one order.

    Whoever puts a list together from what it is told has the list as it is. Changes wait while the
    pages of a list are on their way; and where something that was sent was dropped (`slow:
    drop_oldest`), the client is sent the list anew.

    Args:
        connection: The client's.
    """

    __slots__ = ("_dropped", "_held", "_pages", "_stale", "connection")

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._pages: deque[dict[str, Any]] | None = None  # an empty one would take 600 bytes
        self._held: deque[Envelopes] | None = None
        self._stale = False
        self._dropped = connection.dropped

    @property
    def has_lost(self) -> bool:
        """Whether it can be that something which it was told was dropped."""
        return self.connection.dropped != self._dropped

    @property
    def is_busy(self) -> bool:
        """Whether pages of a list are on their way, and changes wait."""
        return self._held is not None

    def begin(self, pages: list[dict[str, Any]]) -> bool:
        """Tell the client a list.

        Args:
            pages: Its frames.

        Returns:
            Whether there is more of it than is sent at once: then `go_on` is to be called.
        """
        self._dropped = self.connection.dropped
        if self._held is not None:
            self._stale = True  # once the list that is on its way has come to its end
            return False
        if len(pages) == 1:
            say(self.connection, pages[0])
            return False
        self._pages = deque(pages)
        self._held = deque()
        return True

    def tell(self, change: Envelopes) -> None:
        """Tell the client a change, behind all that it was told before."""
        if self._held is None:
            self.connection.write_shared(change)
        elif len(self._held) < MAX_HELD and not self._stale:
            self._held.append(change)
        else:
            self._held.clear()
            self._stale = True

    async def go_on(self) -> bool:
        """Send what waits, as fast as the client takes it.

        Returns:
            Whether the client needs a new list.
        """
        answers = self.connection.chat_answers
        pages, held = self._pages, self._held
        with contextlib.suppress(ConnectionClosed):
            while answers is not None and pages:
                await answers.say(pages.popleft())
            while answers is not None and held and not self._stale:
                for envelope in held.popleft().envelopes:
                    await answers.say(envelope)
        stale, self._stale = self._stale, False
        self._pages = self._held = None
        return stale


def say(connection: Connection, envelope: dict[str, Any]) -> None:
    """Tell a client something, if it speaks `wsh.v1`."""
    if connection.chat_answers is not None:
        connection.chat_answers.say(envelope)


def pages_of(room: str, members: Members) -> list[dict[str, Any]]:
    """Return the frames that tell a list of members; one at least.

    Args:
        room: The room's name.
        members: All who are in.
    """
    pages = []
    for start in range(0, len(members) or 1, PAGE):
        page: dict[str, Any] = {
            "members": [_shown(member) for member in members[start : start + PAGE]],
            "room": room,
            "presence_offset": members.offset,
        }
        if start + PAGE < len(members):
            page["more"] = True
        pages.append(page)
    return pages


def change_of(room: str, difference: Difference) -> dict[str, Any]:
    """Return the frame that tells a change of a list of members."""
    return {
        "member": _shown(difference.member),
        "change": WORDS[difference.kind],
        "room": room,
        "presence_offset": difference.offset,
    }


def _shown(member: Member) -> dict[str, Any]:
    try:
        card = msgspec.Raw(to_json(member.card).encode())
    except Exception:  # a bot has written into what it has returned
        card = msgspec.Raw(b"null")
    return {
        "id": member.id,
        "card": card,
        "connections": member.connections,
        "since": member.since,
    }
