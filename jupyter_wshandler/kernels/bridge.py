"""The server's side of one kernel: its routes, and their connections' way there and back."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec

from ..connection.connection import Connection
from ..connection.host import Host
from ..connection.opening import Opening
from ..connection.phase import CLOSED
from ..connection.sending import SENT, Sent, check_close
from ..connection.turns import begin_work, end_work, next_message, rest
from ..engine.protocol import Pong
from ..errors import ConnectionClosed, RouteRefused
from ..routes import Route
from ..sessions.manager import Session
from ..types import Callback, CloseCode, Question
from .batches import (
    Batch,
    Binary,
    Close,
    Long,
    NotABatch,
    Ping,
    Said,
    Serve,
    SessionChange,
    Text,
    Withdraw,
    about,
    one_line,
    read_changes,
    read_claim,
    read_event,
)
from .connection import KernelConnection
from .courier import (
    KERNEL_IN_FLIGHT,
    LONG,
    WINDOW,
    WINDOW_SIZE,
    Courier,
    Event,
    OutOfStep,
    Transmit,
)
from .details import describe
from .routes import Claim, KernelRoutes

MAX_WAITING = 16 * 1024 * 1024
"""Bytes that wait for one kernel, at most; reading from its clients pauses beyond it."""

GOODBYE = 30.0
"""Seconds that a kernel has for the `on_close` of a connection."""

SLICE = 0.003
"""Seconds of the server's loop that what one kernel says takes at a time."""

QUIET = 60.0
"""Seconds between two lines about events that make no sense and are about no connection."""

MAX_PING = 125
"""Bytes in the payload of a ping (RFC 6455 section 5.5)."""

NO_CODE = 1005
"""Stands for a close frame without a code (RFC 6455 section 7.1.5)."""

_BUFFERED = (Long, Binary, Ping)
_BUFFERED_TAGS = frozenset({"long", "binary", "ping"})


class Waiting:
    """Be a batch of the kernel that has not been handled to its end."""

    def __init__(self, batch: Batch, buffers: Sequence[Any]) -> None:
        self.number = batch.number
        self.buffers = iter(buffers)
        self._events = iter(batch.events)
        self._taken = dict(batch.taken)

    def add(self, taken: dict[str, int]) -> None:
        """Add what a later message says of handled messages."""
        for name, count in taken.items():
            self._taken[name] = self._taken.get(name, 0) + count

    def step(self) -> msgspec.Raw | tuple[str, int] | None:
        """Return the next event, or the next count of handled messages; None at the end."""
        event = next(self._events, None)
        if event is not None:
            return event
        return self._taken.popitem() if self._taken else None


class _Refused(ValueError):
    """Report that an event was read, and cannot be done."""


def _next(buffers: Iterator[Any]) -> bytes:
    try:
        return bytes(next(buffers))
    except StopIteration:
        raise OutOfStep("a buffer is missing") from None


