"""What connections of one loop share: receive buffer, joined writes, and calls from threads."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
from collections import deque
from collections.abc import Callable
from threading import get_ident
from typing import Any, Protocol

from ..errors import ConnectionClosed

RECEIVE_SIZE = 65536
"""Bytes read from one connection before another gets a turn."""

LATE = 0.005
"""Seconds of the event loop that what threads have asked for takes at a time."""


class Flushable(Protocol):
    """A transport whose queued frames can be sent."""

    def flush(self) -> None:
        """Send what is queued, as far as the operating system takes it."""


class Pending(Protocol):
    """Messages that were said in this turn of the loop, and are on their way to many."""

    def is_for(self, connection: Any) -> bool:
        """Return whether a connection is one of those whom they go to."""

    def deliver(self) -> None:
        """Send them now."""


class _Unready(list[Pending]):
    """What was put off and is not to be delivered yet: whoever asks finds nothing."""

    def __bool__(self) -> bool:
        return False


class LoopIO:
    """The receive buffer of one event loop, the joined writes of a turn, and the calls of threads.

    One buffer serves every connection: ``recv_into`` a buffer that exists costs a quarter of a
    ``recv`` that allocates its own. While a batch is open, transports queue their frames instead
    of sending each at once, and the end of the turn sends one joined chunk per connection.

    Args:
        loop: The event loop that all connections of this object run on; it runs in this thread.
        context: What the calls of threads run in; it names the manager.
        log: Where is written what such a call raises.

    Attributes:
        thread: Identity of the thread that the event loop runs in.
        changes: Grows with each call of `change_from_thread`.
    """

    __slots__ = (
        "_context",
        "_dirty",
        "_holding",
        "_is_plain",
        "_late",
        "_late_is_due",
        "_late_is_known",
        "_late_lock",
        "_log",
        "batching",
        "buffer",
        "changes",
        "held",
        "loop",
        "pending",
        "thread",
        "view",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        context: contextvars.Context | None = None,
        log: logging.Logger | logging.LoggerAdapter[Any] | None = None,
    ) -> None:
        self.loop = loop
        self.thread = get_ident()
        self._context = contextvars.Context() if context is None else context
        self._log = log or logging.getLogger("jupyter_wshandler")
        # Calls of threads wait in one line, and the loop is woken once for all that are in it: to
        # wake a loop costs a system call, and a thread may ask for thousands of things at once.
        self._late: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self._late_lock = threading.Lock()
        self._late_is_due = False  # in the loop's line
        self._late_is_known = False  # and the loop was woken for it
        self._holding: set[int] = set()
        # Another thread may put into the line of asyncio's own loops; of others that is not known.
        self._is_plain = getattr(type(loop), "call_soon", None) is asyncio.BaseEventLoop.call_soon
        self.changes = 0
        self.buffer = bytearray(RECEIVE_SIZE)
        self.view = memoryview(self.buffer)
        self.batching = False
        self._dirty: list[Flushable] = []
        self.pending: list[Pending] = []
        """What was said in rooms in this turn of the loop, and waits for its end."""
        self.held: list[Pending] | None = None
        """That, while nothing of it may be delivered; see `hold_pending`."""

    def begin_batch(self) -> None:
        """Queue frames until the end of this loop turn, so that each connection sends once."""
        if not self.batching:
            self.batching = True
            self.loop.call_soon(self.end_batch)

    def add(self, transport: Flushable) -> None:
        """Remember a transport that has queued its first frame in this batch."""
        self._dirty.append(transport)

    def end_batch(self) -> None:
        """Send what the batch has queued."""
        self.batching = False
        dirty, self._dirty = self._dirty, []
        for transport in dirty:
            transport.flush()

    # ---- what is said to many ------------------------------------------------------------------

    def put_off(self, pending: Pending) -> None:
        """Deliver something at the end of this turn of the loop, together with what follows."""
        if not self.pending:
            self.loop.call_soon(self.deliver_pending)
        self.pending.append(pending)

    def deliver_pending(self) -> None:
        """Deliver all that was put off, in order."""
        if self.pending:
            self.end_batch()  # what was written before goes first
        while self.pending:
            try:
                self.pending.pop(0).deliver()
            except Exception:
                self._log.exception("What was said in a room could not be delivered")

    def deliver_before(self, connection: Any) -> None:
        """Deliver what was put off, where a connection is about to be sent what was said later."""
        if any(pending.is_for(connection) for pending in self.pending):
            self.deliver_pending()

    def hold_pending(self) -> None:
        """Deliver nothing of what was put off, whoever asks for it, until `release_pending`."""
        self.held, self.pending = self.pending, _Unready()

    def release_pending(self) -> None:
        """Go on with what was put off; what has come meanwhile follows in a turn of its own."""
        held, self.held = self.held, None
        assert held is not None
        meanwhile, self.pending = self.pending, held
        if len(meanwhile):
            self.loop.call_soon(self._put_behind, meanwhile)

    def _put_behind(self, meanwhile: list[Pending]) -> None:
        self.pending += meanwhile
        self.deliver_pending()

    # ---- the hand-over from threads ----------------------------------------------------------

    def call_from_thread(self, function: Callable[..., object], *args: Any) -> None:
        """Call a function on the event loop, in the order of the calls; many share one wake-up.

        Args:
            function: What to call.
            args: What it gets.

        Raises:
            ConnectionClosed: The event loop has ended.
        """
        with self._late_lock:
            self._late.append((function, args))
            if not self._late_is_known:
                self._tell_loop()

    def send_from_thread(self, function: Callable[..., object], *args: Any) -> None:
        """Call a function as `call_from_thread` does; soon, where the calling thread holds back.

        Args:
            function: What to call.
            args: What it gets.

        Raises:
            ConnectionClosed: The event loop has ended.
        """
        with self._late_lock:
            self._late.append((function, args))
            if self._late_is_known:
                return
            if get_ident() not in self._holding:
                self._tell_loop()
            elif not self._late_is_due:
                # It is in the loop's own line, before all that others put there later, and done as
                # soon as the loop does anything.
                self._put_in_line(self.loop.call_soon)
                self._late_is_due = True

    def change_from_thread(self, function: Callable[..., object], *args: Any) -> None:
        """Call what changes more than what was sent: the next callback has to find it done.

        Args:
            function: What to call.
            args: What it gets.

        Raises:
            ConnectionClosed: The event loop has ended.
        """
        with self._late_lock:
            self.changes += 1
        self.call_from_thread(function, *args)

    def hold(self, thread: int) -> None:
        """Let a thread hold back what it sends until it has done all that it was woken for.

        Args:
            thread: Its identity. Whoever calls this calls `let_go` when it does not come back soon.
        """
        if self._is_plain and not self.loop.get_debug():
            with self._late_lock:
                self._holding.add(thread)

    def holds(self, thread: int) -> bool:
        """Say whether a thread holds back what it sends."""
        return thread in self._holding

    def let_go(self, thread: int) -> None:
        """Let a thread hold back no more; the last of them has the loop woken for all.

        Args:
            thread: Its identity.

        Raises:
            ConnectionClosed: The event loop has ended.
        """
        with self._late_lock:
            self._holding.discard(thread)
            if self._late_is_due and not self._late_is_known and not self._holding:
                self._tell_loop()

    def _tell_loop(self) -> None:
        """Wake the loop; with the lock held.

        Another thread that finds its call in line must be able to count on it, or what its callback
        returns would overtake what it has sent before.
        """
        self._put_in_line(self.loop.call_soon_threadsafe)
        self._late_is_due = self._late_is_known = True

    def _put_in_line(self, call_soon: Callable[..., object]) -> None:
        try:
            call_soon(self._run_late, context=self._context.copy())
        except RuntimeError:  # a thread that was left to itself has outlived the loop
            self._late.clear()
            raise ConnectionClosed("the server has stopped") from None

    def _run_late(self) -> None:
        """Do what threads have asked for, in order; after a few milliseconds others get a turn."""
        late, loop = self._late, self.loop
        if len(late) > 1:
            self.begin_batch()
        until = loop.time() + LATE
        while True:
            if not late:
                with self._late_lock:
                    if not late:
                        self._late_is_due = self._late_is_known = False
                        return
            function, args = late.popleft()
            try:
                function(*args)
            except Exception:
                self._log.exception("%s failed", getattr(function, "__qualname__", function))
            if late and loop.time() >= until:
                loop.call_soon(self._run_late)
                return

    def forget_calls(self) -> None:
        """Let go, in a child process, of what threads have asked for: they are in the parent."""
        self._late_lock = threading.Lock()  # another thread may have held it
        self._late.clear()
        self._holding.clear()
