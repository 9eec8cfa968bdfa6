"""Pings that a bot in a kernel sends count against its connection's queue, as a module's do."""

from __future__ import annotations

import pytest
from support.bots import bot_text
from support.frames import PING, TEXT, text
from support.notebook import notebook
from support.server import running_server
from support.usage import MIB, watched
from support.wire import Wire

BOTS = bot_text("pings_cell")

FROM_THE_CELL = """
(handler,) = served['async'].connections
handler.times = {size}
flood(handler)
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with running_server("url: {}", folder=tmp_path_factory.mktemp("pings")) as running:
        yield running


@pytest.fixture(scope="module")
def book(server):
    with notebook(server) as opened:
        cell = opened.run(BOTS)
        assert cell.error is None, cell.error
        opened.pid = int(cell.result)
        yield opened


@pytest.mark.parametrize("size", [0, 31], ids=["empty", "124 bytes"])
@pytest.mark.parametrize("how", ["async", "def", "thread", "cell"])
def test_hundreds_of_thousands_of_pings_to_a_client_that_reads_nothing_fill_no_memory(
    server, book, how, size
):
    path = f"/{'async' if how == 'cell' else how}/{size}"
    with (
        Wire(server, path, receive_buffer=4096, seconds=60) as wire,
        watched(server.pid) as there,
        watched(book.pid) as kernel,
    ):
        wire.send(text("here"))
        assert wire.message() == b"here"
        assert book.run("done.clear()").error is None
        if how == "cell":
            cell = book.start(FROM_THE_CELL.format(size=size))
        else:
            wire.send(text("flood"))
            cell = book.start("assert done.wait(240)")
        book.wait(cell, 300)
        assert cell.error is None, cell.error
        # The pings that were taken have made room: the connection goes on.
        wire.send(text("again"))
        frames = [wire.frame()]
        while frames[-1] is not None and frames[-1].opcode != TEXT:
            frames.append(wire.frame())
    print(f"{how}: kernel {kernel.growth / MIB:.1f} MiB, server {there.growth / MIB:.1f} MiB")
    assert [frame.opcode for frame in frames[:-1]] == [PING] * (len(frames) - 1)
    assert frames[-1].payload == b"again"
    assert len(frames) > 100
    assert kernel.growth < 9 * MIB
    assert there.growth < 9 * MIB
