"""A route's own callback with something around it, which was put there when it was loaded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..types import Callback


class AroundCallback:
    """The callback of an event with something around the route's own.

    Args:
        event: The event.
        call: Takes what the event gives.
        inline: Whether it runs on the event loop.
        inner: The route's own callback; None where it has none, and only filters look at it.
    """

    __slots__ = ("call", "event", "inline", "inner", "name")

    def __init__(
        self, event: str, call: Callable[..., Any], inline: bool, inner: Callback | None
    ) -> None:
        self.event = event
        self.call = call
        self.inline = inline
        self.inner = inner
        self.name = "filters" if inner is None else inner.name

    def __repr__(self) -> str:
        return f"<AroundCallback around {self.inner!r} for {self.event}>"
