"""The tests of a user whose bot runs on a server of the plugin."""

import os

import pytest

from jupyter_wshandler.errors import HandshakeRefused

seen = []


def test_a_bot(wsh_server):
    server = wsh_server("wshandler.yaml")
    seen.append(server)
    with server.connect("/bot") as bot:
        bot.send("where")
        answer = bot.recv_json()
        assert answer["pid"] != os.getpid()
    with pytest.raises(HandshakeRefused) as refused:
        server.connect("/bot", token="").open()
    assert refused.value.status == 403


def test_that_it_has_stopped():
    [server] = seen
    assert server.process.poll() is not None
    assert not server.folder.exists()


def test_that_a_file_that_is_not_there_is_named(wsh_server):
    with pytest.raises(FileNotFoundError, match=r"nothing\.yaml"):
        wsh_server("nothing.yaml")


@pytest.fixture(scope="module")
def server(wsh_server_factory, request):
    return wsh_server_factory("wshandler.yaml", folder=request.path.parent)


pids = set()


@pytest.mark.parametrize("turn", range(2))
def test_that_a_server_is_shared(server, wsh_server_factory, request, turn):
    assert wsh_server_factory("wshandler.yaml", folder=request.path.parent) is server
    pids.add(server.pid)
    assert len(pids) == 1
