"""The shell channel to one kernel, on which its bots get their messages."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import zmq
from zmq.eventloop.zmqstream import ZMQStream
from zmq.utils.monitor import parse_monitor_message


class ShellChannel:
    """A socket to a kernel, and the news of the end of the kernel's process.

    Args:
        kernel: The kernel's manager.
        received: Called with the frames of each message.
        ended: Called when the system has closed the kernel's end.
    """

    def __init__(
        self,
        kernel: Any,
        received: Callable[[list[bytes]], None],
        ended: Callable[[], None],
    ) -> None:
        self.stream: ZMQStream = kernel.connect_shell()
        self.stream.on_recv(received)
        self._ended = ended
        # The system closes the sockets of a process that ends; nothing else tells it at once.
        address = f"inproc://wshandler-{uuid.uuid4().hex}"
        self.stream.socket.monitor(address, zmq.EVENT_DISCONNECTED)
        monitor = self.stream.socket.context.socket(zmq.PAIR, socket_class=zmq.Socket)
        monitor.connect(address)
        self._monitor = ZMQStream(monitor, self.stream.io_loop)
        self._monitor.on_recv(self._monitored)

    def _monitored(self, frames: list[bytes]) -> None:
        if parse_monitor_message(frames)["event"] == zmq.EVENT_DISCONNECTED:
            self._ended()

    def flush(self) -> None:
        """Send at once what waits: the channel may be closed in this turn of the loop."""
        self.stream.flush(zmq.POLLOUT)

    def close(self) -> None:
        """Close the socket, and hear nothing more of it."""
        self._monitor.on_recv(None)
        self.stream.socket.monitor(None, 0)
        self._monitor.close()
        self.stream.on_recv(None)
        self.stream.close()
