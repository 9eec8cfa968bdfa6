"""Run the callbacks of connections: in order, on the loop or in a thread, with deadlines.

A connection has at most one worker task, and only while it has work: `open` first, then each
message, then `on_close`. An idle connection costs no task.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
import secrets
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from types import CoroutineType
from typing import Any

import msgspec

from ..connection import Connection
from ..engine.protocol import Pong
from ..errors import ConnectionClosed, PoolBusy
from ..sending import CLOSED, OPENING
from ..types import Callback, CloseCode
from .pool import ThreadPool

SLOW = 10.0
"""Seconds after which a callback that still runs is named in a warning, once."""

THREAD_TIMEOUT = 300.0
"""Seconds that a callback in a thread may take where the route says nothing else."""

_DONE = object()


class CallbackRunner:
    """Own the worker tasks and the threads that run callbacks.

    Args:
        loop: The event loop.
        log: Where errors and warnings go.
        context: The context that callbacks start from; it names the manager.
        finished: Called when a connection's last callback has run.
        threads: Size of the thread pool that routes share.
        patience: Seconds that a callback waits for a free thread.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        log: logging.Logger | logging.LoggerAdapter[Any],
        context: contextvars.Context,
        finished: Callable[[Connection], None],
        *,
        threads: int = 16,
        patience: float = 30.0,
    ) -> None:
        self._loop = loop
        self._log = log
        self._context = context
        self._finished = finished
        self._patience = patience
        self._pool = ThreadPool(threads, patience=patience)
        self._own_pools: dict[str, ThreadPool] = {}
        self._warned_busy = False
        self._warned: set[int] = set()
        # Python 3.12 can run a task's first step at once, which saves a turn of the loop.
        self._eager: dict[str, Any] = {"eager_start": True} if sys.version_info >= (3, 12) else {}

    def wake(self, connection: Connection) -> None:
        """Start the worker of a connection that has work and no worker."""
        if connection._task is None and not connection._finished:
            # The worker sets itself None at its end, so an eager one must not be stored after.
            connection._task = _STARTING
            task = asyncio.Task(
                self._work(connection),
                loop=self._loop,
                name=f"wshandler {connection.id}",
                context=self._context.copy(),
                **self._eager,
            )
            if not task.done():
                connection._task = task

    async def _work(self, c: Connection) -> None:
        try:
            if not c._opened:
                c._opened = True
                opener = c._route.callbacks.get("open")
                if opener is not None:
                    await self._call(c, opener, c)
            if len(c._inbox) > 1:
                c._host.io.begin_batch()
            while (message := c.next_message()) is not None:
                if type(message) is Pong:
                    callback = c._route.callbacks.get("on_pong")
                    argument: object = message.payload
                else:
                    callback = c._route.callbacks.get("on_message")
                    argument = message
                if callback is None:
                    self._no_callback(c, message)
                    continue
                await self._call(c, callback, c, argument)
            if c._phase == CLOSED and not c._finished:
                c._finished = True
                closer = c._route.callbacks.get("on_close")
                if closer is not None:
                    await self._call(c, closer, c, closing=True)
                self._finished(c)
        finally:
            c._task = None
        c.settle()
        if c._inbox or (c._phase == CLOSED and not c._finished):
            self.wake(c)

    def _no_callback(self, c: Connection, message: object) -> None:
        if not isinstance(message, Pong):
            c.close(CloseCode.UNSUPPORTED_DATA, "this route takes no messages")

    async def _call(
        self, c: Connection, callback: Callback, *args: Any, closing: bool = False
    ) -> None:
        """Run one callback to its end, with all that it yields; never raises."""
        c._running = callback.name
        c._since = self._loop.time()
        try:
            if callback.inline:
                result = callback.call(*args)
            else:
                result = await self._in_thread(c, callback, callback.call, *args)
            if type(result) is CoroutineType:  # the common case: an `async def`
                result = await result
            if result is not None:
                await self._result(c, callback, result, closing)
        except asyncio.CancelledError:
            self._interrupted(c, callback)
        except ConnectionClosed as error:
            if c.closed or closing:
                self._log.debug("Route %s: %s: %s", c.route, callback.name, error)
            else:
                # It is another connection that is closed.
                await self._failed(c, callback, error)
        except PoolBusy:
            self._busy(c, callback)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            await self._failed(c, callback, error)
        finally:
            c._running = None

    async def ask(self, c: Connection, callback: Callback, *args: Any) -> Any:
        """Call a function that takes part in the handshake, and return what it says.

        Args:
            c: A connection that is not open yet.
            callback: The function.
            args: What it gets after the connection.

        Raises:
            Exception: Whatever the function raises.
        """
        if callback.inline:
            result = callback.call(c, *args)
        else:
            result = await self._in_thread(c, callback, callback.call, c, *args)
        return await result if inspect.isawaitable(result) else result

    async def _in_thread(self, c: Connection, callback: Callback, function: Any, *args: Any) -> Any:
        pool = self._pool_of(c)
        future = pool.submit(
            function, *args, label=callback.name, context=contextvars.copy_context()
        )
        try:
            return await future
        except asyncio.CancelledError:
            pool.abandon(future)
            if c._cancel_reason is not None:
                self._log.warning(
                    "Route %s: %s does not come back from its thread; it is left to itself",
                    c.route,
                    callback.name,
                )
            raise

    def _pool_of(self, c: Connection) -> ThreadPool:
        config = c._route.config
        if config.threads is None:
            return self._pool
        pool = self._own_pools.get(config.name)
        if pool is None or pool.size != config.threads:
            pool = ThreadPool(
                config.threads, name=f"wshandler-{config.name}", patience=self._patience
            )
            self._own_pools[config.name] = pool
        return pool

    # ---- what a callback returns ------------------------------------------------------------

    async def _result(self, c: Connection, callback: Callback, result: Any, closing: bool) -> None:
        if inspect.isawaitable(result):
            result = await result
            if result is None:
                return
        if isinstance(result, AsyncIterator):
            await self._stream_async(c, result, closing)
        elif isinstance(result, Iterator) and inspect.isgenerator(result):
            await self._stream(c, callback, result, closing)
        elif not closing:
            self._returned(c, callback, result)

    def _returned(self, c: Connection, callback: Callback, result: Any) -> None:
        if isinstance(result, (str, bytes, bytearray, dict, list)):
            if c._route.config.returns == "send":
                c.write_message(result)
        elif callback.event == "on_message":
            raise TypeError(
                f"{callback.name} returned {type(result).__name__}; "
                "return str, bytes, dict or list to send it, or None"
            )

    async def _stream_async(self, c: Connection, items: Any, closing: bool) -> None:
        """Send each item that an async generator yields; closing the connection closes it."""
        c._streaming = not closing
        try:
            async for item in items:
                await self._yielded(c, item, closing)
        finally:
            c._streaming = False
            if hasattr(items, "aclose"):  # an iterator that is no generator has none
                await items.aclose()

    async def _stream(self, c: Connection, callback: Callback, items: Any, closing: bool) -> None:
        """Send each item that a generator yields, each step where the callback runs."""
        c._streaming = not closing
        try:
            while True:
                if callback.inline:
                    item = next(items, _DONE)
                    await asyncio.sleep(0)
                else:
                    item = await self._in_thread(c, callback, next, items, _DONE)
                if item is _DONE:
                    return
                await self._yielded(c, item, closing)
        finally:
            c._streaming = False
            if not items.gi_running:
                if callback.inline:
                    items.close()
                else:
                    await self._in_thread(c, callback, items.close)

    async def _yielded(self, c: Connection, item: Any, closing: bool) -> None:
        c._since = self._loop.time()
        if item is not None and not closing:
            await c.write_message(item)

    # ---- what goes wrong ----------------------------------------------------------------------

    async def _failed(self, c: Connection, callback: Callback, error: BaseException) -> None:
        error_id = secrets.token_hex(4)
        self._log.error(
            "Error %s in %s, route %s, connection %s, user %s",
            error_id,
            callback.name,
            c.route,
            c.id,
            username(c.current_user),
            exc_info=error,
        )
        handler = c._route.callbacks.get("on_error")
        if handler is not None and callback.event not in ("on_error", "on_close"):
            await self._call(c, handler, c, error)
        if c.closed:
            return
        if c._route.config.on_error_close:
            c.close(CloseCode.INTERNAL_ERROR, f"internal error, id {error_id}")
        elif callback.event != "on_error":
            c.write_message({"error": "internal error", "id": error_id})

    def _interrupted(self, c: Connection, callback: Callback) -> None:
        reason, c._cancel_reason = c._cancel_reason, None
        task = asyncio.current_task()
        if reason is not None and task is not None:
            task.uncancel()
        if reason == "closed":
            return
        if reason == "timeout":
            self._log.error(
                "Route %s: %s took longer than its timeout; closing connection %s",
                c.route,
                callback.name,
                c.id,
            )
            c.close(CloseCode.INTERNAL_ERROR, "timeout")
        elif reason == "stop":
            self._log.warning(
                "Route %s: %s still ran when the server stopped", c.route, callback.name
            )
        else:
            self._log.error("Route %s: %s was cancelled", c.route, callback.name)
            c.close(CloseCode.INTERNAL_ERROR, "cancelled")

    def _busy(self, c: Connection, callback: Callback) -> None:
        if not self._warned_busy:
            self._warned_busy = True
            holders = ", ".join(sorted({label for label, _ in self._pool_of(c).busy()}))
            self._log.warning(
                "Route %s: no thread was free for %s; all are held by: %s. "
                "Give the route more with `threads:`, or make the callback `async def`",
                c.route,
                callback.name,
                holders,
            )
        c.close(CloseCode.TRY_AGAIN_LATER, "busy")

    def check(self, connection: Connection, now: float) -> None:
        """Warn about a slow callback, and interrupt one past its timeout.

        Args:
            connection: Any connection.
            now: The event loop's time, in seconds.
        """
        name = connection._running
        if name is None or connection._phase == OPENING:
            self._warned.discard(id(connection))
            return
        taken = now - connection._since
        if taken > SLOW and id(connection) not in self._warned:
            self._warned.add(id(connection))
            self._log.warning("Route %s: %s runs for over %d s", connection.route, name, SLOW)
        timeout = connection._route.config.timeout
        if timeout is msgspec.UNSET:
            timeout = THREAD_TIMEOUT if not self._inline(connection, name) else None
        if timeout and taken > timeout:
            connection.cancel("timeout")

    def _inline(self, connection: Connection, name: str) -> bool:
        return any(cb.inline for cb in connection._route.callbacks.values() if cb.name == name)

    async def stop(self, timeout: float) -> None:
        """End the threads; name those that do not come back, and leave them.

        Args:
            timeout: Seconds to wait for callbacks that still run.
        """
        for pool in (self._pool, *self._own_pools.values()):
            for label in await pool.stop(timeout):
                self._log.warning("%s still ran in a thread when the server stopped", label)


_STARTING: Any = object()


def username(user: Any) -> str:
    """Return a name for log lines: the user's own, or "anonymous"."""
    return str(getattr(user, "username", None) or user or "anonymous")
