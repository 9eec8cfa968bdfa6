"""Bodies of requests: none is read before it is known who sends it, and no large one ever.

Tornado reads a request's whole body, up to `ServerApp.max_body_size` (512 MiB), before a handler
hears of it, unless the handler's class says that it takes the body in pieces
(``tornado.web.stream_request_body``). So every rule of ours stands twice: once for requests with a
body, with such a class, whose `prepare` decides while the body is still in the network.
"""

from __future__ import annotations

import asyncio
import re
import socket
from contextlib import suppress
from typing import Any, TypeVar

import msgspec
from tornado.http1connection import HTTP1Connection
from tornado.httputil import (
    HTTPConnection,
    HTTPHeaders,
    HTTPServerRequest,
    RequestStartLine,
    ResponseStartLine,
)
from tornado.iostream import IOStream, SSLIOStream, StreamClosedError
from tornado.routing import Matcher, Rule
from tornado.web import RequestHandler

SKIP_SECONDS = 5.0
"""Seconds that a client has, after a refusal, to stop sending a body and read the answer."""

QUIET_SECONDS = 1.0
"""Seconds without a byte after which a client is taken to have stopped sending."""

SKIP_BYTES = 64 * 1024 * 1024
"""Bytes of such a body that are read and thrown away."""

SKIP_AT_A_TIME = 64
"""Clients that are read from in this way; one more is cut off at once."""

PIECE = 65536
"""Bytes that are read at a time."""

T = TypeVar("T")

DEEPEST = 32
"""Objects and lists inside each other in JSON that is taken."""

_BRACKETS = re.compile(rb'"(?:[^"\\]|\\.)*+"|[][{}]', re.DOTALL)


def has_body(headers: HTTPHeaders) -> bool:
    """Return whether a request has a body (RFC 9112 section 6).

    Args:
        headers: The header fields of the request.
    """
    length = headers.get("Content-Length", "0").strip()
    return "Transfer-Encoding" in headers or bool(length.strip("0")) or not length


class WithBody(Matcher):
    """A matcher of the requests with a body, among those that another one matches.

    Args:
        matcher: The other matcher.
    """

    def __init__(self, matcher: Matcher) -> None:
        self.matcher = matcher

    def match(self, request: HTTPServerRequest) -> dict[str, Any] | None:
        """Return what the handler gets, or None."""
        return self.matcher.match(request) if has_body(request.headers) else None


def rules_for(
    matcher: Matcher,
    handler: type[RequestHandler],
    with_body: type[RequestHandler],
    settings: dict[str, Any] | None = None,
) -> list[Rule]:
    """Return the two rules for what a matcher matches.

    Args:
        matcher: What the rules are for.
        handler: Serves requests without a body.
        with_body: Serves those with one: `handler` with `UnreadBody` in front, and decorated with
            ``tornado.web.stream_request_body``.
        settings: What both get in `initialize`.
    """
    return [Rule(WithBody(matcher), with_body, settings), Rule(matcher, handler, settings)]


