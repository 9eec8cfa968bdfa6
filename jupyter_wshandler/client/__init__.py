"""Talk to a route from Python."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .client import AsyncClient, Client, Connector, connect

__all__ = ["AsyncClient", "Client", "Connector", "connect"]


def __getattr__(name: str) -> Any:
    # Loaded on use: who needs one module of this folder does not load the others.
    if name in __all__:
        from . import client

        return getattr(client, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
