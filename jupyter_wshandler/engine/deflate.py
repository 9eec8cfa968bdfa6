"""Compression of messages: permessage-deflate (RFC 7692), the server's side."""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import ProtocolError

if TYPE_CHECKING:
    from zlib import _Compress, _Decompress

    from .assembly import Assembly

__all__ = ["MIN_SIZE", "PerMessageDeflate", "parse_extensions"]

MIN_SIZE = 32
"""Messages below this many bytes go out as they are: deflate hardly makes them smaller."""

TAIL = b"\x00\x00\xff\xff"
"""End of an empty stored block: the sender strips it, the receiver puts it back (7.2.1)."""

WINDOW = 32768
"""Bytes that a deflate stream can refer back to, at most."""

SLICE = 256 * 1024
"""Bytes that are decompressed at a time, at most: a whole message would be there twice."""

MAX_FINAL_BLOCKS = 16
"""Blocks with BFINAL in one message: each costs a new inflater, so their number is bounded."""

DEFAULTS = {"compression_level": 6, "mem_level": 5, "max_window_bits": 12}
RANGES = {"compression_level": (0, 9), "mem_level": (1, 9), "max_window_bits": (9, 15)}
FLAGS = ("server_no_context_takeover", "client_no_context_takeover")

_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"  # noqa: S105 - the grammar's word
_PARAMETER = rf'[ \t]*;[ \t]*({_TOKEN})(?:[ \t]*=[ \t]*(?:({_TOKEN})|"((?:[^"\\]|\\.)*)"))?'
_match_name = re.compile(rf"[ \t]*({_TOKEN})").match
_match_parameter = re.compile(_PARAMETER).match
_match_end = re.compile(r"[ \t]*(?:,|$)").match
_match_empty = re.compile(r"[ \t]*,").match
_is_token = re.compile(_TOKEN).fullmatch
_is_bits = re.compile(r"[89]|1[0-5]").fullmatch

Parameters = list[tuple[str, str | None]]


def parse_extensions(header: str) -> list[tuple[str, Parameters]]:
    """Parse one Sec-WebSocket-Extensions value (RFC 6455 section 9.1).

    Args:
        header: The field's value as received.

    Returns:
        Name and parameters of each extension, in order; a parameter without value has None.

    Raises:
        ValueError: The value does not follow the grammar.
    """
    found: list[tuple[str, Parameters]] = []
    at, end = 0, len(header)
    while at < end:
        if empty := _match_empty(header, at):
            at = empty.end()
            continue
        name = _match_name(header, at)
        if name is None:
            if header[at:].strip(" \t"):
                raise ValueError(f"expected an extension's name at character {at}")
            break
        at = name.end()
        parameters: Parameters = []
        while match := _match_parameter(header, at):
            key, value, quoted = match.groups()
            if quoted is not None:
                value = re.sub(r"\\(.)", r"\1", quoted)
                if not _is_token(value):
                    raise ValueError(f"parameter {key}: a quoted value must be a token inside")
            parameters.append((key, value))
            at = match.end()
        separator = _match_end(header, at)
        if separator is None:
            raise ValueError(f"expected a semicolon, a comma or the end at character {at}")
        at = separator.end()
        found.append((name[1], parameters))
    return found


class _Offer(NamedTuple):
    server_no_context_takeover: bool
    client_no_context_takeover: bool
    server_max_window_bits: int | None
    client_max_window_bits: int | None
    client_takes_window_bits: bool


def _read_offer(parameters: Parameters) -> _Offer | None:
    # None where the offer must be declined (RFC 7692 section 7.1).
    given = dict(parameters)
    if len(given) != len(parameters):
        return None
    bits: dict[str, int | None] = {}
    for name, value in given.items():
        if name in FLAGS:
            if value is not None:
                return None
        elif name == "client_max_window_bits" and value is None:
            bits[name] = None
        elif name in ("server_max_window_bits", "client_max_window_bits"):
            if value is None or not _is_bits(value):
                return None
            bits[name] = int(value)
        else:
            return None
    if bits.get("server_max_window_bits") == 8:
        # zlib cannot compress with a window of 256 bytes in raw mode.
        return None
    return _Offer(
        server_no_context_takeover="server_no_context_takeover" in given,
        client_no_context_takeover="client_no_context_takeover" in given,
        server_max_window_bits=bits.get("server_max_window_bits"),
        client_max_window_bits=bits.get("client_max_window_bits"),
        client_takes_window_bits="client_max_window_bits" in given,
    )


