"""The kernels of this server: which there are, and a way to each that has bots.

A kernel says on iopub, under a topic of ours, that it has bots. Only then does the server open a
comm to it, on a subshell where there is one, so that a kernel without bots costs one subscription.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections import deque
from collections.abc import Coroutine
from datetime import UTC, datetime
from typing import Any

import zmq
from jupyter_core.utils import ensure_async
from zmq.eventloop.zmqstream import ZMQStream
from zmq.utils.monitor import parse_monitor_message

from ...engine.texts import printable
from ...kernels.batches import MAX_CONTENT, MAX_HEADER, NotABatch, one_line, read_batch
from ...kernels.bridge import KernelBridge
from ...kernels.courier import PROTOCOL, TARGET, TOPIC, Batch, OutOfStep
from ...kernels.routes import KernelRoutes
from ...manager.manager import WebSocketManager

KERNEL_ACTIONS = "https://events.jupyter.org/jupyter_server/kernel_actions/v1"

TICK = 1.0
"""Seconds between two looks at the clock."""

ANSWER = 10.0
"""Seconds for a kernel's control channel to answer."""

RETRY = 2.0
"""Seconds between two tries to reach a kernel that has bots."""

SETTLED = 2.0
"""Seconds after which a kernel that says again that it has bots has lost its way here."""

QUIET = 60.0
"""Seconds between two lines of the same kind about a kernel that cannot be understood."""

CONTENT = 7
"""Parts of a message before its buffers, our topic included."""

PROBE = 1.0
"""Seconds without a confirmation after which a subshell is asked whether it is there."""

BEAT = 3.0
"""Seconds between two messages that tell a kernel that the server is still there."""

SURE = 1.0
"""Seconds after which a message that nobody has called undeliverable has arrived."""

LOST = "the way to the notebook's kernel was lost"

CUT_OFF = (
    "the server has cut this kernel off, because it has sent {error}; restart the kernel and run "
    "the cell again"
)
"""What a kernel is told whose bots are served no longer."""

GONE = "the notebook's kernel is gone or restarting; its bot is back when its cell is run again"


