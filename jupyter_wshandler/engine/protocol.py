"""RFC 6455 after the handshake, the server's side: bytes in, events and bytes out, no I/O.

Every chunk that the peer sends goes to `Protocol.receive`, which returns whole messages as str
and bytes and the rest as `Pong`, `Close` and `Failure`. What must be sent in answer (pongs, the
close frame of a failure) waits in `Protocol.out`.
"""

from __future__ import annotations

import sys

from ..errors import ProtocolError
from .assembly import Assembly, BinaryAssembly, TextAssembly
from .closestate import CLOSE_CAME, CLOSE_DONE, CLOSE_SENT, FAILED, FLOWING, CloseState
from .deflate import PerMessageDeflate
from .frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    PONG_HEADERS,
    RSV1,
    TEXT,
    Close,
    Event,
    Failure,
    Pong,
    check_first_bytes,
    close_frame,
    may_travel,
    read_close,
    read_size,
    reply_code,
)
from .framing import Framing
from .masking import websocket_mask
from .skim import Skim

__all__ = [
    "CLOSE_CAME",
    "CLOSE_DONE",
    "CLOSE_SENT",
    "FAILED",
    "FLOWING",
    "Close",
    "CloseState",
    "Event",
    "Failure",
    "Pong",
    "Protocol",
    "may_travel",
    "reply_code",
]


MAX_EMPTY = 1024
"""Fragments without a byte that may follow each other in one message: others bring what counts
against its size, these would go on for ever."""
MAX_FRAMES = 64
"""Frames of any kind that are parsed before other connections get a turn. One chunk of the
network's holds up to 10,922 of six bytes."""
NO_LIMIT = sys.maxsize
"""A number of bytes that nothing reaches."""
MAX_PONGS = 16
"""Pings answered per chunk, the most recent ones (section 5.5.3 asks for one)."""


