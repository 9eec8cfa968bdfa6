"""How a client came: what the handshake has found out about a connection."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from ..sessions.manager import Session
from .request import Request

_NO_GROUPS: Mapping[str, str] = MappingProxyType({})


class Opening(NamedTuple):
    """How a client came to a route.

    Args:
        request: The opening request.
        current_user: The user as the server's identity provider knows them, or None.
        session: What survives reconnects; None where that is not known yet, or there is none.
        path_args: Groups of the route's pattern, by position.
        path_kwargs: Groups of the route's pattern, by name.
        subprotocol: The subprotocol that was agreed on; None where there is none, or not yet.
    """

    request: Request
    current_user: Any = None
    session: Session | None = None
    path_args: tuple[str, ...] = ()
    path_kwargs: Mapping[str, str] = _NO_GROUPS
    subprotocol: str | None = None
