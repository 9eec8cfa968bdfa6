"""The server's side of one kernel: its routes, and their connections' way there and back."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import msgspec

from ..connection.connection import Connection
from ..connection.opening import Opening
from ..connection.phase import CLOSED
from ..connection.turns import begin_work, end_work, take_last_turn
from ..engine import messages
from ..engine.frames import check_close
from ..errors import RouteRefused
from ..routes import Route
from ..types import Callback, CloseCode
from .batches import Batch, NotABatch, one_line, read_claim
from .connection import KernelConnection
from .courier import PIPED, Courier, Transmit
from .delivery import Delivery
from .events import (
    Answer,
    AskRoom,
    Away,
    Binary,
    Close,
    Closed,
    Displaced,
    Event,
    FromKernel,
    Join,
    Leave,
    Leaving,
    Long,
    Lost,
    Open,
    Ping,
    Refused,
    Say,
    SayTo,
    Serve,
    Served,
    SessionChange,
    Share,
    Stop,
    Text,
    Unshare,
    Withdraw,
)
from .filtered import connection_kind, outgoing_of
from .incoming import SLICE, Incoming
from .outgoing import MAX_WAITING
from .rooms import KernelsRooms, RoomsOwner
from .routes import Claim, KernelRoutes
from .sessions import HeldSessions
from .shares import KernelShares, Sharing

GOODBYE = 30.0
"""Seconds that a kernel has for the `on_close` of a connection."""

QUIET = 60.0
"""Seconds between two lines about events that make no sense and are about no connection."""

MAX_PING = 125
"""Bytes in the payload of a ping (RFC 6455 section 5.5)."""

NO_CODE = 1005
"""Stands for a close frame without a code (RFC 6455 section 7.1.5)."""


class KernelBridge:
    """The server's end of the way to one kernel: its routes, and who is connected to them.

    Args:
        owner: Owns the connections.
        routes: The routes of all kernels.
        kernel_id: The kernel.
        transmit: Sends a batch to the kernel.
        patience: Seconds that a message waits for the kernel before its connection is closed.
        lost: Hears what `receive` raises where it comes out after its end.
        pack: Writes a value as `transmit` does, and raises what it raises.
        sharing: Who shares its routes; None where nobody does.
    """

    def __init__(
        self,
        owner: RoomsOwner,
        routes: KernelRoutes,
        kernel_id: str,
        transmit: Transmit,
        *,
        patience: float = 30.0,
        lost: Callable[[Exception], object] = lambda error: None,
        pack: Callable[[Any], object] | None = None,
        sharing: Sharing | None = None,
    ) -> None:
        self.io, self.log, self.observers = owner.io, owner.log, owner.observers
        self.touch, self.finished = owner.touch, owner.finished
        self.keeps_away, self.failed_beside = owner.keeps_away, owner.failed_beside
        self.rooms = owner.rooms
        self.kernel_id = kernel_id
        self.label = f"kernel {kernel_id[:8]}"
        self.alive = True
        self._routes = routes
        self._patience = patience
        # One batch on its way to the kernel: what comes meanwhile is the next one, so batches
        # grow with the load. Those of the kernel are spaced: they count for Jupyter's limit of what
        # a notebook may send.
        self._courier = Courier(
            self.io.loop, transmit, in_flight=1, patience=0.005, dropped=self._dropped, pack=pack
        )
        self._incoming = Incoming(
            self.io,
            self._courier,
            do=self._do,
            taken=self._taken,
            wrong=self._malformed,
            failed=self._failed,
            lost=lost,
        )
        self._delivery = Delivery(self.io, self._courier)
        self._outgoing = outgoing_of(self._courier, filtered=routes.filters is not None)
        self._sessions = HeldSessions(owner.touch)
        self.shares = KernelShares(
            sharing,
            f"kernel {kernel_id}",
            partial(routes.route_of, self),
            self._courier,
            self.log,
            self.io.loop,
        )
        self._connections: dict[str, KernelConnection] = {}
        self._in_rooms = KernelsRooms(
            owner.rooms, partial(routes.route_of, self), self._connections, self._courier
        )
        self._agreed: dict[str, int] = {}  # the number of the claim that a route is served by
        self._wrong = 0
        self._quiet_until = 0.0
        self.busy = False
        """Whether new connections are refused: the kernel has not answered for long."""

    def has_pipe(self) -> None:
        """Send batches as a pipe takes them, and more than one at a time."""
        self._courier.in_flight, self._courier.whole = PIPED, True

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
        self._incoming.receive(batch, buffers, self._connections)
        for connection in self._outgoing.blocked:
            self.wake(connection)

    def _taken(self, name: str, count: int) -> None:
        connection = self._connections.get(name)
        if connection is not None:
            connection.take(count)
            self.wake(connection)

    def _do(self, said: FromKernel, buffer: bytes) -> None:
        """Do what one event of the kernel says.

        Raises:
            ValueError: It cannot be done.
            NotABatch: No kernel of ours says that.
        """
        if type(said) is Text:  # nearly all are
            connection = self._connections.get(said.name)
            if connection is not None:  # it may have ended meanwhile
                self._delivery.send(connection, said.text)
        elif isinstance(said, Serve):
            self._serve(said)
        elif isinstance(said, Withdraw):
            self._routes.withdraw(self, said.name)
            self._agreed.pop(said.name, None)
            self.shares.withdrawn(said.name)
        elif isinstance(said, Share):
            self.shares.share(said)
        elif isinstance(said, Unshare):
            self.shares.unshare(said)
        elif isinstance(said, SessionChange):
            self._sessions.change(said)
        elif isinstance(said, (Join, Leave, Say, SayTo, AskRoom)):
            if self._courier.waiting > 2 * MAX_WAITING:
                raise NotABatch("asks of rooms without taking the answers")
            self._in_rooms.do(said, buffer)
        elif (connection := self._connections.get(said.name)) is None:
            return  # it has ended meanwhile
        elif isinstance(said, Long):
            self._delivery.send(connection, buffer.decode())
        elif isinstance(said, Binary):
            self._delivery.send(connection, buffer)
        elif isinstance(said, Ping):
            if len(buffer) > MAX_PING:
                raise ValueError(f"a ping has at most {MAX_PING} bytes, found {len(buffer)}")
            self._delivery.send(connection, messages.Ping(buffer))
        elif isinstance(said, Close):
            if said.code != NO_CODE or said.reason:
                check_close(said.code, said.reason)
            self._delivery.close(connection, said.code, said.reason)
        elif isinstance(said, Closed):
            self._ended(connection, said.dropped)

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
            "%s: a %s cannot be sent and is dropped: %s",
            self.label,
            event.what,
            type(error).__name__,
        )
        connection = self._connections.get(event.name)
        if connection is not None:
            connection.ended_there |= isinstance(event, Open)  # the kernel never hears of it
            connection.end(CloseCode.INTERNAL_ERROR, "the notebook cannot be told of this")

    def _failed(self, what: str, name: str) -> None:
        """Write that an event has met a fault of ours, and close the connection it is about."""
        self.log.exception("%s: %s could not be handled", self.label, one_line(what, 20))
        self._close_wrong(name)

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

    # ---- its routes ----------------------------------------------------------------------------

    def _serve(self, said: Serve[msgspec.Raw]) -> None:
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
            size = len(why)
            answer: Answer = Refused(said.name, said.number, why)
        else:
            self._agreed[said.name] = said.number
            size = len(str(where))
            answer = Served(said.name, said.number, where)
        if self._courier.waiting > 2 * MAX_WAITING:
            raise NotABatch("claims without taking the answers to them")
        self._courier.put(answer, size=512 + len(said.name) + size)
        if isinstance(answer, Served):
            self.shares.served(said.name)

    def displaced(self, name: str, reason: str) -> None:
        """Tell the kernel that one of its routes is served no longer."""
        self.shares.withdrawn(name)
        self._courier.put(Displaced(name, self._agreed.pop(name, 0), reason))

    # ---- to the kernel: the host of its connections --------------------------------------------

    def connect(self, route: Route, opening: Opening, *, id: str) -> KernelConnection:
        """Return a connection of a route; it is not open yet."""
        return connection_kind(route.filters is not None)(
            self,
            route,
            opening,
            id=id,
            on_leaving=self._leaving,
            on_stop=self._stop,
            on_away=self._away,
        )

    def _stop(self, c: KernelConnection, number: int) -> None:
        room = self._courier.waiting < MAX_WAITING
        if self.alive and room and c.id in self._connections:
            self._courier.put(Stop(c.id, number))

    def _away(self, c: KernelConnection, away: bool) -> None:
        if self.alive and c.id in self._connections:
            self._courier.put(Away(c.id, away))

    def _leaving(self, c: KernelConnection) -> None:
        assert c.close_code is not None  # the client has said one
        self._courier.put(Leaving(c.id, c.close_code, c.close_reason or ""))

    def bind(self, connection: Connection, function: Callable[..., Any]) -> Callback:
        """Refuse: a function here is no callback there."""
        raise TypeError("the callbacks of this route live in a kernel")

    def wake(self, connection: Connection) -> None:
        """Hand over to the kernel what waits on a connection, as far as it has room."""
        c = connection
        assert isinstance(c, KernelConnection)
        work = begin_work(c)
        if work is None:
            return
        try:
            if not self.alive and not c.closed:
                # The kernel has ended between the handshake and this first turn.
                c.mark_opened()
                c.end(CloseCode.SERVICE_RESTART, "the notebook's kernel is gone")
            else:
                if not work.has_opened:
                    if c.id not in self._connections:
                        self._connections[c.id] = c
                        self._sessions.hold(c.attached_session)
                    self._outgoing.open(c, self._routes.headers)
                self._outgoing.hand_over(c, alive=self.alive)
        finally:
            end_work(c, work)
        if c.phase == CLOSED and not c.has_messages:
            self._lost(c)

    def _lost(self, c: KernelConnection) -> None:
        """Tell the kernel how a connection has ended; it is finished when `on_close` has run."""
        if c.lost_at:
            return
        c.lost_at = time.monotonic()
        if self.alive and not c.ended_there:
            self._courier.put(Lost(c.id, c.close_code, c.close_reason or ""))
        else:
            self._finish(c)

    def _finish(self, c: KernelConnection) -> None:
        if take_last_turn(c):
            if self._connections.pop(c.id, None) is not None:
                self._sessions.let_go(c.attached_session)
            self._outgoing.forget(c)
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
        self.shares.tick()
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
        self.shares.end()
        self._incoming.end()
        # At once, as the kernel may be back at once; the connections follow some at a time.
        self._routes.forget(self)
        self._delivery.end()
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
