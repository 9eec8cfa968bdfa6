"""What the engine's tests share: frames as a client sends them, and ways to cut a stream."""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterator

from jupyter_wshandler.engine.masking import mask_with_integers
from jupyter_wshandler.engine.protocol import Event, Protocol

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
KEY = b"\x37\xfa\x21\x3d"  # the masking key of the examples in RFC 6455 section 5.7


def length_field(size: int, form: int | None = None) -> tuple[int, bytes]:
    """Return the 7-bit length and what follows it; `form` 0, 2 or 8 forces the bytes that do."""
    if form is None:
        form = 0 if size < 126 else 2 if size < 65536 else 8
    return (size if form == 0 else 126 if form == 2 else 127), size.to_bytes(
        form, "big"
    ) if form else b""


def packed(data: bytes) -> bytes:
    """Return the payload of a compressed message, as small as zlib makes it (RFC 7692)."""
    squeezer = zlib.compressobj(9, wbits=-15)
    return (squeezer.compress(data) + squeezer.flush(zlib.Z_SYNC_FLUSH))[:-4]


def frame(
    opcode: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    rsv: int = 0,
    key: bytes | None = KEY,
    form: int | None = None,
) -> bytes:
    """Build one frame of a client; `key` None leaves it unmasked, `rsv` is 0 to 7."""
    size, extended = length_field(len(payload), form)
    head = bytes((fin << 7 | rsv << 4 | opcode, (key is not None) << 7 | size)) + extended
    return head + payload if key is None else head + key + mask_with_integers(key, payload)


def text(message: str, **options: object) -> bytes:
    return frame(TEXT, message.encode(), **options)  # type: ignore[arg-type]


def close(code: int | None = 1000, reason: str = "") -> bytes:
    return frame(CLOSE, b"" if code is None else code.to_bytes(2, "big") + reason.encode())


def fragments(opcode: int, *payloads: bytes, rsv: int = 0) -> bytes:
    """Build one message in as many frames as there are payloads."""
    last = len(payloads) - 1
    return b"".join(
        frame(CONT if i else opcode, part, fin=i == last, rsv=0 if i else rsv)
        for i, part in enumerate(payloads)
    )


def whole(data: bytes) -> Iterator[bytes]:
    yield data


def bytewise(data: bytes) -> Iterator[bytes]:
    for i in range(len(data)):
        yield data[i : i + 1]


def at_random(data: bytes) -> Iterator[bytes]:
    dice, at = random.Random(len(data)), 0
    while at < len(data):
        size = dice.choice((1, 2, 3, 7, 20, 130, 5000))
        yield data[at : at + size]
        at += size


CUTS = [whole, bytewise, at_random]


def feed(protocol: Protocol, data: bytes, cut: object = whole, limit: int = 64) -> list[Event]:
    """Give a stream to a protocol and return all its events; what it sends stays in `out`."""
    events: list[Event] = []
    sent: list[bytes] = []
    for chunk in cut(data):  # type: ignore[operator]
        events += protocol.receive(chunk, limit)
        while protocol.pending:
            events += protocol.receive(b"", limit)
        sent.append(protocol.outgoing())
    protocol.out = [piece for piece in sent if piece]
    return events
