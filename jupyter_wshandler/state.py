"""Small things that callbacks get with a connection: its state and its logger."""

from __future__ import annotations

import logging
from functools import wraps
from typing import Any


class State(dict[str, Any]):
    """What a callback wants to remember of one connection, as items or as attributes.

    Attributes that a callback gives the connection itself (``handler.counter = 1``, a habit from
    Tornado) are entries, too: the connection's own dict takes them at the speed of an attribute,
    and they are moved here when somebody looks.

    Args:
        fresh: The ``__dict__`` of the connection.
    """

    __slots__ = ("_fresh",)

    def __init__(self, fresh: dict[str, Any] | None = None) -> None:
        super().__init__()
        object.__setattr__(self, "_fresh", {} if fresh is None else fresh)

    def _settle(self) -> None:
        """Take over what has been set on the connection since."""
        fresh: dict[str, Any] = object.__getattribute__(self, "_fresh")
        while fresh:
            # One at a time: a thread may set another one meanwhile.
            name, value = fresh.popitem()
            dict.__setitem__(self, name, value)

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


def _settled(name: str) -> Any:
    """Return a method of dict that first takes over what was set on the connection."""
    method = getattr(dict, name)

    @wraps(method)
    def settled(self: State, /, *args: Any, **kwargs: Any) -> Any:
        self._settle()
        return method(self, *args, **kwargs)

    return settled


# All by which a dict is looked at or changed: an entry must not depend on how it was made.
for _name in (
    *("__getitem__", "__setitem__", "__delitem__", "__contains__", "__iter__", "__len__"),
    *("__eq__", "__ne__", "__repr__", "__or__", "__ror__", "__ior__", "__reversed__"),
    *("clear", "copy", "get", "items", "keys", "pop", "popitem", "setdefault", "update", "values"),
):
    setattr(State, _name, _settled(_name))


class ConnectionLog(logging.LoggerAdapter[Any]):
    """Begin each line with the route and the connection."""

    def process(self, msg: Any, kwargs: Any) -> tuple[Any, Any]:
        """Put both in front of a line."""
        connection = self.extra["connection"]  # type: ignore[index]
        name = connection.route.replace("%", "%%")  # type: ignore[union-attr]
        return f"{name} {connection.id}: {msg}", kwargs  # type: ignore[union-attr]
