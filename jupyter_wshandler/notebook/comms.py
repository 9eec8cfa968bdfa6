"""The bridge's comms in an ipykernel: taken where they arrive, published where all may hear.

The messages travel as comm messages (Jupyter messaging, "Custom messages"), but not through
ipykernel's own comm objects: those would bind the comm to the shell that last sent on it, and
fire the hooks of a cell (pre_execute, post_execute) at every message.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..kernels.courier import PROTOCOL, TARGET, TOPIC, Batch
from .output import bot_logger
from .quiet import keep_to_itself


class Comms:
    """The comms that a server opens, and the way for what is said to it.

    Args:
        kernel: The ipykernel.
        opened: Gets the id of a comm that a server has opened, and the pipe that it offers, in the
            thread of some shell.
        arrived: Gets each batch with the id of its comm, in the thread of some shell.
        closed: Gets the id of a comm that a server has closed for good, and why: that of the
            target where it has opened none.
        another: Gets the version of the bridge of a server that speaks another one.
    """

    def __init__(
        self,
        kernel: Any,
        opened: Callable[[str, object], object],
        arrived: Callable[[str, Batch, Sequence[Any]], object],
        closed: Callable[[str, str], object],
        another: Callable[[object], object] = lambda version: None,
    ) -> None:
        self._kernel = kernel
        self._tell_opened = opened
        self._tell_arrived = arrived
        self._tell_closed = closed
        self._tell_another = another
        self._comm_id = ""

    def register(self) -> None:
        """Begin to take comms; also let a server that comes later find out that there are bots."""
        comms = self._kernel.comm_manager
        comms.register_target(TARGET, self._opened)
        # Such a server asks every kernel for comms of this target.
        comms.comms[TARGET] = _Comm(TARGET, lambda message: None, self._closed)
        keep_to_itself(self._kernel, self._is_ours)

    def publish(self, comm_id: str, batch: Batch, buffers: list[bytes]) -> None:
        """Send a batch to whoever has subscribed to our topic; from any thread."""
        content = {"comm_id": comm_id, "data": batch}
        self._kernel.session.send(
            self._kernel.iopub_socket, "comm_msg", content, ident=TOPIC, buffers=buffers or None
        )

    def pack(self, value: Any) -> bytes:
        """Write a value as `publish` does."""
        return bytes(self._kernel.session.pack(value))

    def unpack(self, written: bytes) -> Any:
        """Read what `pack` has written."""
        return self._kernel.session.unpack(written)

    def _is_ours(self, message: Any) -> bool:
        content = message.get("content") if isinstance(message, dict) else None
        if not isinstance(content, dict) or "comm_id" not in content:
            return False
        return content["comm_id"] == self._comm_id or content.get("target_name") == TARGET

    def _opened(self, comm: Any, message: dict[str, Any]) -> None:
        content = message["content"]
        comm_id, data = str(content["comm_id"]), content.get("data", {})
        asked = data.get("protocol")
        if asked != PROTOCOL:
            self._tell_another(asked)
            bot_logger().warning(
                "The server speaks version %s of the bridge and this kernel version %s; install "
                "the same jupyter_wshandler in both",
                asked,
                PROTOCOL,
            )
            return
        comm._closed = True  # ours takes its place, and the kernel is not to say that it closes
        self._kernel.comm_manager.comms[comm_id] = _Comm(comm_id, self._arrived, self._closed)
        self._comm_id = comm_id
        self._tell_opened(comm_id, data.get("pipe"))

    def _arrived(self, message: dict[str, Any]) -> None:
        content = message["content"]
        self._tell_arrived(content["comm_id"], content["data"], message.get("buffers") or ())

    def _closed(self, message: dict[str, Any]) -> None:
        content = message["content"]
        data = content.get("data")
        reason = data.get("reason") if isinstance(data, dict) else None
        self._tell_closed(content["comm_id"], str(reason or "the server has closed the way to it"))


class _Comm:
    """One comm, whose messages are taken, and nothing else."""

    def __init__(
        self,
        comm_id: str,
        arrived: Callable[[dict[str, Any]], object],
        closed: Callable[[dict[str, Any]], object],
    ) -> None:
        self.comm_id = comm_id
        self.target_name = TARGET
        self._arrived = arrived
        self._tell_closed = closed
        self._closed = False

    def handle_msg(self, message: dict[str, Any]) -> None:
        """Take a message."""
        self._arrived(message)

    def handle_close(self, message: dict[str, Any]) -> None:
        """Take note that the other side has closed the comm: nothing comes any more."""
        self._tell_closed(message)

    def close(self, *args: Any, **details: Any) -> None:
        """Do nothing: the comm ends with the kernel."""
