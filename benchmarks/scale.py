"""Measure what a broadcast over two servers costs, beside python-socketio with its Redis manager.

Half of the members are on each of two nodes that one Redis joins, and the publisher is on one of
them. The rows are measured in turn in each slice, so that what disturbs one disturbs all.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from benchmarks import figures, launch, loadclient, machine
from benchmarks.figures import Bar, Figure
from benchmarks.machine import BenchmarkError

GOAL = 0.25
"""What a delivery may cost, of python-socketio's: a quarter is four times as many per second."""

GOAL_LATE = 1.0
"""What p99 may be, of python-socketio's."""

WINDOWS = (1, 4)
"""Broadcasts in flight."""

PATH = "/socket.io/?EIO=4&transport=websocket&role="

START = 20.0
"""Seconds for a store to start, and for a node to reach it."""


class Way(NamedTuple):
    """A row of the table: what the nodes are, and where members and publisher go."""

    key: str
    name: str
    nodes: str
    sub: str
    pub: str
    warmup: float = 0.5
    """Seconds until it is measured; with presence each who comes in is told of first."""


WAYS = (
    Way("room", "room", "wshandler", "/room_sub", "/room_pub"),
    Way("kept", "room with history and presence", "wshandler", "/kept_sub", "/kept_pub", 2.0),
    Way("socketio", "python-socketio on uvicorn", "uvicorn", f"{PATH}sub", f"{PATH}pub"),
    Way("socketio-aiohttp", "python-socketio on aiohttp", "aiohttp", f"{PATH}sub", f"{PATH}pub"),
)

Found = dict[tuple[str, int], list[dict[str, Any]]]
"""What the load client has said in each slice, by row and broadcasts in flight."""


def _socketio(kind: str, *needs: str) -> launch.Server:
    script = str(launch.SERVERS / "socketio_redis.py")

    def command(port: int) -> list[str]:
        return [sys.executable, script, str(port), kind]

    rows = (launch.Row(kind, f"python-socketio on {kind}", f"{PATH}pub"),)
    return launch.Server(kind, ("socketio", "redis", *needs), command, rows, others=())


