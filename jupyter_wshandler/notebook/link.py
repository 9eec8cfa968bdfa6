"""The kernel's side of the bridge: a thread with an event loop, on which the bots' callbacks run.

Comm messages arrive in the thread of a subshell (or, before ipykernel 7, of the main shell) and
are handed over at once, so that a running cell keeps nobody waiting.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, TypeVar

import msgspec

from ..callbacks.errorlog import ErrorLog, ErrorSink
from ..config.model import AuthConfig
from ..connection import Connection
from ..engine.frames import Pong
from ..engine.messages import Close, Frame, MessageProtocol, MessageTransport, Ping
from ..kernels.courier import TARGET, TOPIC, Batch, Courier, Event, OutOfStep, with_buffers
from ..manager import WebSocketManager, current_manager
from ..request import Request
from ..routes import Route
from ..sessions import Sessions
from ..types import CloseCode
from .output import bot_logger, keep_parents
from .sessions import KernelSessions

T = TypeVar("T")

WINDOW = 128
"""Messages of one connection that the server may have and not have sent on."""

WINDOW_SIZE = 256 * 1024
"""Bytes in them, at most; one message is always allowed."""

PAUSE = 0.003
"""Seconds between two batches: a notebook's server drops the output of a kernel that sends more
than 1,000 messages a second, and one batch is one message."""

HELLOS = (0.0, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Seconds after which a kernel says again that it has bots, until a server answers: the first
message of a publisher may come before the server has subscribed."""

BUFFERED = frozenset({"binary", "pong"})
"""Events of the server whose payload travels beside the JSON."""


class NotebookManager(WebSocketManager):
    """Run the callbacks of this kernel's bots.

    Args:
        link: Brings what they send to the server.
        errors: Takes what they raise.
    """

    def __init__(self, link: Link, errors: ErrorSink) -> None:
        super().__init__(log=bot_logger(), errors=errors)
        self._link = link

    def _open_sessions(self) -> Sessions:
        return self._link.sessions

    def finished(self, connection: Connection) -> None:
        """Forget a connection, and tell the server that its `on_close` has run."""
        super().finished(connection)  # sends what has changed in the session
        self._link.connection_finished(connection)


class BotConnection(Connection):
    """Be a connection whose client is at the server; what is handled makes room there."""

    __slots__ = ("_in_hands", "on_handled")
    on_handled: Callable[[], object]

    def __init__(self, *args: Any, **details: Any) -> None:
        super().__init__(*args, **details)
        self._in_hands = False

    def next_message(self) -> Any:
        """Return the next thing to deliver: the one before it has been handled."""
        if self._in_hands:
            self._in_hands = False
            self.on_handled()
        message = super().next_message()
        self._in_hands = isinstance(message, (str, bytes))
        return message


