"""How many messages there are, how large they are and how long they take, for who wants to know.

To count each message costs each message something, so that nothing is counted unless it is asked
for: ``c.WSHandlerApp.message_metrics``.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

from traitlets import Bool, HasTraits

from ..backplane.measures import Histogram
from ..connection.observer import Observer
from ..manager.manager import WebSocketManager
from ..types import Message, Question
from .records.arrivals import Arrivals


class Traffic(Observer):
    """The messages of each route, both ways.

    Attributes:
        messages: How many, by route and way.
        bytes: Bytes in them, as they are in frames that are not compressed.
        seconds: How long each took from its arrival until its callback has ended, by route. A
            message to a bot in a kernel is done here when the kernel is given it.
    """

    def __init__(self) -> None:
        self.messages: Counter[tuple[str, str]] = Counter()
        self.bytes: Counter[tuple[str, str]] = Counter()
        self.seconds: defaultdict[str, Histogram] = defaultdict(Histogram)
        self._arrivals = Arrivals()

    def message_in(self, connection: Any, message: Any) -> None:
        """Count a message that has come."""
        inner = message.message if isinstance(message, Question) else message
        self._count(connection.route, "in", inner)
        self._arrivals.came(connection.id)

    def message_done(self, connection: Any, later: int | None = None) -> None:
        """Count how long one has taken."""
        seconds = self._arrivals.done(connection.id, later)
        if seconds is not None:
            self.seconds[connection.route].add(seconds)

    def message_out(self, connection: Any, message: Any) -> None:
        """Count a message that leaves."""
        self._count(connection.route, "out", message)

    def ended(self, connection: Any) -> None:
        """Forget what a connection had not done."""
        self._arrivals.forget(connection.id)

    def _count(self, route: str, way: str, message: Message) -> None:
        self.messages[route, way] += 1
        if isinstance(message, str) and not message.isascii():
            message = message.encode()
        self.bytes[route, way] += len(message)


class TrafficTraits(HasTraits):
    """What an administrator may say about the counting of messages."""

    manager: WebSocketManager
    """Whose messages are meant."""

    message_metrics = Bool(
        False,
        help="""Count messages and their bytes, both ways, and how long each takes, for each route,
        in /metrics. It costs each message some microseconds, and rooms more than that: what is said
        in one is then sent to each member in turn.""",
    ).tag(config=True)

    def traffic(self) -> Traffic | None:
        """Return what counts, from now on; None where nobody wants to know."""
        if not self.message_metrics:
            return None
        traffic = Traffic()
        self.manager.observers.add(traffic)
        return traffic
