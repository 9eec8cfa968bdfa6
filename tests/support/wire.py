"""A WebSocket client that sends what it is told, byte for byte, right or wrong."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import time
from dataclasses import dataclass

from support.frames import CLOSE, CONT, PING, PONG
from support.frames import frame as make_frame
from support.server import RunningServer

KEY = "dGhlIHNhbXBsZSBub25jZQ=="


@dataclass(frozen=True)
class Frame:
    """One frame of the server's."""

    opcode: int
    payload: bytes
    fin: bool = True
    rsv: int = 0

    @property
    def code(self) -> int:
        """The code of a close frame; 1005 where it has none."""
        assert self.opcode == CLOSE, self
        return int.from_bytes(self.payload[:2], "big") if self.payload else 1005


class Wire:
    """Hold one raw connection to a route; every wait ends after `seconds`."""

    def __init__(
        self,
        server: RunningServer,
        path: str,
        early: bytes = b"",
        *,
        headers: dict[str, str] | None = None,
        receive_buffer: int | None = None,
        seconds: float = 15.0,
    ) -> None:
        self.sock = self._dial(server, receive_buffer, seconds)
        fields = {
            "Host": f"{server.host}:{server.port}",
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Key": KEY,
            "Sec-WebSocket-Version": "13",
            **server.headers(),
            **(headers or {}),
        }
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        self.request = f"GET {path} HTTP/1.1\r\n{lines}\r\n".encode()
        self.data = b""
        self.head = ""
        self.sock.sendall(self.request + early)

    @staticmethod
    def _dial(server, receive_buffer, seconds) -> socket.socket:
        plain = socket.socket()
        plain.settimeout(seconds)
        if receive_buffer is not None:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        plain.connect((server.host, server.port))
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if server.scheme != "https":
            return plain
        trust = ssl.create_default_context(cafile=str(server.extra["certificate"]))
        return trust.wrap_socket(plain, server_hostname="127.0.0.1")

    def open(self) -> Wire:
        """Read the answer to the handshake and see that it is 101."""
        while b"\r\n\r\n" not in self.data:
            chunk = self.sock.recv(65536)
            assert chunk, f"the server closed in the handshake: {self.data!r}"
            self.data += chunk
        head, _, self.data = self.data.partition(b"\r\n\r\n")
        self.head = head.decode("latin-1")
        assert self.head.startswith("HTTP/1.1 101 "), self.head
        return self

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def _more(self) -> bool:
        try:
            chunk = self.sock.recv(65536)
        except (ConnectionResetError, ssl.SSLEOFError):
            return False
        self.data += chunk
        return bool(chunk)

    def frame(self) -> Frame | None:
        """Return the next frame, or None at the end of the stream."""
        while True:
            found = self._parse()
            if found is not None:
                return found
            if not self._more():
                assert not self.data, f"the stream ended inside a frame: {self.data[:80]!r}"
                return None

    def _parse(self) -> Frame | None:
        data = self.data
        if len(data) < 2:
            return None
        assert data[1] < 128, "a server never masks"
        size, at = data[1], 2
        if size == 126:
            size, at = int.from_bytes(data[2:4], "big"), 4
        elif size == 127:
            size, at = int.from_bytes(data[2:10], "big"), 10
        if len(data) < max(at, 2) or len(data) < at + size:
            return None
        self.data = data[at + size :]
        return Frame(data[0] & 15, data[at : at + size], data[0] > 127, data[0] >> 4 & 7)

    def frames(self) -> list[Frame]:
        """Return all frames until the stream ends."""
        found = []
        while (frame := self.frame()) is not None:
            found.append(frame)
        return found

    def message(self) -> bytes:
        """Return the payload of the next frame, which must be a whole message.

        A ping of the server's is answered: one comes to every test that a busy machine holds up.
        """
        while (frame := self.frame()) is not None and frame.opcode == PING:
            self.send(make_frame(PONG, frame.payload))
        assert frame is not None, "the stream ended"
        assert frame.fin, frame
        assert frame.opcode in (1, 2), frame
        assert frame.opcode != CONT
        return frame.payload

    def reset(self) -> None:
        """Leave without a word: the server gets a TCP reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.sock.close()

    def __enter__(self) -> Wire:
        return self.open()

    def __exit__(self, *_: object) -> None:
        self.close()


def push(wire: Wire, data: bytes) -> None:
    """Send, though the server may end the stream meanwhile."""
    with contextlib.suppress(OSError):
        wire.send(data)


def resident_bytes(pid: int) -> int:
    """Return the memory of a process that is in RAM."""
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * 4096


def open_sockets(pid: int) -> int:
    """Return how many sockets a process has open; files and watches come and go by themselves."""
    import os

    folder = f"/proc/{pid}/fd"
    targets = []
    for name in os.listdir(folder):
        try:
            targets.append(os.readlink(f"{folder}/{name}"))
        except FileNotFoundError:
            continue
    return sum(target.startswith("socket:") for target in targets)


def open_descriptors(pid: int) -> int:
    """Return how many descriptors a process has open."""
    import os

    return len(os.listdir(f"/proc/{pid}/fd"))


def elapsed(start: float) -> float:
    """Return the seconds since a moment of `time.monotonic()`."""
    return time.monotonic() - start
