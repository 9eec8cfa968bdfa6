"""The kernel's side of the bridge: a thread with an event loop, on which the bots' callbacks run.

Comm messages arrive in the thread of a subshell (or, before ipykernel 7, of the main shell) and
are handed over at once, so that a running cell keeps nobody waiting.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, TypeVar

import msgspec

from ..callbacks.errorlog import ErrorSink
from ..config.model import AuthConfig
from ..connection.connection import Connection
from ..connection.opening import Opening
from ..connection.request import Request
from ..engine.frames import Pong, reply_code
from ..engine.messages import Close, Frame, MessageProtocol, MessageTransport, Ping
from ..engine.texts import printable
from ..guard import run_to_its_end
from ..kernels.courier import (
    KERNEL_IN_FLIGHT,
    LONG,
    PROTOCOL,
    TARGET,
    WINDOW,
    WINDOW_SIZE,
    Batch,
    Courier,
    Event,
    OutOfStep,
    with_buffers,
)
from ..manager.manager import current_manager
from ..routes import Route
from ..types import CloseCode, Codec
from .claims import Answer, Asked, Claims
from .comms import Comms
from .connection import BotConnection, NotebookManager
from .output import bot_logger
from .sessions import KernelSessions

T = TypeVar("T")

RATE = 400.0
"""Batches per second in the long run: a notebook's server drops the output of a kernel that sends
more than 1,000 messages a second over 3 s, one batch is one message, and cells want to print."""

BURST = 100
"""Batches that may go out faster than that, after a silence."""

MISSED = 3.5
"""Messages of a server that says at regular times that it is there, until it counts as gone."""

LOOK = 0.003
"""Seconds between two looks at whether everything has left."""

START = 10.0
"""Seconds for the thread of the bots to start."""

HELLOS = (0.0, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Seconds after which a kernel says again that it has bots, until a server answers: the first
message of a publisher may come before the server has subscribed."""

BUFFERED = frozenset({"long", "binary", "pong"})
"""Events of the server whose payload travels beside the JSON."""