def _check_options(options: Mapping[str, Any] | None) -> dict[str, int]:
    checked = {**DEFAULTS, **dict.fromkeys(FLAGS, False)}
    for name, value in (options or {}).items():
        if name in FLAGS:
            if type(value) is not bool:
                raise ValueError(
                    f"compression option {name}: expected True or False, found {value!r}"
                )
        elif name in RANGES:
            low, high = RANGES[name]
            if type(value) is not int or not low <= value <= high:
                raise ValueError(
                    f"compression option {name}: expected a whole number from {low} to {high}, "
                    f"found {value!r}"
                )
        else:
            raise ValueError(
                f"compression option {name!r} is unknown; expected {', '.join(checked)}"
            )
        checked[name] = value
    return checked


class PerMessageDeflate:
    """What compresses and decompresses the messages of one connection.

    The zlib objects are made when the first message needs them, so a connection that was
    granted compression and stays idle costs nothing more.

    Args:
        server_no_context_takeover: Whether each message sent is compressed on its own.
        client_no_context_takeover: Whether each message received was.
        server_max_window_bits: Base-2 logarithm of our window in bytes, 9 to 15.
        client_max_window_bits: The same for the client's, 8 to 15.
        compression_level: 0 (none) to 9 (slow).
        mem_level: Memory of the compressor, 1 to 9.
    """

    __slots__ = (
        "_deflater",
        "_final_blocks",
        "_history",
        "_inflater",
        "client_max_window_bits",
        "client_no_context_takeover",
        "compression_level",
        "mem_level",
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
    ) -> None:
        self.server_no_context_takeover = server_no_context_takeover
        self.client_no_context_takeover = client_no_context_takeover
        self.server_max_window_bits = server_max_window_bits
        self.client_max_window_bits = client_max_window_bits
        self.compression_level = compression_level
        self.mem_level = mem_level
        self._deflater: _Compress | None = None
        self._inflater: _Decompress | None = None
        self._final_blocks = 0
        # What earlier messages held, kept only for a peer that ends blocks with BFINAL.
        self._history: bytes | None = None

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
                and `max_window_bits` (9 to 15, default 12) of the server;
                `server_no_context_takeover` and `client_no_context_takeover` True ask for
                messages that do not depend on earlier ones, where the client did not.

        Returns:
            The extension and the value of the answer's Sec-WebSocket-Extensions field, or
            None and None.

        Raises:
            ValueError: An option is unknown or out of its range.
        """
        settings = _check_options(options)
        for header in offers:
            try:
                extensions = parse_extensions(header)
            except ValueError:
                continue
            for name, parameters in extensions:
                if name.lower() == "permessage-deflate":
                    offer = _read_offer(parameters)
                    if offer is not None:
                        return cls._accept(offer, settings)
        return None, None

    @classmethod
    def _accept(cls, offer: _Offer, settings: dict[str, int]) -> tuple[PerMessageDeflate, str]:
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
        )
        return extension, "; ".join(answer)

    def compress(self, payload: bytes) -> bytes:
        """Return what a frame with RSV1 carries for one message (RFC 7692 section 7.2.1).

        Args:
            payload: The whole message, in bytes.
        """
        deflater = self._deflater
        if deflater is None:
            deflater = zlib.compressobj(
                self.compression_level,
                zlib.DEFLATED,
                -self.server_max_window_bits,
                self.mem_level,
            )
            if not self.server_no_context_takeover:
                self._deflater = deflater
        return (deflater.compress(payload) + deflater.flush(zlib.Z_SYNC_FLUSH))[:-4]

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
        inflater = self._inflater or self._new_inflater(b"")
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
        self._inflater = self._history = None

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
        if self._history is None:
            self._history = b""
        return self._new_inflater(self._window(message))

    def _window(self, message: Assembly) -> bytes:
        assert self._history is not None
        recent = message.recent(WINDOW)
        return (self._history + recent)[-WINDOW:] if len(recent) < WINDOW else recent

    def _end_message(self, message: Assembly) -> None:
        self._final_blocks = 0
        if self.client_no_context_takeover:
            self.drop()
        elif self._history is not None:
            self._history = self._window(message)
