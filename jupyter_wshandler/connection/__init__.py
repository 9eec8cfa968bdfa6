"""One open WebSocket, and its face for callbacks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .connection import Connection

__all__ = ["Connection"]


def __getattr__(name: str) -> Any:
    # Loaded on use: who needs one module of this folder does not load the others.
    if name in __all__:
        from . import connection

        return getattr(connection, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
