"""Measure what people and messages take of two nodes and of the store that joins them.

From these an administrator reckons how many nodes a deployment needs, and how much memory its
store: docs/scale.md does so with an example. The figures are of one machine, and no ratios.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from benchmarks import loadclient, machine, scale
from benchmarks.launch import Running
from benchmarks.machine import BenchmarkError

IDLE = 1000
"""Connections whose memory is measured."""

MORE = 20
"""Messages in each room after the first, of which the memory in the store is measured."""

SETTLE, LOOK = 60.0, 0.5
"""Seconds for nodes to end what they are at, and between two looks whether they have."""

IDLE_SHARE = 0.1
"""Of a core, what two nodes and a store take at most while nobody wants anything."""

SUB, PUB, ECHO, SPACE = "/kept_sub", "/kept_pub", "/kept_echo", "kept"
"""Where rooms have history and presence; the third answers as well."""


class Traffic(NamedTuple):
    """What one message to a room takes."""

    members: int
    nodes_us: float
    """CPU time of both nodes in microseconds."""
    store_us: float
    per_second: float
    """Messages a second, of one publisher who waits for each to arrive everywhere."""


class Coming(NamedTuple):
    """What it takes to come into a room and to leave it again, in microseconds of CPU time."""

    node_us: float
    other_us: float
    """Of the other node, which is told of it."""
    store_us: float


class Sizes(NamedTuple):
    """What was measured."""

    connection_kib: float
    coming: Coming
    traffic: list[Traffic]
    kept: int
    """Bytes that a message in a history takes of the store."""
    room: int
    """Bytes that a room with one message takes of the store beside that message."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the measurement; return 0, or 2 where nothing was measured."""
    options = _options(argv)
    try:
        machine.require_linux()
        machine.raise_file_limit()
        loadclient.build()
        print(report(measure(options), options.size))
    except BenchmarkError as exc:
        print(f"benchmarks: {exc}", file=sys.stderr)
        return 2
    return 0


def measure(options: argparse.Namespace) -> Sizes:
    """Return what people and messages take.

    Args:
        options: How much is measured; see `--help`.

    Raises:
        BenchmarkError: A node or the store does not start, or answers with an error.
    """
    cores = machine.choose_cores()
    with scale.running_store() as store:
        server = scale.SERVERS["wshandler"]
        if server.missing:
            raise BenchmarkError(f"{', '.join(server.missing)} not installed")
        with scale.running_pair(server, store.url, cores and cores[0]) as pair:
            target = pair[0].target
            # Memory first: a process that has grown once takes new connections for free.
            idle = loadclient.run(target, "idle", path=ECHO, conns=IDLE)
            coming = _coming(pair, store, options.slices * options.seconds)
            traffic = [_traffic(pair, store, each, options) for each in options.members]
            kept, room = asyncio.run(_memory(store.url, options.size, options.rooms))
    return Sizes(
        connection_kib=(idle["rss1_kb"] - idle["rss0_kb"]) / IDLE,
        coming=coming,
        traffic=traffic,
        kept=kept,
        room=room,
    )


def _coming(pair: Sequence[Running], store: scale.Store, seconds: float) -> Coming:
    pids = [*(node.target.pid for node in pair), store.pid]
    before = _settled(pids)
    load = {"path": ECHO, "conns": 32, "duration": seconds, "warmup": 0}
    times = loadclient.run(pair[0].target, "connect", **load)["n"]
    # Whoever has hung up is still to leave the room.
    taken = [after - begun for after, begun in zip(_settled(pids), before, strict=True)]
    return Coming(*(1e6 * each / times for each in taken))


