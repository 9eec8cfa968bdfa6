"""What threads send is bounded before the event loop has taken it."""

from __future__ import annotations

import threading
import time

import pytest
from support.frames import text
from support.server import running_server
from support.usage import MIB, watched
from support.wire import Wire

from jupyter_wshandler.crossing import Crossing

BOT = """
import threading

def flood(handler, message):
    size = 65536
    make = {
        'str': lambda: 'x' * size,
        'bytes': lambda: b'x' * size,
        'dict': lambda: {'x': 'x' * 65500},
    }[message]
    for number in range(15000):
        whole = make()  # a new one each time: what is shared would cost nothing
        handler.write_message(bytes(bytearray(whole)) if message == 'bytes' else whole)

def plain(handler, message):
    thread = threading.Thread(target=quiet, args=(handler, message))
    thread.start()
    thread.join()

def quiet(handler, message):
    try:
        flood(handler, message)
    except Exception:
        pass

def count(handler, message):
    for number in range(int(message)):
        handler.write_message(str(number))
"""

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
"""


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


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("crossing")
    with running_server(CONFIG, folder=folder, modules={"crossbot.py": BOT}) as running:
        yield running


@pytest.mark.parametrize("kind", ["str", "bytes", "dict"])
@pytest.mark.parametrize("path", ["/close", "/drop", "/plain"])
def test_a_thread_that_writes_to_a_client_that_does_not_read_fills_no_memory(
    server, path, kind
) -> None:
    with Wire(server, path, receive_buffer=4096) as wire, watched(server.pid) as watch:
        wire.send(text(kind))
        # 15,000 messages of 64 KiB take a thread without a bound well under this time.
        time.sleep(3.0)
    print(f"{path} {kind}: {watch.growth / MIB:.1f} MiB")
    assert watch.growth < 9 * MIB


def test_a_client_that_reads_gets_all_that_a_thread_writes_in_order(server) -> None:
    with Wire(server, "/count") as wire:
        wire.send(text("20000"))
        assert [int(wire.message()) for _ in range(20000)] == list(range(20000))
