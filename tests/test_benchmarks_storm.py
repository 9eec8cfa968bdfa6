"""The benchmark of a storm: clients that come back, and what is made of their times."""

from __future__ import annotations

import asyncio
import json
import os
from contextlib import asynccontextmanager

import pytest
from support.memory import until

from benchmarks import storm
from benchmarks.machine import BenchmarkError
from benchmarks.storm import Crowd, Storm

WELCOME = b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: %s\r\n\r\n" % storm.ACCEPT
BUSY = b"HTTP/1.1 503 Busy\r\n\r\n"
ANOTHER = b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: another\r\n\r\n"


@asynccontextmanager
async def door(answers: list[bytes], port: int = 0):
    """A server that gives these answers first, and lets all others in."""
    writers = []

    async def answer(reader, writer):
        writers.append(writer)
        await reader.readuntil(b"\r\n\r\n")
        text = answers.pop(0) if answers else WELCOME
        if text:
            # in two pieces, as a network may have it
            writer.write(text[:9])
            await writer.drain()
            writer.write(text[9:])
        if not text.startswith(b"HTTP/1.1 101"):
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", port)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in writers:
            writer.close()
        await asyncio.sleep(0)


async def arrived(answers: list[bytes], size: int, limit: float = 30.0) -> Crowd:
    """Let clients come to such a server."""
    async with door(answers) as port:
        crowd = Crowd(port, b"GET / HTTP/1.1\r\n\r\n", size)
        try:
            await asyncio.to_thread(crowd.arrive, limit)
        finally:
            crowd.close()
    return crowd


async def test_all_clients_come_back_and_each_has_its_time():
    crowd = await arrived([], 20)
    assert len(crowd.back) == 20
    assert (crowd.refused, crowd.lost) == (0, 0)
    assert crowd.back == sorted(crowd.back)


async def test_who_is_refused_or_lost_is_counted_and_comes_again():
    crowd = await arrived([BUSY, b"", BUSY, ANOTHER], 10)
    assert len(crowd.back) == 10
    assert (crowd.refused, crowd.lost) == (3, 1)


async def test_clients_that_find_no_server_try_until_there_is_one():
    async with door([]) as port:
        pass
    crowd = Crowd(port, b"GET / HTTP/1.1\r\n\r\n", 2)
    came = asyncio.create_task(asyncio.to_thread(crowd.arrive, 30.0))
    try:
        await until(lambda: crowd._later)  # refused, and to try again
        async with door([], port):
            await came
    finally:
        crowd.close()
    assert len(crowd.back) == 2
    assert crowd.lost == 0


async def test_a_storm_that_does_not_end_is_an_error():
    with pytest.raises(BenchmarkError, match="0 of 3 are open"):
        await arrived([BUSY] * 10_000, 3, limit=0.2)


def test_the_share_of_all_values_is_one_of_them():
    values = [float(n) for n in range(1, 101)]
    assert storm.share(values, 0.99) == 100.0
    assert storm.share(values, 0.5) == 51.0
    assert storm.share([7.0], 0.99) == 7.0


def storms(ours: Storm) -> dict[str, list[Storm]]:
    plain = Storm([1.0, 2.0], cpu=0.002, asked=[0.1, 0.4])
    return {"tornado": [Storm([0.5, 1.0])], "jupyter": [plain], "wshandler": [ours]}


@pytest.mark.parametrize(
    ("ours", "met"),
    [
        (Storm([1.0, 2.3]), True),
        (Storm([1.0, 2.5]), False),
        (Storm([1.0, 1.0], refused=1), False),
        (Storm([1.0, 1.0], lost=1), False),
        (Storm([1.0, 1.0], missing=1), False),
    ],
)
def test_the_goal_is_missed_by_who_is_late_and_by_who_is_turned_away(ours, met):
    text, found = storm.report(storms(ours), 2)
    assert found is met
    assert ("MISSED" in text) is not met
    assert "| plain Jupyter handler | 2.00 s | 2.00 s | 2.00 s | 1000 µs | 0 | 0 | 0 |" in text


def test_the_figures_are_what_the_report_compares():
    [figure] = json.loads(json.dumps(storm.figures(storms(Storm([1.0, 2.3])), 2)))
    assert (figure["key"], figure["of"]) == ("storm-p99", "jupyter-all")
    values = {key: bar["values"] for key, bar in figure["bars"].items()}
    assert values["wshandler"] == [2.3]
    assert values["jupyter-all"] == [2.0]


def test_the_cpu_time_of_a_process_is_read():
    assert storm.cpu_of(os.getpid()) > 0


def test_more_clients_than_files_is_an_error():
    with pytest.raises(BenchmarkError, match="open files are needed"):
        storm.allow_files(10**9)
