"""`sqlite3` in a bot, on a server and in a kernel: nobody closes, and errors give advice."""

from __future__ import annotations

import contextlib
import textwrap

import pytest
from support.bots import bot_text
from support.notebook import eventually, notebook
from support.server import running_server, wait_for

VISITORS = 32
ROUNDS = 4

BOT = bot_text("sqlite_homes")

MODULE = (
    BOT
    + """
everybodys = sqlite3.connect(":memory:")

def ask_everybodys(handler, message):
    return everybodys.execute("select 1").fetchone()[0]
"""
)

CONFIG = """
url:
  kept:
    pattern: /kept
    handler: WebSocketHandler
    kwargs: {open: sqlbot.open, on_message: sqlbot.on_message, on_close: sqlbot.on_close}
  own:
    pattern: /own
    handler: WebSocketHandler
    kwargs:
      {open: sqlbot.open, on_message: sqlbot.on_message, on_close: sqlbot.on_close, threads: 3}
  loop:
    pattern: /loop
    handler: WebSocketHandler
    kwargs:
      {open: sqlbot.open, on_message: sqlbot.on_message, on_close: sqlbot.on_close, run: loop}
  shared:
    pattern: /shared
    handler: WebSocketHandler
    kwargs: {on_message: sqlbot.ask_everybodys}
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with running_server(
        CONFIG, folder=tmp_path_factory.mktemp("homes"), modules={"sqlbot.py": MODULE}
    ) as running:
        yield running


def talk(server, path: str, pauses: tuple[str, ...]) -> None:
    """Let 32 visitors talk at once; each gets every answer, and none is closed."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(server.connect_sync(path)) for _ in range(VISITORS)]
        for turn in range(1, ROUNDS + 1):
            for n, socket in enumerate(sockets):
                socket.send(pauses[(n + turn) % len(pauses)])
            assert [socket.recv(timeout=30) for socket in sockets] == [str(turn)] * VISITORS


@pytest.mark.parametrize("path", ["/kept", "/own", "/loop"])
def test_32_visitors_keep_a_sqlite3_connection_each_and_nobody_closes(server, path) -> None:
    talk(server, path, ("0", "0", "0.002", "0.15") if path == "/kept" else ("0", "0.005"))
    assert "ProgrammingError" not in server.log_text()


def test_32_visitors_of_a_bot_in_a_notebook_do_and_nobody_closes(server) -> None:
    with notebook(server) as book:
        book.run("%load_ext jupyter_wshandler")
        book.run("%%websocket /celled\n" + textwrap.dedent(BOT))
        talk(server, "/celled", ("0", "0.005"))


def test_the_servers_log_and_the_cell_say_what_to_do_below_sqlite3s_words(server) -> None:
    with server.connect_sync("/shared") as socket:
        socket.send("x")
        with pytest.raises(Exception, match="1011"):
            socket.recv(timeout=10)
    wait_for(lambda: "check_same_thread=False" in server.log_text(), 10, "the advice")
    assert server.log_text().index("can only be used in that same") < server.log_text().index(
        "check_same_thread"
    )
    with notebook(server) as book:
        book.run("import sqlite3\ndb = sqlite3.connect(':memory:')\n%load_ext jupyter_wshandler")
        cell = book.run(
            "%%websocket /mine\ndef on_message(handler, message):\n    db.execute('select 1')\n"
        )
        with server.connect_sync("/mine") as socket:
            socket.send("x")
            assert "internal error" in socket.recv(timeout=10)  # a notebook's bot goes on
        eventually(lambda: "check_same_thread=False" in cell.text)
