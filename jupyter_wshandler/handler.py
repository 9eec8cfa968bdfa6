"""The face of a connection: what a callback looks at through `handler`."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from .request import Request
from .sending import Host, SendingHalf
from .state import ConnectionLog, State

if TYPE_CHECKING:
    from .routes import Route
    from .sessions import Session


class Handler(SendingHalf):
    """Show a callback who is connected, how they came, and what is remembered of them.

    Args:
        host: Who runs the callbacks.
        route: The route that was matched.
        id: Unique name of the connection.
        request: The opening request.
        current_user: The user as the server's identity provider knows them, or None.
        session: What survives reconnects.
        path_args: Groups of the pattern, by position.
        path_kwargs: Groups of the pattern, by name.
    """

    __slots__ = (
        "_session",
        "_state",
        "close_reason",
        "current_user",
        "path_args",
        "path_kwargs",
        "request",
        "subprotocol",
    )

    def __init__(
        self,
        host: Host,
        route: Route,
        id: str,
        *,
        request: Request,
        current_user: Any,
        session: Session | None,
        path_args: tuple[str, ...],
        path_kwargs: Mapping[str, str],
    ) -> None:
        super().__init__(host, route, id)
        self.request = request
        self.current_user = current_user
        self.path_args = path_args
        self.path_kwargs = path_kwargs
        self.subprotocol: str | None = None
        self.close_reason: str | None = None
        self._session = session
        self._state: State | None = None

    @property
    def route(self) -> str:
        """The route's name."""
        return self._route.config.name

    @property
    def name(self) -> str:
        """The route's name (Gramex's word for it)."""
        return self._route.config.name

    @property
    def kwargs(self) -> Mapping[str, Any]:
        """The route's ``kwargs:`` as configured."""
        return MappingProxyType(self._route.config.kwargs)

    @property
    def conf(self) -> Mapping[str, Any]:
        """The route's pattern, handler and ``kwargs:`` (Gramex's word for its entry)."""
        config = self._route.config
        found = {"pattern": config.pattern, "handler": "WebSocketHandler", "kwargs": config.kwargs}
        return MappingProxyType(found)

    @property
    def args(self) -> dict[str, list[str]]:
        """The query's arguments, each a list of values."""
        return self.request.arguments

    @property
    def session(self) -> Session:
        """What survives reconnects; values are JSON, ``session['id']`` names it."""
        if self._session is None:
            raise LookupError("this connection has no session")
        self._host.touch(self._session)
        return self._session

    @property
    def state(self) -> State:
        """What callbacks remember of this connection; gone when it closes."""
        if self._state is None:
            self._state = State()
        return self._state

    @property
    def log(self) -> logging.LoggerAdapter[Any]:
        """A logger whose lines begin with the route and the connection."""
        return ConnectionLog(self._host.log, {"connection": self})
