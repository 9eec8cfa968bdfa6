"""The kernel's side of the bridge: a thread with an event loop, on which the bots' callbacks run.

Comm messages arrive in the thread of a subshell (or, before ipykernel 7, of the main shell) and
are handed over at once, so that a running cell keeps nobody waiting.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import itertools
import os
import time
import warnings
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import msgspec

from ..callbacks.errorlog import ErrorSink
from ..config.model import AuthConfig
from ..connection.connection import Connection
from ..engine.texts import printable
from ..kernels.courier import (
    KERNEL_IN_FLIGHT,
    PROTOCOL,
    TARGET,
    Batch,
    Courier,
    OutOfStep,
    with_buffers,
)
from ..kernels.events import (
    BUFFERED_FROM_SERVER,
    Binary,
    Displaced,
    Event,
    FromServer,
    Long,
    NotShared,
    Open,
    Pong,
    Refused,
    RoomAnswer,
    RoomRefusal,
    Serve,
    Served,
    SessionChange,
    Shared,
    ShareEnded,
    Shares,
    Text,
    Withdraw,
    read_from_server,
    read_told,
)
from ..kernels.pipe import Pipe, connect, write_batch
from ..manager.manager import current_manager
from ..routes import Route
from .botloop import BotLoop
from .claims import Answer, Asked, Claims
from .comms import Comms
from .manager import NotebookManager
from .opened import BotConnections
from .output import bot_logger
from .sessions import KernelSessions
from .shares import BotShares

T = TypeVar("T")

RATE = 400.0
"""Batches per second in the long run: a notebook's server drops the output of a kernel that sends
more than 1,000 messages a second over 3 s, one batch is one message, and cells want to print."""

BURST = 100
"""Batches that may go out faster than that, after a silence."""

MAX_WAITING = 4 * 1024 * 1024
"""Bytes that wait for a server, beyond which a session's changes are kept back."""

MISSED = 3.5
"""Messages of a server that says at regular times that it is there, until it counts as gone."""

LOOK = 0.003
"""Seconds between two looks at whether everything has left."""

