"""RFC 7692: negotiation, and messages that are compressed."""

from __future__ import annotations

import random
import time
import tracemalloc
import zlib
from typing import Any

import pytest
from support.frames import BINARY, CONT, CUTS, PING, TEXT, close, feed, fragments, frame, text

from jupyter_wshandler.engine.assembly import BinaryAssembly
from jupyter_wshandler.engine.deflate import MAX_FINAL_BLOCKS, MIN_SIZE, PerMessageDeflate
from jupyter_wshandler.engine.offers import parse_extensions
from jupyter_wshandler.engine.protocol import Close, Event, Failure, Protocol
from jupyter_wshandler.errors import ProtocolError

WIDE = {"max_window_bits": 15}


class Client:
    """Compress and decompress as a client that keeps its context."""

    def __init__(self, bits: int = 15, **settings: int) -> None:
        self.deflater = zlib.compressobj(wbits=-bits, **settings)
        self.inflater = zlib.decompressobj(-15)

    def pack(self, payload: bytes) -> bytes:
        packed = self.deflater.compress(payload) + self.deflater.flush(zlib.Z_SYNC_FLUSH)
        return packed[:-4] or b"\0"

    def unpack(self, sent: bytes) -> bytes:
        assert sent[0] & 0x40
        size = sent[1]
        at = 2 if size < 126 else 4 if size == 126 else 10
        return self.inflater.decompress(sent[at:] + b"\x00\x00\xff\xff")


def packed_frame(client: Client, message: str | bytes) -> bytes:
    if isinstance(message, str):
        return frame(TEXT, client.pack(message.encode()), rsv=4)
    return frame(BINARY, client.pack(message), rsv=4)


def protocol(max_message: int = 1 << 20, **options: Any) -> Protocol:
    return Protocol(max_message=max_message, deflate=PerMessageDeflate(**options))


def failure_of(events: list[Event]) -> int:
    assert type(events[-1]) is Failure
    return events[-1].code


# ---- negotiation -----------------------------------------------------------------------------

PMD = "permessage-deflate"


@pytest.mark.parametrize(
    ("offer", "answer"),
    [
        (PMD, PMD),
        ("Permessage-Deflate", PMD),
        (f"{PMD}; client_max_window_bits", PMD),
        (f"{PMD} ; client_max_window_bits = 10", f"{PMD}; client_max_window_bits=10"),
        (f'{PMD}; client_max_window_bits="8"', f"{PMD}; client_max_window_bits=8"),
        (f"{PMD}; client_max_window_bits=15", PMD),
        (f"{PMD}; server_max_window_bits=10", f"{PMD}; server_max_window_bits=10"),
        (f"{PMD}; server_max_window_bits=15", f"{PMD}; server_max_window_bits=15"),
        (f"{PMD}; server_no_context_takeover", f"{PMD}; server_no_context_takeover"),
        (f"{PMD}; client_no_context_takeover", f"{PMD}; client_no_context_takeover"),
        (
            f"{PMD};client_max_window_bits=9;server_max_window_bits=11;"
            "client_no_context_takeover;server_no_context_takeover",
            f"{PMD}; server_no_context_takeover; client_no_context_takeover; "
            "server_max_window_bits=11; client_max_window_bits=9",
        ),
        (f"x-webkit-deflate-frame, {PMD}", PMD),
        (f"{PMD}; server_max_window_bits=10, {PMD}", f"{PMD}; server_max_window_bits=10"),
        (
            f"{PMD}; unknown, {PMD}; client_no_context_takeover",
            f"{PMD}; client_no_context_takeover",
        ),
        (f", ,{PMD},", PMD),
    ],
)
def test_the_first_sound_offer_is_accepted(offer: str, answer: str) -> None:
    extension, header = PerMessageDeflate.negotiate([offer], WIDE)
    assert header == answer
    assert extension is not None
    assert extension.server_no_context_takeover == ("server_no_context" in answer)
    assert extension.client_no_context_takeover == ("client_no_context" in answer)


