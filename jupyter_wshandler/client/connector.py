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
from dataclasses import dataclass, replace
from inspect import iscoroutinefunction
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from ..engine.asking import SUBPROTOCOL, ClientEnd, confirmed_by
from ..engine.comeback import ClientLife
from ..errors import ConnectError
from ..types import Message
from .client import AsyncClient, Client
from .core import Core
from .lifeline import Dialer, Lifeline
from .loopthread import LoopThread
from .opening import open_async
from .states import OnState
from .targets import Endpoint, resolve

if TYPE_CHECKING:
    import ssl as ssl_module

    from websockets.asyncio.client import ClientConnection as AsyncSocket

TIMEOUT = 10.0
"""Seconds that opening, receiving and closing may each take by default."""

CONFIRM = 3.0
"""Seconds for the first frame of a server that has agreed to speak `wsh.v1`."""

PING = 20.0
"""Seconds between two pings, and for the answer to one: who gives none is gone."""

QUEUE = 1000
"""Messages that wait for a connection that is lost, by default."""

QUEUE_BYTES = 16 * 2**20
"""What they measure together."""

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
    resume: bool = True,
    reconnect: bool = True,
    queue: int = QUEUE,
    queue_bytes: int = QUEUE_BYTES,
    on_state: OnState | None = None,
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
        resume: Whether to come back to the same connection after a break, where the route has
            `resume`: nothing is lost or comes twice then.
        reconnect: Whether a connection that is lost is opened again, the same one or another. Both
            are of `wsh.v1`: with subprotocols of your own a connection ends where it breaks.
        queue: Messages that are kept while the connection is lost.
        queue_bytes: What those measure together at most.
        on_state: Called with each `Change` of the connection; it must not wait.

    Returns:
        What opens the connection, as often as it is used.

    Raises:
        TypeError: `on_state` is a coroutine function, or nothing that can be called.
        ValueError: `queue` or `queue_bytes` is below 1.
    """
    if on_state is not None and (iscoroutinefunction(on_state) or not callable(on_state)):
        raise TypeError(f"expected a plain function as on_state, found {on_state!r}")
    if queue < 1 or queue_bytes < 1:
        raise ValueError("expected queue and queue_bytes of at least 1; reconnect=False keeps none")
    options: dict[str, Any] = {
        "additional_headers": dict(headers or {}),
        "subprotocols": list(subprotocols or ()) or None,
        "max_size": max_size,
        "compression": compression,
        "open_timeout": timeout,
        "close_timeout": timeout,
        "ping_interval": None,  # `keep_alive` sends the pings
        **({"ssl": ssl} if ssl else {}),
    }
    find = functools.partial(resolve, target, args, server, token)
    speaks = subprotocols is None
    habits = Habits(speaks, resume and reconnect, reconnect, queue, queue_bytes, on_state)
    return Connector(find, options, timeout, habits)


@dataclass(frozen=True)
class Habits:
    """How connections speak and break.

    Args:
        speaks: Whether they speak `wsh.v1` where the server does.
        resume: Whether they come back to what was.
        reconnect: Whether they are opened again.
        queue: How many messages wait.
        queue_bytes: What they measure together at most.
        on_state: Is told of changes.
        make_end: Makes what takes the server's frames.
    """

    speaks: bool = True
    resume: bool = True
    reconnect: bool = True
    queue: int = QUEUE
    queue_bytes: int = QUEUE_BYTES
    on_state: OnState | None = None
    make_end: Callable[[str], ClientEnd] = ClientEnd


class Connector:
    """What opens connections to one target; `connect` returns it.

    Args:
        find: Returns where to connect to; looks at the environment each time.
        options: Keyword arguments for the `websockets` library.
        timeout: Seconds, or None.
        habits: How the connections speak and break.
    """

    def __init__(
        self,
        find: Callable[[], Endpoint],
        options: dict[str, Any],
        timeout: float | None,
        habits: Habits,
    ) -> None:
        self._habits = habits
        self._find = find
        self._options = options
        self._timeout = timeout
        self._patience = CONFIRM if timeout is None else min(CONFIRM, timeout)
        self._clients: list[Client] = []
        self._async_clients: list[AsyncClient] = []

    def heard_by(self, make_end: Callable[[str], ClientEnd]) -> Connector:
        """Return one whose connections' frames go to an end of the caller's own."""
        habits = replace(self._habits, make_end=make_end)
        return Connector(self._find, self._options, self._timeout, habits)

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
        thread = LoopThread(f"wshandler client {endpoint.shown}")
        try:
            return Client(thread.call(self._reach(endpoint)), self._timeout, thread)
        except BaseException:  # Ctrl-C
            thread.end()
            raise

    async def _open(self) -> AsyncClient:
        # It reads files, and a home folder may be on a network.
        endpoint = await asyncio.to_thread(self._find)
        return AsyncClient(await self._reach(endpoint), self._timeout)

    async def _reach(self, endpoint: Endpoint) -> Core:
        """Open a connection for the first time."""
        habits, life = self._habits, None
        if habits.speaks:
            limits = {"messages": habits.queue, "size": habits.queue_bytes}
            life = ClientLife(habits.make_end(""), resume=habits.resume, **limits)
        offers = life.offers if life else []
        socket, first = await self._dial(endpoint, offers, self._patience)
        if life is None or first is None or confirmed_by(first) is None:
            return Core(socket, endpoint.url, first=first, ping=PING)
        life.opened(first)
        dialer = Dialer(self._dial_again, habits.reconnect, PING, habits.on_state)
        return Core(socket, endpoint.url, Lifeline(socket, life, dialer, endpoint.shown))

    async def _dial(
        self, endpoint: Endpoint, offers: Sequence[str], patience: float
    ) -> tuple[AsyncSocket, Message | None]:
        """Open a socket; return it, and the first frame where one that says `wsh.v1` is due."""
        options = self._options
        if offers:
            options = {**options, "subprotocols": list(offers)}
        socket = await open_async(endpoint, options)
        if not offers or socket.subprotocol != SUBPROTOCOL:
            return socket, None
        try:
            with _silence():
                async with asyncio.timeout(patience):
                    return socket, await socket.recv()
        except BaseException:  # it was cancelled
            socket.transport.abort()
            raise
        return socket, None

    async def _dial_again(self, offers: list[str]) -> tuple[AsyncSocket, Message]:
        try:
            finding = asyncio.get_running_loop().run_in_executor(None, self._find)
        except RuntimeError as error:
            # An interpreter that ends starts no threads: no fault, and nobody is there to be told.
            raise ConnectError(f"the server is not looked for: {error}") from error
        endpoint = await finding  # whose own errors are told as they are
        limit = self._timeout or TIMEOUT
        async with asyncio.timeout(2 * limit):
            socket, first = await self._dial(endpoint, offers, limit)
        if first is None or confirmed_by(first) is None:
            socket.transport.abort()
            raise ConnectError(f"{endpoint.shown} answers, and does not speak wsh.v1")
        return socket, first

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


def _in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