HELLOS = (0.0, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Seconds after which a kernel says again that it has bots, until a server answers: the first
message of a publisher may come before the server has subscribed."""


class ServerLink:
    """The kernel's end of the way to its server, with all that this kernel's bots have in common.

    Args:
        kernel: The ipykernel.
        errors: Takes what callbacks raise; None writes it to the log.
    """

    def __init__(self, kernel: Any, errors: ErrorSink | None = None) -> None:
        self.kernel = kernel
        self.has_subshells = bool(getattr(kernel, "_supports_kernel_subshells", False))
        self.sessions = KernelSessions(self._session_changed, bot_logger(), self._has_room)
        self.manager = NotebookManager(self.sessions, errors, self._put)
        self._connections = BotConnections(self.manager, self.sessions, self._put, self._handled)
        self.manager.observers.add(self._connections)
        self._thread = BotLoop(self.manager.start, self._survived)
        self.attached = False
        self.alone = False  # nobody has answered when somebody was waited for
        self._claims = Claims(self._ask, self._put_in_place, self.manager.served.remove)
        self.shares = BotShares(self, lambda event, size: self._put(event, None, size), self._is_at)
        self.manager.observers.add(self.shares)
        self._comms = Comms(kernel, self._opened, self._arrived, self._closed, self._is_another)
        self.other_version: object = None
        """The version of the bridge of a server that has come and speaks another one."""
        self._comm_id = ""
        self.cut_off = ""
        """Why the server will hear no more of this kernel; empty while it does."""
        self._heard = 0.0  # when something came from the server, and how often something does
        self._beat = 0.0
        self._courier: Courier | None = None
        self._pipe: Pipe | None = None
        self._due: deque[Callable[[], object]] = deque()  # what has come on it
        self._hello: asyncio.TimerHandle | None = None
        atexit.register(_be_quiet)
        self._thread.start()
        self.loop = self._thread.loop
        self._comms.register()

    # ---- the thread ------------------------------------------------------------------------------

    def _survived(self, error: BaseException | None) -> None:
        what = "stop()" if error is None else f"{type(error).__name__} in a function"
        self.manager.log.error("The event loop of the bots goes on after %s", what, exc_info=error)

    def call(self, function: Callable[[], T], timeout: float = 10.0) -> T:
        """Call a function on the bots' loop and return its result; see `BotLoop.call`."""
        return self._thread.call(function, timeout)

    def check_process(self) -> None:
        """Refuse to work in a fork; see `BotLoop.check_process`."""
        self._thread.check_process()

    @property
    def alive(self) -> bool:
        """Whether the thread of the bots runs; see `BotLoop.alive`."""
        return self._thread.alive

    def abandon(self) -> None:
        """Leave a link whose thread has ended to itself: another takes its place."""
        self._stop_sending()

    @property
    def on_loop(self) -> bool:
        """Whether the calling thread is the bots' own."""
        return self._thread.is_here

    @property
    def silence(self) -> float:
        """Seconds since anything came from the server; 0 as long as that may be by chance.

        A server that is killed closes no comm: that nothing comes any more is all there is to know.
        """
        silence = time.monotonic() - self._heard
        return silence if self._beat and silence > MISSED * self._beat else 0.0

    def let_leave(self, seconds: float) -> None:
        """Wait, in another thread than the loop's, until what was sent has gone to the server.

        Args:
            seconds: How long, at most; a client that reads slowly must not hold up a cell.
        """

        async def left() -> None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    # Who makes room is one of many, and a cell is in no hurry.
                    while self._connections.waiting or self._is_sending():  # noqa: ASYNC110
                        await asyncio.sleep(LOOK)

        asyncio.run_coroutine_threadsafe(left(), self.loop).result(seconds + 10)

    def _is_sending(self) -> bool:
        # What a pipe has not written is lost where the process ends; Jupyter's channels keep it.
        return self._pipe is not None and self._pipe.waits

    # ---- the server ----------------------------------------------------------------------------

    def _say_hello(self, turn: int = 0) -> None:
        self._hello = None
        if self.attached or not self._claims:
            return
        self._comms.publish(TARGET, {"hello": PROTOCOL}, [])
        if turn + 1 < len(HELLOS):
            pause = HELLOS[turn + 1] - HELLOS[turn]
            self._hello = self.loop.call_later(pause, self._say_hello, turn + 1)

    def _opened(self, comm_id: str, offer: object) -> None:
        self.loop.call_soon_threadsafe(self._attach, comm_id, offer)

    def _arrived(self, comm_id: str, batch: Batch, buffers: Sequence[Any]) -> None:
        # Here, and not on the loop: a callback that holds the loop up is not the server's end.
        self._heard = time.monotonic()
        self.loop.call_soon_threadsafe(self._receive, comm_id, batch, buffers)

    def _closed(self, comm_id: str, reason: str) -> None:
        self.loop.call_soon_threadsafe(self._be_cut_off, comm_id, reason)

    def _is_another(self, version: object) -> None:
        self.other_version = version

    def _attach(self, comm_id: str, offer: object = None) -> None:
        """Begin with a server: it is a new one, or has lost its way here."""
        self._comm_id, self._beat = comm_id, 0.0
        self._connections.lose_all()
        self._stop_sending()
        sock = None if offer is None else connect(offer)
        if sock is not None:
            self._pipe = Pipe(self.loop, sock, self._piped, self._pipe_ended)
        # What goes through iopub counts for Jupyter's limit of what a notebook may send.
        self._courier = Courier(
            self.loop,
            partial(self._transmit, comm_id, self._pipe),
            in_flight=KERNEL_IN_FLIGHT,
            patience=0.002,
            rate=RATE if self._pipe is None else 0.0,
            burst=BURST,
            dropped=self._dropped,
            pack=self._comms.pack,
            whole=self._pipe is not None,
        )
        self.attached, self.alone, self.cut_off = True, False, ""
        self.other_version = None
        self.shares.attached()
        self._claims.ask_again()

    def _transmit(
        self, comm_id: str, pipe: Pipe | None, batch: Batch, buffers: list[bytes]
    ) -> None:
        if pipe is None:
            self._comms.publish(comm_id, batch, buffers)
        else:
            pipe.send(write_batch(batch, self._comms.pack), buffers)

    def _piped(self, content: bytes, buffers: list[bytes]) -> None:
        """Take a batch that has come on the pipe."""
        self._heard = time.monotonic()
        try:
            told = read_told(content)
        except (ValueError, RecursionError):
            # One event of it is none, or its text is none in UTF-8: the others are read as ever.
            self._receive(self._comm_id, self._comms.unpack(content), buffers)
            return
        courier, rest = self._courier, iter(buffers)
        if courier is None:
            return
        try:
            courier.accept(told.n, told.got)
            for name, count in told.taken.items():
                self._connections.taken(name, count)
            for what, events in itertools.groupby(told.events, _text_of):
                if what is not None:  # at once, as a client has sent them
                    texts = [event.text for event in events]  # type: ignore[union-attr]
                    self._due.append(partial(self._hear, what, texts))
                    continue
                for event in events:
                    buffered = isinstance(event, (Long, Binary, Pong))
                    self._due.append(partial(self._do, event, next(rest) if buffered else b""))
            if told.n is not None:
                self._due.append(partial(courier.handled, told.n))
            # In order, also where a callback runs this loop, and the next batch comes in there.
            while self._due:
                self._due.popleft()()
            courier.flush()
        except (OutOfStep, StopIteration):
            self._detach()

    def _hear(self, name: str, texts: list[str]) -> None:
        try:
            self._connections.hear(name, texts)
        except Exception:
            self.manager.log.exception("text could not be handled")

    def _pipe_ended(self, error: Exception | None) -> None:
        """Take note that the server has ended the pipe, most often with itself."""
        self._detach()

    def _receive(self, comm_id: str, batch: Batch, buffers: Sequence[Any]) -> None:
        courier = self._courier
        if courier is None or comm_id != self._comm_id:
            return
        try:
            self._beat = float(batch.get("beat", self._beat))
            events, taken = courier.receive(batch)
            pairs = with_buffers(events, buffers, BUFFERED_FROM_SERVER)
        except OutOfStep:
            self._detach()
            return
        for name, count in taken.items():
            self._connections.taken(name, count)
        for event, buffer in pairs:
            try:
                self._handle(read_from_server(event), buffer)
            except Exception:
                self.manager.log.exception("%s could not be handled", event[0])

    def _do(self, event: FromServer, buffer: bytes) -> None:
        try:
            self._handle(event, buffer)
        except Exception:
            self.manager.log.exception("%s could not be handled", event.what)

    def _detach(self) -> None:
        self._let_go()
        self._claims.unattended()
        self._say_hello()

    def _be_cut_off(self, comm_id: str, reason: str) -> None:
        """Take note that the server listens to this kernel no longer."""
        if comm_id == self._comm_id or (comm_id == TARGET and not self.attached):
            self._comm_id, self.cut_off = "", reason
            self._let_go()
            self._claims.end(reason)
            self.shares.gone(None, reason)

    def _stop_sending(self) -> None:
        if self._courier is not None:
            self._courier.close()
            self._courier = None
        if self._pipe is not None:
            self._pipe.close()
            self._pipe = None
        self._due.clear()

    def _let_go(self) -> None:
        self.attached = False
        self._stop_sending()
        self._connections.lose_all()
        self.shares.detached()
        self.manager.server_rooms.detached()

    # ---- what the server says --------------------------------------------------------------------

    def _handle(self, event: FromServer, buffer: bytes) -> None:
        if isinstance(event, Open):
            self._connections.open(self.loop, event.name, event.details)
        elif isinstance(event, Served):
            self.manager.served.base_url = event.where["base_url"]
            self._claims.answered(event.what, event.name, event.number, event.where)
            self.shares.serving(event.name, event.where)
        elif isinstance(event, (Refused, Displaced)):
            self._claims.answered(event.what, event.name, event.number, event.why)
            if event.name not in self._claims:
                self.shares.gone(event.name, event.why)
        elif isinstance(event, (Shared, NotShared, Shares, ShareEnded)):
            self.shares.hear(event)
        elif isinstance(event, (RoomAnswer, RoomRefusal)):
            self.manager.server_rooms.answered(event)
        else:
            self._connections.tell(event, buffer)

    # ---- to the server ---------------------------------------------------------------------------

    def _put(self, event: Event, buffer: bytes | None = None, size: int = 64) -> bool:
        if self._courier is None:
            return False
        self._courier.put(event, buffer, size)
        return True

    def _dropped(self, event: Event, error: Exception) -> None:
        """Take note of an event that no message can hold: the others have left."""
        why = f"{type(error).__name__}: {error}"
        bot_logger().error("A %s of the bot's cannot be sent and is dropped: %s", event.what, why)
        if isinstance(event, Serve):
            self._claims.answered("refused", event.name, event.number, f"it cannot be sent: {why}")
        self.manager.server_rooms.not_sent(event, why)

    def _handled(self, connection: Connection) -> None:
        """Tell the server that a message was handled, and first what its callback has stored."""
        if connection.attached_session is not None:
            self.sessions.send_light(connection.attached_session)
        if self._courier is not None:
            self._courier.take(connection.id)

    def _has_room(self) -> bool:
        return self._courier is None or self._courier.waiting < MAX_WAITING

    def _session_changed(self, name: str, changed: dict[str, str], removed: list[str]) -> None:
        size = 64 + sum(len(text) for text in changed.values())
        self._put(SessionChange(name, changed, removed), size=size)

    # ---- routes ----------------------------------------------------------------------------------

    def serve(self, route: Route, claim: dict[str, Any], answer: Answer) -> None:
        """Serve a route, or the new version of one; belongs to the loop.

        Args:
            route: The route with its functions.
            claim: What the server is asked for.
            answer: See `claims.Answer`.
        """
        if self.cut_off:
            answer("refused", self.cut_off)
            return
        self._claims.serve(route, claim, answer)
        if not self.attached and self._hello is None:
            self._say_hello()

    def _ask(self, asked: Asked) -> None:
        # The name of a file need not be UTF-8.
        label = printable(os.path.basename(os.environ.get("JPY_SESSION_NAME", "")))
        event = Serve(asked.route.name, asked.number, asked.claim, label)
        self._put(event, size=1024 + asked.size)

    def _put_in_place(self, route: Route) -> None:
        if route.context is not None:
            route.context.run(current_manager.set, self.manager)
        # Who may connect, how long one may be silent and how much one may say is decided where
        # the client is: in the server.
        route.config = msgspec.structs.replace(
            route.config,
            auth=AuthConfig(),
            origins=None,
            ping_interval=0.0,
            idle_timeout=0.0,
            max_message=0,
        )
        self.manager.served.put(route)

    def withdraw(self, name: str) -> None:
        """Serve a route no longer; its connections are closed."""
        self._claims.forget(name)
        self._put(Withdraw(name))
        self.shares.gone(name, "it has been stopped")

    def _is_at(self, name: str) -> bool:
        return self.attached and self._claims.is_agreed(name)


def _text_of(event: FromServer) -> str | None:
    """Return whose text an event is; None where it is something else."""
    return event.name if type(event) is Text else None


def _be_quiet() -> None:
    """Say nothing, as the kernel ends, of callbacks that the end has caught on their way."""
    warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
