"""A route's own callback with something around it, which was put there when it was loaded."""

from __future__ import annotations

from collections.abc import Callable
from types import AsyncGeneratorType, GeneratorType
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from ..types import Callback

T = TypeVar("T")

_OURS = (GeneratorType, AsyncGeneratorType)


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


_inner: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()
"""What a generator of ours goes through, which a callback has returned."""


def around_stream(outer: T, items: Any) -> T:
    """Return a generator of ours, and remember what it goes through.

    Args:
        outer: The generator.
        items: What a callback has returned.
    """
    _inner[outer] = items
    return outer


def innermost(items: Any) -> Any:
    """Return what a callback has returned, behind what was put around it.

    Args:
        items: A generator or another iterator.
    """
    while type(items) in _OURS and items in _inner:
        items = _inner[items]
    return items