class Protocol(Framing):
    """The codec of RFC 6455: what parses all that one client sends and frames what it is sent.

    Args:
        max_message: Size of a received message in bytes, at most, also after decompression;
            0 for no limit.
        max_empty: Empty fragments of one message that may follow each other, at most.
        deflate: The compression agreed on in the handshake, or None.

    Attributes:
        state: How far the two close frames are.
        pending: Whether `receive` stopped at its limit and holds more to parse.
        pings: Pings that came; whoever looks sets it back to 0.
        out: What waits to be sent; `outgoing` joins and empties it.
    """

    __slots__ = (
        "_at",
        "_clean",
        "_control",
        "_empty",
        "_final",
        "_held",
        "_kind",
        "_left",
        "_mask",
        "_max_empty",
        "_max_message",
        "_max_said",
        "_message",
        "_opcode",
        "_packed",
        "_partial",
        "_skim",
        "_wire",
        "out",
        "pending",
        "pings",
    )

    def __init__(
        self,
        *,
        max_message: int,
        max_empty: int = MAX_EMPTY,
        deflate: PerMessageDeflate | None = None,
    ) -> None:
        super().__init__(deflate)
        self.pending = False
        self.out: list[bytes] | tuple[()] = ()  # a list while something waits
        self.pings = 0
        self._skim: Skim | None = None  # after a violation
        self.limit(max_message)
        self._max_empty = max_empty
        # Whether a chunk begins with a new frame of a new message: nothing held, nothing open.
        self._clean = True
        # Bytes not parsed: the start of a header, or all that came after `limit` messages.
        self._held = b""
        self._at = 0
        # The frame whose payload is being read: `_left` bytes of it have not come yet.
        self._left = 0
        self._opcode = 0
        self._final = False
        self._mask = b""
        self._control = b""
        # The message being read; `_kind` is 0 between messages.
        self._kind = 0
        self._packed = False
        self._partial = False
        self._empty = 0
        self._wire = 0
        self._message: Assembly | None = None

    @property
    def answered(self) -> bool | None:
        """Whether, after a violation, the peer's close frame came; None until that is known."""
        return None if self._skim is None else self._skim.answered

    # ---- receiving ------------------------------------------------------------------------

    def limit(self, max_message: int, said: int = 0) -> None:
        """Set the size of a received message in bytes, at most; 0 is no limit.

        Args:
            max_message: The limit.
            said: What a peer is told that it is, where its messages hold more than its own; or 0.
        """
        self._max_message = max_message or sys.maxsize - 1
        self._max_said = said or self._max_message

    def receive(self, data: bytes, limit: int = 64, room: int = NO_LIMIT) -> list[Event]:
        """Parse a chunk from the peer; never raises for what a peer sends.

        It stops at `limit` messages, when their bytes (decompressed) fill `room`, or after
        `MAX_FRAMES` frames of any kind, the small ones of a message or a ping included; then
        `pending` is True and ``receive(b"", limit, room)`` goes on.

        Args:
            data: Bytes as they came, in any portions.
            limit: Messages to return at most.
            room: Bytes in them after which no further one is begun; 0 stops at once.

        Returns:
            Messages as str and bytes, `Pong`, `Close` and, last, `Failure`.
        """
        events: list[Event] = []
        clean = self._clean
        if not clean:
            data, clean = self._with_held(data)
        at, end = 0, len(data)
        left = steps = 0
        if room <= 0:
            limit = 0
        longest = self._max_message
        unmask = websocket_mask
        try:
            while at < end:
                if limit <= 0 and self.state == FLOWING:
                    self._hold(data, at)
                    break
                # The common case: a whole message in one frame that came in one piece. All else,
                # a length in too long a form included, is for the careful reader below.
                first = data[at]
                if (first == 0x81 or first == 0x82) and clean and end - at >= 8:
                    size = data[at + 1] - 128
                    body = at + 6
                    if size >= 126:
                        size = (data[at + 2] << 8 | data[at + 3]) if size == 126 else -1
                        body = at + 8 if size >= 126 else end + 1
                        # Only a message of some size counts for more than its number.
                        room -= size
                        if room <= 0:
                            limit = 1
                    stop = body + size
                    if body <= stop <= end and size <= longest:
                        payload = unmask(data[body - 4 : body], data[body:stop])
                        events.append(payload.decode() if first == 0x81 else payload)
                        at = stop
                        limit -= 1
                        continue
                seen = len(events)
                left = self._left
                at = self._step(data, at, end, events)
                left = 0
                clean = self._clean = self._between_messages()
                if len(events) > seen and type(events[-1]) is not Pong:
                    limit -= 1
                    room -= sys.getsizeof(events[-1])
                    if room <= 0:
                        limit = 0
                steps += 1
                if steps == MAX_FRAMES and at < end:
                    self._hold(data, at)
                    break
        except (ProtocolError, UnicodeDecodeError) as error:
            self._fail(error, events)
            # The frame that broke it begins at `at`, or had `left` bytes to come there.
            self._skim = Skim(left, answered=True if left and self._opcode == CLOSE else None)
            self._skim.look(data[at:])
        return events

    def _with_held(self, data: bytes) -> tuple[bytes, bool]:
        # Returns what is to be parsed, what was held back before it included, and whether a new
        # frame of a new message begins there; nothing where the peer's frames do not count.
        if self._skim is not None:
            self._skim.look(data)
            return b"", False
        if self.state not in (FLOWING, CLOSE_SENT):
            return b"", False
        if self._held:
            data = self._held[self._at :] + data
            self._held, self._at = b"", 0
        self.pending = False
        self._clean = clean = self._between_messages()
        return data, clean

    def rest(self) -> bool:
        """Give away what compression needs, between two messages of the peer."""
        return self._message is None and super().rest()

    def outgoing(self) -> bytes:
        """Return what waits to be sent, and forget it; b"" where nothing does."""
        data = b"".join(self.out)
        self.out = ()
        return data

    def _answer(self, frame: bytes) -> list[bytes]:
        out = self.out or []
        out.append(frame)
        self.out = out
        return out

    def _hold(self, data: bytes, at: int) -> None:
        # The rest is parsed in another call.
        self._held, self._at = data, at
        self.pending = True
        self._clean = False

    def _between_messages(self) -> bool:
        return self.state == FLOWING and not (self._left or self._kind or self._held)

    def _step(self, data: bytes, at: int, end: int, events: list[Event]) -> int:
        # Parses one header, or goes on with the payload of the frame already begun; returns
        # where to go on.
        if not self._left:
            body = self._read_header(data, at, end)
            if not body:
                self._held = data[at:]
                return end
            at = body
            if at == end and self._left:
                return end
        stop = min(end, at + self._left)
        self._left -= stop - at
        if self._opcode < CLOSE and self.state == CLOSE_SENT:
            # Nobody wants the message; only its frames count.
            if self._final and not self._left:
                self._kind = 0
            return stop
        piece = websocket_mask(self._mask, data[at:stop])
        if self._left:
            turn = (stop - at) & 3
            self._mask = self._mask[turn:] + self._mask[:turn]
        if self._opcode >= CLOSE:
            self._control += piece
            if not self._left:
                payload, self._control = self._control, b""
                return self._handle_control(payload, stop, end, events)
        else:
            self._handle_data(piece, events)
        return stop

    def _read_header(self, data: bytes, at: int, end: int) -> int:
        # Returns where the payload begins, or 0 where the header has not fully come. Nothing
        # is remembered before it has, so that it can be read again from its start.
        if end - at < 2:
            return 0
        first, size = data[at], data[at + 1] & 0x7F
        packs, begun = self._deflate is not None, self._kind != 0
        check_first_bytes(first, data[at + 1], packs, begun)
        key = at + 2
        if size >= 126:
            size, key = read_size(data, at, end)
            if not key:
                return 0
        opcode = first & 0x0F
        if opcode < CLOSE and self.state == FLOWING:
            self._check_size(opcode, size, bool(first & RSV1))
        if end < key + 4:
            return 0
        self._mask = data[key : key + 4]
        self._opcode, self._final, self._left = opcode, first > 127, size
        if opcode in (TEXT, BINARY):
            self._kind = opcode
            self._packed = bool(first & RSV1)
            self._partial = False
            self._wire = size
            self._empty = 0 if size else 1
        elif opcode == CONTINUATION:
            self._wire += size
            self._empty = 0 if size else self._empty + 1
        return key + 4

    def _check_size(self, opcode: int, size: int, packed: bool) -> None:
        limit, before = self._max_message, 0
        if opcode == CONTINUATION:
            if not size and self._empty >= self._max_empty:
                raise ProtocolError(1008, f"over {self._max_empty} empty fragments in a row")
            packed, before = self._packed, self._wire
        if packed:
            # Data that does not compress grows a little; what comes out is counted as it does.
            limit += limit // 8 + 1024
        if before + size > limit:
            raise ProtocolError(1009, f"message over {self._max_said} bytes")

    def _handle_data(self, piece: bytes, events: list[Event]) -> None:
        final = self._final and not self._left
        if final and not (self._partial or self._packed):
            events.append(piece.decode() if self._kind == TEXT else piece)
            self._kind = 0
            return
        message = self._message
        if message is None:
            message = self._message = TextAssembly() if self._kind == TEXT else BinaryAssembly()
            self._partial = True
        if self._packed:
            assert self._deflate is not None
            limit, said = self._max_message, self._max_said
            self._deflate.decompress(piece, message, limit, said=said, final=final)
        else:
            message.add(piece)
        if not final:
            message.check()
            return
        self._message, self._kind = None, 0
        events.append(message.finish())

    def _handle_control(self, payload: bytes, at: int, end: int, events: list[Event]) -> int:
        if self._opcode == PING:
            self.pings += 1
            out = self._answer(PONG_HEADERS[len(payload)] + payload)
            if len(out) > MAX_PONGS:
                del out[0]
            return at
        if self._opcode == PONG:
            if self.state == FLOWING:
                events.append(Pong(payload))
            return at
        code, reason = read_close(payload)
        self.state = CLOSE_CAME if self.state == FLOWING else CLOSE_DONE
        self._forget()
        events.append(Close(code, reason))
        # Nothing that follows a close frame counts (section 1.4).
        return end

    def _fail(self, error: ProtocolError | UnicodeDecodeError, events: list[Event]) -> None:
        code, reason = 1007, "text that is not UTF-8"
        if isinstance(error, ProtocolError):
            code, reason = error.code, error.reason
        if self.state == FLOWING:
            self._answer(close_frame(code, reason))
        self.state = FAILED
        self._forget()
        events.append(Failure(code, reason))

    def _forget(self) -> None:
        self._clean = self.pending = False
        self._held, self._control = b"", b""
        self._left = self._kind = 0
        self._forget_message()

    def _drop_message(self) -> None:
        # We close: nobody wants the rest of what is being read.
        self._clean = False
        self._forget_message()

    def _forget_message(self) -> None:
        self._message = None
        if self._deflate is not None:
            self._deflate.drop()
