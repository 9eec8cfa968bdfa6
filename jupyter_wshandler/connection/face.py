"""The face of a connection: what a callback looks at, and the work that it leaves running."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Callable, Coroutine, Mapping
from threading import get_ident
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

from ..errors import ConnectionClosed
from ..types import Callback
from .background import EVERY, MAX_TURN, MIN_TURN, TIMERS, Background
from .familiar import HOT
from .request import Request
from .sending import OPEN, PEER_CLOSED, Host, SendingHalf
from .state import ConnectionLog, State
from .user import with_keys

if TYPE_CHECKING:
    from ..routes import Route
    from ..sessions.manager import Session
    from .connection import Connection


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

    # The `__dict__`, which Python makes when the first attribute of a callback's own is set, holds
    # what `state` has not taken over yet.
    __slots__ = (
        "__dict__",
        "_background",
        "_context",
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
        self.current_user = with_keys(current_user)
        self.path_args = path_args
        self.path_kwargs = path_kwargs
        self.subprotocol: str | None = None
        self.close_reason: str | None = None
        self._session = session
        self._state: State | None = None
        self._background: Background | None = None
        # What its callbacks start from, and what that was made of.
        self._context: tuple[contextvars.Context, contextvars.Context] | None = None

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
            # From now on what is set on the connection is an entry at once.
            self._state = self.__dict__ = State(self.__dict__, self._is_own)
        return self._state

    @classmethod
    def _is_own(cls, name: str) -> bool:
        """Return whether an entry of `state` of that name would stand in a method's place."""
        return name in HOT or (name[:1] == "_" and hasattr(cls, name))

    @property
    def log(self) -> logging.LoggerAdapter[Any]:
        """A logger whose lines begin with the route and the connection."""
        return ConnectionLog(self._host.log, {"connection": self})

    # ---- what a callback leaves running ---------------------------------------------------

    def start_task(
        self, coroutine: Coroutine[Any, Any, Any], *, name: str = ""
    ) -> asyncio.Task[Any]:
        """Run a coroutine beside the callbacks; it is cancelled when the connection ends.

        A failure is logged and does not close the connection. Call it on the event loop, so
        from an ``async def`` callback.

        Args:
            coroutine: What to run.
            name: The task's name, for log lines.

        Raises:
            ConnectionClosed: The connection is closing or closed.
            RuntimeError: It was called in a thread.
        """
        try:
            self._check_open()
            if get_ident() != self._host.thread:
                raise RuntimeError(
                    "start_task() belongs to the event loop, and this callback runs in a thread; "
                    "make the callback `async def`"
                )
        except (ConnectionClosed, RuntimeError):
            coroutine.close()
            raise
        return self._owned().start(coroutine, name or f"task of {self.route} {self.id}")

    def every(self, seconds: float, function: Callable[[Any], Any]) -> None:
        """Call ``function(handler)`` every so many seconds, in order with the messages.

        It ends with the connection. A turn that is due while the last one waits is left out.

        Args:
            seconds: Time between two turns, from 0.01 to 10**9.
            function: An ``async def`` or ``def``; runs where the route's callbacks run.

        Raises:
            ConnectionClosed: The connection is closing or closed.
            ValueError: The time is not one of these, or there are 1,000 timers already.
        """
        if not MIN_TURN <= seconds <= MAX_TURN:
            raise ValueError(
                f"the time between two turns is from 0.01 s to 10**9 s, not {seconds!r}"
            )
        self._check_open()
        if self._background is not None and self._background.timers >= TIMERS:
            raise ValueError(
                f"connection {self.id} has {TIMERS} timers, as many as one may; each goes on until "
                "the connection ends: set them in open, and not for each message"
            )
        callback = self._host.bind(cast("Connection", self), function)
        if get_ident() != self._host.thread:
            self._cross(0, self._every, seconds, callback)
        else:
            self._every(seconds, callback)

    def _every(self, seconds: float, callback: Callback) -> None:
        if OPEN <= self._phase <= PEER_CLOSED:
            self._owned().every(seconds, callback)

    def start_timers(self) -> None:
        """Begin what the route has under `every`."""
        for event, callback in self._route.callbacks.items():
            if event.startswith(EVERY):
                self._every(float(event.removeprefix(EVERY)), callback)

    def background_while_open(self) -> Background | None:
        """Return what owns tasks and timers; None where the connection is not open (any more)."""
        return self._owned() if OPEN <= self._phase <= PEER_CLOSED else None

    def _owned(self) -> Background:
        if self._background is None:
            self._background = Background(
                self._host.io.loop, cast("Connection", self), self._task_failed
            )
        return self._background

    def _task_failed(self, name: str, error: BaseException) -> None:
        self._host.failed_beside(cast("Connection", self), name, error)
