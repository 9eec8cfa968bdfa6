"""Messages that outlive a break: numbered, kept until acknowledged, and delivered once.

Both ends of a connection have a `Lasting`, for what they send and for what they receive. It does no
input or output and knows no clock: whoever drives it says when a break is over and what time it is.
What it promises: between two ends that come back to each other, whatever frames were lost with a
break or came twice, each message is delivered once, and in order. Delivery is what the other end has
acknowledged: neither a write nor a pong says that anybody has seen a message.
"""

from __future__ import annotations

from collections import deque
from typing import Generic, NamedTuple, Protocol, TypeVar


class Sized(Protocol):
    """What has a size."""

    def __len__(self) -> int:
        """Return it."""


T = TypeVar("T", bound=Sized)

ACK_EACH = 64
"""Messages after which the receiver acknowledges them."""

ACK_AFTER = 5.0
"""Seconds after which it acknowledges fewer."""


class NotKept(LookupError):
    """The end of what lasts: the other end needs messages that are not kept any more."""


class Missing(ValueError):
    """A message whose number is not the next one: what came before it was lost without a break."""


class Numbered(NamedTuple, Generic[T]):
    """A message on its way.

    Args:
        number: Counts up from 1, for each direction.
        message: What is sent.
    """

    number: int
    message: T


class Lasting(Generic[T]):
    """One end of a connection that outlives breaks.

    Args:
        messages: How many are kept at most that the other end has not acknowledged.
        size: What they measure together at most, by `len`; one message is always kept.

    Attributes:
        received: The number of the last message that was delivered here.
    """

    __slots__ = (
        "_acknowledged",
        "_due",
        "_kept",
        "_last",
        "_messages",
        "_room",
        "_size",
        "received",
    )

    def __init__(self, *, messages: int, size: int) -> None:
        self._messages = messages
        self._room = size
        self._kept: deque[Numbered[T]] = deque()
        self._size = 0
        self._last = 0  # the number of the last message that was sent
        self.received = 0
        self._acknowledged = 0  # of those that were received
        self._due = 0.0  # when the next acknowledgement is; 0 where none is owed

    # ---- what is sent ----------------------------------------------------------------------

    @property
    def is_full(self) -> bool:
        """Whether no more is kept before something is acknowledged."""
        kept = self._kept
        return bool(kept) and (len(kept) >= self._messages or self._size >= self._room)

    @property
    def unacknowledged(self) -> int:
        """How many messages the other end has not acknowledged."""
        return len(self._kept)

    def send(self, message: T) -> Numbered[T]:
        """Number a message and keep it; it may be sent at once, or after a break.

        Args:
            message: Anything with a size.
        """
        self._last += 1
        numbered = Numbered(self._last, message)
        self._kept.append(numbered)
        self._size += len(message)
        return numbered

    def acknowledged(self, number: int) -> None:
        """Let go of what the other end has received.

        Args:
            number: Of the last message that it has; an older one than before says nothing new.

        Raises:
            Missing: It was never sent.
        """
        if number > self._last:
            raise Missing(f"message {number} is acknowledged, and {self._last} is the last one")
        kept = self._kept
        while kept and kept[0].number <= number:
            self._size -= len(kept.popleft().message)

    def resume(self, number: int) -> list[Numbered[T]]:
        """Return what has to be sent again after a break, in order.

        Args:
            number: Of the last message that the other end has received.

        Raises:
            Missing: It was never sent: the other end means another connection.
            NotKept: What follows it was let go of.
        """
        self.acknowledged(number)
        first = self._kept[0].number if self._kept else self._last + 1
        if first > number + 1:
            raise NotKept(f"message {number + 1} is not kept any more; {first} is the first one")
        return list(self._kept)

    # ---- what is received ------------------------------------------------------------------

    def receive(self, numbered: Numbered[T], now: float) -> bool:
        """Take a message that has come; return whether it is to be delivered.

        Args:
            numbered: It, with its number.
            now: The time, in seconds.

        Returns:
            False for one that was delivered before: it is a repetition.

        Raises:
            Missing: One before it has not come.
        """
        if numbered.number > self.received + 1:
            raise Missing(f"message {numbered.number} came, and {self.received + 1} is the next")
        if numbered.number <= self.received:
            # The other end does not know that it is here: it is told at once.
            self._due = now
            return False
        self.received += 1
        if not self._due:
            self._due = now + ACK_AFTER
        if self.received - self._acknowledged >= ACK_EACH:
            self._due = now
        return True

    def due(self, now: float) -> int:
        """Return the number to acknowledge now; 0 where nothing is to be said yet.

        Args:
            now: The time, in seconds.
        """
        if not self._due or now < self._due:
            return 0
        self._due = 0.0
        self._acknowledged = self.received
        return self.received
