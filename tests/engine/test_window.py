"""The window of an inflater, taken out of it."""

from __future__ import annotations

import random
import zlib

import pytest

from jupyter_wshandler.engine.window import window_of

SIZES = (0, 1, 2, 3, 4, 5, 31, 257, 258, 259, 300, 2000, 33_000)


@pytest.mark.parametrize("bits", range(9, 16))
def test_the_last_bytes_come_out_whatever_the_window_and_their_number(bits: int) -> None:
    dice, said = random.Random(bits), b""
    deflater, inflater = zlib.compressobj(6, zlib.DEFLATED, -bits), zlib.decompressobj(-bits)
    assert window_of(inflater, 0) == b""
    for size in SIZES * 3:
        message = dice.randbytes(size) + b"again " * dice.randrange(40)
        said += message
        packed = deflater.compress(message) + deflater.flush(zlib.Z_SYNC_FLUSH)
        assert inflater.decompress(packed) == message
        most = min(len(said), 1 << bits)
        for count in {most, dice.randint(min(1, most), most), min(most, 1), 0}:
            assert window_of(inflater, count) == said[len(said) - count :]


@pytest.mark.parametrize(
    "distance", [*range(1, 70), *(2**n + d for n in range(6, 15) for d in (0, 1))]
)
def test_every_distance_of_deflate_is_written_as_zlib_reads_it(distance: int) -> None:
    said = random.Random(distance).randbytes(32_768)
    inflater = zlib.decompressobj(-15, zdict=said)
    assert window_of(inflater, distance) == said[-distance:]


@pytest.mark.parametrize("cut", range(1, 60))
def test_in_the_middle_of_a_block_there_is_none(cut: int) -> None:
    deflater = zlib.compressobj(wbits=-15)
    message = bytes(range(60)) * 2
    packed = deflater.compress(message) + deflater.flush(zlib.Z_SYNC_FLUSH)
    inflater = zlib.decompressobj(-15)
    got = inflater.decompress(packed[:cut])
    assert window_of(inflater, len(got)) is None
    assert got + inflater.decompress(packed[cut:]) == message  # it has not been touched
    assert window_of(inflater, 120) == message


def test_an_inflater_at_its_end_has_none() -> None:
    deflater = zlib.compressobj(wbits=-15)
    inflater = zlib.decompressobj(-15)
    inflater.decompress(deflater.compress(b"last") + deflater.flush())
    assert window_of(inflater, 4) is None
