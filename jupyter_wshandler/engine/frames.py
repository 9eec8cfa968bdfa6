"""Frames and the events they make (RFC 6455 sections 5 and 7.4): constants, builders, readers."""

from __future__ import annotations

from typing import TypeAlias

from ..errors import ProtocolError
from .texts import is_writable

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
OPCODES = frozenset((CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG))
FIN = 0x80
RSV1 = 0x40

MAX_CONTROL = 125
"""Bytes that a control frame carries, at most (section 5.5)."""
MAX_REASON = MAX_CONTROL - 2
"""Bytes of the reason in a close frame, at most."""

TEXT_HEADERS = tuple(bytes((FIN | TEXT, size)) for size in range(126))
BINARY_HEADERS = tuple(bytes((FIN | BINARY, size)) for size in range(126))
PONG_HEADERS = tuple(bytes((FIN | PONG, size)) for size in range(126))

# Section 7.4.1 and the IANA registry: 1012 to 1014 were registered after the RFC.
_CLOSE_CODES = frozenset((1000, 1001, 1002, 1003, *range(1007, 1015)))


class Pong:
    """A pong that came; `payload` is what the ping carried, or anything, unsolicited."""

    __slots__ = ("payload",)

    def __init__(self, payload: bytes) -> None:
        self.payload = payload

    def __eq__(self, other: object) -> bool:
        return type(other) is Pong and self.payload == other.payload

    def __hash__(self) -> int:
        return hash(("pong", self.payload))

    def __repr__(self) -> str:
        return f"Pong({self.payload!r})"


class _Ending:
    __slots__ = ("code", "reason")

    def __init__(self, code: int, reason: str) -> None:
        self.code = code
        self.reason = reason

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, _Ending)
            and type(other) is type(self)
            and (self.code, self.reason) == (other.code, other.reason)
        )

    def __hash__(self) -> int:
        return hash((type(self).__name__, self.code, self.reason))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.code}, {self.reason!r})"


class Close(_Ending):
    """The peer's close frame; `code` is 1005 where the frame had none."""

    __slots__ = ()


class Failure(_Ending):
    """The peer's violation of the protocol; the close frame for it waits in `out`."""

    __slots__ = ()


Event: TypeAlias = str | bytes | Pong | Close | Failure


def may_travel(code: int) -> bool:
    """Tell whether a close frame may carry this code (RFC 6455 section 7.4).

    Args:
        code: 1000 to 1003, 1007 to 1014 and 3000 to 4999 may.
    """
    return code in _CLOSE_CODES or 3000 <= code <= 4999


def reply_code(code: int) -> int:
    """Return the code that answers the peer's close frame: its own (section 5.5.1).

    Args:
        code: As received; 1005, an empty frame, is answered by an empty frame.
    """
    return code if code == 1005 or may_travel(code) else 1000


def check_first_bytes(first: int, second: int, packs: bool, begun: bool) -> None:
    """Refuse a frame by its first two bytes (RFC 6455 sections 5.1 to 5.5).

    Args:
        first: FIN, reserved bits and opcode.
        second: The mask bit and the length in its short form.
        packs: Whether messages may be compressed.
        begun: Whether a message is begun and not ended.

    Raises:
        ProtocolError: With 1002.
    """
    opcode = first & 0x0F
    if opcode not in OPCODES:
        raise ProtocolError(1002, f"reserved opcode {opcode}")
    reserved = first & 0x70
    if reserved and (reserved != RSV1 or not packs or opcode not in (TEXT, BINARY)):
        raise ProtocolError(1002, "reserved bit set without an extension that uses it")
    if second < 128:
        raise ProtocolError(1002, "frame of a client that is not masked")
    if opcode >= CLOSE:
        if first < 128:
            raise ProtocolError(1002, "control frame in fragments")
        if second > 128 + MAX_CONTROL:
            raise ProtocolError(1002, f"control frame not of 0 to {MAX_CONTROL} bytes")
    elif opcode == CONTINUATION:
        if not begun:
            raise ProtocolError(1002, "continuation without a message to continue")
    elif begun:
        raise ProtocolError(1002, "new message before the end of the last one")


