"""The face of a connection: what a callback looks at, and the work that it leaves running."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Callable, Coroutine, Mapping
from threading import get_ident
from types import MappingProxyType
from typing import Any

from ..errors import ConnectionClosed
from ..routes import Route
from ..sessions.manager import Session
from ..types import Callback
from .background import EVERY, MAX_TURN, MIN_TURN, TASKS, TIMERS, Background, Timer
from .current import naming
from .familiar import HOT
from .host import Host
from .opening import Opening
from .phase import OPEN, PEER_CLOSED
from .sending import SendingHalf
from .state import ConnectionLog, State
from .user import with_keys


class Handler(SendingHalf):
    """What callbacks look at: who is connected, how they came, and what is remembered of them.

    Args:
        host: Who runs the callbacks.
        route: The route that was matched.
        opening: How the client came.
        id: Unique name of the connection.
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

    def __init__(self, host: Host, route: Route, opening: Opening, *, id: str) -> None:
        super().__init__(host, route, id)
        self.request = opening.request
        self.current_user = with_keys(opening.current_user)
        self.path_args = opening.path_args
        self.path_kwargs = opening.path_kwargs
        self.subprotocol = opening.subprotocol
        self.close_reason: str | None = None
        self._session = opening.session
        self._state: State | None = None
        self._background: Background | None = None
        # A context, and what was made of it for this connection: callbacks start from that.
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
    def attached_session(self) -> Session | None:
        """The session, if there is one; to look at it is no use of it, as `session` is."""
        return self._session

    def take_session(self, session: Session) -> None:
        """Have a session from now on.

        Args:
            session: One that was attached for this connection.
        """
        self._session = session

    def let_session_go(self) -> Session | None:
        """Have no session any more; return the one that was attached, to be detached."""
        session, self._session = self._session, None
        return session

    @property
    def state(self) -> State:
        """What callbacks remember of this connection; gone when it closes."""
        if self._state is None:
            # As it is the `__dict__` from now on, each attribute that is set is an entry at once.
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

    def as_handled(self, message: Any) -> Any:
        """Return a message as its callback got it, for those who show it.

        Args:
            message: The message as it came.
        """
        return message

    # ---- what a callback leaves running ----------------------------------------------------

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
            RuntimeError: It was called in a thread, or 1,000 tasks have not ended yet.
        """
        try:
            self._check_open()
            if self._background is not None and self._background.tasks >= TASKS:
                raise RuntimeError(
                    f"connection {self.id} has {TASKS} tasks that have not ended, as many as one "
                    "may; await some, or do the work of several in one"
                )
            if get_ident() != self._io.thread:
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
        callback = self._host.bind(self, function)
        if get_ident() != self._io.thread:
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
            self._background = Background(self._io.loop, self.deliver, self._task_failed)
        return self._background

    def deliver(self, timer: Timer) -> None:
        """Put a turn of a timer in line with the messages."""
        raise NotImplementedError

    def _task_failed(self, name: str, error: BaseException) -> None:
        self._host.failed_beside(self, name, error)

    def failed_beside(self, label: str, error: BaseException) -> bool:
        """Write what code of this connection's bot has raised beside its callbacks; in any thread.

        Args:
            label: What it is called in the log.
            error: What it has raised.

        Returns:
            Whether there was anybody to tell: a server that has stopped writes nothing.
        """
        if get_ident() == self._io.thread:
            self._host.failed_beside(self, label, error)
            return True
        try:
            self._io.call_from_thread(self._host.failed_beside, self, label, error)
        except ConnectionClosed:
            return False
        return True

    def _context_from(self, base: contextvars.Context) -> contextvars.Context:
        """Return what callbacks start from: a context like another one that names the connection.

        Kept, as to set a variable costs more than to copy a context; until a reload brings
        another one with the route.

        Args:
            base: The route's context, or the manager's.
        """
        kept = self._context
        if kept is None or kept[0] is not base:
            kept = self._context = (base, naming(self, base))
        return kept[1]

    def forget_context(self) -> None:
        """Let go of the kept context, of four objects; the next callback makes it again."""
        self._context = None
