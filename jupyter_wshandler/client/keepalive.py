"""Find out that nobody is at the other end any more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection as AsyncSocket


async def keep_alive(socket: AsyncSocket, seconds: float, is_held: Callable[[], bool]) -> None:
    """Ping a socket until it ends, and drop it where no answer comes.

    The library would send a close frame. A server that was only held up, and reads it later, would
    take that for an end that is meant, and not for a break.

    Args:
        socket: The socket.
        seconds: Between two pings, and for the answer to one.
        is_held: Returns whether nothing is read at present, so that no answer can be seen.
    """
    from websockets.exceptions import ConnectionClosed

    with suppress(ConnectionClosed):
        while True:
            await asyncio.sleep(seconds)
            if is_held():
                continue
            pong = asyncio.ensure_future(await socket.ping())
            await asyncio.wait([pong], timeout=seconds)
            if pong.done():
                pong.exception()
            elif not is_held():
                socket.transport.abort()
                return
