"""RFC 6455 frame by frame: what a server must accept, answer and refuse."""

from __future__ import annotations

import random
import time
from typing import Any

import pytest
from support.frames import (
    BINARY,
    CLOSE,
    CONT,
    CUTS,
    KEY,
    PING,
    PONG,
    TEXT,
    bytewise,
    close,
    feed,
    fragments,
    frame,
    text,
    whole,
)

from jupyter_wshandler.engine import masking
from jupyter_wshandler.engine.deflate import PerMessageDeflate
from jupyter_wshandler.engine.protocol import (
    CLOSE_CAME,
    CLOSE_DONE,
    CLOSE_SENT,
    FAILED,
    FLOWING,
    Close,
    Failure,
    Pong,
    Protocol,
    may_travel,
    reply_code,
)

MAX = 100_000


def protocol(**options: Any) -> Protocol:
    return Protocol(**{"max_message": MAX, **options})


def code_of(sent: bytes) -> int:
    """Return the code of the one close frame that was sent, which must end the output."""
    assert sent[0] == 0x88
    assert len(sent) == 2 + sent[1]
    return int.from_bytes(sent[2:4], "big")


# ---- what must be understood -----------------------------------------------------------------

GREEK = "κόσμε"
ACCEPTED = {
    "the RFC's masked Hello": (bytes.fromhex("818537fa213d7f9f4d5158"), ["Hello"]),
    "the RFC's Hello in two fragments": (fragments(TEXT, b"Hel", b"lo"), ["Hello"]),
    "empty text": (text(""), [""]),
    "empty binary": (frame(BINARY), [b""]),
    "several messages at once": (text("a") + frame(BINARY, b"b") + text("c"), ["a", b"b", "c"]),
    "a masking key of zeros": (text("plain", key=bytes(4)), ["plain"]),
    "every byte in binary": (frame(BINARY, bytes(range(256))), [bytes(range(256))]),
    **{
        f"text of {size} bytes": (text("*" * size), ["*" * size])
        for size in (1, 124, 125, 126, 127, 128, 65535, 65536)
    },
    **{
        f"binary of {size} bytes": (frame(BINARY, b"\xfe" * size), [b"\xfe" * size])
        for size in (1, 124, 125, 126, 127, 128, 65535, 65536)
    },
    "a pong that nobody asked for": (frame(PONG, b"x") + text("on"), [Pong(b"x"), "on"]),
    "an empty pong": (frame(PONG), [Pong(b"")]),
    "text in one-byte fragments": (
        fragments(TEXT, *[bytes((b,)) for b in GREEK.encode()]),
        [GREEK],
    ),
    "fragments that are empty": (fragments(TEXT, b"", b"", b""), [""]),
    "an empty first and last fragment": (fragments(TEXT, b"", b"middle", b""), ["middle"]),
    "binary fragments": (fragments(BINARY, b"\xff", b"\xfe"), [b"\xff\xfe"]),
    "a pong between fragments": (
        frame(TEXT, b"a", fin=False) + frame(PONG, b"p") + frame(CONT, b"b"),
        [Pong(b"p"), "ab"],
    ),
    "one fragmented message after another": (
        fragments(TEXT, b"a", b"b") + fragments(BINARY, b"c", b"d"),
        ["ab", b"cd"],
    ),
    "a whole message after a fragmented one": (
        fragments(TEXT, b"a", b"b") + text("c"),
        ["ab", "c"],
    ),
    "text of two, three and four bytes a character": (text("éκ€𝄞"), ["éκ€𝄞"]),
    "a character cut by fragments": (
        fragments(TEXT, "€".encode()[:1], "€".encode()[1:2], "€".encode()[2:]),
        ["€"],
    ),
    "noncharacters": (text("\ufffe\uffff\U0010ffff"), ["\ufffe\uffff\U0010ffff"]),
    "the last scalar before the surrogates and the first after": (
        text("\ud7ff\ue000"),
        ["\ud7ff\ue000"],
    ),
    "a zero byte": (text("\0"), ["\0"]),
    "a byte order mark": (text("\ufeffx"), ["\ufeffx"]),
    "invalid UTF-8 in binary": (frame(BINARY, b"\xff\xc0\x80"), [b"\xff\xc0\x80"]),
    "a message of exactly the limit": (frame(BINARY, bytes(MAX)), [bytes(MAX)]),
    "fragments of exactly the limit": (
        fragments(BINARY, bytes(MAX - 1), b"\1"),
        [bytes(MAX - 1) + b"\1"],
    ),
}


