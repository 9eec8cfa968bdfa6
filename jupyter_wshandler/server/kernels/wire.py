"""The way to one kernel that has bots: which sockets it has, and when it is opened anew."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Coroutine
from datetime import UTC, datetime
from typing import Any, Protocol

import zmq
from jupyter_core.utils import ensure_async

from ...engine.texts import printable
from ...kernels.batches import MAX_CONTENT, NotABatch, one_line, read_bare_batch, read_batch
from ...kernels.bridge import KernelBridge
from ...kernels.courier import PROTOCOL, TARGET, TOPIC, Batch, OutOfStep
from ...kernels.pipe import write_batch
from .control import ControlChannel
from .messages import KernelMessages, parent_of
from .pipe import KernelPipe
from .shell import ShellChannel
from .unconfirmed import SURE, Sent, Unconfirmed

RETRY = 2.0
"""Seconds between two tries to reach a kernel that has bots."""

SETTLED = 2.0
"""Seconds after which a kernel that says again that it has bots has lost its way here."""

CONTENT = 7
"""Parts of a message before its buffers, our topic included."""

PROBE = 1.0
"""Seconds without a confirmation after which a subshell is asked whether it is there."""

BEAT = 3.0
"""Seconds between two messages that tell a kernel that the server is still there."""

SURELY_GONE = 0.5
"""Seconds after the end of a pipe in which the end of the kernel's process is heard of."""

LOST = "the way to the notebook's kernel was lost"

CUT_OFF = (
    "the server has cut this kernel off, because it has sent {error}; restart the kernel and run "
    "the cell again"
)
"""What a kernel is told whose bots are served no longer."""

GONE = "the notebook's kernel is gone or restarting; its bot is back when its cell is run again"


class WireOwner(Protocol):
    """Whoever has the wires to all kernels."""

    @property
    def log(self) -> Any:
        """Where lines go."""

    @property
    def spares_connected(self) -> bool:
        """Whether the culler of idle kernels leaves alone those that somebody is connected to."""

    @property
    def offers_pipes(self) -> bool:
        """Whether kernels of this machine may speak to the server on a socket of their own."""

    def bridge(self, wire: KernelWire) -> KernelBridge:
        """Return a bridge for a kernel that has bots."""


