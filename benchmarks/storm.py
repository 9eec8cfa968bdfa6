"""Measure how long a server needs until all clients are back that have lost it in a restart.

Each server is filled with clients, ended, and started again on the same port; all clients come
back at once, each with its login, and a monitor asks for ``api/status`` ten times a second.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import heapq
import http.client
import json
import os
import resource
import selectors
import socket
import struct
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import launch, loadclient, machine
from benchmarks.machine import BenchmarkError

GOAL = 1.2
"""What p99 may be, of the time that a plain Jupyter handler needs for all."""

KEYS = ("tornado", "jupyter", "wshandler")

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
"""A key and its answer (RFC 6455 section 1.3)."""

AGAIN = 0.02
"""Seconds after which a client tries again whom nobody has answered."""

EVERY = 0.1
"""Seconds between two questions of the monitor."""

LIMIT = 60.0
"""Seconds after which a storm is over; who is not back then counts with that time."""

FILL = 180.0
"""Seconds that it may take to fill a server before."""

STEADY = 64
"""Clients that come at a time when a server is filled: none waits for a try of the system."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; return 0, 1 where the goal is missed, or 2 where nothing was measured."""
    options = _options(argv)
    try:
        machine.require_linux()
        allow_files(options.clients)
        storms = measure(options.clients, options.rounds)
    except BenchmarkError as exc:
        print(f"benchmarks: {exc}", file=sys.stderr)
        return 2
    text, met = report(storms, options.clients)
    print(text)
    if options.json:
        options.json.write_text(json.dumps(figures(storms, options.clients)), encoding="utf-8")
    return int(options.check and not met)


