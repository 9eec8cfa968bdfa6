"""Messages to rooms from a program that has the backplane's URL, and talks to no server."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, NamedTuple, TypeVar

from ..backplane.base import PREFIX
from ..backplane.choose import open_publisher
from ..engine.payload import to_message
from ..rooms.names import channel_of, check_room
from ..types import Sendable

T = TypeVar("T")

TIMEOUT = 10.0
"""Seconds that a message may take, several attempts included, where nothing else is said."""

_ID = re.compile(r"[A-Za-z0-9_.:-]{1,100}")


class PutInRoom(NamedTuple):
    """What has become of a message that was published from outside."""

    epoch: str
    """The life of the room's history; empty in a room without one."""
    offset: int
    """Its number there, from 1; 0 in a room without history."""
    nodes: int | None
    """Servers that have heard it, as somebody there is in the room; None where a message with this
    id had been published before."""


class Publisher:
    """Publishes to the rooms of a deployment, many messages over one connection: `async with` it.

    Args:
        url: Where the backplane is, as `c.WSHandlerApp.backplane` has it.
        prefix: What the names of its keys begin with, as `c.WSHandlerApp.backplane_prefix` says.

    Raises:
        ValueError: There is no such backplane; the text holds nothing of the URL.
    """

    def __init__(self, url: str, *, prefix: str = PREFIX) -> None:
        self._publisher = open_publisher(url, prefix)

    async def publish(
        self,
        space: str,
        room: str,
        message: Sendable,
        *,
        id: str | None = None,
        timeout: float = TIMEOUT,
    ) -> PutInRoom:
        """Send a message to all in a room, on whatever server they are; see `publish`.

        Several calls at once are sent one after the other, in their order; the `timeout` of one
        counts from its call, and ends nothing but it.
        """
        check_room(room)
        if id is not None and not _ID.fullmatch(id):
            raise ValueError(
                f"expected an id of 1 to 100 letters, digits, dots, colons, dashes or underscores, "
                f"found {id!r:.120}"
            )
        whole = to_message(message)
        if isinstance(whole, str):
            whole.encode()  # what cannot be sent is told here
        channel = channel_of(space, room)
        put = await self._publisher.publish(space, channel, whole, id or "", timeout=timeout)
        return PutInRoom(*put.position, put.nodes)

    async def close(self) -> None:
        """Hang up."""
        await self._publisher.close()

    async def __aenter__(self) -> Publisher:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        await self.close()


async def publish_async(
    url: str,
    space: str,
    room: str,
    message: Sendable,
    *,
    id: str | None = None,
    prefix: str = PREFIX,
    timeout: float = TIMEOUT,
) -> PutInRoom:
    """Send a message to all in a room, on an event loop; the same as `publish`, awaited."""
    async with Publisher(url, prefix=prefix) as publisher:
        return await publisher.publish(space, room, message, id=id, timeout=timeout)


def publish(
    url: str,
    space: str,
    room: str,
    message: Sendable,
    *,
    id: str | None = None,
    prefix: str = PREFIX,
    timeout: float = TIMEOUT,
) -> PutInRoom:
    """Send a message to all in a room, on whatever server they are, by way of the backplane alone.

    How much of it is kept, and how large it may be, is what the servers say of the space.

    Args:
        url: Where the backplane is, as `c.WSHandlerApp.backplane` has it.
        space: The name of the space, as the routes have it under `space`; that of a route which has
            none there.
        room: The room's name.
        message: What ``handler.write_message`` takes.
        id: Names the message: while the room keeps it, another call with the same id sends
            nothing. The store reads all that the room keeps for it. A break within the call sends
            nothing twice in any case, where the room has a history.
        prefix: What the names of its keys begin with, as `c.WSHandlerApp.backplane_prefix` says.
        timeout: Seconds that it may take, several attempts included.

    Raises:
        LookupError: No server has ever served the space.
        ValueError: There is no such backplane, or a name or the id cannot be.
        TypeError: The message is None, or holds what has no JSON form.
        BackplaneDown: It cannot be reached; says so where it is unknown what has become of the
            message.
        BackplaneError: It refuses, or the message is too large.
        RuntimeError: This is an event loop, which must not wait: await `publish_async`.
    """
    work = publish_async(url, space, room, message, id=id, prefix=prefix, timeout=timeout)
    return _run(work)


def _run(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end where there may be no event loop, or that of a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    if "ipykernel" not in sys.modules:
        work.close()
        raise RuntimeError("this is an event loop, which must not wait; await publish_async(...)")
    with ThreadPoolExecutor(1) as thread:  # a cell may wait
        return thread.submit(asyncio.run, work).result()
