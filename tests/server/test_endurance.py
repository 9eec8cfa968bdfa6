"""A connection that hurts nobody: slow readers, slow callbacks, peers that vanish, long runs.

`make test` runs these in short, with bounds for a busy machine; `make endurance` runs them in
full size and prints what it measured.
"""

from __future__ import annotations

import asyncio
import functools
import json
import resource
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.bots import bot_text
from support.endurance import sizes
from support.frames import PING, PONG, frame, text
from support.latency import _next_message, echo_pulse, http_pulse, percentile
from support.namespace import network_namespace
from support.rounds import run_rounds, try_to_open
from support.server import running_server, wait_for
from support.usage import MIB, rss, slope, threads, watched
from support.wire import Wire, elapsed, open_descriptors

from jupyter_wshandler.callbacks.fairness import Shares

pytestmark = pytest.mark.alone

BOTS = bot_text("endurance")

YAML = """
url:
  echo: {pattern: /echo, handler: WebSocketHandler, kwargs: {on_message: bots.echo}}
  threaded: {pattern: /threaded, handler: WebSocketHandler,
             kwargs: {on_message: bots.echo_thread}}
  sleeps: {pattern: /sleeps, handler: WebSocketHandler, kwargs: {on_message: bots.sleeps}}
  close:
    pattern: /close
    handler: WebSocketHandler
    kwargs: {on_message: bots.push, on_close: bots.on_close, queue: {slow: close}}
  drop_oldest:
    pattern: /drop_oldest
    handler: WebSocketHandler
    kwargs: {on_message: bots.push, on_close: bots.on_close, queue: {slow: drop_oldest}}
  pinged:
    pattern: /pinged
    handler: WebSocketHandler
    kwargs:
      on_message: bots.echo
      on_close: bots.on_close
      ping_interval: 1s
      ping_timeout: 1s
  report: {pattern: /report, handler: WebSocketHandler, kwargs: {on_message: bots.report}}
"""

PINGED = 2.0
"""Seconds of the route `pinged`: its interval and its time-out together."""

