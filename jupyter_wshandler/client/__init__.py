"""Talk to a route from Python."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..errors import AnswerFailed
    from .answers import Answer, AsyncAnswer
    from .client import AsyncClient, Client
    from .connector import Connector, connect
    from .rooms import AsyncRoom, Member, MembersChange, Room
    from .states import Change

__all__ = [
    "Answer",
    "AnswerFailed",
    "AsyncAnswer",
    "AsyncClient",
    "AsyncRoom",
    "Change",
    "Client",
    "Connector",
    "Member",
    "MembersChange",
    "Room",
    "connect",
]

_HOMES = {
    "Answer": ".answers",
    "AnswerFailed": "..errors",
    "AsyncAnswer": ".answers",
    "AsyncClient": ".client",
    "AsyncRoom": ".rooms",
    "Change": ".states",
    "Client": ".client",
    "Connector": ".connector",
    "Member": ".rooms",
    "MembersChange": ".rooms",
    "Room": ".rooms",
    "connect": ".connector",
}


def __getattr__(name: str) -> Any:
    # Loaded on use: who needs one module of this folder does not load the others.
    if name in _HOMES:
        return getattr(import_module(_HOMES[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
