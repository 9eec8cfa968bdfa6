"""Half of a pair of surrogates, which Python's texts may have and UTF-8 has not, in a notebook."""

from __future__ import annotations

import pytest
from support.notebook import Notebook, eventually, notebook
from support.server import RunningServer, running_server

LONE = "\ud800"


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> RunningServer:
    with running_server("url: {}", folder=tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture(scope="module")
def book(server) -> Notebook:
    with notebook(server) as opened:
        opened.run("import jupyter_wshandler as wsh\ndef f(handler, message):\n    return message")
        yield opened


@pytest.mark.parametrize("run", ["loop", "thread"])
def test_what_a_callback_raises_is_shown_with_escapes_below_its_cell(server, book, run):
    cell = book.run(
        "def fail(handler, message):\n    raise ValueError('before \\ud800 after')\n"
        f"bot = wsh.serve('/raises/{run}', fail, run={run!r})"
    )
    with server.connect_sync(f"/raises/{run}") as socket:
        for _ in range(2):
            socket.send("x")
            assert "internal error" in socket.recv(timeout=10)
    eventually(lambda: cell.text.count("before \\ud800 after") >= 2, cell.text)
    assert "never retrieved" not in cell.text
