"""The frames of `wsh.v1`, as types; `docs/protocol.md` says what they mean.

Nothing is read or written by them: the codecs are `engine.envelope` and `engine.numbered`. A test
holds every example of that page against them.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from ..engine.asking import LAST
from ..engine.roomwords import Name, Since

Number = Annotated[int, Meta(ge=1, le=LAST)]
"""Of a message that somebody asks about."""

Count = Annotated[int, Meta(ge=0)]

Numbered = Annotated[
    Count | UnsetType, Meta(description="The frame's number, on a connection that can resume.")
]

JsonText = Annotated[
    str, Meta(description="A text; JSON where the bot takes or answers something other than text.")
]


class Framed(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A frame of the client's."""


class WshMessage(Framed):
    """A message; with `ask` the client wants to be told what answers it, and where that ends."""

    message: JsonText
    ask: Number | UnsetType = UNSET
    n: Numbered = UNSET


class WshStop(Framed):
    """The answer to a message is not wanted any more."""

    stop: int


class WshJoin(Framed):
    """The client wants to be in a room."""

    join: Name
    since: Since | UnsetType = UNSET
    presence: bool | UnsetType = UNSET
    n: Numbered = UNSET


class WshLeave(Framed):
    """The client wants to be out of a room."""

    leave: Name
    n: Numbered = UNSET


class WshAck(Framed):
    """All frames up to this number have been received; both ends say so."""

    ack: Count


class Resumable(msgspec.Struct):
    """What a client needs to come back."""

    secret: Annotated[str, Meta(description="Proves that it is the same client.")]
    window: Annotated[float, Meta(description="Seconds for which the server waits.")]


class WshHello(msgspec.Struct):
    """The server's first frame: both speak `wsh.v1`."""

    wsh: Literal["v1"]
    id: str
    resume: Resumable | UnsetType = UNSET
    received: Count | UnsetType = UNSET
    resumed: bool | UnsetType = UNSET
    reason: Literal["unknown", "user", "lost", "ended", "elsewhere"] | UnsetType = UNSET


class WshSaid(msgspec.Struct):
    """A message that answers no question: what the bot writes, a push, what was said in a room."""

    message: JsonText
    room: str | UnsetType = UNSET
    offset: Count | UnsetType = UNSET
    epoch: str | UnsetType = UNSET
    n: Numbered = UNSET


class WshReply(msgspec.Struct):
    """What the function has returned for a message."""

    reply: JsonText
    of: int
    json: bool | UnsetType = UNSET
    n: Numbered = UNSET


class WshPiece(msgspec.Struct):
    """One of the values that a generator yields."""

    piece: JsonText
    of: int
    json: bool | UnsetType = UNSET
    n: Numbered = UNSET


class WshEnd(msgspec.Struct):
    """Nothing more comes in answer to a message; of one that was refused it says why."""

    end: int
    how: Literal["done", "stopped", "failed", "refused"]
    streamed: bool | UnsetType = UNSET
    error: str | UnsetType = UNSET
    id: str | UnsetType = UNSET
    retry_after: float | UnsetType = UNSET
    path: str | UnsetType = UNSET
    expected: str | UnsetType = UNSET
    found: str | UnsetType = UNSET
    reason: str | UnsetType = UNSET
    n: Numbered = UNSET


class WshJoined(msgspec.Struct):
    """The client is in a room; `epoch` and `offset` are the end of its log."""

    joined: str
    epoch: str | UnsetType = UNSET
    offset: Count | UnsetType = UNSET
    recovered: bool | UnsetType = UNSET
    presence: bool | UnsetType = UNSET
    n: Numbered = UNSET


class WshLeft(msgspec.Struct):
    """The client is out of a room."""

    left: str
    n: Numbered = UNSET


class WshRefused(msgspec.Struct):
    """A room is not open to the client."""

    refused: str
    error: Literal["room", "ratelimit"]
    detail: str | UnsetType = UNSET
    retry_after: float | UnsetType = UNSET
    n: Numbered = UNSET


class Member(msgspec.Struct):
    """A person in a room."""

    id: str
    card: Any
    connections: Count
    since: Annotated[float, Meta(description="When they came, in seconds since 1970.")]


class WshMembers(msgspec.Struct):
    """Who is in a room, or a part of the list."""

    members: list[Member]
    room: str
    presence_offset: Count
    more: bool | UnsetType = UNSET
    n: Numbered = UNSET


class WshMember(msgspec.Struct):
    """A change of who is in a room."""

    member: Member
    change: Literal["joined", "changed", "left"]
    room: str
    presence_offset: Count
    n: Numbered = UNSET


class WshMove(msgspec.Struct):
    """The server is about to stop: the client is to come back elsewhere."""

    move: Annotated[float, Meta(ge=0, description="Seconds until then.")]
    n: Numbered = UNSET


class WshDropped(msgspec.Struct):
    """A message that the route's `queue` has dropped; its number comes alone."""

    n: Count


OF_CLIENT: tuple[type[msgspec.Struct], ...] = (WshMessage, WshStop, WshJoin, WshLeave, WshAck)
"""What a client writes as text frames."""

OF_SERVER: tuple[type[msgspec.Struct], ...] = (
    WshHello,
    WshSaid,
    WshReply,
    WshPiece,
    WshEnd,
    WshJoined,
    WshLeft,
    WshRefused,
    WshMembers,
    WshMember,
    WshMove,
    WshDropped,
    WshAck,
)
"""What the server writes as text frames."""


# ---- what plain clients are told -------------------------------------------------------------


class MessageError(msgspec.Struct):
    """A message was not what the bot takes, and was given to nobody."""

    error: Literal["message"]
    path: Annotated[str, Meta(description="Where in the message; `$` is the whole.")]
    expected: str
    found: str


class RateError(msgspec.Struct):
    """A message was over the route's `ratelimit`, and was given to nobody."""

    error: Literal["ratelimit"]
    retry_after: Annotated[float, Meta(description="Seconds.")]


class BotError(msgspec.Struct):
    """The bot has failed; `id` names the failure in the server's log."""

    error: Literal["internal error"]
    id: str
