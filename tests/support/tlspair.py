"""Both ends of a TLS connection in one thread: a real socket here, OpenSSL in memory there."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
import ssl
import tempfile
from pathlib import Path

from support.nginx import make_certificate

VERSIONS = {"tls-1.2": ssl.TLSVersion.TLSv1_2, "tls-1.3": ssl.TLSVersion.TLSv1_3}


@functools.cache
def server_context(version: str) -> ssl.SSLContext:
    """Return a context with a certificate of its own, for one version of TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = context.maximum_version = VERSIONS[version]
    context.num_tickets = 0  # nothing arrives that nobody has written
    with tempfile.TemporaryDirectory() as folder:
        context.load_cert_chain(*make_certificate(Path(folder)))
    return context


@functools.cache
def client_context() -> ssl.SSLContext:
    """Return a context that takes any certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class Peer:
    """Be the client of a TLS connection over a socket that the test holds.

    Args:
        sock: A connected, non-blocking socket.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = client_context().wrap_bio(self.incoming, self.outgoing)
        self.ended = False

    def encrypted(self, data: bytes) -> bytes:
        """Return the records that carry some bytes."""
        if data:
            self.tls.write(data)
        return self.outgoing.read()

    def decrypted(self) -> bytes:
        """Return what has arrived; `ended` says whether the other end has said goodbye."""
        data = bytearray()
        try:
            while chunk := self.tls.read(1 << 16):
                data += chunk
            self.ended = True
        except ssl.SSLWantReadError:
            pass
        return bytes(data)

    async def send(self, data: bytes) -> None:
        """Send bytes, in as many records as it takes."""
        await asyncio.get_running_loop().sock_sendall(self.sock, self.encrypted(data))

    async def receive(self, size: int) -> bytes:
        """Receive so many bytes, or fewer where the stream ends."""
        data = bytearray(self.decrypted())
        while len(data) < size and not self.ended:
            chunk = await asyncio.get_running_loop().sock_recv(self.sock, 1 << 16)
            if not chunk:
                break
            self.incoming.write(chunk)
            data += self.decrypted()
        return bytes(data)


def shake_hands(
    sock: socket.socket, peer: Peer, version: str = "tls-1.3", kind: type = ssl.SSLSocket
) -> ssl.SSLSocket:
    """Return the server's end of a connection whose handshake is done.

    Args:
        sock: The server's socket, non-blocking.
        peer: The client's end.
        version: One of `VERSIONS`.
        kind: What the socket becomes.
    """
    ours = kind._create(  # as SSLContext.wrap_socket does it
        sock=sock, server_side=True, do_handshake_on_connect=False, context=server_context(version)
    )
    todo = {ours: True, peer.tls: True}
    while any(todo.values()):
        for end in todo:
            try:
                end.do_handshake()
                todo[end] = False
            except ssl.SSLWantReadError:
                pass
        _carry(peer)
    assert ours.version() == version.upper().replace("-", "v")
    return ours


def _carry(peer: Peer) -> None:
    if records := peer.outgoing.read():
        peer.sock.sendall(records)
    with contextlib.suppress(BlockingIOError):
        peer.incoming.write(peer.sock.recv(1 << 16))