@pytest.mark.parametrize(
    "offer",
    [
        "",
        ",",
        "permessage-bzip2",
        f"x{PMD}",
        f"{PMD}; unknown",
        f"{PMD}; unknown=1",
        f"{PMD}; server_no_context_takeover=1",
        f"{PMD}; client_no_context_takeover=true",
        f"{PMD}; server_no_context_takeover; server_no_context_takeover",
        f"{PMD}; server_max_window_bits",
        f"{PMD}; server_max_window_bits=7",
        f"{PMD}; server_max_window_bits=8",
        f"{PMD}; server_max_window_bits=16",
        f"{PMD}; server_max_window_bits=010",
        f"{PMD}; server_max_window_bits=+9",
        f"{PMD}; server_max_window_bits=10; server_max_window_bits=10",
        f"{PMD}; client_max_window_bits=7",
        f"{PMD}; client_max_window_bits=16",
        f"{PMD}; client_max_window_bits=09",
        f"{PMD}; client_max_window_bits=ten",
        f'{PMD}; client_max_window_bits=""',
        f"{PMD}; client_max_window_bits; client_max_window_bits=10",
        f"{PMD};",
        f"{PMD}; =1",
        f"{PMD}; client_max_window_bits=",
        f'{PMD}; client_max_window_bits="10',
        f"{PMD} client_max_window_bits",
        f"{PMD}\n",
        f"{PMD}/x",
        "; server_max_window_bits=10",
    ],
)
def test_an_offer_that_is_not_sound_is_declined_without_an_error(offer: str) -> None:
    assert PerMessageDeflate.negotiate([offer]) == (None, None)
    extension, header = PerMessageDeflate.negotiate([offer, PMD], WIDE)
    assert extension is not None
    assert header == PMD


def test_no_offer_gives_no_extension() -> None:
    assert PerMessageDeflate.negotiate([]) == (None, None)


@pytest.mark.parametrize(
    ("offer", "options", "answer", "server_bits", "client_bits"),
    [
        (PMD, {}, PMD, 12, 15),
        (
            f"{PMD}; client_max_window_bits",
            {},
            f"{PMD}; client_max_window_bits=12",
            12,
            12,
        ),
        (
            f"{PMD}; client_max_window_bits=9; server_max_window_bits=9",
            {},
            f"{PMD}; server_max_window_bits=9; client_max_window_bits=9",
            9,
            9,
        ),
        (f"{PMD}; server_max_window_bits=15", {}, f"{PMD}; server_max_window_bits=12", 12, 15),
        (PMD, {"max_window_bits": 9}, PMD, 9, 15),
        (
            PMD,
            {**WIDE, "server_no_context_takeover": True, "client_no_context_takeover": True},
            f"{PMD}; client_no_context_takeover",
            15,
            15,
        ),
    ],
)
def test_the_servers_options_bound_the_windows(
    offer: str, options: dict[str, Any], answer: str, server_bits: int, client_bits: int
) -> None:
    extension, header = PerMessageDeflate.negotiate([offer], options)
    assert header == answer
    assert extension is not None
    assert extension.server_max_window_bits == server_bits
    assert extension.client_max_window_bits == client_bits


@pytest.mark.parametrize(
    "options", [{}, {"max_window_bits": 9, "server_no_context_takeover": True}]
)
def test_a_bare_offer_is_answered_with_nothing_that_was_not_asked_for_and_can_be_read(
    options: dict[str, Any],
) -> None:
    extension, header = PerMessageDeflate.negotiate([PMD], options)
    assert header == PMD
    assert extension is not None
    sender, reader = Protocol(max_message=0, deflate=extension), Client()
    for sent in ("a long way to go " * 40, "again " * 40, "a long way to go " * 40):
        assert reader.unpack(sender.encode(sent)).decode() == sent


def test_level_and_memory_come_from_the_options() -> None:
    extension, _ = PerMessageDeflate.negotiate([PMD], {"compression_level": 1, "mem_level": 9})
    assert extension is not None
    assert (extension.compression_level, extension.mem_level) == (1, 9)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"level": 3}, "'level' is unknown; expected compression_level"),
        ({"compression_level": 10}, "whole number from 0 to 9, found 10"),
        ({"mem_level": 0}, "whole number from 1 to 9, found 0"),
        ({"mem_level": True}, "whole number from 1 to 9, found True"),
        ({"max_window_bits": 8}, "whole number from 9 to 15, found 8"),
        ({"server_no_context_takeover": 1}, "expected True or False, found 1"),
    ],
)
def test_an_option_that_is_wrong_is_an_error_for_the_server(
    options: dict[str, Any], match: str
) -> None:
    with pytest.raises(ValueError, match=match):
        PerMessageDeflate.negotiate([PMD], options)


def test_a_header_is_parsed_with_quoted_values_and_all_its_extensions() -> None:
    assert parse_extensions('a; b=1; c="d\\e" , f;g') == [
        ("a", [("b", "1"), ("c", "de")]),
        ("f", [("g", None)]),
    ]


