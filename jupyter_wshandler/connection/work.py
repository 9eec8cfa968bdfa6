"""The work of a connection: what of it runs now, and the turns in which its callbacks run."""

from __future__ import annotations

from typing import Protocol

import msgspec

from ..routes import Route
from ..types import Callback, Message
from .answers import Answers


class Interruptible(Protocol):
    """What runs a connection's work: a task, or what stands for one while a thread has it."""

    def cancel(self) -> object:
        """Interrupt it."""


class Work(msgspec.Struct, eq=False):
    """What of a connection runs at the moment.

    A connection has at most one, and only while it has something to do: between `begin_work` and
    `end_work`. So its callbacks run one after the other, and an idle one costs no task. Whoever
    runs a turn keeps the object in hand: what is looked at for each message is written here by
    `next_message`, as to ask the connection for it, by a property, would take ten times as long.

    Args:
        entry: The route.
        answers: What marks the connection's answers; None for a plain client.
        has_opened: Whether its `open` has had its turn.

    Attributes:
        entry: The route as it was when the last message was taken; a reload changes it.
        has_more: Whether more messages waited then.
        is_heavy: Whether that message is a large one.
        task: The task that runs it, or what stands for one (`callbacks.inthread`); None while its
            first step runs.
        callback: What runs now; None between two callbacks.
        since: When that began, or has yielded last, by the event loop's clock, in seconds;
            `callbacks.job.WAITING` while it waits for a thread.
        streaming: Whether it is a generator that sends what it yields.
        why: Why it was interrupted: "closed", "stopped", "timeout" or "stop"; None where not.
            "stopping": its client wants no more, and it ends when its generator yields again.
        cancelled_at: When that was.
        abandoned: Whether it does not end though it was interrupted. It is left to itself then:
            what comes of it is nobody's any more, and the connection may have other work.
        has_message: Whether a message is being handled; kept only where somebody observes it.
        filtered: What the filters of what comes in have made of the last message; None before they
            have let it through, and without such filters.
    """

    # A msgspec struct: to make one takes a quarter of the time that a class with slots takes.
    entry: Route
    answers: Answers | None = None
    has_opened: bool = True
    has_more: bool = False
    is_heavy: bool = False
    task: Interruptible | None = None
    callback: Callback | None = None
    since: float = 0.0
    streaming: bool = False
    why: str | None = None
    cancelled_at: float = 0.0
    abandoned: bool = False
    has_message: bool = False
    filtered: Message | None = None

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
