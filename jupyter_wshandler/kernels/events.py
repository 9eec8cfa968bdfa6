"""What a server and a kernel say to each other: one class for each event, in either direction.

On the wire an event is a JSON list of its name and its fields, in the order in which the class has
them: `Text("c1", "hello")` is ``["text", "c1", "hello"]``. The first field says what the event is
about: a connection by its id, a route by its name, or a session. `Long`, `Binary`, `Ping` and
`Pong` have a payload beside the JSON, as one of the comm message's buffers.
"""

from __future__ import annotations

from typing import Any, Generic, Literal, TypeAlias, TypeVar

import msgspec
from msgspec import to_builtins

Claimed = TypeVar("Claimed")
Changed = TypeVar("Changed")
Removed = TypeVar("Removed")
Wished = TypeVar("Wished")


class Event(msgspec.Struct, array_like=True, frozen=True):
    """One event, which is about something that has a name."""

    name: str

    @property
    def what(self) -> str:
        """The name of the event itself, which its list begins with."""
        return str(self.__struct_config__.tag)

    def as_list(self) -> list[Any]:
        """Return the event as it is written."""
        return [self.__struct_config__.tag, *msgspec.structs.astuple(self)]


# ---- in both directions --------------------------------------------------------------------------


class Text(Event, tag="text", frozen=True):
    """A text from a client, or to one."""

    text: str


class Long(Event, tag="long", frozen=True):
    """A text that travels as a buffer, in UTF-8: within the JSON it would be copied many times."""


class Binary(Event, tag="binary", frozen=True):
    """Bytes from a client, or to one, which travel as a buffer."""


# ---- from a kernel -------------------------------------------------------------------------------


class Ping(Event, tag="ping", frozen=True):
    """A ping to a client; its payload travels as a buffer."""


class Close(Event, tag="close", frozen=True):
    """The wish to close a connection."""

    code: int
    reason: str


class Closed(Event, tag="closed", frozen=True):
    """The end of a connection's last callback, and how many messages its queue has dropped."""

    dropped: int


class SessionChange(Event, Generic[Changed, Removed], tag="session", frozen=True):
    """What has changed in a session: new values as JSON text by key, and the keys that are gone.

    A kernel sends a mapping and a list; the server reads them in two steps, see `batches`.
    """

    changed: Changed
    removed: Removed


class Serve(Event, Generic[Claimed], tag="serve", frozen=True):
    """The wish to serve a route, with a number that the answer repeats.

    A kernel sends a mapping; the server reads it in two steps, see `batches`.
    """

    number: int
    claim: Claimed
    label: str = ""
    """The notebook's file, for people who read the server's log."""


class Withdraw(Event, tag="withdraw", frozen=True):
    """The end of a route that the kernel has served."""


class Share(Event, Generic[Wished], tag="share", frozen=True):
    """The wish to share a route that the kernel serves, with a number that the answer repeats.

    A kernel sends a mapping; the server reads it in two steps, see `batches`.
    """

    number: int
    wish: Wished


class Unshare(Event, tag="unshare", frozen=True):
    """The wish to end a share of a route."""

    number: int
    share: str


class Join(Event, tag="join", frozen=True):
    """The wish to put a connection into a room, with a number that the answer repeats."""

    number: int
    room: str


class Leave(Event, tag="leave", frozen=True):
    """The wish to take a connection out of a room."""

    number: int
    room: str


class Say(Event, tag="say", frozen=True):
    """A message to a room of a route's space; it travels as a buffer, in UTF-8 where it is text.

    Where a space is named, it is that, and the name of the event is empty.
    """

    number: int
    space: str
    room: str
    exclude: str
    binary: bool


class SayTo(Event, tag="sayto", frozen=True):
    """A message to the connections of the user whom the event is about; travels as a buffer."""

    number: int
    binary: bool


class AskRoom(Event, tag="askroom", frozen=True):
    """A question about a room, or the wish to forget what was said there; named as for `Say`."""

    number: int
    space: str
    room: str
    wish: Literal["members", "history", "clear"]
    limit: int
    start: int
    since: tuple[str, int] | None


# ---- from the server -----------------------------------------------------------------------------


class RequestDetails(msgspec.Struct, frozen=True):
    """What a kernel is told of the opening request."""

    headers: list[tuple[str, str]]
    uri: str
    remote_ip: str
    protocol: str
    host: str


class Details(msgspec.Struct, frozen=True):
    """What a kernel is told of a connection; nothing of it proves an identity."""

    route: str
    user: dict[str, Any] | None
    session: tuple[str, dict[str, Any]] | None
    """Its id and its values."""
    request: RequestDetails
    path_args: list[Any]
    path_kwargs: dict[str, Any]
    subprotocol: str | None
    chat: bool
    """Whether the client speaks `wsh.v1`."""

    def as_dict(self) -> dict[str, Any]:
        """Return the details as they are written."""
        return {**msgspec.structs.asdict(self), "request": msgspec.structs.asdict(self.request)}