@pytest.mark.parametrize("header", ["a b", "a;", "a; b=", 'a; b="c d"', 'a; b="c', "a=b", "é"])
def test_a_header_that_breaks_the_grammar_is_refused(header: str) -> None:
    with pytest.raises(ValueError):
        parse_extensions(header)


def test_a_hostile_header_is_parsed_in_linear_time() -> None:
    start = time.process_time()
    for header in ("a;" * 30_000, "a" + " " * 60_000 + "b", 'a;b="' + "\\" * 60_000, "," * 60_000):
        PerMessageDeflate.negotiate([header])
    assert time.process_time() - start < 1


# ---- receiving -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        ("f2 48 cd c9 c9 07 00", "Hello"),  # one compressed block, section 7.2.3.1
        ("00 05 00 fa ff 48 65 6c 6c 6f 00", "Hello"),  # one stored block, 7.2.3.3
        ("f3 48 cd c9 c9 07 00 00", "Hello"),  # a block with BFINAL, 7.2.3.4
        ("f2 48 05 00 00 00 ff ff ca c9 c9 07 00", "Hello"),  # two blocks, 7.2.3.5
        ("00", ""),  # an empty message, 7.2.3.6
    ],
)
@pytest.mark.parametrize("cut", CUTS, ids=lambda cut: cut.__name__)
def test_the_examples_of_the_rfc_are_understood(payload: str, message: str, cut: Any) -> None:
    data = bytes.fromhex(payload)
    p = protocol()
    assert feed(p, frame(TEXT, data, rsv=4) * 3, cut) == [message] * 3
    assert feed(p, fragments(TEXT, data[:3], data[3:], rsv=4), cut) == [message]


def test_the_rfcs_shared_window_is_understood() -> None:
    first, second = bytes.fromhex("f248cdc9c90700"), bytes.fromhex("f200110000")
    stream = frame(TEXT, first, rsv=4) + frame(TEXT, second, rsv=4)
    assert feed(protocol(), stream) == ["Hello", "Hello"]


@pytest.mark.parametrize("cut", CUTS, ids=lambda cut: cut.__name__)
@pytest.mark.parametrize("bits", [9, 12, 15])
def test_messages_with_context_takeover_arrive_however_they_are_cut(bits: int, cut: Any) -> None:
    client, dice = Client(bits), random.Random(bits)
    messages: list[Any] = [
        "".join(dice.choices("abc €𝄞", k=size)) for size in (0, 1, 31, 500, 5000, 40_000)
    ]
    messages += [dice.randbytes(3000), b"", "the same words " * 50, "the same words " * 50]
    stream = b"".join(packed_frame(client, m) for m in messages)
    assert feed(protocol(client_max_window_bits=bits), stream, cut) == messages


def test_messages_without_context_takeover_are_read_alone() -> None:
    p = protocol(client_no_context_takeover=True)
    for _ in range(3):
        assert feed(p, packed_frame(Client(), "again " * 100)) == ["again " * 100]
        assert p._deflate._inflater is None  # type: ignore[union-attr]


@pytest.mark.parametrize("cut", CUTS, ids=lambda cut: cut.__name__)
@pytest.mark.parametrize("size", [1, 7, 256])
def test_a_compressed_message_in_fragments_arrives(size: int, cut: Any) -> None:
    message = random.Random(3).randbytes(4000) + bytes(50_000)
    packed = Client().pack(message)
    parts = [packed[i : i + size] for i in range(0, len(packed), size)]
    generous = Protocol(max_message=1 << 20, deflate=PerMessageDeflate())
    assert feed(generous, fragments(BINARY, *parts, rsv=4), cut) == [message]
    parts = ["€".encode() for _ in range(3)]
    packed = Client().pack(b"".join(parts))
    parts = [packed[i : i + size] for i in range(0, len(packed), size)]
    assert feed(protocol(), fragments(TEXT, b"", *parts, b"", rsv=4), cut) == ["€€€"]


def test_plain_and_compressed_messages_mix_with_control_frames_between_fragments() -> None:
    client = Client()
    packed = client.pack(b"packed " * 30)
    p = protocol()
    stream = text("plain") + frame(TEXT, packed[:4], fin=False, rsv=4) + frame(PING, b"x")
    stream += frame(CONT, packed[4:]) + fragments(TEXT, b"pl", b"ain") + close()
    assert feed(p, stream) == ["plain", "packed " * 30, "plain", Close(1000, "")]
    assert p.outgoing() == b"\x8a\x01x"