@pytest.mark.parametrize("cut", CUTS, ids=lambda cut: cut.__name__)
@pytest.mark.parametrize("case", ACCEPTED)
def test_a_valid_stream_gives_its_messages_however_it_is_cut(case: str, cut: Any) -> None:
    data, expected = ACCEPTED[case]
    p = protocol()
    events = feed(p, data, cut)
    assert events == expected
    assert [type(event) for event in events] == [type(event) for event in expected]
    assert p.state == FLOWING
    assert not p.out
    assert not p.pending


@pytest.mark.parametrize("cut", CUTS, ids=lambda cut: cut.__name__)
def test_every_size_around_the_ends_of_the_length_forms_arrives_intact(cut: Any) -> None:
    dice = random.Random(1)
    messages = [dice.randbytes(size) for size in (*range(140), 65530, 65535, 65536, 65540)]
    assert feed(protocol(), b"".join(frame(BINARY, m) for m in messages), cut) == messages


def test_random_streams_give_the_same_events_in_any_cut() -> None:
    dice = random.Random(7)
    for _ in range(60):
        stream = b""
        for _ in range(dice.randint(1, 12)):
            payload = "".join(dice.choices("ab€𝄞", k=dice.choice((0, 1, 5, 60, 200)))).encode()
            at = dice.randint(0, len(payload))
            stream += dice.choice(
                (
                    frame(TEXT, payload, key=dice.randbytes(4)),
                    frame(BINARY, payload, key=dice.randbytes(4)),
                    fragments(TEXT, payload[:at], payload[at:]),
                    frame(PING, payload[:100]),
                    frame(PONG, payload[:100]),
                )
            )
        one, two, three = protocol(), protocol(), protocol()
        events = feed(one, stream)
        assert feed(two, stream, bytewise) == events
        assert feed(three, stream, CUTS[2]) == events
        assert b"".join(one.out) == b"".join(two.out) == b"".join(three.out)


# ---- what must be refused --------------------------------------------------------------------

LONG = b"x" * 126
REFUSED = {
    **{
        f"reserved opcode {opcode}": (frame(opcode, b"x"), 1002)
        for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)
    },
    **{f"reserved bits {rsv:03b} on text": (text("x", rsv=rsv), 1002) for rsv in range(1, 8)},
    "a reserved bit on binary": (frame(BINARY, b"x", rsv=4), 1002),
    "a reserved bit on an empty frame": (text("", rsv=1), 1002),
    **{
        f"reserved bit on opcode {opcode}": (frame(opcode, b"", rsv=4), 1002)
        for opcode in (CLOSE, PING, PONG)
    },
    "a reserved bit on a continuation": (
        frame(TEXT, b"a", fin=False) + frame(CONT, b"b", rsv=4),
        1002,
    ),
    "an unmasked text": (text("Hello", key=None), 1002),
    "an unmasked empty text": (text("", key=None), 1002),
    "an unmasked ping": (frame(PING, key=None), 1002),
    "an unmasked long frame": (frame(BINARY, bytes(300), key=None), 1002),
    "a ping in fragments": (frame(PING, b"a", fin=False), 1002),
    "a pong in fragments": (frame(PONG, b"a", fin=False), 1002),
    "a close in fragments": (frame(CLOSE, b"\x03\xe8", fin=False), 1002),
    "a ping of 126 bytes": (frame(PING, LONG), 1002),
    "a pong of 126 bytes": (frame(PONG, LONG), 1002),
    "a close of 126 bytes": (frame(CLOSE, b"\x03\xe8" + LONG[2:]), 1002),
    "a ping of 70,000 bytes": (frame(PING, bytes(70_000)), 1002),
    "a control frame with a long form of a short length": (frame(PING, b"a", form=2), 1002),
    "125 in 16 bits": (frame(BINARY, bytes(125), form=2), 1002),
    "0 in 16 bits": (frame(TEXT, b"", form=2) + text("follows"), 1002),
    "125 in 64 bits": (frame(BINARY, bytes(125), form=8), 1002),
    "65535 in 64 bits": (frame(BINARY, bytes(65535), form=8), 1002),
    "a 64-bit length with its top bit": (b"\x82\xff" + b"\x80" + bytes(7) + KEY, 1002),
    "a continuation first": (frame(CONT, b"x"), 1002),
    "a continuation that does not end, first": (frame(CONT, b"x", fin=False), 1002),
    "text inside a fragmented message": (frame(TEXT, b"a", fin=False) + text("b"), 1002),
    "binary inside a fragmented message": (
        frame(TEXT, b"a", fin=False) + frame(BINARY, b"b", fin=False),
        1002,
    ),
    "a continuation after the end": (fragments(TEXT, b"a", b"b") + frame(CONT, b"c"), 1002),
    "a continuation after a control frame": (frame(PONG) + frame(CONT, b"c"), 1002),
    "a close of one byte": (frame(CLOSE, b"\x03"), 1002),
    **{
        f"close code {code}": (close(code), 1002)
        for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535)
    },
    "a close reason that is not UTF-8": (frame(CLOSE, b"\x03\xe8\xce\xba\xff"), 1007),
    "a close reason cut in a character": (frame(CLOSE, b"\x03\xe8\xce"), 1007),
    "a frame over the limit": (frame(BINARY, bytes(MAX + 1)), 1009),
    "fragments over the limit": (fragments(BINARY, bytes(MAX), b"x"), 1009),
    "a frame of 2**62 bytes": (b"\x82\xff" + (2**62).to_bytes(8, "big") + KEY, 1009),
}