def read_size(data: bytes, at: int, end: int) -> tuple[int, int]:
    """Return the length of a frame that has a long one, and where its mask begins.

    Args:
        data: What holds the frame, of which two bytes at least have come.
        at: Where the frame begins.
        end: Where what has come ends.

    Returns:
        Twice 0 where the length has not fully come.

    Raises:
        ProtocolError: With 1002, for a length that is not in its shortest form.
    """
    short = data[at + 1] & 0x7F == 126
    key = at + (4 if short else 10)
    if end < key:
        return 0, 0
    size = int.from_bytes(data[at + 2 : key], "big")
    if short and size < 126:
        raise ProtocolError(1002, f"length {size} in 16 bits, not the shortest form")
    if not short and size >> 63:
        raise ProtocolError(1002, "length with its highest bit set")
    if not short and size < 65536:
        raise ProtocolError(1002, f"length {size} in 64 bits, not the shortest form")
    return size, key


def read_close(payload: bytes) -> tuple[int, str]:
    """Return the code and the reason of a close frame; 1005 and "" where it is empty.

    Args:
        payload: What the frame carries.

    Raises:
        ProtocolError: With 1002, for what no close frame may carry.
        UnicodeDecodeError: The reason is not UTF-8.
    """
    if not payload:
        return 1005, ""
    if len(payload) == 1:
        raise ProtocolError(1002, "close frame of one byte")
    code, reason = int.from_bytes(payload[:2], "big"), payload[2:].decode()
    if not may_travel(code):
        raise ProtocolError(1002, f"close code {code} may not be sent")
    return code, reason


def header(first: int, size: int) -> bytes:
    """Return the header of a frame that a server sends, with the length in its shortest form.

    Args:
        first: FIN, reserved bits and opcode.
        size: Bytes of the payload.
    """
    if size < 126:
        return bytes((first, size))
    if size < 65536:
        return bytes((first, 126)) + size.to_bytes(2, "big")
    return bytes((first, 127)) + size.to_bytes(8, "big")


def check_close(code: int, reason: str) -> None:
    """Refuse a close code that may not be sent, or a reason that cannot be.

    Args:
        code: See `may_travel`.
        reason: At most 123 bytes of UTF-8.

    Raises:
        TypeError: The code is no int, or the reason no str.
        ValueError: With what is allowed (RFC 6455 sections 5.5 and 7.4).
    """
    if isinstance(code, bool) or not isinstance(code, int):
        raise TypeError(f"close code: expected an int such as 1000, found {code!r:.60}")
    if not isinstance(reason, str):
        raise TypeError(f"close reason: expected a str, found {reason!r:.60}")
    if not may_travel(code):
        raise ValueError(
            f"close code {code} may not be sent; use 1000 to 1003, 1007 to 1014 or 3000 to 4999"
        )
    if not is_writable(reason):
        raise ValueError(f"close reason: expected text that UTF-8 can write, found {reason!r:.60}")
    size = len(reason.encode())
    if size > MAX_REASON:
        raise ValueError(f"a close reason has at most {MAX_REASON} bytes, found {size}; shorten it")


def close_frame(code: int, reason: str) -> bytes:
    """Return a close frame (RFC 6455 section 5.5.1).

    Args:
        code: 1005 without a reason makes an empty frame.
        reason: See `check_close`, which raises what this raises.
    """
    if code == 1005 and not reason:
        return bytes((FIN | CLOSE, 0))
    check_close(code, reason)
    text = reason.encode()
    return bytes((FIN | CLOSE, 2 + len(text))) + code.to_bytes(2, "big") + text


def ping_frame(payload: bytes) -> bytes:
    """Return a ping (RFC 6455 section 5.5.2).

    Args:
        payload: At most 125 bytes.

    Raises:
        ValueError: The payload is longer.
    """
    if len(payload) > MAX_CONTROL:
        raise ValueError(
            f"a ping carries at most {MAX_CONTROL} bytes, found {len(payload)}; shorten it"
        )
    return bytes((FIN | PING, len(payload))) + payload
