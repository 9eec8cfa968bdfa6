"""What is measured of a bot in a kernel, one scenario a function."""

from __future__ import annotations

import contextlib
import random
import selectors
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import loadclient
from benchmarks.loadclient import Target
from benchmarks.machine import BenchmarkError
from benchmarks.notebook import Notebook, cpu_seconds, socket
from benchmarks.smallmessages import Socket

CELLS = Path(__file__).with_name("servers") / "kernels"
SERVE = """
import jupyter_wshandler as wsh
wsh.serve("/bot", on_message=echo)
wsh.serve("/bot_def", on_message=echo_def)
wsh.serve("/bot_stream", on_message=stream)
wsh.serve("/bot_stream_def", on_message=stream_def)
pushed = wsh.serve("/bot_push", on_message=ignore)
print(*{bot.state for bot in wsh.bots.values()})
"""

CONNECTIONS = 4
DEPTH = 16
WARMUP = 0.2
LIMITS = (100, 500)
"""Milliseconds of an answer while a cell runs: how many took longer is counted."""
BURST = 240
"""Messages that a cell sends at once: a connection's queue has room for 256."""

CLIENTS = 3
QUIET = 3.0
"""Seconds without a message after which the rest of a stream is lost."""

ITEM = 2 + len("item      0")
"""Bytes of a streamed item with its frame."""

Numbers = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """One line of the tables, and the paths of its endpoints; {} is the kernel's id."""

    key: str
    title: str
    echo: str
    stream: str
    push: str = ""
    ask: str = "{}"
    in_kernel: bool = True


NAIVE = Row(
    "naive", "naive bridge, a comm message each", "/naive/{}", "/naive/{}", "/naive/{}", "stream {}"
)
ROWS = (
    NAIVE,
    Row("kernel", "**bot in a kernel**, `async def`", "/bot", "/bot_stream", "/bot_push"),
    Row("kernel-def", "**bot in a kernel**, `def` (threads)", "/bot_def", "/bot_stream_def"),
    Row("module", "`async def` in a module", "/echo", "/stream", "/sub", in_kernel=False),
)


@dataclass(frozen=True)
class Place:
    """A running server and the kernel whose cells serve the bots."""

    target: Target
    book: Notebook

    def path(self, pattern: str) -> str:
        """Return the path of an endpoint."""
        return pattern.format(self.book.kernel_id)


def serve(book: Notebook) -> None:
    """Run the cells that serve the bots."""
    for name in ("kernel_bots.py", "naive_bots.py"):
        book.run((CELLS / name).read_text(encoding="utf-8"))
    states = book.run(SERVE).text.strip()
    if states != "live":
        raise BenchmarkError(f"expected live bots, found: {states}")


def echo(place: Place, row: Row, turn: int, **options: Any) -> Numbers:
    """Echo text with the C client; every other turn reads the kernel's CPU clock instead."""
    kernel = turn % 2 == 1
    target = place.target
    if kernel:
        target = Target(target.port, place.book.pid, target.header)
    numbers = loadclient.run(target, "echo", path=place.path(row.echo), **options)
    kept = {key: numbers[key] for key in ("rate", "p50_us", "p99_us", "client_share")}
    return kept | {"kernel_cpu_us" if kernel else "server_cpu_us": numbers["cpu_us_per"]}


# ---- a client for what the C client cannot do -----------------------------------------------


class Raw(Socket):
    """Count the bytes that come, and keep the last ones."""

    def __init__(self, target: Target, path: str) -> None:
        super().__init__(target, path)
        self.handle = self._socket
        self.came = 0
        self.last = b""

    def put(self, data: bytes) -> None:
        """Send frames."""
        self.handle.sendall(data)

    def get(self) -> int:
        """Take what has come, once there is something; return how many bytes."""
        data = self.handle.recv(1 << 18)
        if not data:
            raise BenchmarkError("the server ended a connection")
        self.came += len(data)
        self.last = (self.last + data)[-16:]
        return len(data)


def binary_frame(data: bytes, *, masked: bool) -> bytes:
    """Return one binary frame; the mask is four zeros, which leave the data as it is."""
    size, bit = len(data), 0x80 if masked else 0
    length = bytes([bit | size]) if size < 126 else bytes([bit | 126]) + size.to_bytes(2, "big")
    return b"\x82" + length + (bytes(4) if masked else b"") + data