CLIENT = """
import sys, websockets.sync.client
url, token = sys.argv[1:]
headers = {"Authorization": f"token {token}"}
with websockets.sync.client.connect(url, additional_headers=headers, proxy=None) as socket:
    print("open", flush=True)
    try:
        socket.recv()
    except Exception as error:
        print(type(error).__name__, flush=True)
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with running_server(
        YAML, folder=tmp_path_factory.mktemp("endurance"), modules={"bots.py": BOTS}
    ) as running:
        yield running


def report(server, question: str = "?") -> dict:
    with Wire(server, "/report", early=text(question)) as wire:
        return json.loads(wire.message())


def say(**figures) -> None:
    """Print what was measured; pytest -rP shows it."""
    for name, value in figures.items():
        print(f"{name.replace('_', ' ')}: {value:.4g}" if isinstance(value, float) else value)


# ---- a client that stops reading ------------------------------------------------------------

MESSAGES = 128 * 16
"""Messages of 64 KiB that make 128 MiB."""


def read_all(wire: Wire) -> tuple[int, int | None]:
    """Count the messages up to the close frame, or up to the answer to a ping."""
    wire.send(frame(PING, b"the end?"))
    count = 0
    while (got := wire.frame()) is not None:
        if got.opcode == PONG and got.payload == b"the end?":
            return count, None
        if got.opcode == 8:
            return count, got.code
        count += got.opcode == 2
    raise AssertionError("the stream ended without a close frame")


def told_of(server, name: str, seconds: float = 60.0, **wanted: int) -> dict:
    """Return what the bot notes while it pushes, once its numbers are at least these."""

    with Wire(server, "/report") as wire:

        def enough() -> dict | None:
            wire.send(text("?"))
            got = json.loads(wire.message())["pushed"].get(name, {})
            return got if all(got.get(key, 0) >= least for key, least in wanted.items()) else None

        return wait_for(enough, seconds, f"{wanted}")


@pytest.mark.parametrize("policy", ["close", "drop_oldest"])
@sizes(short=1, full=5)
def test_a_client_that_stops_reading_128_mib_hurts_no_memory_and_nobody_else(server, policy, size):
    with echo_pulse(server, "/echo") as pulse:
        for turn in range(size.number):
            name = f"{policy}-{size.number}-{turn}"
            time.sleep(2.0)
            with Wire(server, f"/{policy}?name={name}", receive_buffer=8192) as wire:
                pulse_before = pulse.take()
                with watched(server.pid) as watch:
                    wire.send(text(str(MESSAGES)))
                    if policy == "close":
                        # The close frame waits for 5 s for a client that reads again.
                        told_of(server, name, refused=1)
                        count, code = read_all(wire)
                    told = told_of(server, name, tried=MESSAGES)
                pulse_during = pulse.take()
                if policy == "drop_oldest":
                    count, code = read_all(wire)
            before, during = percentile(pulse_before, 99), percentile(pulse_during, 99)
            say(policy=policy, memory_MiB=watch.growth / MIB)
            say(p99_before_ms=before * 1e3, p99_during_ms=during * 1e3)
            assert len(pulse_during) > 100
            assert watch.growth < 32 * MIB
            assert during < size.bound(1.5 * before + 0.005, 5 * before + 0.1)
            if policy == "close":
                assert code == 1013
                assert told["refused"] > MESSAGES * 0.9
            else:
                assert code is None
                assert told["dropped"] > 1000
                assert count + told["dropped"] == MESSAGES


# ---- callbacks that hold their threads ---------------------------------------------------------


@sizes(short=3, full=30)
def test_callbacks_that_sleep_in_threads_hold_up_neither_jupyter_nor_a_route(server, size):
    """As many as one user of a route may hold run at once; the tenth waits for one of them."""
    seconds, at_once = size.number, Shares(16, shared=True).most_of_owner
    before = threads(server.pid)
    wires = [Wire(server, "/sleeps").open() for _ in range(at_once + 1)]
    with (
        http_pulse(server, "/api/status") as api,
        echo_pulse(server, "/echo") as echo,
        echo_pulse(server, "/threaded") as threaded,
        watched(server.pid, 0.05) as watch,
    ):
        begun = time.monotonic()
        for wire in wires:
            wire.sock.settimeout(2 * seconds + 20)
            wire.send(text(str(seconds)))
        with ThreadPoolExecutor(len(wires)) as readers:
            told = [*readers.map(lambda wire: (_next_message(wire), elapsed(begun)), wires)]
        assert {message for message, _ in told} == {b"slept"}
        *_, took, took_in_turn = sorted(after for _, after in told)
    for wire in wires:
        wire.close()
    say(
        sleep_s=float(seconds),
        answered_after_s=took,
        the_tenth_after_s=took_in_turn,
        status_p99_ms=api.p99 * 1e3,
        echo_p99_ms=echo.p99 * 1e3,
        threaded_echo_p99_ms=threaded.p99 * 1e3,
        threads_more=float(watch.threads - before),
    )
    assert min(len(pulse.seconds) for pulse in (api, echo, threaded)) > 10 * seconds
    assert api.p99 < size.bound(0.1, 0.5)
    assert echo.p99 < size.bound(0.05, 0.4)
    assert threaded.p99 < size.bound(0.05, 0.4)
    # A pool of 16, and those that Jupyter itself starts for files and names.
    assert watch.threads - before <= 16 + 8
    assert took < seconds + 1, "it takes over a second to recover"
    assert 2 * seconds - 0.1 < took_in_turn < 2 * seconds + 1.5, "it does not wait one turn"


def test_more_sleepers_than_threads_wait_in_line_and_start_no_more_threads(server):
    """40 callbacks of half a second, of one user who may hold nine threads, take five turns."""
    before = threads(server.pid)
    wires = [Wire(server, "/sleeps").open() for _ in range(40)]
    with echo_pulse(server, "/echo") as echo, watched(server.pid, 0.05) as watch:
        begun = time.monotonic()
        for wire in wires:
            wire.send(text("0.5"))
        assert [wire.message() for wire in wires] == [b"slept"] * 40
        took = elapsed(begun)
    for wire in wires:
        wire.close()
    say(answered_after_s=took, echo_p99_ms=echo.p99 * 1e3)
    assert watch.threads - before <= 16 + 8
    assert 2.4 < took < 5
    assert echo.p99 < 0.4


# ---- peers that vanish ------------------------------------------------------------------------


def start_client(server, path, prefix=()) -> subprocess.Popen:
    """Start a client in a process of its own and wait until it is connected."""
    client = subprocess.Popen(
        [*prefix, sys.executable, "-c", CLIENT, server.ws(path), server.token],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert client.stdout.readline() == "open\n"
    return client


def end_client(client: subprocess.Popen) -> None:
    client.kill()
    client.wait(5)
    client.stdout.close()


def seconds_until_gone(server, name: str, begun: float) -> float:
    """Wait for the one `on_close` of a connection, which must say 1006."""
    wait_for(lambda: name in report(server)["ended"], PINGED + 8, "on_close")
    [[code, when]] = report(server)["ended"][name]
    assert code == 1006
    return when - begun


def check_that_it_stays_gone(server, name: str) -> None:
    assert len(report(server)["ended"][name]) == 1, "on_close ran more than once"


def test_a_stopped_client_is_gone_in_ping_and_timeout_and_closed_once(server):
    client = start_client(server, "/pinged?name=stopped")
    idle = start_client(server, "/pinged?name=idle")
    try:
        time.sleep(PINGED + 0.5)  # pings were answered: it is there after more than both
        assert "stopped" not in report(server)["ended"]
        begun = time.monotonic()
        client.send_signal(signal.SIGSTOP)
        took = seconds_until_gone(server, "stopped", begun)
        say(gone_after_s=took)
        assert took < PINGED + 1.5
        client.send_signal(signal.SIGCONT)
        assert client.stdout.readline().startswith("ConnectionClosed")
        check_that_it_stays_gone(server, "stopped")
        # Meanwhile the other one said nothing but its pongs, for longer than both.
        assert elapsed(begun) > 1
        assert idle.poll() is None
        assert "idle" not in report(server)["ended"]
    finally:
        end_client(client)
        end_client(idle)


def test_a_client_whose_cable_is_pulled_is_gone_in_ping_and_timeout_and_closed_once(tmp_path):
    with (
        network_namespace() as space,
        running_server(YAML, folder=tmp_path, modules={"bots.py": BOTS}, host=space.here) as server,
    ):
        client = start_client(server, "/pinged?name=unplugged", space.command())
        try:
            time.sleep(PINGED + 0.5)
            assert "unplugged" not in report(server)["ended"]
            begun = time.monotonic()
            space.pull_the_cable()
            took = seconds_until_gone(server, "unplugged", begun)
            say(gone_after_s=took)
            assert took < PINGED + 1.5
            assert client.poll() is None, "it was the client that left, not its cable"
        finally:
            end_client(client)
        # What TCP still tries in the background must not end the connection again.
        time.sleep(0.5)
        check_that_it_stays_gone(server, "unplugged")


# ---- many rounds --------------------------------------------------------------------------------


def settled(server, start: dict) -> dict:
    """Return the counts once they are back at the start, or after a while anyway."""
    deadline = time.monotonic() + 10
    while True:
        now = report(server, "collect")
        back = all(now[key] <= start[key] for key in ("descriptors", "tasks", "threads"))
        if back or time.monotonic() > deadline:
            return now
        time.sleep(0.1)


@sizes(short=1500, full=20_000)
async def test_thousands_of_rounds_leave_no_descriptor_task_thread_or_memory(server, size):
    step = size.number // 40
    # The first rounds start threads that stay, for callbacks and for Jupyter.
    await run_rounds(server, "/threaded", 100)
    start = await asyncio.to_thread(report, server, "collect")
    points = []
    begun = time.monotonic()
    for done in range(step, size.number + 1, step):
        await run_rounds(server, "/threaded" if done % 5 == 0 else "/echo", step)
        await asyncio.to_thread(report, server, "collect")
        points.append((done, rss(server.pid) / 1024))
    took = elapsed(begun)
    now = await asyncio.to_thread(settled, server, start)
    late = [point for point in points if point[0] > 5000] or points[len(points) // 2 :]
    say(
        rounds=float(size.number),
        rounds_per_second=size.number / took,
        memory_slope_KiB_per_round=slope(late),
        memory_MiB=points[-1][1] / 1024,
    )
    print({key: (start[key], now[key]) for key in ("descriptors", "tasks", "threads")})
    assert now["descriptors"] <= start["descriptors"]
    assert now["tasks"] <= start["tasks"]
    assert now["threads"] <= max(start["threads"], 16 + 8)
    if size.full:
        assert slope(late) < 0.2
    else:
        assert points[-1][1] - points[0][1] < 24 * 1024


# ---- more clients than descriptors --------------------------------------------------------------


@pytest.fixture
def enough_descriptors():
    """Let this process hold the other ends of all connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = max(soft, 4096 if hard == resource.RLIM_INFINITY else min(4096, hard))
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


