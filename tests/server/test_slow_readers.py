"""A client that reads slowly, at a real server: what was sent before a close, and its pings."""

from __future__ import annotations

import time

import pytest
from support.bots import bot_text
from support.frames import PING, PONG, frame, text
from support.nginx import make_certificate
from support.server import running_server
from support.wire import Wire

MIB = 1024 * 1024

YAML = """
url:
  sends_and_closes:
    pattern: /sends_and_closes
    handler: WebSocketHandler
    kwargs: {on_message: slow_readers.sends_and_closes, queue: {bytes: 32MiB}}
  sends:
    pattern: /sends
    handler: WebSocketHandler
    kwargs:
      on_message: slow_readers.sends
      queue: {bytes: 32MiB}
      ping_interval: 500ms
      ping_timeout: 2s
"""

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module", params=["http", "https"])
def server(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("slow")
    modules = {"slow_readers.py": bot_text("slow_readers")}
    args = []
    if request.param == "https":
        certificate, key = make_certificate(folder)
        args = [f"--ServerApp.certfile={certificate}", f"--ServerApp.keyfile={key}"]
    with running_server(
        YAML, folder=folder, modules=modules, extra_args=args, scheme=request.param
    ) as one:
        if request.param == "https":
            one.extra["certificate"] = certificate
        yield one


def read(wire: Wire, size: int, rate: float) -> bytes:
    """Read so many bytes, and so many a second."""
    began, data = time.monotonic(), bytearray()
    while len(data) < size:
        chunk = wire.sock.recv(min(16384, size - len(data)))
        assert chunk, f"the stream ended after {len(data)} bytes of {size}"
        data += chunk
        time.sleep(max(0.0, began + len(data) / rate - time.monotonic()))
    return bytes(data)


def test_a_reader_slower_than_the_system_has_room_gets_all_that_was_sent_before_the_close(server):
    """For seconds nothing leaves our own queue, as the system has so much of it."""
    size = 10 * MIB
    with Wire(server, "/sends_and_closes", receive_buffer=65536) as wire:
        wire.send(text(str(size)))
        wire.data = read(wire, 700_000, 80_000)
        assert len(wire.message()) == size
        goodbye = wire.frame()
        assert goodbye.code == 4000
        assert goodbye.payload[2:] == b"done"


def test_a_reader_that_takes_longer_than_a_pings_timeout_for_what_stands_before_it_stays(server):
    size = 3 * MIB
    with Wire(server, "/sends", receive_buffer=65536) as wire:
        wire.send(text(str(size)))
        wire.data = read(wire, size, size / 7)
        assert len(wire.message()) == size
        ping = wire.frame()
        assert ping.opcode == PING
        wire.send(frame(PONG, ping.payload) + text("5"))
        while (answer := wire.frame()).opcode == PING:
            wire.send(frame(PONG, answer.payload))
        assert answer.payload == bytes(5)
