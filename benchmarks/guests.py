"""Measure what a guest's handshake costs, beside that of a token.

One server; the rows are measured in turn in each slice, so that what disturbs one disturbs all.
"""

from __future__ import annotations

import argparse
import http.client
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from urllib.parse import parse_qs, urlsplit

from benchmarks import figures, launch, loadclient, machine
from benchmarks.figures import Bar, Figure
from benchmarks.loadclient import Target
from benchmarks.machine import BenchmarkError

GOAL = 1.1
"""What a guest's handshake may cost, of a token's."""

PATH = "/echo"

SERVER = next(server for server in launch.ALL if server.key == "wshandler")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; return 0, 1 where the goal is missed, or 2 where nothing was measured."""
    options = _options(argv)
    try:
        machine.require_linux()
        loadclient.build()
        costs = measure(options.slices, options.seconds)
    except BenchmarkError as exc:
        print(f"benchmarks: {exc}", file=sys.stderr)
        return 2
    print(report(costs))
    if options.json:
        figures.write(options.json, [drawn(costs)])
    return int(options.check and any(ratio > GOAL for ratio in ratios(costs).values()))


def measure(slices: int, seconds: float) -> dict[str, list[float]]:
    """Return the server's CPU time of a handshake in microseconds, by row and slice.

    Args:
        slices: How often each row is measured.
        seconds: How long each time.
    """
    cores = machine.choose_cores()
    running = launch.Running(SERVER, None if cores is None else cores[0])
    try:
        running.wait()
        rows = ways(running.target)
        costs: dict[str, list[float]] = {row: [] for row in rows}
        for _ in range(slices):
            for row, header in rows.items():
                target = replace(running.target, header=header)
                found = loadclient.run(
                    target, "connect", path=PATH, conns=32, duration=seconds, warmup=0.3
                )
                costs[row].append(float(found["cpu_us_per"]))
        return costs
    finally:
        running.stop()


def ways(target: Target) -> dict[str, str]:
    """Return the header fields with which somebody comes, by row.

    Args:
        target: The server, with its token.
    """
    session = _cookie(target, PATH, {**_fields(target.header), **_UPGRADE})
    body = json.dumps({"route": "echo"})
    sent = {**_fields(target.header), "Content-Type": "application/json"}
    answer, text = _ask(target, "POST", "/wshandler/api/shares", sent, body)
    if answer.status != 201:
        raise BenchmarkError(f"the route cannot be shared: {answer.status} {text}")
    token = parse_qs(urlsplit(json.loads(text)["url"]).query)["share_token"][0]
    guest = _cookie(target, f"{PATH}?share_token={token}", {"Accept": "text/html"})
    return {
        "token": target.header,
        "guest, by token": f"Authorization: Bearer {token}",
        "token, with its session's cookie": f"{target.header}\r\nCookie: {session}",
        "guest, by cookie": f"Cookie: {guest}",
    }


_UPGRADE = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
}


def _fields(line: str) -> dict[str, str]:
    name, _, value = line.partition(": ")
    return {name: value}


def _ask(
    target: Target, method: str, path: str, fields: dict[str, str], body: str | None = None
) -> tuple[http.client.HTTPResponse, str]:
    connection = http.client.HTTPConnection("127.0.0.1", target.port, timeout=20)
    try:
        connection.request(method, path, body, fields)
        answer = connection.getresponse()
        return answer, "" if answer.status == 101 else answer.read().decode()
    finally:
        connection.close()


def _cookie(target: Target, path: str, fields: dict[str, str]) -> str:
    answer, text = _ask(target, "GET", path, fields)
    found = [v.partition(";")[0] for v in answer.headers.get_all("Set-Cookie") or []]
    own = [value for value in found if value.startswith("wshandler-")]
    if not own:
        raise BenchmarkError(f"no cookie was set: {answer.status} {text}")
    return own[0]


def ratios(costs: dict[str, list[float]]) -> dict[str, float]:
    """Return what each kind of guest costs, of a token that comes in the same way.

    Args:
        costs: From `measure`.
    """
    pairs = {
        "guest, by token": "token",
        "guest, by cookie": "token, with its session's cookie",
    }
    return {
        guest: median(g / t for g, t in zip(costs[guest], costs[token], strict=True))
        for guest, token in pairs.items()
    }


def report(costs: dict[str, list[float]]) -> str:
    """Return the table.

    Args:
        costs: From `measure`.
    """
    shares = ratios(costs)
    lines = [
        "| handshake | server CPU | of a token's | goal |",
        "| --- | ---: | ---: | ---: |",
    ]
    for row, values in costs.items():
        ratio = f"{shares[row]:.2f}" if row in shares else ""
        goal = f"at most {GOAL}" if row in shares else ""
        lines.append(f"| {row} | {median(values):.0f} µs | {ratio} | {goal} |")
    return "\n".join(lines)


KEYS = {
    "token": "token",
    "guest, by token": "guest-token",
    "token, with its session's cookie": "token-cookie",
    "guest, by cookie": "guest-cookie",
}
"""What goals call the rows."""


def drawn(costs: dict[str, list[float]]) -> Figure:
    """Return what was measured as a figure.

    Args:
        costs: From `measure`.
    """
    bars = {KEYS[row]: Bar(row, values) for row, values in costs.items()}
    return Figure("guests", "handshake of a guest", figures.MICROSECONDS, bars, of="token")


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.guests", description=__doc__)
    parser.add_argument("--slices", type=int, default=8, help="how often each row is measured")
    parser.add_argument("--seconds", type=float, default=1.0, help="how long each time")
    parser.add_argument("--check", action="store_true", help="exit 1 where the goal is missed")
    parser.add_argument("--json", type=Path, help="file for the figures")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
