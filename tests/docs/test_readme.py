"""The README's code does what the README says, as it stands there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from support import picture
from support.notebook import notebook
from support.server import running_server

TEXT = (Path(__file__).parents[2] / "README.md").read_text()


def block(first_line: str) -> str:
    """Return the one block of code that begins with a line."""
    (found,) = re.findall(rf"```\w+\n({re.escape(first_line)}\n.*?)```", TEXT, re.DOTALL)
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Return a folder with the files of the README."""
    made = tmp_path_factory.mktemp("readme")
    (made / "pingbot.py").write_text(block("# pingbot.py"))
    (made / "wshandler.yaml").write_text(block("# wshandler.yaml"))
    (made / "test_pingbot.py").write_text(block("from jupyter_wshandler.testing import Chat"))
    (made / "ask.py").write_text(block("from jupyter_wshandler.client import connect"))
    return made


def python(folder: Path, *arguments: str, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        **options,
    )


def test_the_file_is_right_and_its_test_passes(folder):
    checked = python(folder, "-m", "jupyter_wshandler", "check", "wshandler.yaml")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    tested = python(folder, "-m", "pytest", "-q", "test_pingbot.py")
    assert "1 passed" in tested.stdout, tested.stdout + tested.stderr


def test_the_file_is_served_and_the_client_talks_to_its_bot(folder, tmp_path):
    # The server's folder is another one, so its files are not those of the README.
    with running_server(folder / "wshandler.yaml", folder=tmp_path) as server:
        code = (folder / "ask.py").read_text()
        where = f'connect("/pingbot", server={server.url!r}, token={server.token!r})'
        assert 'connect("/pingbot")' in code
        (tmp_path / "ask.py").write_text(code.replace('connect("/pingbot")', where))
        asked = python(tmp_path, "ask.py")
        assert asked.stdout == "Got message: Hello world\n", asked.stderr
        assert "Chatbot opened for" in server.log_text()


def test_the_first_cell_answers_and_the_second_streams_over_the_same_connection(tmp_path):
    first, second = picture.cells()
    with running_server(folder=tmp_path) as server, notebook(server) as book:
        book.run("%load_ext jupyter_wshandler")
        book.run(first)
        with server.connect_sync("/pingbot") as bot:
            bot.send("Hello world")
            assert bot.recv(timeout=20) == "Got message: Hello world"
            book.run(second)
            bot.send("Hello again.")
            words = [bot.recv(timeout=20) for _ in range(6)]
    assert words == ["Hello ", "again. ", "Yes, ", "word ", "by ", "word "]
