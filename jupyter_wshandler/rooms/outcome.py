"""What becomes of something that was asked of rooms: to be awaited, waited for, or ignored."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Generator
from threading import get_ident
from typing import Any, Generic, TypeVar

from ..transports.loop import LoopIO

T = TypeVar("T")

WAIT = 10.0
"""Seconds that a thread waits for an outcome where nothing else is said."""

_lock = threading.Lock()

_LOG = logging.getLogger("jupyter_wshandler")


class Outcome(Generic[T]):
    """The outcome of something: await it on the event loop, or call `result` in a thread.

    Whoever ignores it waits for nothing; that something has failed which nobody has looked at is
    then written to the log.

    Args:
        io: The event loop that it happens on.
    """

    __slots__ = ("__weakref__", "_done", "_error", "_event", "_io", "_seen", "_value", "_waiters")

    def __init__(self, io: LoopIO) -> None:
        self._io = io
        self._done = False
        self._seen = False
        self._value: T | None = None
        self._error: BaseException | None = None
        self._waiters: list[asyncio.Future[None]] | None = None
        self._event: threading.Event | None = None

    @property
    def done(self) -> bool:
        """Whether it is known."""
        return self._done

    def set(self, value: T) -> None:
        """Make it known, on the event loop; only the first outcome counts."""
        self._value = value
        self._finish()

    def fail(self, error: BaseException) -> None:
        """Make known, on the event loop, what has gone wrong; only the first outcome counts."""
        if not self._done:
            self._error = error
        self._finish()

    def then(self, function: Callable[[T | None, BaseException | None], object]) -> None:
        """Call a function with what becomes of it, on the event loop: the value, or an error."""
        self._seen = True
        if self._done:
            function(self._value, self._error)
            return
        waiter = self._io.loop.create_future()
        waiter.add_done_callback(lambda _: function(self._value, self._error))
        if self._waiters is None:
            self._waiters = []
        self._waiters.append(waiter)

    def _finish(self) -> None:
        with _lock:
            self._done = True
            event = self._event
        if event is not None:
            event.set()
        for waiter in self._waiters or ():
            if not waiter.done():
                waiter.set_result(None)
        self._waiters = None

    def _known(self) -> T:
        self._seen = True
        if self._error is not None:
            raise self._error
        return self._value  # type: ignore[return-value] # it is done

    def __await__(self) -> Generator[Any, None, T]:
        if get_ident() != self._io.thread:
            raise RuntimeError(
                "this belongs to the event loop of the bots; in a thread, or a cell, use .result()"
            )
        if not self._done:
            self._seen = True
            waiter = self._io.loop.create_future()
            if self._waiters is None:
                self._waiters = []
            self._waiters.append(waiter)
            yield from waiter
        return self._known()

    def result(self, timeout: float = WAIT) -> T:
        """Wait for it in a thread, and return it.

        Args:
            timeout: Seconds to wait at most.

        Raises:
            TimeoutError: It is not known in time.
            RuntimeError: This is the event loop, where it is to be awaited.
        """
        with _lock:
            if not self._done and self._event is None:
                self._event = threading.Event()
        if not self._done:
            if get_ident() == self._io.thread:
                raise RuntimeError("this is the event loop, which must not wait; await it")
            self._seen = True
            assert self._event is not None
            if not self._event.wait(timeout):
                raise TimeoutError(f"nothing has been heard of it for {timeout:g} s")
        return self._known()

    def __repr__(self) -> str:
        if not self._done:
            return "<Outcome, not known yet>"
        return f"<Outcome {self._error!r}>" if self._error else f"<Outcome {self._value!r:.200}>"

    def __del__(self) -> None:
        if self._error is not None and not self._seen:
            _LOG.warning("What was asked of a room has failed: %s", self._error)
