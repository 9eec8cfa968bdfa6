"""What becomes of a bot when the subshell that its messages come in by is deleted."""

from __future__ import annotations

import json
import threading
import time

import pytest
from support.bots import bot_text
from support.notebook import Notebook, eventually, notebook, told_of_the_end
from support.server import RunningServer, running_server
from websockets.exceptions import ConnectionClosed

SERVE = """
import jupyter_wshandler as wsh
async def on_message(handler, message):
    handler.state.count = handler.state.get('count', 0) + 1
    return f'{handler.state.count} {message}'
bot = wsh.serve('/bot', on_message=on_message)
"""

INSIDE = bot_text("inside")
NO_PIPES = "--WSHandlerApp.kernel_pipes=False"
CONFIG = """
url:
  inside: {pattern: /inside, handler: WebSocketHandler, kwargs: {on_message: inside.kernel}}
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> RunningServer:
    folder = tmp_path_factory.mktemp("server")
    # Where a kernel has a pipe, its messages need no subshell; see test_pipe.
    options = {"modules": {"inside.py": INSIDE}, "extra_args": [NO_PIPES]}
    with running_server(CONFIG, folder=folder, **options) as running:
        yield running


@pytest.fixture
def book(server) -> Notebook:
    with notebook(server) as opened:
        opened.run(SERVE)
        yield opened


def inside(server: RunningServer, what: str, book: Notebook) -> dict:
    with server.connect_sync("/inside") as socket:
        socket.send(f"{what} {book.kernel_id}")
        return json.loads(socket.recv(timeout=30))


def ask(socket, message: str, seconds: float = 20) -> str:
    socket.send(message)
    return socket.recv(timeout=seconds)


@told_of_the_end
def test_a_message_for_a_deleted_subshell_is_answered_by_a_new_one(server, book):
    with server.connect_sync("/bot") as socket:
        for count in range(1, 4):
            time.sleep(1.2)  # what was sent before has arrived, as far as anybody can know
            before = inside(server, "delete", book)
            assert before["subshell_id"] == []
            begun = time.monotonic()
            assert ask(socket, "x") == f"{count} x"
            assert time.monotonic() - begun < 5
            after = inside(server, "look", book)
            assert after["subshell_id"] == [after["subshell"]] != [before["subshell"]]
    assert server.log_text().count("its subshell was deleted; making a new one") >= 3


@told_of_the_end
def test_many_messages_at_once_are_all_answered_in_order(server, book):
    with server.connect_sync("/bot") as socket:
        assert ask(socket, "x") == "1 x"
        time.sleep(1.2)
        inside(server, "delete", book)
        for number in range(500):
            socket.send(str(number))
        got = [socket.recv(timeout=20) for _ in range(500)]
    assert got == [f"{number + 2} {number}" for number in range(500)]


def test_where_nobody_knows_what_arrived_the_clients_are_told_and_the_bot_is_back(server, book):
    with server.connect_sync("/bot") as socket:
        assert ask(socket, "x") == "1 x"
        inside(server, "unsure", book)
        inside(server, "delete", book)
        socket.send("y")
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(timeout=20)
        assert closed.value.rcvd.code == 1012
    eventually(lambda: server.fetch("bot")[0] != 404)
    with server.connect_sync("/bot") as socket:
        assert ask(socket, "x") == "1 x"


@told_of_the_end
def test_a_subshell_that_is_deleted_in_the_middle_of_traffic_leaves_nobody_waiting(server, book):
    done = threading.Event()
    failed: list[object] = []
    answers = 0

    def talk() -> None:
        nonlocal answers
        while not done.is_set():
            try:
                with server.connect_sync("/bot") as socket:
                    while not done.is_set():
                        ask(socket, "x", 10)
                        answers += 1
            except ConnectionClosed as error:
                if error.rcvd is None or error.rcvd.code != 1012:
                    failed.append(error)
            except TimeoutError as error:
                failed.append(error)
                return
            except Exception:  # the bot is not there for a moment: 404
                time.sleep(0.05)

    threads = [threading.Thread(target=talk) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(8):
            before = answers
            eventually(lambda before=before: answers > before + 20)
            inside(server, "delete", book)
        before = answers
        eventually(lambda: answers > before + 20)
    finally:
        done.set()
        for thread in threads:
            thread.join(30)
    assert failed == []


def test_a_subshell_that_says_nothing_is_found_out(server, book):
    with server.connect_sync("/bot") as socket:
        assert ask(socket, "x") == "1 x"
        inside(server, "deaf", book)
        socket.send("y")
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(timeout=25)
        assert closed.value.rcvd.code == 1012
    assert "its subshell does not answer" in server.log_text()
    eventually(lambda: server.fetch("bot")[0] != 404)
    with server.connect_sync("/bot") as socket:
        assert ask(socket, "x") == "1 x"


def test_a_kernel_that_makes_no_subshell_is_asked_again(server, book):
    with server.connect_sync("/bot") as socket:
        assert ask(socket, "x") == "1 x"
        time.sleep(1.2)
        inside(server, "delete", book)
        inside(server, "refuse", book)
        socket.send("y")
        with pytest.raises(ConnectionClosed):
            socket.recv(timeout=20)
    eventually(lambda: server.fetch("bot")[0] != 404)
    with server.connect_sync("/bot") as socket:
        assert ask(socket, "x") == "1 x"
    found = inside(server, "look", book)
    assert found["subshell_id"] == [found["subshell"]]


def test_what_is_kept_for_a_deleted_subshell_does_not_grow(server, book):
    book.run("import time\nfor n in range(2000): bot.send('x'); time.sleep(0.001)")
    with server.connect_sync("/bot") as socket:
        assert ask(socket, "x") == "1 x"
        book.run("for n in range(3000): bot.send('x'); time.sleep(0.001)")
        for _ in range(3000):
            socket.recv(timeout=20)
        assert inside(server, "look", book)["unsure"] < 1000
