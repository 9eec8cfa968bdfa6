"""A TCP proxy on loopback that is slow one way."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress

PART = 8192
"""Bytes that are passed on at a time."""


@asynccontextmanager
async def throttled(port: int, *, down: float = 0.0, up: float = 0.0) -> AsyncIterator[int]:
    """Run the proxy on this loop; give its port.

    Args:
        port: The server's.
        down: Bytes a second on the way to the client; 0 for no bound.
        up: Bytes a second on the way to the server; 0 for no bound.
    """
    tasks: set[asyncio.Task[None]] = set()

    async def pass_on(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter, rate: float
    ) -> None:
        due = 0.0
        with closing(writer), suppress(OSError):
            while data := await reader.read(PART):
                writer.write(data)
                await writer.drain()
                if rate:
                    due = max(due, asyncio.get_running_loop().time()) + len(data) / rate
                    await asyncio.sleep(due - asyncio.get_running_loop().time())

    async def join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", port, limit=PART)
        for way in (pass_on(reader, back, up), pass_on(there, writer, down)):
            tasks.add(asyncio.create_task(way))

    listener = socket.socket()
    # Or the system would take for itself what the server cannot see yet.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2 * PART)
    listener.bind(("127.0.0.1", 0))
    server = await asyncio.start_server(join, sock=listener, limit=PART)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
