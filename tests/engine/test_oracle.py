"""Property tests: the same bytes through this engine and through `websockets`, its oracle."""

from __future__ import annotations

import logging
import re
import zlib
from codecs import getincrementaldecoder
from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.frames import BINARY, CLOSE, CONT, PING, PONG, TEXT, frame
from websockets.client import ClientProtocol
from websockets.datastructures import Headers
from websockets.exceptions import NegotiationError
from websockets.extensions.permessage_deflate import (
    PerMessageDeflate as OracleDeflate,
)
from websockets.extensions.permessage_deflate import (
    ServerPerMessageDeflateFactory,
)
from websockets.frames import Close as OracleClose
from websockets.frames import Opcode
from websockets.headers import parse_extension
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from jupyter_wshandler.engine.deflate import PerMessageDeflate
from jupyter_wshandler.engine.handshake import check_upgrade
from jupyter_wshandler.engine.protocol import Close, Failure, Protocol, reply_code
from jupyter_wshandler.errors import HandshakeError

MAX = 1000
SILENT = logging.getLogger("oracle")
SILENT.addHandler(logging.NullHandler())
SILENT.propagate = False


class Outcome(NamedTuple):
    """What one side made of a stream: messages, pongs it sent, and how it ended.

    `end` is "open", "closed" or "failed"; `code` is that of the close frame it sent. `deaf` is
    the oracle that met a deflate block with BFINAL: it ignores all compressed data after that.
    """

    messages: list[Any]
    pongs: list[bytes]
    end: str
    code: int | None
    reason: str = ""
    deaf: bool = False


def read_sent(data: bytes) -> tuple[list[bytes], int | None]:
    """Return the pongs and the close code in what a server sent (short frames only)."""
    pongs: list[bytes] = []
    code, at = None, 0
    while at < len(data):
        first, size = data[at], data[at + 1]
        payload = data[at + 2 : at + 2 + size]
        at += 2 + size
        if first == 0x80 | PONG:
            pongs.append(payload)
        else:
            assert first == 0x80 | CLOSE
            code = int.from_bytes(payload[:2], "big") if payload else 1005
    assert at == len(data)
    return pongs, code


def ours(chunks: list[bytes], deflate: bool = False) -> Outcome:
    protocol = Protocol(max_message=MAX, deflate=PerMessageDeflate() if deflate else None)
    messages: list[Any] = []
    sent, end, reason = b"", "open", ""
    for chunk in chunks:
        for event in protocol.receive(chunk):
            if isinstance(event, Failure):
                end, reason = "failed", event.reason
            elif isinstance(event, Close):
                end = "closed"
                protocol.out = [*protocol.out, protocol.encode_close(reply_code(event.code))]
            elif isinstance(event, (str, bytes)):
                messages.append(event)
        assert not protocol.pending
        sent += protocol.outgoing()
    pongs, code = read_sent(sent)
    return Outcome(messages, pongs, end, code, reason)


def oracle(chunks: list[bytes], deflate: bool = False) -> Outcome:
    # The oracle leaves it to its user to put messages together and to check UTF-8.
    protocol = ServerProtocol(state=State.OPEN, max_size=MAX, logger=SILENT)
    if deflate:
        protocol.extensions = [OracleDeflate(False, False, 15, 15)]
    messages: list[Any] = []
    parts: list[Any] = []
    sent, decoder, closed = b"", None, False
    for chunk in chunks:
        protocol.receive_data(chunk)
        events = protocol.events_received()
        for event in events:
            if event.opcode in (Opcode.TEXT, Opcode.BINARY):
                decoder = getincrementaldecoder("utf-8")() if event.opcode is Opcode.TEXT else None
                parts = []
            elif event.opcode is Opcode.CLOSE:
                closed = True
                continue
            elif event.opcode is not Opcode.CONT:
                continue
            try:
                data = bytes(event.data)
                parts.append(decoder.decode(data, event.fin) if decoder else data)
            except UnicodeDecodeError:
                pongs, _ = read_sent(sent + b"".join(protocol.data_to_send()))
                return Outcome(messages, pongs, "failed", 1007, "", is_deaf(protocol))
            if event.fin:
                messages.append(("" if decoder else b"").join(parts))
        sent += b"".join(protocol.data_to_send())
    pongs, code = read_sent(sent)
    end, reason = "closed" if closed else "open", ""
    if protocol.parser_exc is not None:
        end, reason = "failed", str(protocol.parser_exc)
    return Outcome(messages, pongs, end, code, reason, is_deaf(protocol))


