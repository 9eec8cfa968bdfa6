"""Events between a server and a kernel, in batches over one Jupyter comm.

Both sides have a `Courier`. A comm message holds one batch::

    {"n": 7, "got": 6, "taken": {"c1": 3}, "events": [["text", "c1", "hello"], ["binary", "c1"]]}

`n` numbers the batches of one side and `got` is the last one that came from the other; `taken`
says how many messages of a connection (of a kernel's, also pings) have been handled, so that more
may come. The payloads of
binary events are the comm message's buffers, in order. Batching is what makes a bridge fast (one
comm message per event gives some hundred events per second) and what keeps it from using up the
rate that a notebook's server allows its kernel (1,000 messages a second).
"""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from .batches import MAX_EVENTS
from .events import Event

PROTOCOL = 7
"""Version of this language: a server and a kernel of different versions leave each other alone."""

TARGET = "wshandler"
"""Target name of the comm, and id of the one that says that a kernel has bots."""

TOPIC = b"wshandler"
"""Topic of the kernel's batches on iopub: the server subscribes to nothing else."""

MAX_SIZE = 1024 * 1024
"""Bytes in one batch, unless a single event has more."""

LONG = 64 * 1024
"""Characters of a text beyond which it travels beside the JSON."""

KERNEL_IN_FLIGHT = 8
"""Batches of a kernel that the server may not have confirmed yet, at most."""

PIPED = 4
"""Batches of a server that a kernel may not have confirmed yet, at most, where it has a pipe: the
kernel works on one while the next is written."""

WINDOW = 16 * 1024
"""Messages and pings of one connection that the server may have and not have sent on: as many
small ones as a socket takes before it is full."""

WINDOW_SIZE = 1024 * 1024
"""Bytes in them, at most; one message is always allowed."""

Batch: TypeAlias = dict[str, Any]
Transmit: TypeAlias = Callable[[Batch, list[bytes]], object]


class OutOfStep(Exception):
    """The loss of a batch, and of what was in it."""


