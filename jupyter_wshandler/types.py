"""Shared names: close codes, message types and the protocols between the layers."""

from __future__ import annotations

from collections.abc import Callable, Generator
from enum import IntEnum
from typing import Any, NamedTuple, Protocol, Self, TypeAlias

Message: TypeAlias = str | bytes
"""What a client sends: text frames arrive as str, binary frames as bytes."""

Sendable: TypeAlias = object
"""What a callback may send: str, bytes, or anything that has a JSON form (`jsontext.to_json`)."""


class Question:
    """A message of a client that speaks `wsh.v1` and may want to know where its answer ends.

    Args:
        number: The client's number of it, above 0; 0 where it does not ask about the answer.
        message: The message, as a callback gets it.
        size: Bytes of the frame that it came in.
    """

    __slots__ = ("message", "number", "size")

    def __init__(self, number: int, message: Message, size: int) -> None:
        self.number = number
        self.message = message
        self.size = size


class Wish:
    """What a client that speaks `wsh.v1` wants of a room: to join it, or to leave it.

    Args:
        room: The room's name, as the client has written it.
        joins: Whether it wants in.
        since: The last message of the room that it knows, as epoch and offset; None for none.
        presence: Whether it wants to be told who is in.
        size: Bytes of the frame that it came in.
    """

    __slots__ = ("joins", "presence", "room", "since", "size")

    def __init__(
        self,
        room: str,
        joins: bool,
        since: tuple[str, int] | None = None,
        presence: bool = False,
        size: int = 0,
    ) -> None:
        self.room = room
        self.joins = joins
        self.since = since
        self.presence = presence
        self.size = size


class Delivered(int):
    """As many connections as a message was given to; to await it does not wait.

    A message is given to the queue of a connection: whether its client reads it, only the client
    could say.

    Args:
        count: How many.
        route: The name of the route.
        connections: How many were open there.
        server: The URL of the server, where that is another process.
    """

    def __new__(
        cls, count: int = 0, route: str = "", connections: int = 0, server: str = ""
    ) -> Self:
        """Make one."""
        self = super().__new__(cls, count)
        self.route, self.connections, self.server = route, connections, server
        return self

    route: str
    connections: int
    server: str

    def __await__(self) -> Generator[Any, None, Self]:
        yield from ()
        return self

    def result(self, timeout: float | None = None) -> Self:
        """Return it; as `client.outbox.Delivery` has it, of a message on its way."""
        return self

    __str__ = int.__repr__

    def __repr__(self) -> str:
        at = f" at {self.server}" if self.server else ""
        return f"<Delivered to {int(self)} of {self.connections} connections of {self.route!r}{at}>"


class CloseCode(IntEnum):
    """The close codes (RFC 6455 section 7.4.1, the IANA registry, and our own 44xx)."""

    NORMAL = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    UNSUPPORTED_DATA = 1003
    NO_STATUS = 1005
    ABNORMAL = 1006
    INVALID_PAYLOAD = 1007
    POLICY_VIOLATION = 1008
    MESSAGE_TOO_BIG = 1009
    MANDATORY_EXTENSION = 1010
    INTERNAL_ERROR = 1011
    SERVICE_RESTART = 1012
    TRY_AGAIN_LATER = 1013
    BAD_GATEWAY = 1014
    LOGGED_OUT = 4401
    FORBIDDEN = 4403


class Receiver(Protocol):
    """What takes all that a transport reads; every method is called on the event loop."""

    def data_received(self, data: Any) -> None:
        """Handle one chunk as it came from the peer: bytes, but for `engine.messages`."""

    def connection_lost(self) -> None:
        """Handle the end of the byte stream; called exactly once, nothing follows."""

    def writing_resumed(self) -> None:
        """Handle the moment when queued bytes have left and there is room again."""


