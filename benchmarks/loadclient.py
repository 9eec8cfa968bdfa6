"""Build wsload.c and run it, one measurement a call."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import compiled
from benchmarks.compiled import BUILD as BUILD
from benchmarks.machine import BenchmarkError, NothingMeasured

SOURCE = Path(__file__).with_name("wsload.c")


@dataclass(frozen=True)
class Target:
    """A server that answers: where it is, and what a request to it must carry."""

    port: int
    pid: int
    header: str = ""
    tls: bool = False


def build() -> Path:
    """Compile the load client if its source is newer; return the program's path.

    zlib is needed only to offer compression, and OpenSSL to speak TLS: a machine without their
    headers builds without.
    """
    zlib, tls = ["-DWSLOAD_ZLIB", "-lz"], ["-DWSLOAD_TLS", "-lssl", "-lcrypto"]
    return compiled.build(SOURCE, [*zlib, *tls], zlib, tls, [])


def run(target: Target, scenario: str, **options: Any) -> dict[str, Any]:
    """Run one scenario and return its numbers.

    Args:
        target: The server.
        scenario: echo, fanout, connect, idle or slow.
        options: What ``wsload`` takes, without the dashes.

    Returns:
        What wsload printed, and `client_share`: the client's CPU time over the time that passed.

    Raises:
        BenchmarkError: The client failed, counted errors, stalled or measured nothing.
    """
    options = {"port": target.port, "pid": target.pid, "header": target.header, **options}
    if target.tls:
        options["tls"] = 1
    command = [str(build()), "--scenario", scenario]
    for key, value in options.items():
        command += [f"--{key}", str(value)]
    limit = 60 + 2 * (options.get("duration", 2) + options.get("warmup", 1))
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit)
    except subprocess.TimeoutExpired:
        raise BenchmarkError(f"{scenario}: the load client did not end in {limit:.0f} s") from None
    if done.returncode:
        raise BenchmarkError(f"{scenario}: {done.stderr.strip() or 'exit ' + str(done.returncode)}")
    numbers: dict[str, Any] = json.loads(done.stdout)
    check(numbers)
    numbers["client_share"] = numbers["client_cpu_s"] / numbers["seconds"]
    return numbers


def check(numbers: dict[str, Any]) -> None:
    """Raise BenchmarkError unless the numbers are of a run in which everything was answered."""
    name = numbers["scenario"]
    if numbers["errors"]:
        first = numbers["first_error"]
        raise BenchmarkError(f"{name}: the load client counted {numbers['errors']} errors: {first}")
    if numbers["stalled"]:
        raise BenchmarkError(f"{name}: deliveries stopped")
    if not numbers["n"] or not numbers["seconds"]:
        raise NothingMeasured(f"{name}: nothing was measured")
