"""What waits for a callback is bounded by its bytes, and given back when the client has left."""

from __future__ import annotations

import contextlib
import time

import pytest
from support.bots import bot_text
from support.frames import BINARY, TEXT, fragments, frame, packed, text
from support.notebook import notebook
from support.server import wait_for
from support.transports import serving
from support.usage import MIB, watched
from support.wire import Wire

BOTS = bot_text("inbox")

CONFIG = """
url:
  slow: {pattern: /slow, handler: WebSocketHandler,
         kwargs: {on_message: bots.slow, max_message: 10MiB, compression: true}}
  busy: {pattern: /busy, handler: WebSocketHandler,
         kwargs: {on_message: bots.busy, max_message: 10MiB, compression: true}}
  thread: {pattern: /thread, handler: WebSocketHandler,
           kwargs: {on_message: bots.slow_thread, max_message: 10MiB, compression: true}}
  small: {pattern: /small, handler: WebSocketHandler,
          kwargs: {on_message: bots.slow, max_message: 1MiB, compression: true}}
  echo: {pattern: /echo, handler: WebSocketHandler, kwargs: {on_message: bots.echo}}
  count: {pattern: /count, handler: WebSocketHandler, kwargs: {on_message: bots.count}}
"""

SIZE = 10 * MIB
SLACK = 8 * MIB
TRAVELS = 6
"""Copies of one message on its way to a kernel: as it is, in JSON, and in ZeroMQ's hands."""
SQUEEZED = {"Sec-WebSocket-Extensions": "permessage-deflate; client_no_context_takeover"}


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


X = packed(b"x" * SIZE)
STREAMS = {
    "texts": frame(TEXT, X, rsv=4) * 65,
    "binaries": frame(BINARY, X, rsv=4) * 65,
    "fragments": fragments(TEXT, *cut(X, 100), rsv=4) * 65,
    "one character each of four bytes": frame(
        TEXT, packed(b"x" * (SIZE // 4 - 4) + "\U0001f600".encode()), rsv=4
    )
    * 65,
}


def slow_bots(folder, transport: str):
    return serving(transport, CONFIG, folder=folder, modules={"bots.py": BOTS})


@pytest.fixture(scope="module", params=["direct", "stream"])
def server(request, tmp_path_factory):
    with slow_bots(tmp_path_factory.mktemp(request.param), request.param) as running:
        yield running


def left(server) -> None:
    """Wait until no connection is open but the one that asks."""
    with Wire(server, "/count") as wire:

        def alone() -> bool:
            wire.send(text("how many?"))
            return wire.message() == b"1"

        wait_for(alone, 20)


def growth_of(server, path: str, what: str) -> int:
    """Send 65 messages of 10 MiB, wait while they wait, leave; return the growth in bytes."""
    with watched(server.pid) as watch:
        with Wire(server, path, headers=SQUEEZED) as wire:
            assert "permessage-deflate" in wire.head
            wire.sock.settimeout(1.0)
            with contextlib.suppress(TimeoutError):  # it takes no more
                wire.send(STREAMS[what])
            time.sleep(1.0)
            wire.reset()
        left(server)
    print(f"{path} {what}: {watch.growth / MIB:.1f} MiB")
    return watch.growth


@pytest.mark.parametrize(
    ("transport", "what"), [("direct", "texts"), ("direct", "binaries"), ("stream", "texts")]
)
@pytest.mark.alone
def test_65_messages_of_10_mib_that_wait_for_a_callback_cost_one_of_them(
    tmp_path, transport, what
) -> None:
    # A server of its own: what the C library has kept of earlier messages would hide the growth.
    # And one message at work: a text that is read after another may move in the heap as it grows.
    with slow_bots(tmp_path, transport) as server:
        left(server)
        assert growth_of(server, "/busy", what) < SIZE + SLACK


@pytest.mark.parametrize("what", list(STREAMS))
@pytest.mark.parametrize("path", ["/slow", "/thread"])
def test_large_messages_that_wait_never_pile_up_whatever_was_there_before(
    server, path, what
) -> None:
    # In a heap with holes, a buffer that grows may have to move: it is there twice for a moment.
    left(server)
    assert growth_of(server, path, what) < 2 * SIZE + SLACK


def test_many_messages_of_1_mib_that_wait_cost_the_inbox(server) -> None:
    left(server)
    with watched(server.pid) as watch, Wire(server, "/small", headers=SQUEEZED) as wire:
        wire.send(frame(TEXT, packed(b"x" * MIB), rsv=4) * 200)
        time.sleep(1.0)
        wire.reset()
    print(f"{watch.growth / MIB:.1f} MiB")
    assert watch.growth < MIB + SLACK


# ---- in a notebook -------------------------------------------------------------------------------

SLOW = bot_text("inbox_cell")


@pytest.mark.parametrize("what", ["texts", "binaries"])
def test_large_messages_that_wait_for_a_notebooks_bot_never_pile_up(tmp_path, what) -> None:
    with slow_bots(tmp_path, "direct") as server, notebook(server) as opened:
        left(server)
        cell = opened.run(SLOW)
        assert cell.error is None, cell.error
        with watched(int(cell.result)) as kernel:
            growth = growth_of(server, "/kernelslow", what)
    print(f"{what}: server {growth / MIB:.1f} MiB, kernel {kernel.growth / MIB:.1f} MiB")
    assert growth < TRAVELS * SIZE + SLACK
    assert kernel.growth < TRAVELS * SIZE + SLACK
