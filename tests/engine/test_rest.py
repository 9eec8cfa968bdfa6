"""Compression that holds no memory while nothing is said, and is done once for many."""

from __future__ import annotations

import itertools
import random
import tracemalloc
import zlib
from typing import Any

import pytest
from support.frames import BINARY, feed, fragments, frame, text
from websockets.extensions.permessage_deflate import PerMessageDeflate as OracleDeflate
from websockets.frames import Frame as OracleFrame
from websockets.frames import Opcode

from jupyter_wshandler.engine.deflate import FEW, SHORT, PerMessageDeflate
from jupyter_wshandler.engine.envelope import EnvelopeCodec
from jupyter_wshandler.engine.messages import MessageProtocol
from jupyter_wshandler.engine.numbered import UNCONNECTED
from jupyter_wshandler.engine.protocol import Protocol
from jupyter_wshandler.engine.shared import MANY, MAX_FORMS, SharedMessages

TAIL = b"\x00\x00\xff\xff"
WORDS = [f"word{number}" for number in range(200)]


class Peer:
    """A client by zlib alone, which keeps its contexts as the handshake has it."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.settings = settings
        # zlib cannot compress with 8 bits.
        self.bits = max(settings.get("client_max_window_bits", 15), 9)
        self.deflater = zlib.compressobj(wbits=-self.bits)
        self.inflater = zlib.decompressobj(-settings.get("server_max_window_bits", 15))

    def pack(self, payload: bytes) -> bytes:
        if self.settings.get("client_no_context_takeover"):
            self.deflater = zlib.compressobj(wbits=-self.bits)
        packed = self.deflater.compress(payload) + self.deflater.flush(zlib.Z_SYNC_FLUSH)
        return frame(BINARY, packed[:-4], rsv=4)

    def unpack(self, sent: bytes) -> bytes:
        packed, payload = payload_of(sent)
        if not packed:
            return payload
        if self.settings.get("server_no_context_takeover"):
            self.inflater = zlib.decompressobj(-self.settings["server_max_window_bits"])
        found = self.inflater.decompress(payload + TAIL)
        assert not self.inflater.eof
        return found


class Library(Peer):
    """The same by the websockets library."""

    def __init__(self, settings: dict[str, Any]) -> None:
        super().__init__(settings)
        self.oracle = OracleDeflate(
            settings.get("server_no_context_takeover", False),
            settings.get("client_no_context_takeover", False),
            settings.get("server_max_window_bits", 15),
            self.bits,
        )

    def pack(self, payload: bytes) -> bytes:
        made = self.oracle.encode(OracleFrame(Opcode.BINARY, payload))
        return frame(BINARY, made.data, rsv=4)

    def unpack(self, sent: bytes) -> bytes:
        packed, payload = payload_of(sent)
        return bytes(self.oracle.decode(OracleFrame(Opcode.BINARY, payload, rsv1=packed)).data)


def payload_of(sent: bytes) -> tuple[bool, bytes]:
    """Return whether the one frame in it is compressed, and its payload."""
    size, at = sent[1], 2
    if size >= 126:
        at = 4 if size == 126 else 10
        size = int.from_bytes(sent[2:at], "big")
    assert len(sent) == at + size
    return bool(sent[0] & 0x40), sent[at:]


def unmasked(sent: bytes) -> bytes:
    """Return the payload of a client's frame."""
    size, at = sent[1] & 127, 2
    if size >= 126:
        at = 4 if size == 126 else 10
    mask, body = sent[at : at + 4], sent[at + 4 :]
    return bytes(byte ^ mask[index & 3] for index, byte in enumerate(body))


def protocol(**settings: Any) -> Protocol:
    return Protocol(max_message=1 << 20, deflate=PerMessageDeflate(**settings))


def said(dice: random.Random) -> bytes:
    """Return something to say: short or long, like what was said before or like nothing."""
    if dice.random() < 0.2:
        return dice.randbytes(dice.choice((0, 1, 40, 3000)))
    count = dice.choice((1, 5, 20, 100, 100, 2000))
    return " ".join(dice.choices(WORDS, k=count)).encode()


# ---- what is said arrives ------------------------------------------------------------------------


@pytest.mark.parametrize("peer_of", [Peer, Library])
@pytest.mark.parametrize("client_bits", range(8, 16))
@pytest.mark.parametrize("server_bits", range(9, 16))
def test_every_combination_of_parameters_is_read_by_a_stranger_with_rests_anywhere(
    server_bits: int, client_bits: int, peer_of: type[Peer]
) -> None:
    dice = random.Random(server_bits * 100 + client_bits)
    for alone, client_alone in itertools.product((False, True), repeat=2):
        settings = {
            "server_max_window_bits": server_bits,
            "client_max_window_bits": client_bits,
            "server_no_context_takeover": alone,
            "client_no_context_takeover": client_alone,
        }
        ours = protocol(
            **settings,
            compression_level=dice.choice((0, 1, 6, 9)),
            mem_level=dice.choice((1, 5, 9)),
        )
        peer = peer_of(settings)
        for _ in range(30):
            message = said(dice)
            assert feed(ours, peer.pack(message)) == [message]
            message = said(dice)
            assert peer.unpack(ours.encode(message)) == message
            if dice.random() < 0.3:
                ours.rest()
            if dice.random() < 0.1:
                ours.start_afresh()


