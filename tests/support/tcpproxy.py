"""A proxy of bytes between a browser and a server, whose connections a test can cut."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import TypeVar

ABORT = struct.pack("ii", 1, 0)
"""SO_LINGER with no time: the other side sees a reset, and no end."""


class TcpProxy:
    """A listening port that passes everything on to another one.

    Args:
        upstream: The server's port on this machine.
        port: Where it listens; 0 for any free port.
    """

    def __init__(self, upstream: int, port: int = 0) -> None:
        self.upstream = upstream
        self.listener = socket.create_server(("127.0.0.1", port))
        self.port: int = self.listener.getsockname()[1]
        self.cuts = 0
        self.swallows = False
        """Whether what the server says is dropped, until the next cut."""
        self.pairs: list[tuple[socket.socket, socket.socket]] = []
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self.accept)]
        self.threads[0].start()

    def accept(self) -> None:
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self.upstream))
            with self.lock:
                self.pairs.append((near, far))
                for source, target, back in ((near, far, False), (far, near, True)):
                    pump = threading.Thread(target=self.pump, args=(source, target, back))
                    self.threads.append(pump)
                    pump.start()

    def pump(self, source: socket.socket, target: socket.socket, back: bool) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if not (back and self.swallows):
                    target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def cut(self) -> None:
        """Have every connection end without a word, on both sides."""
        with self.lock:
            pairs, self.pairs = self.pairs, []
        self.cuts += 1
        for pair in pairs:
            for each in pair:
                with suppress(OSError):
                    each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
                    each.shutdown(socket.SHUT_RDWR)
                each.close()
        self.swallows = False

    def close(self) -> None:
        with suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.cut()
        for thread in self.threads:
            thread.join(10)


class LosingProxy(TcpProxy):
    """A proxy that passes on what is asked, and then ends the connection in place of the answer."""

    loses = 0
    """How many answers are lost from now on."""

    def pump(self, source: socket.socket, target: socket.socket, back: bool) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if back and self.loses:
                    self.loses -= 1
                    break
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)


Proxy = TypeVar("Proxy", bound=TcpProxy)


def tcp_proxy(upstream: int) -> AbstractContextManager[TcpProxy]:
    """Run a proxy in front of a port of this machine."""
    return running_proxy(TcpProxy, upstream)


@contextmanager
def running_proxy(kind: type[Proxy], upstream: int, port: int = 0) -> Iterator[Proxy]:
    """Run a proxy of some kind in front of a port of this machine."""
    proxy = kind(upstream, port)
    try:
        yield proxy
    finally:
        proxy.close()