@pytest.mark.parametrize("cut", CUTS, ids=lambda cut: cut.__name__)
@pytest.mark.parametrize("case", REFUSED)
def test_a_violation_fails_the_connection_with_its_code(case: str, cut: Any) -> None:
    data, code = REFUSED[case]
    p = protocol()
    events = feed(p, text("before") + data, cut)
    failure = events[-1]
    assert type(failure) is Failure
    assert failure.code == code
    assert failure.reason
    assert events[0] == "before"
    assert all(type(event) is not Failure for event in events[:-1])
    assert code_of(b"".join(p.out)) == code
    assert p.state == FAILED


def test_the_reason_of_a_failure_travels_in_its_close_frame() -> None:
    p = protocol()
    (failure,) = p.receive(frame(3))
    assert failure == Failure(1002, "reserved opcode 3")
    assert p.outgoing()[4:] == b"reserved opcode 3"


def test_nothing_after_a_failure_is_read() -> None:
    p = protocol()
    assert p.receive(frame(3) + text("x") + frame(PING)) == [Failure(1002, "reserved opcode 3")]
    assert code_of(p.outgoing()) == 1002
    assert p.receive(text("y") + frame(PING) + close()) == []
    assert p.outgoing() == b""
    assert p.encode_close(1000) == b""
    assert p.state == FAILED


LARGE = frame(TEXT, b"x" * 200_000)
MASKLESS = b"\x81\x02ab"


@pytest.mark.parametrize(
    ("stream", "answered"),
    [
        (frame(3) + close(1002), True),
        (frame(3) + text("x") + frame(PING, b"p") + frame(BINARY, b"") + close(1002), True),
        (frame(TEXT, b"\xff" * 5) + close(1007, "text"), True),
        (frame(TEXT, b"\xff" * 70_000) + text("x" * 130) + close(), True),
        (LARGE + close(1009), True),
        (LARGE + LARGE + close(None), True),
        (frame(TEXT, b"a", fin=False) + LARGE + close(1009), True),
        (frame(CLOSE, b"\x00"), True),  # its own close frame is what is wrong
        (LARGE, None),
        (LARGE + close(1009)[:-1], None),
        (frame(3) + LARGE[:-1], None),
        (MASKLESS + close(1002), False),
        (frame(3) + text("x") + MASKLESS + close(1002), False),
        (frame(3) + bytes(100) + close(1002), False),
    ],
)
@pytest.mark.parametrize("step", [1, 7, 1024, 65536, 10**9])
def test_after_a_failure_only_the_peers_close_frame_is_looked_for(stream, answered, step) -> None:
    p = protocol(max_message=100_000)
    if step == 1 and len(stream) > 100_000:
        step = 1023
    events = []
    for at in range(0, len(stream), step):
        events += p.receive(stream[at : at + step])
        assert len(p._held) < 14 + 125
    assert [type(event) for event in events] == [Failure]
    assert p.answered is answered
    assert not p.pending