SERVERS = {
    "wshandler": next(server for server in launch.ALL if server.key == "wshandler"),
    "uvicorn": _socketio("uvicorn", "uvicorn", "uvloop", "httptools", "websockets"),
    "aiohttp": _socketio("aiohttp", "aiohttp"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; return 0, 1 where a goal is missed, or 2 where nothing was measured."""
    options = _options(argv)
    try:
        machine.require_linux()
        machine.raise_file_limit()
        loadclient.build()
        found = measure(options.slices, options.seconds, options.members, options.size)
    except BenchmarkError as exc:
        print(f"benchmarks: {exc}", file=sys.stderr)
        return 2
    text, met = report(found, options.members, options.size)
    print(text)
    if options.json:
        figures.write(options.json, drawn(found, options.members))
    return int(options.check and not met)


class Store(NamedTuple):
    """A running Redis or Valkey server."""

    url: str
    pid: int


@contextmanager
def running_store() -> Iterator[Store]:
    """Run a store that keeps nothing on disk.

    Raises:
        BenchmarkError: There is no program for one, or it does not answer.
    """
    program = shutil.which("redis-server") or shutil.which("valkey-server")
    if program is None:
        raise BenchmarkError(
            "there is no redis-server and no valkey-server; on Debian: apt-get install redis-server"
        )
    port = launch.free_port()
    with tempfile.TemporaryDirectory(prefix="wshandler-bench-") as folder:
        words = [program, "--port", str(port), "--bind", "127.0.0.1", "--dir", folder]
        words += ["--save", "", "--appendonly", "no"]
        with subprocess.Popen(words, stdout=subprocess.DEVNULL) as process:
            try:
                _wait(lambda: _is_open(port), "the store")
                yield Store(f"redis://127.0.0.1:{port}/0", process.pid)
            finally:
                process.terminate()


def _wait(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + START
    while not condition():
        if time.monotonic() > deadline:
            raise BenchmarkError(f"{what} did not come up within {START:g} s")
        time.sleep(0.05)


def _is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def running_pair(
    server: launch.Server, url: str, core: int | None
) -> Iterator[list[launch.Running]]:
    """Run two nodes of a kind.

    Args:
        server: What each of them is.
        url: Where their store is.
        core: The core to pin them to, or None.

    Raises:
        BenchmarkError: They do not answer.
    """
    token = secrets.token_hex(16)
    with ExitStack() as stack:
        pair = []
        for _ in range(2):
            more = {"STORE_URL": url, "WSHANDLER_BACKPLANE": url}
            pair.append(launch.Running(server, core, more, token))
            stack.callback(pair[-1].stop)
        for node in pair:
            node.wait()
            if server.jupyter:
                _wait(lambda node=node: _is_joined(node.target.port), "the way to the store")
        yield pair


def _is_joined(port: int) -> bool:
    """Return whether one of our servers can use its store."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=START)
    with contextlib.closing(connection):
        connection.request("GET", "/wshandler/api/health")
        told = json.loads(connection.getresponse().read())
    return bool(told["backplane"]["state"] == "up")


def measure(slices: int, seconds: float, members: int, size: int) -> Found:
    """Return what the load client has said of each row.

    Args:
        slices: How often each row is measured.
        seconds: How long each time.
        members: Members of the room, on both nodes together.
        size: Bytes of a message.
    """
    cores = machine.choose_cores()
    found: Found = {}
    with ExitStack() as stack:
        store = stack.enter_context(running_store())
        pairs = {
            name: stack.enter_context(running_pair(server, store.url, cores and cores[0]))
            for name, server in SERVERS.items()
            if not server.missing
        }
        if "wshandler" not in pairs:
            missing = ", ".join(SERVERS["wshandler"].missing)
            raise BenchmarkError(f"{missing} not installed (pip install '.[bench]')")
        for _ in range(slices):
            for window in WINDOWS:
                for way in [way for way in WAYS if way.nodes in pairs]:
                    numbers = _slice(way, pairs[way.nodes], store, window, members, size, seconds)
                    found.setdefault((way.key, window), []).append(numbers)
    return found


def _slice(
    way: Way,
    pair: Sequence[launch.Running],
    store: Store,
    window: int,
    members: int,
    size: int,
    seconds: float,
) -> dict[str, Any]:
    one, other = (node.target for node in pair)
    joined = {"port2": other.port, "pid2": other.pid, "store": store.pid}
    return loadclient.run(
        one,
        "fanout",
        sub=way.sub,
        pub=way.pub,
        conns=members,
        size=size,
        window=window,
        duration=seconds,
        warmup=way.warmup,
        socketio=int(way.nodes != "wshandler"),
        **joined,
    )


def _middle(found: Found, key: str, window: int, name: str) -> float:
    return median(float(numbers[name]) for numbers in found[key, window])


def ratio(found: Found, key: str, window: int, name: str) -> float:
    """Return a number of a row, of python-socketio's, slice by slice, in the middle."""
    pairs = zip(found[key, window], found["socketio", window], strict=True)
    return median(one[name] / other[name] for one, other in pairs)


def report(found: Found, members: int, size: int) -> tuple[str, bool]:
    """Return the tables, and whether the goals are met.

    Args:
        found: From `measure`.
        members: Members of the room.
        size: Bytes of a message.
    """
    lines = [
        f"A room of {members:,}, half of them on each of two nodes that one Redis joins; {size} B. "
        "CPU time is that of both nodes; the store's stands beside it.",
    ]
    for window in WINDOWS:
        lines += ["", f"**{window} in flight**", ""]
        heads = ("us a delivery", "deliveries per CPU second", "store, us", "per s", "p50", "p99")
        lines.append(f"| | {' | '.join(heads)} |")
        lines.append("|---|---:|---:|---:|---:|---:|---:|")
        lines += [_row(found, way, window) for way in WAYS if (way.key, window) in found]
    lines.append("")
    for server in SERVERS.values():
        if server.missing:
            missing = ", ".join(server.missing)
            how = "not installed (pip install '.[bench]')"
            lines.append(f"- {server.key}: not measured, {missing} {how}")
    if ("socketio", WINDOWS[0]) not in found:
        return "\n".join(lines), False
    met = True
    for window in WINDOWS:
        for name, words, limit in (
            ("cpu_us_per", "CPU", GOAL),
            ("p99_us", "p99", GOAL_LATE),
        ):
            share = ratio(found, "room", window, name)
            met &= share <= limit
            verdict = "met" if share <= limit else "MISSED"
            of = "of python-socketio's"
            lines.append(f"- {words}, {window} in flight: {share:.2f} {of}; {limit} {verdict}")
    return "\n".join(lines), met


def _row(found: Found, way: Way, window: int) -> str:
    cost = _middle(found, way.key, window, "cpu_us_per")
    rate = _middle(found, way.key, window, "rate")
    p50 = _middle(found, way.key, window, "p50_us") / 1e3
    p99 = _middle(found, way.key, window, "p99_us") / 1e3
    store = _middle(found, way.key, window, "store_us_per")
    cells = [way.name, f"{cost:.2f}", f"{1e6 / cost:,.0f}", f"{store:.3f}", f"{rate:,.0f}"]
    return f"| {' | '.join([*cells, f'{p50:.1f} ms', f'{p99:.1f} ms'])} |"


def drawn(found: Found, members: int) -> list[Figure]:
    """Return what was measured as figures.

    Args:
        found: From `measure`.
        members: Members of the room.
    """
    drawings = []
    for window in WINDOWS:
        for key, name, unit, words, scale in (
            ("scale", "cpu_us_per", figures.MICROSECONDS, "", 1.0),
            ("scale-p99", "p99_us", "ms", ": p99", 1e-3),
        ):
            bars = {
                way.key: Bar(way.name, [float(n[name]) * scale for n in found[way.key, window]])
                for way in WAYS
                if (way.key, window) in found
            }
            title = f"a delivery over two nodes, to {members:,}, {window} in flight{words}"
            of = "socketio" if "socketio" in bars else ""
            drawings.append(Figure(f"{key}-{window}", title, unit, bars, of=of))
    return drawings


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--slices", type=int, default=5, help="how often each row is measured")
    parser.add_argument("--seconds", type=float, default=2.0, help="how long each time")
    parser.add_argument("--members", type=int, default=1000, help="of the room, on both nodes")
    parser.add_argument("--size", type=int, default=200, help="bytes of a message")
    parser.add_argument("--check", action="store_true", help="exit 1 where a goal is missed")
    parser.add_argument("--json", type=Path, help="file for the figures")
    return parser.parse_args(argv)


if __name__ == "__main__":
    raise SystemExit(main())
