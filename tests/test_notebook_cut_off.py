"""A kernel that the server listens to no longer: its bots say so, with the reason."""

from __future__ import annotations

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
