"""Find out that nobody is at the other end any more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from ..transports.outstanding import Taking, outstanding
from ..types import Outstanding

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection as AsyncSocket


async def keep_alive(socket: AsyncSocket, seconds: float, is_held: Callable[[], bool]) -> None:
    """Ping a socket until it ends, and drop it where no answer comes, and nothing else.

    The answer may stand behind a long message that comes slowly, and the ping behind one that
    leaves slowly: a line on which bytes move is alive.

    The library would send a close frame. A server that was only held up, and reads it later, would
    take that for an end that is meant, and not for a break.

    Args:
        socket: The socket.
        seconds: Between two pings, and for the answer to one.
        is_held: Returns whether nothing is read at present, so that no answer can be seen.
    """
    from websockets.exceptions import ConnectionClosed

    pause = seconds
    with suppress(ConnectionClosed):
        while True:
            await asyncio.sleep(pause)
            pause = seconds
            if is_held() or _is_paused(socket):
                continue
            heard, taking = heard_by(socket), Taking(_outstanding(socket))
            pong = asyncio.ensure_future(_answered(socket))
            try:
                await asyncio.wait([pong], timeout=seconds)
            finally:
                answered = not pong.cancel()
            if answered:
                pong.exception()
            elif heard_by(socket) != heard or taking.goes_on(_outstanding(socket)):
                pause = 0.0
            elif not is_held() and not _is_paused(socket):
                socket.transport.abort()
                return


def heard_by(socket: AsyncSocket) -> int:
    """Return how many bytes have come; 0 where a socket does not count them."""
    return getattr(socket, "heard", 0)


async def _answered(socket: AsyncSocket) -> None:
    """Send a ping, which may have to wait for room, and wait for its pong."""
    await asyncio.shield(await socket.ping())  # the library wants to set the pong itself


def _is_paused(socket: AsyncSocket) -> bool:
    """Return whether the library reads no more, as nobody takes what it has read."""
    transport = socket.transport
    return not transport.is_closing() and not transport.is_reading()


def _outstanding(socket: AsyncSocket) -> Outstanding:
    transport = socket.transport
    return outstanding(transport.get_extra_info("socket"), transport.get_write_buffer_size())