def test_a_rest_between_two_fragments_of_a_message_changes_nothing() -> None:
    peer, ours = Peer({}), protocol()
    for size in (20, 5000):
        message = " ".join(random.Random(size).choices(WORDS, k=size)).encode()
        packed = unmasked(peer.pack(message))
        whole = fragments(BINARY, packed[:7], packed[7:9], packed[9:], rsv=4)
        events = []
        for at in range(len(whole)):
            events += ours.receive(whole[at : at + 1])
            ours.rest()
        assert events == [message]


@pytest.mark.parametrize("size", [100, 5000])
def test_a_peer_that_ends_its_message_inside_a_block_is_read_as_without_a_rest(size: int) -> None:
    # It breaks RFC 7692 section 7.2.1. What comes of that must not depend on when we rest.
    deflater = zlib.compressobj(wbits=-15)
    packed = deflater.compress(random.Random(size).randbytes(size))
    packed += deflater.flush(zlib.Z_SYNC_FLUSH)
    stream = [frame(BINARY, part, rsv=4) for part in (packed[:70], packed[70:-4], b"\0")]
    found = []
    for rests in (False, True):
        ours, events = protocol(), []
        for part in stream:
            events += [str(event) for event in ours.receive(part)]
            if rests:
                ours.rest()
        found.append(events)
    assert found[0] == found[1]


def test_blocks_with_bfinal_are_read_after_a_rest_as_before() -> None:
    ours, dice = protocol(), random.Random(1)
    first, second = dice.randbytes(3000), dice.randbytes(3000)

    def final(payload: bytes, before: bytes) -> bytes:
        deflater = zlib.compressobj(wbits=-15, zdict=before)
        return frame(BINARY, deflater.compress(payload) + deflater.flush() + b"\0", rsv=4)

    for message, before in ((first, b"x"), (second, first), (first, first + second)):
        assert feed(ours, final(message, before)) == [message]
        ours.rest()
    # A peer that began with another kind of block: after a rest, all is known that was before.
    peer, ours = Peer({}), protocol()
    assert feed(ours, peer.pack(first)) == [first]
    ours.rest()
    assert feed(ours, final(first, first)) == [first]


def test_a_bomb_after_a_rest_is_refused_as_before() -> None:
    ours, peer = Protocol(max_message=100_000, deflate=PerMessageDeflate()), Peer({})
    assert len(feed(ours, peer.pack(random.Random(0).randbytes(50_000)))) == 1
    ours.rest()
    (failure,) = ours.receive(peer.pack(bytes(50_000_000)))
    assert failure.code == 1009


def test_the_smallest_message_to_compress_is_an_option() -> None:
    options = {"min_size": 500}
    deflate, _ = PerMessageDeflate.negotiate(["permessage-deflate"], options)
    ours = Protocol(max_message=0, deflate=deflate)
    assert [ours.encode("x" * size)[0] for size in (499, 500)] == [0x81, 0xC1]
    with pytest.raises(ValueError, match="min_size"):
        PerMessageDeflate.negotiate(["permessage-deflate"], {"min_size": -1})


# ---- memory --------------------------------------------------------------------------------------


def memory_of(make: Any, count: int = 50) -> float:
    """Return the bytes that each of some things takes, zlib's included."""
    make()
    tracemalloc.start()
    try:
        kept = [make() for _ in range(count)]
        taken = tracemalloc.get_traced_memory()[0] / count
    finally:
        tracemalloc.stop()
    assert len(kept) == count
    return taken


def spoken(*messages: bytes, rests: bool = False) -> Protocol:
    """Return a codec that has received and sent these."""
    ours, peer = protocol(server_max_window_bits=12), Peer({})
    for message in messages:
        assert feed(ours, peer.pack(message)) == [message]
        assert peer.unpack(ours.encode(message)) == message
    if rests:
        assert ours.rest()
        assert not ours.rest()
    return ours


