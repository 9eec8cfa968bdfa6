"""A child process that a callback forks keeps no socket of the server's and runs no loop."""

from __future__ import annotations

import json
import os
import signal
import socket
import time

import pytest
from support.bots import bot_text
from support.notebook import notebook
from support.server import running_server, wait_for
from support.transports import serving
from websockets.exceptions import ConnectionClosed

BOTS = bot_text("forks")

ROUTES = """
url:
  thread:
    pattern: /thread
    handler: WebSocketHandler
    kwargs: {open: bots.open_, on_message: bots.on_thread, on_close: bots.on_close}
  loop:
    pattern: /loop
    handler: WebSocketHandler
    kwargs: {on_message: bots.on_loop, on_close: bots.on_close}
  asked:
    pattern: /asked
    handler: WebSocketHandler
    kwargs: {auth: {condition: bots.may_open}, on_message: bots.echo}
  asked-on-loop:
    pattern: /asked-on-loop
    handler: WebSocketHandler
    kwargs: {auth: {condition: bots.may_open_on_loop}, on_message: bots.echo}
  echo: {pattern: /echo, handler: WebSocketHandler, kwargs: {on_message: bots.echo}}
"""


@pytest.fixture(scope="module", params=["direct", "stream"])
def server(request, tmp_path_factory):
    folder, modules = tmp_path_factory.mktemp("forks"), {"bots.py": BOTS}
    with serving(request.param, ROUTES, folder=folder, modules=modules) as running:
        yield running


@pytest.fixture(params=["thread", "loop"])
def place(request):
    return request.param


def ask(server, path, message):
    with server.connect_sync(path) as socket_:
        socket_.send(message)
        return json.loads(socket_.recv(timeout=20))


def test_a_client_hears_of_its_end_at_once_though_a_child_sleeps(server, place):
    bystander = server.connect_sync("/echo")
    with server.connect_sync(place) as client:
        client.send("sleep")
        child = json.loads(client.recv(timeout=10))["pid"]
        began = time.monotonic()
        try:
            with pytest.raises(ConnectionClosed) as closed:
                client.recv(timeout=10)
            assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4001, "the parent closes")
            # The client says so when the stream has ended, too, and waits 10 s for that.
            assert time.monotonic() - began < 3
            os.kill(child, 0)
            with bystander:
                bystander.send("still here")
                assert bystander.recv(timeout=5) == "still here"
        finally:
            os.kill(child, signal.SIGKILL)


def test_a_child_whose_callback_returns_ends_and_says_why(server, place):
    before = len(server.log_text())
    assert ask(server, place, "return") == {"code": 0}
    wait_for(lambda: "came back from it, and ends here" in server.log_text()[before:], 5)
    assert server.process.poll() is None


def test_the_callbacks_of_a_child_that_raise_end_it_with_that(server, place):
    before = len(server.log_text())
    assert ask(server, place, "raise") == {"code": 1}
    assert ask(server, place, "exit") == {"code": 7}
    assert ask(server, place, "interrupt") == {"code": 1}
    assert "ValueError: a fault in the child" in server.log_text()[before:]


def test_a_child_that_awaits_or_is_forked_in_a_task_runs_nothing_more(server):
    assert ask(server, "/loop", "await") == {"code": 1}  # there is no loop
    assert ask(server, "/loop", "task") == {"code": 9}
    trace = server.folder / "bots.py.trace"
    assert "after await" not in (trace.read_text() if trace.exists() else "")
    assert server.process.poll() is None


def test_no_child_runs_on_close(server, place):
    for _ in range(3):
        ask(server, place, "return")
        ask(server, place, "exit")
    trace = server.folder / "bots.py.trace"
    wait_for(lambda: trace.exists() and "on_close" in trace.read_text(), 5)
    assert "on_close False" not in trace.read_text()


def test_a_child_that_sends_is_told_that_it_is_no_server(server, place):
    for what in ("write", "ping"):
        text = ask(server, place, what)["text"]
        assert text.startswith("ConnectionClosed: "), text
        assert "this process is a fork of it" in text
    assert "this process is a fork of the server" in ask(server, place, "push")["text"]


def test_a_child_holds_no_copy_of_the_socket(server, place):
    assert ask(server, place, "descriptor")["text"] == "/dev/null"


def test_processes_of_multiprocessing_and_subprocess_work_as_ever(server, place):
    assert ask(server, place, "process") == {"code": 5}
    assert ask(server, place, "subprocess") == {"text": "42\n"}
    # The server's own way to end waits for a loop, which a child does not run.
    assert ask(server, place, "terminate") == {"code": -signal.SIGTERM}


def test_a_child_may_run_a_loop_of_its_own(server, place):
    assert ask(server, place, "loop")["text"] == "returned 42"


def test_a_rule_that_forks_answers_once(server):
    for path in ("/asked", "/asked-on-loop"):
        with server.connect_sync(path) as client:
            client.send("hello")
            assert client.recv(timeout=5) == "hello"


def test_a_server_that_was_killed_leaves_its_port_free_though_a_child_sleeps(tmp_path):
    with running_server(ROUTES, folder=tmp_path, modules={"bots.py": BOTS}) as server:
        with server.connect_sync("/thread") as client:
            client.send("sleep")
            child = json.loads(client.recv(timeout=10))["pid"]
        try:
            server.stop(signal.SIGKILL)
            with socket.create_server(("127.0.0.1", server.port)):
                os.kill(child, 0)
        finally:
            os.kill(child, signal.SIGKILL)


CELL = bot_text("forks_cell")


def test_a_child_of_a_notebooks_bot_ends_with_its_callback(tmp_path):
    with running_server(folder=tmp_path) as server, notebook(server) as book:
        book.run(CELL)
        for path in ("/one", "/two"):
            assert ask(server, path, "return") == {"code": 0}
            assert ask(server, path, "write") == {"code": 33}
            with server.connect_sync(path) as client:
                client.send("sleep")
                began = time.monotonic()
                with pytest.raises(ConnectionClosed) as closed:
                    client.recv(timeout=10)
                assert closed.value.rcvd.code == 4001
                assert time.monotonic() - began < 3
        assert ask(server, "/two", "return") == {"code": 0}
