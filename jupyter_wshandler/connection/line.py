"""The way to a client that may break and be taken up again: one transport over several."""

from __future__ import annotations

from hashlib import sha256
from hmac import compare_digest
from typing import Any

from ..config.model import QueueConfig, ResumeConfig
from ..engine.frames import Close
from ..engine.numbered import UNCONNECTED, NumberedCodec
from ..engine.protocol import reply_code
from ..engine.resuming import GOING_AWAY, ComeBack
from ..transports.loop import LoopIO
from ..types import CloseCode, Codec, Outstanding, Transport
from .outliving import Outliving
from .phase import PEER_CLOSED

AHEAD = 64 * 1024
"""Bytes that a transport is given before it has sent them: the rest waits here, where it is kept
anyway, and where it may still be dropped."""

FRAMES_AHEAD = 64
"""Frames in them, at most."""

CLOSE_TIMEOUT = 5.0
"""Seconds for a client that goes away to take the answer to its close frame."""


class _Ear:
    """What hears one transport of a line, until another one takes its place."""

    __slots__ = ("_line",)

    def __init__(self, line: Line) -> None:
        self._line = line

    def data_received(self, data: Any) -> None:
        self._line.heard(self, data)

    def connection_lost(self) -> None:
        self._line.broke(self)

    def writing_resumed(self) -> None:
        self._line.took(self)


