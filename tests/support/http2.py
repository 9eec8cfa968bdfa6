"""Just enough of HTTP/2 for one request: a GET, or a WebSocket after RFC 8441."""

from __future__ import annotations

import socket
import ssl
import struct
from dataclasses import dataclass

from support import frames

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
ENABLE_CONNECT_PROTOCOL = 8
END_STREAM, END_HEADERS, ACK = 1, 4, 1
STATUSES = {8: 200, 9: 204, 10: 206, 11: 304, 12: 400, 13: 404, 14: 500}
"""What the static table of HPACK has for `:status` (RFC 7541 appendix A)."""


def packed(fields: list[tuple[str, str]]) -> bytes:
    """Return fields as HPACK, each a literal without indexing (RFC 7541 section 6.2.2)."""
    data = b""
    for name, value in fields:
        data += b"\0"
        for part in (name.encode(), value.encode()):
            assert len(part) < 127
            data += bytes([len(part)]) + part
    return data


def status_of(block: bytes) -> int:
    """Return the status of an answer, which stands first in it; 0 where it is spelled out."""
    while block and block[0] & 0xE0 == 0x20:  # the size of the table
        block = block[1:]
    return STATUSES.get(block[0] & 0x7F, 0) if block and block[0] & 0x80 else 0


@dataclass
class Http2:
    """Hold one connection over TLS.

    Attributes:
        websockets: Whether the server has said that it takes WebSockets (RFC 8441 section 3).
    """

    sock: ssl.SSLSocket
    websockets: bool = False
    data: bytes = b""

    @classmethod
    def connect(cls, port: int, host: str, context: ssl.SSLContext) -> Http2:
        plain = socket.create_connection(("127.0.0.1", port), timeout=10)
        self = cls(context.wrap_socket(plain, server_hostname=host))
        if self.sock.selected_alpn_protocol() != "h2":
            return self
        self.sock.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + self._frame(SETTINGS, 0, 0, b""))
        while True:
            kind, flags, _, payload = self._read()
            if kind == SETTINGS and not flags & ACK:
                break
        for at in range(0, len(payload), 6):
            name, value = struct.unpack(">HI", payload[at : at + 6])
            self.websockets |= name == ENABLE_CONNECT_PROTOCOL and value == 1
        self.sock.sendall(self._frame(SETTINGS, ACK, 0, b""))
        return self

    @property
    def agreed(self) -> bool:
        """Whether the server speaks HTTP/2 at all."""
        return self.sock.selected_alpn_protocol() == "h2"

    @staticmethod
    def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
        size = len(payload)
        return struct.pack(">BHBBI", size >> 16, size & 0xFFFF, kind, flags, stream) + payload

    def _take(self, size: int) -> bytes:
        while len(self.data) < size:
            chunk = self.sock.recv(65536)
            if not chunk:
                raise EOFError("the proxy has closed")
            self.data += chunk
        taken, self.data = self.data[:size], self.data[size:]
        return taken

    def _read(self) -> tuple[int, int, int, bytes]:
        high, low, kind, flags, stream = struct.unpack(">BHBBI", self._take(9))
        payload = self._take(high << 16 | low)
        if kind == GOAWAY:
            raise EOFError("the proxy has said goodbye")
        if kind == PING and not flags & ACK:
            self.sock.sendall(self._frame(PING, ACK, 0, payload))
        return kind, flags, stream, payload

    def ask(self, fields: list[tuple[str, str]], stream: int, *, end: bool) -> int:
        """Send a request and return the status of its answer."""
        flags = END_HEADERS | (END_STREAM if end else 0)
        self.sock.sendall(self._frame(HEADERS, flags, stream, packed(fields)))
        while True:
            kind, _, of, payload = self._read()
            if kind == RST_STREAM and of == stream:
                return 0
            if kind == HEADERS and of == stream:
                return status_of(payload)

    def get(self, host: str, path: str, token: str) -> int:
        """Return the status of a GET."""
        fields = [(":method", "GET"), (":scheme", "https"), (":path", path), (":authority", host)]
        return self.ask([*fields, ("authorization", f"token {token}")], 1, end=True)

    def talk(self, host: str, path: str, token: str, text: str) -> str | None:
        """Open a WebSocket, send a text and return the answer; None where it does not open."""
        fields = [
            (":method", "CONNECT"),
            (":protocol", "websocket"),
            (":scheme", "https"),
            (":path", path),
            (":authority", host),
            ("sec-websocket-version", "13"),
            ("authorization", f"token {token}"),
        ]
        if not self.websockets or self.ask(fields, 3, end=False) != 200:
            return None
        self.sock.sendall(self._frame(DATA, 0, 3, frames.text(text)))
        answer = b""
        while len(answer) < 2 or len(answer) < 2 + answer[1]:
            kind, _, stream, payload = self._read()
            if kind == DATA and stream == 3:
                answer += payload
        return answer[2 : 2 + answer[1]].decode()

    def close(self) -> None:
        self.sock.close()
