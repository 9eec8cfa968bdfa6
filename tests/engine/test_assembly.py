"""Messages that come in pieces are put together in one growing buffer."""

from __future__ import annotations

import random
import time
import tracemalloc
from itertools import pairwise

import pytest
from support.frames import BINARY, CONT, TEXT, fragments, frame, packed

from jupyter_wshandler.engine.assembly import SETTLE, BinaryAssembly, TextAssembly
from jupyter_wshandler.engine.deflate import PerMessageDeflate
from jupyter_wshandler.engine.protocol import Failure, Protocol

MIB = 1024 * 1024

LETTERS = ["x", "é", "€", "😀"]


def pieces_of(data: bytes, random_: random.Random, longest: int) -> list[bytes]:
    cuts = [0]
    while cuts[-1] < len(data):
        cuts.append(min(len(data), cuts[-1] + random_.randint(1, longest)))
    return [data[a:b] for a, b in pairwise(cuts)]


@pytest.mark.parametrize("longest", [1, 7, 5000, SETTLE + 5])
@pytest.mark.parametrize("seed", range(4))
def test_any_text_in_any_pieces_comes_out_as_it_went_in(longest, seed) -> None:
    random_ = random.Random(seed)
    letters = LETTERS[: seed + 1]
    whole = "".join(random_.choices(letters, k=min(3 * SETTLE, longest * 3000)))
    text = TextAssembly()
    for piece in pieces_of(whole.encode(), random_, longest):
        text.add(piece)
        text.check()
    assert text.size == len(whole.encode())
    assert text.recent(1000) == whole.encode()[-1000:]
    assert text.finish() == whole


def test_bytes_in_any_pieces_come_out_as_they_went_in() -> None:
    random_ = random.Random(1)
    whole = random_.randbytes(MIB)
    binary = BinaryAssembly()
    for piece in pieces_of(whole, random_, 3000):
        binary.add(piece)
    assert (binary.size, binary.recent(1000)) == (MIB, whole[-1000:])
    assert binary.finish() == whole


@pytest.mark.parametrize("before", [0, 3, SETTLE - 1, SETTLE, 3 * SETTLE])
@pytest.mark.parametrize("wrong", [b"\xff", b"\xc0\x80", b"\xed\xa0", b"\xf4\x90\x80\x80"])
def test_a_wrong_byte_is_found_when_it_comes_however_much_came_before(before, wrong) -> None:
    text = TextAssembly()
    text.add(b"x" * before)
    text.check()
    with pytest.raises(UnicodeDecodeError):
        _add(text, wrong)


def _add(text: TextAssembly, piece: bytes) -> None:
    text.add(piece)
    text.check()


@pytest.mark.parametrize("before", [0, SETTLE, 3 * SETTLE])
def test_a_text_that_ends_inside_a_character_is_no_text(before) -> None:
    text = TextAssembly()
    text.add(b"x" * before + b"\xe2\x82")
    text.check()
    with pytest.raises(UnicodeDecodeError):
        text.finish()


def in_fragments(opcode: int, data: bytes, size: int, rsv1: bool = False) -> bytes:
    """Return one message in frames of so many bytes."""
    parts = [data[at : at + size] for at in range(0, len(data), size)]
    return fragments(opcode, *parts, rsv=4 if rsv1 else 0)


def received(protocol: Protocol, stream: bytes) -> list:
    events = []
    for at in range(0, len(stream), 65536):
        events += protocol.receive(stream[at : at + 65536])
        while protocol.pending:
            events += protocol.receive(b"")
    return events


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize(
    "way", ["one frame", "compressed", "compressed fragments", "fragments of 4 KiB"]
)
def test_a_message_of_10_mib_is_never_there_twice(opcode, way) -> None:
    # Ten messages before it: an interpreter has to see a loop some times to make it fast.
    size = 10 * MIB
    data = b"x" * size
    if way == "one frame":
        stream = frame(opcode, data)
    elif way == "compressed":
        stream = frame(opcode, packed(data), rsv=4)
    elif way == "compressed fragments":
        stream = in_fragments(opcode, packed(data), 300, rsv1=True)
    else:
        stream = in_fragments(opcode, data, 4096)
    deflate = PerMessageDeflate(client_no_context_takeover=True)
    protocol = Protocol(max_message=size, deflate=deflate)
    received(protocol, stream)
    tracemalloc.start()
    try:
        [event] = received(protocol, stream)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(event) == size
    assert peak < 1.5 * size, f"{peak / MIB:.1f} MiB"


def test_a_limit_that_is_lowered_inside_a_compressed_message_ends_it() -> None:
    protocol = Protocol(max_message=MIB, deflate=PerMessageDeflate())
    data = packed(bytes(range(256)) * 40)
    half = len(data) // 2
    assert not protocol.receive(frame(BINARY, data[:half], fin=False, rsv=4))
    protocol.limit(20)
    [failure] = protocol.receive(frame(CONT, data[half:]))
    assert isinstance(failure, Failure)
    assert failure.code == 1009


@pytest.mark.parametrize("rsv1", [False, True], ids=["plain", "compressed"])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_a_fragment_costs_the_same_however_many_came_before(opcode, rsv1) -> None:
    def seconds_per_fragment(count: int) -> float:
        data = random.Random(count).choices(b"abcdefgh", k=count * 64)
        whole = bytes(data)
        stream = in_fragments(opcode, packed(whole) if rsv1 else whole, 64, rsv1)
        fragments = -(-len(packed(whole) if rsv1 else whole) // 64)
        best = float("inf")
        for _ in range(3):
            protocol = Protocol(max_message=1 << 26, deflate=PerMessageDeflate())
            begun = time.process_time()
            [event] = received(protocol, stream)
            best = min(best, time.process_time() - begun)
            assert len(event) == len(whole)
        return best / fragments

    few, many = seconds_per_fragment(2000), seconds_per_fragment(65536)
    assert many < 4 * few, f"{few * 1e6:.2f} us, then {many * 1e6:.2f} us"
