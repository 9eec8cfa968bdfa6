"""What is measured, and how much of it."""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmarks import loadclient, smallmessages
from benchmarks.launch import Row
from benchmarks.loadclient import Target
from benchmarks.machine import BenchmarkError

GROUPS = (
    *("echo", "fairness", "fanout", "connect", "idle", "small", "active", "compression"),
    "blocked",
)
BLOCKED = 10
"""Callbacks that block while another route is measured."""


@dataclass(frozen=True)
class Plan:
    """How much to measure. Times are in seconds, sizes in bytes."""

    rounds: int = 3
    duration: float = 1.0
    warmup: float = 0.2
    slices: int = 3
    connections: int = 32
    fan_outs: tuple[int, int] = (100, 1000)
    window: int = 4
    idle: int = 1000
    active: tuple[int, int] = (1000, 5000)
    compressed: int = 1000
    tries: int = 8
    minutes: float = 18.0

    @property
    def few(self) -> int:
        """Slices of what takes long to begin."""
        return min(2, self.slices)


QUICK = Plan(
    rounds=1,
    duration=0.2,
    warmup=0.1,
    slices=1,
    fan_outs=(10, 50),
    idle=100,
    active=(100, 200),
    compressed=50,
    tries=3,
    minutes=3.0,
)


@dataclass(frozen=True)
class Scenario:
    """One measurement of one endpoint; `measure` raises BenchmarkError where it fails.

    In a round it is made `slices` times, in turn with the other servers, and the medians count:
    the speed of a shared machine changes within a second.
    """

    key: str
    group: str
    title: str
    measure: Callable[[Target, Row], dict[str, Any]]
    slices: int = 1

    def takes(self, row: Row) -> bool:
        """Whether the row takes part."""
        return row.takes(self.group)


def idle(plan: Plan) -> Scenario:
    """Return the measurement that a server's life begins with, wanted or not.

    A process that has grown once takes new connections for free, so memory comes first. And a
    young asyncio process answers several times slower than an older one: its reads of 256 KiB
    make malloc map and unmap memory each time, until the heap has room for them.
    """

    def measure(target: Target, row: Row) -> dict[str, Any]:
        return _memory(target, path=row.path, conns=plan.idle)

    return Scenario("idle", "idle", "idle memory", measure)


def _memory(target: Target, **options: Any) -> dict[str, Any]:
    numbers = loadclient.run(target, "idle", **options)
    return numbers | {"memory_kib": (numbers["rss1_kb"] - numbers["rss0_kb"]) / options["conns"]}


def compressed(plan: Plan) -> list[Scenario]:
    """Return the measurements with compression, which want servers that are freshly started."""

    def agreed(numbers: dict[str, Any], row: Row) -> dict[str, Any]:
        if not numbers["deflate_used"]:
            raise BenchmarkError(f"{row.deflated} did not agree to compression")
        return numbers

    def memory(target: Target, row: Row) -> dict[str, Any]:
        path = row.deflated
        return agreed(_memory(target, path=path, conns=plan.compressed, deflate=1), row)

    def echo(target: Target, row: Row) -> dict[str, Any]:
        load = {"conns": plan.connections, "size": 4096, "deflate": 1}
        times = {"duration": plan.duration, "warmup": plan.warmup}
        return agreed(loadclient.run(target, "echo", path=row.deflated, **load, **times), row)

    return [
        Scenario("idle-deflate", "compression", "idle memory, compressed", memory),
        Scenario("echo-deflate", "compression", "echo 4 KiB, compressed", echo),
    ]


def scenarios(plan: Plan, groups: set[str]) -> list[Scenario]:
    """Return the measurements of one round, in order."""

    def small(target: Target, row: Row) -> dict[str, Any]:
        return smallmessages.measure(target, plan.tries)

    def load(name: str, parts: int, **options: Any) -> Callable[[Target, Row], dict[str, Any]]:
        times = {"duration": plan.duration / parts, "warmup": plan.warmup}

        def measure(target: Target, row: Row) -> dict[str, Any]:
            return loadclient.run(target, name, path=row.path, **options, **times)

        return measure

    def handshake(target: Target, row: Row) -> dict[str, Any]:
        # a machine that is busy with something else brings none to an end in a shorter time
        times = {"duration": max(0.5, plan.duration / plan.few), "warmup": plan.warmup}
        return loadclient.run(target, "connect", path=row.path, conns=plan.connections, **times)

    def echo(size: int, depth: int) -> Scenario:
        name = f"{size} B" if size < 1024 else f"{size // 1024} KiB"
        options = {"conns": plan.connections, "size": size, "depth": depth}
        measure = load("echo", plan.slices, **options)
        title = f"echo {name}, {depth} in flight"
        return Scenario(f"echo-{size}-{depth}", "echo", title, measure, plan.slices)

    def fan_out(count: int, key: str, parts: int) -> Scenario:
        measure = load("fanout", parts, conns=count, window=plan.window)
        return Scenario(key, "fanout", f"fan-out to {count:,}", measure, parts)

    def active(count: int, key: str, seconds: float) -> Scenario:
        # one slice: so many connections are opened for longer than they are measured
        options = {"conns": count, "duration": seconds, "warmup": plan.warmup * 2}

        def measure(target: Target, row: Row) -> dict[str, Any]:
            return loadclient.run(target, "echo", path=row.path, **options)

        return Scenario(key, "active", f"echo 64 B, {count:,} active", measure)

    def blocked(target: Target, row: Row) -> dict[str, Any]:
        load = {"conns": 8, "duration": plan.duration, "warmup": plan.warmup}
        with contextlib.ExitStack() as clients:
            for _ in range(BLOCKED):
                client = clients.enter_context(smallmessages.connected(target, row.blocked))
                client.send(f"{plan.duration + plan.warmup + 1:g}")
            return loadclient.run(target, "echo", path=row.path, **load)

    few = plan.few
    everything = [
        idle(plan),
        Scenario("small", "small", "three small messages", small),
        Scenario("connect", "connect", "handshake", handshake, few),
        *(echo(size, depth) for size in (64, 4096) for depth in (1, 16)),
        # in one piece: a connection that waits for longer than a slice would not be seen
        Scenario(
            "fairness",
            "fairness",
            "fairness",
            load("echo", 1, conns=plan.connections, depth=16),
        ),
        fan_out(plan.fan_outs[0], "fanout-few", few),
        fan_out(plan.fan_outs[1], "fanout-many", 1),
        Scenario("blocked", "blocked", f"beside {BLOCKED} blocked callbacks", blocked),
        active(plan.active[0], "active-few", plan.duration),
        active(plan.active[1], "active-many", plan.duration * 1.5),
    ]
    return [scenario for scenario in everything if scenario.group in groups]


def median(slices: list[dict[str, Any]]) -> dict[str, Any]:
    """Return one set of numbers for several slices: the median of each."""
    numbers = [key for key, value in slices[0].items() if isinstance(value, int | float)]
    return slices[0] | {key: statistics.median(part[key] for part in slices) for key in numbers}
