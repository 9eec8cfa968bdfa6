"""Pings and pongs count for `ratelimit`, which no keep-alive of a client's comes near."""

from __future__ import annotations

import time

import pytest
from support.frames import BINARY, CLOSE, PING, PONG, TEXT, frame, text
from support.transports import serving
from support.wire import Wire

BOTS = """
async def echo(handler, message):
    return message

async def pong(handler, data):
    handler.write_message(b"pong")
"""

CONFIG = """
url:
  two: {pattern: /two, handler: WebSocketHandler,
        kwargs: {on_message: bots.echo, on_pong: bots.pong,
                 ratelimit: {messages: 2/min, then: error}}}
  closes: {pattern: /closes, handler: WebSocketHandler,
           kwargs: {on_message: bots.echo, ratelimit: {messages: 2/min, then: close}}}
  bytes: {pattern: /bytes, handler: WebSocketHandler,
          kwargs: {on_message: bots.echo, ratelimit: {bytes: 1KiB/s, then: error}}}
  open: {pattern: /open, handler: WebSocketHandler, kwargs: {on_message: bots.echo}}
"""


@pytest.fixture(scope="module", params=["direct", "stream"])
def limited(request, tmp_path_factory):
    folder, modules = tmp_path_factory.mktemp(request.param), {"bots.py": BOTS}
    with serving(request.param, CONFIG, folder=folder, modules=modules) as running:
        yield running


def answers(wire: Wire, opcode: int) -> int:
    """Count the frames of a kind until the answer to a message, or the end."""
    count = 0
    while (got := wire.frame()) is not None and got.opcode not in (TEXT, CLOSE):
        count += got.opcode == opcode
    return count


@pytest.mark.parametrize("path", ["/two", "/bytes"])
def test_pings_over_the_rate_get_no_answer_and_the_connection_lives(limited, path):
    with Wire(limited, path) as wire:
        # One at a time: of those that come together the last few are answered anyway.
        for _ in range(200):
            wire.send(frame(PING, b"?"))
            time.sleep(0.001)
        wire.send(text("still there?"))
        assert 1 <= answers(wire, PONG) < 100
        wire.send(text("and now?"))
        assert wire.message() == b"and now?"


def test_pongs_over_the_rate_reach_no_callback(limited):
    with Wire(limited, "/two") as wire:
        wire.send(frame(PONG, b"!") * 2000)
        time.sleep(0.5)
        wire.send(text("still there?"))
        assert answers(wire, BINARY) < 50


def test_pings_over_the_rate_close_the_connection_where_the_route_says_so(limited):
    with Wire(limited, "/closes") as wire:
        for _ in range(20):
            wire.send(frame(PING, b"?") * 50)
            time.sleep(0.005)
        while (got := wire.frame()) is not None and got.opcode != CLOSE:
            pass
        assert got is not None
        assert got.code == 1008


def test_a_ping_each_second_to_keep_alive_passes_where_two_messages_a_minute_may_come(limited):
    with Wire(limited, "/closes") as wire:
        wire.send(text("one"))
        assert wire.message() == b"one"
        for number in range(6):
            wire.send(frame(PING, str(number).encode()))
            got = wire.frame()
            assert got is not None
            assert (got.opcode, got.payload) == (PONG, str(number).encode())
            time.sleep(1.0)
        wire.send(text("two"))
        assert wire.message() == b"two"


def test_a_route_without_a_rate_answers_pings_as_they_come(limited):
    with Wire(limited, "/open") as wire:
        for number in range(300):
            wire.send(frame(PING, str(number).encode()))
            got = wire.frame()
            assert got is not None
            assert got.payload == str(number).encode()
