"""Compression of messages: permessage-deflate (RFC 7692), the server's side."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import ProtocolError
from .offers import DEFAULTS, FLAGS, MIN_SIZE, Offer, check_options, parse_extensions, read_offer
from .window import window_of

if TYPE_CHECKING:
    from zlib import _Compress, _Decompress

    from .assembly import Assembly

__all__ = ["MIN_SIZE", "PerMessageDeflate"]

TAIL = b"\x00\x00\xff\xff"
"""End of an empty stored block: the sender strips it, the receiver puts it back (7.2.1)."""

WINDOW = 32768
"""Bytes that a deflate stream can refer back to, at most."""

SHORT = 1024
"""Bytes of messages after which a direction gets a zlib object of its own, of up to 40 KiB. Before,
what was said is kept as it is, and each message gets an object that begins with it: with so little
that costs next to nothing."""

FEW = 32
"""Messages received after which there is an inflater, too: empty ones never make a KiB, and each
would cost a new one."""

SLICE = 256 * 1024
"""Bytes that are decompressed at a time, at most: a whole message would be there twice."""

MAX_FINAL_BLOCKS = 16
"""Blocks with BFINAL in one message: each costs a new inflater, so their number is bounded."""


class PerMessageDeflate:
    """What compresses and decompresses the messages of one connection.

    The zlib objects are made when there is something to say, and `rest` gives them away: a
    connection that was granted compression and says little costs hardly more than another.

    Args:
        server_no_context_takeover: Whether each message sent is compressed on its own.
        client_no_context_takeover: Whether each message received was.
        server_max_window_bits: Base-2 logarithm of our window in bytes, 9 to 15.
        client_max_window_bits: The same for the client's, 8 to 15.
        compression_level: 0 (none) to 9 (slow).
        mem_level: Memory of the compressor, 1 to 9.
        min_size: Bytes from which a message is compressed.

    Attributes:
        fresh: A name for what becomes of a message where none was compressed before it.
        form: The same for the next message; empty where earlier ones have a say.
    """

    __slots__ = (
        "_deflater",
        "_few",
        "_final_blocks",
        "_inflater",
        "_keeps",
        "_received",
        "_seen",
        "_sent",
        "_squeezed",
        "client_max_window_bits",
        "client_no_context_takeover",
        "compression_level",
        "form",
        "fresh",
        "mem_level",
        "min_size",
        "server_max_window_bits",
        "server_no_context_takeover",
    )

    def __init__(
        self,
        *,
        server_no_context_takeover: bool = False,
        client_no_context_takeover: bool = False,
        server_max_window_bits: int = 15,
        client_max_window_bits: int = 15,
        compression_level: int = DEFAULTS["compression_level"],
        mem_level: int = DEFAULTS["mem_level"],
        min_size: int = MIN_SIZE,
    ) -> None:
        self.server_no_context_takeover = server_no_context_takeover
        self.client_no_context_takeover = client_no_context_takeover
        self.server_max_window_bits = server_max_window_bits
        self.client_max_window_bits = client_max_window_bits
        self.compression_level = compression_level
        self.mem_level = mem_level
        self.min_size = min_size
        alone = "alone" if server_no_context_takeover else "in turn"
        settings = f"{server_max_window_bits} {compression_level} {mem_level} {min_size}"
        # A room has many members of one form: their names are compared by identity first.
        self.form = self.fresh = sys.intern(f"deflate {settings} {alone} frame")
        self._deflater: _Compress | None = None
        # What was sent, in bytes, as long as that is little; then the deflater knows it.
        self._sent = b""
        self._inflater: _Decompress | None = None
        # What was received, where there is no inflater that knows it; see `_recalled`.
        self._received = b""
        self._squeezed = False
        # Bytes received; from `WINDOW` on it does not matter how many.
        self._seen = 0
        # Messages received, up to `FEW`.
        self._few = 0
        # Whether `_received` is there beside an inflater, for a peer that ends blocks with BFINAL.
        self._keeps = False
        self._final_blocks = 0

    @classmethod
    def negotiate(
        cls, offers: Sequence[str], options: Mapping[str, Any] | None = None
    ) -> tuple[PerMessageDeflate | None, str | None]:
        """Choose the first of the client's offers that is sound (RFC 7692 sections 5 and 7.1).

        An offer with an unknown, doubled or invalid parameter is declined, as is every other
        extension: never an error for the client, which goes on uncompressed.

        Args:
            offers: Values of the Sec-WebSocket-Extensions fields, in order.
            options: `compression_level` (0 to 9, default 6), `mem_level` (1 to 9, default 5)
                and `max_window_bits` (9 to 15, default 12) of the server; `min_size`, the bytes
                from which a message is compressed (default 32);
                `server_no_context_takeover` and `client_no_context_takeover` True ask for
                messages that do not depend on earlier ones, where the client did not.

        Returns:
            The extension and the value of the answer's Sec-WebSocket-Extensions field, or
            None and None.

        Raises:
            ValueError: An option is unknown or out of its range.
        """
        settings = check_options(options)
        for header in offers:
            try:
                extensions = parse_extensions(header)
            except ValueError:
                continue
            for name, parameters in extensions:
                if name.lower() == "permessage-deflate":
                    offer = read_offer(parameters)
                    if offer is not None:
                        return cls._accept(offer, settings)
        return None, None

    @classmethod
    def _accept(cls, offer: Offer, settings: dict[str, int]) -> tuple[PerMessageDeflate, str]:
        most = settings["max_window_bits"]
        server_bits = min(offer.server_max_window_bits or 15, most)
        # A client that did not name client_max_window_bits cannot be asked to keep to it.
        client_bits = 15
        if offer.client_takes_window_bits:
            client_bits = min(offer.client_max_window_bits or 15, most)
        server_alone = offer.server_no_context_takeover or bool(settings[FLAGS[0]])
        client_alone = offer.client_no_context_takeover or bool(settings[FLAGS[1]])
        answer = ["permessage-deflate"]
        # What only makes our own stream simpler needs no word, and there are clients that refuse
        # an answer with a parameter that they did not offer.
        if offer.server_no_context_takeover:
            answer.append("server_no_context_takeover")
        if client_alone:
            answer.append("client_no_context_takeover")
        if offer.server_max_window_bits is not None:
            answer.append(f"server_max_window_bits={server_bits}")
        if client_bits < 15:
            answer.append(f"client_max_window_bits={client_bits}")
        extension = cls(
            server_no_context_takeover=server_alone,
            client_no_context_takeover=client_alone,
            server_max_window_bits=server_bits,
            client_max_window_bits=client_bits,
            compression_level=settings["compression_level"],
            mem_level=settings["mem_level"],
            min_size=settings["min_size"],
        )
        return extension, "; ".join(answer)

    # ---- sending ---------------------------------------------------------------------------

    def compress(self, payload: bytes) -> bytes:
        """Return what a frame with RSV1 carries for one message (RFC 7692 section 7.2.1).

        Args:
            payload: The whole message, in bytes.
        """
        deflater = self._deflater
        if deflater is None:
            deflater = self._new_deflater()
            if not self.server_no_context_takeover:
                self.form = ""
                if len(self._sent) + len(payload) < SHORT:
                    self._sent += payload
                else:
                    self._sent, self._deflater = b"", deflater
        return (deflater.compress(payload) + deflater.flush(zlib.Z_SYNC_FLUSH))[:-4]

    def start_afresh(self) -> None:
        """Forget what was sent: the next message refers to nothing before it.

        Nothing is said of that to the client, as nothing has to be: a sender may refer to what
        came before, it need not (RFC 7692 section 7.1.1).
        """
        self._deflater, self._sent, self.form = None, b"", self.fresh

    def _new_deflater(self) -> _Compress:
        settings = (self.compression_level, zlib.DEFLATED, -self.server_max_window_bits)
        if self._sent:
            # 0 is zlib's Z_DEFAULT_STRATEGY.
            return zlib.compressobj(*settings, self.mem_level, 0, self._sent)
        return zlib.compressobj(*settings, self.mem_level)

    # ---- receiving -------------------------------------------------------------------------

    def decompress(
        self, data: bytes, message: Assembly, limit: int, *, said: int = 0, final: bool
    ) -> None:
        """Append what one piece of a compressed message holds (RFC 7692 section 7.2.2).

        Args:
            data: Some bytes of the message's frames, in order.
            message: What the message held so far; grows to `limit` + 1 bytes at most.
            limit: Size of the whole message in bytes, at most.
            said: What a peer is told that it is; 0 where it is that.
            final: Whether these are the message's last bytes.

        Raises:
            ProtocolError: 1002 for data that is not deflate, 1009 for too much of it.
        """
        if final:
            data += TAIL
        inflater = self._inflater or self._new_inflater(self._recalled())
        try:
            while True:
                room = limit - message.size
                if room < 0:  # the limit was lowered meanwhile
                    raise self._too_long(said or limit)
                # One byte more than there is room for tells too much from just enough.
                size = room + 1 if room < SLICE else SLICE
                piece = inflater.decompress(data, size)
                message.add(piece)
                if len(piece) > room:
                    raise self._too_long(said or limit)
                if not inflater.eof:
                    data = inflater.unconsumed_tail
                    if data or len(piece) == size:  # zlib may hold what had no room
                        continue
                    break
                data = inflater.unused_data
                inflater = self._after_final_block(message)
                if data == TAIL and final:
                    break
        except zlib.error:
            raise ProtocolError(1002, "invalid deflate data") from None
        self._inflater = inflater
        if final:
            self._end_message(message)

    @staticmethod
    def _too_long(limit: int) -> ProtocolError:
        return ProtocolError(1009, f"message over {limit} bytes after decompression")

    def drop(self) -> None:
        """Forget the state of the receiving side: nothing received matters any more."""
        self._inflater, self._received = None, b""
        self._squeezed = self._keeps = False
        self._seen = 0

    def rest(self) -> bool:
        """Give away the zlib objects; between two messages received, as the connection is idle.

        What a deflater knows is forgotten; what an inflater knows is kept in its shortest form.

        Returns:
            Whether there was something to do.
        """
        inflater, did = self._inflater, self._deflater is not None
        if did:
            self.start_afresh()
        if inflater is None:
            return did
        if not self._keeps:
            bits = max(self.client_max_window_bits, 9)
            received = window_of(inflater, min(self._seen, 1 << bits))
            if received is None:  # the peer has not ended its last message as it should
                return did
            self._received = received
        self._inflater = None
        if len(self._received) > SHORT:
            self._received, self._squeezed = zlib.compress(self._received, 1), True
        return True

    def _recalled(self) -> bytes:
        """Return what was received, where no inflater knows it."""
        if self._squeezed:
            self._received, self._squeezed = zlib.decompress(self._received), False
        return self._received

    def _new_inflater(self, window: bytes) -> _Decompress:
        # Old zlib compressed with 9 bits where 8 were asked for; a larger window always reads.
        bits = max(self.client_max_window_bits, 9)
        return zlib.decompressobj(-bits, zdict=window) if window else zlib.decompressobj(-bits)

    def _after_final_block(self, message: Assembly) -> _Decompress:
        # zlib ends at a block with BFINAL, the message need not (7.2.3.4): go on with the
        # window as it was.
        self._final_blocks += 1
        if self._final_blocks > MAX_FINAL_BLOCKS:
            raise ProtocolError(1002, f"over {MAX_FINAL_BLOCKS} final deflate blocks")
        self._keeps = True
        return self._new_inflater(self._window(message))

    def _window(self, message: Assembly) -> bytes:
        recent = message.recent(WINDOW)
        return (self._received + recent)[-WINDOW:] if len(recent) < WINDOW else recent

    def _end_message(self, message: Assembly) -> None:
        self._final_blocks = 0
        if self.client_no_context_takeover:
            self.drop()
        elif self._keeps:
            self._received = self._window(message)
        else:
            self._settle(message.size)

    def _settle(self, size: int) -> None:
        # After a message of that size, whose window only the inflater knows.
        self._seen += size
        if self._seen < SHORT and self._few < FEW:
            self._few += 1
            assert self._inflater is not None
            received = window_of(self._inflater, self._seen)
            if received is not None:
                self._received, self._inflater = received, None
                return
        if self._received:
            self._received = b""