class Courier:
    """One side's way to the other: events in order and in batches, on one event loop.

    Args:
        loop: The event loop.
        transmit: Sends a batch and its buffers as one comm message.
        in_flight: Batches that the other side may not have confirmed yet, at most.
        rate: Batches per second in the long run, at most; 0 for no limit.
        burst: Batches that may go out faster, after a silence.
        patience: Seconds that a confirmation waits for a batch to travel with.
        dropped: Hears of an event that cannot be written, and why: it alone does not leave.
        pack: Writes a value as `transmit` does, and raises what it raises.
        whole: Whether `transmit` takes events as they are; else it gets them as lists.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        transmit: Transmit,
        *,
        in_flight: int,
        patience: float,
        rate: float = 0.0,
        burst: int = 1,
        dropped: Callable[[Event, Exception], object] = lambda event, error: None,
        pack: Callable[[Any], object] | None = None,
        whole: bool = False,
    ) -> None:
        self._loop = loop
        self._transmit = transmit
        self._dropped = dropped
        self._pack = pack or _as_json
        self.in_flight = in_flight
        """Batches that the other side may not have confirmed yet, at most."""
        self.whole = whole
        """Whether events leave as they are, and not as lists."""
        self._rate, self._burst = rate, burst
        self._credit, self._credited = float(burst), loop.time()
        self._patience = patience
        self._events: deque[tuple[Event, bytes | None, int]] = deque()
        self.waiting = 0
        """Bytes in the events that have not left."""
        # What was taken of the other side's, in order: the number of our own events that must have
        # left before it hears of that, and the counts by name.
        self._taken: deque[tuple[int, dict[str, int]]] = deque()
        self._put = self._left = 0
        self._number = 0
        self._sent: OrderedDict[int, float] = OrderedDict()
        self._received = 0
        self._handled = 0
        self._confirmed = 0
        self._not_before = 0.0
        self._timer: asyncio.Handle | None = None
        self._due = 0.0
        self._closed = False

    # ---- sending ---------------------------------------------------------------------------

    def put(self, event: Event, buffer: bytes | None = None, size: int = 64) -> None:
        """Send an event, with those that follow it in this turn of the loop.

        Args:
            event: The event.
            buffer: What travels beside the JSON.
            size: What the event counts for, in bytes.
        """
        self._events.append((event, buffer, size))
        self._put += 1
        self.waiting += size
        if len(self._sent) < self.in_flight:
            self._flush_at(self._not_before)

    def take(self, name: str, count: int = 1) -> None:
        """Tell the other side, after all that was put before, that messages have been handled.

        Args:
            name: The connection's id.
            count: How many.
        """
        if not self._taken or self._taken[-1][0] != self._put:
            self._taken.append((self._put, {}))
        counts = self._taken[-1][1]
        counts[name] = counts.get(name, 0) + count
        self._confirm_soon()

    def flush(self) -> None:
        """Send the events that would leave in the next turn of the loop, without that turn."""
        may = len(self._sent) < self.in_flight and self._not_before <= self._loop.time()
        if self._events and may and self._timer is not None:
            self._timer.cancel()
            self._flush()

    def _confirm_soon(self) -> None:
        if self._timer is not None:
            return  # it is not later than that
        self._flush_at(max(self._not_before, self._loop.time() + self._patience))

    def _flush_at(self, due: float) -> None:
        if self._closed:
            return
        if self._timer is not None:
            if self._due <= due:
                return
            self._timer.cancel()
        self._due = due
        if due <= self._loop.time():
            self._timer = self._loop.call_soon(self._flush)
        else:
            self._timer = self._loop.call_at(due, self._flush)

    def _flush(self) -> None:
        self._timer = None
        now = self._loop.time()
        batch: Batch = {}
        pairs: list[tuple[Event, bytes | None]] = []
        if self._events and len(self._sent) < self.in_flight:
            self._number += 1
            self._sent[self._number] = now
            batch["n"] = self._number
            pairs = self._next_events()
            batch["events"] = [event if self.whole else event.as_list() for event, _ in pairs]
        if self._handled > self._confirmed:
            batch["got"] = self._confirmed = self._handled
        taken = self._next_taken()
        if taken:
            batch["taken"] = taken
        if not batch:
            return
        self._not_before = self._spend(now)
        if self._events and len(self._sent) < self.in_flight:
            self._flush_at(self._not_before)
        try:
            self._transmit(batch, _buffers(pairs))
        except Exception as error:
            self._transmit_rest(batch, pairs, error)

    def _transmit_rest(
        self, batch: Batch, pairs: list[tuple[Event, bytes | None]], failed: Exception
    ) -> None:
        """Send a batch that could not be written without the events that are to blame.

        It goes under its number, even with nothing in it: the other side waits for that one.
        """
        whole: list[tuple[Event, bytes | None]] = []
        wrong: list[tuple[Event, Exception]] = []
        for event, buffer in pairs:
            try:
                # Within a message, as it would be sent: it may be nested too deeply there.
                self._pack({"data": {"events": [event.as_list()]}})
                whole.append((event, buffer))
            except Exception as why:
                wrong.append((event, why))
        if not wrong:
            raise failed  # each event can be written: the fault is not theirs
        batch["events"] = [event.as_list() for event, _ in whole]
        try:
            self._transmit(batch, _buffers(whole))
        finally:
            for event, error in wrong:
                self._dropped(event, error)

    def _spend(self, now: float) -> float:
        """Take one batch from the credit; return when the next one may go."""
        if not self._rate:
            return now
        earned = (now - self._credited) * self._rate
        self._credit = min(float(self._burst), self._credit + earned) - 1
        self._credited = now
        return now + max(0.0, 1 - self._credit) / self._rate

    def _next_events(self) -> list[tuple[Event, bytes | None]]:
        events: list[tuple[Event, bytes | None]] = []
        size = 0
        while self._events and len(events) < MAX_EVENTS:
            event, buffer, bytes_ = self._events[0]
            if events and size + bytes_ > MAX_SIZE:
                break
            self._events.popleft()
            self._left += 1
            self.waiting -= bytes_
            size += bytes_
            events.append((event, buffer))
        return events

    def _next_taken(self) -> dict[str, int]:
        taken: dict[str, int] = {}
        while self._taken and self._taken[0][0] <= self._left:
            for name, count in self._taken.popleft()[1].items():
                taken[name] = taken.get(name, 0) + count
        return taken

    # ---- receiving -------------------------------------------------------------------------

    def receive(self, batch: Batch) -> tuple[list[list[Any]], dict[str, int]]:
        """Take note of a batch of the other side.

        Args:
            batch: What its `transmit` was given.

        Returns:
            Its events as JSON lists, and how many messages of which connection the other side
            has handled.

        Raises:
            OutOfStep: The batch before it never came.
        """
        number = batch.get("n")
        self.accept(number, batch.get("got"))
        if number is not None:
            self.handled(number)
        return batch.get("events", []), batch.get("taken", {})

    def accept(self, number: int | None, got: int | None) -> None:
        """Take note of a batch whose events are still to be handled; see `handled`.

        Args:
            number: The batch's number; None where it has no events.
            got: The number of the last batch that has reached the other side, if it says so.

        Raises:
            OutOfStep: The batch before it never came.
        """
        if number is not None:
            if number != self._received + 1:
                raise OutOfStep(f"expected batch {self._received + 1}, found {number}")
            self._received = number
        if got is not None:
            while self._sent and next(iter(self._sent)) <= got:
                self._sent.popitem(last=False)
            if self._events:
                self._flush_at(self._not_before)

    def handled(self, number: int) -> None:
        """Confirm a batch, so that the other side may send one more; and those before it."""
        self._handled = max(self._handled, number)
        self._confirm_soon()

    def stalled(self) -> float:
        """Return the seconds for which the oldest unconfirmed batch has been on its way."""
        return self._loop.time() - next(iter(self._sent.values())) if self._sent else 0.0

    def close(self) -> None:
        """Send nothing more."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _as_json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


def _buffers(pairs: list[tuple[Event, bytes | None]]) -> list[bytes]:
    return [buffer for _, buffer in pairs if buffer is not None]


def with_buffers(
    events: Sequence[list[Any]], buffers: Sequence[Any], names: frozenset[str]
) -> list[tuple[list[Any], bytes]]:
    """Give each event whose payload travelled beside the JSON its buffer.

    Args:
        events: What `Courier.receive` returned.
        buffers: The buffers of the comm message.
        names: The events that have one.

    Raises:
        OutOfStep: There are not as many buffers as such events.
    """
    rest = iter(buffers)
    joined = []
    try:
        for event in events:
            joined.append((event, bytes(next(rest)) if event[0] in names else b""))
    except StopIteration:
        raise OutOfStep("a buffer is missing") from None
    return joined
