"""What one node counts of its way to the store, for the metrics."""

from __future__ import annotations

from ..measures import Histogram


class Counts:
    """Plain numbers since the node began.

    Attributes:
        resubscribed: Channels that were subscribed to again, after a break.
        epochs: Times that the log of a channel turned out to have begun another life.
        publishing: Seconds from the moment in which a message is to be published until the store
            has said that it has it.
    """

    __slots__ = ("epochs", "publishing", "resubscribed")

    def __init__(self) -> None:
        self.resubscribed = 0
        self.epochs = 0
        self.publishing = Histogram()
