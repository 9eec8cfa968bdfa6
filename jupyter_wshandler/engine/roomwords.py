"""What a client says of rooms in `wsh.v1`; see `docs/protocol.md`.

A client writes::

    {"join": "blue"}                  let me into the room
    {"join": "blue", "since": {"epoch": "...", "offset": 12}, "presence": true}
                                      and tell me what I have missed, and who is in
    {"leave": "blue"}                 take me out of it
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from ..types import Wish

LONGEST_NAME = 1000
"""Characters of a room's name in a frame. None has more than 200, and a name that is too long is
refused; but it waits for its turn to be, with others, so one that is absurd ends the connection."""

Name = Annotated[str, Meta(max_length=LONGEST_NAME)]


class Since(msgspec.Struct, forbid_unknown_fields=True):
    """The last message of a room that a client knows."""

    epoch: Annotated[str, Meta(max_length=64)]
    offset: Annotated[int, Meta(ge=0)]


class RoomWords(msgspec.Struct):
    """The members of a frame of the client's that speak of a room."""

    join: Name | UnsetType = UNSET
    leave: Name | UnsetType = UNSET
    since: Since | UnsetType = UNSET
    presence: bool | UnsetType = UNSET

    def is_of_rooms(self) -> bool:
        """Return whether the frame says anything of a room."""
        return not (
            self.join is UNSET
            and self.leave is UNSET
            and self.since is UNSET
            and self.presence is UNSET
        )


def wish_of(words: RoomWords, size: int) -> Wish | None:
    """Return what a client wants of a room; None where its frame does not say that.

    Args:
        words: What it has written.
        size: Bytes of the frame.
    """
    join, leave, since = words.join, words.leave, words.since
    if join is not UNSET and leave is UNSET:
        known = None if since is UNSET else (since.epoch, since.offset)
        return Wish(join, True, known, words.presence is True, size)
    if leave is not UNSET and join is UNSET and since is UNSET and words.presence is UNSET:
        return Wish(leave, False, size=size)
    return None
