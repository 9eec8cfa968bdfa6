"""Send to the clients and rooms of a server from another process, without waiting for it.

One thread sends, one message after another, so that they arrive in the order in which they were
sent; what is asked of a room waits its turn behind them. It ends when nothing is left to send.
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
from collections.abc import Callable, Generator
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar
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


T = TypeVar("T")


class Call(NamedTuple):
    """What somebody has called, and what they want by that: as words."""

    words: str
    """The call, such as "wsh.send('pingbot', ...)"."""
    meant: str
    """What `repr` says, such as "Delivery to 'pingbot'"."""
    unknown: str = "how many it reaches"
    """What is not known before the server has answered."""


class Delivery(Generic[T]):
    """A message, or a question, on its way to a server; to await it says what has become of it.

    Args:
        call: What was called.
    """

    def __init__(self, call: Call) -> None:
        self.call = call
        self._future: Future[T] = Future()
        self._awaited = threading.Event()

    @property
    def done(self) -> bool:
        """Whether it has arrived, or failed."""
        return self._future.done()

    def result(self, timeout: float | None = 30.0) -> T:
        """Wait, in a thread, and return what the server says, such as `Delivered`.

        Args:
            timeout: Seconds to wait; None for no limit.

        Raises:
            LookupError: There is no such route or space, or no server.
            RequestRefused: The server refuses it; says why.
            ConnectError: The server cannot be reached.
            TimeoutError: There is no answer yet.
        """
        self._awaited.set()
        return self._future.result(timeout)

    def __await__(self) -> Generator[Any, None, T]:
        self._awaited.set()
        return asyncio.wrap_future(self._future).__await__()

    def __bool__(self) -> bool:
        raise TypeError(f"it is not known yet {self.call.unknown}: await it, or ask for .result()")

    def __repr__(self) -> str:
        state = "on its way"
        if self._future.cancelled():
            state = "not sent"
        elif self._future.done():
            error = self._future.exception()
            state = repr(self._future.result()) if error is None else f"failed: {error}"
        return f"<{self.call.meant}: {state}>"

    # ---- for the outbox ------------------------------------------------------------------------

    def begins(self) -> bool:
        """Return whether it is still to be sent: who awaited it may have been cancelled."""
        return self._future.set_running_or_notify_cancel()

    def ends(self, result: T) -> None:
        """Take what the server says."""
        self._future.set_result(result)

    def fails(self, error: BaseException) -> bool:
        """Take what has gone wrong; return whether somebody awaits it."""
        self._future.set_exception(error)
        return self._awaited.wait(AWAITING)


@dataclass(frozen=True)
class Letter(Generic[T]):
    """A message, or a question, with its address.

    Attributes:
        delivery: What is told what becomes of it.
        method: The verb, such as "POST".
        path: The address below ``wshandler/api/``.
        read: Makes the result of what the server answers, and of its URL.
        message: What a frame carries; None for a question.
        more: What the body says beside the message.
        server: Which server; found as `find_server` does where None.
        token: What to log in with, "" for nothing; the server's own where None.
        context: In which failures are written, so that they are below the cell.
    """

    delivery: Delivery[T]
    method: str
    path: str
    read: Callable[[Any, str], T]
    message: Message | None = None
    more: dict[str, str] = field(default_factory=dict)
    server: Server | None = None
    token: str | None = field(default=None, repr=False)
    context: contextvars.Context = field(default_factory=contextvars.copy_context)

    @property
    def size(self) -> int:
        """Bytes, or characters, that it takes."""
        return len(self.message or "")

    @property
    def body(self) -> dict[str, Any] | None:
        """What is sent; None for a question."""
        if self.message is None:
            return None
        if isinstance(self.message, bytes):
            return {"binary": base64.b64encode(self.message).decode(), **self.more}
        return {"message": self.message, **self.more}


class Outbox:
    """The messages of this process that have not left, and the thread that sends them."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self._changed = threading.Condition()
        self._waiting: deque[Letter[Any]] = deque()
        self._bytes = 0
        self._thread: threading.Thread | None = None
        self._said = ("", 0.0)

    def put(self, letter: Letter[Any]) -> None:
        """Send a message, after those before it."""
        size = letter.size
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
            if not letter.delivery.fails(ConnectError(NOT_SENT.format(count))):
                self._say(letter, NOT_SENT.format(count))

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._waiting:
                    self._thread = None
                    self._changed.notify_all()
                    return
                letter = self._waiting.popleft()
                self._bytes -= letter.size
            if not letter.delivery.begins():
                continue
            try:
                result = _sent(letter)
            except Exception as error:
                if not letter.delivery.fails(error):
                    self._say(letter, str(error))
            else:
                letter.delivery.ends(result)

    def _say(self, letter: Letter[Any], why: str) -> None:
        """Write why a message that nobody awaits has not been sent; below its cell in a notebook.

        Args:
            letter: The message.
            why: Why; the same is written now and then only.
        """
        line = f"{letter.delivery.call.words}: {why}\n"
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
) -> Delivery[Delivered]:
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
    delivery: Delivery[Delivered] = Delivery(
        Call(f"wsh.send({route!r}, ...)", f"Delivery to {route!r}")
    )
    # Whatever the name is, the server says that there is no such route.
    path = f"routes/{quote(route.encode(errors='replace'), safe='/')}" if route else ""

    def read(said: Any, url: str) -> Delivered:
        return Delivered(int(said["delivered"]), route, int(said["connections"]), url)

    more = {} if to is None else {"to": to}
    return send_letter(delivery, "POST", path, read, message, more, server=server, token=token)


def send_letter(
    delivery: Delivery[T],
    method: str,
    path: str,
    read: Callable[[Any, str], T],
    message: Message | None = None,
    more: dict[str, str] | None = None,
    *,
    server: str | None,
    token: str | None,
) -> Delivery[T]:
    """Send a message, or ask something, as soon as what was sent before has left.

    Args:
        delivery: What is told what becomes of it; is returned.
        method: As `Letter` has it, like the next four.
        path: See there; nothing is sent where it is empty.
        read: See there.
        message: See there.
        more: See there.
        server: Base URL of the server; found as `find_server` does where None.
        token: See there.

    Raises:
        ValueError: `server` is no URL, or the text holds lone surrogates, which UTF-8 cannot.
    """
    if isinstance(message, str) and not message.isascii():
        message.encode()
    named = None if server is None else find_server(server)
    letter = Letter(delivery, method, path, read, message, more or {}, named, token)
    _of_this_process().put(letter)
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


def _sent(letter: Letter[T]) -> T:
    """Send a message and return what the server says.

    Raises:
        LookupError: There is no such route or space, or no server.
        RequestRefused: The server refuses it.
        ConnectError: It cannot be reached.
        ValueError: The token is none.
    """
    if not letter.path:
        raise LookupError("there is no route ''")
    server = letter.server or find_server()
    try:
        said = request(server, letter.method, letter.path, letter.body, token=letter.token)
        return letter.read(said, server.url)
    except RequestRefused as refusal:
        if refusal.status == 404 and refusal.reason:
            raise LookupError(refusal.reason) from None
        raise
    except (KeyError, TypeError, ValueError):
        words = f"{server.url} answers as no server of this package does"
        raise RequestRefused(words, 200) from None
