"""The work of a connection: what of it runs now, and the turns in which its callbacks run."""

from __future__ import annotations

import asyncio

from ..types import Callback


class Work:
    """What of a connection runs at the moment.

    A connection has at most one, and only while it has something to do: between `begin_work` and
    `end_work`. So its callbacks run one after the other, and an idle one costs no task. Whoever
    runs a turn keeps the object in hand: what is read here for each message is no property.

    Attributes:
        task: The task that runs it; None while its first step runs, or where none is needed.
        callback: What runs now; None between two callbacks.
        since: When that began, or has yielded last, by the event loop's clock, in seconds;
            `callbacks.job.WAITING` while it waits for a thread.
        streaming: Whether it is a generator that sends what it yields.
        why: Why it was interrupted: "closed", "stopped", "timeout" or "stop"; None where not.
        cancelled_at: When that was.
        abandoned: Whether it does not end though it was interrupted. It is left to itself then:
            what comes of it is nobody's any more, and the connection may have other work.
        has_message: Whether a message is being handled; kept only where somebody observes it.
    """

    __slots__ = (
        "abandoned",
        "callback",
        "cancelled_at",
        "has_message",
        "since",
        "streaming",
        "task",
        "why",
    )

    def __init__(self) -> None:
        self.task: asyncio.Task[None] | None = None
        self.callback: Callback | None = None
        self.since = 0.0
        self.streaming = False
        self.why: str | None = None
        self.cancelled_at = 0.0
        self.abandoned = False
        self.has_message = False

    def interrupt(self, why: str, now: float) -> None:
        """Interrupt the callback that runs, if one does; for the same reason only once.

        Args:
            why: What is to be made of it; see the attribute.
            now: The event loop's time, in seconds.
        """
        if self.callback is not None and self.why != why:
            self.why, self.cancelled_at = why, now
            if self.task is not None:  # a first step that runs cannot be interrupted
                self.task.cancel()
