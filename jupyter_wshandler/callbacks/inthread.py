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

import msgspec

from ..connection.background import Timer
from ..connection.connection import Connection
from ..connection.phase import OPEN
from ..connection.receiving import LIGHT
from ..connection.turns import context_from, end_work, next_message
from ..connection.work import Work
from ..engine.payload import JsonText
from ..engine.protocol import Pong
from ..errors import ConnectionClosed
from ..forks import leave_if_copy
from ..transports.loop import LoopIO
from ..types import Callback, Message, Question
from .fairness import NOBODY, Owner
from .pool import ThreadPool
from .results import ready_to_send, send
from .threads import CallbackThreads

STRETCH = 0.001
"""Seconds after which a thread takes no further message of the same connection: others' turn."""

MANY = 64
"""Messages after which it takes none."""


Waiting = Message | Question | Pong | Timer | None
"""What may wait for a connection's callbacks."""


class Runner(Protocol):
    """Who runs what is not plain."""

    def wake(self, connection: Connection) -> None:
        """Run what waits on a connection, if nothing of it runs already."""

    def step(self, c: Connection, work: Work, message: Waiting) -> None:
        """Do a connection's work, beginning with a message, where it has been taken already."""

    def take_rest(self, turn: ThreadTurn) -> asyncio.Task[None]:
        """Run the rest of the work in a task; first what became of a turn's last message."""


class Handover:
    """What hands the messages of a `def` over to threads, and takes the work back.

    Args:
        runner: Who runs what is not plain.
        io: The way back to the event loop.
        threads: The threads.
        context: What callbacks start from, where their route has no context.
    """

    def __init__(
        self,
        runner: Runner,
        io: LoopIO,
        threads: CallbackThreads,
        context: contextvars.Context,
    ) -> None:
        self.io = io
        self.process = os.getpid()
        self.take_rest = runner.take_rest
        self._runner = runner
        self._threads = threads
        self._context = context

    def offer(self, c: Connection, work: Work) -> Waiting | Work:
        """Let a thread handle a connection's messages, and return the work: it is taken care of.

        Returns:
            Else what is to be handled first, if that has been taken out of the inbox.
        """
        if not work.has_opened or work.answers is not None:
            return None
        callback = work.entry.callbacks.get("on_message")
        if callback is None or callback.inline:
            return None
        message = next_message(c)
        if type(message) is not str and type(message) is not bytes:
            return message
        callback = work.entry.callbacks.get("on_message")  # of a route that was loaded again
        if callback is None or callback.inline or work.is_heavy:
            return message
        context = context_from(c, work.entry.context or self._context)
        turn = ThreadTurn(self, c, work, callback, message, context)
        work.task = turn
        work.since = self.io.loop.time()
        work.callback = callback
        turn.pool = self._threads.run(turn, c)
        return work

    def go_on(self, turn: ThreadTurn) -> None:
        """Go on with the work of a turn that has ended as it should: the next message is due."""
        c, work = turn.c, turn.work
        work.callback = work.task = None
        message = self.offer(c, work)
        if isinstance(message, Work):
            return
        if message is None and c.phase is OPEN:
            if end_work(c, work):
                self._runner.wake(c)
        else:
            self._runner.step(c, work, message)

    def give_up(self, turn: ThreadTurn) -> None:
        """Leave the thread of a turn to itself, or take the turn out of its line."""
        if turn.pool is not None:
            self._threads.abandon(turn.pool, turn, turn.c, turn.callback.name)


class ThreadTurn(msgspec.Struct, eq=False):
    """Some messages of one connection, which a thread handles; it stands for their future and task.

    Args:
        handover: Goes on with the work.
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
        owner: For whom its calls count.
        over: Whether nobody waits for it any more.
    """

    # A msgspec struct, as the work is: there is one for nearly each message.
    handover: Handover
    c: Connection
    work: Work
    callback: Callback
    message: Message
    context: contextvars.Context
    result: Any = None
    error: BaseException | None = None
    ran_in: contextvars.Context | None = None
    pool: ThreadPool | None = None
    owner: Owner = NOBODY
    over: bool = False

    @property
    def keeper(self) -> Connection:
        """Whose calls they are."""
        return self.c

    @property
    def clock(self) -> Work:
        """What is told since when they run."""
        return self.work

    @property
    def label(self) -> str:
        """The callback's name."""
        return self.callback.name

    # ---- in the thread ---------------------------------------------------------------------------

    def run(self, enter: Callable[[], object]) -> None:
        """Handle messages, one after the other; leaves what is not plain in the attributes.

        Args:
            enter: Gives the thread its event loop, before each call.
        """
        c, work, io = self.c, self.work, self.handover.io
        function, given = ready_to_send(work, self.callback, (c,))
        entry, process, handled = work.entry, self.handover.process, 0
        now = work.since = time.monotonic()
        until = now + STRETCH
        while True:
            enter()
            context = self.ran_in = self.context.copy()
            changes = io.changes
            result = context.run(function, *given, self.message)
            leave_if_copy(process)
            if result is not None:
                kind = type(result)
                if kind is not str and kind is not bytes and kind is not JsonText:
                    self.result = result
                    return
                if function is not self.callback.call:  # it is meant to be sent
                    if kind is not bytes and not result.isascii():
                        result.encode()  # what cannot be sent is the callback's fault
                    io.send_from_thread(self._send, result)
                    if len(result) > LIGHT:
                        return  # it is gone before there is another
            now = time.monotonic()
            handled += 1
            if now >= until or handled >= MANY or self.over:
                return
            if c.entry is not entry or c.phase is not OPEN or work.why is not None:
                return  # why: the client has stopped this one, and not the next
            if io.changes != changes:
                return  # it may have closed the connection, or joined a room
            following = c.take_plain()
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
        try:
            self.handover.io.send_from_thread(self._ended)
        except ConnectionClosed:  # the loop has ended
            return

    # ---- on the event loop -----------------------------------------------------------------------

    def _send(self, result: Message) -> None:
        if not self.over:
            with contextlib.suppress(ConnectionClosed):  # the client has left meanwhile
                send(self.c, self.work, self.callback, result)

    def _ended(self) -> None:
        # The next message, or what was not plain.
        if not self.over:
            self.over = True
            if self.error is None and self.result is None and self.work.why is None:
                self.handover.go_on(self)
            else:
                self.work.task = self.handover.take_rest(self)

    def done(self) -> bool:
        """Whether nobody waits for it any more."""
        return self.over

    def cancelled(self) -> bool:
        """Whether its thread need not begin it."""
        return self.over

    def set_exception(self, error: BaseException) -> None:
        """Take note why no thread has taken it."""
        if not self.over:
            self.error = error
            self._ended()

    def cancel(self) -> None:
        """Interrupt it: its thread cannot be, and is left to itself; a task sees to the rest."""
        if not self.over:
            self.over = True
            self.error = asyncio.CancelledError()
            self.handover.give_up(self)
            self.work.task = self.handover.take_rest(self)
