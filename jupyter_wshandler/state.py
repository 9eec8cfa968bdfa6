"""Small things that callbacks get with a connection: its state and its logger."""

from __future__ import annotations

import logging
from typing import Any


class State(dict[str, Any]):
    """Keep what a callback wants to remember of one connection, as items or as attributes."""

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
    """Begin each line with the route and the connection."""

    def process(self, msg: Any, kwargs: Any) -> tuple[Any, Any]:
        """Put both in front of a line."""
        connection = self.extra["connection"]  # type: ignore[index]
        name = connection.route.replace("%", "%%")  # type: ignore[union-attr]
        return f"{name} {connection.id}: {msg}", kwargs  # type: ignore[union-attr]
