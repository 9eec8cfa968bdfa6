"""Messages that outlive a break: numbered, kept until acknowledged, and delivered once.

Both ends of a connection have a `Lasting`, for what they send and for what they receive. It does no
input or output and knows no clock: whoever drives it says when a break is over and what time it is.
What it promises: between two ends that come back to each other, whatever frames were lost with a
break or came twice, each message is delivered once, and in order. Delivery is what the other end
has acknowledged: neither a write nor a pong says that anybody has seen a message.
"""

from __future__ import annotations

from collections import deque
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")

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
        message: What is sent; None where it was dropped, and only its number is.
        size: Bytes that it counts for.
    """

    number: int
    message: T | None
    size: int


class Lasting(Generic[T]):
    """One end of a connection that outlives breaks.

    Args:
        messages: How many are kept at most that the other end has not acknowledged.
        size: Bytes in them at most; one message is always kept.

    Attributes:
        last: The number of the last message that was given to `send`.
        sent: The number of the last one that has left by the connection of today.
        received: The number of the last message that was delivered here.
        kept_size: Bytes in those that are kept.
        unsent_size: Bytes in those of them that have not left.
    """

    __slots__ = (
        "_acknowledged",
        "_dropped",
        "_dropped_last",
        "_due",
        "_ever",
        "_kept",
        "_messages",
        "_room",
        "kept_size",
        "last",
        "received",
        "sent",
        "unsent_size",
    )

    def __init__(self, *, messages: int, size: int) -> None:
        self.bound(messages=messages, size=size)
        self._begin()

    def _begin(self) -> None:
        self._kept: deque[Numbered[T]] | None = None  # an empty one takes 760 bytes
        self.kept_size = self.unsent_size = 0
        self.last = self.sent = 0
        self._ever = 0  # the last one that has left by any connection
        self._dropped = 0  # how many of the kept ones are a number and nothing else
        self._dropped_last = 0  # the last of them
        self.received = 0
        self._acknowledged = 0  # of those that were received
        self._due = 0.0  # when the next acknowledgement is; 0 where none is owed

    # ---- what is sent ----------------------------------------------------------------------

    def bound(self, *, messages: int, size: int) -> None:
        """Keep more or fewer messages from now on; see the class."""
        self._messages = messages
        self._room = size

    def is_full(self, factor: int = 1) -> bool:
        """Return whether no more should be kept before something is acknowledged.

        Args:
            factor: How many times as much as may be kept.
        """
        count = self.unacknowledged - self._dropped
        return count > 0 and (
            count >= self._messages * factor or self.kept_size >= self._room * factor
        )

    @property
    def unacknowledged(self) -> int:
        """How many messages the other end has not acknowledged and are kept."""
        return 0 if self._kept is None else len(self._kept)

    @property
    def unsent(self) -> int:
        """How many messages have not left by the connection of today."""
        return self.last - self.sent

    def send(self, message: T, size: int) -> int:
        """Keep a message and return its number; `take` says when it is its turn to leave.

        Args:
            message: It.
            size: Bytes that it counts for.
        """
        self.last += 1
        if self._kept is None:
            self._kept = deque()
        self._kept.append(Numbered(self.last, message, size))
        self.kept_size += size
        self.unsent_size += size
        return self.last

    def take(self) -> Numbered[T] | None:
        """Return the next message that has not left, which leaves now; None where all have."""
        if self.sent >= self.last or self._kept is None:
            return None
        self.sent += 1
        found = self._kept[self.sent - self._kept[0].number]
        if self.sent > self._ever:
            self._ever = self.sent
        self.unsent_size -= found.size
        return found

    def drop_oldest(self) -> int:
        """Let go of the oldest message that has not left; its number will leave alone.

        Returns:
            Its size, at least 1; 0 where there is none, or so many were dropped already that the
            other end could only count.
        """
        number = max(self.sent, self._dropped_last) + 1
        if number > self.last or self._kept is None or self._dropped >= self._messages:
            return 0
        at = number - self._kept[0].number
        size = self._kept[at].size
        self._kept[at] = Numbered(number, None, 0)
        self._dropped, self._dropped_last = self._dropped + 1, number
        self.kept_size -= size
        self.unsent_size -= size
        return size or 1

    def forget_sent(self) -> None:
        """Let go of what has left, oldest first, as far as too much is kept."""
        while self._kept and self._kept[0].number <= self.sent and self.is_full():
            self._forget_first()

    def give_up_unsent(self) -> int:
        """Let go of all that has not left, as if it had never been sent; return how many."""
        count = 0
        while self._kept and self._kept[-1].number > self.sent:
            _, message, size = self._kept.pop()
            count += 1
            self._dropped -= message is None
            self.kept_size -= size
        self.last = min(self.last, self.sent)
        self._ever = min(self._ever, self.last)
        self.unsent_size = 0
        return count

    def _forget_first(self) -> None:
        assert self._kept is not None
        number, message, size = self._kept.popleft()
        self._dropped -= message is None
        self.kept_size -= size
        if number > self.sent:
            self.unsent_size -= size

    def acknowledged(self, number: int) -> bool:
        """Let go of what the other end has received; return whether that was news.

        Args:
            number: Of the last message that it has; an older one than before says nothing new.

        Raises:
            Missing: It was never sent.
        """
        if number > self._ever:
            raise Missing(f"message {number} is acknowledged, and {self._ever} is the last one")
        kept = self._kept
        if not kept or kept[0].number > number:
            return False
        while kept and kept[0].number <= number:
            self._forget_first()
        self.sent = max(self.sent, number)
        return True

    def can_resume(self, number: int) -> bool:
        """Return whether `resume` can go on behind a message.

        Args:
            number: Of the last message that the other end has received.
        """
        first = self._kept[0].number if self._kept else self.last + 1
        return first - 1 <= number <= self._ever

    def resume(self, number: int) -> None:
        """Begin again after a break: `take` returns what follows a message, in order.

        Args:
            number: Of the last message that the other end has received.

        Raises:
            Missing: It was never sent: the other end means another connection.
            NotKept: What follows it was let go of.
        """
        if number > self._ever:
            raise Missing(f"message {number} was received, and {self._ever} is the last one")
        first = self._kept[0].number if self._kept else self.last + 1
        if first > number + 1:
            raise NotKept(f"message {number + 1} is not kept any more; {first} is the first one")
        self.acknowledged(number)
        self.sent, self.unsent_size = number, self.kept_size

    def pause(self) -> None:
        """Begin a break: nobody knows what of all that is kept has arrived."""
        self.sent = self.last - self.unacknowledged
        self.unsent_size = self.kept_size
        self._dropped_last = 0 if not self._dropped else self._dropped_last
        if not self._kept:
            self._kept = None

    def renew(self) -> tuple[list[T], list[T]]:
        """Begin anew, as another connection: numbers count from 1 again, both ways.

        Returns:
            What has left and was never acknowledged, so that nobody knows what became of it; and
            what has never left.
        """
        kept = self._kept or ()
        gone = [m for number, m, _ in kept if m is not None and number <= self._ever]
        waiting = [m for number, m, _ in kept if m is not None and number > self._ever]
        self._begin()
        return gone, waiting

    # ---- what is received ------------------------------------------------------------------

    def receive(self, number: int, now: float) -> bool:
        """Take note that a message has come; return whether it is to be delivered.

        Args:
            number: Its number.
            now: The time, in seconds.

        Returns:
            False for one that was delivered before: it is a repetition.

        Raises:
            Missing: One before it has not come.
        """
        if number > self.received + 1:
            raise Missing(f"message {number} came, and {self.received + 1} is the next")
        if number <= self.received:
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
        return self.told()

    def told(self) -> int:
        """Take note that the other end is told now what was received; return that number."""
        self._due = 0.0
        self._acknowledged = self.received
        return self.received

    @property
    def due_at(self) -> float:
        """When the next acknowledgement is due; 0 where none is owed."""
        return self._due
