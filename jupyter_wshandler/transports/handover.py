"""The hand-over: from the stream that Tornado detached to a transport of our own."""

from __future__ import annotations

import asyncio
import socket

from tornado.iostream import IOStream, SSLIOStream, StreamClosedError

from ..types import Transport
from .direct import DirectTransport
from .loop import LoopIO
from .stream import StreamTransport

TRANSPORTS = ("auto", "direct", "stream")
"""What may be asked for; see `take_over`."""


def take_over(
    stream: IOStream, io: LoopIO, transport: str = "auto"
) -> tuple[Transport, bytes] | None:
    """Turn a detached stream into a transport.

    Args:
        stream: What ``RequestHandler.detach()`` returned.
        io: What the connections of this loop share.
        transport: "auto" takes `direct` for plain sockets on a selector loop and `stream` for the
            rest; "stream" always takes the stream.

    Returns:
        The transport and the bytes that arrived behind the handshake, or None where the client
        has left already.
    """
    # One read tells all: it is done at once with early bytes or with the news that the client
    # has left; otherwise it is pending and nothing is lost when the stream is closed.
    try:
        read: asyncio.Future[bytes] = asyncio.ensure_future(
            stream.read_bytes(stream.max_buffer_size, partial=True)
        )
    except StreamClosedError:
        return None
    early = b""
    if read.done():
        if read.exception() is not None:
            return None
        early = read.result()
    if stream.closed():  # the client's last bytes and the news that it has left came together
        return None
    if transport == "stream" or not _is_plain(stream, io):
        return StreamTransport(stream, io, None if read.done() else read), early
    try:
        sock: socket.socket = stream.socket.dup()
    except OSError:
        stream.close()
        return None
    # Closes the stream's own descriptor and leaves the loop; the duplicate lives on.
    stream.close()
    if not early:
        read.add_done_callback(_retrieve)
    return DirectTransport(sock, io), early


def _is_plain(stream: IOStream, io: LoopIO) -> bool:
    if isinstance(stream, SSLIOStream) or not isinstance(stream, IOStream) or stream.writing():
        return False
    # The proactor loop of Windows has the method, but it raises.
    return type(io.loop).add_reader is not asyncio.AbstractEventLoop.add_reader and not hasattr(
        io.loop, "_proactor"
    )


def _retrieve(read: asyncio.Future[bytes]) -> None:
    if not read.cancelled():
        read.exception()
