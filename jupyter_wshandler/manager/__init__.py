"""What outlives one connection: routes, connections, clocks, pushes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .manager import WebSocketManager

__all__ = ["WebSocketManager"]


def __getattr__(name: str) -> Any:
    # Loaded on use: who needs one module of this folder does not load the others.
    if name in __all__:
        from . import manager

        return getattr(manager, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