class Link:
    """Own the thread of this kernel's bots, and their way to the server.

    Args:
        kernel: The ipykernel.
        errors: Takes what callbacks raise; None writes it to the log.
    """

    def __init__(self, kernel: Any, errors: ErrorSink | None = None) -> None:
        self.kernel = kernel
        self.has_subshells = bool(getattr(kernel, "_supports_kernel_subshells", False))
        self.sessions = KernelSessions(self._session_changed, bot_logger())
        self.manager = NotebookManager(self.sessions, self._connection_finished, errors)
        self.attached = False
        self.alone = False  # nobody has answered when somebody was waited for
        self._claims = Claims(self._ask, self._put_in_place, self.manager.served.remove)
        self._comms = Comms(kernel, self._opened, self._arrived, self._closed)
        self._comm_id = ""
        self.cut_off = ""
        """Why the server will hear no more of this kernel; empty while it does."""
        self._heard = 0.0  # when something came from the server, and how often something does
        self._beat = 0.0
        self._courier: Courier | None = None
        self._open: dict[str, tuple[BotConnection, MessageTransport]] = {}
        self._hello: asyncio.TimerHandle | None = None
        self._process = os.getpid()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="wshandler bots", daemon=True)
        atexit.register(_be_quiet)
        self._thread.start()
        if not self._ready.wait(START):
            raise RuntimeError("the thread of this kernel's bots has not started")
        self._comms.register()

    # ---- the thread ------------------------------------------------------------------------------

    def _run(self) -> None:
        with contextlib.suppress(RuntimeError):  # the interpreter ends with a loop that runs
            run_to_its_end(self._main(), self._survived)

    def _survived(self, error: BaseException | None) -> None:
        what = "stop()" if error is None else f"{type(error).__name__} in a function"
        self.manager.log.error("The event loop of the bots goes on after %s", what, exc_info=error)

    async def _main(self) -> None:
        self.loop = asyncio.get_running_loop()
        await self.manager.start()
        self._ready.set()
        await asyncio.Event().wait()

    def call(self, function: Callable[[], T], timeout: float = 10.0) -> T:
        """Call a function on the loop and return its result; from any other thread.

        Args:
            function: What to call.
            timeout: Seconds to wait.

        Raises:
            TimeoutError: The loop is busy: a callback with ``run: loop`` holds it.
            RuntimeError: This process is a fork of the kernel.
        """
        self.check_process()
        done: threading.Event = threading.Event()
        result: list[T] = []
        error: list[BaseException] = []

        def run() -> None:
            try:
                result.append(function())
            except BaseException as raised:
                error.append(raised)
            done.set()

        if self.on_loop:
            return function()
        self.loop.call_soon_threadsafe(run)
        if not done.wait(timeout):
            raise TimeoutError(
                f"the bots' event loop has been busy for {timeout:g} s: a callback blocks it; "
                "callbacks that take their time are `def` without run='loop', or await"
            )
        if error:
            raise error[0]
        return result[0]

    def check_process(self) -> None:
        """Refuse to work in a fork: the thread of the bots is not in it.

        Raises:
            RuntimeError: This process is a fork of the kernel.
        """
        if os.getpid() != self._process:
            raise RuntimeError("this process is a fork of the kernel, and the bots live there")

    @property
    def alive(self) -> bool:
        """Whether the thread of the bots runs; in a fork it does not, and yet is not dead."""
        return self._thread.is_alive() or os.getpid() != self._process

    def abandon(self) -> None:
        """Leave a link whose thread has ended to itself: another takes its place."""
        if self._courier is not None:
            self._courier.close()
            self._courier = None

    @property
    def on_loop(self) -> bool:
        """Whether the calling thread is the bots' own."""
        return threading.get_ident() == self._thread.ident

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
                    while any(  # noqa: ASYNC110
                        transport.queued_frames for _, transport in self._open.values()
                    ):
                        await asyncio.sleep(LOOK)

        asyncio.run_coroutine_threadsafe(left(), self.loop).result(seconds + 10)

    # ---- the server ----------------------------------------------------------------------------

    def _say_hello(self, turn: int = 0) -> None:
        self._hello = None
        if self.attached or not self._claims:
            return
        self._comms.publish(TARGET, {"hello": PROTOCOL}, [])
        if turn + 1 < len(HELLOS):
            pause = HELLOS[turn + 1] - HELLOS[turn]
            self._hello = self.loop.call_later(pause, self._say_hello, turn + 1)

    def _opened(self, comm_id: str) -> None:
        self.loop.call_soon_threadsafe(self._attach, comm_id)

    def _arrived(self, comm_id: str, batch: Batch, buffers: Sequence[Any]) -> None:
        # Here, and not on the loop: a callback that holds the loop up is not the server's end.
        self._heard = time.monotonic()
        self.loop.call_soon_threadsafe(self._receive, comm_id, batch, buffers)

    def _closed(self, comm_id: str, reason: str) -> None:
        self.loop.call_soon_threadsafe(self._be_cut_off, comm_id, reason)

    def _attach(self, comm_id: str) -> None:
        """Begin with a server: it is a new one, or has lost its way here."""
        self._comm_id, self._beat = comm_id, 0.0
        for _, transport in tuple(self._open.values()):
            transport.lost()
        self._open.clear()
        if self._courier is not None:
            self._courier.close()
        self._courier = Courier(
            self.loop,
            lambda batch, buffers: self._comms.publish(comm_id, batch, buffers),
            in_flight=KERNEL_IN_FLIGHT,
            patience=0.002,
            rate=RATE,
            burst=BURST,
            dropped=self._dropped,
            pack=self._comms.pack,
        )
        self.attached, self.alone, self.cut_off = True, False, ""
        self._claims.ask_again()

    def _receive(self, comm_id: str, batch: Batch, buffers: Sequence[Any]) -> None:
        courier = self._courier
        if courier is None or comm_id != self._comm_id:
            return
        try:
            self._beat = float(batch.get("beat", self._beat))
            events, taken = courier.receive(batch)
            pairs = with_buffers(events, buffers, BUFFERED)
        except OutOfStep:
            self._detach()
            return
        for name, count in taken.items():
            if name in self._open:
                self._open[name][1].taken(count)
        for event, buffer in pairs:
            try:
                self._handle(event, buffer)
            except Exception:
                self.manager.log.exception("%s could not be handled", event[0])

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

    def _let_go(self) -> None:
        self.attached = False
        if self._courier is not None:
            self._courier.close()
            self._courier = None
        for _, transport in tuple(self._open.values()):
            transport.lost()
        self._open.clear()

    # ---- what the server says --------------------------------------------------------------------

    def _handle(self, event: Event, buffer: bytes) -> None:
        what, name = event[0], event[1]
        if what == "open":
            self._connect(name, event[2])
        elif what in ("served", "refused", "displaced"):
            if what == "served":
                self.manager.served.base_url = event[3]["base_url"]
            self._claims.answered(what, name, event[2], event[3])
        elif name not in self._open:
            if what == "lost":
                self._put(["closed", name, 0])
        else:
            connection, transport = self._open[name]
            if what == "text":
                transport.feed([event[2]])
            elif what == "long":
                transport.feed([buffer.decode()])
            elif what == "binary":
                transport.feed([buffer])
            elif what == "pong":
                transport.feed([Pong(buffer)])
            elif what == "stop":
                if connection.chat_answers is not None:
                    connection.chat_answers.stop(event[2])
            elif what == "leaving":
                transport.feed([Close(event[2], event[3])])
            elif what == "lost":
                if connection.close_code is None:
                    connection.close_code, connection.close_reason = event[2], event[3]
                transport.lost()

    def _connect(self, name: str, details: dict[str, Any]) -> None:
        """Open the bot's side of a connection."""
        manager = self.manager
        route = manager.table.get(details["route"])
        if route is None:  # stopped meanwhile
            self._put(["close", name, int(CloseCode.SERVICE_RESTART), "this route is gone"])
            return
        asked, user, stored = details["request"], details["user"], details["session"]
        connection = BotConnection(
            manager,
            route,
            Opening(
                Request(
                    asked["headers"],
                    asked["uri"],
                    asked["remote_ip"],
                    asked["protocol"],
                    asked["host"],
                ),
                current_user=None if user is None else SimpleNamespace(**user),
                session=None if stored is None else self.sessions.open(*stored),
                path_args=tuple(details["path_args"]),
                path_kwargs=details["path_kwargs"],
                subprotocol=details["subprotocol"],
            ),
            id=name,
        )
        connection.on_handled = lambda: self._handled(connection)
        transport = MessageTransport(
            self.loop,
            lambda frame: self._send(name, frame),
            lambda: self._put(["close", name, reply_code(connection.close_code or 1011), ""]),
            messages=WINDOW,
            size=WINDOW_SIZE,
        )
        self._open[name] = connection, transport
        codec: Codec = MessageProtocol()
        if details["chat"]:
            codec = connection.envelop(codec)
        manager.open(connection, codec, transport, ())

    # ---- to the server ---------------------------------------------------------------------------

    def _put(self, event: Event, buffer: bytes | None = None, size: int = 64) -> None:
        if self._courier is not None:
            self._courier.put(event, buffer, size)

    def _dropped(self, event: Event, error: Exception) -> None:
        """Take note of an event that no message can hold: the others have left."""
        why = f"{type(error).__name__}: {error}"
        bot_logger().error("A %s of the bot's cannot be sent and is dropped: %s", event[0], why)
        if event[0] == "serve":
            self._claims.answered("refused", event[1], event[2], f"it cannot be sent: {why}")

    def _handled(self, connection: BotConnection) -> None:
        """Tell the server that a message was handled, and first what its callback has stored."""
        if connection.attached_session is not None:
            self.sessions.send_light(connection.attached_session)
        if self._courier is not None:
            self._courier.take(connection.id)

    def _send(self, name: str, frame: Frame) -> None:
        if isinstance(frame, str) and len(frame) > LONG:
            self._put(["long", name], frame.encode(), size=64 + len(frame))
        elif isinstance(frame, str):
            # A character that JSON escapes takes six bytes.
            plain = frame.isascii() and frame.isprintable()
            self._put(["text", name, frame], size=64 + len(frame) * (1 if plain else 6))
        elif isinstance(frame, bytes):
            self._put(["binary", name], frame, size=64 + len(frame))
        elif isinstance(frame, Close):
            self._put(["close", name, frame.code, frame.reason])
        elif isinstance(frame, Ping):
            self._put(["ping", name], frame.payload)

    def _session_changed(self, name: str, changed: dict[str, str], removed: list[str]) -> None:
        size = 64 + sum(len(text) for text in changed.values())
        self._put(["session", name, changed, removed], size=size)

    def _connection_finished(self, connection: Connection) -> None:
        if self._open.pop(connection.id, None) is not None:
            self._put(["closed", connection.id, connection.dropped])

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
        event = ["serve", asked.route.name, asked.number, asked.claim, label]
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
        self._put(["withdraw", name])


def _be_quiet() -> None:
    """Say nothing, as the kernel ends, of callbacks that the end has caught on their way."""
    warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