def test_messages_and_pongs_before_a_violation_are_still_there() -> None:
    p = protocol()
    events = p.receive(text("a") + frame(PING, b"p") + frame(BINARY, b"b") + frame(3))
    assert events[:2] == ["a", b"b"]
    assert p.outgoing().startswith(b"\x8a\x01p\x88")


@pytest.mark.parametrize(
    ("start", "code"),
    [
        (b"\x83\x80", 1002),
        (b"\xc1\x80", 1002),
        (b"\x81\x05", 1002),
        (b"\x89\xfe", 1002),
        (b"\x80\x80", 1002),
        (b"\x81\xfe\x00\x7d", 1002),
        (b"\x81\xff" + (65535).to_bytes(8, "big"), 1002),
        (b"\x81\xff" + (MAX + 1).to_bytes(8, "big"), 1009),
    ],
)
def test_a_violation_is_found_in_the_header_before_anything_is_buffered(
    start: bytes, code: int
) -> None:
    events = feed(protocol(), start, bytewise)
    assert [event.code for event in events] == [code]  # type: ignore[union-attr]


@pytest.mark.parametrize("cut", CUTS, ids=lambda cut: cut.__name__)
@pytest.mark.parametrize("limit", [1, 10, 125, 126, 300, 65535, 65536])
def test_the_limit_is_exact_for_every_form_of_length(limit: int, cut: Any) -> None:
    p = protocol(max_message=limit)
    data = frame(BINARY, bytes(limit)) + frame(BINARY, bytes(limit + 1)) + text("more")
    assert feed(p, data, cut) == [bytes(limit), Failure(1009, f"message over {limit} bytes")]


def test_a_message_over_the_limit_is_refused_at_the_fragment_that_exceeds_it() -> None:
    p = protocol(max_message=10)
    assert p.receive(frame(TEXT, b"12345", fin=False) + frame(CONT, b"67890", fin=False)) == []
    (failure,) = p.receive(frame(CONT, b"x")[:2] + KEY)
    assert failure == Failure(1009, "message over 10 bytes")


def test_a_limit_of_zero_is_no_limit() -> None:
    big = bytes(3_000_000)
    assert feed(Protocol(max_message=0), frame(BINARY, big)) == [big]


def test_empty_fragments_in_a_row_are_bounded_and_others_are_not() -> None:
    p = protocol(max_empty=3)
    many = [b"x", b"", b"", b""] * 1000
    assert feed(p, fragments(TEXT, *many, b"y")) == ["x" * 1000 + "y"]
    (failure,) = feed(p, fragments(TEXT, b"x", b"", b"", b"", b"", b"x"))
    assert failure == Failure(1008, "over 3 empty fragments in a row")
    p = protocol(max_empty=3)
    assert feed(p, fragments(TEXT, b"", b"", b"", b"x")) == ["x"]
    (failure,) = feed(p, fragments(TEXT, b"", b"", b"", b"", b"x"))
    assert failure == Failure(1008, "over 3 empty fragments in a row")


def test_a_message_may_have_1024_empty_fragments_in_a_row_and_no_more() -> None:
    assert feed(protocol(), fragments(TEXT, b"a", *[b""] * 1024, b"b")) == ["ab"]
    (failure,) = feed(protocol(), fragments(TEXT, b"a", *[b""] * 1025, b"b"))
    assert isinstance(failure, Failure)
    assert failure.code == 1008


@pytest.mark.parametrize(
    "small",
    [
        frame(PING, b""),
        frame(PONG, b""),
        frame(CONT, b"x", fin=False),
        frame(PING, b"x" * 125),
    ],
    ids=["ping", "pong", "fragment", "long ping"],
)
def test_others_get_a_turn_after_64_small_frames(small: bytes) -> None:
    p = protocol()
    p.receive(frame(TEXT, b"begin", fin=False))
    chunk = small * 1000 + frame(CONT, b"end") + text("next") + close()
    turns = [p.receive(chunk)]
    while p.pending:
        turns.append(p.receive(b""))
    assert len(turns) == 16
    assert all(len(events) <= 64 for events in turns)
    events = [event for turn in turns for event in turn if not isinstance(event, Pong)]
    x = 1000 if small[0] == 0 else 0
    assert events == ["begin" + "x" * x + "end", "next", Close(1000, "")]