class Bridge:
    """Serve the routes of one kernel.

    Args:
        owner: Owns the connections.
        routes: The routes of all kernels.
        kernel_id: The kernel.
        transmit: Sends a batch to the kernel.
        patience: Seconds that a message waits for the kernel before its connection is closed.
        lost: Hears what `receive` raises where it comes out after its end.
        pack: Writes a value as `transmit` does, and raises what it raises.
    """

    def __init__(
        self,
        owner: Host,
        routes: KernelRoutes,
        kernel_id: str,
        transmit: Transmit,
        *,
        patience: float = 30.0,
        lost: Callable[[Exception], object] = lambda error: None,
        pack: Callable[[Any], object] | None = None,
    ) -> None:
        self.io, self.log, self.observers = owner.io, owner.log, owner.observers
        self.touch, self.finished = owner.touch, owner.finished
        self.kernel_id = kernel_id
        self.label = f"kernel {kernel_id[:8]}"
        self.alive = True
        self._routes = routes
        self._patience = patience
        # One batch on its way to the kernel: what comes meanwhile is the next one, so batches
        # grow with the load. Its own are spaced: they count for a notebook's limit of messages.
        self._courier = Courier(
            self.io.loop, transmit, in_flight=1, patience=0.005, dropped=self._dropped, pack=pack
        )
        self.lost = lost
        self._connections: dict[str, KernelConnection] = {}
        self._sessions: dict[str, tuple[Session, int]] = {}
        self._waiting: deque[Waiting] = deque()
        self._turn: asyncio.Handle | None = None
        self._agreed: dict[str, int] = {}  # the number of the claim that a route is served by
        self._wrong = 0
        self._quiet_until = 0.0
        self._blocked: set[KernelConnection] = set()
        self._waits: set[asyncio.Task[None]] = set()
        self.busy = False
        """Whether new connections are refused: the kernel has not answered for long."""

    # ---- from the kernel -----------------------------------------------------------------------

    def receive(self, batch: Batch, buffers: Sequence[Any]) -> None:
        """Do what a batch of the kernel says, soon and in the order of the batches.

        Args:
            batch: What the kernel's courier has sent.
            buffers: The payloads of its events that travel beside the JSON, in order.

        Raises:
            OutOfStep: A batch is missing, so that nothing of this kernel can be relied on.
            NotABatch: The kernel sends more than one that keeps to the rules would.
        """
        self._courier.accept(batch.number, batch.got)
        if batch.number is not None:
            if len(self._waiting) >= KERNEL_IN_FLIGHT:
                raise NotABatch(f"more than {KERNEL_IN_FLIGHT} batches at once")
            self._waiting.append(Waiting(batch, buffers))
        elif self._waiting:
            # What was sent before is handled before; unknown names must not pile up meanwhile.
            known = self._connections
            self._waiting[-1].add({n: c for n, c in batch.taken.items() if n in known})
        else:
            self._waiting.append(Waiting(batch, ()))
        if self._turn is None:
            self._work()
        for connection in tuple(self._blocked):
            self.wake(connection)

    def _work(self) -> None:
        """Handle what waits for a few milliseconds; the rest in the next turn of the loop.

        What others wait for comes in between.
        """
        self._turn = None
        until = time.monotonic() + SLICE
        self.io.begin_batch()
        while self._waiting and self.alive:
            waiting = self._waiting[0]
            step = waiting.step()
            if step is None:
                self._waiting.popleft()
                if waiting.number is not None:
                    self._courier.handled(waiting.number)
            elif isinstance(step, tuple):
                self._taken(*step)
            else:
                self._handle(step, waiting.buffers)
            if time.monotonic() >= until:
                break
        if self._waiting and self.alive:
            self._turn = self.io.loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        try:
            self._work()
        except (OutOfStep, NotABatch) as error:
            self._waiting.clear()
            self.lost(error)

    def _taken(self, name: str, count: int) -> None:
        connection = self._connections.get(name)
        if connection is not None:
            connection.take(count)
            self.wake(connection)

    def _handle(self, event: msgspec.Raw, buffers: Iterator[Any]) -> None:
        """Do what one event says; what is wrong with it costs its connection, and nobody else."""
        try:
            said = read_event(event)
            # Taken also for a connection that is gone: the next event has the next buffer.
            buffer = _next(buffers) if isinstance(said, _BUFFERED) else b""
            self._do(said, buffer)
        except (OutOfStep, NotABatch):
            raise
        except ValueError as error:
            what, name = about(event)
            if what in _BUFFERED_TAGS and not isinstance(error, _Refused):
                _next(buffers)
            self._malformed(what, name, str(error))
        except Exception:
            what, name = about(event)
            self.log.exception("%s: %s could not be handled", self.label, one_line(what, 20))
            self._close_wrong(name)

    def _do(self, said: Said, buffer: bytes) -> None:
        if isinstance(said, Serve):
            self._serve(said)
            return
        if isinstance(said, Withdraw):
            self._routes.withdraw(self, said.name)
            self._agreed.pop(said.name, None)
            return
        if isinstance(said, SessionChange):
            self._session_changed(said)
            return
        connection = self._connections.get(said.name)
        if connection is None:
            return  # it has ended meanwhile
        try:
            if isinstance(said, Text):
                self._send(connection, said.text)
            elif isinstance(said, Long):
                self._send(connection, buffer.decode())
            elif isinstance(said, Binary):
                self._send(connection, buffer)
            elif isinstance(said, Ping):
                if len(buffer) > MAX_PING:
                    raise ValueError(f"a ping has at most {MAX_PING} bytes, found {len(buffer)}")
                with contextlib.suppress(ConnectionClosed):
                    connection.ping(buffer)
            elif isinstance(said, Close):
                if said.code != NO_CODE or said.reason:
                    check_close(said.code, said.reason)
                connection.end(said.code, said.reason)
            else:
                self._ended(connection, said.dropped)
        except ValueError as error:
            raise _Refused(str(error)) from None

    def _ended(self, connection: KernelConnection, dropped: int) -> None:
        connection.dropped += min(max(0, dropped), 2**53)
        connection.ended_there = True
        if connection.phase == CLOSED:
            self._finish(connection)
        elif not connection.closed:  # the kernel did not wait for the client
            connection.abort()

    def _dropped(self, event: Event, error: Exception) -> None:
        """Close the connection that an event is about which no message to the kernel can hold."""
        self.log.error(
            "%s: a %s cannot be sent and is dropped: %s", self.label, event[0], type(error).__name__
        )
        connection = self._connections.get(event[1])
        if connection is not None:
            connection.ended_there |= event[0] == "open"  # the kernel never hears of it
            connection.end(CloseCode.INTERNAL_ERROR, "the notebook cannot be told of this")

    def _malformed(self, what: str, name: str, why: str) -> None:
        """Close the connection that an event is about with 1011, and say whose doing it was."""
        closed = self._close_wrong(name)
        self._wrong += 1
        now = time.monotonic()
        if closed is None and now < self._quiet_until:
            return
        if closed is None:
            self._quiet_until = now + QUIET
        self.log.warning(
            "%s: %s cannot be done: %s%s (%d such events so far)",
            self.label,
            one_line(what, 20) or "an event",
            one_line(why),
            "" if closed is None else f"; closing connection {closed.id} of route {closed.route}",
            self._wrong,
        )

    def _close_wrong(self, name: str) -> KernelConnection | None:
        """Close a connection whose kernel cannot be understood; None where it is closing."""
        connection = self._connections.get(name)
        if connection is None or connection.closed:
            return None
        if connection.held:
            connection.held.clear()
            connection.held_size = 0
        connection.end(CloseCode.INTERNAL_ERROR, "the notebook's bot sent what cannot be done")
        return connection

    def _send(self, connection: KernelConnection, message: str | bytes) -> None:
        if connection.held is not None:
            if connection.closed:  # what comes after our close frame goes nowhere
                self._courier.take(connection.id)
                return
            size = connection.held_size + len(message)
            # A kernel that keeps to its window never gets here, however its messages are split.
            if len(connection.held) > WINDOW or (connection.held_size and size > 2 * WINDOW_SIZE):
                raise ValueError("more messages than the connection's window allows")
            connection.held.append(message)
            connection.held_size = size
            return
        sent = self._write(connection, message)
        if sent is SENT:
            self._courier.take(connection.id)
            return
        # The client reads slowly: the kernel hears of no more room, and what it has sent already
        # waits here. Its window bounds that; beyond it the route's `queue` counts in the kernel.
        connection.held = deque()
        connection.held_size = 0
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
            message = held.popleft()
            connection.held_size -= len(message)
            sent = self._write(connection, message)
        connection.held = None

    def _write(self, connection: KernelConnection, message: str | bytes) -> Sent:
        try:
            return connection.relay(message)
        except ConnectionClosed:
            return SENT

    def _session_changed(self, change: SessionChange) -> None:
        session, _ = self._sessions.get(change.name, (None, 0))
        if session is None:
            return
        changed, removed = read_changes(change)
        try:
            values = {key: json.loads(text) for key, text in changed.items() if key != "id"}
        except RecursionError:
            raise ValueError("a session's value is nested too deeply") from None
        session.update(values)
        for key in removed:
            if key != "id":
                session.pop(key, None)
        self.touch(session)

    # ---- its routes ----------------------------------------------------------------------------

    def _serve(self, said: Serve) -> None:
        if said.label:
            self.label = f"kernel {self.kernel_id[:8]} ({one_line(said.label, 100)})"
        try:
            given = read_claim(said.claim)
            asked = msgspec.convert({**given, "name": said.name}, Claim)
            where = self._routes.claim(self, asked)
        except (ValueError, RouteRefused) as refusal:  # also what msgspec says of wrong types
            self.log.warning(
                "%s may not serve '%s': %s",
                self.label,
                one_line(said.name, 60),
                one_line(str(refusal), 1000),
            )
            why = str(refusal)[:4000].encode(errors="replace").decode()
            answer: list[Any] = ["refused", said.name, said.number, why]
        else:
            self._agreed[said.name] = said.number
            answer = ["served", said.name, said.number, where]
        if self._courier.waiting > 2 * MAX_WAITING:
            raise NotABatch("claims without taking the answers to them")
        self._courier.put(answer, size=512 + len(said.name) + len(str(answer[3])))

    def displaced(self, name: str, reason: str) -> None:
        """Tell the kernel that one of its routes is served no longer."""
        self._courier.put(["displaced", name, self._agreed.pop(name, 0), reason])

    # ---- to the kernel: the host of its connections --------------------------------------------

    def connect(self, route: Route, opening: Opening, *, id: str) -> KernelConnection:
        """Return a connection of a route; it is not open yet."""
        return KernelConnection(
            self, route, opening, id=id, on_leaving=self._leaving, on_stop=self._stop
        )

    def _stop(self, c: KernelConnection, number: int) -> None:
        room = self._courier.waiting < MAX_WAITING
        if self.alive and room and c.id in self._connections:
            self._courier.put(["stop", c.id, number])

    def _leaving(self, c: KernelConnection) -> None:
        self._courier.put(["leaving", c.id, c.close_code, c.close_reason or ""])

    def bind(self, connection: Connection, function: Callable[..., Any]) -> Callback:
        """Refuse: a function here is no callback there."""
        raise TypeError("the callbacks of this route live in a kernel")

    def failed_beside(self, connection: Connection, label: str, error: BaseException) -> None:
        """Write what has failed beside the callbacks, which are in the kernel: nothing of a bot."""
        self.log.error("%s: %s of connection %s failed", self.label, label, connection.id)

    def wake(self, connection: Connection) -> None:
        """Hand over to the kernel what waits on a connection, as far as it has room."""
        c = connection
        assert isinstance(c, KernelConnection)
        work = begin_work(c)
        if work is None:
            return
        try:
            if not self.alive and not c.closed:
                # The handshake began when the kernel was there.
                c.mark_opened()
                c.end(CloseCode.SERVICE_RESTART, "the notebook's kernel is gone")
            else:
                if not c.has_opened:
                    self._connections[c.id] = c
                    self._hold_session(c.attached_session)
                    self._courier.put(["open", c.id, describe(c, self._routes.headers)], size=4096)
                    c.mark_opened()
                self._pump(c)
        finally:
            end_work(c, work)
        rest(c)
        if c.phase == CLOSED and not c.has_messages:
            self._lost(c)

    def _pump(self, c: KernelConnection) -> None:
        courier = self._courier
        self._blocked.discard(c)
        while True:
            if not c.has_room():
                return  # what the kernel takes wakes it again
            if c.has_messages and courier.waiting >= MAX_WAITING and self.alive:
                self._blocked.add(c)
                return
            # With an empty inbox, too: the message before has left, and reading may go on.
            message = next_message(c)
            if message is None:
                return
            if type(message) is str and len(message) <= LONG:
                c.give(len(message))
                courier.put(["text", c.id, message], size=64 + len(message))
            elif type(message) is str:
                # Beside the JSON: within it there would be many copies, here and in the kernel.
                c.give(len(message))
                courier.put(["long", c.id], message.encode(), size=64 + len(message))
            elif type(message) is bytes:
                c.give(len(message))
                courier.put(["binary", c.id], message, size=64 + len(message))
            elif type(message) is Question:
                c.give(len(message.frame))
                courier.put(["text", c.id, message.frame], size=64 + len(message.frame))
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

    def _hold_session(self, session: Session | None) -> None:
        if session is not None:
            _, count = self._sessions.get(session.id, (session, 0))
            self._sessions[session.id] = session, count + 1

    def _let_session_go(self, session: Session | None) -> None:
        if session is not None and session.id in self._sessions:
            held, count = self._sessions.pop(session.id)
            if count > 1:
                self._sessions[session.id] = held, count - 1

    def _finish(self, c: KernelConnection) -> None:
        if c.take_last_turn():
            if self._connections.pop(c.id, None) is not None:
                self._let_session_go(c.attached_session)
            self._blocked.discard(c)
            self.finished(c)

    @property
    def stalled(self) -> float:
        """The seconds for which the kernel has confirmed nothing of what it was sent."""
        return self._courier.stalled()

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
            if c.untaken or c.has_messages:
                c.end(CloseCode.TRY_AGAIN_LATER, "the kernel is busy")
            if c.phase == CLOSED and c.has_messages:  # who has left waits for nothing any more
                c.drop_messages()
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
        self._waiting.clear()
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None
        # At once, as the kernel may be back at once; the connections follow some at a time.
        self._routes.forget(self)
        for task in tuple(self._waits):
            task.cancel()
        self._close_some(list(reversed(self._connections.values())), reason)

    def _close_some(self, connections: list[KernelConnection], reason: str) -> None:
        until = time.monotonic() + SLICE
        self.io.begin_batch()
        while connections:
            c = connections.pop()
            c.untaken.clear()
            c.drop_messages()
            c.end(CloseCode.SERVICE_RESTART, reason)
            if c.phase == CLOSED:
                self._finish(c)
            if connections and time.monotonic() >= until:
                self.io.loop.call_soon(self._close_some, connections, reason)
                return