@pytest.mark.parametrize("cut", CUTS, ids=lambda cut: cut.__name__)
def test_a_peer_that_rounds_a_window_of_8_bits_up_to_9_is_understood(cut: Any) -> None:
    # The repetition lies 300 bytes back: more than 8 bits can reach, less than 9 can.
    client, parts = Client(15), [random.Random(1).randbytes(300)] * 2
    packed = [packed_frame(client, part) for part in parts]
    assert len(packed[1]) < 30
    stream = b"".join(packed)
    assert feed(protocol(client_max_window_bits=8), stream, cut) == parts


@pytest.mark.parametrize("rsv", [1, 2, 3, 5, 6, 7])
def test_the_other_reserved_bits_stay_forbidden(rsv: int) -> None:
    assert failure_of(feed(protocol(), frame(TEXT, b"\0", rsv=rsv))) == 1002


def test_rsv1_is_forbidden_on_continuations_and_control_frames() -> None:
    for data in (
        frame(TEXT, b"\0", fin=False, rsv=4) + frame(CONT, b"\0", rsv=4),
        frame(PING, b"", rsv=4),
        frame(8, b"", rsv=4),
    ):
        assert failure_of(feed(protocol(), data)) == 1002


@pytest.mark.parametrize("cut", CUTS, ids=lambda cut: cut.__name__)
@pytest.mark.parametrize(
    "bad",
    [
        b"\xff\xff\xff\xff",
        b"\x07garbage",
        b"\x00\x05\x00\x00\x00Hello",
        bytes.fromhex("f2001100 00"),  # refers to text before the first
    ],
)
def test_bad_deflate_data_is_a_protocol_error(bad: bytes, cut: Any) -> None:
    assert failure_of(feed(protocol(), frame(BINARY, bad, rsv=4), cut)) == 1002


@pytest.mark.parametrize("cut", CUTS, ids=lambda cut: cut.__name__)
def test_compressed_text_that_is_not_utf8_is_1007(cut: Any) -> None:
    for bad in (b"\xff", b"good \xed\xa0\x80 more", b"cut \xe2\x82"):
        assert failure_of(feed(protocol(), packed_frame_of(bad), cut)) == 1007
        packed = Client().pack(bad)
        stream = fragments(TEXT, packed[:2], packed[2:], rsv=4)
        assert failure_of(feed(protocol(), stream, cut)) == 1007


def packed_frame_of(payload: bytes) -> bytes:
    return frame(TEXT, Client().pack(payload), rsv=4)


def test_bad_utf8_in_a_compressed_fragment_is_found_before_the_message_ends() -> None:
    client = Client()
    data = client.deflater.compress(b"\xff" * 5) + client.deflater.flush(zlib.Z_SYNC_FLUSH)
    assert failure_of(feed(protocol(), frame(TEXT, data, fin=False, rsv=4))) == 1007


# ---- blocks with BFINAL ----------------------------------------------------------------------


def final_blocks(*payloads: bytes) -> bytes:
    data = b""
    for payload in payloads:
        deflater = zlib.compressobj(wbits=-15)
        data += deflater.compress(payload) + deflater.flush(zlib.Z_FINISH)
    return data


@pytest.mark.parametrize("cut", CUTS, ids=lambda cut: cut.__name__)
def test_final_blocks_inside_a_message_do_not_end_it(cut: Any) -> None:
    data = final_blocks(b"one ", b"two ", b"three") + b"\0"
    p = protocol()
    assert feed(p, frame(BINARY, data, rsv=4) + packed_frame(Client(), "on"), cut) == [
        b"one two three",
        "on",
    ]


def test_a_final_block_without_the_byte_after_it_is_understood() -> None:
    p = protocol()
    for _ in range(2):
        assert feed(p, frame(BINARY, final_blocks(b"Hello"), rsv=4)) == [b"Hello"]


def test_the_window_survives_a_final_block() -> None:
    p = protocol()
    hello = bytes.fromhex("f348cdc9c9070000")
    again = bytes.fromhex("f200110000")
    stream = frame(TEXT, hello, rsv=4) + frame(TEXT, again, rsv=4) * 2
    assert feed(p, stream) == ["Hello"] * 3


def test_the_window_holds_what_came_before_several_final_blocks() -> None:
    first, second = random.Random(1).randbytes(300), random.Random(2).randbytes(300)
    stream = frame(BINARY, final_blocks(first) + b"\0", rsv=4)
    stream += frame(BINARY, final_blocks(second) + b"\0", rsv=4)
    deflater = zlib.compressobj(wbits=-15, zdict=first + second)
    third = deflater.compress(first) + deflater.flush(zlib.Z_SYNC_FLUSH)
    assert len(third) < 20
    stream += frame(BINARY, third[:-4], rsv=4)
    assert feed(protocol(), stream) == [first, second, first]