def test_small_frames_behind_our_close_are_skipped_in_turns_too() -> None:
    p = protocol()
    p.encode_close()
    assert p.receive(text("unwanted") * 1000 + close()) == []
    turns = 1
    while p.pending:
        events = p.receive(b"")
        turns += 1
    assert turns == 16
    assert events == [Close(1000, "")]


@pytest.mark.parametrize("deflate", [False, True])
def test_messages_stop_when_their_bytes_fill_the_room(deflate: bool) -> None:
    packing = PerMessageDeflate()
    p = Protocol(max_message=0, deflate=PerMessageDeflate() if deflate else None)
    messages = [b"x" * size for size in (40_000, 70_000, 2_000, 50_000)]
    chunk = b"".join(
        frame(TEXT, packing.compress(message), rsv=4) if deflate else frame(TEXT, message)
        for message in messages
    )
    assert [len(m) for m in p.receive(chunk, 64, 100_000)] == [40_000, 70_000]
    assert p.pending
    assert p.receive(b"", 64, 0) == []
    assert p.pending
    assert [len(m) for m in p.receive(b"", 64, 1)] == [2_000]
    assert [len(m) for m in p.receive(b"", 64, 1)] == [50_000]
    assert not p.pending


@pytest.mark.parametrize("size", [64, 256, 1024])
def test_a_large_message_in_small_fragments_arrives(size: int) -> None:
    message = random.Random(size).randbytes(4 * 1024 * 256)
    parts = [message[i : i + size] for i in range(0, len(message), size)]
    generous = protocol(max_message=1 << 20)
    assert feed(generous, fragments(BINARY, *parts)) == [message]


# ---- UTF-8 -----------------------------------------------------------------------------------

BAD_UTF8 = {
    "a continuation byte alone": b"\x80",
    "only continuation bytes": b"\x80\xbf\x80",
    "a start byte alone": b"\xc3",
    "a start byte before a space": b"\xc3 ",
    "a cut sequence of three": b"\xe2\x82",
    "a cut sequence of four": b"\xf0\x9d\x84",
    "an impossible byte": b"\xfe",
    "another impossible byte": b"\xff",
    "an overlong slash in two": b"\xc0\xaf",
    "an overlong slash in three": b"\xe0\x80\xaf",
    "an overlong slash in four": b"\xf0\x80\x80\xaf",
    "an overlong zero": b"\xc0\x80",
    "the largest overlong of two": b"\xc1\xbf",
    "a high surrogate": b"\xed\xa0\x80",
    "a low surrogate": b"\xed\xbf\xbf",
    "a pair of surrogates": b"\xed\xa0\x80\xed\xb0\x80",
    "a code point past the last": b"\xf4\x90\x80\x80",
    "a five-byte sequence": b"\xf8\x88\x80\x80\x80",
    "a six-byte sequence": b"\xfc\x84\x80\x80\x80\x80",
    "a bad byte after good text": "κόσμε".encode() + b"\xed\xa0\x80" + b"edited",
}


@pytest.mark.parametrize("cut", CUTS, ids=lambda cut: cut.__name__)
@pytest.mark.parametrize("case", BAD_UTF8)
def test_text_that_is_not_utf8_is_refused_with_1007(case: str, cut: Any) -> None:
    bad = BAD_UTF8[case]
    for data in (
        frame(TEXT, bad),
        frame(TEXT, b"long enough for a middle " * 9 + bad),
        fragments(TEXT, bad, b""),
        fragments(TEXT, b"", bad),
        fragments(TEXT, bad[:1], bad[1:]),
        fragments(TEXT, *[bad[i : i + 1] for i in range(len(bad))]),
    ):
        p = protocol()
        assert [event.code for event in feed(p, data, cut)] == [1007]  # type: ignore[union-attr]
        assert code_of(b"".join(p.out)) == 1007


@pytest.mark.parametrize("case", [c for c in BAD_UTF8 if "cut" not in c and "alone" not in c])
def test_a_bad_byte_is_found_when_it_comes_inside_a_frame(case: str) -> None:
    bad = BAD_UTF8[case]
    start = frame(TEXT, "κόσμε".encode() + bad + b"x" * 500)
    p = protocol()
    assert feed(p, start[: 8 + 10 + len(bad)])[-1] == Failure(1007, "text that is not UTF-8")