LIMITED = [
    "/bin/sh",
    "-c",
    'ulimit -n 1024; exec "$0" "$@"',
    sys.executable,
    "-m",
    "jupyter_server",
]
"""Jupyter Server, which may open 1,024 descriptors; the hard limit too, as it raises the soft."""


async def test_1200_clients_of_1024_descriptors_get_503_and_jupyter_goes_on(
    tmp_path, enough_descriptors
):
    with running_server(
        YAML, folder=tmp_path, modules={"bots.py": BOTS}, command=LIMITED
    ) as server:
        with http_pulse(server, "/api/status") as api:
            statuses, kept = await try_to_open(server, "/echo", 1200)
            await asyncio.sleep(1)
        log = server.log_text()
        say(status_p99_ms=api.p99 * 1e3)
        print(dict(statuses), "descriptors:", open_descriptors(server.pid))
        assert len(api.seconds) > 50  # each of them was a 200
        assert set(statuses) == {101, 503}
        assert 700 < statuses[101] < 1024
        assert "Too many open files" not in log
        assert "accept" not in log
        told = [line for line in log.splitlines() if "descriptor" in line or " 503 " in line]
        assert 0 < len(told) < 20, told[:30]
        # Who leaves makes room.
        for writer in kept[:200]:
            writer.close()
        wait = functools.partial(open_descriptors, server.pid)
        few = wait() - 150
        await asyncio.to_thread(wait_for, lambda: wait() < few, what="closed descriptors")
        async with server.connect("/echo") as socket:
            await socket.send("room again")
            assert await socket.recv() == "room again"
        for writer in kept:
            writer.close()
        await asyncio.gather(*(one.wait_closed() for one in kept), return_exceptions=True)


def test_no_test_of_this_file_left_a_thread_behind():
    assert [one.name for one in threading.enumerate() if one.name in ("pulse", "watch")] == []
