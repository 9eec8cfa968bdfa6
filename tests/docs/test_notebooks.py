"""Every notebook runs on a real server, and shows what its committed outputs say."""

from __future__ import annotations

import getpass
import textwrap
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook
from support import notebooks
from support.server import TOKEN, RunningServer, running_server


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[RunningServer]:
    with running_server(folder=tmp_path_factory.mktemp("server")) as running:
        yield running


def test_there_are_notebooks():
    assert notebooks.paths()


@pytest.mark.parametrize("path", notebooks.paths(), ids=lambda path: path.stem)
def test_a_notebook_runs_and_shows_what_it_has_been_committed_with(server, path):
    committed = notebooks.shown(nbformat.read(path, as_version=4))
    assert any(committed), "a notebook is committed with its outputs: make notebooks"
    shown = notebooks.shown(notebooks.run(server, path))
    assert shown == committed, "where this is meant: make notebooks"


@pytest.mark.parametrize("path", notebooks.paths(), ids=lambda path: path.stem)
def test_a_notebook_says_nothing_of_the_machine_that_it_was_run_on(path):
    text = path.read_text()
    places = {str(Path.home()), str(notebooks.FOLDER.parent), "/tmp/", TOKEN}
    assert [place for place in places if len(place) > 1 and place in text] == []
    assert f"/{getpass.getuser()}/" not in text
    assert "127.0.0.1:" not in text.replace("127.0.0.1:{port}", "")


# ---- the runner itself ----------------------------------------------------------------------


def written(folder: Path, *cells: str, tags: tuple[str, ...] = ()) -> Path:
    """Write a notebook; the tags are its last cell's."""
    made = new_notebook(cells=[new_code_cell(textwrap.dedent(cell).strip()) for cell in cells])
    made.cells[-1].metadata.tags = list(tags)
    path = folder / "a_notebook.ipynb"
    nbformat.write(made, path)
    return path


@pytest.mark.parametrize(
    ("cell", "tags", "words"),
    [
        ("1 / 0", [], "ZeroDivisionError"),
        ("%%nonsense\n1", [], "nonsense"),
        ("1 / 1", [notebooks.FAILS], "has not failed"),
    ],
)
def test_a_cell_that_fails_fails_its_notebook_unless_its_tag_says_that_it_does(
    server, tmp_path, cell, tags, words
):
    with pytest.raises(notebooks.NotebookFailed, match=words):
        notebooks.run(server, written(tmp_path, cell, tags=tags))


def test_what_a_bot_prints_late_is_kept_below_its_own_cell(server, tmp_path):
    path = written(
        tmp_path,
        "%load_ext jupyter_wshandler",
        """
        %%websocket /latebot
        import sys, time
        def on_message(handler, message):
            return handler.id
        def on_close(handler):
            time.sleep(1)
            print("one", file=sys.stderr)
            print("two")
            print("three", file=sys.stderr)
        """,
        """
        from jupyter_wshandler.client import connect
        with connect("/latebot") as client:
            client.send("x")
            connection = client.recv()
        print("connection", connection)
        1 / 0
        """,
        tags=(notebooks.FAILS,),
    )
    ran = notebooks.run(server, path)
    late, failed = ran.cells[1].outputs, ran.cells[2].outputs
    assert late[0].data["text/plain"] == (
        "<Bot latebot at ws://localhost:8888/latebot: live, 0 connections>"
    )
    assert 'id="wshandler-latebot-1"' in late[0].data["text/html"]
    texts = {output.name: output.text for output in late[1:]}
    assert texts == {"stderr": "one\nthree\n", "stdout": "two\n"}
    assert failed[0].text == "connection 5f1d8a0c93b7e264\n"
    assert failed[1].ename == "ZeroDivisionError"


def test_a_notebook_that_leaves_a_client_connected_is_told_so(server, tmp_path, monkeypatch):
    monkeypatch.setattr(notebooks, "SETTLED", notebooks.SETTLED.replace("+ 10", "+ 0.1"))
    path = written(
        tmp_path,
        """
        import jupyter_wshandler as wsh
        from jupyter_wshandler.client import connect
        bot = wsh.serve("/openbot", lambda handler, message: message)
        client = connect("/openbot").open()
        client.send("x")
        client.recv()
        """,
    )
    with pytest.raises(AssertionError, match="leaves connections open"):
        notebooks.run(server, path)