class Open(Event, tag="open", frozen=True):
    """A new connection of a route."""

    details: Details

    def as_list(self) -> list[Any]:
        """Return the event as it is written."""
        return [self.__struct_config__.tag, self.name, self.details.as_dict()]


class Served(Event, tag="served", frozen=True):
    """The answer that a route is served."""

    number: int
    where: dict[str, str]
    """The addresses of the route and of its server."""


class Refused(Event, tag="refused", frozen=True):
    """The answer that a route is not served, and why."""

    number: int
    why: str


class Displaced(Event, tag="displaced", frozen=True):
    """The news that a route is served no longer, and why; with the number that it was agreed by."""

    number: int
    why: str


class ShareState(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a kernel is told of a share; times are in seconds since 1970."""

    id: str
    label: str = ""
    path: str = ""
    created: float = 0.0
    expires: float | None = None
    uses: int | None = None
    used: int = 0
    page: bool = True
    users: list[str] = []
    groups: list[str] = []
    url: str = ""
    """The link; only in the answer to whoever has wished for the share."""


class Shared(Event, tag="shared", frozen=True):
    """The answer that a route is shared, with the link."""

    number: int
    state: ShareState

    def as_list(self) -> list[Any]:
        """Return the event as it is written."""
        return [self.__struct_config__.tag, self.name, self.number, to_builtins(self.state)]


class NotShared(Event, tag="notshared", frozen=True):
    """The answer that a share is not made, or not ended, and why."""

    number: int
    why: str


class Shares(Event, tag="shares", frozen=True):
    """All open shares of a route, whoever has made them: they are others than before."""

    states: list[ShareState]

    def as_list(self) -> list[Any]:
        """Return the event as it is written."""
        return [self.__struct_config__.tag, self.name, to_builtins(self.states)]


class ShareEnded(Event, tag="shareended", frozen=True):
    """The end of a share of a route, and why."""

    share: str
    why: str


class RoomAnswer(Event, tag="roomanswer", frozen=True):
    """What has become of something that a kernel has asked of a room; JSON values."""

    number: int
    answer: Any

    def as_list(self) -> list[Any]:
        """Return the event as it is written."""
        return [self.__struct_config__.tag, self.name, self.number, to_builtins(self.answer)]


class RoomRefusal(Event, tag="roomrefusal", frozen=True):
    """The answer that it cannot be, and why."""

    number: int
    why: str


class Pong(Event, tag="pong", frozen=True):
    """A client's answer to a ping; its payload travels as a buffer."""


class Stop(Event, tag="stop", frozen=True):
    """A client's wish that the answer to one of its messages is stopped."""

    number: int


class Away(Event, tag="away", frozen=True):
    """The news that a client is away, and may come back; or that it has."""

    away: bool


class Leaving(Event, tag="leaving", frozen=True):
    """The news that a client has said goodbye, and waits for its messages to be handled."""

    code: int
    reason: str


class Lost(Event, tag="lost", frozen=True):
    """The end of a connection."""

    code: int | None
    reason: str


OfRooms: TypeAlias = Join | Leave | Say | SayTo | AskRoom
"""What a kernel says of rooms."""

FromKernel: TypeAlias = (
    Text
    | Long
    | Binary
    | Ping
    | Close
    | Closed
    | SessionChange[msgspec.Raw, msgspec.Raw]
    | Serve[msgspec.Raw]
    | Withdraw
    | Share[msgspec.Raw]
    | Unshare
    | OfRooms
)
"""What a server reads."""

OfShares: TypeAlias = Shared | NotShared | Shares | ShareEnded
"""What a server says of shares."""

FromServer: TypeAlias = (
    Open
    | Served
    | Refused
    | Displaced
    | OfShares
    | RoomAnswer
    | RoomRefusal
    | Text
    | Long
    | Binary
    | Pong
    | Stop
    | Away
    | Leaving
    | Lost
)
"""What a kernel reads."""

Answer: TypeAlias = Served | Refused | Displaced
"""What a server says to a kernel's wish to serve a route, now or later."""

BUFFERED_FROM_KERNEL = frozenset({"long", "binary", "ping", "say", "sayto"})
"""Names of a kernel's events whose payload travels beside the JSON."""

BUFFERED_FROM_SERVER = frozenset({"long", "binary", "pong"})
"""The same of the server's."""


class Told(msgspec.Struct):
    """A batch of a server that has come on a pipe, read as a whole."""

    n: int | None = None
    got: int | None = None
    taken: dict[str, int] = {}
    events: list[FromServer] = []


class _One(msgspec.Struct, array_like=True):
    # What msgspec knows of a struct it keeps; a union alone it would study anew at every event.
    event: FromServer


_told = msgspec.json.Decoder(Told)


def read_told(content: bytes) -> Told:
    """Read a batch of the server that has come on a pipe.

    Raises:
        ValueError: Something in it is no event.
        RecursionError: It is nested too deeply.
    """
    return _told.decode(content)


def read_from_server(event: list[Any]) -> FromServer:
    """Read one event of the server, whose JSON the kernel has read already.

    Raises:
        msgspec.ValidationError: It is none.
    """
    return msgspec.convert([event], _One).event