class Leftovers:
    """What clients still send of bodies that were refused, to be skipped.

    To close a socket with data that nobody has read resets the connection, and the client may
    lose the answer that it had been sent (RFC 9112 section 9.6). So it is read and thrown away for
    a while: a bounded number of bytes, for a bounded time, of a bounded number of clients.
    """

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def skip(self, stream: IOStream) -> None:
        """Skip what comes, in the background, and close.

        Args:
            stream: Has been given the whole answer.
        """
        if len(self._tasks) >= SKIP_AT_A_TIME:
            stream.close()
            return
        task = asyncio.get_running_loop().create_task(
            self.skipped(stream), name="wshandler skips a body"
        )
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def skipped(self, stream: IOStream) -> None:
        """Skip what comes, and close.

        Args:
            stream: Has been given the whole answer.
        """
        try:
            with suppress(StreamClosedError, TimeoutError, OSError):
                async with asyncio.timeout(SKIP_SECONDS):
                    await _read_away(stream)
        finally:
            stream.close()

    async def stop(self) -> None:
        """Skip nothing any more."""
        tasks = set(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


async def _read_away(stream: IOStream) -> None:
    # Once the answer is written, our direction is closed, so that the client sees its end. TLS
    # has no such half.
    await stream.write(b"")
    if not isinstance(stream, SSLIOStream) and stream.socket is not None:
        stream.socket.shutdown(socket.SHUT_WR)
    left = SKIP_BYTES
    while left > 0:
        async with asyncio.timeout(QUIET_SECONDS):
            left -= len(await stream.read_bytes(PIECE, partial=True))
        # What is there already is returned without a turn of the loop.
        await asyncio.sleep(0)


class LastAnswer(HTTPConnection):
    """The connection of a request whose body is not read, for its answer.

    Tornado would close it as soon as the answer is written.

    Args:
        connection: Tornado's.
        leftovers: Skips the body then; None where somebody else does.
    """

    def __init__(self, connection: HTTP1Connection, leftovers: Leftovers | None) -> None:
        self._connection = connection
        self._leftovers = leftovers

    def set_close_callback(self, callback: Any) -> None:
        """Hand on what is to be called when the client leaves."""
        self._connection.set_close_callback(callback)

    def write_headers(
        self,
        start_line: RequestStartLine | ResponseStartLine,
        headers: HTTPHeaders,
        chunk: bytes | None = None,
    ) -> asyncio.Future[None]:
        """Write the head of the answer; it says that it is the last one."""
        headers["Connection"] = "close"
        return self._connection.write_headers(start_line, headers, chunk)

    def write(self, chunk: bytes) -> asyncio.Future[None]:
        """Write a part of the answer."""
        return self._connection.write(chunk)

    def finish(self) -> None:
        """Let the client read the answer."""
        if self._leftovers is not None:
            self._leftovers.skip(self._connection.detach())


class UnreadBody(RequestHandler):
    """A handler that decides on a request before its body is read.

    Stands before the handler whose `prepare` decides; what that answers, or raises, is answered
    without a byte of the body. A class that takes bodies sets `lets_body_in` when it has decided.
    """

    leftovers: Leftovers
    lets_body_in = False

    def finish(self, *args: Any, **kwargs: Any) -> asyncio.Future[None]:
        """Answer; what the client still sends is skipped."""
        connection = self.request.connection
        if not self.lets_body_in and isinstance(connection, HTTP1Connection):
            self.request.connection = LastAnswer(connection, self.leftovers)
        return super().finish(*args, **kwargs)

    def data_received(self, chunk: bytes) -> Any:
        """Throw a piece of a body away that nobody wants."""


class WrongBody(ValueError):
    """A body that is not what was expected, in words for who has sent it."""


def decoded(body: bytes | bytearray, kind: type[T], expected: str, deepest: int = DEEPEST) -> T:
    """Return what a body of JSON says.

    Args:
        body: The body.
        kind: A msgspec.Struct, or what else msgspec can check.
        expected: What it should have been, for the message.
        deepest: Objects and lists inside each other that it may have.

    Raises:
        WrongBody: It is not that.
    """
    try:
        _check_depth(body, deepest)
        return msgspec.json.decode(body, type=kind)
    except (ValueError, RecursionError, msgspec.MsgspecError) as error:
        why = "too deep" if isinstance(error, RecursionError) else str(error)
        raise WrongBody(f"expected {expected}: {why}") from None


def _check_depth(body: bytes | bytearray, deepest: int) -> None:
    """Raise RecursionError where lists and objects stand too deep inside each other."""
    depth = 0
    for found in _BRACKETS.finditer(body):
        mark = found.group()
        if mark in b"[{":
            depth += 1
            if depth > deepest:
                raise RecursionError
        elif mark in b"]}":
            depth -= 1
