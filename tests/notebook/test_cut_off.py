"""A kernel that the server listens to no longer: its bots say so, with the reason."""

from __future__ import annotations

import os
import signal
import time
from types import SimpleNamespace

import pytest
from support.notebook import eventually, notebook
from support.server import RunningServer, running_server
from websockets.exceptions import ConnectionClosed

from jupyter_wshandler.notebook.claims import Claims

SERVE = """
import jupyter_wshandler as wsh
def f(handler, message):
    return message
one, two = wsh.serve('/one', f), wsh.serve('/two', f)
"""

RUBBISH = """
k = get_ipython().kernel
content = {'comm_id': list(k.comm_manager.comms)[-1], 'data': None}
k.session.send(k.iopub_socket, 'comm_msg', content, ident=b'wshandler')
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> RunningServer:
    with running_server("url: {}", folder=tmp_path_factory.mktemp("server")) as running:
        yield running


def test_bots_of_a_kernel_that_is_cut_off_say_so_and_a_restart_serves_them_again(server):
    with notebook(server) as book:
        cell = book.run(SERVE)
        with server.connect_sync("/one") as socket:
            socket.send("x")
            assert socket.recv(timeout=10) == "x"
            book.run(RUBBISH)
            with pytest.raises(ConnectionClosed) as closed:
                socket.recv(timeout=10)
            assert closed.value.rcvd.code == 1012
        eventually(lambda: book.run("print(one.state, two.state)").text == "displaced displaced\n")
        reason = book.run("print(one.reason)").text
        assert "the server has cut this kernel off, because it has sent what is no batch" in reason
        assert "restart the kernel" in reason
        eventually(lambda: "two is no longer served: the server has cut" in cell.text, cell.text)
        error = book.run("wsh.serve('/three', f)", fails=True).error
        assert "RouteRefused" in error
        assert "restart the kernel" in error
        book.restart()
        book.run(SERVE)
        assert book.run("print(one.state)").text == "live\n"


def test_a_bot_is_refused_with_words_after_the_cut_off_also_where_nobody_waits(server):
    with notebook(server) as book:
        book.run(SERVE)
        book.run(RUBBISH)
        eventually(lambda: book.run("print(one.state)").text == "displaced\n")
        began = time.monotonic()
        cell = book.run("later = wsh.serve('/later', f, wait=0)\nprint(later.state)")
        assert "refused\n" in cell.text
        assert "later is not served: the server has cut this kernel off" in cell.text
        assert "No Jupyter server" not in cell.text
        assert "RouteRefused" in book.run("wsh.serve('/last', f, wait=60)", fails=True).error
        assert time.monotonic() - began < 20  # nobody answers: it was not waited for


def test_a_kernel_that_is_cut_off_before_its_first_bot_is_told_when_it_serves_one(server):
    with notebook(server) as book:
        # Before a server has opened a way there: it has never heard of this kernel.
        book.run(
            "k = get_ipython().kernel\n"
            "content = {'comm_id': 'wshandler', 'data': 'x' * 20_000_000}\n"
            "import jupyter_wshandler as wsh\n"
            "def f(handler, message):\n    return message\n"
            "def say():\n"
            "    k.session.send(k.iopub_socket, 'comm_msg', content, ident=b'wshandler')\n"
        )
        for _ in range(3):  # the first may come before the server has subscribed
            book.run("say()")
        cell = book.run("bot = wsh.serve('/never', f, wait=0)")
        eventually(
            lambda: "never is not served: the server has cut this kernel off" in cell.text,
            cell.text,
        )
        assert book.run("print(bot.state)").text == "refused\n"


def test_a_bot_does_not_call_itself_live_while_its_server_is_silent(tmp_path_factory):
    hasten = (
        "from jupyter_wshandler.server.kernels import watch, wire\n"
        "wire.BEAT = watch.TICK = 0.2\n"
        "def f(h, m): return m\n"
    )
    folder = tmp_path_factory.mktemp("silent")
    config = "url: {a: {pattern: /a, handler: WebSocketHandler, kwargs: {on_message: hasten.f}}}\n"
    with (
        running_server(config, folder=folder, modules={"hasten.py": hasten}) as server,
        notebook(server) as book,
    ):
        book.run(SERVE)
        states = folder / "states"
        book.run(
            "import threading, time\n"
            "def watch():\n"
            "    while True:\n"
            f"        with open({str(states)!r}, 'a') as file:\n"
            "            file.write(f'{one.state}: {one.reason}\\n')\n"
            "        time.sleep(0.1)\n"
            "threading.Thread(target=watch, daemon=True).start()"
        )
        eventually(lambda: states.exists() and "live: " in states.read_text(), "live")
        # A server that is stopped before it has said for the first time that it is there says
        # nothing that could be missed.
        heard = "import sys\nprint(sys.modules['jupyter_wshandler.notebook.serve']._link._beat)"
        eventually(lambda: book.run(heard).text == "0.2\n", "the first beat")
        os.kill(server.process.pid, signal.SIGSTOP)
        try:
            eventually(
                lambda: "waiting: nothing has come from the J" in states.read_text(), "waiting"
            )
        finally:
            os.kill(server.process.pid, signal.SIGCONT)
        eventually(lambda: book.run("print(one.state)").text == "live\n")
        with server.connect_sync("/one") as socket:
            socket.send("x")
            assert socket.recv(timeout=10) == "x"


def test_a_bot_whose_kernel_has_lost_its_way_waits_and_is_live_again(server):
    with notebook(server) as book:
        book.run(SERVE)
        book.run(
            "import sys\nlink = sys.modules['jupyter_wshandler.notebook.serve']._link\n"
            "def lose():\n    link._detach()\n    return one.state, two.state\n"
            "states = link.call(lose)"
        )
        assert book.run("print(*states)").text == "waiting waiting\n"
        eventually(lambda: book.run("print(one.state, two.state)").text == "live live\n")
        with server.connect_sync("/one") as socket:
            socket.send("x")
            assert socket.recv(timeout=10) == "x"


def test_the_end_of_all_claims_tells_each_version_what_has_become_of_it():
    claims, removed = Claims(lambda asked: None, lambda route: None, lambda name: None), []
    claims._remove = removed.append
    told: list[tuple[str, str, object]] = []

    def serve(name: str, version: int) -> None:
        def hear(what: str, details: object) -> None:
            told.append((f"{name}{version}", what, details))

        claims.serve(SimpleNamespace(name=name), {"version": version}, hear)

    serve("served", 1)
    claims.answered("served", "served", 1, "where")
    serve("served", 2)
    serve("asked", 1)
    serve("asked", 2)
    told.clear()
    claims.end("why")
    assert sorted(told, key=str) == [
        ("asked1", "overtaken", None),
        ("asked2", "refused", "why"),
        ("served1", "displaced", "why"),
        ("served2", "displaced", "why"),
    ]
    assert sorted(removed) == ["asked", "served"]
    assert len(claims) == 0