def is_deaf(protocol: ServerProtocol) -> bool:
    return any(extension.decoder.eof for extension in protocol.extensions)


# ---- where we differ on purpose --------------------------------------------------------------


class Difference(NamedTuple):
    """One deliberate difference: what we say, what the oracle may say, and why."""

    reason: str
    allowed: Callable[[Outcome], bool]
    why: str


def anything(_: Outcome) -> bool:
    return True


def later(theirs: Outcome) -> bool:
    return theirs.end == "open" or theirs.code in (1002, 1009)


DIFFERENCES = [
    Difference(
        "not the shortest form",
        anything,
        "RFC 6455 5.2: the minimal number of bytes MUST be used; the oracle takes any form",
    ),
    Difference(
        "length with its highest bit set",
        lambda theirs: theirs.code == 1009 or theirs.end == "open",
        "RFC 6455 5.2: the bit MUST be 0; to the oracle it is only a very large message, and "
        "with no size limit a frame that never ends",
    ),
    Difference(
        "control frame not of 0 to 125 bytes",
        anything,
        "RFC 6455 5.5: found in the second byte; the oracle takes a short length in a long form",
    ),
    Difference(
        "reserved bit set|reserved opcode|not masked|control frame in fragments"
        "|continuation without|new message before",
        later,
        "found in the first two bytes; the oracle looks at reserved bits, sizes of control "
        "frames and the order of fragments when the whole frame is there, and at the size limit "
        "before",
    ),
    Difference(
        "text that is not UTF-8",
        lambda theirs: theirs.end == "open" or theirs.code in (1002, 1007, 1009),
        "found as soon as the bytes arrive; the oracle needs the frame's end, and a frame that "
        "is never completed, or breaks another rule further on, hides it there",
    ),
    Difference(
        "invalid deflate data|after decompression|final deflate blocks|message over",
        lambda theirs: theirs.end == "open" or theirs.code in (1002, 1007, 1009),
        "compressed data is read as it arrives; the oracle needs the frame's end, and limits "
        "the compressed size to max_size exactly",
    ),
]


def explained(us: Outcome, them: Outcome) -> str | None:
    """Return why the outcomes may differ, or None where they may not."""
    if them.deaf:
        return "RFC 7692 7.2.3.4: a message may go on after a block with BFINAL"
    if us.end == "failed":
        # What was complete before must be the same, on both sides.
        if us.messages != them.messages[: len(us.messages)]:
            return None
        for difference in DIFFERENCES:
            if re.search(difference.reason, us.reason) and difference.allowed(them):
                return difference.why
        return None
    if us.end == "closed" and them.reason == "incomplete fragmented message":
        # RFC 6455 5.4 allows control frames between fragments, and close is one of them.
        return "the oracle refuses a close frame inside a fragmented message"
    return None


def same(us: Outcome, them: Outcome) -> bool:
    return us[:4] == them[:4] and [type(m) for m in us.messages] == [type(m) for m in them.messages]


# ---- strategies ------------------------------------------------------------------------------

KEYS = st.binary(min_size=4, max_size=4)
TEXTS = st.one_of(st.text(max_size=40), st.text("aé€𝄞", min_size=60, max_size=200))
BYTES = st.one_of(st.binary(max_size=40), st.binary(min_size=120, max_size=300))
CODES = st.sampled_from([1000, 1001, 1003, 1007, 1011, 1012, 1014, 3000, 4999])


