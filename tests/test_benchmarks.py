"""The benchmark works, and does not call a broken server fast. Its numbers are not tested."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from websockets.asyncio.server import serve

CHECKOUT = Path(__file__).resolve().parents[1]

pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the load client needs epoll"),
    pytest.mark.skipif(
        not (os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc")),
        reason="the load client needs a C compiler",
    ),
]


@pytest.fixture
def loadclient(monkeypatch):
    monkeypatch.syspath_prepend(str(CHECKOUT))
    from benchmarks import loadclient

    return loadclient


def run(*arguments: str, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
        **{"timeout": 170, **options},
    )


@pytest.mark.timeout(180)
def test_a_quick_run_prints_a_table_with_a_number_in_every_cell(tmp_path):
    tables = "echo,fairness,fanout,connect,idle,small,active,compression"
    measured = ["--servers", "tornado", "--only", tables]
    done = run("--quick", *measured, "--output", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    for title, unit in (("raw Tornado | 1.00", ""), ("µs, ", "/s"), ("KiB", ""), ("ms", "")):
        assert title in done.stdout
        assert unit in done.stdout
    rows = [line for line in done.stdout.splitlines() if line.startswith("| raw Tornado |")]
    assert len(rows) == 4
    for line in rows:
        cells = line.split("|")[2:-1]
        assert len(cells) >= 6
        assert all(re.search(r"\d", cell) for cell in cells), line
    assert (tmp_path / "README.md").read_text(encoding="utf-8") in done.stdout
    slices = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))["slices"]
    assert {one["scenario"] for one in slices} >= {"idle", "echo-64-1", "active-many", "small"}
    assert all(one["row"] == "tornado" for one in slices)


def test_an_unknown_server_is_refused_with_the_known_names():
    done = run("--quick", "--servers", "tornada")
    assert done.returncode == 2
    assert "tornada" in done.stderr
    assert "tornado, jupyter" in done.stderr


def test_a_failed_measurement_makes_the_command_fail(loadclient, report, monkeypatch, tmp_path):
    from benchmarks import cli

    before = signal.getsignal(signal.SIGTERM)
    found = results(report)
    found.failures.append("aiohttp: echo: the load client counted 3 errors")
    monkeypatch.setattr(cli, "measure", lambda *_: found)
    arguments = ["--quick", "--only", "echo", "--output", str(tmp_path)]
    try:
        assert cli.main(arguments) == 1
        assert "counted 3 errors" in (tmp_path / "README.md").read_text(encoding="utf-8")
        found.failures.clear()
        assert cli.main(arguments) == 0
    finally:
        signal.signal(signal.SIGTERM, before)


async def measure(loadclient, handler):
    """Run the load client against a `websockets` server in this process."""
    async with serve(handler, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        target = loadclient.Target(port, os.getpid())
        return await asyncio.to_thread(
            loadclient.run, target, "echo", conns=4, size=64, duration=0.2, warmup=0.1
        )


async def test_an_honest_server_is_measured_without_errors(loadclient):
    async def honest(connection):
        async for message in connection:
            await connection.send(message)

    numbers = await measure(loadclient, honest)
    assert numbers["errors"] == 0
    assert numbers["n"] > 0
    assert numbers["rate"] == pytest.approx(numbers["n"] / numbers["seconds"], rel=0.01)
    assert numbers["cpu_us_per"] > 0
    assert 0 < numbers["p50_us"] <= numbers["p99_us"]


async def short(connection):
    async for message in connection:
        await connection.send(message[:-1])


async def wrong(connection):
    async for message in connection:
        await connection.send(message[::-1])


async def closing(connection):
    async for message in connection:
        await connection.send(message)
        await connection.close(1013)


async def silent(connection):
    async for _ in connection:
        pass


@pytest.mark.parametrize(
    ("handler", "words"),
    [
        (short, r"an answer of another length \(63\)"),
        (wrong, "an answer with other bytes"),
        (closing, r"the server closed a connection, code \(1013\)"),
        (silent, "nothing was measured"),
    ],
)
async def test_a_server_that_answers_wrongly_fails_the_measurement(loadclient, handler, words):
    from benchmarks.machine import BenchmarkError

    with pytest.raises(BenchmarkError, match=words):
        await measure(loadclient, handler)


async def test_a_refused_handshake_fails_the_measurement(loadclient):
    from benchmarks.machine import BenchmarkError

    async def refusing(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(refusing, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        target = loadclient.Target(port, os.getpid())
        with pytest.raises(BenchmarkError, match="403 Forbidden"):
            await asyncio.to_thread(loadclient.run, target, "echo", conns=1, duration=0.1)


@pytest.fixture
def report(loadclient):
    from benchmarks import report

    return report


def results(report, *rounds):
    from benchmarks.launch import Row
    from benchmarks.scenarios import QUICK, scenarios

    rows = [Row("tornado", "raw Tornado"), Row("wshandler", "ours")]
    return report.Results(rows, scenarios(QUICK, {"echo"})[:1], list(rounds))


def numbers(cpu, share=0.5):
    return {"cpu_us_per": cpu, "rate": 1e6 / cpu, "client_share": share}


def test_a_ratio_is_taken_within_a_round_and_the_median_of_the_rounds_counts(report):
    key = "echo-64-1"
    rounds = [
        {("tornado", key): numbers(reference), ("wshandler", key): numbers(ours)}
        for reference, ours in ((10, 2), (100, 30), (20, 8))
    ]
    found = results(report, *rounds)
    assert found.ratios("wshandler", key, report.cpu) == pytest.approx([0.2, 0.3, 0.4])
    assert "| ours | 0.30 ± 0.10 |" in report.tables(found)


def test_a_round_without_the_reference_gives_no_ratio(report):
    found = results(report, {("wshandler", "echo-64-1"): numbers(2)})
    assert found.ratios("wshandler", "echo-64-1", report.cpu) == []
    assert "| ours | not measured |" in report.tables(found)


def test_a_cell_is_marked_where_the_load_client_was_the_bottleneck(report):
    key = "echo-64-1"
    found = results(report, {("tornado", key): numbers(10), ("wshandler", key): numbers(1, 0.95)})
    text = report.tables(found)
    assert "| ours | 0.10† |" in text
    assert "| raw Tornado | 1.00 |" in text
    assert "95% of one core" in text


@pytest.mark.timeout(180)
def test_how_long_others_wait_beside_blocked_callbacks_is_a_goal_and_a_column(tmp_path):
    chosen = ("--servers", "wshandler", "--only", "blocked")
    done = run("--quick", *chosen, "--output", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(
        r"beside ten blocked callbacks: p99 \| at most 10 ms \| [\d.]+ ms", done.stdout
    )
    [head, _, *rows] = [line for line in done.stdout.splitlines() if line.startswith("|")][3:]
    assert head == "|  | beside 10 blocked, p99 |"
    assert [row.split(" | ")[0] for row in rows] == [
        "| **jupyter_wshandler**, `async def`",
        "| **jupyter_wshandler**, `def` (threads)",
    ]


@pytest.mark.parametrize("name", ["floor", "picows"])
def test_a_peer_echoes_in_order_and_delivers_to_all(loadclient, name):
    from benchmarks import launch

    server = next(server for server in launch.ALL if server.key == name)
    if server.missing:
        pytest.skip(f"{name} is not installed")
    running = launch.Running(server, None)
    try:
        running.wait()
        short = {"duration": 0.3, "warmup": 0.1}
        # the load client compares the bytes and the number of what comes back
        for load in ({"depth": 16, "size": 4096}, {"depth": 1, "size": 64}):
            assert loadclient.run(running.target, "echo", conns=8, **load, **short)["n"] > 0
        assert loadclient.run(running.target, "fanout", conns=20, **short)["n"] > 0
    finally:
        running.stop()


def test_a_server_that_does_not_agree_to_compression_fails_that_measurement(loadclient):
    from benchmarks import launch, scenarios
    from benchmarks.machine import BenchmarkError

    server = next(server for server in launch.ALL if server.key == "floor")
    [memory, _] = scenarios.compressed(scenarios.QUICK)
    running = launch.Running(server, None)
    try:
        running.wait()
        row = launch.Row("floor", "C", deflated="/echo")
        with pytest.raises(BenchmarkError, match=r"/echo did not agree to compression|zlib"):
            memory.measure(running.target, row)
    finally:
        running.stop()
