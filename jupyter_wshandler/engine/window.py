"""What a deflate stream can still refer to, taken out of the inflater that has read it."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zlib import _Decompress

_COPY = 258
"""Bytes that one reference of deflate copies, at most (RFC 1951 section 3.2.5)."""


def window_of(inflater: _Decompress, size: int) -> bytes | None:
    """Return the last bytes that an inflater has given out, if it is between two blocks.

    zlib tells Python neither of the two. So a copy of the inflater is given a last block that
    refers to those bytes and to nothing else: where it begins a block there, they come out.

    Args:
        inflater: It has given out that many bytes, and its window holds them.
        size: Their number.

    Returns:
        The bytes, with which another inflater can go on; None in the middle of a block.
    """
    copies = -(-size // _COPY)
    twin = inflater.copy()
    try:
        found = twin.decompress(_block(size, copies), copies * _COPY + 1)
    except zlib.error:
        return None
    if not twin.eof or twin.unused_data or len(found) != copies * _COPY:
        return None
    return found[:size]


def _block(distance: int, copies: int) -> bytes:
    # A final block with fixed codes (RFC 1951 section 3.2.6). Bits are packed from the lowest one
    # up, and codes are written with their highest bit first: they stand here turned around.
    bits, width = 0b011, 3
    if copies:
        pair, wide = _reference(distance)
        # The same reference again and again: a geometric series.
        bits |= pair * (((1 << wide * copies) - 1) // ((1 << wide) - 1)) << width
        width += wide * copies
    # The end of the block is seven bits of zero.
    return bits.to_bytes((width + 7 + 7) // 8, "little")


def _reference(distance: int) -> tuple[int, int]:
    # Length 258 is code 285, 11000101; a distance is a code of five bits and some more.
    before = distance - 1
    extra = max(before.bit_length() - 2, 0)
    code = before if before < 4 else 2 * extra + (before >> extra)
    turned = int(f"{code:05b}"[::-1], 2)
    return 0b10100011 | turned << 8 | (before & ((1 << extra) - 1)) << 13, 13 + extra
