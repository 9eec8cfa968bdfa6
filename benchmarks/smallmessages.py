"""Time three small messages 2 ms apart, over a raw socket."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import statistics
import time
from collections.abc import Iterator

from benchmarks.loadclient import Target
from benchmarks.machine import BenchmarkError

GAP = 0.002
PAUSE = 0.06
"""Seconds between two tries: longer than a delayed acknowledgement of TCP (40 ms)."""

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
TIMEOUT = 5.0


class Socket:
    """Be a WebSocket client that knows text messages of up to 125 bytes, and nothing else.

    Args:
        target: The server.
        path: Where the endpoint is.
    """

    def __init__(self, target: Target, path: str) -> None:
        self._socket = socket.create_connection(("127.0.0.1", target.port), timeout=TIMEOUT)
        # The client must not wait: what is timed is the server.
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if target.tls:
            self._socket = _unchecked().wrap_socket(self._socket)
        self._read = self._socket.makefile("rb")
        try:
            self._handshake(target, path)
        except BaseException:
            self.close()
            raise

    def _handshake(self, target: Target, path: str) -> None:
        lines = [
            f"GET {path} HTTP/1.1",
            f"Host: 127.0.0.1:{target.port}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {KEY}",
            "Sec-WebSocket-Version: 13",
            *([target.header] if target.header else []),
        ]
        self._socket.sendall("\r\n".join([*lines, "", ""]).encode())
        status = self._read.readline().decode("latin-1").strip()
        if " 101 " not in f"{status} ":
            raise BenchmarkError(f"{path}: the handshake was answered with {status or 'nothing'!r}")
        while self._read.readline().strip():
            pass

    def leave(self) -> None:
        """Say goodbye with 1000; the answer is not waited for."""
        self._socket.sendall(bytes([0x88, 0x82, 0, 0, 0, 0]) + (1000).to_bytes(2, "big"))

    def close(self) -> None:
        self._read.close()
        self._socket.close()

    def send(self, text: str) -> None:
        data, mask = text.encode(), os.urandom(4)
        masked = bytes(byte ^ mask[i % 4] for i, byte in enumerate(data))
        self._socket.sendall(bytes([0x81, 0x80 | len(data)]) + mask + masked)

    def receive(self) -> str:
        while True:
            # A client that delays its acknowledgements, as most do on a real network: it shows
            # a server that leaves Nagle's algorithm on. Linux forgets the setting, hence each time.
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 0)
            head = self._read.read(2)
            if len(head) < 2:
                raise BenchmarkError("the server ended the connection")
            data = self._read.read(head[1] & 127)
            if head[0] == 0x81:
                return data.decode()
            if head[0] == 0x88:
                raise BenchmarkError(f"the server closed: {int.from_bytes(data[:2], 'big')}")


def _unchecked() -> ssl.SSLContext:
    """Return a context that takes the benchmark's own certificate, as any other."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@contextlib.contextmanager
def connected(target: Target, path: str) -> Iterator[Socket]:
    """Open one connection and close it."""
    try:
        client = Socket(target, path)
    except OSError as exc:
        raise BenchmarkError(f"{path}: {exc}") from None
    try:
        yield client
        client.leave()
    except OSError as exc:
        raise BenchmarkError(f"{path}: {exc}") from None
    finally:
        client.close()


def echoed(client: Socket) -> float:
    """Send three messages 2 ms apart; return seconds until the third is back."""
    begun = time.perf_counter()
    for turn in range(3):
        time.sleep(max(0.0, begun + turn * GAP - time.perf_counter()))
        client.send(f"small {turn}")
    _expect(client, [f"small {turn}" for turn in range(3)])
    return time.perf_counter() - begun


def pushed(client: Socket) -> float:
    """Ask for three messages, which the server sends 2 ms apart; return seconds for all three."""
    begun = time.perf_counter()
    client.send("go")
    _expect(client, ["go"] * 3)
    return time.perf_counter() - begun


def measure(target: Target, tries: int) -> dict[str, float]:
    """Return the medians and the worst of both, in seconds."""
    numbers: dict[str, float] = {}
    for name, path, once in (("echoed", "/echo", echoed), ("pushed", "/push", pushed)):
        with connected(target, path) as client:
            times = []
            for _ in range(tries):
                times.append(once(client))
                time.sleep(PAUSE)
        numbers[name] = statistics.median(times)
        numbers[f"{name}_worst"] = max(times)
    return numbers


def _expect(client: Socket, wanted: list[str]) -> None:
    got = [client.receive() for _ in wanted]
    if got != wanted:
        raise BenchmarkError(f"expected {wanted}, received {got}")
