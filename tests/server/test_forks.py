"""A child process that a callback forks keeps no socket of the server's and runs no loop."""

from __future__ import annotations

import json
import os
import signal
import socket
import time

import pytest
from support.notebook import notebook
from support.server import running_server, wait_for
from websockets.exceptions import ConnectionClosed

BOTS = '''
import asyncio, atexit, multiprocessing, os, subprocess, sys, time
from jupyter_wshandler.manager.push import send
import jupyter_wshandler as wsh

FORK = multiprocessing.get_context("fork")
TRACE = __file__ + ".trace"
PARENT = os.getpid()

def note(what):
    with open(TRACE, "a") as trace:
        trace.write(f"{what} {os.getpid() == PARENT}\\n")

def open_(handler):
    handler.session["opened"] = True

def on_close(handler):
    note("on_close")

def sleep_in_child():
    pid = os.fork()
    if pid == 0:
        time.sleep(30)
        os._exit(0)
    return pid

def wait(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

def attempt(function):
    """Return what a call in a child raises, as text."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            text = f"returned {function()!r}"
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
        os.write(write, text.encode())
        os._exit(0)
    os.close(write)
    text = os.read(read, 10000).decode()
    os.close(read)
    wait(pid)
    return text

def calculate(value):
    print("calculated", flush=True)
    sys.exit(value)

def sockets(handler):
    """Return how many sockets a child has, but for those of ZeroMQ's own threads."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        mine = [handler._transport.fileno(), handler._io.loop._selector]
        os.write(write, os.readlink(f"/proc/self/fd/{mine[0]}").encode())
        os._exit(0)
    os.close(write)
    text = os.read(read, 1000).decode()
    os.close(read)
    wait(pid)
    return text

def act(handler, message):
    if message == "sleep":
        handler.write_message({"pid": sleep_in_child()})
        handler.close(4001, "the parent closes")
    elif message == "process":
        child = FORK.Process(target=calculate, args=(5,))
        child.start()
        child.join()
        return {"code": child.exitcode}
    elif message == "terminate":
        child = FORK.Process(target=time.sleep, args=(30,))
        child.start()
        child.terminate()
        child.join(10)
        return {"code": child.exitcode}
    elif message == "subprocess":
        return {"text": subprocess.run([sys.executable, "-c", "print(6 * 7)"],
                                       capture_output=True, text=True).stdout}
    elif message == "write":
        return {"text": attempt(lambda: handler.write_message("from the child"))}
    elif message == "ping":
        return {"text": attempt(lambda: handler.ping())}
    elif message == "push":
        return {"text": attempt(lambda: wsh.send("thread", "from the child"))}
    elif message == "loop":
        async def other():
            await asyncio.sleep(0.01)
            return 42
        return {"text": attempt(lambda: asyncio.run(other()))}
    elif message == "descriptor":
        return {"text": sockets(handler)}
    else:
        pid = os.fork()
        if pid:
            return {"code": wait(pid)}
        if message == "raise":
            raise ValueError("a fault in the child")
        if message == "exit":
            sys.exit(7)
        if message == "interrupt":
            raise KeyboardInterrupt
        return {"pid": "the child's answer"}

def on_thread(handler, message):
    return act(handler, message)

async def on_loop(handler, message):
    if message == "await":
        pid = os.fork()
        if pid == 0:
            await asyncio.sleep(0.1)
            note("after await")
            return "the child's"
        return {"code": wait(pid)}
    if message == "task":
        async def task():
            pid = os.fork()
            if pid == 0:
                sys.exit(9)
            handler.write_message({"code": wait(pid)})
        handler.start_task(task())
        return None
    return act(handler, message)

def may_open(handler):
    pid = os.fork()
    if pid:
        wait(pid)
    return True

async def may_open_on_loop(handler):
    return may_open(handler)

async def echo(handler, message):
    return message
'''

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
    with running_server(
        ROUTES,
        folder=tmp_path_factory.mktemp("forks"),
        modules={"bots.py": BOTS},
        extra_args=[f"--WSHandlerApp.carrier={request.param}"],
    ) as running:
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


CELL = """
import jupyter_wshandler as wsh, os, asyncio, time

def wait(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

def on_thread(handler, message):
    pid = os.fork()
    if pid:
        if message == "sleep":
            handler.close(4001, "the parent closes")
            return
        return {"code": wait(pid)}
    if message == "sleep":
        time.sleep(5)
        os._exit(0)
    if message == "write":
        try:
            handler.write_message("from the child")
        except wsh.ConnectionClosed as error:
            os._exit(33 if "fork" in str(error) else 34)
    return "the child's answer"

async def on_loop(handler, message):
    return on_thread(handler, message)

one = wsh.serve("/one", on_message=on_thread)
two = wsh.serve("/two", on_message=on_loop)
"""


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