def test_a_bad_byte_is_found_when_it_comes_between_fragments() -> None:
    p = protocol()
    assert p.receive(frame(TEXT, b"\xce\xba\xe1", fin=False)) == []
    assert p.receive(frame(CONT, b"\xbd", fin=False)) == []
    (failure,) = p.receive(frame(CONT, b"\xf4", fin=False))
    assert failure == Failure(1007, "text that is not UTF-8")


def test_a_surrogate_is_refused_at_its_second_byte() -> None:
    data = frame(TEXT, b"\xed\xa0\x80", fin=False)
    p = protocol()
    assert p.receive(data[:7]) == []
    assert p.receive(data[7:8]) == [Failure(1007, "text that is not UTF-8")]


# ---- pings and pongs -------------------------------------------------------------------------


@pytest.mark.parametrize("cut", CUTS, ids=lambda cut: cut.__name__)
@pytest.mark.parametrize("payload", [b"", b"Hello", bytes(range(125)), b"\xfe" * 125])
def test_a_ping_is_answered_with_its_payload_and_reported_to_nobody(
    payload: bytes, cut: Any
) -> None:
    p = protocol()
    assert feed(p, frame(PING, payload), cut) == []
    assert p.outgoing() == bytes((0x8A, len(payload))) + payload
    assert p.outgoing() == b""


def test_ten_pings_get_ten_pongs_in_order() -> None:
    p = protocol()
    p.receive(b"".join(frame(PING, b"%d" % i) for i in range(10)))
    assert p.outgoing() == b"".join(b"\x8a\x01%d" % i for i in range(10))


def test_a_flood_of_pings_is_answered_for_the_last_sixteen() -> None:
    p = protocol()
    p.receive(b"".join(frame(PING, b"%04d" % i) for i in range(5000)))
    while p.pending:
        p.receive(b"")
    assert p.pings == 5000
    assert p.outgoing() == b"".join(b"\x8a\x04%04d" % i for i in range(4984, 5000))


@pytest.mark.parametrize("cut", CUTS, ids=lambda cut: cut.__name__)
def test_a_ping_between_fragments_is_answered_before_the_message_ends(cut: Any) -> None:
    p = protocol()
    assert feed(p, frame(TEXT, b"a", fin=False) + frame(PING, b"now"), cut) == []
    assert p.outgoing() == b"\x8a\x03now"
    assert feed(p, frame(CONT, b"b"), cut) == ["ab"]


def test_pings_are_answered_after_our_close_frame() -> None:
    p = protocol()
    p.encode_close()
    assert p.receive(frame(PING, b"still")) == []
    assert p.outgoing() == b"\x8a\x05still"


# ---- closing ---------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", CUTS, ids=lambda cut: cut.__name__)
@pytest.mark.parametrize(
    "code",
    [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4999],
)
def test_a_close_is_reported_and_answered_only_when_asked(code: int, cut: Any) -> None:
    p = protocol()
    assert feed(p, close(code, "bye €"), cut) == [Close(code, "bye €")]
    assert p.state == CLOSE_CAME
    assert not p.out
    assert p.encode_close(reply_code(code)) == b"\x88\x02" + code.to_bytes(2, "big")
    assert p.state == CLOSE_DONE
    assert p.encode_close() == b""


def test_an_empty_close_is_1005_and_answered_by_an_empty_close() -> None:
    p = protocol()
    assert p.receive(close(None)) == [Close(1005, "")]
    assert p.encode_close(reply_code(1005)) == b"\x88\x00"
    assert p.state == CLOSE_DONE


def test_a_reason_of_123_bytes_is_accepted() -> None:
    assert protocol().receive(close(1000, "x" * 123)) == [Close(1000, "x" * 123)]


@pytest.mark.parametrize("after", [text("late"), close(), frame(PING), frame(3), b"\x81"])
def test_nothing_after_the_peers_close_counts(after: bytes) -> None:
    p = protocol()
    assert p.receive(text("a") + close() + after) == ["a", Close(1000, "")]
    assert p.receive(after) == []
    assert p.state == CLOSE_CAME
    assert not p.out
    assert not p.pending


def test_a_close_inside_a_fragmented_message_abandons_the_message() -> None:
    p = protocol()
    assert p.receive(frame(TEXT, b"part", fin=False) + close(1001)) == [Close(1001, "")]
    assert p.state == CLOSE_CAME


