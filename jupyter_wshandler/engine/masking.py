"""Masking of frame payloads (RFC 6455 section 5.3)."""

from __future__ import annotations

__all__ = ["mask_with_integers", "websocket_mask"]


def mask_with_integers(mask: bytes, data: bytes) -> bytes:
    """Mask or unmask data with one exclusive or of two long integers.

    Args:
        mask: Masking key, 4 bytes.
        data: Any number of bytes, the first of which meets the first byte of the key.
    """
    size = len(data)
    key = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(data, "big") ^ int.from_bytes(key, "big")).to_bytes(size, "big")


try:
    from tornado.speedups import websocket_mask
except ImportError:  # Tornado was built without its C extension
    websocket_mask = mask_with_integers
