"""What is measured, and how much of it."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmarks import loadclient, smallmessages
from benchmarks.launch import Row
from benchmarks.loadclient import Target

GROUPS = ("echo", "fairness", "fanout", "connect", "idle", "small")


@dataclass(frozen=True)
class Plan:
    """How much to measure. Times are in seconds, sizes in bytes."""

    rounds: int = 3
    duration: float = 2.0
    warmup: float = 0.2
    slices: int = 3
    connections: int = 32
    fan_outs: tuple[int, int] = (100, 1000)
    window: int = 4
    idle: int = 1000
    tries: int = 15
    minutes: float = 15.0


QUICK = Plan(
    rounds=1,
    duration=0.2,
    warmup=0.1,
    slices=1,
    fan_outs=(10, 50),
    idle=100,
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
        return row.only is None or self.group in row.only


def idle(plan: Plan) -> Scenario:
    """Return the measurement that a server's life begins with, wanted or not.

    A process that has grown once takes new connections for free, so memory comes first. And a
    young asyncio process answers several times slower than an older one: its reads of 256 KiB
    make malloc map and unmap memory each time, until the heap has room for them.
    """

    def measure(target: Target, row: Row) -> dict[str, Any]:
        numbers = loadclient.run(target, "idle", path=row.path, conns=plan.idle)
        return {"memory_kib": (numbers["rss1_kb"] - numbers["rss0_kb"]) / plan.idle}

    return Scenario("idle", "idle", "idle memory", measure)


def scenarios(plan: Plan, groups: set[str]) -> list[Scenario]:
    """Return the measurements of one round, in order."""

    def small(target: Target, row: Row) -> dict[str, Any]:
        return smallmessages.measure(target, plan.tries)

    def load(name: str, parts: int, **options: Any) -> Callable[[Target, Row], dict[str, Any]]:
        times = {"duration": plan.duration / parts, "warmup": plan.warmup}

        def measure(target: Target, row: Row) -> dict[str, Any]:
            return loadclient.run(target, name, path=row.path, **options, **times)

        return measure

    def echo(size: int, depth: int) -> Scenario:
        name = f"{size} B" if size < 1024 else f"{size // 1024} KiB"
        options = {"conns": plan.connections, "size": size, "depth": depth}
        measure = load("echo", plan.slices, **options)
        title = f"echo {name}, {depth} in flight"
        return Scenario(f"echo-{size}-{depth}", "echo", title, measure, plan.slices)

    def fan_out(count: int, key: str, parts: int) -> Scenario:
        measure = load("fanout", parts, conns=count, window=plan.window)
        return Scenario(key, "fanout", f"fan-out to {count:,}", measure, parts)

    # where opening takes longer than measuring, there are fewer slices
    few = min(2, plan.slices)
    everything = [
        idle(plan),
        Scenario("small", "small", "three small messages", small),
        Scenario(
            "connect",
            "connect",
            "handshake",
            load("connect", few, conns=plan.connections),
            few,
        ),
        *(echo(size, depth) for size in (64, 4096) for depth in (1, 16)),
        # in one piece: a connection that waits for longer than a slice would not be seen
        Scenario(
            "fairness",
            "fairness",
            "fairness",
            load("echo", 1, conns=plan.connections, depth=16),
        ),
        fan_out(plan.fan_outs[0], "fanout-few", plan.slices),
        fan_out(plan.fan_outs[1], "fanout-many", few),
    ]
    return [scenario for scenario in everything if scenario.group in groups]


def median(slices: list[dict[str, Any]]) -> dict[str, Any]:
    """Return one set of numbers for several slices: the median of each."""
    numbers = [key for key, value in slices[0].items() if isinstance(value, int | float)]
    return slices[0] | {key: statistics.median(part[key] for part in slices) for key in numbers}
