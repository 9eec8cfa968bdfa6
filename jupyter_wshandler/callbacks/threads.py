"""The threads that callbacks run in: one pool for all routes, and those that routes ask for."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Callable
from typing import Any

from ..connection.connection import Connection
from ..connection.current import current_connection
from ..connection.phase import OPENING
from ..connection.work import Work
from ..errors import PoolBusy
from ..types import Callback
from .bound import is_bound
from .fairness import Owner
from .job import Turn
from .pool import ThreadPool
from .rousing import Relay


class CallbackThreads:
    """The bounded pools of threads that callbacks run in.

    Args:
        log: Where warnings go.
        size: Threads of the pool that routes share.
        patience: Seconds that a callback waits for a free thread.
        linger: Seconds that a function of a handshake may hold its thread after the client has
            gone.
        relay: Where threads hold back what they send to the event loop.
    """

    def __init__(
        self,
        log: logging.Logger | logging.LoggerAdapter[Any],
        size: int,
        patience: float,
        linger: float = 20.0,
        relay: Relay | None = None,
    ) -> None:
        self._log = log
        self._patience = patience
        self._linger = linger
        self._relay = relay
        self._shared = ThreadPool(size, patience=patience, shared=True, bound=is_bound, relay=relay)
        self._own: dict[str, ThreadPool] = {}
        self._retired: list[ThreadPool] = []
        self._warned = False
        self._stopping = False

    async def call(
        self,
        c: Connection,
        work: Work,
        callback: Callback,
        context: contextvars.Context,
        function: Callable[..., Any],
        *args: Any,
    ) -> Any:
        """Run a function in a thread of the connection's route, and return what it returns.

        Args:
            c: The connection.
            work: What the function is part of; told when it waits for a thread, and begins.
            callback: Whose part the function is; it names the call.
            context: What the function runs in.
            function: What to run.
            args: What it gets.

        Raises:
            PoolBusy: No thread became free in time.
        """
        pool, owner = self._pool_of(c), _owner_of(c)
        context.run(current_connection.set, c)
        while True:
            future = pool.submit(
                function,
                *args,
                label=callback.name,
                context=context,
                owner=owner,
                keeper=c,
                clock=work,
            )
            try:
                result = await future
                if c.is_crossed:  # what it has sent comes before what it returns
                    await c.all_crossed()
                return result
            except PoolBusy:
                # A message can be refused, but `on_close` runs once, however late.
                if callback.event != "on_close" or self._stopping:
                    raise
                self.warn_busy(c, callback)
                work.since = asyncio.get_running_loop().time()
            except asyncio.CancelledError:
                if owner.asking and work.why == "closed":
                    if not pool.drop(future):
                        # It runs, and may well end by itself: only after a while its thread is
                        # given up.
                        asyncio.get_running_loop().call_later(self._linger, pool.abandon, future)
                else:
                    self.abandon(pool, future, c, callback.name)
                raise
            except Exception:
                if c.is_crossed:
                    await c.all_crossed()
                raise

    def run(self, turn: Turn, c: Connection) -> ThreadPool:
        """Hand a turn over to a thread of its connection's route; it is told what becomes of it.

        Args:
            turn: What to run.
            c: The connection.

        Returns:
            The threads.
        """
        pool = self._pool_of(c)
        pool.run(turn, _owner_of(c))
        return pool

    def abandon(
        self, pool: ThreadPool, call: asyncio.Future[Any] | Turn, c: Connection, name: str
    ) -> None:
        """Leave the thread of a call to itself, or take the call out of its line.

        Args:
            pool: The threads that it was handed to.
            call: What stands for it.
            c: The connection.
            name: The callback's name.
        """
        if pool.abandon(call) and not self._stopping:
            self._log.warning(
                "Route %s: %s does not come back from its thread; it is left to itself",
                c.route,
                name,
            )

    def _pool_of(self, c: Connection) -> ThreadPool:
        config = c.entry.config
        if config.threads is None:
            return self._shared
        pool = self._own.get(config.name)
        if pool is None or pool.size != config.threads:
            if pool is not None:
                pool.retire()
                self._retired.append(pool)
            pool = ThreadPool(
                config.threads,
                name=f"wshandler-{config.name}",
                patience=self._patience,
                bound=is_bound,
                relay=self._relay,
            )
            self._own[config.name] = pool
        return pool

    def holders(self, c: Connection) -> list[str]:
        """Return the routes that hold the threads that a connection's callbacks run in."""
        return self._pool_of(c).holders()

    def warn_busy(self, c: Connection, callback: Callback) -> None:
        """Name the callbacks that hold all threads, once; or why the connection needs its own.

        Args:
            c: A connection that found none.
            callback: What it wanted to run.
        """
        if self._warned or self._stopping:
            return
        self._warned = True
        pool = self._pool_of(c)
        if is_bound(c):
            self._log.warning(
                "Route %s: the thread of connection %s was not free for %s. It keeps an sqlite3 "
                "object that no other thread may use, so it waited for its own. Make that with "
                "check_same_thread=False",
                c.route,
                c.id,
                callback.name,
            )
            return
        labels = ", ".join(sorted({label for label, _ in pool.busy()}))
        holders = f"{labels} (route {', '.join(pool.holders())})"
        self._log.warning(
            "Route %s: no thread was free for %s; all are held by: %s. "
            "Give the route more with `threads:`, or make the callback `async def`",
            c.route,
            callback.name,
            holders,
        )

    async def stop(self, timeout: float) -> None:
        """End the threads; name those that do not come back, and leave them.

        Args:
            timeout: Seconds to wait for callbacks that still run.
        """
        self._stopping = True
        pools = (self._shared, *self._own.values(), *self._retired)
        for labels in await asyncio.gather(*(pool.stop(timeout) for pool in pools)):
            for label in labels:
                self._log.warning("%s still ran in a thread when the server stopped", label)


def _owner_of(c: Connection) -> Owner:
    owner: Owner | None = c.thread_owner
    if owner is None:
        owner = Owner(c.route, _visitor(c), c.phase == OPENING)
        if not owner.asking:
            c.own_threads_as(owner)
    return owner


def _visitor(c: Connection) -> str:
    """Return who counts as one: as for the limits, or, in a kernel, by the user's name."""
    if c.counted_as is not None:
        return c.counted_as
    username = getattr(c.current_user, "username", None)
    return f"address:{c.request.remote_ip}" if username is None else f"user:{username}"
