"""Small things that callbacks get with a connection: its state and its logger."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Self


class State(dict[str, Any]):
    """What a callback wants to remember of one connection, as items or as attributes.

    Attributes that a callback gives the connection itself (``handler.counter = 1``, a habit from
    Tornado) are entries, too: this is the connection's own ``__dict__`` from the first look on.

    Args:
        entries: What has been set on the connection before.
        reserved: Says whether a name is one by which the connection itself is called.
    """

    __slots__ = ("_reserved",)

    def __init__(self, entries: dict[str, Any], reserved: Callable[[str], bool]) -> None:
        super().__init__(entries)
        object.__setattr__(self, "_reserved", reserved)

    def _check(self, key: Any) -> None:
        if isinstance(key, str) and object.__getattribute__(self, "_reserved")(key):
            raise ValueError(f"handler.state cannot have {key!r}, a name of the connection's own")

    def __setitem__(self, key: str, value: Any) -> None:
        self._check(key)
        super().__setitem__(key, value)

    def setdefault(self, key: str, default: Any = None) -> Any:
        """Return the entry of a key; make it the default where there is none."""
        self._check(key)
        return super().setdefault(key, default)

    def update(self, *args: Any, **entries: Any) -> None:
        """Take entries from a mapping, from pairs, or by name."""
        more = dict(*args, **entries)
        for key in more:
            self._check(key)
        super().update(more)

    def __ior__(self, other: Any) -> Self:  # type: ignore[override,misc]
        self.update(other)
        return self

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"handler.state has no {name!r} yet") from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __delattr__(self, name: str) -> None:
        try:
            del self[name]
        except KeyError:
            raise AttributeError(f"handler.state has no {name!r}") from None


class ConnectionLog(logging.LoggerAdapter[Any]):
    """A logger whose lines begin with the route and the connection."""

    def process(self, msg: Any, kwargs: Any) -> tuple[Any, Any]:
        """Put both in front of a line."""
        connection = self.extra["connection"]  # type: ignore[index]
        name = connection.route.replace("%", "%%")  # type: ignore[union-attr]
        return f"{name} {connection.id}: {msg}", kwargs  # type: ignore[union-attr]