def test_final_blocks_are_counted_by_message() -> None:
    one = frame(BINARY, final_blocks(b"x") + b"\0", rsv=4)
    count = MAX_FINAL_BLOCKS + 2
    assert feed(protocol(), one * count) == [b"x"] * count


def test_a_flood_of_final_blocks_is_refused() -> None:
    enough = final_blocks(*[b"x"] * MAX_FINAL_BLOCKS) + b"\0"
    assert feed(protocol(), frame(BINARY, enough, rsv=4)) == [b"x" * MAX_FINAL_BLOCKS]
    flood = b"\x03\x00" * 400_000
    start = time.process_time()
    assert failure_of(feed(protocol(), frame(BINARY, flood, rsv=4))) == 1002
    assert time.process_time() - start < 0.5


# ---- limits ----------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", CUTS, ids=lambda cut: cut.__name__)
def test_the_limit_counts_what_comes_out(cut: Any) -> None:
    for size, fits in ((10_000, True), (10_001, False), (1_000_000, False)):
        for build in (bytes, random.Random(size).randbytes):
            events = feed(protocol(10_000), packed_frame(Client(), build(size)), cut)
            if fits:
                assert [len(event) for event in events] == [size]  # type: ignore[arg-type]
            else:
                assert failure_of(events) == 1009


def test_the_limit_counts_all_fragments_together() -> None:
    packed = Client().pack(bytes(20_001))
    parts = [packed[i : i + 5] for i in range(0, len(packed), 5)]
    assert failure_of(feed(protocol(20_000), fragments(BINARY, *parts, rsv=4))) == 1009


def test_a_bomb_costs_no_more_memory_than_the_limit() -> None:
    bomb = packed_frame(Client(), bytes(100_000_000))
    p = protocol(100_000)
    tracemalloc.start()
    try:
        assert failure_of(p.receive(bomb)) == 1009
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
    assert not p._message


def test_compressed_bytes_that_hold_nothing_are_bounded_too() -> None:
    nothing = b"\x00\x00\x00\xff\xff" * 100_000
    assert failure_of(protocol(10_000).receive(frame(BINARY, nothing, rsv=4)[:20])) == 1009


def test_after_our_close_nothing_is_decompressed() -> None:
    p = protocol()
    p.encode_close()
    assert feed(p, frame(TEXT, b"\xff\xff\xff", rsv=4) + close()) == [Close(1000, "")]


# ---- sending ---------------------------------------------------------------------------------


@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize("bits", [9, 12, 15])
def test_what_is_sent_can_be_read(bits: int, alone: bool) -> None:
    p = protocol(server_max_window_bits=bits, server_no_context_takeover=alone)
    client = Client()
    dice = random.Random(bits)
    for size in (32, 125, 1000, 70_000, 70_000):
        for payload in (dice.randbytes(size), bytes(size)):
            if alone:
                client = Client()
            assert client.unpack(p.encode(payload)) == payload
    if alone:
        client = Client()
    sent = p.encode("€" * 40)
    assert sent[0] == 0xC1
    assert client.unpack(sent).decode() == "€" * 40


def test_repeated_text_shrinks_with_context_takeover_only() -> None:
    message = "".join(random.Random(0).choices("abcdefgh", k=200))
    keeps, forgets = protocol(), protocol(server_no_context_takeover=True)
    assert len(keeps.encode(message)) == len(forgets.encode(message))
    assert len(keeps.encode(message)) * 4 < len(forgets.encode(message))


def test_short_messages_go_out_as_they_are() -> None:
    p = protocol()
    assert p.encode("x" * (MIN_SIZE - 1)) == b"\x81\x1f" + b"x" * 31
    assert p.encode(b"") == b"\x82\x00"
    assert p.encode("x" * MIN_SIZE)[0] == 0xC1


def test_an_empty_message_compresses_to_one_byte() -> None:
    extension = PerMessageDeflate()
    assert [extension.compress(b"") for _ in range(3)] == [b"\0"] * 3


def test_a_message_that_is_too_big_raises_with_its_code() -> None:
    with pytest.raises(ProtocolError, match="1009: message over 3 bytes") as error:
        PerMessageDeflate().decompress(Client().pack(b"four"), BinaryAssembly(), 3, final=True)
    assert error.value.code == 1009
