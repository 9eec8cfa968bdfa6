"""What an open connection may send: messages and bytes per time.

Nothing here has a timer or a thread: the event loop's time is passed in, and what is no longer
needed is forgotten while others come and go.
"""

from __future__ import annotations

from itertools import islice
from typing import Any

from ..config.model import Rate, Ratelimit
from ..types import Message, Question, Wish

MIN_BURST = 2.0
"""Seconds' worth of messages that may come at once, where the route says nothing else."""

CONTROL_RATE = 10.0
"""Pings and pongs per second that may come, where the route's own rate is lower or has no number
of messages: a client that keeps its connection alive must not have to count."""

CONTROL_BURST = 32.0
"""Pings and pongs that may come at once, at least."""

MAX_IDLE = 10_000
"""Users or addresses of a route that are remembered without a connection, at most."""


class TokenBucket:
    """A bucket that gives `rate` units a second, and `capacity` units at once.

    Args:
        rate: Units per second that come back.
        capacity: Units that a full bucket holds; a larger amount is never allowed.
        now: The event loop's time, in seconds; the bucket is full then.
    """

    __slots__ = ("_at", "_capacity", "_level", "_rate")

    def __init__(self, rate: float, capacity: float, now: float) -> None:
        self._rate = rate
        self._capacity = capacity
        self._level = capacity
        self._at = now

    def take(self, now: float, amount: float = 1.0) -> float:
        """Take an amount out of the bucket, if it is there.

        Args:
            now: The event loop's time, in seconds; never earlier than in the call before.
            amount: Units to take.

        Returns:
            0.0 where the amount was taken; else the seconds until it is there.
        """
        level = self._level + (now - self._at) * self._rate
        if level > self._capacity:
            level = self._capacity
        if level < amount:
            return (amount - level) / self._rate
        self._level = level - amount
        self._at = now
        return 0.0

    def take_at_most(self, now: float, amount: float) -> float:
        """Take an amount out of the bucket, or all that it can hold; see `take`."""
        return self.take(now, min(amount, self._capacity))

    def full(self, now: float) -> bool:
        """Return whether the bucket is as good as new."""
        return self._level + (now - self._at) * self._rate >= self._capacity


class Meter:
    """What weighs the messages of one connection against the rates of its route.

    Args:
        messages: Allows messages, or None.
        bytes: Allows bytes, or None.
        closes: Whether too much closes the connection.
        control: Allows pings and pongs: they cost no message, and are no way round. None where
            they are not counted.
    """

    __slots__ = ("_bytes", "_control", "_messages", "closes")

    def __init__(
        self,
        messages: TokenBucket | None,
        bytes: TokenBucket | None,
        closes: bool,
        control: TokenBucket | None = None,
    ) -> None:
        self._messages = messages
        self._bytes = bytes
        self._control = control
        self.closes = closes

    def take_control(self, now: float, count: int = 1) -> bool:
        """Count pings or pongs; return whether they may be taken notice of.

        Args:
            now: The event loop's time, in seconds.
            count: How many came.
        """
        return self._control is None or not self._control.take(now, count)

    def take(self, message: Message, now: float) -> float:
        """Count a message.

        Args:
            message: A whole message, as the callback would get it.
            now: The event loop's time, in seconds.

        Returns:
            0.0 where it may pass; else the seconds until it might.
        """
        wait = 0.0
        if self._messages is not None:
            wait = self._messages.take(now)
        if self._bytes is not None and not wait:
            # The size of ASCII text is its length; only other text must be encoded to be measured.
            if isinstance(message, bytes) or message.isascii():
                wait = self._bytes.take(now, len(message))
            else:
                wait = self._bytes.take(now, len(message.encode()))
        return wait

    def _take_frame(self, size: int, now: float) -> float:
        """Count a message in an envelope; with it a message may be larger than `max_message`."""
        wait = 0.0 if self._messages is None else self._messages.take(now)
        if self._bytes is not None and not wait:
            wait = self._bytes.take_at_most(now, size)
        return wait

    def sift(self, events: list[Any], now: float) -> tuple[list[Any], list[tuple[Any, float]]]:
        """Part what may pass from what is too much.

        Args:
            events: Messages as str, bytes and `Question` (its whole frame counts), and a `Wish` to
                join a room, which counts alike; anything else passes.
            now: The event loop's time, in seconds.

        Returns:
            The events that pass, in order, and those that do not, each with the seconds until it
            might; where too much closes the connection, that is the first one only.
        """
        kept: list[Any] = []
        refused: list[tuple[Any, float]] = []
        for event in events:
            wait = 0.0
            if refused and self.closes:
                pass
            elif type(event) is str or type(event) is bytes:
                wait = self.take(event, now)
            elif type(event) is Question or (type(event) is Wish and event.joins):
                wait = self._take_frame(event.size, now)
            if wait:
                refused.append((event, wait))
            else:
                kept.append(event)
        return kept, refused


