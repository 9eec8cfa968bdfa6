"""A connection that speaks `wsh.v1`, over as many sockets as it takes: two tasks keep it."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..engine.asking import Asked, NotSpoken
from ..engine.clientline import Gap
from ..engine.comeback import ClientLife, Outgoing
from ..engine.resuming import COMES_BACK
from ..errors import ConnectError, HandshakeRefused, ServerNotFound
from ..types import CloseCode, Message
from .ends import Closing, Ended, closing_of
from .keepalive import keep_alive
from .reading import Take, Waiters
from .states import Change, Event, OnState, State

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection as AsyncSocket

FINAL = frozenset({400, 401, 403})
"""HTTP statuses that another attempt would not change."""

LIMIT = 30.0
"""Seconds in which it is tried to open a connection again, behind its window."""

FIRST_PAUSE, LONGEST_PAUSE = 0.25, 30.0
"""Seconds between two attempts, at most: doubled each time, and drawn at random below that."""

STABLE = 10.0
"""Seconds after which a connection counts as a good one again."""

_log = logging.getLogger("jupyter_wshandler.client")


@dataclass
class Dialer:
    """How a connection is opened again.

    Args:
        dial: Opens a socket with these offers; returns it, and the server's first frame.
        reconnect: Whether it is used.
        ping: Seconds between two pings, and for the answer to one.
        on_state: Is told of changes.
    """

    dial: Callable[[list[str]], Awaitable[tuple[AsyncSocket, Message]]]
    reconnect: bool = True
    ping: float = 20.0
    on_state: OnState | None = None


class Lifeline:
    """One connection of a client's.

    Args:
        socket: The open socket, whose first frame was read.
        life: What is known of the connection.
        dialer: How it is opened again.
        name: How it is called in the names of tasks and in the log; holds no token.

    Attributes:
        state: Whether there is a connection.
        closing: How it has ended; None while it has not.
        socket: The socket of the moment.
    """

    def __init__(self, socket: AsyncSocket, life: ClientLife, dialer: Dialer, name: str) -> None:
        self.socket = socket
        self.life = life
        self.state: State = "open"
        self.closing: Closing | None = None
        self._dialer = dialer
        self._name = name
        self._waiters = Waiters(life.end)
        self._turn = asyncio.Lock()  # of those who send, in their order
        self._wake = asyncio.Event()  # the task that writes
        self._leaves = False  # whether its user has closed it
        self._pause = FIRST_PAUSE
        self._broken: float | None = None  # when the first of a row of breaks was
        self._stood = asyncio.get_running_loop().time()  # since when there is this socket
        self._reader = self._task("reads", self._read())
        self._writer = self._task("writes", self._write())

    def _task(self, does: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return asyncio.create_task(work, name=f"wshandler client {does} {self._name}")

    # ---- for those who use it ------------------------------------------------------------------

    async def until(self, take: Take[Any], timeout: float | None) -> Any:
        """Return what is taken, as soon as it is there; see `Waiters.until`.

        Raises:
            Ended: The connection has ended.
        """
        return await self._waiters.until(take, self._check, timeout)

    @property
    def is_held(self) -> bool:
        """Whether no more is read, as so much is unread."""
        return self._waiters.is_held

    def taken(self) -> None:
        """Take note that somebody has taken something without waiting."""
        self._waiters.taken()

    async def send(self, outgoing: Outgoing) -> None:
        """Send a frame, or keep it while there is no connection.

        Raises:
            Ended: The connection has ended.
            QueueFull: As many wait as may.
        """
        async with self._turn:
            life = self.life
            while life.is_open and self.state == "open":
                if self._has_room() is None:
                    self._wake.set()
                    # What makes room may stand behind messages that nobody has read.
                    await self._waiters.until(self._has_room, lambda: None, None)
                elif not _is_open(self.socket):
                    await self._decision(self.socket)
                else:
                    await self._transmit(outgoing)
                    return
            self._check()
            life.queue(outgoing)
            self._wake.set()

    def _has_room(self) -> tuple[bool] | None:
        life = self.life
        full = self.state == "open" and life.is_open and (life.waits or life.is_full)
        return None if full else (True,)

    async def _transmit(self, outgoing: Outgoing) -> None:
        from websockets.exceptions import ConnectionClosed as SocketClosed

        socket, frame = self.socket, self.life.send(outgoing)
        try:
            await socket.send(frame)
        except SocketClosed:
            self.life.doubt(frame)
            await self._decision(socket)
            self._check()

    async def _decision(self, socket: AsyncSocket) -> None:
        """Wait until it is known what the end of a socket means."""
        self._waiters.hurry()
        while self.socket is socket and self.state == "open":
            await self._waiters.change()

    async def stop(self, asked: Asked) -> None:
        """Have an answer stopped."""
        from websockets.exceptions import ConnectionClosed as SocketClosed

        socket, frame = self.socket, self.life.stop(asked)
        self._waiters.notify()
        if frame is not None:
            try:
                await socket.send(frame)
            except SocketClosed:
                await self._decision(socket)

    async def close(self, code: int, reason: str) -> None:
        """Close it, and wait for the server's answer."""
        self._waiters.hurry()
        try:
            if self.state == "open" and self.life.waits:
                await self._flushed()
            self._leaves = True
            if self.state == "open":
                await self.socket.close(code, reason)
                await asyncio.wait([self._reader])
        finally:
            self._end(Closing(code, reason, ours=True))
            self._reader.cancel()
            await asyncio.wait([self._reader, self._writer])

    async def _flushed(self) -> None:
        """Wait until what waits has left, for as long as the socket may take to close."""
        try:
            async with asyncio.timeout(self.socket.close_timeout):
                while self.state == "open" and self.life.waits:
                    await self._waiters.change()
        except TimeoutError:
            return

    def _check(self) -> None:
        if self.closing is not None:
            raise Ended(self.closing)

    # ---- the task that reads and opens again ---------------------------------------------------

    async def _read(self) -> None:
        closing = Closing(CloseCode.ABNORMAL, "", ours=False)
        try:
            while True:
                closing = await self._read_socket()
                if self._leaves or not closing.returns or not self._dialer.reconnect:
                    return
                tried = await self._come_back(closing)
                if tried:
                    closing = closing._replace(tried=tried)
                    return
        except asyncio.CancelledError:
            if self._leaves:
                return
            raise
        except Exception:
            _log.exception("the connection to %s ends, as this client has failed", self._name)
            closing = Closing(CloseCode.INTERNAL_ERROR, "this client has failed", ours=True)
        finally:
            self._end(closing)
            if _is_open(self.socket):
                self.socket.transport.abort()  # the loop ends, and nobody has closed it

    async def _read_socket(self) -> Closing:
        """Read to the end of a socket; return how it has ended."""
        from websockets.exceptions import ConnectionClosed as SocketClosed

        socket, life, loop = self.socket, self.life, asyncio.get_running_loop()
        due_at, ending, moves = 0.0, None, False
        self._waiters.begin()
        pings = keep_alive(socket, self._dialer.ping, lambda: self.is_held)
        tasks = [self._task("pings", pings)]
        try:
            while True:
                await self._waiters.may_read()
                frame = await socket.recv()
                if self._leaves or ending is not None:
                    continue  # nobody wants it; but the server's close frame is behind it
                try:
                    life.receive(frame, loop.time())
                except Gap:
                    # Frames were swallowed on the way. They are asked for again.
                    ending = socket.close(COMES_BACK, "wsh.v1: comes back")
                except NotSpoken as error:
                    ending = socket.close(CloseCode.PROTOCOL_ERROR, f"wsh.v1: {error}"[:120])
                if ending is not None:
                    self._waiters.hurry()
                    tasks.append(self._task("closes", ending))
                self._waiters.notify()
                if life.end.move is not None and not moves:
                    moves = True
                    tasks.append(self._task("moves", self._move(socket, life.end.move)))
                if life.due_at != due_at:
                    due_at = life.due_at
                    self._wake.set()
        except SocketClosed as error:
            return closing_of(error, socket)
        finally:
            for task in tasks:
                task.cancel()

    async def _move(self, socket: AsyncSocket, seconds: float) -> None:
        """Leave a server that is about to stop, when it is time and no answer is under way."""
        await asyncio.sleep(seconds)
        while self.life.end.open:
            await self._waiters.change()
        if not self._leaves and self._dialer.reconnect:
            self.life.is_moving = True
            self._waiters.hurry()
            await socket.close(COMES_BACK, "wsh.v1: comes back")

    async def _come_back(self, closing: Closing) -> str:
        """Open the connection again; return why that cannot be, or nothing where it is open."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        if self._broken is None or now - self._stood >= STABLE or self.life.is_moving:
            self._broken, self._pause = now, FIRST_PAUSE
        self.life.lost()
        self.life.lose_answers()
        self._change(Change("away", closing.reason, closing.code))
        seconds = self.life.window + LIMIT
        deadline, why = self._broken + seconds, ""
        while True:
            pause = random.uniform(0, self._pause)  # it spreads a crowd
            self._pause = min(2 * self._pause, LONGEST_PAUSE)
            if why and loop.time() >= deadline:
                return f"it could not be opened again within {seconds:g} s: {why}"
            await asyncio.sleep(min(pause, max(0.0, deadline - loop.time())))
            try:
                socket, first = await self._dialer.dial(self.life.offers)
            except HandshakeRefused as error:
                why = str(error)
                if error.status in FINAL:
                    return f"it could not be opened again: {why}"
            except (ConnectError, ServerNotFound, TimeoutError) as error:
                why = str(error)
            else:
                return await self._welcome(socket, first)

    async def _welcome(self, socket: AsyncSocket, first: Message) -> str:
        self.socket, self._stood = socket, asyncio.get_running_loop().time()
        try:
            welcome = self.life.opened(first)
        except NotSpoken as error:
            await socket.close(CloseCode.PROTOCOL_ERROR, f"wsh.v1: {error}"[:120])
            return f"it could not be opened again: {error}"
        event: Event = "resumed" if welcome.event == "resumed" else "renewed"
        self._change(Change(event, welcome.reason, unsure=welcome.unsure))
        self._wake.set()
        return ""

    def _change(self, change: Change) -> None:
        self.state = change.state
        self._waiters.notify()
        if self._dialer.on_state is not None:
            try:
                self._dialer.on_state(change)
            except Exception:
                _log.exception("on_state has failed")

    def _end(self, closing: Closing) -> None:
        if self.closing is None:
            self.closing = closing
            remains = self.life.over(delivered=self._has_answered())
            reason = closing.tried or closing.reason
            self._change(Change("closed", reason, closing.code, *remains))
            self._writer.cancel()

    def _has_answered(self) -> bool:
        """Return whether the server has answered our close frame, before which it had all else."""
        protocol = self.socket.protocol
        answers = self._leaves and self.life.is_open and protocol.close_rcvd is not None
        return answers and not protocol.close_rcvd_then_sent

    # ---- the task that writes what has waited --------------------------------------------------

    async def _write(self) -> None:
        from websockets.exceptions import ConnectionClosed as SocketClosed

        loop = asyncio.get_running_loop()
        while True:
            self._wake.clear()
            socket, life = self.socket, self.life
            frame: Message | None = None
            try:
                for frame in life.waiting_frames():
                    await socket.send(frame)
                frame = life.acknowledge(loop.time())
                if frame is not None:
                    await socket.send(frame)
            except SocketClosed:  # the task that reads sees it, too
                if frame is not None:
                    life.doubt(frame)
            self._waiters.notify()
            due_at = life.due_at if life.is_open else 0.0
            try:
                async with asyncio.timeout_at(due_at or None):
                    await self._wake.wait()
            except TimeoutError:
                continue


def _is_open(socket: AsyncSocket) -> bool:
    from websockets.protocol import OPEN

    return socket.state is OPEN
