"""The manager: owns the route table, the connections and what they share."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import secrets
import threading
from collections import deque
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from .callbacks.resolve import Resolver
from .callbacks.run import CallbackRunner
from .config.model import Config, RouteConfig
from .connection import Connection
from .engine.loopio import LoopIO
from .engine.protocol import Protocol
from .errors import CallbackError
from .request import Request
from .routes import Route, RouteTable
from .sending import OPENING
from .sessions import Session, SessionManager, open_store
from .types import Callback, CloseCode, Transport

current_manager: contextvars.ContextVar[WebSocketManager] = contextvars.ContextVar(
    "current_manager"
)
"""The manager whose callback is running."""

TICK = 1.0
"""Seconds between two looks at the clock, where no route needs a finer one."""

FLUSH = 5.0
"""Seconds between two savings of changed sessions."""

GOODBYES_PER_SECOND = 250.0
"""Connections closed in a second when the server stops, where there is time for it."""

RETRY = 1.0
"""Seconds before a broken route's functions are looked up again."""


class WebSocketManager:
    """Own everything that outlives one connection.

    Create it anywhere; `start`, `stop` and the rest belong to one event loop.

    Args:
        log: Where errors and warnings go.
        session_store: "memory://" or "sqlite:///path"; see `sessions.open_store`.
        threads: Size of the thread pool that routes share.
        patience: Seconds that a callback waits for a free thread.
    """

    def __init__(
        self,
        *,
        log: logging.Logger | logging.LoggerAdapter[Any] | None = None,
        session_store: str = "memory://",
        threads: int = 16,
        patience: float = 30.0,
    ) -> None:
        self.log = log or logging.getLogger("jupyter_wshandler")
        self.connections: dict[str, Connection] = {}
        self.config = Config()
        self.table = RouteTable(())
        self.stopping = False
        self._session_store = session_store
        self._threads = threads
        self._patience = patience
        self._resolver: Resolver | None = None
        self._resolved_at: dict[str, float] = {}
        self._late: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self._late_lock = threading.Lock()
        self._clock: asyncio.Task[None] | None = None
        self._touched: dict[str, Session] = {}
        self._tick = TICK

    # ---- life ------------------------------------------------------------------------------

    async def start(self) -> None:
        """Begin to serve on the running event loop; without effect if it does already."""
        if self._clock is not None:
            return
        loop = asyncio.get_running_loop()
        self.thread = threading.get_ident()
        self.io = LoopIO(loop)
        # Carriers and workers start from this context: it names the manager, and holds nothing
        # of the request that opened the connection.
        self._context = contextvars.Context()
        self._context.run(current_manager.set, self)
        self.sessions = SessionManager(open_store(self._session_store), log=self.log)
        self.runner = CallbackRunner(
            loop,
            self.log,
            self._context,
            self._closed,
            threads=self._threads,
            patience=self._patience,
        )
        self.wake = self.runner.wake
        self._clock = loop.create_task(self._run_clock(), name="wshandler clock")

    async def stop(self, timeout: float = 10.0) -> None:
        """Close every connection with 1001, let `on_close` run, and leave nothing behind.

        Args:
            timeout: Seconds for callbacks that still run; then they are interrupted.
        """
        self.stopping = True
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        await self._say_goodbye(timeout / 2)
        while self.connections and loop.time() < deadline:
            now = loop.time()
            for connection in list(self.connections.values()):
                connection.tick(now)
            await asyncio.sleep(0.02)
        for connection in list(self.connections.values()):
            connection.cancel("stop")
            if connection._transport is not None:
                connection._transport.abort()
        tasks = [c._task for c in self.connections.values() if isinstance(c._task, asyncio.Task)]
        if tasks:
            await asyncio.wait(tasks, timeout=1.0)
        if self._clock is not None:
            self._clock.cancel()
            await asyncio.wait([self._clock])
        await self.runner.stop(max(0.0, min(1.0, deadline - loop.time())))
        await self.sessions.stop()

    async def _say_goodbye(self, at_most: float) -> None:
        """Close every connection, some at a time: they all come back at once otherwise."""
        connections = list(self.connections.values())
        pause = min(at_most / max(1, len(connections)), 1 / GOODBYES_PER_SECOND)
        for count, connection in enumerate(connections, 1):
            connection._close(CloseCode.GOING_AWAY, "the server is stopping")
            if count % 20 == 0:
                await asyncio.sleep(20 * pause)

    async def _run_clock(self) -> None:
        """Look at every connection at a steady pace: one timer serves all."""
        loop = self.io.loop
        flush_at = loop.time() + FLUSH
        while True:
            await asyncio.sleep(self._tick)
            now = loop.time()
            for connection in list(self.connections.values()):
                connection.tick(now)
                if connection._running is not None:
                    self.runner.check(connection, now)
            if now >= flush_at and self._touched:
                flush_at = now + FLUSH
                self._touched.clear()
                await self.sessions.flush()

    # ---- routes ------------------------------------------------------------------------------

    def apply(self, config: Config) -> None:
        """Take a configuration: resolve its functions and swap the route table.

        A route whose functions cannot be used is kept as broken, with the reason; the others
        are not affected.

        Args:
            config: What `config.loader.load` returned.
        """
        self.config = config
        self._resolver = Resolver(config.folders)
        routes = [self._build(route) for route in config.routes]
        routes += [Route.from_broken(broken) for broken in config.broken if broken.pattern]
        self.table = RouteTable(routes)
        intervals = [
            seconds
            for route in config.routes
            for seconds in (route.ping_interval, route.ping_timeout, route.timeout)
            if isinstance(seconds, (int, float)) and seconds > 0
        ]
        self._tick = min([TICK, *(seconds / 4 for seconds in intervals)])
        self.report()

    def _build(self, config: RouteConfig) -> Route:
        route = Route(config)
        self._resolve(route)
        return route

    def _resolve(self, route: Route) -> None:
        assert self._resolver is not None
        config = route.config
        callbacks: dict[str, Callback] = {}
        errors = []
        for event, spec in config.callbacks.items():
            try:
                callbacks[event] = self._resolver.resolve(spec, event, config.run)
            except CallbackError as error:
                errors.append(f"{spec.place}: {error}")
        condition = config.auth.condition
        if condition is not None:
            try:
                callbacks["condition"] = self._resolver.resolve(condition, "condition", config.run)
            except CallbackError as error:
                errors.append(f"{condition.place}: {error}")
        route.callbacks = callbacks
        route.state = "broken" if errors else "ready"
        route.error = "\n".join(errors)

    def heal(self, route: Route) -> bool:
        """Look the functions of a broken route up again; return whether it can serve now.

        Args:
            route: A route of the current table; one whose configuration is wrong stays broken.
        """
        if route.state == "ready":
            return True
        if route.config_error:
            return False
        now = self.io.loop.time()
        if now - self._resolved_at.get(route.config.name, -RETRY) < RETRY:
            return False
        self._resolved_at[route.config.name] = now
        self._resolve(route)
        if route.state == "ready":
            self.log.info("Route %s works again", route.config.name)
        return route.state == "ready"

    def report(self) -> None:
        """Write to the log what was loaded, and what is wrong with it."""
        config = self.config
        for note in config.notes:
            self.log.info("%s", note)
        for problem in config.problems:
            self.log.error("%s", problem)
        for broken in config.broken:
            for problem in broken.problems:
                self.log.error("Route %s is broken: %s", broken.name, problem)
        for route in self.table:
            if route.state == "ready":
                self.log.info("Route %s serves %s", route.config.name, route.config.pattern)
            elif not route.config_error:
                for line in route.error.splitlines():
                    self.log.error("Route %s is broken: %s", route.config.name, line)
        for warning in self._resolver.warnings if self._resolver else ():
            self.log.warning("%s", warning)
        public = [r.config.name for r in self.table if not r.config.auth.required]
        if public:
            self.log.warning("Open to everyone, without login (auth: false): %s", ", ".join(public))

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
        return Connection(
            self,
            route,
            id=secrets.token_hex(8),
            request=request,
            current_user=current_user,
            session=session,
            path_args=path_args,
            path_kwargs=path_kwargs,
        )

    def open(
        self, connection: Connection, protocol: Protocol, transport: Transport, early: bytes
    ) -> None:
        """Open a connection after its handshake.

        Args:
            connection: What `connection` returned.
            protocol: Turns bytes into events.
            transport: Carries the bytes.
            early: Bytes that arrived behind the handshake.
        """
        self.connections[connection.id] = connection
        connection._route.connections += 1
        self._context.copy().run(connection.start, protocol, transport, early)

    def _closed(self, connection: Connection) -> None:
        if self.connections.pop(connection.id, None) is not None:
            connection._route.connections -= 1
        self.release(connection)

    def release(self, connection: Connection) -> None:
        """Let go of the session of a connection that has ended, or never opened."""
        session, connection._session = connection._session, None
        if session is not None:
            self.sessions.detach(session)

    async def ask(self, connection: Connection, event: str, *args: Any) -> Any:
        """Call a function that takes part in the handshake, and return what it says.

        Args:
            connection: A connection that is not open yet.
            event: "condition", "select_subprotocol" or "get_compression_options".
            args: What the function gets after the connection.

        Raises:
            Exception: Whatever the function raises.
        """
        assert connection._phase == OPENING
        return await self.runner.ask(connection, connection._route.callbacks[event], *args)

    # ---- the Host of connections ----------------------------------------------------------------

    def call_from_thread(self, function: Callable[..., object], *args: Any) -> None:
        """Call a function on the event loop, in the order of the calls; many share one wake-up."""
        with self._late_lock:
            self._late.append((function, args))
            if len(self._late) > 1:
                return
        self.io.loop.call_soon_threadsafe(self._run_late, context=self._context.copy())

    def _run_late(self) -> None:
        with self._late_lock:
            calls = list(self._late)
            self._late.clear()
        if len(calls) > 1:
            self.io.begin_batch()
        for function, args in calls:
            function(*args)

    def touch(self, session: Session) -> None:
        """Remember that a callback looked at a session, so that its changes are saved."""
        self._touched[session.id] = session
        self.sessions.touch(session)
