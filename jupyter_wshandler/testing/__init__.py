"""Test bots: in memory with `Chat`, or on a real Jupyter server with `start_server`.

pytest finds the fixtures `wsh_chat`, `wsh_server` and `wsh_server_factory` by itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..callbacks.errorlog import CallbackFailure
    from .arrival import User
    from .asyncchat import AsyncChat
    from .chat import Chat
    from .server import RunningServer, start_server

__all__ = ["AsyncChat", "CallbackFailure", "Chat", "RunningServer", "User", "start_server"]

# Every pytest of this environment imports the plugin: nothing is loaded until it is used.
_HOMES = {
    "AsyncChat": "asyncchat",
    "Chat": "chat",
    "CallbackFailure": ".callbacks.errorlog",
    "RunningServer": "server",
    "User": "arrival",
    "start_server": "server",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