def binary(place: Place, row: Row, turn: int, *, size: int, duration: float) -> Numbers:
    """Echo binary messages over the same connections and with as many in flight."""
    data = random.Random(size).randbytes(size)
    ask, answer = binary_frame(data, masked=True), binary_frame(data, masked=False)
    clients = [Raw(place.target, place.path(row.echo)) for _ in range(CONNECTIONS)]
    try:
        for client in clients:
            client.put(ask * DEPTH)
        _echo_for(WARMUP, clients, ask, answer)
        before, begun = _clocks(place, clients), time.monotonic()
        _echo_for(duration, clients, ask, answer)
        seconds = time.monotonic() - begun
        came, server, kernel = (b - a for a, b in zip(before, _clocks(place, clients), strict=True))
    finally:
        _close(clients)
    if came < len(answer):
        raise BenchmarkError("binary echo: nothing was measured")
    count = came / len(answer)
    cpu = {"server_cpu_us": server * 1e6 / count, "kernel_cpu_us": kernel * 1e6 / count}
    return {"rate": count / seconds, **cpu}


def _echo_for(seconds: float, clients: Sequence[Raw], ask: bytes, answer: bytes) -> None:
    end = time.monotonic() + seconds
    with selectors.DefaultSelector() as selector:
        for client in clients:
            selector.register(client.handle, selectors.EVENT_READ, client)
        while time.monotonic() < end:
            for key, _ in selector.select(0.1):
                client = key.data
                before = client.came // len(answer)
                client.get()
                whole, rest = divmod(client.came, len(answer))
                if not rest and client.last != answer[-16:]:
                    raise BenchmarkError("binary echo: other bytes than were sent")
                client.put(ask * (whole - before))


def _clocks(place: Place, clients: Sequence[Raw]) -> tuple[float, float, float]:
    came = sum(client.came for client in clients)
    return came, cpu_seconds(place.target.pid), cpu_seconds(place.book.pid)


def _close(clients: Sequence[Raw]) -> None:
    for client in clients:
        with contextlib.suppress(OSError):  # it may be gone already
            client.leave()
        client.close()


# ---- while a cell runs ----------------------------------------------------------------------


def while_cell(place: Place, rows: Sequence[Row], code: str, seconds: float) -> dict[str, Numbers]:
    """Ask all rows in turn, 10 to 30 ms apart, while a cell runs; return seconds by row.

    The naive bridge waits for the cell, so it is asked once, at the start.
    """
    pace = random.Random(4)
    asked = [row for row in rows if row is not NAIVE]
    times: dict[str, list[float]] = {row.key: [] for row in rows}
    clients = {row.key: socket(place.target, place.path(row.echo)) for row in rows}

    def receive(row: Row, timeout: float) -> None:
        try:
            clients[row.key].recv(timeout=timeout)
        except TimeoutError:
            raise BenchmarkError(f"{row.key}: no answer in {timeout:g} s") from None

    try:
        for row in rows:
            clients[row.key].send("hello")
            receive(row, 30)
        cell = place.book.begun(code)
        end = time.monotonic() + seconds
        begun = time.perf_counter()
        if NAIVE in rows:
            clients[NAIVE.key].send("waits")
        while time.monotonic() < end - 0.5:
            for row in asked:
                time.sleep(pace.uniform(0.01, 0.03))
                sent = time.perf_counter()
                clients[row.key].send("x" * 64)
                receive(row, 30)
                times[row.key].append(time.perf_counter() - sent)
        if cell.replied:
            raise BenchmarkError("the cell ended before the measurement")
        if NAIVE in rows:
            receive(NAIVE, seconds + 30)
            times[NAIVE.key].append(time.perf_counter() - begun)
        place.book.wait(cell, seconds + 30)
    finally:
        for client in clients.values():
            client.close()
    return {key: _spread(found) for key, found in times.items()}


