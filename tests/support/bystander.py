"""Somebody who has nothing to do with it: a process that measures its echoes during an attack.

``python -m support.bystander HOST PORT TOKEN PATH MODE`` opens one connection that asks for an
echo every few milliseconds and 20 that are idle, and prints what it has seen when its standard
input ends. It is a process of its own, so that what it measures is not the attacker's Python.
"""

from __future__ import annotations

import json
import select
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

from support.frames import CLOSE, PING, PONG, TEXT, close, frame, text
from support.latency import percentile
from support.server import RunningServer
from support.wire import Wire

IDLE = 20
"""Connections that say nothing, and must be there at the end."""

EVERY = {"echo": 0.005, "open": 0.025}
"""Seconds between two questions: an echo on an open connection, or on a new one each time."""

LOOK = 0.25
"""Seconds between two looks at the idle connections."""


class Questions:
    """Ask on schedule, and keep how long each answer took from when it was due.

    What could not be asked because the answer before it was late counts from when it was due as
    well: otherwise a stall of two seconds would be one late answer among hundreds in time.
    """

    def __init__(self, every: float) -> None:
        self.every = every
        self.samples: list[tuple[float, float]] = []
        self._due = time.monotonic()

    def wait(self, done: threading.Event) -> bool:
        """Wait until the next question is due; False once it is all over."""
        return not done.wait(max(0.0, self._due - time.monotonic()))

    def answered(self) -> None:
        """Take note of the answer to the question that was due."""
        now = time.monotonic()
        while self._due < now:
            self.samples.append((self._due, now - self._due))
            self._due += self.every


class Bystander:
    """Hold the connections of somebody who only wants to be left in peace."""

    def __init__(self, server: RunningServer, path: str, mode: str) -> None:
        self._server, self._path, self._mode = server, path, mode
        self._headers = server.headers("person-bystander")
        self._idle = [self._wire("/echo").open() for _ in range(IDLE)]
        self._wire_asked = self._wire(path).open()
        self._looked = 0.0
        self.closed: list[str] = []
        self.questions = Questions(EVERY[mode])

    def _wire(self, path: str) -> Wire:
        return Wire(self._server, path, headers=self._headers, seconds=60)

    def run(self, done: threading.Event) -> None:
        """Ask until it is over."""
        ask = self._echo if self._mode == "echo" else self._open
        while self.questions.wait(done):
            try:
                ask()
            except (AssertionError, OSError) as error:
                self.closed.append(f"{self._path}: {error!r:.200}")
                return
            self.questions.answered()
            if time.monotonic() - self._looked > LOOK:
                self._look()
        self._look()

    def _echo(self, wire: Wire | None = None) -> None:
        wire = wire or self._wire_asked
        wire.send(text("are you there?"))
        while (got := wire.frame()) is not None and got.opcode == PING:
            wire.send(frame(PONG, got.payload))
        assert got is not None, "the stream ended"
        assert (got.opcode, got.payload) == (TEXT, b"are you there?"), got

    def _open(self) -> None:
        with self._wire(self._path) as wire:
            self._echo(wire)
            wire.send(close(1000))

    def _look(self) -> None:
        """See that the idle connections are there, and answer their pings."""
        self._looked = time.monotonic()
        for ready in select.select([one.sock for one in self._idle], (), (), 0)[0]:
            wire = next(one for one in self._idle if one.sock is ready)
            try:
                got = wire.frame()
            except (AssertionError, OSError):
                got = None
            if got is not None and got.opcode == PING:
                wire.send(frame(PONG, got.payload))
            else:
                said = f"close {got.code}" if got is not None and got.opcode == CLOSE else str(got)
                self.closed.append(f"idle: {said}")
                self._idle.remove(wire)


# ---- from the outside ----------------------------------------------------------------------------


@dataclass
class Seen:
    """What a bystander has seen: when each question was due and how long its answer took."""

    samples: list[tuple[float, float]] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)

    def between(self, begun: float, ended: float) -> list[float]:
        """Return the seconds of the answers that were due in this time."""
        return [took for due, took in self.samples if begun <= due < ended]

    def p95(self, begun: float, ended: float) -> float:
        """Return the 95th percentile of a time; a time without any answer is one long wait."""
        return percentile(self.between(begun, ended) or [ended - begun], 95)


@contextmanager
def watching(server: RunningServer, path: str = "/echo", mode: str = "echo") -> Iterator[Seen]:
    """Let a bystander measure while the block runs; what it has seen is there at the end."""
    seen = Seen()
    process = subprocess.Popen(
        [sys.executable, "-m", __name__, server.host, str(server.port), server.token, path, mode],
        cwd=Path(__file__).parents[1],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "ready\n", "the bystander could not connect"
        yield seen
        found, _ = process.communicate(timeout=90)
        told = json.loads(found)
        seen.samples, seen.closed = [tuple(one) for one in told["samples"]], told["closed"]
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(10)
        process.stdin.close()
        process.stdout.close()


def remote(host: str, port: str, token: str, folder: str = ".", pid: str = "0") -> RunningServer:
    """Return what another process needs to know of a running server."""
    process = SimpleNamespace(pid=int(pid), poll=lambda: None)
    path = Path(folder)
    return RunningServer(int(port), "/", token, path, process, path / "server.log", host=host)


def main() -> None:
    """Measure until standard input ends."""
    host, port, token, path, mode = sys.argv[1:]
    bystander = Bystander(remote(host, port, token), path, mode)
    done = threading.Event()

    def wait() -> None:
        sys.stdin.read()
        done.set()

    threading.Thread(target=wait, daemon=True).start()
    print("ready", flush=True)
    bystander.run(done)
    done.wait()
    samples = [(round(due, 6), round(took, 6)) for due, took in bystander.questions.samples]
    print(json.dumps({"samples": samples, "closed": bystander.closed}), flush=True)


if __name__ == "__main__":
    main()
