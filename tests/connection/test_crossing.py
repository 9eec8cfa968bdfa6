"""What threads send is bounded before the event loop has taken it."""

from __future__ import annotations

import contextlib
import threading
import time

import pytest
from support.bots import bot_text
from support.frames import text
from support.latency import Pulse, percentile
from support.notebook import notebook as a_notebook
from support.transports import serving
from support.usage import MIB, watched
from support.wire import Wire

from jupyter_wshandler.connection.crossing import Crossing

BOT = bot_text("crossing")

CONFIG = """
url:
  close: {pattern: /close, handler: WebSocketHandler,
          kwargs: {on_message: crossbot.flood, queue: {bytes: 1MiB}}}
  drop: {pattern: /drop, handler: WebSocketHandler,
         kwargs: {on_message: crossbot.flood, queue: {bytes: 1MiB, slow: drop_oldest}}}
  plain: {pattern: /plain, handler: WebSocketHandler,
          kwargs: {on_message: crossbot.plain, queue: {bytes: 1MiB}}}
  count: {pattern: /count, handler: WebSocketHandler,
          kwargs: {on_message: crossbot.count, queue: {messages: 100000}}}
  last: {pattern: /last, handler: WebSocketHandler,
         kwargs: {on_message: crossbot.last, queue: {messages: 100000},
                  on_error: {close: false}}}
  threads: {pattern: /threads, handler: WebSocketHandler,
            kwargs: {on_message: crossbot.threads, queue: {bytes: 1MiB}}}
  sends: {pattern: /sends, handler: WebSocketHandler,
          kwargs: {on_message: crossbot.sends, queue: {bytes: 1MiB}}}
  block: {pattern: /block, handler: WebSocketHandler, kwargs: {on_message: crossbot.block}}
  echo: {pattern: /echo, handler: WebSocketHandler, kwargs: {on_message: crossbot.echo}}
"""

FLOODED = 1.0
"""Seconds in which a thread without a bound writes hundreds of MiB: 960 take it under three."""


def test_a_thread_waits_until_the_loop_has_taken_what_is_on_its_way() -> None:
    crossing = Crossing()
    assert crossing.enter(600, 64, 1000, 0.0)
    entered = threading.Event()

    def enter() -> None:
        if crossing.enter(600, 64, 1000, 10.0):
            entered.set()

    thread = threading.Thread(target=enter)
    thread.start()
    assert not entered.wait(0.1)
    crossing.leave(600)
    thread.join(10)
    assert entered.is_set()


def test_one_message_alone_crosses_whatever_its_size() -> None:
    assert Crossing().enter(10_000, 64, 1000, 0.0)


def test_a_thread_that_the_loop_waits_for_gets_out_and_the_next_message_waits_no_more() -> None:
    crossing = Crossing()
    assert crossing.enter(1, 1, 1000, 0.0)
    begun = time.monotonic()
    assert not crossing.enter(1, 1, 1000, 0.2)
    assert time.monotonic() - begun >= 0.15
    begun = time.monotonic()
    assert not crossing.enter(1, 1, 1000, 5.0)
    assert time.monotonic() - begun < 2.0
    crossing.leave(1)
    assert crossing.enter(1, 1, 1000, 0.0)


@pytest.fixture(scope="module", params=["direct", "stream", "tls"])
def server(request, tmp_path_factory):
    folder, modules = tmp_path_factory.mktemp(request.param), {"crossbot.py": BOT}
    with serving(request.param, CONFIG, folder=folder, modules=modules) as running:
        yield running


@pytest.mark.parametrize("kind", ["str", "bytes", "dict"])
@pytest.mark.parametrize("path", ["/close", "/drop", "/plain"])
def test_a_thread_that_writes_to_a_client_that_does_not_read_fills_no_memory(
    server, path, kind
) -> None:
    with Wire(server, path, receive_buffer=4096) as wire, watched(server.pid) as watch:
        wire.send(text(kind))
        time.sleep(FLOODED)
    print(f"{path} {kind}: {watch.growth / MIB:.1f} MiB")
    assert watch.growth < 9 * MIB


def test_a_client_that_reads_gets_all_that_a_thread_writes_in_order(server) -> None:
    with Wire(server, "/count") as wire:
        wire.send(text("20000"))
        assert [int(wire.message()) for _ in range(20000)] == list(range(20000))