@pytest.mark.parametrize("cut", CUTS, ids=lambda cut: cut.__name__)
def test_messages_after_our_close_are_discarded_until_the_peers_close(cut: Any) -> None:
    p = protocol()
    p.receive(frame(TEXT, b"begun", fin=False))
    assert p.encode_close(1001) == b"\x88\x02\x03\xe9"
    assert p.state == CLOSE_SENT
    late = frame(CONT, b"x") + text("late") + frame(BINARY, bytes(70_000)) + frame(PONG)
    assert feed(p, late + fragments(TEXT, b"a", b"\xff"), cut) == []
    assert p.state == CLOSE_SENT
    assert feed(p, close(1001), cut) == [Close(1001, "")]
    assert p.state == CLOSE_DONE
    assert not p.out


def test_a_frame_cut_by_our_close_is_skipped_to_its_end() -> None:
    data = frame(BINARY, bytes(1000))
    p = protocol()
    p.receive(data[:300])
    p.encode_close()
    assert p.receive(data[300:] + close()) == [Close(1000, "")]
    assert p.state == CLOSE_DONE


def test_a_message_over_the_limit_is_just_skipped_after_our_close() -> None:
    p = protocol(max_message=10)
    p.encode_close()
    assert p.receive(frame(BINARY, bytes(1000)) + close()) == [Close(1000, "")]


@pytest.mark.parametrize("bad", [frame(3), frame(CONT, b"x"), text("x", rsv=4), close(1005)])
def test_a_violation_after_our_close_fails_without_a_second_close_frame(bad: bytes) -> None:
    p = protocol()
    assert p.encode_close()
    (failure,) = p.receive(bad)
    assert failure.code == 1002  # type: ignore[union-attr]
    assert p.state == FAILED
    assert p.outgoing() == b""


@pytest.mark.parametrize("code", [0, 999, 1004, 1006, 1015, 1016, 2999, 5000, 70_000, -1])
def test_a_close_code_that_may_not_travel_is_refused_before_the_state_moves(code: int) -> None:
    p = protocol()
    with pytest.raises(ValueError, match="may not be sent"):
        p.encode_close(code)
    assert p.state == FLOWING
    assert not may_travel(code)
    assert reply_code(code) == 1000


def test_a_reason_that_is_too_long_or_has_no_code_is_refused() -> None:
    p = protocol()
    with pytest.raises(ValueError, match="at most 123 bytes, found 124"):
        p.encode_close(1000, "é" * 62)
    with pytest.raises(ValueError, match="may not be sent"):
        p.encode_close(1005, "reason")
    assert p.encode_close(1000, "é" * 61)[:4] == b"\x88\x7c\x03\xe8"


# ---- the limit of one call -------------------------------------------------------------------


def test_receive_stops_at_its_limit_and_goes_on_when_asked() -> None:
    p = protocol()
    data = b"".join(text(str(i)) for i in range(10))
    assert p.receive(data, 4) == ["0", "1", "2", "3"]
    assert p.pending
    assert p.receive(b"", 4) == ["4", "5", "6", "7"]
    assert p.pending
    assert p.receive(b"", 4) == ["8", "9"]
    assert not p.pending


def test_a_limit_reached_with_the_last_byte_leaves_nothing_pending() -> None:
    p = protocol()
    assert p.receive(text("a") + text("b"), 2) == ["a", "b"]
    assert not p.pending


def test_a_limit_of_zero_keeps_everything() -> None:
    p = protocol()
    assert p.receive(text("a"), 0) == []
    assert p.pending
    assert p.receive(text("b")[:5], 0) == []
    assert p.receive(text("b")[5:], 64) == ["a", "b"]
    assert not p.pending


@pytest.mark.parametrize("limit", [1, 2, 3, 7])
def test_a_limit_changes_nothing_but_the_portions(limit: int) -> None:
    data = text("a") + fragments(TEXT, b"b", b"c") + frame(PING, b"p") + frame(PONG, b"q")
    data = data * 5 + text("x" * 300) + close()
    one, two = protocol(), protocol()
    expected = feed(one, data)
    events = two.receive(data, limit)
    while two.pending:
        portion = two.receive(b"", limit)
        assert sum(type(event) is str for event in portion) <= limit
        events += portion
    assert events == expected
    assert two.outgoing() == b"".join(one.out)


def test_a_partial_frame_behind_the_limit_is_kept() -> None:
    p = protocol()
    assert p.receive(text("a") + text("bcd")[:8], 1) == ["a"]
    assert p.pending
    assert p.receive(b"", 1) == []
    assert not p.pending
    assert p.receive(text("bcd")[8:], 1) == ["bcd"]