def allow_files(clients: int) -> None:
    """Let this process, and the servers that it starts, have a file for each client.

    Args:
        clients: How many there are; a server of ours keeps a share of its files free.

    Raises:
        BenchmarkError: The system does not permit it.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = 2 * clients + 200
    if resource.RLIM_INFINITY != hard < needed:
        raise BenchmarkError(f"{needed} open files are needed; the limit here is {hard}")
    if resource.RLIM_INFINITY != soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def measure(clients: int, rounds: int) -> dict[str, list[Storm]]:
    """Return the storms of each server, by its key.

    Args:
        clients: How many come back.
        rounds: How often.
    """
    cores = machine.choose_cores()
    core = None if cores is None else cores[0]
    known = {server.key: server for server in launch.ALL}
    storms: dict[str, list[Storm]] = {key: [] for key in KEYS}
    for _ in range(rounds):
        for key in KEYS:
            storms[key].append(storm(known[key], clients, core))
    return storms


def report(storms: dict[str, list[Storm]], clients: int) -> tuple[str, bool]:
    """Return the table, and whether the goal is met.

    Args:
        storms: From `measure`.
        clients: How many came back.
    """
    titles = {server.key: server.rows[0].title for server in launch.ALL}
    lines = [
        f"A storm of {clients:,} clients after a restart; medians of the rounds",
        "",
        "| | all are back | p50 | p99 | server CPU of a client | refused | lost | not back "
        "| `api/status`: p50, p99, slowest | without an answer |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for key, found in storms.items():
        cells = [
            f"{median(s.whole for s in found):.2f} s",
            *(f"{median(share(s.back, part) for s in found):.2f} s" for part in (0.5, 0.99)),
            f"{median(s.cpu for s in found) / clients * 1e6:.0f} µs",
            f"{sum(s.refused for s in found)}",
            f"{sum(s.lost for s in found)}",
            f"{sum(s.missing for s in found)}",
            *_of_monitor(found),
        ]
        lines.append(f"| {titles[key]} | {' | '.join(cells)} |")
    pairs = zip(storms["wshandler"], storms["jupyter"], strict=True)
    ratio = median(share(ours.back, 0.99) / plain.whole for ours, plain in pairs)
    turned_away = sum(s.refused + s.lost + s.missing for s in storms["wshandler"])
    met = ratio <= GOAL and not turned_away
    lines += [
        "",
        f"- p99 is {ratio:.2f} of the time that the plain Jupyter handler needs for all; {GOAL} "
        f"{'met' if ratio <= GOAL else 'MISSED'}",
        f"- {turned_away} turned away; none {'met' if not turned_away else 'MISSED'}",
    ]
    return "\n".join(lines), met


def _of_monitor(found: list[Storm]) -> list[str]:
    asked = [seconds for s in found for seconds in s.asked]
    if not asked:
        return ["", ""]
    shares = [share(asked, 0.5), share(asked, 0.99), max(asked)]
    times = ", ".join(f"{seconds:.2f} s" for seconds in shares)
    return [times, f"{sum(s.unanswered for s in found)}"]


def figures(storms: dict[str, list[Storm]], clients: int) -> list[dict[str, Any]]:
    """Return what was measured as JSON has it for drawing.

    Args:
        storms: From `measure`.
        clients: How many came back.
    """
    titles = {server.key: server.rows[0].title for server in launch.ALL}
    bars = {
        key: {"name": titles[key], "values": [share(s.back, 0.99) for s in found]}
        for key, found in storms.items()
    }
    plain = [s.whole for s in storms["jupyter"]]
    bars["jupyter-all"] = {"name": f"{titles['jupyter']}, all", "values": plain}
    title = f"a storm of {clients:,} clients, p99"
    return [{"key": "storm-p99", "title": title, "unit": "s", "of": "jupyter-all", "bars": bars}]


@dataclass
class Storm:
    """What one storm was like; all times in seconds.

    Args:
        back: For each client, the time from the server's first sign of life until its 101.
        refused: Answers that were not 101.
        lost: Connections that ended before an answer.
        cpu: CPU time that the server has used.
        missing: Clients that were not back at the end; they are in `back` with `LIMIT`.
        asked: How long each answer to the monitor took; empty where there is nobody to ask.
        unanswered: Questions of the monitor that had no answer, or another one than 200.
    """

    back: list[float]
    refused: int = 0
    lost: int = 0
    cpu: float = 0.0
    missing: int = 0
    asked: list[float] = field(default_factory=list)
    unanswered: int = 0

    @property
    def whole(self) -> float:
        """Time until all are back."""
        return max(self.back)


def share(values: Sequence[float], part: float) -> float:
    """Return the value that a part of all values does not exceed.

    Args:
        values: At least one.
        part: Such as 0.99.
    """
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))]


class Crowd:
    """Many clients in one thread, each of which wants one open WebSocket.

    Args:
        port: The server's.
        request: The opening handshake.
        size: How many.
    """

    def __init__(self, port: int, request: bytes, size: int) -> None:
        self.refused = self.lost = 0
        self.first: float | None = None
        self.back: list[float] = []
        self._address = ("127.0.0.1", port)
        self._request = request
        self._size = size
        self._selector = selectors.DefaultSelector()
        self._open: list[socket.socket] = []
        self._heads: dict[socket.socket, bytes] = {}
        self._later: list[tuple[float, int]] = []

    def arrive(self, limit: float, at_a_time: int = 0) -> None:
        """Connect all, again and again, until each is open.

        Args:
            limit: Seconds that it may take.
            at_a_time: How many at a time; 0 means all at once.

        Raises:
            BenchmarkError: It takes longer.
        """
        end = time.perf_counter() + limit
        to_begin = self._size
        while len(self._open) < self._size:
            while to_begin and (not at_a_time or len(self._heads) < at_a_time):
                self._begin()
                to_begin -= 1
            now = time.perf_counter()
            if now > end:
                raise BenchmarkError(f"{len(self._open)} of {self._size} are open after {limit} s")
            while self._later and self._later[0][0] <= now:
                heapq.heappop(self._later)
                self._begin()
            for key, _ in self._selector.select(AGAIN):
                self._go_on(key.fileobj)  # type: ignore[arg-type]

    def close(self) -> None:
        """End all connections, with a reset: nobody waits for ports of them."""
        for sock in [*self._open, *self._heads]:
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()
        self._selector.close()

    def _begin(self) -> None:
        sock = socket.socket()
        sock.setblocking(False)
        self._heads[sock] = b""
        self._selector.register(sock, selectors.EVENT_WRITE)
        if sock.connect_ex(self._address) not in (0, errno.EINPROGRESS):
            self._again(sock)

    def _again(self, sock: socket.socket) -> None:
        self._selector.unregister(sock)
        del self._heads[sock]
        sock.close()
        heapq.heappush(self._later, (time.perf_counter() + AGAIN, len(self._later)))

    def _go_on(self, sock: socket.socket) -> None:
        head = self._heads[sock]
        if not head and self._selector.get_key(sock).events == selectors.EVENT_WRITE:
            error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if error:  # there is no server yet
                self._again(sock)
                return
            if self.first is None:
                self.first = time.perf_counter()
            with contextlib.suppress(OSError):  # what has happened is read in a moment
                sock.send(self._request)
            self._selector.modify(sock, selectors.EVENT_READ)
            return
        try:
            data = sock.recv(4096)
        except OSError:
            data = b""
        if not data:
            self.lost += 1
            self._again(sock)
            return
        self._heads[sock] = head = head + data
        if b"\r\n\r\n" not in head:
            return
        if not head.startswith(b"HTTP/1.1 101 ") or ACCEPT not in head:
            self.refused += 1
            self._again(sock)
            return
        assert self.first is not None
        self.back.append(time.perf_counter() - self.first)
        self._selector.unregister(sock)
        del self._heads[sock]
        self._open.append(sock)


class Monitor:
    """Asks for ``api/status`` every `EVERY` seconds, each time on a connection of its own.

    Args:
        target: The server.
    """

    def __init__(self, target: loadclient.Target) -> None:
        self.asked: list[float] = []
        self.unanswered = 0
        self._target = target
        self._ended = threading.Event()
        self._threads: list[threading.Thread] = []
        self._clock = threading.Thread(target=self._run, name="monitor")

    def start(self) -> None:
        """Begin."""
        self._clock.start()

    def stop(self) -> None:
        """Ask no more, and wait for the last answers."""
        self._ended.set()
        if self._clock.ident is not None:
            self._clock.join()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while not self._ended.wait(EVERY):
            thread = threading.Thread(target=self._ask, name="question")
            self._threads.append(thread)
            thread.start()

    def _ask(self) -> None:
        name, _, value = self._target.header.partition(": ")
        begun = time.perf_counter()
        connection = http.client.HTTPConnection("127.0.0.1", self._target.port, timeout=60)
        try:
            connection.request("GET", "/api/status", headers={name: value})
            if connection.getresponse().status != 200:
                raise OSError("another answer")
            self.asked.append(time.perf_counter() - begun)
        except (OSError, http.client.HTTPException):
            self.unanswered += 1
        finally:
            connection.close()


def storm(server: launch.Server, clients: int, core: int | None) -> Storm:
    """Fill a server, start it again, and let all come back.

    Args:
        server: Which.
        clients: How many.
        core: The core to pin it to, or None.

    Raises:
        BenchmarkError: It does not start, cannot be filled, or nobody comes back.
    """
    first = launch.Running(server, core)
    port = first.target.port
    try:
        first.wait()
        crowd = crowd_of(first.target, clients)
        try:
            crowd.arrive(FILL, at_a_time=STEADY)
            first.stop()
        finally:
            crowd.close()
    finally:
        first.stop()
    again = launch.Running(replace(server, command=lambda _: server.command(port)), core)
    again.target = replace(again.target, port=port)
    monitor = Monitor(again.target) if server.jupyter else None
    crowd = crowd_of(again.target, clients)
    try:
        again.wait()
        begun = cpu_of(again.target.pid)
        if monitor is not None:
            monitor.start()
        with contextlib.suppress(BenchmarkError):  # who is late is counted
            crowd.arrive(LIMIT)
        missing = clients - len(crowd.back)
        if not crowd.back:
            raise BenchmarkError(f"{server.key}: nobody is back after {LIMIT} s")
        found = Storm([*crowd.back, *[LIMIT] * missing], crowd.refused, crowd.lost)
        found.cpu, found.missing = cpu_of(again.target.pid) - begun, missing
        if monitor is not None:
            monitor.stop()
            found.asked, found.unanswered = monitor.asked, monitor.unanswered
        return found
    finally:
        if monitor is not None:
            monitor.stop()
        crowd.close()
        again.stop()


def cpu_of(pid: int) -> float:
    """Return the seconds of CPU time that a process has used, with all its threads.

    Args:
        pid: The process.
    """
    text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    user, system = text.rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def crowd_of(target: loadclient.Target, clients: int, path: str = "/echo") -> Crowd:
    """Return clients of a server, which are not connected yet.

    Args:
        target: The server.
        clients: How many.
        path: What they want.
    """
    lines = [
        f"GET {path} HTTP/1.1",
        f"Host: 127.0.0.1:{target.port}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {KEY}",
        "Sec-WebSocket-Version: 13",
        *([target.header] if target.header else []),
    ]
    return Crowd(target.port, "\r\n".join([*lines, "", ""]).encode(), clients)


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.storm", description=__doc__)
    parser.add_argument("--clients", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one round of 300 clients")
    parser.add_argument("--check", action="store_true", help="exit 1 where the goal is missed")
    parser.add_argument("--json", type=Path, help="file for the figures")
    options = parser.parse_args(argv)
    if options.quick:
        options.clients, options.rounds = 300, 1
    return options


if __name__ == "__main__":
    raise SystemExit(main())
