"""Send to the clients of a server's routes from another process, without waiting for it.

One thread sends, one message after another, so that they arrive in the order in which they were
sent. It ends when nothing is left to send.
"""

from __future__ import annotations

import asyncio
import atexit
import base64
import contextlib
import contextvars
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Generator
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from ..errors import ConnectError, RequestRefused
from ..types import Delivered, Message
from .addresses import Server
from .rest import request
from .servers import find_server

MOST = 1000
"""Messages that wait to be sent; one more is given up."""

MOST_BYTES = 64 * 1024 * 1024
"""Bytes in them."""

LAST_WORDS = 5.0
"""Seconds that a process stays at its end until what was sent has left."""

AWAITING = 0.05
"""Seconds after a failure in which somebody may still begin to await it."""

REPEATS = 10.0
"""Seconds in which the same failure is written once."""

NOT_SENT = "it waits for the server behind {} others, and is given up"


class Delivery:
    """A message on its way to a server; to await it says what has become of it.

    Attributes:
        route: The name of the route.
    """

    def __init__(self, route: str) -> None:
        self.route = route
        self._future: Future[Delivered] = Future()
        self._awaited = threading.Event()

    @property
    def done(self) -> bool:
        """Whether it has arrived, or failed."""
        return self._future.done()

    def result(self, timeout: float | None = 30.0) -> Delivered:
        """Wait, in a thread, and return how many connections it was given to.

        Args:
            timeout: Seconds to wait; None for no limit.

        Raises:
            LookupError: There is no such route, or no server.
            RequestRefused: The server refuses it; says why.
            ConnectError: The server cannot be reached.
            TimeoutError: There is no answer yet.
        """
        self._awaited.set()
        return self._future.result(timeout)

    def __await__(self) -> Generator[Any, None, Delivered]:
        self._awaited.set()
        return asyncio.wrap_future(self._future).__await__()

    def __bool__(self) -> bool:
        raise TypeError("it is not known yet how many it reaches: await it, or ask for .result()")

    def __repr__(self) -> str:
        state = "on its way"
        if self._future.cancelled():
            state = "not sent"
        elif self._future.done():
            error = self._future.exception()
            state = repr(self._future.result()) if error is None else f"failed: {error}"
        return f"<Delivery to {self.route!r}: {state}>"

    # ---- for the outbox ------------------------------------------------------------------------

    def begins(self) -> bool:
        """Return whether it is still to be sent: who awaited it may have been cancelled."""
        return self._future.set_running_or_notify_cancel()

    def ends(self, result: Delivered | BaseException) -> bool:
        """Take what has become of it; return whether somebody awaits it."""
        if isinstance(result, BaseException):
            self._future.set_exception(result)
        else:
            self._future.set_result(result)
        return self._awaited.wait(0.0 if isinstance(result, Delivered) else AWAITING)


@dataclass(frozen=True)
class _Letter:
    """A message with its address."""

    delivery: Delivery
    message: Message
    to: str | None
    server: Server | None
    token: str | None = field(repr=False)
    context: contextvars.Context = field(default_factory=contextvars.copy_context)


