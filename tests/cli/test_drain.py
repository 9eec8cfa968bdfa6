"""`jupyter wshandler drain` as an administrator runs it beside a server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.server import running_server
from support.sharecommand import command, runtime_of

CONFIG = "url: {bot: {pattern: /bot, handler: WebSocketHandler, kwargs: {on_message: bots.echo}}}"

BOT = "async def echo(handler, message):\n    return message\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drain")
    with running_server(CONFIG, folder=folder, modules={"bots.py": BOT}) as running:
        yield running


def test_it_says_when_nobody_is_there_any_more_and_takes_it_back(server):
    with server.connect_sync("/bot") as client:
        ended = command(runtime_of(server), "drain", "--seconds", "0")
        assert (ended.code, ended.said) == (0, "1 connection has to go ...\n")
        assert ended.out == (
            "Nobody is connected any more, and nobody new is let in: stop the server now.\n"
        )
        with pytest.raises(Exception, match="1001"):
            client.recv(timeout=5)
    ended = command(runtime_of(server), "drain", "--no-wait", "--json")
    assert json.loads(ended.out) == {"draining": True, "connections": 0}
    ended = command(runtime_of(server), "drain", "--undo")
    assert (ended.code, ended.out) == (0, "The server takes new clients again.\n")
    with server.connect_sync("/bot") as client:
        client.send("hello")
        assert client.recv(timeout=5) == "hello"


def test_it_says_what_cannot_be_and_where_no_server_is(server, tmp_path: Path):
    ended = command(runtime_of(server), "drain", "--seconds", "-1")
    assert ended.code == 2
    assert "jupyter wshandler drain: expected JSON such as" in ended.said
    ended = command(tmp_path, "drain")
    assert ended.code == 1
    assert "no Jupyter server of yours runs on this machine" in ended.said
    ended = command(runtime_of(server), "drain", "--url", server.url, "--token", "wrong-token")
    assert ended.code == 1
    assert "wrong-token" not in ended.said
