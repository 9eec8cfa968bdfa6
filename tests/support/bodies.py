"""Bodies that nobody should read: large, nested, slow, broken, compressed."""

from __future__ import annotations

import gzip
import select
import socket
import ssl
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from support.server import RunningServer

MIB = 1024 * 1024

PIECE = 256 * 1024


@dataclass(frozen=True)
class Body:
    """A body: the fields that announce it, and what is sent.

    Attributes:
        pause: Seconds between two pieces.
        whole: Whether an honest client could send it, so that it has to get an answer.
    """

    fields: Sequence[tuple[str, str]]
    pieces: Sequence[bytes]
    pause: float = 0.0
    whole: bool = True


def _pieces(data: bytes) -> list[bytes]:
    return [data[at : at + PIECE] for at in range(0, len(data), PIECE)]


def sized(data: bytes, *fields: tuple[str, str]) -> Body:
    return Body((("Content-Length", str(len(data))), *fields), _pieces(data))


def chunked(data: bytes) -> Body:
    pieces = [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in _pieces(data)]
    return Body((("Transfer-Encoding", "chunked"),), [*pieces, b"0\r\n\r\n"])


def objects(size: int) -> bytes:
    """Return JSON that costs the most for its size: a list of empty objects."""
    return b"[" + b"{}," * (size // 3) + b"{}]"


def attacks(size: int) -> dict[str, Body]:
    """Return every kind of body; the large ones have so many bytes."""
    large = objects(size)
    return {
        "large": sized(large),
        "large and chunked": chunked(large),
        "nested": sized(b"[" * 100_000),
        "nested and closed": sized(b'{"path":' * 20_000 + b"1" + b"}" * 20_000),
        "compressed": sized(gzip.compress(bytes(size)), ("Content-Encoding", "gzip")),
        "no text at all": sized(b'{"path": "\xff\xfe\x80"}'),
        "expecting to be asked for": sized(large, ("Expect", "100-continue")),
        "slow": Body((("Content-Length", "1000000"),), [b"["] * 1_000_000, pause=0.1),
        "slow and chunked": Body(
            (("Transfer-Encoding", "chunked"),), [b"1\r\n[\r\n"] * 1_000_000, pause=0.1
        ),
        "announced and never sent": Body((("Content-Length", "600000000"),), []),
        "broken chunks": Body((("Transfer-Encoding", "chunked"),), [b"zz\r\n[]\r\n"], whole=False),
        "an endless chunk size": Body(
            (("Transfer-Encoding", "chunked"),), [b"1" * 100_000], whole=False
        ),
        "two lengths": Body(
            (("Content-Length", "2"), ("Content-Length", "3")), [b"[]]"], whole=False
        ),
        "no length": Body((("Content-Length", "many"),), [b"[]"], whole=False),
        "a length and chunks": Body(
            (("Content-Length", "2"), ("Transfer-Encoding", "chunked")), [b"[]"], whole=False
        ),
    }


@dataclass(frozen=True)
class Answer:
    """What came back; status 0 for nothing."""

    status: int
    text: str
    seconds: float


def send(
    server: RunningServer,
    path: str,
    method: str,
    body: Body,
    headers: Sequence[tuple[str, str]] = (),
    seconds: float = 20.0,
) -> Answer:
    """Send a request with a body, all of it, and return the answer, whenever it comes.

    A slow body ends with the answer; the others are sent to their end where the server lets it.
    """
    host, port = server.host, urlsplit(server.url).port or server.port
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}:{port}", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in [*headers, *body.fields]]
    begun = time.monotonic()
    with _dial(server, seconds) as sock:
        sock.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        data = b"".join(_exchange(sock, body, begun + seconds))
    took = time.monotonic() - begun
    text = data.decode("latin-1")
    while text.startswith("HTTP/1.1 100"):
        text = text.partition("\r\n\r\n")[2]
    return Answer(int(text.split(" ", 2)[1]) if text else 0, text, took)


def _dial(server: RunningServer, seconds: float) -> socket.socket:
    sock = socket.create_connection((server.host, server.port), timeout=seconds)
    if not server.url.startswith("https"):
        return sock
    trust = ssl.create_default_context(cafile=str(server.extra["certificate"]))
    return trust.wrap_socket(sock, server_hostname=server.host)


def _exchange(sock: socket.socket, body: Body, until: float) -> Iterator[bytes]:
    """Send, and yield what comes; stop at the end of the stream."""
    for piece in body.pieces:
        assert time.monotonic() < until, "the server takes its time"
        if body.pause and select.select([sock], [], [], body.pause)[0]:
            break
        try:
            sock.sendall(piece)
        except (BrokenPipeError, ConnectionResetError, ssl.SSLError):
            break
    while True:
        sock.settimeout(max(0.01, until - time.monotonic()))
        try:
            chunk = sock.recv(65536)
        except (ConnectionResetError, ssl.SSLEOFError):
            return
        if not chunk:
            return
        yield chunk