def _settled(pids: Sequence[int]) -> list[float]:
    """Wait until processes have nothing to do any more; return the CPU time of each in seconds.

    Raises:
        BenchmarkError: They are still at it after a minute.
    """
    used = [_cpu(pid) for pid in pids]
    for _ in range(int(SETTLE / LOOK)):
        time.sleep(LOOK)
        before, used = used, [_cpu(pid) for pid in pids]
        if sum(used) - sum(before) <= IDLE_SHARE * LOOK:
            return used
    raise BenchmarkError(f"the nodes are still at work after {SETTLE:g} s")


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _traffic(
    pair: Sequence[Running], store: scale.Store, members: int, options: argparse.Namespace
) -> Traffic:
    one, other = (node.target for node in pair)
    load: dict[str, Any] = {
        "sub": SUB,
        "pub": PUB,
        "conns": members,
        "size": options.size,
        "window": 1,
        "duration": options.seconds,
        "warmup": 2.0 if members > 500 else 0.5,
        "port2": other.port,
        "pid2": other.pid,
        "store": store.pid,
    }
    found = []
    for _ in range(options.slices):
        found.append(loadclient.run(one, "fanout", **load))
        _settled((one.pid, other.pid, store.pid))

    def middle(name: str) -> float:
        return median(float(numbers[name]) for numbers in found)

    return Traffic(
        members=members,
        nodes_us=middle("cpu_us_per") * members,
        store_us=middle("store_us_per") * members,
        per_second=middle("rate") / members,
    )


async def _memory(url: str, size: int, rooms: int) -> tuple[int, int]:
    """Return the bytes that a message takes of the store, and a room beside its first one."""
    from redis.asyncio import Redis

    from jupyter_wshandler import Publisher

    async with Redis.from_url(url) as store, Publisher(url) as publisher:

        async def used() -> int:
            return int((await store.info("memory"))["used_memory"])

        async def say(times: int) -> int:
            """Say something in each room; return the bytes that it took."""
            before = await used()
            for number in range(times):
                for room in range(rooms):
                    text = f"{number}-{room}-".ljust(size, "x")
                    await publisher.publish(SPACE, f"size-{room}", text)
            return await used() - before

        await publisher.publish(SPACE, "first", "x")  # which has the scripts loaded
        first = await say(1)
        more = await say(MORE)
    kept = more // (MORE * rooms)
    return kept, first // rooms - kept


def report(sizes: Sizes, size: int) -> str:
    """Return the tables.

    Args:
        sizes: From `measure`.
        size: Bytes of a message.
    """
    lines = [
        f"Two nodes that one store joins; rooms with history and presence, messages of {size} B",
        "",
        "| | |",
        "|---|---:|",
        f"| a connection in a room: memory of its node | {sizes.connection_kib:.1f} KiB |",
        "| to connect, come into a room and leave again: CPU time of the node | "
        f"{sizes.coming.node_us / 1e3:.2f} ms |",
        f"| the same: of the other node, which is told | {sizes.coming.other_us / 1e3:.2f} ms |",
        f"| the same: of the store | {sizes.coming.store_us / 1e3:.2f} ms |",
        f"| a message that is kept: memory of the store | {sizes.kept:,} B |",
        f"| a room, beside its messages: memory of the store | {sizes.room:,} B |",
        "",
        "| members of the room, half on each node | CPU time of both nodes a message | "
        "of that a member | of the store | messages per s, one after another |",
        "|---:|---:|---:|---:|---:|",
    ]
    for row in sizes.traffic:
        each = row.nodes_us / row.members
        cells = [f"{row.members:,}", f"{row.nodes_us / 1e3:.2f} ms", f"{each:.1f} µs"]
        lines.append(
            f"| {' | '.join([*cells, f'{row.store_us:.0f} µs', f'{row.per_second:,.0f}'])} |"
        )
    return "\n".join(lines)


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sizing", description=__doc__)
    parser.add_argument("--slices", type=int, default=5, help="how often each row is measured")
    parser.add_argument("--seconds", type=float, default=1.0, help="how long each time")
    parser.add_argument("--size", type=int, default=200, help="bytes of a message")
    parser.add_argument(
        "--members",
        type=int,
        nargs="+",
        default=[2, 20, 200, 1000],
        help="of the rooms, half of them on each node",
    )
    parser.add_argument("--rooms", type=int, default=500, help="for the memory of the store")
    return parser.parse_args(argv)


if __name__ == "__main__":
    raise SystemExit(main())