_Buckets = tuple[TokenBucket | None, TokenBucket | None, TokenBucket]


class _Shared:
    """The buckets that all connections of one user or address draw from."""

    __slots__ = ("buckets", "users")

    def __init__(self, buckets: _Buckets) -> None:
        self.buckets = buckets
        self.users = 0

    def full(self, now: float) -> bool:
        return all(bucket is None or bucket.full(now) for bucket in self.buckets)


class RateLimiter:
    """The limits of one route, which give each of its connections a meter.

    What users and addresses have used up is kept while they have a connection and until their
    buckets are full again, so that reconnecting gains nothing and memory stays bounded.

    Args:
        config: The route's `ratelimit`.
        max_message: The route's `max_message`, in bytes: one such message always fits.
    """

    def __init__(self, config: Ratelimit, max_message: int) -> None:
        self._config = config
        self._max_message = max_message
        self._shared: dict[str, _Shared] = {}
        self._idle: dict[str, None] = {}

    def __len__(self) -> int:
        return len(self._shared)

    def enter(self, user: str, address: str, now: float) -> tuple[Meter, str]:
        """Return the meter of a new connection, and the key to `leave` with.

        Args:
            user: Names the user, or the visitor without a login.
            address: The peer's address.
            now: The event loop's time, in seconds.
        """
        closes = self._config.then == "close"
        if self._config.per == "connection":
            return self._meter(self._buckets(now), closes), ""
        key = user if self._config.per == "user" else address
        shared = self._shared.get(key)
        if shared is None:
            shared = self._shared[key] = _Shared(self._buckets(now))
        shared.users += 1
        self._idle.pop(key, None)
        self._forget(now)
        return self._meter(shared.buckets, closes), key

    @staticmethod
    def _meter(buckets: _Buckets, closes: bool) -> Meter:
        messages, size, control = buckets
        return Meter(messages, size, closes, control)

    def leave(self, key: str, now: float) -> None:
        """Let go of a connection's meter.

        Args:
            key: What `join` returned.
            now: The event loop's time, in seconds.
        """
        shared = self._shared.get(key)
        if shared is None:
            return
        shared.users -= 1
        if not shared.users:
            self._idle[key] = None
        self._forget(now)

    def _forget(self, now: float) -> None:
        # Each call adds at most one idle key and looks at the two oldest: so they do not pile up,
        # and nobody has to walk over all of them.
        for key in list(islice(self._idle, 2)):
            self._forget_or_keep(key, now)
        while len(self._idle) > MAX_IDLE:
            oldest = next(iter(self._idle))
            del self._idle[oldest], self._shared[oldest]

    def _forget_or_keep(self, key: str, now: float) -> None:
        del self._idle[key]
        if self._shared[key].full(now):
            del self._shared[key]
        else:
            self._idle[key] = None

    def _buckets(self, now: float) -> _Buckets:
        config = self._config
        messages = self._bucket(config.messages, 1.0, now)
        rate = CONTROL_RATE
        if config.messages is not None:
            rate = max(rate, config.messages.amount / config.messages.seconds)
        return (
            messages,
            self._bucket(config.bytes, self._max_message, now),
            TokenBucket(rate, max(CONTROL_BURST, rate * MIN_BURST), now),
        )

    def _bucket(self, rate: Rate | None, least: float, now: float) -> TokenBucket | None:
        if rate is None:
            return None
        burst = self._config.burst or max(MIN_BURST, rate.seconds)
        # The quotient first: it is exactly 1 for "2/day" and its own burst, so that 2 may come.
        capacity = rate.amount * (burst / rate.seconds)
        return TokenBucket(rate.amount / rate.seconds, max(capacity, least), now)