class Outbox:
    """The messages of this process that have not left, and the thread that sends them."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self._changed = threading.Condition()
        self._waiting: deque[_Letter] = deque()
        self._bytes = 0
        self._thread: threading.Thread | None = None
        self._said = ("", 0.0)

    def put(self, letter: _Letter) -> None:
        """Send a message, after those before it."""
        size = len(letter.message)
        with self._changed:
            count = len(self._waiting)
            full = count >= MOST or (count and self._bytes + size > MOST_BYTES)
            if not full:
                self._waiting.append(letter)
                self._bytes += size
                if self._thread is None:
                    self._thread = threading.Thread(
                        target=self._run, name="wshandler outbox", daemon=True
                    )
                    self._thread.start()
        if full:
            letter.delivery.begins()
            if not letter.delivery.ends(ConnectError(NOT_SENT.format(count))):
                self._say(letter, NOT_SENT.format(count))

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._waiting:
                    self._thread = None
                    self._changed.notify_all()
                    return
                letter = self._waiting.popleft()
                self._bytes -= len(letter.message)
            if not letter.delivery.begins():
                continue
            try:
                result: Delivered | BaseException = _sent(letter)
            except Exception as error:
                result = error
            if not letter.delivery.ends(result) and isinstance(result, BaseException):
                self._say(letter, str(result))

    def _say(self, letter: _Letter, why: str) -> None:
        """Write why a message that nobody awaits has not been sent; below its cell in a notebook.

        Args:
            letter: The message.
            why: Why; the same is written now and then only.
        """
        line = f"wsh.send({letter.delivery.route!r}, ...): {why}\n"
        said, at = self._said
        if said == line and time.monotonic() - at < REPEATS:
            return
        self._said = (line, time.monotonic())
        with contextlib.suppress(Exception):  # there may be no standard error
            letter.context.run(sys.stderr.write, line.encode(errors="replace").decode())

    def let_leave(self, seconds: float) -> int:
        """Wait until all has left, and return how many messages have not.

        Args:
            seconds: How long, at most.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._thread is None, seconds)
            return len(self._waiting) + (self._thread is not None)


_outbox: Outbox | None = None
_first = threading.Lock()


def post(
    route: str, message: Message, *, to: str | None, server: str | None, token: str | None
) -> Delivery:
    """Send a message to the clients of a server's route, as soon as those before it are sent.

    Args:
        route: The route's name.
        message: What a frame carries.
        to: A connection's id or a user's name; everyone where None.
        server: Base URL of the server; found as `find_server` does where None.
        token: What to log in with, "" for nothing; the server's own where None.

    Raises:
        ValueError: `server` is no URL, or the text holds lone surrogates, which UTF-8 cannot.
    """
    if isinstance(message, str) and not message.isascii():
        message.encode()
    named = None if server is None else find_server(server)
    delivery = Delivery(route)
    _of_this_process().put(_Letter(delivery, message, to, named, token))
    return delivery


def _of_this_process() -> Outbox:
    global _outbox
    with _first:
        if _outbox is None:
            atexit.register(_leave)
        if _outbox is None or _outbox.process != os.getpid():
            _outbox = Outbox()  # a fork has its parent's, and no thread
        return _outbox


def _leave() -> None:
    """Let what was sent leave before the process ends."""
    if _outbox is None or _outbox.process != os.getpid():
        return
    left = _outbox.let_leave(LAST_WORDS)
    if left:
        with contextlib.suppress(Exception):
            sys.stderr.write(f"wsh.send: {left} messages had not left when the process ended\n")


def _sent(letter: _Letter) -> Delivered:
    """Send a message and return what the server says.

    Raises:
        LookupError: There is no such route, or no server.
        RequestRefused: The server refuses it.
        ConnectError: It cannot be reached.
        ValueError: The token is none.
    """
    route, message = letter.delivery.route, letter.message
    if not route:
        raise LookupError("there is no route ''")
    server = letter.server or find_server()
    body: dict[str, Any] = {"message": message}
    if isinstance(message, bytes):
        body = {"binary": base64.b64encode(message).decode()}
    if letter.to is not None:
        body["to"] = letter.to
    try:
        # Whatever the name is, the server says that there is no such route.
        path = quote(route.encode(errors="replace"), safe="/")
        said = request(server, "POST", f"routes/{path}", body, token=letter.token)
        return Delivered(int(said["delivered"]), route, int(said["connections"]), server.url)
    except RequestRefused as refusal:
        if refusal.status == 404 and refusal.reason:
            raise LookupError(refusal.reason) from None
        raise
    except (KeyError, TypeError, ValueError):
        words = f"{server.url} answers as no server of this package does"
        raise RequestRefused(words, 200) from None
