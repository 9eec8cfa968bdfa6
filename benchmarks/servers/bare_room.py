"""The least that a broadcast costs in Python: one thread, epoll, and a loop of `send` (Linux).

    bare_room.py PORT

Whoever opens /sub is a member, and what a member says is dropped. Each text message of whoever
opens /pub is framed once and sent to each member with one `send`. That is what floor.c does for
members and publishers, and no more of RFC 6455: frames of up to 64 KiB, and the accept key of the
one key that wsload sends.
"""

from __future__ import annotations

import contextlib
import select
import socket
import sys

ANSWER = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)
TEXT, CLOSE = 1, 8


class Peer:
    """A connection: its socket, what has come in, and its role (empty before the handshake)."""

    __slots__ = ("data", "role", "sock")

    def __init__(self, sock: socket.socket) -> None:
        self.sock, self.data, self.role = sock, b"", ""


def framed(message: bytes) -> bytes:
    """Return a message as the frame of a server."""
    size = len(message)
    head = bytes((0x81, size)) if size < 126 else bytes((0x81, 126, size >> 8, size & 255))
    return head + message


def unmasked(message: bytes, mask: bytes) -> bytes:
    """Return what a client has masked."""
    size = len(message)
    key = int.from_bytes((mask * (size // 4 + 1))[:size], "little")
    return (int.from_bytes(message, "little") ^ key).to_bytes(size, "little")


def frames(peer: Peer) -> list[tuple[int, bytes]]:
    """Return the whole frames that have come, with their opcodes, and keep the rest."""
    found, data = [], peer.data
    while len(data) >= 6:
        size, at = data[1] & 127, 2
        if size == 126:
            size, at = data[2] << 8 | data[3], 4
        end = at + 4 + size
        if len(data) < end:
            break
        found.append((data[0] & 15, unmasked(data[at + 4 : end], data[at : at + 4])))
        data = data[end:]
    peer.data = data
    return found


class Room:
    """All members, and who may speak to them.

    Args:
        port: Where on loopback it listens.
    """

    def __init__(self, port: int) -> None:
        self._peers: dict[int, Peer] = {}
        self._members: dict[int, socket.socket] = {}
        self._door = socket.create_server(("127.0.0.1", port), backlog=4096)
        self._door.setblocking(False)
        self._epoll = select.epoll()
        self._epoll.register(self._door.fileno(), select.EPOLLIN)

    def run(self) -> None:
        """Serve until the process is stopped."""
        while True:
            for descriptor, _ in self._epoll.poll():
                if descriptor == self._door.fileno():
                    self._accept()
                else:
                    self._read(descriptor)

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                sock, _ = self._door.accept()
                sock.setblocking(False)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._peers[sock.fileno()] = Peer(sock)
                self._epoll.register(sock.fileno(), select.EPOLLIN)

    def _read(self, descriptor: int) -> None:
        peer = self._peers[descriptor]
        try:
            data = peer.sock.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        peer.data += data
        if not data or (peer.role and self._take(peer)):
            self._members.pop(descriptor, None)
            del self._peers[descriptor]
            peer.sock.close()
        elif not peer.role and b"\r\n\r\n" in peer.data:
            head, _, peer.data = peer.data.partition(b"\r\n\r\n")
            peer.role = "member" if head.startswith(b"GET /sub") else "publisher"
            if peer.role == "member":
                self._members[descriptor] = peer.sock
            peer.sock.send(ANSWER)

    def _take(self, peer: Peer) -> bool:
        # Whether it has closed.
        for opcode, message in frames(peer):
            if opcode == CLOSE:
                return True
            if opcode == TEXT and peer.role == "publisher":
                whole = framed(message)
                for sock in self._members.values():
                    try:  # costs nothing, as `suppress` would
                        sock.send(whole)
                    except BlockingIOError:
                        continue  # it misses this one
        return False


if __name__ == "__main__":
    Room(int(sys.argv[1])).run()
