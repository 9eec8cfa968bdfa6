"""A client for notebooks and scripts that finds its server, and its login, by itself.

::

    with connect("/pingbot") as bot:             bot = connect("/pingbot").open()
        bot.send("hello")                        ...
        print(bot.recv())                        bot.close()

    async with connect("/pingbot") as bot:       bot = await connect("/pingbot")
        await bot.send("hello")                  ...
        print(await bot.recv())                  await bot.close()
"""

from __future__ import annotations

import asyncio
import functools
import os
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from ..engine.asking import SUBPROTOCOL, ClientEnd, confirmed_by
from ..types import Message
from .client import AsyncClient, Client
from .opening import open_async, open_sync
from .targets import Endpoint, resolve

if TYPE_CHECKING:
    import ssl as ssl_module

TIMEOUT = 10.0
"""Seconds that opening, receiving and closing may each take by default."""

CONFIRM = 3.0
"""Seconds for the first frame of a server that has agreed to speak `wsh.v1`."""

MAX_SIZE = 16 * 2**20
"""Bytes of the largest message that is taken by default."""


def connect(
    target: str,
    *,
    args: Mapping[str, Any] | None = None,
    server: str | None = None,
    token: str | None = None,
    timeout: float | None = TIMEOUT,
    headers: Mapping[str, str] | None = None,
    subprotocols: Sequence[str] | None = None,
    max_size: int | None = MAX_SIZE,
    compression: Literal["deflate"] | None = None,
    ssl: ssl_module.SSLContext | None = None,
) -> Connector:
    """Prepare a connection; ``with``, ``async with``, ``await`` or `open()` opens it.

    Args:
        target: A path below the server's base URL, as in "/pingbot" or "room?name=blue", a whole
            ws, wss, http or https URL, or a link that somebody has shared, as it is.
        args: Query arguments; a list gives several values of one name.
        server: Base URL of the server, as Jupyter prints it; found where None.
        token: The token to send, "" for none; found where None. It is found for a server of
            this user's on this machine, and never sent to any other address. A link has its own.
        timeout: Seconds for opening, for each `recv` and for closing; None for no limit.
        headers: More header fields of the handshake; an Authorization replaces the token.
        subprotocols: Subprotocols to offer, the preferred one first; their frames are yours to
            write and to read. By default `wsh.v1` is, and spoken, so that `ask` and `stop` work; an
            empty list offers none.
        max_size: Bytes of the largest message to take; None for no limit.
        compression: "deflate" to offer permessage-deflate (RFC 7692).
        ssl: How to check the certificate of a wss or https server.

    Returns:
        What opens the connection, as often as it is used.
    """
    options: dict[str, Any] = {
        "additional_headers": dict(headers or {}),
        "subprotocols": [SUBPROTOCOL] if subprotocols is None else list(subprotocols) or None,
        "max_size": max_size,
        "compression": compression,
        "open_timeout": timeout,
        "close_timeout": timeout,
        **({"ssl": ssl} if ssl else {}),
    }
    find = functools.partial(resolve, target, args, server, token)
    return Connector(find, options, timeout, speaks=subprotocols is None)


class Connector:
    """What opens connections to one target; `connect` returns it.

    Args:
        find: Returns where to connect to; looks at the environment each time.
        options: Keyword arguments for the `websockets` library.
        timeout: Seconds, or None.
        speaks: Whether the clients speak `wsh.v1` where the server does.
    """

    def __init__(
        self,
        find: Callable[[], Endpoint],
        options: dict[str, Any],
        timeout: float | None,
        *,
        speaks: bool = True,
    ) -> None:
        self._speaks = speaks
        self._find = find
        self._options = options
        self._timeout = timeout
        self._patience = CONFIRM if timeout is None else min(CONFIRM, timeout)
        self._clients: list[Client] = []
        self._async_clients: list[AsyncClient] = []

    def open(self) -> Client:
        """Open a connection that blocks while it waits; close it with its `close()`.

        Raises:
            ServerNotFound: There is no server, or several and nothing that tells which.
            HandshakeRefused: The server answers with an HTTP status.
            ConnectError: It cannot be reached, or is no such server.
            TimeoutError: It does not answer in time.
            RuntimeError: It would wait for the very event loop that it blocks.
        """
        endpoint = self._find()
        if endpoint.server and endpoint.server.pid == os.getpid() and _in_event_loop():
            raise RuntimeError(
                "this code runs on the event loop of the server that it wants to talk to, and "
                "would wait for itself: use `async with connect(...)`, or a thread"
            )
        socket = open_sync(endpoint, self._options)
        first: Message | None = None
        if self._speaks and socket.subprotocol == SUBPROTOCOL:
            try:
                with _silence():
                    first = socket.recv(self._patience)
            except BaseException:  # Ctrl-C
                socket.close()
                raise
        return Client(socket, endpoint.url, self._timeout, *_spoken(first))

    async def _open(self) -> AsyncClient:
        # It reads files, and a home folder may be on a network.
        endpoint = await asyncio.to_thread(self._find)
        socket = await open_async(endpoint, self._options)
        first: Message | None = None
        if self._speaks and socket.subprotocol == SUBPROTOCOL:
            try:
                with _silence():
                    async with asyncio.timeout(self._patience):
                        first = await socket.recv()
            except BaseException:  # it was cancelled
                socket.transport.abort()
                raise
        return AsyncClient(socket, endpoint.url, self._timeout, *_spoken(first))

    def __await__(self) -> Generator[Any, None, AsyncClient]:
        return self._open().__await__()

    def __enter__(self) -> Client:
        self._clients.append(self.open())
        return self._clients[-1].__enter__()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self._clients.pop().__exit__(kind, error, tb)

    async def __aenter__(self) -> AsyncClient:
        self._async_clients.append(await self._open())
        return await self._async_clients[-1].__aenter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        await self._async_clients.pop().__aexit__(kind, error, tb)

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> NoReturn:
            hint = ""
            if not name.startswith("_") and hasattr(Client, name):
                hint = (
                    "; it is not open yet: write `with connect(...) as bot:`, "
                    "`bot = connect(...).open()` or `bot = await connect(...)`"
                )
            raise AttributeError(f"a connector has no {name!r}{hint}")


@contextmanager
def _silence() -> Iterator[None]:
    """Let a first frame that does not come be none; who reads next hears of an end."""
    from websockets.exceptions import ConnectionClosed

    with suppress(TimeoutError, ConnectionClosed):
        yield


def _spoken(first: Message | None) -> tuple[ClientEnd | None, Message | None]:
    """Return what speaks `wsh.v1`, or a plain first frame.

    A proxy may have agreed to `wsh.v1` of itself, with a server behind it that knows nothing of it.
    """
    id = None if first is None else confirmed_by(first)
    return (None, first) if id is None else (ClientEnd(id), None)


def _in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