class Line:
    """The transport of a connection that outlives breaks.

    The connection writes to it as to any other. What is counted is kept by the codec, and leaves
    from here, as far as the transport of today takes it; while there is none, it waits.

    Args:
        io: What the connections of this loop share.
        codec: Numbers and keeps what is sent.
        transport: The first way to the client.
        secret: What the client proves with that it is the same; only its digest is kept.
        users: Names of the user; nobody else can take the connection up again.
    """

    __slots__ = (
        "_codec",
        "_connection",
        "_digest",
        "_ear",
        "_expired",
        "_io",
        "_over",
        "_pumping",
        "_secret",
        "_transport",
        "code",
        "refusal",
        "until",
        "users",
    )

    def __init__(
        self,
        io: LoopIO,
        codec: NumberedCodec,
        transport: Transport,
        secret: str,
        users: tuple[str, ...],
    ) -> None:
        self._io = io
        self._codec = codec
        self._transport: Transport | None = transport
        self._secret = secret  # until the client is told
        self._digest = sha256(secret.encode()).digest()
        self.users = users
        self._connection: Outliving = None  # type: ignore[assignment] # set by `start`
        self._ear: _Ear | None = None
        self._over = self._expired = False  # our side has ended it
        self._pumping = False
        self.refusal = ""
        """Why the client has this one, and not the one that it has come back to."""
        self.until = 0.0
        """When the connection ends unless the client comes back, by the loop's clock."""
        self.code = int(CloseCode.ABNORMAL)
        """What it ends with then: how the client has gone."""
        codec.clock, codec.flush, codec.was_read = io.loop.time, self._flush, self._was_read

    # ---- who may come back ---------------------------------------------------------------------

    def knows(self, secret: str) -> bool:
        """Return whether a secret is the one that the client was given."""
        return compare_digest(self._digest, sha256(secret.encode()).digest())

    @property
    def digest(self) -> bytes:
        """What the secret is known by."""
        return self._digest

    def adopt(self, config: ResumeConfig | None) -> None:
        """Keep as much as another version of the route says."""
        if config is not None:
            self._codec.lasting.bound(messages=config.messages, size=config.bytes)

    def introduction(self) -> dict[str, object]:
        """Return what a new client is told beside its id, once: the secret is not kept."""
        config, secret = self._connection.resume_config, self._secret
        self._secret = ""
        said: dict[str, object] = {"resume": _resume(secret, config), "received": 0}
        if self.refusal:
            said |= {"resumed": False, "reason": self.refusal}
        return said

    # ---- a break -----------------------------------------------------------------------------

    @property
    def is_away(self) -> bool:
        """Whether there is no way to the client now."""
        return self._transport is None

    @property
    def has_expired(self) -> bool:
        """Whether the connection has ended because nobody has come back in time."""
        return self._expired

    def broke(self, ear: _Ear) -> None:
        """Take note that a transport has lost its client."""
        if ear is self._ear and not self._break_off():
            self._connection.connection_lost()

    def drop(self) -> bool:
        """Give up on the transport of today, whose client does not answer.

        Returns:
            Whether the connection outlives it.
        """
        transport = self._transport
        if transport is None or not self._break_off():
            return False
        transport.abort()
        return True

    def _take_over(self) -> None:
        """Drop a transport whose client has come by another way before the break was seen."""
        transport = self._transport
        assert transport is not None
        self._go_away()
        self._connection.goes_away()
        transport.abort()

    def leave(self, said: Close) -> bool:
        """Answer the close frame of a client that may come back.

        Returns:
            Whether the connection outlives it.
        """
        transport, inner = self._transport, self._codec.inner
        if transport is None or not self._break_off():
            return False
        self.code = said.code if said.code == GOING_AWAY else int(CloseCode.ABNORMAL)
        transport.write(inner.encode_close(reply_code(said.code)))
        transport.close()
        if transport.queued_bytes:
            self._io.loop.call_later(CLOSE_TIMEOUT, transport.abort)
        return True

    def _break_off(self) -> bool:
        if self._over or not self._connection.may_go_away():
            return False
        self._go_away()
        self._connection.goes_away()
        return True

    def _go_away(self) -> None:
        config = self._connection.resume_config
        self._transport = self._ear = None
        self.code = int(CloseCode.ABNORMAL)
        self.until = self._io.loop.time() + (0.0 if config is None else config.window)
        self._codec.inner = UNCONNECTED
        self._codec.lasting.pause()

    def goes_on_behind(self, received: int) -> bool:
        """Return whether all is kept that a client needs which comes back.

        Args:
            received: The number of the last frame that it has.
        """
        return self._codec.lasting.can_resume(received)

    def take_up(self, transport: Transport, inner: Codec, early: Any, client: ComeBack) -> None:
        """Go on by another way, behind the last frame that the client has received.

        Args:
            transport: The way.
            inner: The codec of it.
            early: What has come by it already.
            client: What the client has said; `goes_on_behind` has said that it can.

        Raises:
            Missing: It has received what was never sent.
            NotKept: What it needs is not kept.
        """
        connection, codec = self._connection, self._codec
        if self._transport is not None:
            self._take_over()
        codec.lasting.resume(client.received)
        self._transport = transport
        codec.carried_by(inner)
        ear = self._ear = _Ear(self)
        said = {
            "wsh": "v1",
            "id": connection.id,
            "resume": _resume(client.secret, connection.resume_config),
            "resumed": True,
            "received": codec.lasting.told(),
        }
        transport.write(codec.announce(said))
        connection.comes_back()  # whatever the bot says then comes behind that
        self._pump()
        transport.start(ear, early)
        connection.writing_resumed()

    def tick(self, now: float) -> bool:
        """Look at the clock; return whether the client is away.

        Args:
            now: The event loop's time, in seconds.
        """
        if self._transport is None:
            if now >= self.until or self._connection.resume_config is None:
                self.expire()
            return True
        self.acknowledge(now)
        return False

    def expire(self) -> None:
        """Wait for the client no longer: the connection is lost, as it would have been before."""
        if self._transport is None and not self._over:
            self._over = self._expired = True
            self._connection.close_code, self._connection.close_reason = self.code, ""
            self._connection.connection_lost()

    # ---- what the transport says ---------------------------------------------------------------

    def heard(self, ear: _Ear, data: Any) -> None:
        """Take what has come by a transport."""
        if ear is self._ear:
            self._connection.data_received(data)

    def _was_read(self) -> None:
        """Take note that the codec has read something."""
        self.acknowledge(self._io.loop.time())
        if self._codec.news:
            self._codec.news = False
            self._pump()
            self._connection.writing_resumed()

    def took(self, ear: _Ear) -> None:
        """Take note that a transport has room again."""
        if ear is self._ear:
            self._pump()
            self._connection.writing_resumed()

    def acknowledge(self, now: float) -> None:
        """Tell the client what has come, where that is due; of a time without end in any case."""
        number = self._codec.lasting.due(now)
        if number and self._transport is not None and self._connection.phase <= PEER_CLOSED:
            self._transport.write(self._codec.acknowledgement(number))

    def untie(self) -> None:
        """Let go of the connection, which has ended, and have the codec let go of this."""
        self._over = True
        self._ear = None  # a transport that ends later has nobody to tell
        self._connection = None  # type: ignore[assignment]
        self._codec.flush = self._codec.was_read = _nothing

    # ---- the transport of the connection -------------------------------------------------------

    @property
    def queued_bytes(self) -> int:
        """Bytes that wait; at least 1 where more must not be written without a thought."""
        lasting, transport = self._codec.lasting, self._transport
        waiting = lasting.unsent_size + (0 if transport is None else transport.queued_bytes)
        return waiting or int(lasting.is_full())

    @property
    def queued_frames(self) -> int:
        """Frames that wait."""
        transport = self._transport
        return self._codec.lasting.unsent + (0 if transport is None else transport.queued_frames)

    def outstanding(self) -> Outstanding:
        """Return what the client has not taken of what the transport of today was given."""
        return Outstanding(0, 0) if self._transport is None else self._transport.outstanding()

    def is_full(self, queue: QueueConfig, factor: int) -> bool:
        """Return whether no more should be written.

        Args:
            queue: The route's bounds for a client that is there and reads slowly.
            factor: How many times as much as they say.
        """
        if self._codec.lasting.is_full(factor):
            return True
        frames = self.queued_frames
        return (
            self._transport is not None
            and frames > 1
            and (frames > queue.messages * factor or self.queued_bytes > queue.bytes * factor)
        )

    def forget_sent(self) -> None:
        """Keep no more than may be of what has left: a client that is there has it, most likely."""
        if self._transport is not None:
            self._codec.lasting.forget_sent()

    def give_up_unsent(self) -> int:
        """Let go of what has not left, as the connection is about to end; return how many."""
        return self._codec.lasting.give_up_unsent()

    def start(self, receiver: Any, early: Any) -> None:
        """Begin to read; `early` is what arrived behind the handshake."""
        assert self._transport is not None
        self._ear = _Ear(self)
        self._transport.start(self._ear, early)

    def belongs_to(self, connection: Outliving) -> None:
        """Be a connection's, before it starts."""
        self._connection = connection

    def write(self, frame: Any) -> None:
        """Send what is counted as far as the transport takes it, or a frame that is not."""
        if not frame:
            self._pump()
        elif self._transport is not None:
            self._transport.write(frame)

    def write_all(self, frames: Any) -> bool:
        """Send the frames of some shared messages, which the codec has kept."""
        self._pump()
        return bool(self.queued_bytes)

    def _pump(self) -> None:
        transport, codec = self._transport, self._codec
        if transport is None:
            return
        while codec.lasting.unsent:
            if transport.queued_bytes >= AHEAD or transport.queued_frames >= FRAMES_AHEAD:
                # At the end of a batch a transport sends without a word.
                if self._io.batching and not self._pumping:
                    self._pumping = True
                    self._io.loop.call_soon(self._pump_on)
                return
            transport.write(codec.next_frame())

    def _pump_on(self) -> None:
        self._pumping = False
        self._pump()
        if self._ear is not None:  # somebody is there, and the connection has not ended
            self._connection.look_for_room()  # which says nothing about the client

    def _flush(self) -> None:
        transport, codec = self._transport, self._codec
        while transport is not None and codec.lasting.unsent:
            transport.write(codec.next_frame())

    def seal(self) -> None:
        """Take note that the close frame has been written: nothing goes by another way here."""

    def drop_oldest(self) -> int:
        """Drop the oldest message that has not left; return its size, or 0."""
        return self._codec.lasting.drop_oldest()

    def fileno(self) -> int:
        """Return the socket's descriptor, or -1 where there is none."""
        return -1 if self._transport is None else self._transport.fileno()

    def pause_reading(self) -> None:
        """Stop reading."""
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read again."""
        if self._transport is not None:
            self._transport.resume_reading()

    def close(self) -> None:
        """Send what is queued, then end the byte stream; at once where there is none."""
        self._end("close")

    def end(self) -> None:
        """Send what is queued, write no more, and read on; at once the end where there is none."""
        self._end("end")

    def abort(self) -> None:
        """End the byte stream at once."""
        self._end("abort")

    def _end(self, how: str) -> None:
        if self._transport is not None:
            self._over = True
            getattr(self._transport, how)()
        elif not self._over:
            self._over = True
            self._io.loop.call_soon(self._connection.connection_lost)


def _nothing() -> None:
    pass


def _resume(secret: str, config: ResumeConfig | None) -> dict[str, object]:
    seconds = 0.0 if config is None else config.window
    return {"secret": secret, "window": int(seconds) if seconds == int(seconds) else seconds}
