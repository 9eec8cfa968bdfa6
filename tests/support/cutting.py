"""A TCP proxy on loopback that cuts the connections through it, or holds them up.

In front of several servers it balances without stickiness: each connection goes to the next server,
and to another one where that does not listen.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator


class Cutting:
    """The proxy, in a thread of its own.

    Args:
        ports: Of the servers behind it.

    Attributes:
        port: Where it listens.
    """

    def __init__(self, *ports: int) -> None:
        self.port = 0
        self._behind = list(ports)
        self._writers: set[asyncio.StreamWriter] = set()
        self._ready = threading.Event()

    def cut(self) -> None:
        """Kill every connection, without a word to either side."""
        self._loop.call_soon_threadsafe(lambda: [w.transport.abort() for w in self._writers])

    def hold(self) -> None:
        """Let nothing through any more, and keep the connections open."""
        self._loop.call_soon_threadsafe(self._open.clear)

    def go_on(self) -> None:
        """Let through what waits, and what comes."""
        self._loop.call_soon_threadsafe(self._open.set)

    def serve(self) -> None:
        """Serve until `stop` is called."""
        asyncio.run(self._serve())

    def stop(self) -> None:
        """End the thread's work."""
        self._loop.call_soon_threadsafe(self._over.set)

    def wait(self) -> None:
        """Wait until it listens."""
        assert self._ready.wait(20)

    async def _serve(self) -> None:
        self._loop, self._over, self._open = (
            asyncio.get_running_loop(),
            asyncio.Event(),
            asyncio.Event(),
        )
        self._open.set()
        server = await asyncio.start_server(self._join, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._over.wait()
        server.close()
        for writer in list(self._writers):
            writer.transport.abort()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(len(self._behind)):
            self._behind.append(self._behind.pop(0))
            try:
                there, back = await asyncio.open_connection("127.0.0.1", self._behind[-1])
                break
            except OSError:
                continue
        else:
            writer.transport.abort()
            return
        both = {writer, back}
        self._writers |= both
        pipes = [
            asyncio.create_task(self._pipe(reader, back)),
            asyncio.create_task(self._pipe(there, writer)),
        ]
        await asyncio.wait(pipes, return_when=asyncio.FIRST_COMPLETED)
        for pipe in pipes:
            pipe.cancel()
        await asyncio.wait(pipes)
        for one in both:
            one.transport.abort()
        self._writers -= both

    async def _pipe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                await self._open.wait()
                writer.write(data)
                await writer.drain()


@contextlib.contextmanager
def cutting_proxy(*ports: int) -> Iterator[Cutting]:
    """Put a proxy before a port of loopback; it ends when the block does."""
    proxy = Cutting(*ports)
    thread = threading.Thread(target=proxy.serve, name="cutting proxy")
    thread.start()
    try:
        proxy.wait()
        yield proxy
    finally:
        proxy.stop()
        thread.join(20)