class KernelWatch:
    """Keep a way open to every kernel of the server that has bots.

    Args:
        serverapp: Jupyter's server application.
        manager: Owns the connections.
        routes: The routes of kernels.
        patience: Seconds that a message waits for a kernel that does not answer.
    """

    def __init__(
        self, serverapp: Any, manager: WebSocketManager, routes: KernelRoutes, patience: float
    ) -> None:
        self._kernels: Any = serverapp.kernel_manager
        self._events: Any = serverapp.event_logger
        self._manager = manager
        self._routes = routes
        self._patience = patience
        self._wires: dict[str, KernelWire] = {}
        self._clock: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin with the kernels that run, and follow those that come and go."""
        self._manager.served.displaced = self._routes.displaced
        # The schema is registered by the first kernel that starts otherwise.
        with contextlib.suppress(Exception):
            from jupyter_server import DEFAULT_EVENTS_SCHEMA_PATH

            self._events.register_event_schema(
                DEFAULT_EVENTS_SCHEMA_PATH / "kernel_actions" / "v1.yaml"
            )
        self._events.add_listener(schema_id=KERNEL_ACTIONS, listener=self._happened)
        for kernel_id in self._kernels.list_kernel_ids():
            self._attach(kernel_id, look=True)
        self._clock = asyncio.get_running_loop().create_task(self._run(), name="wshandler kernels")

    async def stop(self) -> None:
        """Let go of every kernel; the kernels run on."""
        self._events.remove_listener(schema_id=KERNEL_ACTIONS, listener=self._happened)
        if self._clock is not None:
            self._clock.cancel()
            await asyncio.wait([self._clock])
        for kernel_id in tuple(self._wires):
            await self._detach(kernel_id, "the server is stopping")

    async def _happened(self, logger: Any, schema_id: str, data: dict[str, Any]) -> None:
        kernel_id, action = data.get("kernel_id"), data["action"]
        if kernel_id is None or data["status"] != "success":
            return
        if action in ("start", "restart", "shutdown"):
            await self._detach(kernel_id, GONE)
        if action in ("start", "restart"):
            self._attach(kernel_id)

    def _attach(self, kernel_id: str, *, look: bool = False) -> None:
        try:
            kernel = self._kernels.get_kernel(kernel_id)
            spec = kernel.kernel_spec
            if kernel_id in self._wires or not _is_ipykernel(spec):
                return
            wire = KernelWire(self, kernel_id, kernel, look)
        except Exception as error:
            # A kernel behind a gateway has no sockets here; whatever it is, the server goes on.
            self._manager.log.info(
                "Bots of kernel %s are not served: %s: %s", kernel_id, type(error).__name__, error
            )
            return
        self._wires[kernel_id] = wire

    async def _detach(self, kernel_id: str, reason: str) -> None:
        wire = self._wires.pop(kernel_id, None)
        if wire is not None:
            await wire.close(reason)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            for wire in tuple(self._wires.values()):
                try:
                    wire.tick()
                except Exception:
                    # What is wrong with one kernel must not cost the others their clock.
                    self.log.exception("Kernel %s could not be looked at", wire.kernel_id)

    def bridge(self, wire: KernelWire) -> KernelBridge:
        """Return a bridge for a kernel that has bots."""
        return KernelBridge(
            self._manager,
            self._routes,
            wire.kernel_id,
            wire.transmit,
            patience=self._patience,
            lost=wire.lost,
            pack=wire.pack,
        )

    @property
    def spares_connected(self) -> bool:
        """Whether the culler of idle kernels leaves alone those that somebody is connected to."""
        return not getattr(self._kernels, "cull_connected", False)

    @property
    def log(self) -> Any:
        """Where lines go."""
        return self._manager.log


class Sent:
    """Be a message to a kernel that may not have arrived.

    Args:
        kind: Its type.
        content: Its content.
        buffers: What travels beside it.
        number: The number of the batch in it, which the kernel confirms; None where it has none.
    """

    __slots__ = ("at", "buffers", "content", "kind", "msg_id", "number")

    def __init__(
        self, kind: str, content: dict[str, Any], buffers: list[bytes], number: int | None
    ) -> None:
        self.kind = kind
        self.content = content
        self.buffers = buffers
        self.number = number
        self.msg_id = ""
        self.at = 0.0

    def may_be_forgotten(self, now: float) -> bool:
        """Say whether it has arrived, as far as one can know without a confirmation."""
        return self.number is None and now - self.at > SURE


class KernelWire:
    """Hold the sockets to one kernel.

    Args:
        watch: Owns it.
        kernel_id: The kernel.
        kernel: Its kernel manager.
        look: Whether to ask it for bots. One that has just started has none, and a control
            message that comes while it starts wedges the control channel of ipykernel 7.0.
    """

    def __init__(self, watch: KernelWatch, kernel_id: str, kernel: Any, look: bool) -> None:
        self.kernel_id = kernel_id
        self.bridge: KernelBridge | None = None
        self._watch = watch
        self._kernel = kernel
        # A session of its own: a shared one takes what it has seen elsewhere for a replay.
        self._session = kernel.session.clone()
        self._session.session = uuid.uuid4().hex
        self._loop = asyncio.get_running_loop()
        self._replies: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._shell: ZMQStream | None = None
        self._monitor: ZMQStream | None = None
        self._subshell: str | None = None
        self._comm_id = ""
        self._opened_at = 0.0
        self._opening = False
        self._wanted = False  # it has bots, as far as is known
        self._retry_at = 0.0
        self._cut_off = False
        self._untold = ""  # why it was cut off, where it had no ears for that yet
        self._beat_at = 0.0
        self._last_word: asyncio.TimerHandle | None = None
        self._unsure: deque[Sent] = deque()
        self._probing = False
        self._moving: list[Sent] | None = None  # what waits for a new subshell
        self._said: dict[str, float] = {}
        self._iopub = kernel.connect_iopub()
        self._iopub.socket.setsockopt(zmq.UNSUBSCRIBE, b"")
        self._iopub.socket.setsockopt(zmq.SUBSCRIBE, TOPIC)
        self._iopub.on_recv(self._published)
        self._control = kernel.connect_control()
        self._control.on_recv(self._replied)
        if look:
            self._start(self._look())

    def _start(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(coroutine, name=f"wshandler kernel {self.kernel_id}")
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            # A kernel answers what it likes, also what nobody has thought of.
            self._warn(
                "Kernel %s gives answers that make no sense: %s",
                self.kernel_id,
                one_line(f"{type(error).__name__}: {error}"),
            )

    def tick(self) -> None:
        """Look at the clock."""
        if self.bridge is None:
            if (self._wanted or self._untold) and self._loop.time() >= self._retry_at:
                self._retry_at = self._loop.time() + RETRY
                self._start(self._look())
            return
        self.bridge.tick()
        self._be_heard()
        if self.bridge.stalled > PROBE and self._subshell is not None and not self._probing:
            self._start(self._probe())
        if self.bridge.in_use and self._watch.spares_connected:
            # An open chat is to the culler what an open notebook is. It is not counted as one
            # of the kernel's connections: where those end, Jupyter keeps what a kernel puts out
            # for the notebook that comes back, and a chat must not stand in the way of that.
            self._kernel.last_activity = datetime.now(UTC)

    def _be_heard(self) -> None:
        """Tell the kernel now and then that the server is there, where no cell holds that up."""
        now = self._loop.time()
        if self._subshell is None or now < self._beat_at:
            return
        self._beat_at = now + BEAT
        # Not kept, as the batches are: nothing is lost with one that does not arrive.
        self._send("comm_msg", {"comm_id": self._comm_id, "data": {"beat": BEAT}})

    async def close(self, reason: str) -> None:
        """End the bridge and close the sockets."""
        if self._last_word is not None:
            self._last_word.cancel()
        for task in tuple(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(tuple(self._tasks))
        self._end(reason)
        for stream in (self._iopub, self._control):
            stream.close()

    # ---- what a kernel says --------------------------------------------------------------------

    async def _look(self) -> None:
        """Ask a kernel that ran before us, or was out of reach, whether it has bots."""
        if not await ensure_async(self._kernel.is_alive()):
            return
        reply = await self._ask("comm_info_request", {"target_name": TARGET})
        if reply is not None and self._untold:
            if TARGET in reply.get("comms", {}):
                self._close_the_target()
        elif reply is not None:
            self._wanted = TARGET in reply.get("comms", {})
            if self._wanted:
                self._open_soon()

    def _read(self, frames: list[bytes], *, content: bool = True) -> dict[str, Any] | None:
        try:
            _, rest = self._session.feed_identities(frames)
            if any(len(part) > MAX_HEADER for part in rest[:4]):
                raise ValueError("a header is too long")
            message: dict[str, Any] = self._session.deserialize(rest, content=content)
        except Exception as error:
            # Whoever has not the kernel's key is nobody: jupyter_client checks the signature.
            self._warn(
                "A message of kernel %s cannot be read: %s", self.kernel_id, type(error).__name__
            )
            return None
        return message

    def _warn(self, sentence: str, *details: object) -> None:
        """Say what a kernel could make us say as often as it likes once a minute."""
        now = self._loop.time()
        if now >= self._said.get(sentence, now):
            self._said[sentence] = now + QUIET
            self._watch.log.warning(sentence, *details)

    def _published(self, frames: list[bytes]) -> None:
        if self._cut_off:
            return
        if max(map(len, frames[:CONTENT])) > MAX_CONTENT:
            # Before it is looked at in any way: that alone would hold everybody up.
            self.lost(NotABatch(f"a batch of more than {MAX_CONTENT} bytes"))
            return
        message = self._read(frames, content=False)
        if message is None or message["msg_type"] != "comm_msg":
            return
        try:
            batch = read_batch(message["content"])
            if batch.comm_id == TARGET:
                self._hello(batch.hello)
                return
            self._arrived(batch.got)
            if batch.comm_id == self._comm_id and self.bridge is not None:
                self.bridge.receive(batch, message["buffers"])
        except (OutOfStep, NotABatch) as error:
            self.lost(error)

    def lost(self, error: Exception) -> None:
        """End the bridge: nothing that follows can be relied on."""
        label = f"kernel {self.kernel_id[:8]}" if self.bridge is None else self.bridge.label
        if isinstance(error, OutOfStep):
            self._watch.log.error("%s: OutOfStep: %s; opening it again", label, error)
            self._end(LOST)
            self._wanted, self._retry_at = True, self._loop.time() + RETRY
            return
        # No code of ours sends that: whoever does may do so again at once.
        self._watch.log.error(
            "%s has sent %s; its bots are not served until the kernel is restarted", label, error
        )
        self._cut_off, self._wanted = True, False
        self._iopub.socket.setsockopt(zmq.UNSUBSCRIBE, TOPIC)
        self._say_that_it_is_cut_off(one_line(str(error)))
        self._end("the notebook's kernel sent what cannot be handled")

    def _say_that_it_is_cut_off(self, error: str) -> None:
        """Close the comm with the reason: a bot must not call itself live that nobody serves."""
        reason = CUT_OFF.format(error=printable(error))
        if self._shell is None:
            self._untold, self._retry_at = reason, 0.0
            return
        data = {"reason": reason}
        self._send("comm_close", {"comm_id": self._comm_id, "data": data})
        self._shell.flush(zmq.POLLOUT)  # it is closed in this turn of the loop
        if self._subshell is not None:
            # Not deleted before it has read that.
            details = {"subshell_id": self._subshell}
            self._last_word = self._loop.call_later(
                SURE, self._tell, "delete_subshell_request", details
            )
            self._subshell = None

    def _close_the_target(self) -> None:
        """Tell a kernel to which no way was open through the comm that it always has."""
        reason, self._untold = self._untold, ""
        shell = self._kernel.connect_shell()
        content = {"comm_id": TARGET, "data": {"reason": reason}}
        self._session.send(shell, self._session.msg("comm_close", content))
        shell.flush(zmq.POLLOUT)
        shell.close()

    def _hello(self, protocol: object) -> None:
        if protocol != PROTOCOL:
            self._warn(
                "Kernel %s has another version of jupyter_wshandler than this server; its bots "
                "are not served",
                self.kernel_id,
            )
        elif self.bridge is None:
            self._open_soon()
        elif self._loop.time() - self._opened_at > SETTLED:
            self._end(GONE)
            self._open_soon()

    # ---- the way there -------------------------------------------------------------------------

    def _open_soon(self) -> None:
        if not self._opening and not self._cut_off:
            self._opening = True
            self._start(self._open())

    async def _open(self) -> None:
        try:
            self._wanted, self._retry_at = True, self._loop.time() + RETRY
            info = await self._ask("kernel_info_request", {})
            if info is None:  # the clock tries again
                return
            subshell = None
            if "kernel subshells" in info.get("supported_features", ()):
                reply = await self._ask("create_subshell_request", {})
                subshell = None if reply is None else reply.get("subshell_id")
                if not isinstance(subshell, str):  # on the main shell, bots wait for cells
                    self._warn(
                        "Kernel %s has made no subshell (%s); trying again",
                        self.kernel_id,
                        "no answer" if reply is None else one_line(str(reply.get("evalue"))),
                    )
                    return
            if self._cut_off:  # meanwhile
                if subshell is not None:
                    self._tell("delete_subshell_request", {"subshell_id": subshell})
                return
            self._end(GONE)
            self._subshell = subshell
            self._shell = self._kernel.connect_shell()
            self._shell.on_recv(self._shell_said)
            self._watch_for_the_end(self._shell)
            self._comm_id = uuid.uuid4().hex
            self._opened_at = self._loop.time()
            self.bridge = self._watch.bridge(self)
            content = {
                "comm_id": self._comm_id,
                "target_name": TARGET,
                "data": {"protocol": PROTOCOL},
            }
            self._send_sure(Sent("comm_open", content, [], None))
        finally:
            self._opening = False

    def _watch_for_the_end(self, shell: ZMQStream) -> None:
        """Learn at once when the kernel's process ends: the system closes its sockets."""
        address = f"inproc://wshandler-{uuid.uuid4().hex}"
        shell.socket.monitor(address, zmq.EVENT_DISCONNECTED)
        monitor = shell.socket.context.socket(zmq.PAIR, socket_class=zmq.Socket)
        monitor.connect(address)
        self._monitor = ZMQStream(monitor, self._iopub.io_loop)
        self._monitor.on_recv(self._monitored)

    def _monitored(self, frames: list[bytes]) -> None:
        if parse_monitor_message(frames)["event"] == zmq.EVENT_DISCONNECTED:
            self._subshell = None  # it was of the process that is gone
            self._end(GONE)
            # Or only the way there was: the clock asks whether the kernel is still there.
            self._wanted, self._retry_at = True, self._loop.time() + RETRY

    def _end(self, reason: str) -> None:
        bridge, self.bridge = self.bridge, None
        if bridge is not None:
            bridge.end(reason)
        self._comm_id = ""
        self._unsure.clear()
        self._moving = None
        shell, self._shell = self._shell, None
        monitor, self._monitor = self._monitor, None
        if shell is not None:
            if monitor is not None:
                monitor.on_recv(None)
                shell.socket.monitor(None, 0)
                monitor.close()
            shell.on_recv(None)
            shell.close()
        if self._subshell is not None:
            self._tell("delete_subshell_request", {"subshell_id": self._subshell})
            self._subshell = None

    def pack(self, value: Any) -> bytes:
        """Write a value as it is written in a message to the kernel."""
        return bytes(self._session.pack(value))

    def transmit(self, batch: Batch, buffers: list[bytes]) -> None:
        """Send a batch to the kernel, as one message of our comm."""
        if self._shell is None:
            return
        now = self._loop.time()
        while self._unsure and self._unsure[0].may_be_forgotten(now):
            self._unsure.popleft()
        sent = Sent("comm_msg", {"comm_id": self._comm_id, "data": batch}, buffers, batch.get("n"))
        if self._moving is not None:
            self._moving.append(sent)
        else:
            self._send_sure(sent)

    def _send_sure(self, sent: Sent) -> None:
        """Send a message, and keep it until nobody can say any more that it did not arrive."""
        sent.at = self._loop.time()
        sent.msg_id = self._send(sent.kind, sent.content, sent.buffers)
        self._unsure.append(sent)

    def _arrived(self, got: int | None) -> None:
        """Forget what the kernel has confirmed, and all that was sent before it."""
        if got is None:
            return
        for index in range(len(self._unsure) - 1, -1, -1):
            number = self._unsure[index].number
            if number is not None and number <= got:
                for _ in range(index + 1):
                    self._unsure.popleft()
                return

    def _send(self, kind: str, content: dict[str, Any], buffers: list[bytes] | None = None) -> str:
        message = self._session.msg(kind, content)
        if self._subshell is not None:
            message["header"]["subshell_id"] = self._subshell  # JEP 91
        self._session.send(self._shell, message, buffers=buffers)
        return str(message["header"]["msg_id"])

    # ---- a subshell that is gone -----------------------------------------------------------------

    def _shell_said(self, frames: list[bytes]) -> None:
        """Read the replies of the shell channel: one may say that our subshell is gone."""
        message = self._read(frames)
        if message is None:
            return
        self._replied_to(message)
        content, parent = message["content"], _parent(message)
        if not isinstance(content, dict) or content.get("ename") != "UnknownSubshellError":
            return
        place = next((i for i, sent in enumerate(self._unsure) if sent.msg_id == parent), None)
        if place is None or self._moving is not None or self.bridge is None:
            return
        now = self._loop.time()
        sent = list(self._unsure)
        self._subshell = None  # there is nothing to delete any more
        if sent[place].kind == "comm_open" or not all(
            one.may_be_forgotten(now) for one in sent[:place]
        ):
            # Something was on its way as the subshell went, and nobody knows what became of it.
            self._open_anew("its subshell was deleted")
            return
        self._watch.log.info("%s: its subshell was deleted; making a new one", self.bridge.label)
        self._unsure.clear()
        self._moving = sent[place:]
        self._start(self._move())

    async def _move(self) -> None:
        """Go on in a new subshell with what the old one was not there for."""
        bridge = self.bridge
        reply = await self._ask("create_subshell_request", {})
        subshell = None if reply is None else reply.get("subshell_id")
        waiting, self._moving = self._moving, None
        if self.bridge is not bridge or waiting is None:
            if isinstance(subshell, str):
                self._tell("delete_subshell_request", {"subshell_id": subshell})
            return
        if not isinstance(subshell, str):
            self._open_anew("its subshell was deleted")
            return
        self._subshell = subshell
        for sent in waiting:
            self._send_sure(sent)

    def _open_anew(self, why: str) -> None:
        label = f"kernel {self.kernel_id[:8]}" if self.bridge is None else self.bridge.label
        self._watch.log.warning("%s: %s; opening it again", label, why)
        self._end(LOST)
        self._open_soon()

    async def _probe(self) -> None:
        """Ask whether the subshell still answers, where the kernel does.

        ipykernel before 7.4 says nothing of messages for a subshell that is gone.
        """
        self._probing = True
        try:
            bridge, subshell = self.bridge, self._subshell
            if await self._ask("kernel_info_request", {}) is None or self.bridge is not bridge:
                return
            msg_id = self._send("kernel_info_request", {})
            answer = await self._answer(msg_id)
            is_there = answer is not None and answer.get("status") != "error"
            if not is_there and self.bridge is bridge and self._subshell == subshell:
                self._subshell = None
                self._open_anew("its subshell does not answer")
        finally:
            self._probing = False

    # ---- the control channel -------------------------------------------------------------------

    def _tell(self, kind: str, content: dict[str, Any]) -> str:
        message = self._session.msg(kind, content)
        self._session.send(self._control, message)
        return str(message["header"]["msg_id"])

    async def _ask(self, kind: str, content: dict[str, Any]) -> dict[str, Any] | None:
        """Return the answer to a request, or None where there is none in time."""
        return await self._answer(self._tell(kind, content))

    async def _answer(self, msg_id: str) -> dict[str, Any] | None:
        reply = self._replies[msg_id] = self._loop.create_future()
        try:
            return await asyncio.wait_for(reply, ANSWER)
        except TimeoutError:
            return None
        finally:
            del self._replies[msg_id]

    def _replied(self, frames: list[bytes]) -> None:
        message = self._read(frames)
        if message is not None:
            self._replied_to(message)

    def _replied_to(self, message: dict[str, Any]) -> None:
        reply = self._replies.get(_parent(message))
        if reply is not None and not reply.done() and isinstance(message["content"], dict):
            reply.set_result(message["content"])


def _parent(message: dict[str, Any]) -> str:
    parent = message["parent_header"]
    return str(parent.get("msg_id", "")) if isinstance(parent, dict) else ""


def _is_ipykernel(spec: Any) -> bool:
    """Say whether a kernel's specification is of an ipykernel, whatever its language is called."""
    language = str(getattr(spec, "language", "")).lower()
    return language.startswith("python") or any("ipykernel" in str(word) for word in spec.argv)