def _spread(times: list[float]) -> Numbers:
    ordered = sorted(times)
    if not ordered:
        raise BenchmarkError("nothing was asked while the cell ran")
    return {
        "p50_ms": ordered[len(ordered) // 2] * 1e3,
        "p99_ms": ordered[int(0.99 * (len(ordered) - 1))] * 1e3,
        "max_ms": ordered[-1] * 1e3,
        "asked": len(ordered),
        **{f"over_{limit}_ms": sum(t * 1e3 > limit for t in ordered) for limit in LIMITS},
    }


def sleeping(seconds: float) -> str:
    """Return a cell that sleeps."""
    return f"import time; time.sleep({seconds})"


def computing(seconds: float) -> str:
    """Return a cell that computes in pure Python."""
    return (
        f"import time\nend = time.monotonic() + {seconds}\n"
        "while time.monotonic() < end:\n    sum(i * i for i in range(10_000))"
    )


def lines(place: Place, row: Row, turn: int, *, duration: float) -> Numbers:
    """Count the lines of a cell that reach the notebook while messages are echoed at full rate."""
    wanted = max(4, int(duration / 0.1))
    cell = place.book.start(
        f"import asyncio\nfor n in range({wanted}):\n"
        "    print('line', n, flush=True)\n    await asyncio.sleep(0.1)"
    )
    numbers = echo(place, row, 0, conns=CONNECTIONS, depth=DEPTH, duration=duration, warmup=WARMUP)
    place.book.wait(cell)
    found = len([line for line in cell.lines if line.startswith("line ")])
    return {"rate": numbers["rate"], "lost": (wanted - found) / wanted}


# ---- from the kernel ------------------------------------------------------------------------


def stream(place: Place, row: Row, turn: int, *, count: int) -> Numbers:
    """Ask a generator for items; return items per second, and the share that never came."""
    client = Raw(place.target, place.path(row.stream))
    try:
        before, begun = _clocks(place, [client]), time.monotonic()
        client.send(row.ask.format(count))
        seconds = _drain([client], count * ITEM, begun)
        came, server, kernel = (
            b - a for a, b in zip(before, _clocks(place, [client]), strict=True)
        )
    finally:
        _close([client])
    items = came / ITEM
    if not items or (items == count and client.last[-6:] != b"%6d" % (count - 1)):
        raise BenchmarkError(f"stream: expected {count} items, found {items}: {client.last!r}")
    cpu = {"server_cpu_us": server * 1e6 / items, "kernel_cpu_us": kernel * 1e6 / items}
    return {"rate": items / seconds, "lost": (count - items) / count, **cpu}


def _drain(clients: Sequence[Raw], wanted: int, begun: float) -> float:
    """Read until all has come or nothing comes any more; return the seconds to the last of it."""
    goal, last = sum(client.came for client in clients) + wanted, begun
    with selectors.DefaultSelector() as selector:
        for client in clients:
            selector.register(client.handle, selectors.EVENT_READ, client)
        while sum(client.came for client in clients) < goal and time.monotonic() - last < QUIET:
            for key, _ in selector.select(0.2):
                key.data.get()
                last = time.monotonic()
    return last - begun


PUSH = {
    "kernel": "pushed.send(f'item {n:6}')",
    "naive": "[comm.send({'text': f'item {n:6}'}) for comm in naive]",
}


def push(place: Place, row: Row, turn: int, *, bursts: int) -> Numbers:
    """Send bursts from a cell to three clients; return deliveries per second, and what was lost."""
    path = place.path(row.push)
    clients = [Raw(place.target, path) for _ in range(CLIENTS)]
    publisher = None if row.in_kernel else Raw(place.target, "/pub")
    rates = []
    try:
        time.sleep(0.3)  # the last client's `open` has run
        for _ in range(bursts):
            before = sum(client.came for client in clients)
            cell, begun = None, time.monotonic()
            if publisher is not None:
                publisher.send(str(BURST))
            else:
                loop = f"for n in range({BURST}):\n    {PUSH[row.key]}"
                cell = place.book.start(f"import time\nprint(time.monotonic())\n{loop}")
            ended = begun + _drain(clients, BURST * CLIENTS * ITEM, begun)
            if cell is not None:
                begun = float(place.book.wait(cell).lines[0])  # the clock is one for all processes
            came = sum(client.came for client in clients) - before
            rates.append(came / ITEM / (ended - begun))
    finally:
        _close([*clients, *([publisher] if publisher else [])])
    wanted = bursts * BURST * CLIENTS
    came = sum(client.came for client in clients) / ITEM
    return {"rate": statistics.median(rates), "lost": (wanted - came) / wanted}
