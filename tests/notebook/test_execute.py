"""A notebook that no server runs, beside a server of the same person."""

from __future__ import annotations

import os
import subprocess
import sys

import nbformat
import pytest
from support.notebook import notebook
from support.server import RunningServer, running_server

WITHOUT_US = "--ServerApp.jpserver_extensions={'jupyter_wshandler': False, 'jupyterlab': False}"

SERVE = """
import jupyter_wshandler as wsh
bot = wsh.serve("/pingbot", lambda handler, message: message, wait=0.5)
"""
CONNECT = """
from jupyter_wshandler.client import connect
try:
    connect("/{}").open()
except Exception as error:
    print(type(error).__name__, error)
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> RunningServer:
    folder = tmp_path_factory.mktemp("other")
    with running_server(folder=folder, extra_args=[WITHOUT_US]) as running:
        yield running


def test_jupyter_execute_talks_to_no_other_server_of_that_person(server, tmp_path):
    cells = [SERVE, CONNECT.format("pingbot"), CONNECT.format("elsewhere")]
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in cells])
    path = tmp_path / "book.ipynb"
    nbformat.write(book, path)
    runtime = server.folder / ".jupyter-state" / "runtime"
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("JUPYTER", "JPY_"))}
    subprocess.run(
        [sys.executable, "-m", "jupyter", "execute", "--inplace", str(path)],
        env={**kept, "JUPYTER_RUNTIME_DIR": str(runtime)},
        check=True,
        timeout=100,
    )
    served, own, elsewhere = (
        "".join(output["text"] for output in cell["outputs"])
        for cell in nbformat.read(path, 4)["cells"]
    )
    assert "No Jupyter server with jupyter_wshandler has answered" in served
    assert own.startswith("ServerNotFound the bot 'pingbot' of this kernel (/pingbot) waits")
    assert "Chat" in own
    assert elsewhere.startswith("ServerNotFound this kernel was started by process")
    assert f"server='{server.url}'" in elsewhere


def test_a_bot_that_its_server_does_not_serve_is_not_looked_for_there(server):
    with notebook(server) as book:
        book.run(SERVE)
        said = book.run(CONNECT.format("pingbot")).text
        assert "waits: no Jupyter server with jupyter_wshandler knows this kernel" in said
        # The server is this kernel's own: what else is there is asked for.
        assert "404" in book.run(CONNECT.format("elsewhere")).text