class Codec(Protocol):
    """What turns all that a transport reads into events, and messages into what it writes.

    `engine.protocol.Protocol` does it with the bytes of RFC 6455, `engine.messages` with whole
    messages, where the transport keeps them apart by itself.
    """

    pings: int
    """Pings that came since it was set to 0, answered or not."""

    @property
    def form(self) -> str:
        """A name for what becomes of a message: codecs of one form write the same for the same.

        Empty where that depends on what was written before.
        """

    @property
    def state(self) -> int:
        """How far the connection is; see `engine.protocol`."""

    @property
    def out(self) -> Any:
        """What must be sent in answer to what was read; see `outgoing`."""

    @property
    def answered(self) -> bool | None:
        """Whether a peer that broke the protocol has closed, too; None until that is known."""

    @property
    def pending(self) -> bool:
        """Whether something was read that had no room among the last events."""

    def limit(self, max_message: int, said: int = 0) -> None:
        """Set the size of the largest message from now on, in bytes.

        Args:
            max_message: The limit; 0 is none.
            said: What a peer is told that it is; 0 where it is that.
        """

    def receive(self, data: Any, limit: int, room: int) -> list[Any]:
        """Return the next events: at most `limit` messages, and none after `room` bytes of them.

        It may stop earlier, so that others get a turn; `pending` says so.
        """

    def outgoing(self) -> Any:
        """Return what must be sent in answer to what was read."""

    def encode(self, message: Message) -> Any:
        """Return a message as the transport writes it."""

    @property
    def may_miss(self) -> bool:
        """Whether a frame that waits may be dropped: later ones do not refer to it."""

    def start_afresh(self) -> str:
        """Forget what was sent before, where that has a say and may be forgotten.

        Returns:
            The form; still empty where it depends on more.
        """

    def rest(self) -> bool:
        """Give away memory, as nothing comes or goes; return whether that cost some time.

        What comes and goes later is the same, except for its compressed bytes.
        """

    def encode_ping(self, payload: bytes = b"") -> Any:
        """Return a ping as the transport writes it."""

    def encode_close(self, code: int, reason: str = "") -> Any:
        """Return a close frame as the transport writes it."""


class Outstanding(NamedTuple):
    """What a peer was sent and has not taken yet.

    Args:
        size: Bytes of it.
        taken: A count that grows by each byte that the peer takes; only differences say something.
    """

    size: int
    taken: int


class Transport(Protocol):
    """The way of frames to and from one peer; every method must be called on the event loop.

    A frame is bytes, but for the transports in `engine.messages`.
    """

    @property
    def queued_bytes(self) -> int:
        """Bytes accepted by write() that the operating system has not taken yet."""

    @property
    def queued_frames(self) -> int:
        """Frames among them."""

    def outstanding(self) -> Outstanding:
        """Return what the peer has not taken, in the operating system's hands, too."""

    def start(self, receiver: Receiver, early: Any) -> None:
        """Begin to read; `early` is what arrived behind the handshake."""

    def write(self, frame: Any) -> None:
        """Send one frame now, or queue it; never blocks and never raises."""

    def write_all(self, frames: Any) -> bool:
        """Send the frames of some shared messages, an `engine.shared.Frames`, as `write` does.

        Returns:
            Whether something waits now that the operating system has not taken.
        """

    def drop_oldest(self) -> int:
        """Drop the oldest queued frame that has not begun to leave; return its size, or 0."""

    def fileno(self) -> int:
        """Return the socket's descriptor, or -1 where there is none."""

    def pause_reading(self) -> None:
        """Stop reading; the peer's TCP window fills."""

    def resume_reading(self) -> None:
        """Read again."""

    def close(self) -> None:
        """Send what is queued, then end the byte stream."""

    def seal(self) -> None:
        """Take note that our close frame has been written: no message may follow it."""

    def end(self) -> None:
        """Send what is queued, write no more, and read on until `close` or `abort` is called."""

    def abort(self) -> None:
        """End the byte stream at once and drop what is queued."""


class Callback(Protocol):
    """One function of the user's, ready to be called.

    `inline` is True where `call` returns at once on the event loop (an ``async def``, or a
    ``def`` with ``run: loop``) and False where it must run in a thread.
    """

    name: str
    event: str
    inline: bool
    call: Callable[..., Any]


FilterStep: TypeAlias = tuple[str, Callable[..., Any]]
"""One function of a filter, after what it is called in log lines."""


class Filters(NamedTuple):
    """The functions of the filters of a route, by what they look at, each in the order of calls.

    Messages come in through the first filter first, and go out through it last.
    """

    opened: tuple[FilterStep, ...] = ()
    """Functions of the handler, as a connection opens."""
    incoming: tuple[FilterStep, ...] = ()
    """Functions of the handler and a message; they return it, or another one."""
    outgoing: tuple[FilterStep, ...] = ()
    """The same on the way to the client; they are called on the event loop, and return at once."""
    failed: tuple[FilterStep, ...] = ()
    """Functions of the handler and what a callback has raised."""
    closed: tuple[FilterStep, ...] = ()
    """Functions of the handler, once its connection has ended."""