@st.composite
def chunked(draw: Any, data: bytes) -> list[bytes]:
    if not data:
        return [b""]
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=6)))
    edges = [0, *cuts, len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


@st.composite
def message_frames(draw: Any, pack: Callable[[bytes], bytes] | None = None) -> bytes:
    """Draw one valid message, in one frame or in fragments with control frames between them."""
    if draw(st.booleans()):
        opcode, payload = TEXT, draw(TEXTS).encode()
    else:
        opcode, payload = BINARY, draw(BYTES)
    rsv = 0
    if pack is not None and draw(st.booleans()):
        payload, rsv = pack(payload), 4
    cuts = sorted(draw(st.lists(st.integers(0, len(payload)), max_size=3)))
    edges = [0, *cuts, len(payload)]
    parts = [payload[a:b] for a, b in pairwise(edges)]
    stream = b""
    for i, part in enumerate(parts):
        if i and draw(st.booleans()):
            stream += frame(draw(st.sampled_from([PING, PONG])), draw(st.binary(max_size=125)))
        stream += frame(
            CONT if i else opcode,
            part,
            fin=i == len(parts) - 1,
            rsv=0 if i else rsv,
            key=draw(KEYS),
        )
    return stream


@st.composite
def valid_streams(draw: Any, deflate: bool = False) -> bytes:
    packer = zlib.compressobj(wbits=-15)

    def pack(payload: bytes) -> bytes:
        packed = packer.compress(payload) + packer.flush(zlib.Z_SYNC_FLUSH)
        return packed[:-4] or b"\0"

    stream = b"".join(
        draw(message_frames(pack if deflate else None)) for _ in range(draw(st.integers(0, 4)))
    )
    ending = draw(st.sampled_from(["open", "empty", "code"]))
    if ending == "empty":
        stream += frame(CLOSE)
    elif ending == "code":
        reason = draw(st.text(max_size=30)).encode()
        stream += frame(CLOSE, draw(CODES).to_bytes(2, "big") + reason)
    return stream


@st.composite
def any_frame(draw: Any) -> bytes:
    """Draw a frame of which anything may be wrong, but most of the time little is."""
    opcode = draw(
        st.sampled_from([TEXT, TEXT, BINARY, CONT, CONT, PING, PONG, CLOSE, 3, 7, 11, 15])
    )
    if opcode == CLOSE:
        code = draw(st.one_of(CODES, st.sampled_from([0, 999, 1004, 1005, 1006, 1015, 2999, 5000])))
        payload = code.to_bytes(2, "big") + draw(st.binary(max_size=3))
        payload = payload[: draw(st.sampled_from([0, 1, 2, 2, 2, 5]))]
    else:
        payload = draw(
            st.one_of(
                st.text("a€𝄞", max_size=9).map(str.encode),
                st.binary(max_size=9),
                st.sampled_from([b"\xe2\x82", b"\xac", b"x" * 126, b"y" * 900]),
            )
        )
    minimal = 0 if len(payload) < 126 else 2
    form = draw(st.sampled_from([minimal] * 9 + [2, 8]))
    return frame(
        opcode,
        payload,
        fin=draw(st.sampled_from([True, True, False])),
        rsv=draw(st.sampled_from([0] * 12 + [1, 2, 4])),
        key=draw(st.one_of(*[KEYS] * 9, st.none())),
        form=max(form, minimal),
    )


@st.composite
def mutated_streams(draw: Any, deflate: bool = False) -> bytes:
    stream = bytearray(draw(valid_streams(deflate)))
    for _ in range(draw(st.integers(1, 3))):
        if stream:
            at = draw(st.integers(0, len(stream) - 1))
            kind = draw(st.sampled_from(["flip", "set", "cut", "drop"]))
            if kind == "flip":
                stream[at] ^= 1 << draw(st.integers(0, 7))
            elif kind == "set":
                stream[at] = draw(st.integers(0, 255))
            elif kind == "drop":
                del stream[at]
            else:
                del stream[at:]
    return bytes(stream)


# ---- properties ------------------------------------------------------------------------------


@given(st.data())
def test_a_valid_stream_gives_what_the_oracle_gives(data: st.DataObject) -> None:
    stream = data.draw(valid_streams())
    chunks = data.draw(chunked(stream))
    us = ours(chunks)
    assert same(us, oracle([stream]))
    assert us.end != "failed"
    assert same(us, ours([stream]))


@given(st.data())
def test_a_valid_compressed_stream_gives_what_the_oracle_gives(data: st.DataObject) -> None:
    stream = data.draw(valid_streams(deflate=True))
    chunks = data.draw(chunked(stream))
    us = ours(chunks, deflate=True)
    assert same(us, oracle([stream], deflate=True))
    assert us.end != "failed"


def compare(data: st.DataObject, stream: bytes, deflate: bool = False) -> None:
    us, them = ours([stream], deflate), oracle([stream], deflate)
    assert same(us, them) or explained(us, them), (us, them)
    if us.end == "failed":
        assert us.code in (1002, 1007, 1009)
    cut = ours(data.draw(chunked(stream)), deflate)
    if deflate and cut.end == us.end == "failed":
        # Data that is both bad deflate and bad text may fail for either.
        assert {cut.code, us.code} <= {1002, 1007, 1009}
    else:
        assert same(cut, us), (cut, us)


@given(st.data(), st.lists(any_frame(), max_size=6), st.booleans())
def test_frames_with_anything_wrong_end_as_with_the_oracle(
    data: st.DataObject, frames: list[bytes], deflate: bool
) -> None:
    compare(data, b"".join(frames), deflate)


@given(st.data(), mutated_streams())
def test_a_damaged_stream_ends_as_with_the_oracle(data: st.DataObject, stream: bytes) -> None:
    compare(data, stream)


@given(st.data(), mutated_streams(deflate=True))
def test_a_damaged_compressed_stream_ends_as_with_the_oracle(
    data: st.DataObject, stream: bytes
) -> None:
    compare(data, stream, deflate=True)


@given(st.data(), st.binary(max_size=400))
def test_noise_ends_as_with_the_oracle(data: st.DataObject, stream: bytes) -> None:
    compare(data, stream)


@given(st.lists(st.one_of(TEXTS, BYTES, st.just(b"z" * 70_000)), max_size=5), st.booleans())
def test_what_we_send_is_what_the_oracle_reads(messages: list[Any], deflate: bool) -> None:
    client = ClientProtocol(
        parse_uri("ws://localhost/"), state=State.OPEN, max_size=None, logger=SILENT
    )
    if deflate:
        client.extensions = [OracleDeflate(False, False, 15, 15)]
    protocol = Protocol(max_message=MAX, deflate=PerMessageDeflate() if deflate else None)
    for message in messages:
        client.receive_data(protocol.encode(message))
    client.receive_data(protocol.encode_ping(b"ping"))
    client.receive_data(protocol.encode_close(4000, "done"))
    *received, ping, close = client.events_received()
    assert [
        bytes(f.data).decode() if f.opcode is Opcode.TEXT else bytes(f.data) for f in received
    ] == messages
    assert (ping.opcode, bytes(ping.data)) == (Opcode.PING, b"ping")
    assert OracleClose.parse(bytes(close.data)) == OracleClose(4000, "done")
    assert client.parser_exc is None


@given(st.lists(st.one_of(TEXTS, BYTES), max_size=4), st.booleans())
def test_what_the_oracle_sends_is_what_we_read(messages: list[Any], deflate: bool) -> None:
    client = ClientProtocol(
        parse_uri("ws://localhost/"), state=State.OPEN, max_size=None, logger=SILENT
    )
    if deflate:
        client.extensions = [OracleDeflate(False, False, 15, 15)]
    for message in messages:
        if isinstance(message, str):
            client.send_text(message.encode())
        else:
            client.send_binary(message)
    client.send_close(4001, "over")
    us = ours([b"".join(client.data_to_send())], deflate)
    assert us == Outcome(messages, [], "closed", 4001)


# ---- negotiation and handshake ---------------------------------------------------------------

BITS = st.sampled_from([None, "8", "9", "10", "12", "15", "7", "16", "010", "x"])


@st.composite
def offers(draw: Any) -> str:
    names = ["server_no_context_takeover", "client_no_context_takeover"]
    windows = ["server_max_window_bits", "client_max_window_bits"]
    parts = ["permessage-deflate"]
    for name in draw(st.lists(st.sampled_from([*names, *windows, *windows, "other"]), max_size=4)):
        value = draw(BITS) if name in windows else draw(st.sampled_from([None] * 6 + ["1"]))
        parts.append(name if value is None else f"{name}={value}")
    return "; ".join(parts)


def oracle_negotiation(header: str, bits: int) -> dict[str, str | None] | None:
    factory = ServerPerMessageDeflateFactory(
        server_max_window_bits=bits, client_max_window_bits=bits
    )
    for _, parameters in parse_extension(header):
        try:
            answer, _ = factory.process_request_params(parameters, [])
        except NegotiationError:
            continue
        except ValueError:
            # zlib has no raw window of 8 bits: the oracle breaks on the offer that we decline,
            continue
        if dict(answer).get("server_max_window_bits") == "8":
            # or would, with its first message.
            continue
        # It also says what it was not asked about.
        return {
            name: value
            for name, value in answer
            if not name.startswith("server_") or name in dict(parameters)
        }
    return None


@given(st.lists(offers(), min_size=1, max_size=3), st.integers(9, 14))
def test_offers_are_answered_as_by_the_oracle(offered: list[str], bits: int) -> None:
    header = ", ".join(offered)
    extension, answer = PerMessageDeflate.negotiate([header], {"max_window_bits": bits})
    expected = oracle_negotiation(header, bits)
    if expected is None:
        assert extension is None
        assert answer is None
    else:
        assert answer is not None
        ((name, parameters),) = parse_extension(answer)
        assert name == "permessage-deflate"
        assert dict(parameters) == expected


FIELDS = {
    "Host": ["localhost", "localhost"],
    "Upgrade": ["websocket", "WebSocket", "h2c", ""],
    "Connection": ["Upgrade", "keep-alive, upgrade", "close"],
    "Sec-WebSocket-Key": ["dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQ", "x"],
    "Sec-WebSocket-Version": ["13", "13", "8", ""],
}


@given(st.data())
def test_a_handshake_that_the_oracle_refuses_is_refused(data: st.DataObject) -> None:
    pairs: list[tuple[str, str]] = []
    for name, values in FIELDS.items():
        # A doubled Upgrade still holds "websocket"; only the oracle minds.
        times = data.draw(st.sampled_from([1] * 8 + ([0, 0] if name == "Upgrade" else [0, 2])))
        good = data.draw(st.sampled_from([True] * 4 + [False]))
        pairs += [(name, values[0] if good else data.draw(st.sampled_from(values)))] * times
    headers = Headers()
    for name, value in pairs:
        headers[name] = value
    answer = ServerProtocol(logger=SILENT).accept(Request("/", headers))
    if answer.status_code == 101 and [name for name, _ in pairs].count("Host") == 1:
        handshake = check_upgrade("GET", "HTTP/1.1", pairs)
        assert handshake.accept == answer.headers["Sec-WebSocket-Accept"]
    else:
        # The oracle leaves Host alone.
        with pytest.raises(HandshakeError):
            check_upgrade("GET", "HTTP/1.1", pairs)
