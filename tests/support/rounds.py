"""Open, echo and close, thousands of times: a raw client on one event loop."""

from __future__ import annotations

import asyncio
from collections import Counter

from support.frames import close, text
from support.server import RunningServer
from support.wire import KEY

AT_ONCE = 20
SECONDS = 30.0
"""Seconds that one round may take."""


def upgrade_request(server: RunningServer, path: str) -> bytes:
    """Return the bytes of a handshake with the server's token."""
    return (
        f"GET {path} HTTP/1.1\r\nHost: {server.host}:{server.port}\r\n"
        "Upgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n"
        f"Authorization: token {server.token}\r\n\r\n"
    ).encode()


async def one_round(server: RunningServer, request: bytes) -> None:
    """Open a connection, have one message echoed, and close it in order."""
    async with asyncio.timeout(SECONDS):
        reader, writer = await asyncio.open_connection(server.host, server.port)
        try:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 101 "), head
            writer.write(text("hello"))
            assert await reader.readexactly(7) == b"\x81\x05hello"
            writer.write(close(1000))
            assert await reader.read() == b"\x88\x02\x03\xe8"
        finally:
            writer.close()


async def run_rounds(server: RunningServer, path: str, count: int, at_once: int = AT_ONCE) -> None:
    """Run so many rounds, some at a time."""
    request = upgrade_request(server, path)
    left = iter(range(count))

    async def work() -> None:
        for _ in left:
            await one_round(server, request)

    await asyncio.gather(*(work() for _ in range(at_once)))


async def try_to_open(server: RunningServer, path: str, count: int, at_once: int = AT_ONCE):
    """Try to open so many connections, some at a time, and keep those that opened.

    Returns:
        How often each status was answered, and the writers of the open connections.
    """
    request = upgrade_request(server, path)
    statuses: Counter[int] = Counter()
    kept: list[asyncio.StreamWriter] = []
    left = iter(range(count))

    async def work() -> None:
        for _ in left:
            async with asyncio.timeout(SECONDS):
                reader, writer = await asyncio.open_connection(server.host, server.port)
                writer.write(request)
                head = await reader.readuntil(b"\r\n\r\n")
                status = int(head.split(b" ", 2)[1])
                statuses[status] += 1
                if status == 101:
                    kept.append(writer)
                else:
                    writer.close()

    await asyncio.gather(*(work() for _ in range(at_once)))
    return statuses, kept
