"""The routes that are served: swapped as a whole, with the open connections taken along."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

from ..config.model import Config, FunctionSpec
from ..config.paths import path_below
from ..connection.connection import Connection
from ..connection.observer import Observer
from ..functions.filters import Filter
from ..functions.reload import Loaded, Reload, RouteLoader, Source, same
from ..functions.watch import Places, places_of
from ..routes import Match, Route, RouteTable
from ..types import CloseCode, Filters
from .importing import LOOKING, ImportThread
from .routelog import RouteLog
from .watching import FileWatcher

Watching = Literal["auto", "poll", "off"]

HEAL = 2.0
"""Seconds that a handshake waits for the functions of a broken route."""

RETRY = 1.0
"""Seconds before a broken route's functions are looked up again."""


class ServedRoutes(Observer):
    """The route table: loaded, loaded again, and swapped under open connections.

    Args:
        log: Where errors and warnings go.
        connections: The open connections by id; the manager's own.
        swapped: Called after each swap, on the event loop.
        watching: "auto", "poll" or "off": how files are watched from `start` on.
    """

    def __init__(
        self,
        log: logging.Logger | logging.LoggerAdapter[Any],
        connections: Mapping[str, Connection],
        swapped: Callable[[], object],
        watching: Watching = "off",
    ) -> None:
        self.log = log
        self.config = Config()
        self.configured: tuple[Route, ...] = ()
        self.live: dict[str, Route] = {}
        self.table = RouteTable(())
        self._configured = RouteTable(())  # without those of kernels
        self.displaced: Callable[[Route, str], object] | None = None
        self.reloaded: Callable[[Reload], object] | None = None
        self.errors: tuple[str, ...] = ()
        self.base_url = "/"
        self.advise: Callable[[], Iterable[str]] | None = None
        self.watching: Watching = watching
        self._connections = connections
        self._by_route: dict[str, dict[Connection, None]] = {}
        self._swapped: list[Callable[[], object]] = [swapped]
        self._source: Source | None = None
        self._loader = RouteLoader()
        self._said = RouteLog(log)
        # Held while modules are imported or files looked at: `sys.modules` is one for all, and a
        # look must not see what a reload is about to learn.
        self._lock = asyncio.Lock()
        self._looked_up: dict[str, float] = {}
        self._thread = ImportThread(log)
        self._task: asyncio.Task[None] | None = None
        self._mending: set[asyncio.Task[bool]] = set()
        self._stopped = False

    # ---- life ------------------------------------------------------------------------------

    def start(self, context: contextvars.Context) -> None:
        """Begin to watch the files, on the running event loop.

        Args:
            context: What modules are imported in; it names the manager.
        """
        self._thread.context = context
        if self.watching != "off" and self._task is None:
            watcher = FileWatcher(
                self.log,
                is_told=self.watching == "auto",
                places=self._places,
                look=self._look,
                reload=self.reload,
            )
            loop = asyncio.get_running_loop()
            self._task = loop.create_task(watcher.run(), name="wshandler reload")

    async def stop(self) -> None:
        """End the watching; a reload that runs is waited for a second, and given up then."""
        self._stopped = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        mending = list(self._mending)
        for task in mending:
            task.cancel()
        if mending:
            await asyncio.wait(mending)
        await self._thread.stop(1.0)

    def close(self) -> None:
        """Forget the callback modules."""
        self._loader.close()

    def watch(self, swapped: Callable[[], object]) -> None:
        """Call one more function after each swap, before open connections are taken along.

        Args:
            swapped: The function; it is called on the event loop once that runs.
        """
        self._swapped.append(swapped)

    def _tell_swapped(self) -> None:
        for swapped in self._swapped:
            swapped()

    # ---- the first time ----------------------------------------------------------------------

    def filter_all(self, filters: Iterable[FunctionSpec | Filter]) -> None:
        """Have filters around all routes of files, from the next `apply` on.

        Args:
            filters: Their names, or they themselves; the outermost first.
        """
        self._loader.everywhere = tuple(filters)

    def filters_of_all(self) -> Filters | None:
        """Return the filters of all routes, for one of a kernel; see `RouteLoader`."""
        return self._loader.filters_of_all()

    def apply(self, config: Config, source: Source | None = None) -> None:
        """Take a configuration: find its functions and swap the table.

        Args:
            config: What `config.loader.load` returned.
            source: Loads it again, in a thread; None if it cannot change.
        """
        self._source = source
        self._install(config, self._loader.load(config))
        self._said.loaded(config)
        self._said.routes(self.configured, {}, self._warnings())

    async def heal(self, route: Route) -> bool:
        """Look the functions of a broken route up again; return whether it can serve now.

        Args:
            route: One of the table; where its configuration is wrong it stays broken.
        """
        if route.state == "ready":
            return True
        now = time.monotonic()
        early = now - self._looked_up.get(route.name, -RETRY) < RETRY
        if route.config_error or early or self._lock.locked():
            return False
        if self.table.get(route.name) is not route:  # swapped since the handshake began
            return False
        self._looked_up[route.name] = now
        # In a task of its own: an import that was begun goes on where the client does not wait.
        task = asyncio.create_task(self._mend(route), name=f"wshandler mend {route.name}")
        self._mending.add(task)
        task.add_done_callback(self._mending.discard)
        await asyncio.wait([task], timeout=HEAL)  # an import that takes longer serves the next
        return task.done() and not task.cancelled() and task.result()

    async def _mend(self, route: Route) -> bool:
        async with self._lock:
            await self._thread.run(self._loader.mend, route, label=f"import for {route.name}")
        if route.state != "ready":
            return False
        self.log.info("Route %s works again", route.name)
        for connection in list(self._connections.values()):
            self._move(connection)
        return True

    # ---- again -----------------------------------------------------------------------------

    async def reload(self, *, force: bool = False) -> Reload:
        """Load what has changed on disk, and swap it in if it works.

        A callback that runs goes on to its end as it was; the next one of any connection is of
        the new version.

        Args:
            force: Whether to load everything again, changed or not.
        """
        async with self._lock:
            if self._stopped:
                return Reload()
            current = {route.name: route for route in self.configured}
            loaded = await self._thread.run(
                self._loader.reload, self._source, self.config, current, force, label="a reload"
            )
            result = self._swap(loaded)
        if self.reloaded is not None:
            self.reloaded(result)
        if self.advise is not None and (result.added or result.changed):
            self._said.say(logging.WARNING, self.advise())
        return result

    async def _look(self) -> bool:
        async with self._lock:
            return bool(await self._thread.run(self._loader.look, label=LOOKING))

    async def _places(self) -> Places:
        async with self._lock:
            files = self._loader.files()
            places: Places = await self._thread.run(places_of, files, label=LOOKING)
            return places

    def _swap(self, loaded: Loaded) -> Reload:
        files = tuple(self._shown(path) for path in loaded.files if not os.path.isdir(path))
        self._said.not_reloaded(loaded.errors, self.errors)
        self.errors = loaded.errors
        if loaded.routes is None:
            return Reload(files, errors=loaded.errors)
        before = {route.name: route for route in self.configured}
        known = set(self.config.problems) | set(self.config.notes)
        routes, changed = [], []
        for route in loaded.routes:
            old = before.get(route.name)
            is_same = old is not None and _is_same(old, route)
            if old is not None and is_same and not loaded.afresh and old.state == route.state:
                # The same in every way: its connections keep the very route they have.
                old.config, old.error = route.config, route.error
                route = old
            elif old is not None and not is_same:
                changed.append(route.name)
            routes.append(route)
        names = {route.name for route in routes}
        self._install(loaded.config, routes)
        closed = [self._move(connection) for connection in list(self._connections.values())]
        result = Reload(
            files,
            loaded.afresh,
            added=tuple(route.name for route in routes if route.name not in before),
            changed=tuple(changed),
            removed=tuple(name for name in before if name not in names),
            closed=sum(closed),
            errors=loaded.errors,
        )
        self.log.info("Reloaded %s", result)
        self._said.say(logging.INFO, (note for note in loaded.config.notes if note not in known))
        self._said.routes(self.configured, before, self._warnings())
        return result

    def _install(self, config: Config, routes: list[Route]) -> None:
        self.config = config
        self.configured = tuple(routes)
        self._configured = RouteTable(self.configured)
        for name, route in list(self.live.items()):
            if route.host is not None and route.filters is not None:  # a kernel's
                route.filters = self._loader.filters_of_all()
            reason = self.conflict(route)
            if reason is not None:
                del self.live[name]
                if self.displaced is not None:
                    self.displaced(route, reason)
        self._rebuild()

    def _rebuild(self) -> None:
        self.table = RouteTable(self.configured, last=self.live.values())
        for route in self.table:
            route.connections = len(self._by_route.get(route.name, ()))
        self._tell_swapped()

    # ---- routes whose functions are at hand ----------------------------------------------------

    def put(self, route: Route) -> None:
        """Serve a route that no file describes, behind all that are configured.

        One of its name is replaced, and its connections are taken along as in a reload.

        Args:
            route: The route, with its functions or its host.

        Raises:
            ValueError: A configured route has its name or answers its path.
        """
        reason = self.conflict(route)
        if reason is not None:
            raise ValueError(reason)
        self.live[route.name] = route
        self.table.put(route)
        connections = tuple(self._by_route.get(route.name, ()))
        route.connections = len(connections)
        self._tell_swapped()
        for connection in connections:
            self._move(connection)

    def remove(self, name: str, *, close: bool = True) -> None:
        """Serve a route that was `put` no longer.

        Args:
            name: The route's name.
            close: Whether its connections are closed with 1012; otherwise the caller does it.
        """
        if self.live.pop(name, None) is None:
            return
        self.table.discard(name)
        self._tell_swapped()
        if close:
            for connection in tuple(self._by_route.get(name, ())):
                self._move(connection)

    def take_away(self, route: Route, reason: str) -> bool:
        """Serve a route no longer that was `put`, and tell whoever put it.

        Its connections are closed with 1012.

        Args:
            route: The route; another one of its name is left where it is.
            reason: Why, for who has put it.

        Returns:
            Whether it was there.
        """
        if self.live.get(route.name) is not route:
            return False
        if self.displaced is not None:
            self.displaced(route, reason)
        self.remove(route.name)
        return True

    def conflict(self, route: Route) -> str | None:
        """Return why a route cannot be served beside the configured ones, or None.

        Args:
            route: One that is not configured.
        """
        table = self._configured
        if table.get(route.name) is not None:
            return f"the server's configuration has a route named {route.name!r}"
        match = table.match(route.sample_path())
        if match is not None:
            other = match[0]
            return (
                f"{route.config.pattern} is answered by the configured route {other.name!r} "
                f"({other.config.pattern})"
            )
        return None

    def connections_of(self, name: str) -> tuple[Connection, ...]:
        """Return the connections of a route, in the order in which they have come.

        Args:
            name: The route's name.
        """
        return tuple(self._by_route.get(name, ()))

    # ---- open connections ------------------------------------------------------------------

    def opened(self, connection: Connection) -> None:
        """Count a connection, and give it the route of today if it began with yesterday's."""
        self._by_route.setdefault(connection.route, {})[connection] = None
        route = self.table.get(connection.route)
        if route is not None:
            route.connections += 1
        if self._move(connection):
            # The routes were swapped during its handshake, and it must be closed. That is possible
            # only once it has started, which it does later in this turn of the loop.
            asyncio.get_running_loop().call_soon(self._move, connection)

    def ended(self, connection: Connection) -> None:
        """Stop counting a connection."""
        same_route = self._by_route.get(connection.route, {})
        same_route.pop(connection, None)
        if not same_route:
            self._by_route.pop(connection.route, None)
        route = self.table.get(connection.route)
        if route is not None:
            route.connections -= 1

    def _move(self, connection: Connection) -> bool:
        """Give a connection the route of its name; close it (1012) where it cannot have it.

        Who is in was let in by the rules of the old route. Where these are others now, only a
        handshake can ask again: 1012 says that the service restarts, and clients come back.

        Returns:
            Whether it was closed.
        """
        old, new = connection.entry, self.table.get(connection.route)
        if new is old or connection.closed:
            return False
        match: Match | None = None
        if new is None:
            reason = "this route is gone"
        elif new.host is not old.host:
            reason = "this route is served from elsewhere now"
        elif new.config_error:
            return False  # what it is meant to be is not known: go on as before
        elif not (
            same(old.config.auth, new.config.auth)
            and same(old.config.origins, new.config.origins)
            and old.config.xsrf == new.config.xsrf
            and old.config.space == new.config.space
            and same(old.config.may_join, new.config.may_join)
            and same(old.config.rooms, new.config.rooms)
            and (new.filters is None or old.filters is not None)
        ):
            reason = "the rules of this route have changed"
        elif (match := self._match(new, connection)) is None:
            reason = "this route has moved"
        else:
            reason = ""
        if reason:
            connection.end(CloseCode.SERVICE_RESTART, reason)
            return True
        if new is not None and match is not None and new.state == "ready":
            if old.config.pattern != new.config.pattern:
                connection.path_args, connection.path_kwargs = tuple(match[1]), match[2]
            connection.adopt(new)
        return False

    def _match(self, route: Route, connection: Connection) -> Match | None:
        path = connection.request.path
        found = RouteTable([route]).find(path_below(self.base_url, path) or path)
        return None if found is None or found[1] else found[0]

    def _warnings(self) -> list[str]:
        return [] if self._loader.resolver is None else self._loader.resolver.warnings

    def _shown(self, path: str) -> str:
        folders = [os.path.abspath(folder) for folder in self.config.folders]
        near = [os.path.relpath(path, f) for f in folders if path.startswith(os.path.join(f, ""))]
        return min(near, key=len, default=path)


def _is_same(old: Route, new: Route) -> bool:
    """Say whether two routes are configured alike, broken ones by their errors."""
    if old.config_error or new.config_error:
        return old.config_error == new.config_error and old.error == new.error
    return same(old.config, new.config)
