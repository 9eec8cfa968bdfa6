"""The manager: owns the route table, the connections and what they share."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import os
import secrets
import threading
import weakref
from collections import deque
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from ..callbacks.errorlog import ErrorSink
from ..callbacks.run import ANSWER_TIMEOUT, CallbackRunner
from ..callbacks.strays import catch_strays, claim
from ..config.model import Config
from ..connection.connection import Connection
from ..connection.request import Request
from ..connection.sending import FORKED, OPENING
from ..errors import ConnectionClosed
from ..forks import end_loop, guard, let_go, unguard
from ..functions.reload import Reload, Source
from ..functions.resolve import AdHoc
from ..guard import guard_tasks
from ..limits.connections import Limits
from ..metrics import Metrics
from ..routes import Route, RouteTable
from ..sessions.manager import Session, SessionManager, Sessions, open_store
from ..transports.loop import LoopIO
from ..types import Callback, CloseCode, Codec, Transport
from .served import ServedRoutes, Watching

current_manager: contextvars.ContextVar[WebSocketManager] = contextvars.ContextVar(
    "current_manager"
)
"""The manager whose callback is running."""

running_managers: weakref.WeakSet[WebSocketManager] = weakref.WeakSet()
"""The managers that serve in this process."""

TICK = 0.5
"""Seconds between two looks at the clock, where no route needs a finer one."""

MIN_TICK = 0.005
"""Seconds between two looks, at least, however short what a route asks for."""

FLUSH = 0.5
"""Seconds between two savings of changed sessions: they are on disk within a second."""

LATE = 0.005
"""Seconds of the event loop that what threads have asked for takes at a time."""

INTERRUPT = 0.5
"""Seconds for an interrupted callback to end when the server stops."""

GOODBYES_PER_SECOND = 250.0
"""Connections closed in a second when the server stops, where there is time for it."""


class WebSocketManager:
    """Own everything that outlives one connection.

    Create it anywhere; `start`, `stop` and the rest belong to one event loop.

    Args:
        log: Where errors and warnings go.
        session_store: "memory://" or "sqlite:///path"; see `sessions.open_store`.
        threads: Size of the thread pool that routes share.
        patience: Seconds that a callback waits for a free thread.
        answer_timeout: Seconds that a function has which takes part in a handshake.
        reload: How the files of the routes are watched: "auto", "poll", or "off".
        errors: Takes what callbacks raise; None writes it to the log.
    """

    rehearses = False
    """Whether it is a stand-in for a server, which is asked last by those who do not say whom."""

    def __init__(
        self,
        *,
        log: logging.Logger | logging.LoggerAdapter[Any] | None = None,
        session_store: str = "memory://",
        threads: int = 16,
        patience: float = 30.0,
        answer_timeout: float = ANSWER_TIMEOUT,
        reload: Watching = "off",
        errors: ErrorSink | None = None,
    ) -> None:
        self.process = os.getpid()
        self.log = log or logging.getLogger("jupyter_wshandler")
        self.connections: dict[str, Connection] = {}
        self.served = ServedRoutes(self.log, self.connections, self._swapped, reload)
        self.limits = Limits(self.log)
        self.metrics = Metrics()
        self.stopping = False
        self._session_store = session_store
        self._threads = threads
        self._patience = patience
        self._answer_timeout = answer_timeout
        self._errors = errors
        self._late: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self._late_lock = threading.Lock()
        self._late_is_due = False
        self._clock: asyncio.Task[None] | None = None
        self._tick = TICK
        self._tick_is_old = False
        self.active: Callable[[], None] = _nothing
        """Called at most once a tick when connections kept the server alive."""

    # ---- life ------------------------------------------------------------------------------

    async def start(self) -> None:
        """Begin to serve on the running event loop; without effect if it does already."""
        if self._clock is not None:
            return
        loop = asyncio.get_running_loop()
        self.thread = threading.get_ident()
        self.process = os.getpid()
        self.io = LoopIO(loop)
        # Carriers and workers start from this context: it names the manager, and holds nothing
        # of the request that opened the connection.
        self._context = contextvars.Context()
        self._context.run(current_manager.set, self)
        guard_tasks(loop, current_manager, claim)
        catch_strays(loop)
        self.sessions = self._open_sessions()
        self.runner = CallbackRunner(
            loop,
            self.log,
            self._context,
            self.finished,
            self.metrics,
            threads=self._threads,
            patience=self._patience,
            answer_timeout=self._answer_timeout,
            errors=self._errors,
        )
        self.wake = self.runner.wake
        self.failed_beside = self.runner.failed_beside
        self._clock = loop.create_task(self._run_clock(), name="wshandler clock")
        self.served.start(self._context)
        running_managers.add(self)
        guard(self)

    def _open_sessions(self) -> Sessions:
        return SessionManager(open_store(self._session_store, log=self.log), log=self.log)

    async def stop(self, timeout: float = 10.0) -> None:
        """Close every connection with 1001, let `on_close` run, and leave nothing behind.

        Args:
            timeout: Seconds for callbacks that still run; then they are interrupted.
        """
        self.stopping = True
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        await self.served.stop()
        if self._clock is None:  # it never began to serve
            self.served.close()
            return
        await self._say_goodbye(timeout / 2)
        await self._wait_for_connections(deadline)
        # Twice: what is interrupted may be followed by an `on_close` that does not end either.
        for _ in range(2):
            for connection in list(self.connections.values()):
                connection.cancel("stop")
                if connection._transport is not None:
                    connection._transport.abort()
            await self._wait_for_connections(loop.time() + INTERRUPT)
            for connection in list(self.connections.values()):
                if connection._cancel_reason is not None:
                    self.runner.write_off(connection)
            await asyncio.sleep(0.01)  # its `on_close` begins, and may have to be interrupted
        for connection in list(self.connections.values()):
            self.runner.write_off(connection)
        self._clock.cancel()
        await asyncio.wait([self._clock])
        await self.runner.stop(max(0.0, min(1.0, deadline - loop.time())))
        await self.sessions.stop()
        self.served.close()
        running_managers.discard(self)
        unguard(self)

    def forked(self) -> None:
        """Let go, in a child process, of every socket and of the loop: the parent serves."""
        sockets = []
        for connection in list(self.connections.values()):
            connection._phase = FORKED
            connection._inbox.clear()
            fileno = getattr(connection._transport, "fileno", None)
            if fileno is not None:  # one of a kernel's bot has no socket of its own
                sockets.append(fileno())
        let_go(sockets)
        self.stopping = True
        self._late_lock = threading.Lock()  # another thread may have held it
        self._late.clear()
        end_loop(self.io.loop, self.thread)

    async def _say_goodbye(self, at_most: float) -> None:
        """Close every connection, some at a time: they all come back at once otherwise."""
        connections = list(self.connections.values())
        pause = min(at_most / max(1, len(connections)), 1 / GOODBYES_PER_SECOND)
        for count, connection in enumerate(connections, 1):
            connection._close(CloseCode.GOING_AWAY, "the server is stopping")
            if count % 20 == 0:
                await asyncio.sleep(20 * pause)

    async def _wait_for_connections(self, deadline: float) -> None:
        loop = asyncio.get_running_loop()
        while self.connections and loop.time() < deadline:
            now = loop.time()
            for connection in list(self.connections.values()):
                connection.tick(now)
            await asyncio.sleep(0.02)

    async def _run_clock(self) -> None:
        """Look at every connection at a steady pace: one timer serves all."""
        loop = self.io.loop
        flush_at = loop.time() + FLUSH
        while True:
            if self._tick_is_old:
                self._tick_is_old, self._tick = False, self._how_often()
            await asyncio.sleep(self._tick)
            now = loop.time()
            active = False
            for name, connection in list(self.connections.items()):
                try:
                    active |= self._look_at(connection, now)
                except Exception:
                    # The clock of all must outlive what goes wrong with one.
                    self.give_up(name)
            if active:
                self.active()
            if now >= flush_at:
                flush_at = now + FLUSH
                try:
                    await self.sessions.flush(wait=False)
                except Exception:
                    self.log.exception("Sessions could not be saved; trying again later")

    def _look_at(self, connection: Connection, now: float) -> bool:
        """Let time pass for one connection; return whether it makes the server active."""
        connection.tick(now)
        if connection._running is not None:
            self.runner.check(connection, now)
        keep_alive = connection._route.config.keep_alive
        return keep_alive == "connections" or (
            keep_alive == "messages" and connection._last_message == now
        )

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

    def _swapped(self) -> None:
        # A notebook may serve a thousand routes in a row: looked at once, by the clock.
        self._tick_is_old = True

    def _how_often(self) -> float:
        """Return the seconds between two looks at the clock that the routes of today need."""
        intervals = [
            seconds
            for config in [route.config for route in self.table]
            for seconds in (
                config.ping_interval,
                config.ping_timeout,
                config.timeout,
                config.idle_timeout,
            )
            if isinstance(seconds, (int, float)) and seconds > 0
        ]
        return max(MIN_TICK, min([TICK, *(seconds / 4 for seconds in intervals)]))

    # ---- connections -------------------------------------------------------------------------

    def connection(
        self,
        route: Route,
        request: Request,
        *,
        current_user: Any = None,
        session: Session | None = None,
        path_args: tuple[str, ...] = (),
        path_kwargs: Mapping[str, str] = MappingProxyType({}),
    ) -> Connection:
        """Create a connection that is not open yet; the route's own rules may look at it.

        Args:
            route: The route that was matched.
            request: The opening request.
            current_user: The user, or None.
            session: What survives reconnects.
            path_args: Groups of the pattern, by position.
            path_kwargs: Groups of the pattern, by name.
        """
        details: dict[str, Any] = {
            "id": secrets.token_hex(8),
            "request": request,
            "current_user": current_user,
            "session": session,
            "path_args": path_args,
            "path_kwargs": path_kwargs,
        }
        if route.host is not None:
            return route.host.connect(route, **details)
        return Connection(self, route, **details)

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
        self.metrics.opened[connection.route] += 1
        self.served.opened(connection)
        self._context.copy().run(connection.start, protocol, transport, early)
        self.served.settle(connection)

    def finished(self, connection: Connection) -> None:
        """Forget a connection whose last callback has run."""
        if self.connections.pop(connection.id, None) is not None:
            self.served.closed(connection)
            self.metrics.ended(
                connection.route, connection.close_code, connection.dropped, connection.refused
            )
            if connection.unhandled:
                self.metrics.unhandled[connection.route] += connection.unhandled
        self.release(connection)

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
            lambda: connection._transport.abort(),
            lambda: connection.leave_seat(),
            lambda: self.finished(connection),
        )
        for end in ends:
            with contextlib.suppress(Exception):  # what it needs may be what is broken
                end()
        self.connections.pop(name, None)

    def admit(self, connection: Connection, user: str) -> None:
        """Give a connection that is about to open its place in the route's limits.

        Args:
            connection: What `connection` returned; `release` gives the place back.
            user: Names the user, or the visitor without a login.

        Raises:
            LimitReached: There is no place for it.
        """
        address, now = connection.request.remote_ip, self.io.loop.time()
        seat = self.limits.admit(connection._route.config, user, address, now)
        connection._seat, connection._meter = seat, seat.meter

    def release(self, connection: Connection) -> None:
        """Let go of the session and the place of a connection that has ended, or never opened."""
        seat, connection._seat = connection._seat, None
        if seat is not None:
            seat.leave(self.io.loop.time())
        session, connection._session = connection._session, None
        if session is not None:
            self.sessions.detach(session)

    def kept_alive(self) -> int:
        """Return how many connections there are that keep the server alive by being open."""
        return sum(
            connection._route.config.keep_alive == "connections"
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
        assert connection._phase == OPENING
        callback = connection._route.callbacks[event]
        return await self.runner.ask(connection, callback, *args, gone=gone)

    # ---- the Host of connections ----------------------------------------------------------------

    def call_from_thread(self, function: Callable[..., object], *args: Any) -> None:
        """Call a function on the event loop, in the order of the calls; many share one wake-up."""
        with self._late_lock:
            self._late.append((function, args))
            if self._late_is_due:
                return
            # Under the lock: another thread that finds its call in line must be able to count
            # on it, or what its callback returns would overtake what it has sent before.
            try:
                self.io.loop.call_soon_threadsafe(self._run_late, context=self._context.copy())
            except RuntimeError:  # a thread that was left to itself has outlived the loop
                self._late.clear()
                raise ConnectionClosed("the server has stopped") from None
            self._late_is_due = True

    def _run_late(self) -> None:
        """Do what threads have asked for, in order; after a few milliseconds others get a turn."""
        late, loop = self._late, self.io.loop
        if len(late) > 1:
            self.io.begin_batch()
        until = loop.time() + LATE
        while True:
            if not late:
                with self._late_lock:
                    if not late:
                        self._late_is_due = False
                        return
            function, args = late.popleft()
            try:
                function(*args)
            except Exception:
                self.log.exception("%s failed", getattr(function, "__qualname__", function))
            if late and loop.time() >= until:
                loop.call_soon(self._run_late)
                return

    def bind(self, connection: Connection, function: Callable[..., Any]) -> Callback:
        """Return a function of the user's as a callback of a connection's route."""
        name = getattr(function, "__qualname__", repr(function))
        return AdHoc(name, function, connection._route.config.run == "loop")

    def touch(self, session: Session) -> None:
        """Remember that a callback looked at a session, so that its changes are saved."""
        self.sessions.touch(session)


def _nothing() -> None:
    """Do nothing."""
