"""Messages that a plain `def` handles in a thread, without a task and a future for each.

What a connection has read is handed over together: its thread takes one message after the other out
of the inbox, for a millisecond, and what it sends and returns goes back to the event loop in one
line, in order. All that is not so plain (what is raised, a generator, an answer in an envelope, a
large message, another callback's turn) is left to `run.CallbackRunner`, which goes on with a task.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import os
import time
from collections.abc import Callable
from typing import Any, Protocol

from ..connection.connection import Connection
from ..connection.phase import OPEN
from ..connection.turns import take_plain
from ..connection.work import Work
from ..engine.payload import JsonText
from ..errors import ConnectionClosed
from ..forks import leave_if_copy
from ..transports.loop import LoopIO
from ..types import Callback, Message
from .pool import ThreadPool
from .results import ready_to_send, send

STRETCH = 0.001
"""Seconds after which a thread takes no further message of the same connection: others' turn."""

MANY = 64
"""Messages after which it takes none."""


class Runner(Protocol):
    """Who goes on with what is not plain."""

    def go_on(self, turn: ThreadTurn) -> None:
        """Go on with the work of a turn that has ended as it should: the next message is due."""

    def take_rest(self, turn: ThreadTurn) -> asyncio.Task[None]:
        """Run the rest of the work in a task."""

    def give_up(self, turn: ThreadTurn) -> None:
        """Leave the thread of a turn to itself, or take its call out of the line."""


class ThreadTurn:
    """Some messages of one connection, which a thread handles; it stands for their future and task.

    Args:
        runner: Who goes on with what is not plain.
        io: The way back to the event loop.
        c: The connection.
        work: Its work.
        callback: A `def` that runs in a thread.
        message: The first message.
        context: What each call runs in a copy of.

    Attributes:
        result: What the last call has returned, where that is no message.
        error: What it has raised, or why no thread has taken it; the messages before are done.
        ran_in: The context of the last call, which has ended.
        pool: The threads that it was handed to.
    """

    __slots__ = (
        "_context",
        "_handled",
        "_io",
        "_over",
        "_process",
        "_runner",
        "c",
        "callback",
        "clock",
        "error",
        "keeper",
        "label",
        "message",
        "pool",
        "ran_in",
        "result",
        "work",
    )

    def __init__(
        self,
        runner: Runner,
        io: LoopIO,
        c: Connection,
        work: Work,
        callback: Callback,
        message: Message,
        context: contextvars.Context,
    ) -> None:
        self.c = self.keeper = c
        self.work = self.clock = work
        self.callback = callback
        self.label = callback.name
        self.message = message
        self.result: Any = None
        self.error: BaseException | None = None
        self.ran_in = context
        self.pool: ThreadPool | None = None
        self._runner = runner
        self._io = io
        self._context = context
        self._over = False
        self._handled = 0
        self._process = os.getpid()

    # ---- in the thread ---------------------------------------------------------------------------

    def run(self, enter: Callable[[], object]) -> None:
        """Handle messages, one after the other; leaves what is not plain in the attributes.

        Args:
            enter: Gives the thread its event loop, before each call.
        """
        c, work = self.c, self.work
        function, given = ready_to_send(work, self.callback, (c,))
        entry = work.entry
        now = work.since = time.monotonic()
        until = now + STRETCH
        while True:
            enter()
            context = self.ran_in = self._context.copy()
            result = context.run(function, *given, self.message)
            if result is not None:
                kind = type(result)
                if kind is not str and kind is not bytes and kind is not JsonText:
                    self.result = result
                    return
                if function is not self.callback.call:  # it is meant to be sent
                    if kind is not bytes and not result.isascii():
                        result.encode()  # what cannot be sent is the callback's fault
                    self._io.call_from_thread(self._send, result)
            now = time.monotonic()
            self._handled += 1
            if now >= until or self._handled >= MANY or self._over:
                return
            if c.entry is not entry or c.phase is not OPEN:
                return
            leave_if_copy(self._process)
            following = take_plain(c)
            if following is None:
                return
            self.message = following
            work.since = now

    def post(self, error: BaseException | None) -> None:
        """Hand the work back to the event loop, behind what was sent; called in the thread.

        Args:
            error: What the last call has raised.
        """
        if error is not None:
            self.error = error
        with contextlib.suppress(ConnectionClosed):  # the loop has ended
            self._io.call_from_thread(self._ended)

    # ---- on the event loop -----------------------------------------------------------------------

    def _send(self, result: Message) -> None:
        if not self._over:
            with contextlib.suppress(ConnectionClosed):  # the client has left meanwhile
                send(self.c, self.work, self.callback, result)

    def _ended(self) -> None:
        # The next message, or what was not plain.
        if not self._over:
            self._over = True
            if self.error is None and self.result is None and self.work.why is None:
                self._runner.go_on(self)
            else:
                self.work.task = self._runner.take_rest(self)

    def done(self) -> bool:
        """Whether nobody waits for it any more."""
        return self._over

    def cancelled(self) -> bool:
        """Whether its thread need not begin it."""
        return self._over

    def set_exception(self, error: BaseException) -> None:
        """Take note why no thread has taken it."""
        if not self._over:
            self.error = error
            self._ended()

    def cancel(self) -> None:
        """Interrupt it: its thread cannot be, and is left to itself; a task sees to the rest."""
        if not self._over:
            self._over = True
            self.error = asyncio.CancelledError()
            self._runner.give_up(self)
            self.work.task = self._runner.take_rest(self)