class KernelWire:
    """The sockets to one kernel, and the bridge to its bots while it has some.

    Args:
        watch: Owns it.
        kernel_id: The kernel.
        kernel: Its kernel manager.
        look: Whether to ask it for bots. One that has just started has none, and a control
            message that comes while it starts wedges the control channel of ipykernel 7.0.
    """

    def __init__(self, watch: WireOwner, kernel_id: str, kernel: Any, look: bool) -> None:
        self.kernel_id = kernel_id
        self.bridge: KernelBridge | None = None
        self._watch = watch
        self._kernel = kernel
        self._messages = KernelMessages(kernel, kernel_id, watch.log)
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._shell: ShellChannel | None = None
        self._subshell: str | None = None
        self._comm_id = ""
        self._opened_at = 0.0
        self._opening = False
        self._wanted = False  # it has bots, as far as is known
        self._retry_at = 0.0
        self._cut_off = False
        self._untold = ""  # why it was cut off, while there is no way to tell it
        self._beat_at, self._beat_id = 0.0, ""
        self._pipe = KernelPipe(self._loop, self._piped, self._pipe_ended)
        self._last_word: asyncio.TimerHandle | None = None
        self._unsure = Unconfirmed()
        self._probing = False
        self._moving: list[Sent] | None = None  # what waits for a new subshell
        self._iopub = kernel.connect_iopub()
        self._iopub.socket.setsockopt(zmq.UNSUBSCRIBE, b"")
        self._iopub.socket.setsockopt(zmq.SUBSCRIBE, TOPIC)
        self._iopub.on_recv(self._published)
        self._control = ControlChannel(kernel, self._messages)
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
            # The answers are the user's to shape: no check foresees them all.
            self._messages.warn(
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
        needs_subshell = self._subshell is not None and not self._pipe.open
        if self.bridge.stalled > PROBE and needs_subshell and not self._probing:
            self._start(self._probe())
        if self._pipe.was_used() or (self.bridge.in_use and self._watch.spares_connected):
            # What comes on a pipe is to the culler what comes on iopub, and an open chat what an
            # open notebook is. It is not counted as one of the kernel's connections: where those
            # end, Jupyter keeps what a kernel puts out for the notebook that comes back, and a
            # chat must not stand in the way of that.
            self._kernel.last_activity = datetime.now(UTC)

    def _be_heard(self) -> None:
        """Tell the kernel now and then that the server is there, where no cell holds that up."""
        now = self._loop.time()
        if self._subshell is None or now < self._beat_at:
            return
        self._beat_at = now + BEAT
        # Not kept, as the batches are: nothing is lost with one that does not arrive. A pipe alone
        # would not do: a callback that holds the bots' loop up is not the server's end.
        content = {"comm_id": self._comm_id, "data": {"beat": BEAT}}
        self._beat_id = self._send("comm_msg", content)
        self._pipe.beat()

    async def close(self, reason: str) -> None:
        """End the bridge and close the sockets."""
        if self._last_word is not None:
            self._last_word.cancel()
        for task in tuple(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(tuple(self._tasks))
        self._end(reason)
        self._iopub.close()
        self._control.close()

    # ---- what a kernel says --------------------------------------------------------------------

    async def _look(self) -> None:
        """Ask a kernel that ran before us, or was out of reach, whether it has bots."""
        if not await ensure_async(self._kernel.is_alive()):
            return
        reply = await self._control.ask("comm_info_request", {"target_name": TARGET})
        if reply is not None and self._untold:
            if TARGET in reply.get("comms", {}):
                self._close_the_target()
        elif reply is not None:
            self._wanted = TARGET in reply.get("comms", {})
            if self._wanted:
                self._open_soon()

    def _published(self, frames: list[bytes]) -> None:
        if self._cut_off:
            return
        if max(map(len, frames[:CONTENT])) > MAX_CONTENT:
            # Before it is looked at in any way: that alone would hold everybody up.
            self.lost(NotABatch(f"a batch of more than {MAX_CONTENT} bytes"))
            return
        message = self._messages.read(frames, content=False)
        if message is None or message["msg_type"] != "comm_msg":
            return
        try:
            batch = read_batch(message["content"])
            if batch.comm_id == TARGET:
                self._hello(batch.hello)
                return
            self._unsure.confirm(batch.got)
            if batch.comm_id == self._comm_id and self.bridge is not None:
                self._pipe.close_door()  # it has not come in with its first words, so it never will
                self.bridge.receive(batch, message["buffers"])
        except (OutOfStep, NotABatch) as error:
            self.lost(error)

    def _piped(self, content: bytes, buffers: list[bytes]) -> None:
        try:
            if self.bridge is not None:
                self.bridge.receive(read_bare_batch(content), buffers)
        except (OutOfStep, NotABatch) as error:
            self.lost(error)

    def _pipe_ended(self, error: NotABatch | None) -> None:
        if error is not None:
            self.lost(error)
        else:
            # Most often the process has ended, which is also heard of elsewhere, and surely.
            self._loop.call_later(SURELY_GONE, self._pipe_gone, self.bridge)

    def _pipe_gone(self, bridge: KernelBridge | None) -> None:
        if bridge is not None and self.bridge is bridge:
            self._open_anew("the kernel has ended the connection")

    def lost(self, error: Exception) -> None:
        """End the bridge: nothing that follows can be relied on."""
        label = f"kernel {self.kernel_id[:8]}" if self.bridge is None else self.bridge.label
        if isinstance(error, OutOfStep):
            self._watch.log.error("%s: OutOfStep: %s; opening it again", label, error)
            self._end(LOST)
            self._wanted, self._retry_at = True, self._loop.time() + RETRY
            return
        # Only code of the user's own sends that. Were the way opened again, it could go on for
        # ever.
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
        self._shell.flush()  # or the word is lost: the socket is closed in this turn of the loop
        if self._subshell is not None:
            # It is the subshell that reads that word: it must live until then.
            details = {"subshell_id": self._subshell}
            self._last_word = self._loop.call_later(
                SURE, self._control.tell, "delete_subshell_request", details
            )
            self._subshell = None

    def _close_the_target(self) -> None:
        """Tell a kernel to which no way was open through the comm that it always has."""
        reason, self._untold = self._untold, ""
        shell = self._kernel.connect_shell()
        content = {"comm_id": TARGET, "data": {"reason": reason}}
        self._messages.send(shell, "comm_close", content)
        shell.flush(zmq.POLLOUT)
        shell.close()

    def _hello(self, protocol: object) -> None:
        if protocol != PROTOCOL:
            self._messages.warn(
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
            info = await self._control.ask("kernel_info_request", {})
            if info is None:  # the clock tries again
                return
            subshell = None
            if "kernel subshells" in info.get("supported_features", ()):
                reply = await self._control.ask("create_subshell_request", {})
                subshell = None if reply is None else reply.get("subshell_id")
                if not isinstance(subshell, str):  # in the main shell, bots would wait for cells
                    self._messages.warn(
                        "Kernel %s has made no subshell (%s); trying again",
                        self.kernel_id,
                        "no answer" if reply is None else one_line(str(reply.get("evalue"))),
                    )
                    return
            if self._cut_off:  # while an answer was awaited
                if subshell is not None:
                    self._control.tell("delete_subshell_request", {"subshell_id": subshell})
                return
            self._end(GONE)
            self._subshell = subshell
            self._shell = ShellChannel(self._kernel, self._shell_said, self._process_ended)
            self._comm_id = uuid.uuid4().hex
            self._opened_at = self._loop.time()
            self.bridge = self._watch.bridge(self)
            data: dict[str, Any] = {"protocol": PROTOCOL}
            if self._watch.offers_pipes and subshell is not None:
                data |= self._pipe.offer_to(self._kernel, self.bridge.has_pipe)
            content = {"comm_id": self._comm_id, "target_name": TARGET, "data": data}
            self._send_sure(Sent("comm_open", content, [], None))
        finally:
            self._opening = False

    def _process_ended(self) -> None:
        """Begin anew: the kernel's process is gone, or only the way there."""
        self._subshell = None  # it was of the process that is gone
        self._end(GONE)
        # The clock asks whether the kernel is still there.
        self._wanted, self._retry_at = True, self._loop.time() + RETRY

    def _end(self, reason: str) -> None:
        bridge, self.bridge = self.bridge, None
        if bridge is not None:
            bridge.end(reason)
        self._pipe.close()
        self._comm_id = ""
        self._unsure.clear()
        self._moving = None
        shell, self._shell = self._shell, None
        if shell is not None:
            shell.close()
        if self._subshell is not None:
            self._control.tell("delete_subshell_request", {"subshell_id": self._subshell})
            self._subshell = None

    def pack(self, value: Any) -> bytes:
        """Write a value as it is written in a message to the kernel."""
        return self._messages.pack(value)

    def transmit(self, batch: Batch, buffers: list[bytes]) -> None:
        """Send a batch to the kernel: on its pipe, or as one message of our comm."""
        if self._pipe.open:
            self._pipe.send(write_batch(batch, self.pack), buffers)
            return
        if self._shell is None:
            return
        self._unsure.forget_old(self._loop.time())
        sent = Sent("comm_msg", {"comm_id": self._comm_id, "data": batch}, buffers, batch.get("n"))
        if self._moving is not None:
            self._moving.append(sent)
        else:
            self._send_sure(sent)

    def _send_sure(self, sent: Sent) -> None:
        """Send a message, and keep it until nobody can say any more that it did not arrive."""
        sent.at = self._loop.time()
        sent.msg_id = self._send(sent.kind, sent.content, sent.buffers)
        self._unsure.add(sent)

    def _send(self, kind: str, content: dict[str, Any], buffers: list[bytes] | None = None) -> str:
        assert self._shell is not None
        return self._messages.send(
            self._shell.stream, kind, content, buffers=buffers, subshell=self._subshell
        )

    # ---- a subshell that is gone -----------------------------------------------------------------

    def _shell_said(self, frames: list[bytes]) -> None:
        """Read the replies of the shell channel: one may say that our subshell is gone."""
        message = self._messages.read(frames)
        if message is None:
            return
        self._control.take(message)
        content, parent = message["content"], parent_of(message)
        if not isinstance(content, dict) or content.get("ename") != "UnknownSubshellError":
            return
        if self._moving is not None or self.bridge is None:
            return
        if self._pipe.open and parent == self._beat_id:
            self._subshell, self._moving = None, []  # only that we are there was lost
            self._start(self._move())
            return
        if not self._unsure.holds(parent):
            return
        self._subshell = None  # there is nothing to delete any more
        undelivered = self._unsure.take_from(parent, self._loop.time())
        if undelivered is None:
            self._open_anew("its subshell was deleted")
            return
        self._watch.log.info("%s: its subshell was deleted; making a new one", self.bridge.label)
        self._moving = undelivered
        self._start(self._move())

    async def _move(self) -> None:
        """Go on in a new subshell with what the old one was not there for."""
        bridge = self.bridge
        reply = await self._control.ask("create_subshell_request", {})
        subshell = None if reply is None else reply.get("subshell_id")
        waiting, self._moving = self._moving, None
        if self.bridge is not bridge or waiting is None:
            if isinstance(subshell, str):
                self._control.tell("delete_subshell_request", {"subshell_id": subshell})
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
            info = await self._control.ask("kernel_info_request", {})
            if info is None or self.bridge is not bridge:
                return
            msg_id = self._send("kernel_info_request", {})
            answer = await self._control.answer_to(msg_id)
            is_there = answer is not None and answer.get("status") != "error"
            if not is_there and self.bridge is bridge and self._subshell == subshell:
                self._subshell = None
                self._open_anew("its subshell does not answer")
        finally:
            self._probing = False
