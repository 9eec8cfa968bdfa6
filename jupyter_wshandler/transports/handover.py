"""The hand-over: from the stream that Tornado detached to a transport of our own."""

from __future__ import annotations

import asyncio
import socket
import ssl

from tornado.iostream import IOStream, SSLIOStream, StreamClosedError

from ..types import Transport
from .direct import DirectTransport
from .loop import LoopIO
from .stream import StreamTransport
from .tls import TLSTransport

TRANSPORTS = ("auto", "direct", "stream")
"""What may be asked for; see `take_over`."""


def take_over(
    stream: IOStream, io: LoopIO, transport: str = "auto"
) -> tuple[Transport, bytes] | None:
    """Turn a detached stream into a transport.

    Args:
        stream: What ``RequestHandler.detach()`` returned.
        io: What the connections of this loop share.
        transport: "auto" and "direct" take the socket itself, plain or TLS, on a selector loop, and
            the stream elsewhere; "stream" always takes the stream.

    Returns:
        The transport and the bytes that arrived behind the handshake, or None where the client
        has left already.
    """
    has_socket = transport != "stream" and _has_socket(stream, io)
    is_plain = has_socket and not isinstance(stream, SSLIOStream)
    if is_plain and not stream._read_buffer_size:
        if stream.closed() or _has_left(stream.socket):
            stream.close()
            return None
        return _alone(stream, io), b""
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
    if not has_socket or stream.writing():
        return StreamTransport(stream, io, None if read.done() else read), early
    if isinstance(stream, SSLIOStream):
        secure = _release(stream)
        if not early:
            read.add_done_callback(_retrieve)
        return TLSTransport(secure, io), early
    return _alone(stream, io), early


def _alone(stream: IOStream, io: LoopIO) -> DirectTransport:
    """Return a transport over a stream's socket; the stream is left to itself.

    To close it would close the socket, too; whoever still has it lets it go in the next turn.
    """
    stream.io_loop.remove_handler(stream.socket)
    return DirectTransport(stream.socket, io)


def _has_left(sock: socket.socket) -> bool:
    """Return whether the peer has closed; what it has sent is left to be read."""
    try:
        return not sock.recv(1, socket.MSG_PEEK)
    except (BlockingIOError, InterruptedError):
        return False
    except OSError:
        return True


def _has_socket(stream: IOStream, io: LoopIO) -> bool:
    """Say whether the stream's socket can be read and written without the stream."""
    if not isinstance(stream, IOStream) or stream.writing():
        return False
    if isinstance(stream, SSLIOStream) and not isinstance(stream.socket, ssl.SSLSocket):
        return False
    # The proactor loop of Windows has the method, but it raises.
    return type(io.loop).add_reader is not asyncio.AbstractEventLoop.add_reader and not hasattr(
        io.loop, "_proactor"
    )


class _Released:
    """Stand in for a socket that a stream no longer owns; Tornado closes it instead."""

    def fileno(self) -> int:
        return -1

    def close(self) -> None:
        pass


def _release(stream: SSLIOStream) -> ssl.SSLSocket:
    """Take the socket from a stream and close the stream: a TLS socket cannot be duplicated."""
    sock = stream.socket
    stream.io_loop.remove_handler(sock)
    stream.socket = _Released()  # type: ignore[assignment]
    stream.close()
    return sock


def _retrieve(read: asyncio.Future[bytes]) -> None:
    if not read.cancelled():
        read.exception()
