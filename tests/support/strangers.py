"""A server that is no store, and answers whatever it is asked with the same bytes."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

NO_LENGTH = b"$x\r\n"
"""What redis-py stumbles over: it begins as an answer of a store does."""

FRIENDLY = b"+OK\r\n" * 9
"""Answers that are those of a store, and say nothing."""


@contextmanager
def stranger(answer: bytes) -> Iterator[int]:
    """Run one, and return its port; it answers once on each connection."""
    threads: list[threading.Thread] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threads.append(threading.Thread(target=_accept, args=(listener, answer, threads)))
        threads[0].start()
        try:
            yield listener.getsockname()[1]
        finally:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
    for thread in threads:
        thread.join(10)


def _accept(listener: socket.socket, answer: bytes, threads: list[threading.Thread]) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        threads.append(threading.Thread(target=_answer, args=(connection, answer)))
        threads[-1].start()


def _answer(connection: socket.socket, answer: bytes) -> None:
    with connection, suppress(OSError):
        connection.settimeout(10)
        connection.recv(1000)
        connection.sendall(answer)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(1000):  # else the answer might be lost with a reset
            pass
