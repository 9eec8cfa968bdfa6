"""What becomes of a connection that breaks, for programs that want to know."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from ..types import Message

State: TypeAlias = Literal["open", "away", "closed"]
"""Whether there is a connection, it is lost and being opened again, or it has ended."""

Event: TypeAlias = Literal["away", "resumed", "renewed", "closed"]


@dataclass(frozen=True)
class Change:
    """What `on_state` is called with.

    Attributes:
        event: "away": the connection is lost, and is being opened again. "resumed": it is back, and
            nothing was lost. "renewed": another one has taken its place. "closed": it has ended.
        reason: Why: that of the close; for "renewed" why it could not be the same one.
        code: The close code (RFC 6455 section 7.4); None for "resumed" and "renewed".
        unsure: With "renewed" and "closed", the messages that were sent and not acknowledged:
            nobody knows whether they have arrived, and they are not sent again.
        unsent: With "closed", the messages that waited for a connection and were never sent.
    """

    event: Event
    reason: str = ""
    code: int | None = None
    unsure: tuple[Message, ...] = field(default=(), repr=False)
    unsent: tuple[Message, ...] = field(default=(), repr=False)

    @property
    def state(self) -> State:
        """The state that it leads to."""
        return self.event if self.event in ("away", "closed") else "open"


OnState: TypeAlias = Callable[[Change], object]
"""Is told of each change, on the connection's own event loop or thread: it must not wait."""
