"""The server's side of one kernel: its routes, and their connections' way there and back."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import msgspec

from ..connection import Connection
from ..engine.loopio import LoopIO
from ..engine.protocol import Pong
from ..errors import ConnectionClosed, RouteRefused
from ..routes import Route
from ..sending import CLOSED, CLOSING, SENT, Sent
from ..sessions import Session
from ..types import Callback, CloseCode
from .connection import KernelConnection
from .courier import Batch, Courier, Event, OutOfStep, Transmit, with_buffers
from .details import describe
from .routes import Claim, KernelRoutes

MAX_WAITING = 16 * 1024 * 1024
"""Bytes that wait for one kernel, at most; reading from its clients pauses beyond it."""

GOODBYE = 30.0
"""Seconds that a kernel has for the `on_close` of a connection."""

BUFFERED = frozenset({"binary", "ping"})
"""Events of a kernel whose payload travels beside the JSON."""


class Owner(Protocol):
    """Own the connections: the manager."""

    io: LoopIO
    log: logging.Logger | logging.LoggerAdapter[Any]
    thread: int

    def call_from_thread(self, function: Callable[..., object], *args: Any) -> None:
        """Call a function on the event loop."""

    def touch(self, session: Session) -> None:
        """Remember that a session may have changed."""

    def finished(self, connection: Connection) -> None:
        """Forget a connection whose last callback has run."""


class _Pumping:
    """Stand for the worker of a connection while its messages are being handed over."""

    def cancel(self) -> None:
        """Do nothing: it does not wait for anything."""


_PUMPING: Any = _Pumping()


class Bridge:
    """Serve the routes of one kernel.

    Args:
        owner: Owns the connections.
        routes: The routes of all kernels.
        kernel_id: The kernel.
        transmit: Sends a batch to the kernel.
        patience: Seconds that a message waits for the kernel before its connection is closed.
    """

    def __init__(
        self,
        owner: Owner,
        routes: KernelRoutes,
        kernel_id: str,
        transmit: Transmit,
        *,
        patience: float = 30.0,
    ) -> None:
        self.io, self.log, self.thread = owner.io, owner.log, owner.thread
        self.call_from_thread, self.touch = owner.call_from_thread, owner.touch
        self.kernel_id = kernel_id
        self.label = f"kernel {kernel_id[:8]}"
        self.alive = True
        self._owner = owner
        self._routes = routes
        self._patience = patience
        # One batch on its way to the kernel: what comes meanwhile is the next one, so batches
        # grow with the load. Its own are spaced: they count for a notebook's limit of messages.
        self._courier = Courier(self.io.loop, transmit, in_flight=1, patience=0.005)
        self._connections: dict[str, KernelConnection] = {}
        self._blocked: set[KernelConnection] = set()
        self._waits: set[asyncio.Task[None]] = set()
        self.busy = False
        """Whether new connections are refused: the kernel has not answered for long."""

    # ---- from the kernel -----------------------------------------------------------------------

    def receive(self, batch: Batch, buffers: Sequence[Any]) -> None:
        """Do what a batch of the kernel says.

        Raises:
            OutOfStep: A batch is missing, so that nothing of this kernel can be relied on.
        """
        events, taken = self._courier.receive(batch)
        self.io.begin_batch()
        for event, buffer in with_buffers(events, buffers, BUFFERED):
            try:
                self._handle(event, buffer)
            except OutOfStep:
                raise
            except Exception:
                # What one event holds must not cost the others.
                self.log.exception("%s: %s could not be handled", self.label, event[0])
        for name, count in taken.items():
            connection = self._connections.get(name)
            if connection is not None:
                connection.take(count)
                self.wake(connection)
        for connection in tuple(self._blocked):
            self.wake(connection)

    def _handle(self, event: Event, buffer: bytes) -> None:
        what, name = event[0], event[1]
        if what == "serve":
            self._serve(name, event[2], event[3], event[4])
        elif what == "withdraw":
            self._routes.withdraw(self, name)
        elif what == "session":
            self._session_changed(name, event[2], event[3])
        else:
            connection = self._connections.get(name)
            if connection is None:
                return
            if what == "text":
                self._send(connection, event[2])
            elif what == "binary":
                self._send(connection, buffer)
            elif what == "ping":
                connection._ping(buffer)
            elif what == "close":
                connection._close(event[2], event[3])
            elif what == "closed":
                connection.dropped += event[2]
                connection.ended_there = True
                if connection._phase == CLOSED:
                    self._finish(connection)
                elif connection._phase < CLOSING:  # the kernel did not wait for the client
                    connection._transport.abort()

    def _send(self, connection: KernelConnection, message: str | bytes) -> None:
        if connection.held is not None:
            connection.held.append(message)
            return
        sent = self._write(connection, message)
        if sent is SENT:
            self._courier.take(connection.id)
            return
        # The client reads slowly: the kernel hears of no more room, and what it has sent already
        # waits here. Its window bounds that; beyond it the route's `queue` counts in the kernel.
        connection.held = deque()
        task = self.io.loop.create_task(
            self._send_on(connection, sent), name=f"wshandler {connection.id} waits for room"
        )
        self._waits.add(task)
        task.add_done_callback(self._waits.discard)

    async def _send_on(self, connection: KernelConnection, sent: Sent) -> None:
        held = connection.held
        assert held is not None
        while True:
            with contextlib.suppress(ConnectionClosed):
                await sent
            self._courier.take(connection.id)
            if not held:
                break
            sent = self._write(connection, held.popleft())
        connection.held = None

    def _write(self, connection: KernelConnection, message: str | bytes) -> Sent:
        try:
            return connection.write_message(message)
        except ConnectionClosed:
            return SENT

    def _session_changed(self, name: str, changed: dict[str, str], removed: list[str]) -> None:
        for connection in self._connections.values():
            session = connection._session
            if session is not None and session.id == name:
                session.update({key: json.loads(text) for key, text in changed.items()})
                for key in removed:
                    session.pop(key, None)
                self.touch(session)
                return

    # ---- its routes ----------------------------------------------------------------------------

    def _serve(self, name: str, number: int, claim: dict[str, Any], label: str) -> None:
        if label:
            printable = "".join(c if c.isprintable() else "?" for c in str(label)[:100])
            self.label = f"kernel {self.kernel_id[:8]} ({printable})"
        try:
            asked = msgspec.convert({"name": name, **claim}, Claim)
            where = self._routes.claim(self, asked)
        except msgspec.ValidationError as error:
            self._courier.put(["refused", name, number, str(error)])
        except RouteRefused as refusal:
            self.log.warning("%s may not serve %r: %s", self.label, name, refusal)
            self._courier.put(["refused", name, number, str(refusal)])
        else:
            self._courier.put(["served", name, number, where])

    def displaced(self, name: str, reason: str) -> None:
        """Tell the kernel that one of its routes is served no longer."""
        self._courier.put(["displaced", name, 0, reason])

    # ---- to the kernel: the host of its connections --------------------------------------------

    def connect(self, route: Route, **details: Any) -> KernelConnection:
        """Return a connection of a route; it is not open yet."""
        return KernelConnection(self, route, on_leaving=self._leaving, **details)

    def _leaving(self, c: KernelConnection) -> None:
        self._courier.put(["leaving", c.id, c.close_code, c.close_reason or ""])

    def bind(self, connection: Connection, function: Callable[..., Any]) -> Callback:
        """Refuse: a function here is no callback there."""
        raise TypeError("the callbacks of this route live in a kernel")

    def wake(self, connection: Connection) -> None:
        """Hand over to the kernel what waits on a connection, as far as it has room."""
        c = connection
        assert isinstance(c, KernelConnection)
        if c._task is not None or c._finished:
            return
        if not self.alive and c._phase < CLOSING:
            # The handshake began when the kernel was there.
            c._opened = True
            c._close(CloseCode.SERVICE_RESTART, "the notebook's kernel is gone")
            return
        c._task = _PUMPING  # taking a message from the inbox may read more, and wake us again
        try:
            if not c._opened:
                c._opened = True
                self._connections[c.id] = c
                self._courier.put(["open", c.id, describe(c)], size=4096)
            self._pump(c)
        finally:
            c._task = None
        if c._inbox:
            return
        if c._phase == CLOSED:
            self._lost(c)
        else:
            c.settle()

    def _pump(self, c: KernelConnection) -> None:
        courier = self._courier
        self._blocked.discard(c)
        while True:
            if not c.has_room():
                return  # what the kernel takes wakes it again
            if c._inbox and courier.waiting >= MAX_WAITING and self.alive:
                self._blocked.add(c)
                return
            # With an empty inbox, too: the message before has left, and reading may go on.
            message = c.next_message()
            if message is None:
                return
            if type(message) is str:
                c.give(len(message))
                courier.put(["text", c.id, message], size=64 + len(message))
            elif type(message) is bytes:
                c.give(len(message))
                courier.put(["binary", c.id], message, size=64 + len(message))
            elif isinstance(message, Pong):
                courier.put(["pong", c.id], message.payload)

    def _lost(self, c: KernelConnection) -> None:
        """Tell the kernel how a connection has ended; it is finished when `on_close` has run."""
        if c.lost_at:
            return
        c.lost_at = time.monotonic()
        if self.alive and not c.ended_there:
            self._courier.put(["lost", c.id, c.close_code, c.close_reason or ""])
        else:
            self._finish(c)

    def _finish(self, c: KernelConnection) -> None:
        if not c._finished:
            c._finished = True
            self._connections.pop(c.id, None)
            self._blocked.discard(c)
            self._owner.finished(c)

    @property
    def in_use(self) -> bool:
        """Whether anybody is connected."""
        return bool(self._connections)

    # ---- time ----------------------------------------------------------------------------------

    def tick(self) -> None:
        """Look at the clock: a kernel that does not answer keeps nobody waiting for ever."""
        now = time.monotonic()
        for c in tuple(self._connections.values()):
            if c.lost_at and now - c.lost_at > GOODBYE:
                self.log.warning("%s did not end connection %s in time", self.label, c.id)
                self._finish(c)
        stalled = self._courier.stalled()
        if stalled <= self._patience:
            self.busy = self._courier.waiting >= MAX_WAITING
            return
        if not self.busy:
            self.busy = True
            self.log.warning("%s has not answered for %d s", self.label, stalled)
        for c in tuple(self._connections.values()):
            if c.untaken or c._inbox:
                c._close(CloseCode.TRY_AGAIN_LATER, "the kernel is busy")
            if c._phase == CLOSED and c._inbox:  # who has left waits for nothing any more
                c._inbox.clear()
                self._lost(c)

    # ---- the end -------------------------------------------------------------------------------

    def end(self, reason: str) -> None:
        """Close every connection with 1012 and serve nothing of this kernel any more.

        Args:
            reason: What has become of the kernel, for the clients.
        """
        if not self.alive:
            return
        self.alive = False
        self._courier.close()
        for c in tuple(self._connections.values()):
            c.untaken.clear()
            c._inbox.clear()
            c._close(CloseCode.SERVICE_RESTART, reason)
            if c._phase == CLOSED:
                self._finish(c)
        self._routes.forget(self)
        for task in tuple(self._waits):
            task.cancel()