def test_our_close_throws_away_what_is_pending_but_finds_the_peers_close() -> None:
    p = protocol()
    p.receive(text("a") + text("b") + text("c") + close(), 1)
    assert p.pending
    p.encode_close()
    assert p.receive(b"", 0) == [Close(1000, "")]
    assert p.state == CLOSE_DONE
    assert not p.pending


# ---- sending ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "header"),
    [
        (0, b"\x00"),
        (1, b"\x01"),
        (125, b"\x7d"),
        (126, b"\x7e\x00\x7e"),
        (65535, b"\x7e\xff\xff"),
        (65536, b"\x7f\x00\x00\x00\x00\x00\x01\x00\x00"),
    ],
)
def test_a_message_is_framed_with_its_length_in_the_shortest_form(size: int, header: bytes) -> None:
    p = protocol()
    assert p.encode("x" * size) == b"\x81" + header + b"x" * size
    assert p.encode(b"\xff" * size) == b"\x82" + header + b"\xff" * size


def test_text_is_sent_as_utf8_and_lone_surrogates_are_refused() -> None:
    assert protocol().encode("€") == b"\x81\x03\xe2\x82\xac"
    with pytest.raises(UnicodeEncodeError):
        protocol().encode("\ud800")


def test_a_ping_carries_at_most_125_bytes() -> None:
    p = protocol()
    assert p.encode_ping() == b"\x89\x00"
    assert p.encode_ping(b"x" * 125) == b"\x89\x7d" + b"x" * 125
    with pytest.raises(ValueError, match="at most 125 bytes, found 126"):
        p.encode_ping(b"x" * 126)


# ---- events and masking ----------------------------------------------------------------------


def test_events_compare_by_kind_and_content_and_show_what_they_hold() -> None:
    assert Close(1000, "x") == Close(1000, "x")
    assert Close(1000, "x") != Failure(1000, "x")
    assert Close(1000, "x") != Close(1001, "x")
    assert Pong(b"a") == Pong(b"a")
    assert Pong(b"a") != b"a"
    assert len({Pong(b"a"), Pong(b"a"), Close(1, ""), Close(1, ""), Failure(1, "")}) == 3
    assert [repr(e) for e in (Pong(b"a"), Close(1, "b"), Failure(2, "c"))] == [
        "Pong(b'a')",
        "Close(1, 'b')",
        "Failure(2, 'c')",
    ]


@pytest.mark.parametrize("size", [*range(10), 63, 64, 65, 4096, 100_003])
def test_masking_with_integers_agrees_with_the_plain_definition(size: int) -> None:
    data = random.Random(size).randbytes(size)
    expected = bytes(byte ^ KEY[i % 4] for i, byte in enumerate(data))
    assert masking.mask_with_integers(KEY, data) == expected
    assert masking.websocket_mask(KEY, data) == expected


@pytest.mark.parametrize("case", ACCEPTED)
def test_the_engine_works_without_the_c_extension(
    case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "jupyter_wshandler.engine.protocol.websocket_mask", masking.mask_with_integers
    )
    data, expected = ACCEPTED[case]
    assert feed(protocol(), data, CUTS[2]) == expected


# ---- cost ------------------------------------------------------------------------------------


def _seconds(size: int, opcode: int, step: int) -> float:
    data = frame(opcode, b"x" * size)
    best = 9.0
    for _ in range(3):
        p = Protocol(max_message=0)
        start = time.process_time()
        events = [e for i in range(0, len(data), step) for e in p.receive(data[i : i + step])]
        best = min(best, time.process_time() - start)
        assert len(events) == 1
    return best


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize(("size", "step"), [(40_000, 1), (20_000_000, 65536)])
def test_the_cost_of_a_message_in_many_chunks_grows_with_its_size(
    opcode: int, size: int, step: int
) -> None:
    # Four times the bytes cost sixteen times as much where something is copied every time.
    assert _seconds(size, opcode, step) < 9 * _seconds(size // 4, opcode, step)


def test_an_unfinished_message_holds_only_its_own_bytes() -> None:
    p = protocol(max_message=1 << 20)
    feed(p, frame(BINARY, bytes(1 << 19))[:-1], whole)
    assert p._message.size == (1 << 19) - 1
    assert not p._held
    p.encode_close()
    assert not p._message
