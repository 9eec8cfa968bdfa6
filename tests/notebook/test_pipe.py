"""Bots in a kernel of the server's machine speak to it on a socket of their own."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest
from support.bots import bot_text
from support.notebook import Notebook, eventually, notebook, told_of_the_end
from support.server import RunningServer, running_server
from websockets.exceptions import ConnectionClosed

SERVE = """
import jupyter_wshandler as wsh
closed = []
async def on_message(handler, message):
    return message
def on_close(handler):
    closed.append(handler.close_code)
bot = wsh.serve('/bot', on_message=on_message, on_close=on_close)
"""
CONFIG = """
url:
  inside: {pattern: /inside, handler: WebSocketHandler, kwargs: {on_message: inside.kernel}}
  server: {pattern: /server, handler: WebSocketHandler, kwargs: {on_message: inside.server}}
"""
MESSAGES = ("hello", "x" * 200_000, b"\0\xff" * 70_000, b"", "", "\U0001f600\x00\\ud800\"'")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Where the system has its temporary files; a Unix socket has no room for a long name."""
    return tmp_path_factory.mktemp("t")


@pytest.fixture(scope="module")
def server(tmp_path_factory, folder) -> RunningServer:
    options = {"modules": {"inside.py": bot_text("inside")}, "env": {"TMPDIR": str(folder)}}
    with running_server(CONFIG, folder=tmp_path_factory.mktemp("s"), **options) as running:
        yield running


@pytest.fixture
def book(server) -> Notebook:
    with notebook(server) as opened:
        opened.run(SERVE)
        yield opened


def inside(server: RunningServer, what: str, path: str = "/inside") -> dict:
    with server.connect_sync(path) as socket:
        socket.send(what)
        return json.loads(socket.recv(timeout=30))


def test_messages_come_back_as_they_were_and_nothing_of_them_goes_to_the_notebook(
    server, book, folder
):
    with server.connect_sync("/bot", max_size=None) as socket:
        for message in MESSAGES:
            socket.send(message)
            assert socket.recv(timeout=20) == message
        seen = len(book.seen)
        for number in range(300):
            socket.send(str(number))
        assert [socket.recv(timeout=20) for _ in range(300)] == [str(n) for n in range(300)]
        assert not [one for one in book.seen[seen:] if one["msg_type"] == "comm_msg"]
    assert list(folder.glob("wshandler-*")) == []


@told_of_the_end
def test_a_bot_answers_where_the_subshell_is_deleted_and_the_server_makes_a_new_one(server, book):
    with server.connect_sync("/bot") as socket:
        before = inside(server, f"delete {book.kernel_id}")
        assert before["subshell_id"] == []
        socket.send("x")
        assert socket.recv(timeout=20) == "x"
        # The kernel hears that the server is there by a subshell: where it is gone, by another.
        eventually(
            lambda: (
                inside(server, f"look {book.kernel_id}")["subshell_id"]
                not in ([], before["subshell_id"])
            )
        )
        socket.send("y")
        assert socket.recv(timeout=20) == "y"


def test_a_killed_kernel_costs_its_clients_1012_at_once(server, book):
    with server.connect_sync("/bot") as socket:
        socket.send("x")
        assert socket.recv(timeout=20) == "x"
        os.kill(book.pid(), signal.SIGKILL)
        with pytest.raises(ConnectionClosed):
            socket.recv(timeout=20)
        assert socket.close_code == 1012


def test_a_kernel_that_ends_its_pipe_is_asked_again_and_its_bot_is_back(server, book):
    with server.connect_sync("/bot") as socket:
        socket.send("x")
        assert socket.recv(timeout=20) == "x"
        book.run("link = bot._link\nlink.call(link._pipe.close)")
        with pytest.raises(ConnectionClosed):
            socket.recv(timeout=20)
        assert socket.close_code == 1012
    assert "has ended the connection; opening it again" in server.log_text()
    eventually(lambda: server.fetch("bot")[0] != 404)
    with server.connect_sync("/bot") as socket:
        socket.send("y")
        assert socket.recv(timeout=20) == "y"


def test_a_kernel_that_sends_rubbish_on_its_pipe_is_cut_off(server, book):
    with server.connect_sync("/bot") as socket:
        book.run("link = bot._link\nlink.call(lambda: link._pipe.send(b'rubbish'))")
        with pytest.raises(ConnectionClosed):
            socket.recv(timeout=20)
        assert socket.close_code == 1012
    eventually(lambda: book.run("print(bot.state)").text == "displaced\n")
    assert "has sent what is no batch" in book.run("print(bot.reason)").text


def test_a_bot_hears_at_once_that_the_server_has_let_go_of_its_kernel_and_is_back(server, book):
    with server.connect_sync("/bot"):
        assert book.run("print(closed)").text == "[]\n"
        inside(server, "again", "/server")
        eventually(lambda: book.run("print(len(closed))").text == "1\n", seconds=5)
    eventually(lambda: book.run("print(bot.state)").text == "live\n")
    eventually(lambda: server.fetch("bot")[0] != 404)


def test_a_server_and_a_kernel_leave_no_socket_and_no_file_behind(server, folder):
    def look() -> int:
        return inside(server, "look", "/server")["descriptors"]

    with notebook(server) as warm:
        warm.run(SERVE)
    eventually(lambda: inside(server, "look", "/server")["wires"] == 0)
    before = look()
    for _ in range(2):
        with notebook(server) as book:
            book.run(SERVE)
    eventually(lambda: look() <= before, f"more than {before} descriptors")
    assert list(folder.glob("wshandler-*")) == []


def test_a_kernel_that_cannot_come_in_is_served_over_jupyters_channels(server):
    with notebook(server) as book:
        book.run(
            "import jupyter_wshandler.notebook.link as link\nlink.connect = lambda offer: None"
        )
        book.run(SERVE)
        with server.connect_sync("/bot", max_size=None) as socket:
            for message in MESSAGES:
                socket.send(message)
                assert socket.recv(timeout=20) == message
        assert book.run("print(bot._link._pipe)").text == "None\n"


def test_an_open_chat_on_a_pipe_is_activity_where_the_culler_spares_nobody(tmp_path):
    culler = {"cull_idle_timeout": 3, "cull_interval": 1, "cull_connected": True}
    options = [f"--MappingKernelManager.{key}={value}" for key, value in culler.items()]
    with running_server(folder=tmp_path, extra_args=options) as server:
        book = Notebook(server)
        book.run(SERVE)
        book.leave()
        with server.connect_sync("/bot") as socket:
            until = time.monotonic() + 6  # longer than the culler allows
            while time.monotonic() < until:
                socket.send("x")
                assert socket.recv(timeout=20) == "x"
                time.sleep(0.2)
            with pytest.raises(ConnectionClosed):  # who says nothing keeps nothing alive
                socket.recv(timeout=30)
