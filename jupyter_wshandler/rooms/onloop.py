"""What is asked of rooms from any thread, and done on the event loop."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from threading import get_ident
from typing import TypeVar

from ..connection.crossing import PATIENCE, Crossing
from ..connection.observer import Observer
from ..errors import ConnectionClosed
from ..transports.loop import LoopIO
from .outcome import Outcome

T = TypeVar("T")

CROSSING_MESSAGES = 1000
"""Messages to rooms that may be on their way from threads to the loop."""

CROSSING_BYTES = 4 * 1024 * 1024
"""Bytes in them."""


class OnLoop(Observer):
    """What does things on the event loop, at once or soon; threads wait where they ask too much."""

    def __init__(self) -> None:
        self.io: LoopIO = None  # type: ignore[assignment] # set by `start`
        self._crossing = Crossing()

    def on_loop(self, function: Callable[[], T], size: int = 0) -> Outcome[T]:
        """Do something on the event loop: at once there, and soon from a thread.

        Args:
            function: What to do; on the loop the caller gets what it raises.
            size: Bytes that it counts for on its way; 0 for what is no message.

        Raises:
            TimeoutError: It was called in a thread, and too much of threads is on its way.
        """
        outcome: Outcome[T] = Outcome(self.io)
        if get_ident() == self.io.thread:
            outcome.set(function())
            return outcome
        self.cross(partial(_resolve, outcome, function), size, changes=not size)
        return outcome

    def cross(self, function: Callable[[], object], size: int, *, changes: bool = False) -> None:
        """Call a function on the event loop, from a thread, which waits while too much is waiting.

        Args:
            function: What to call.
            size: Bytes that it counts for on its way.
            changes: Whether the caller's next callback has to find it done.

        Raises:
            TimeoutError: The event loop has taken nothing for too long.
        """
        crossing = self._crossing
        if not crossing.enter(size, CROSSING_MESSAGES, CROSSING_BYTES, PATIENCE):
            raise TimeoutError("the server's event loop takes no more messages to rooms now")
        try:
            call = self.io.change_from_thread if changes else self.io.call_from_thread
            call(_arrive, crossing, size, function)
        except ConnectionClosed:
            crossing.leave(size)
            raise


def _resolve(outcome: Outcome[T], function: Callable[[], T]) -> None:
    try:
        outcome.set(function())
    except Exception as error:
        outcome.fail(error)


def _arrive(crossing: Crossing, size: int, function: Callable[[], object]) -> None:
    crossing.leave(size)
    function()
