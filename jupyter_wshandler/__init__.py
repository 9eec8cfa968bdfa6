"""Turn plain Python functions into authenticated WebSocket endpoints of a Jupyter server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from .connection.connection import Connection
    from .errors import (
        CallbackError,
        ConfigError,
        ConnectionClosed,
        ConnectionRefused,
        RefuseMessage,
        RoomRefused,
        RouteRefused,
        ShareRefused,
        WSHandlerError,
    )
    from .manager.manager import WebSocketManager
    from .manager.publish import Publisher, publish, publish_async
    from .manager.push import connections, room, send, to_user
    from .notebook.bot import Bot
    from .notebook.console import console
    from .notebook.serve import bots, serve
    from .notebook.share import Share
    from .types import CloseCode

__all__ = [
    "Bot",
    "CallbackError",
    "CloseCode",
    "ConfigError",
    "Connection",
    "ConnectionClosed",
    "ConnectionRefused",
    "Publisher",
    "RefuseMessage",
    "RoomRefused",
    "RouteRefused",
    "Share",
    "ShareRefused",
    "WSHandlerError",
    "WebSocketManager",
    "__version__",
    "bots",
    "connections",
    "console",
    "publish",
    "publish_async",
    "room",
    "send",
    "serve",
    "to_user",
]

# A notebook kernel and a callback module import this package: nothing is loaded until it is used.
_HOMES = {
    "Bot": "notebook.bot",
    "CallbackError": "errors",
    "CloseCode": "types",
    "ConfigError": "errors",
    "Connection": "connection.connection",
    "ConnectionClosed": "errors",
    "ConnectionRefused": "errors",
    "Publisher": "manager.publish",
    "RefuseMessage": "errors",
    "RoomRefused": "errors",
    "RouteRefused": "errors",
    "Share": "notebook.share",
    "ShareRefused": "errors",
    "WSHandlerError": "errors",
    "WebSocketManager": "manager.manager",
    "bots": "notebook.serve",
    "connections": "manager.push",
    "console": "notebook.console",
    "publish": "manager.publish",
    "publish_async": "manager.publish",
    "room": "manager.push",
    "send": "manager.push",
    "serve": "notebook.serve",
    "to_user": "manager.push",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)


def load_ipython_extension(shell: Any) -> None:
    """Offer the cell magic ``%%websocket`` (IPython's ``%load_ext jupyter_wshandler``)."""
    from .notebook.magics import WebSocketMagics

    shell.register_magics(WebSocketMagics)


def _jupyter_server_extension_points() -> list[dict[str, Any]]:
    """Tell Jupyter Server where the extension is (jupyter_server's extension discovery)."""
    from .server.app import WSHandlerApp

    return [{"module": "jupyter_wshandler", "app": WSHandlerApp}]
