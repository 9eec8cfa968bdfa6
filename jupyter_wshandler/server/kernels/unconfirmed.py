"""What was sent to a kernel and may not have arrived.

A subshell can be deleted while messages for it are on their way. The kernel says of each of them
that there is no such subshell (but ipykernel before 7.4, which says nothing), and confirms the
batches that it has got; so what may be lost is kept until it is known, to be sent again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

SURE = 1.0
"""Seconds after which a message that nobody has called undeliverable has arrived."""


class Sent:
    """A message to a kernel that may not have arrived.

    Args:
        kind: Its type.
        content: Its content.
        buffers: What travels beside it.
        number: The number of the batch in it, which the kernel confirms; None where it has none.
    """

    __slots__ = ("at", "buffers", "content", "kind", "msg_id", "number")

    def __init__(
        self, kind: str, content: dict[str, Any], buffers: list[bytes], number: int | None
    ) -> None:
        self.kind = kind
        self.content = content
        self.buffers = buffers
        self.number = number
        self.msg_id = ""
        self.at = 0.0

    def may_be_forgotten(self, now: float) -> bool:
        """Return whether it has arrived, as far as one can know without a confirmation."""
        return self.number is None and now - self.at > SURE


class Unconfirmed:
    """The messages to one kernel that may not have arrived, in the order in which they went."""

    def __init__(self) -> None:
        self._sent: deque[Sent] = deque()

    def __len__(self) -> int:
        return len(self._sent)

    def __iter__(self) -> Iterator[Sent]:
        return iter(self._sent)

    def add(self, sent: Sent) -> None:
        """Keep a message that has just been sent."""
        self._sent.append(sent)

    def clear(self) -> None:
        """Forget all: nothing is sent again."""
        self._sent.clear()

    def forget_old(self, now: float) -> None:
        """Forget what must have arrived by now.

        Args:
            now: The loop's time.
        """
        while self._sent and self._sent[0].may_be_forgotten(now):
            self._sent.popleft()

    def confirm(self, got: int | None) -> None:
        """Forget what the kernel has confirmed, and all that was sent before it.

        Args:
            got: The number of the last batch that it has; None where it says nothing of that.
        """
        if got is None:
            return
        for index in range(len(self._sent) - 1, -1, -1):
            number = self._sent[index].number
            if number is not None and number <= got:
                for _ in range(index + 1):
                    self._sent.popleft()
                return

    def holds(self, msg_id: str) -> bool:
        """Return whether a message is among them.

        Args:
            msg_id: The message.
        """
        return any(sent.msg_id == msg_id for sent in self._sent)

    def take_from(self, msg_id: str, now: float) -> list[Sent] | None:
        """Take out a message that was not delivered and all after it, to send them again.

        Args:
            msg_id: The message.
            now: The loop's time.

        Returns:
            They, in order. None where that cannot mend it: the comm itself was not opened, or
            something was on its way before, and nobody knows what became of it.
        """
        sent = list(self._sent)
        place = next(index for index, one in enumerate(sent) if one.msg_id == msg_id)
        if sent[place].kind == "comm_open":
            return None
        if not all(one.may_be_forgotten(now) for one in sent[:place]):
            return None
        self._sent.clear()
        return sent[place:]