@pytest.mark.parametrize("kind", ["str", "bytes", "dict"])
@pytest.mark.parametrize("path", ["/close", "/drop"])
def test_what_a_thread_writes_while_the_loop_is_held_up_waits_in_the_thread(
    server, path, kind
) -> None:
    with (
        Wire(server, path, receive_buffer=4096) as wire,
        Wire(server, "/block") as blocker,
        watched(server.pid) as watch,
    ):
        blocker.send(text("now"))
        assert blocker.message() == b"blocked"
        wire.send(text(kind))
        assert blocker.message() == b"free"
        time.sleep(0.5)
    print(f"{path} {kind}: {watch.growth / MIB:.1f} MiB")
    assert watch.growth < 9 * MIB


# ---- from a kernel -------------------------------------------------------------------------------

SEND_ALL = bot_text("crossing_cell")


@pytest.fixture(scope="module")
def notebook(server):
    with a_notebook(server) as opened:
        yield opened


@pytest.mark.parametrize("server", ["direct", "stream"], indirect=True, scope="module")
@pytest.mark.parametrize("how", ["a cell", "a def"])
def test_what_a_notebook_sends_to_a_client_that_does_not_read_fills_no_memory(
    server, notebook, how
) -> None:
    cell = notebook.run(SEND_ALL)
    assert cell.error is None, cell.error
    pid = int(cell.result)
    path = "/cell" if how == "a cell" else "/floods"
    with (
        Wire(server, path, receive_buffer=4096, seconds=60) as wire,
        watched(server.pid) as watch,
        watched(pid) as kernel,
    ):
        if how == "a cell":
            wire.send(text("there?"))
            assert wire.message() == b"there?"
            cell = notebook.start("for _ in range(15_000):\n    bot.send('x' * 65536)")
            notebook.wait(cell, 60)
            assert cell.error is None, cell.error
        else:
            wire.send(text("go"))
        time.sleep(FLOODED)
    print(f"{how}: server {watch.growth / MIB:.1f} MiB, kernel {kernel.growth / MIB:.1f} MiB")
    assert watch.growth < 9 * MIB
    assert kernel.growth < 9 * MIB


# ---- order, and the end --------------------------------------------------------------------------


def test_threads_that_wait_are_woken_at_once_when_the_connection_ends() -> None:
    crossing = Crossing()
    assert crossing.enter(1, 1, 1000, 0.0)
    woken = []
    threads = [
        threading.Thread(target=lambda: woken.append(crossing.enter(1, 1, 1000, 30.0)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    begun = time.monotonic()
    crossing.end()
    for thread in threads:
        thread.join(20)
    assert time.monotonic() - begun < 10
    assert len(woken) == 8
    assert crossing.enter(1, 1, 1000, 30.0)  # and who comes later waits no more


def test_what_a_def_returns_or_raises_comes_after_all_that_it_has_sent(server) -> None:
    with Wire(server, "/last") as wire:
        wire.send(text("20000"))
        assert [int(wire.message()) for _ in range(20000)] == list(range(20000))
        assert wire.message() == b"the last"
        wire.send(text("-3000"))
        assert [int(wire.message()) for _ in range(3000)] == list(range(3000))
        assert b"internal error" in wire.message()


def test_others_get_their_turns_while_the_loop_takes_what_a_thread_has_sent(server) -> None:
    with Wire(server, "/count", receive_buffer=4096) as flood, Wire(server, "/echo") as other:

        def ask() -> None:
            other.send(text("there?"))
            assert other.message() == b"there?"

        pulse = Pulse(ask, 0.005)
        pulse.start()
        try:
            flood.send(text("90000"))
            for number in range(90000):
                assert int(flood.message()) == number
        finally:
            pulse.stop()
    p95 = percentile(pulse.take(), 95)
    print(f"p95 {p95 * 1000:.0f} ms")
    # Taken in one turn, they held others up for a second and more.
    assert p95 < 0.5


def test_many_threads_on_several_connections_that_do_not_read_share_no_more_than_their_queues(
    server,
) -> None:
    with contextlib.ExitStack() as stack:
        wires = [
            stack.enter_context(Wire(server, "/threads", receive_buffer=4096)) for _ in range(3)
        ]
        watch = stack.enter_context(watched(server.pid))
        for wire in wires:
            wire.send(text("go"))
        time.sleep(FLOODED)
    print(f"{watch.growth / MIB:.1f} MiB")
    assert watch.growth < (3 * 1 + 8) * MIB


def test_a_thread_that_sends_to_a_route_waits_as_one_that_writes(server) -> None:
    with Wire(server, "/sends", receive_buffer=4096) as wire, watched(server.pid) as watch:
        wire.send(text("go"))
        time.sleep(FLOODED)
    print(f"{watch.growth / MIB:.1f} MiB")
    assert watch.growth < 9 * MIB
