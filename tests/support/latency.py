"""How long answers take: of an echo on one connection, and of an HTTP request."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from support.frames import PING, PONG, frame, text
from support.server import RunningServer
from support.wire import Wire


def percentile(values: list[float], percent: float) -> float:
    """Return the value that so many per cent of the values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def _next_message(wire: Wire) -> bytes:
    """Return the payload of the next message, and answer the pings before it."""
    while (got := wire.frame()) is not None and got.opcode == PING:
        wire.send(frame(PONG, got.payload))
    assert got is not None, "the stream ended"
    assert got.opcode in (1, 2), got
    return got.payload


class Pulse:
    """Ask again and again, in a thread of its own, and keep how long each answer took."""

    def __init__(self, ask: Callable[[], None], pause: float) -> None:
        self.seconds: list[float] = []
        self.error: BaseException | None = None
        self._ask, self._pause = ask, pause
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pulse")

    def _run(self) -> None:
        try:
            while not self._done.wait(self._pause):
                begun = time.perf_counter()
                self._ask()
                self.seconds.append(time.perf_counter() - begun)
        except BaseException as error:
            self.error = error

    def take(self) -> list[float]:
        """Return what was measured since the last call."""
        count = len(self.seconds)
        taken, self.seconds = self.seconds[:count], self.seconds[count:]
        return taken

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._done.set()
        self._thread.join(30)
        if self.error is not None:
            raise self.error

    @property
    def p99(self) -> float:
        return percentile(self.seconds, 99)

    @property
    def most(self) -> float:
        return max(self.seconds, default=0.0)


@contextmanager
def _beating(pulse: Pulse) -> Iterator[Pulse]:
    pulse.start()
    try:
        yield pulse
    finally:
        pulse.stop()


@contextmanager
def echo_pulse(server: RunningServer, path: str, pause: float = 0.005) -> Iterator[Pulse]:
    """Send a message and wait for its echo, again and again while the block runs."""
    with Wire(server, path) as wire:

        def ask() -> None:
            wire.send(text("are you there?"))
            assert _next_message(wire) == b"are you there?"

        ask()
        with _beating(Pulse(ask, pause)) as pulse:
            yield pulse


@contextmanager
def http_pulse(server: RunningServer, path: str, pause: float = 0.01) -> Iterator[Pulse]:
    """Send a GET and wait for its answer, again and again on one kept connection."""
    client = http.client.HTTPConnection(server.host, server.port, timeout=30)

    def ask() -> None:
        client.request("GET", path, headers=server.headers())
        answer = client.getresponse()
        answer.read()
        assert answer.status == 200, f"{path} answered {answer.status}"

    try:
        ask()
        with _beating(Pulse(ask, pause)) as pulse:
            yield pulse
    finally:
        client.close()
