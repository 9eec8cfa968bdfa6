"""The manager: owns the route table, the connections and what they share."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import os
import weakref
from collections.abc import Callable
from typing import Any

from ..backplane.base import Backplane
from ..callbacks.errorlog import ErrorSink
from ..callbacks.questions import ANSWER_TIMEOUT
from ..callbacks.run import CallbackRunner
from ..callbacks.strays import catch_strays, claim
from ..config.model import Config
from ..connection.connection import Connection
from ..connection.filtered import FilteredConnection
from ..connection.host import Host
from ..connection.observer import Observers
from ..connection.opening import Opening
from ..connection.phase import OPENING
from ..errors import LimitReached
from ..forks import end_loop, guard, let_go, unguard
from ..functions.reload import Reload, Source
from ..functions.resolve import AdHoc
from ..functions.tracing import tracing
from ..guard import guard_tasks
from ..limits.connections import Limits
from ..metrics import Metrics
from ..rooms.keeper import ROOMS_PER_SPACE, Rooms
from ..rooms.parts import ManagersRooms
from ..routes import Route, RouteTable
from ..sessions.manager import Session, SessionManager, Sessions
from ..sessions.stores import open_store
from ..transports.loop import LoopIO
from ..types import Callback, Codec, Transport
from .audience import Counting, Releasing, Traces
from .clock import Clock
from .drain import Drain
from .elsewhere import Elsewhere
from .resuming import Resumes
from .served import ServedRoutes, Watching

current_manager: contextvars.ContextVar[WebSocketManager] = contextvars.ContextVar(
    "current_manager"
)
"""The manager whose callback is running."""

running_managers: weakref.WeakSet[WebSocketManager] = weakref.WeakSet()
"""The managers that serve in this process."""

INTERRUPT = 0.5
"""Seconds for an interrupted callback to end when the server stops."""


class WebSocketManager:
    """Everything that outlives one connection: routes, sessions, limits, clock and threads.

    Create it anywhere; `start`, `stop` and the rest belong to one event loop. It is the
    `connection.host.Host` of the connections whose callbacks run in this process.

    Args:
        log: Where errors and warnings go.
        session_store: "memory://" or "sqlite:///path"; see `sessions.stores.open_store`.
        sessions: Returns what owns the sessions, where that is not the store's own.
        threads: Size of the thread pool that routes share.
        patience: Seconds that a callback waits for a free thread.
        answer_timeout: Seconds that a function has which takes part in a handshake.
        reload: How the files of the routes are watched: "auto", "poll", or "off".
        errors: Takes what callbacks raise; None writes it to the log.
        rooms_per_space: Rooms of one space that may have members at a time.
        backplane: Joins its rooms with those of other servers; its own memory where None.
        is_stand_in: Whether it stands in for a server, as in a test: it is asked last by those
            who do not say which one they mean.
    """

    busy = False
    """Whether it takes no new connections now; see `connection.host.Host`."""

    knows_all = True
    """Whether it has all routes that code in this process can mean."""

    wake: Callable[[Connection], None]
    """Runs what waits on a connection; the runner's own method, as each message calls it."""

    failed_beside: Callable[[Connection, str, BaseException], str]
    """Writes what a task or a timer of a connection has raised; the runner's own, too."""

    def __init__(
        self,
        *,
        log: logging.Logger | logging.LoggerAdapter[Any] | None = None,
        session_store: str = "memory://",
        sessions: Callable[[], Sessions] | None = None,
        threads: int = 16,
        patience: float = 30.0,
        answer_timeout: float = ANSWER_TIMEOUT,
        reload: Watching = "off",
        errors: ErrorSink | None = None,
        rooms_per_space: int = ROOMS_PER_SPACE,
        backplane: Backplane | None = None,
        is_stand_in: bool = False,
    ) -> None:
        self.is_stand_in = is_stand_in
        self.process = os.getpid()
        self.log = log or logging.getLogger("jupyter_wshandler")
        self.connections: dict[str, Connection] = {}
        self.served = ServedRoutes(
            self.log, self.connections, lambda: self.clock.routes_changed(), reload
        )
        self.limits = Limits(self.log)
        self.metrics = Metrics()
        self.rooms: ManagersRooms = self._make_rooms(rooms_per_space, backplane)
        self.served.watch(self.rooms.routes_changed)
        self.observers = Observers(self.log)
        # For every manager; what only a server does, its log say, is added in `server/app.py`.
        self.observers.add(self.served)
        self.observers.add(self.rooms)
        self.observers.add(Counting(self.metrics))
        if (spans := tracing()) is not None:
            self.observers.add(Traces(spans))
        self.resumes = Resumes(self.connections, self.metrics)
        self.keeps_away = self.resumes.keeps_away
        self.observers.add(self.resumes)
        is_alone = backplane is None or not backplane.joins_servers
        self.drain = Drain(self.connections, self.resumes, self.log, is_alone=is_alone)
        self.elsewhere = Elsewhere(backplane, self.resumes, self.log)
        self.observers.add(Releasing(self.release))
        self.stopping = False
        self._session_store = session_store
        self._sessions = sessions
        self._threads = threads
        self._patience = patience
        self._answer_timeout = answer_timeout
        self._errors = errors
        self._started = False
        self.clock = Clock(
            self.log,
            self.connections,
            lambda: self.table,
            self._check,
            self._flush,
            lambda: self.active(),
            self.give_up,
        )
        self.active: Callable[[], None] = lambda: None
        """Called at most once a tick when connections kept the server alive."""

    # ---- life ------------------------------------------------------------------------------

    async def start(self) -> None:
        """Begin to serve on the running event loop; without effect if it does already."""
        if self._started:
            return
        self._started = True
        loop = asyncio.get_running_loop()
        self.process = os.getpid()
        # Transports and workers start from this context: it names the manager, and holds nothing
        # of the request that opened the connection.
        self._context = contextvars.Context()
        self._context.run(current_manager.set, self)
        self.io = LoopIO(loop, self._context, self.log)
        guard_tasks(loop, current_manager, claim)
        catch_strays(loop)
        self.sessions = self._open_sessions()
        self.runner = CallbackRunner(
            self.io,
            self.log,
            self._context,
            self.finished,
            self.observers,
            threads=self._threads,
            patience=self._patience,
            answer_timeout=self._answer_timeout,
            errors=self._errors,
        )
        self.wake = self.runner.wake
        self.failed_beside = self.runner.failed_beside
        self.rooms.start(self.io, self.runner.call, self.runner.failed_beside)
        self.elsewhere.start()
        self.clock.start()
        self.served.start(self._context)
        running_managers.add(self)
        guard(self)

    def _make_rooms(self, limit: int, backplane: Backplane | None) -> ManagersRooms:
        """Return who has the rooms of its connections; of a kernel's it is the server."""
        connections = self.connections.values
        return Rooms(self.log, lambda: self.table, connections, backplane=backplane, limit=limit)

    def _open_sessions(self) -> Sessions:
        if self._sessions is not None:
            return self._sessions()
        return SessionManager(open_store(self._session_store, log=self.log), log=self.log)

    async def stop(self, timeout: float = 10.0) -> None:
        """Close every connection with 1001, let `on_close` run, and leave nothing behind.

        Args:
            timeout: Seconds for callbacks that still run; then they are interrupted.
        """
        self.stopping = self.resumes.stopping = True
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        await self.served.stop()
        if not self._started:  # it never began to serve
            self.served.close()
            return
        await self.drain.finish(timeout)
        await self._wait_for_connections(deadline)
        # Twice: what is interrupted may be followed by an `on_close` that does not end either.
        for _ in range(2):
            for connection in list(self.connections.values()):
                connection.cancel("stop")
                connection.abort()
            await self._wait_for_connections(loop.time() + INTERRUPT)
            for connection in list(self.connections.values()):
                if connection.work is not None and connection.work.why is not None:
                    self.runner.write_off(connection)
            await asyncio.sleep(0.01)  # its `on_close` begins, and may have to be interrupted
        for connection in list(self.connections.values()):
            self.runner.write_off(connection)
        await self.elsewhere.stop()
        await self.clock.stop()
        await self.rooms.stop(max(0.0, min(1.0, deadline - loop.time())))
        await self.runner.stop(max(0.0, min(1.0, deadline - loop.time())))
        await self.sessions.stop()
        self.served.close()
        running_managers.discard(self)
        unguard(self)

    def forked(self) -> None:
        """Let go, in a child process, of every socket and of the loop: the parent serves."""
        sockets = [connection.let_go() for connection in list(self.connections.values())]
        let_go(socket for socket in sockets if socket >= 0)
        self.stopping = True
        self.io.forget_calls()
        end_loop(self.io.loop, self.io.thread)

    async def _wait_for_connections(self, deadline: float) -> None:
        loop = asyncio.get_running_loop()
        while self.connections and loop.time() < deadline:
            now = loop.time()
            for connection in list(self.connections.values()):
                connection.tick(now)
            await asyncio.sleep(0.02)

    def _check(self, connection: Connection, now: float) -> None:
        self.runner.check(connection, now)

    async def _flush(self) -> None:
        self.rooms.tick(self.io.loop.time())
        await self.sessions.flush(wait=False)

    # ---- routes ------------------------------------------------------------------------------

    @property
    def config(self) -> Config:
        """The configuration that is served."""
        return self.served.config

    @property
    def table(self) -> RouteTable:
        """The routes that are served; a reload swaps the table for another one."""
        return self.served.table

    @property
    def reload_errors(self) -> tuple[str, ...]:
        """Why files are not served as they are on disk; empty if they are."""
        return self.served.errors

    def apply(self, config: Config, source: Source | None = None) -> None:
        """Take a configuration: resolve its functions and swap the route table.

        A route whose functions cannot be used is kept as broken, with the reason; the others
        are not affected.

        Args:
            config: What `config.loader.load` returned.
            source: Loads it again for a reload, in a thread; None if it cannot change.
        """
        self.served.apply(config, source)

    async def reload(self, *, force: bool = False) -> Reload:
        """Load again what has changed on disk; see `ServedRoutes.reload`.

        Args:
            force: Whether to load everything again, changed or not.
        """
        return await self.served.reload(force=force)

    async def heal(self, route: Route) -> bool:
        """Look the functions of a broken route up again; return whether it can serve now.

        Args:
            route: A route of the current table; one whose configuration is wrong stays broken.
        """
        return await self.served.heal(route)

    # ---- connections -------------------------------------------------------------------------

    def host_of(self, route: Route) -> Host:
        """Return who runs the functions of a route: the manager, unless it names somebody else."""
        return self if route.host is None else route.host

    def connection(self, route: Route, opening: Opening) -> Connection:
        """Create a connection that is not open yet; the route's own rules may look at it.

        Args:
            route: The route that was matched.
            opening: How the client came.
        """
        host = self.host_of(route)
        found: Connection = host.connect(route, opening, id=self.elsewhere.new_id())
        return found

    def connect(self, route: Route, opening: Opening, *, id: str) -> Connection:
        """Return a connection whose callbacks run in this process; it is not open yet.

        Args:
            route: The route that was matched.
            opening: How the client came.
            id: Unique name of the connection.
        """
        kind = Connection if route.filters is None else FilteredConnection
        return kind(self, route, opening, id=id)

    def open(
        self, connection: Connection, protocol: Codec, transport: Transport, early: Any
    ) -> None:
        """Open a connection after its handshake.

        Args:
            connection: What `connection` returned.
            protocol: Turns what is read into events.
            transport: Carries the frames.
            early: What arrived behind the handshake.
        """
        self.connections[connection.id] = connection
        self.observers.tell(self.observers.opened, connection)
        self._context.copy().run(connection.start, protocol, transport, early)

    def finished(self, connection: Connection) -> None:
        """Forget a connection whose last callback has run."""
        if self.connections.pop(connection.id, None) is not None:
            self.observers.tell(self.observers.ended, connection)
        else:
            self.release(connection)
        connection.untie()

    def give_up(self, name: str) -> None:
        """Let go of a connection that cannot be looked at; called while handling the exception.

        Such a one has been written into by its own bot (``handler._route = ...``). Nothing that
        all need may stop at it, and nobody could say any longer whether its user may use it.

        Args:
            name: Its id, as it was when it opened.
        """
        self.log.exception("Connection %s could not be looked at, and is ended", name)
        connection: Any = self.connections.get(name)
        ends: tuple[Callable[[], object], ...] = (
            lambda: connection.abort(),
            lambda: connection.leave_seat(),
            lambda: self.finished(connection),
        )
        for end in ends:
            with contextlib.suppress(Exception):  # what it needs may be what is broken
                end()
        self.connections.pop(name, None)

    def admit(self, connection: Connection, user: str, *, guest: bool = False) -> None:
        """Give a connection that is about to open its place in the route's limits.

        Args:
            connection: What `connection` returned; `release` gives the place back.
            user: Names the user, or the visitor without a login.
            guest: Whether it is somebody who has come by a share.

        Raises:
            LimitReached: There is no place for it.
        """
        address, now = connection.request.remote_ip, self.io.loop.time()
        config = connection.entry.config
        try:
            seat = self.limits.admit(config, user, address, now, guest=guest)
        except LimitReached as reached:
            # Who has closed a tab and opens another one is not kept out by the first.
            if reached.status != 429 or not self.resumes.make_room(config.name, user):
                raise
            seat = self.limits.admit(config, user, address, now, guest=guest)
        connection.take_seat(seat)

    def release(self, connection: Connection) -> None:
        """Let go of the session and the place of a connection that has ended, or never opened."""
        connection.leave_seat()
        session = connection.let_session_go()
        if session is not None:
            self.sessions.detach(session)

    def kept_alive(self) -> int:
        """Return how many connections there are that keep the server alive by being open."""
        return sum(
            connection.entry.config.keep_alive == "connections"
            for connection in self.connections.values()
        )

    async def ask(
        self,
        connection: Connection,
        event: str,
        *args: Any,
        gone: asyncio.Future[None] | None = None,
    ) -> Any:
        """Call a function that takes part in the handshake, and return what it says.

        Args:
            connection: A connection that is not open yet.
            event: "condition", "select_subprotocol" or "get_compression_options".
            args: What the function gets after the connection.
            gone: Done when nobody waits for the answer any more.

        Raises:
            Exception: Whatever the function raises.
            NoAnswer: It took too long.
            PoolBusy: No thread became free for it in time.
            ConnectionClosed: `gone` is done.
        """
        assert connection.phase == OPENING
        callback = connection.entry.callbacks[event]
        return await self.runner.ask(connection, callback, *args, gone=gone)

    # ---- the Host of connections ------------------------------------------------------------

    def bind(self, connection: Connection, function: Callable[..., Any]) -> Callback:
        """Return a function of the user's as a callback of a connection's route."""
        name = getattr(function, "__qualname__", repr(function))
        return AdHoc(name, function, connection.entry.config.run == "loop")

    def touch(self, session: Session) -> None:
        """Remember that a callback looked at a session, so that its changes are saved."""
        self.sessions.touch(session)