class Link:
    """Own the thread of this kernel's bots, and their way to the server.

    Args:
        kernel: The ipykernel.
        errors: Takes what callbacks raise; by default they are logged.
    """

    def __init__(self, kernel: Any, errors: ErrorSink | None = None) -> None:
        self.kernel = kernel
        self.has_subshells = bool(getattr(kernel, "_supports_kernel_subshells", False))
        self.manager = NotebookManager(self, errors or ErrorLog(bot_logger()))
        self.attached = False
        self.sessions = KernelSessions(self._session_changed, self.manager.log)
        self._claims: dict[str, dict[str, Any]] = {}
        self._previous: dict[str, tuple[Route, dict[str, Any]]] = {}
        self._answers: dict[str, Callable[[str, Any], object]] = {}
        self._comm_id = ""
        self._courier: Courier | None = None
        self._open: dict[str, tuple[BotConnection, MessageTransport]] = {}
        self._hello: asyncio.TimerHandle | None = None
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="wshandler bots", daemon=True)
        self._register()
        self._thread.start()
        self._ready.wait()

    # ---- the thread ------------------------------------------------------------------------------

    def _run(self) -> None:
        with contextlib.suppress(RuntimeError):  # the interpreter ends with a loop that runs
            asyncio.run(self._main())

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
        """
        done: threading.Event = threading.Event()
        result: list[T] = []
        error: list[BaseException] = []

        def run() -> None:
            try:
                result.append(function())
            except BaseException as raised:
                error.append(raised)
            done.set()

        if threading.get_ident() == self._thread.ident:
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

    # ---- comms -----------------------------------------------------------------------------------

    def _register(self) -> None:
        comms = self.kernel.comm_manager
        comms.register_target(TARGET, self._comm_opened)
        # A server that comes later asks every kernel for comms of this target.
        comms.comms[TARGET] = _Comm(TARGET, lambda message: None)
        keep_parents(self.kernel, self._is_ours)

    def _is_ours(self, message: Any) -> bool:
        content = message.get("content") if isinstance(message, dict) else None
        if not isinstance(content, dict) or "comm_id" not in content:
            return False
        return content["comm_id"] == self._comm_id or content.get("target_name") == TARGET

    def _comm_opened(self, comm: Any, message: dict[str, Any]) -> None:
        """Take the server's comm; runs in the shell that it arrived in."""
        comm_id = str(message["content"]["comm_id"])
        # ipykernel's own object would bind the comm to the shell that last sent on it, and fire
        # the hooks of a cell (pre_execute, post_execute) at every message.
        comm._closed = True
        self._comm_id = comm_id
        self.kernel.comm_manager.comms[comm_id] = _Comm(comm_id, self._arrived)
        self.loop.call_soon_threadsafe(self._attach, comm_id)

    def _arrived(self, message: dict[str, Any]) -> None:
        content = message["content"]
        self.loop.call_soon_threadsafe(
            self._receive, content["comm_id"], content["data"], message.get("buffers") or ()
        )

    def _publish(self, comm_id: str, batch: Batch, buffers: list[bytes]) -> None:
        kernel = self.kernel
        kernel.session.send(
            kernel.iopub_socket,
            "comm_msg",
            {"comm_id": comm_id, "data": batch},
            ident=TOPIC,
            buffers=buffers or None,
        )

    def _say_hello(self, turn: int = 0) -> None:
        self._hello = None
        if self.attached or not self._claims:
            return
        self._publish(TARGET, {"hello": len(self._claims)}, [])
        if turn + 1 < len(HELLOS):
            pause = HELLOS[turn + 1] - HELLOS[turn]
            self._hello = self.loop.call_later(pause, self._say_hello, turn + 1)

    def _attach(self, comm_id: str) -> None:
        """Begin with a server: it is a new one, or has lost its way here."""
        for _, transport in tuple(self._open.values()):
            transport.lost()
        self._open.clear()
        if self._courier is not None:
            self._courier.close()
        self._courier = Courier(
            self.loop,
            lambda batch, buffers: self._publish(comm_id, batch, buffers),
            in_flight=8,
            pause=PAUSE,
            patience=0.002,
        )
        self.attached = True
        for name in self._claims:
            self._claim(name)

    def _receive(self, comm_id: str, batch: Batch, buffers: Sequence[Any]) -> None:
        courier = self._courier
        if courier is None or comm_id != self._comm_id:
            return
        try:
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
        self.attached = False
        if self._courier is not None:
            self._courier.close()
            self._courier = None
        for _, transport in tuple(self._open.values()):
            transport.lost()
        self._open.clear()
        self._say_hello()

    # ---- what the server says --------------------------------------------------------------------

    def _handle(self, event: Event, buffer: bytes) -> None:
        what, name = event[0], event[1]
        if what == "open":
            self._connect(name, event[2])
        elif what in ("served", "refused", "displaced"):
            self._answered(what, name, event[2])
        elif name not in self._open:
            if what == "lost":
                self._put(["closed", name, 0])
        else:
            connection, transport = self._open[name]
            if what == "text":
                transport.feed([event[2]])
            elif what == "binary":
                transport.feed([buffer])
            elif what == "pong":
                transport.feed([Pong(buffer)])
            elif what == "lost":
                if connection.close_code is None:
                    connection.close_code, connection.close_reason = event[2], event[3]
                transport.lost()

    def _answered(self, what: str, name: str, details: Any) -> None:
        previous = self._previous.pop(name, None)
        if what == "refused" and previous is not None:
            # What was served before goes on, as with a file that cannot be used any more.
            route, self._claims[name] = previous
            self.manager.served.put(route)
        elif what != "served":
            self._claims.pop(name, None)
            self.manager.served.remove(name)
        if what == "served":
            self.manager.served.base_url = details["base_url"]
        if name in self._answers:
            self._answers[name](what, details)

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
            id=name,
            request=Request(
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
        )
        connection.subprotocol = details["subprotocol"]
        connection.on_handled = lambda: self._handled(connection)
        transport = MessageTransport(
            self.loop,
            lambda frame: self._send(name, frame),
            lambda: self._put(["close", name, 1000, ""]),
            messages=WINDOW,
            size=WINDOW_SIZE,
        )
        self._open[name] = connection, transport
        # What is too long, and who is too slow to answer pings, is the server's to judge.
        manager.open(connection, MessageProtocol(), transport, ())

    # ---- to the server ---------------------------------------------------------------------------

    def _put(self, event: Event, buffer: bytes | None = None, size: int = 64) -> None:
        if self._courier is not None:
            self._courier.put(event, buffer, size)

    def _handled(self, connection: BotConnection) -> None:
        """Tell the server that a message was handled, and first what its callback has stored."""
        if connection._session is not None:
            self.sessions.send(connection._session)
        if self._courier is not None:
            self._courier.take(connection.id)

    def _send(self, name: str, frame: Frame) -> None:
        if isinstance(frame, str):
            self._put(["text", name, frame], size=64 + len(frame))
        elif isinstance(frame, bytes):
            self._put(["binary", name], frame, size=64 + len(frame))
        elif isinstance(frame, Close):
            self._put(["close", name, frame.code, frame.reason])
        elif isinstance(frame, Ping):
            self._put(["ping", name], frame.payload)

    def _session_changed(self, name: str, text: str) -> None:
        self._put(["session", name, text], size=64 + len(text))

    def connection_finished(self, connection: Connection) -> None:
        """Tell the server that a connection's last callback has run."""
        if self._open.pop(connection.id, None) is not None:
            self._put(["closed", connection.id, connection.dropped])

    # ---- routes ----------------------------------------------------------------------------------

    def serve(
        self,
        route: Route,
        claim: dict[str, Any],
        answer: Callable[[str, Any], object],
    ) -> None:
        """Serve a route, or the new version of one; belongs to the loop.

        Args:
            route: The route with its functions.
            claim: What the server is asked for.
            answer: Gets "served", "refused", "displaced", or "swapped" where the server need
                not be asked again, and what there is to say.
        """
        name = route.name
        if route.context is not None:
            route.context.run(current_manager.set, self.manager)
        # Who may connect is decided in the server, and so is who may stay.
        route.config = msgspec.structs.replace(route.config, auth=AuthConfig(), origins=None)
        old, asked = self.manager.served.live.get(name), self._claims.get(name)
        self.manager.served.put(route)
        self._claims[name] = claim
        self._answers[name] = answer
        if old is not None and asked is not None and asked != claim:
            self._previous.setdefault(name, (old, asked))
        if self.attached and asked == claim and name not in self._previous:
            answer("swapped", None)
        elif self.attached:
            self._claim(name)
        elif self._hello is None:
            self._say_hello()

    def _claim(self, name: str) -> None:
        label = os.path.basename(os.environ.get("JPY_SESSION_NAME", ""))
        self._put(["serve", name, {"route": self._claims[name], "label": label}])

    def withdraw(self, name: str) -> None:
        """Serve a route no longer; its connections are closed."""
        for known in (self._claims, self._previous, self._answers):
            known.pop(name, None)
        self.manager.served.remove(name)
        self._put(["withdraw", name])


class _Comm:
    """Take the messages of one comm, and do nothing else."""

    def __init__(self, comm_id: str, arrived: Callable[[dict[str, Any]], object]) -> None:
        self.comm_id = comm_id
        self.target_name = TARGET
        self._arrived = arrived
        self._closed = False

    def handle_msg(self, message: dict[str, Any]) -> None:
        """Take a message."""
        self._arrived(message)

    def handle_close(self, message: dict[str, Any]) -> None:
        """Take note that the other side has closed the comm: nothing comes any more."""

    def close(self, *args: Any, **details: Any) -> None:
        """Do nothing: the comm ends with the kernel."""