def test_a_connection_that_says_little_holds_hardly_more_than_one_without_compression() -> None:
    without = memory_of(lambda: Protocol(max_message=1 << 20))
    assert memory_of(lambda: protocol()) < without + 512
    assert memory_of(lambda: spoken(b"a message of sixty-four bytes" * 2)) < without + 1024
    short = [b"x" * 100] * (SHORT // 100 - 1)
    assert memory_of(lambda: spoken(*short)) < without + 512 + 2 * SHORT


def test_after_a_rest_a_connection_holds_what_it_received_in_its_shortest_form() -> None:
    words = random.Random(0).choices(WORDS, k=20_000)
    long = [" ".join(words[at : at + 500]).encode() for at in range(0, 10_000, 500)]
    busy, idle = memory_of(lambda: spoken(*long)), memory_of(lambda: spoken(*long, rests=True))
    assert busy > 60_000
    assert idle < 18_000


def test_messages_that_hold_nothing_do_not_cost_a_new_inflater_each() -> None:
    made, new_inflater = [], PerMessageDeflate._new_inflater

    class Counting(PerMessageDeflate):
        __slots__ = ()

        def _new_inflater(self, window: bytes) -> Any:
            made.append(window)
            return new_inflater(self, window)

    ours = Protocol(max_message=0, deflate=Counting())
    flood = frame(BINARY, b"\0", rsv=4) * 50
    for _ in range(20):
        assert ours.receive(flood) == [b""] * 50
    assert len(made) == FEW + 1
    assert ours.rest()
    assert feed(ours, flood) == [b""] * 50
    assert len(made) == FEW + 2


def test_a_short_past_makes_messages_as_small_as_a_context_does() -> None:
    ours, kept = protocol(), zlib.compressobj(6, zlib.DEFLATED, -15, 5)
    for number in range(12):
        message = (
            f'{{"type": "chat", "user": "anna", "number": {number}, "text": "hello"}}'.encode()
        )
        expected = kept.compress(message) + kept.flush(zlib.Z_SYNC_FLUSH)
        assert len(payload_of(ours.encode(message))[1]) <= len(expected) - 4 + 3


# ---- for many ------------------------------------------------------------------------------------


def settings_of(number: int) -> dict[str, Any]:
    """Return the settings of one of four kinds of clients."""
    alone = bool(number & 1)
    return {"server_max_window_bits": 12 - (number >> 1 & 1), "server_no_context_takeover": alone}


def test_a_broadcast_is_compressed_once_for_all_of_the_same_parameters() -> None:
    dice, peers, codecs = random.Random(5), [], []
    for number in range(4 * MANY):
        codecs.append(protocol(**settings_of(number)))
        peers.append(Peer(settings_of(number)))
    for turn in range(20):
        for codec, peer in zip(codecs, peers, strict=True):
            if dice.random() < 0.4:  # what it alone is sent, and what it could refer to
                message = said(dice)
                assert peer.unpack(codec.encode(message)) == message
        messages = [said(dice) + b"x" * 40 for _ in range(1 + turn % 3)]
        shared = SharedMessages(messages, len(codecs))
        frames = [shared.frames(codec) for codec in codecs]
        assert len({id(each.whole) for each in frames}) == len(shared.by_form) == 4
        for each, peer in zip(frames, peers, strict=True):
            assert [peer.unpack(one) for one in each.each] == messages
            assert each.whole == b"".join(each.each)


def test_for_a_few_clients_each_ones_own_context_makes_messages_smaller() -> None:
    codec, message = protocol(), "".join(random.Random(0).choices("abcdefgh", k=200))
    sizes = []
    for clients in (1, MANY - 1, MANY, MANY):
        (sent,) = SharedMessages([message], clients).frames(codec).each
        sizes.append(len(sent))
    assert sizes[1] * 4 < sizes[0] == sizes[2] == sizes[3]


def test_with_and_without_compression_and_envelopes_each_gets_its_form() -> None:
    kinds: list[Any] = [Protocol(max_message=0), protocol(), MessageProtocol()]
    kinds += [EnvelopeCodec(Protocol(max_message=0)), EnvelopeCodec(protocol())]
    shared = SharedMessages(["a message of some length, or else it would not pay" * 2], 100)
    found = [shared.frames(codec).each for codec in kinds]
    assert len(set(found)) == len(shared.by_form) == len(kinds)
    assert [each[0][0] for each in found[:2]] == [0x81, 0xC1]
    assert found[4][0][0] == 0xC1


def test_in_the_middle_of_an_answer_a_client_keeps_its_own_frames() -> None:
    codec = EnvelopeCodec(protocol())
    codec.of = 7
    shared = SharedMessages(["something that is said to all of them" * 3], 100)
    assert codec.start_afresh() == ""
    shared.frames(codec)
    assert shared.by_form == {}


def test_what_has_no_context_has_none_to_forget() -> None:
    for codec in (UNCONNECTED, MessageProtocol(), Protocol(max_message=0)):
        assert codec.start_afresh() == codec.form
        assert codec.rest() is False


def test_forms_of_a_message_are_kept_within_bounds() -> None:
    shared = SharedMessages([b"something that is said to all of them" * 3], 1000)
    for level, bits in itertools.product(range(10), range(9, 16)):
        settings = {"compression_level": level, "server_max_window_bits": bits}
        (sent,) = shared.frames(protocol(**settings)).each
        assert Peer(settings).unpack(sent) == shared.messages[0]
    assert len(shared.by_form) == MAX_FORMS


def test_plain_text_between_compressed_messages_does_not_count_as_said() -> None:
    peer, ours = Peer({}), protocol()
    for number in range(20):
        short, long = b"s" * (number % 31), f"{number} ".encode() * 30
        assert feed(ours, text("plain")) == ["plain"]
        assert [peer.unpack(ours.encode(each)) for each in (short, long)] == [short, long]
