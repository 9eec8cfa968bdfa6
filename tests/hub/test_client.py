"""The Python client under a real JupyterHub: from inside a user's server, and from elsewhere."""

from __future__ import annotations

import pytest
from support.bots import bot_text
from support.hub import running_hub

from jupyter_wshandler.client import connect
from jupyter_wshandler.errors import HandshakeRefused

NAME = "zoë b"

CONFIG = """
url:
  echo: {pattern: /echo, handler: WebSocketHandler, kwargs: {on_message: bot.echo}}
  relay: {pattern: /relay, handler: WebSocketHandler, kwargs: {on_message: bot.relay}}
"""

BOT = bot_text("hub_client")


@pytest.fixture(scope="module", params=["/", "/at/a/place/"], ids=["root", "deep"])
def hub(request, tmp_path_factory):
    with running_hub(
        tmp_path_factory.mktemp("hub-client") / "hub",
        CONFIG,
        modules={"bot.py": BOT},
        users=[NAME],
        base_url=request.param,
    ) as running:
        yield running


@pytest.fixture(scope="module")
def server(hub):
    return hub.start(NAME)


def test_a_client_inside_a_users_server_finds_it_and_logs_in_by_itself(hub, server):
    with hub.script(hub.token(NAME)).connect_sync(server.at("relay")) as socket:
        socket.send("hi")
        assert socket.recv(timeout=20) == f"{NAME}: hi"


def test_a_client_elsewhere_takes_the_hubs_url_and_a_token(hub, server):
    url = hub.door.url(server.url)
    with connect("/echo", server=url, token=hub.token(NAME)) as bot:
        bot.send("hi")
        assert bot.recv() == f"{NAME}: hi"


def test_a_token_that_is_not_good_is_an_error_that_does_not_show_it(hub, server):
    with pytest.raises(HandshakeRefused) as refused:
        connect("/echo", server=hub.door.url(server.url), token="a-token-nobody-knows").open()
    assert "403" in str(refused.value)
    assert "a-token-nobody-knows" not in str(refused.value)


def test_a_server_that_is_stopped_is_told_from_one_that_refuses(hub, server):
    url, token = hub.door.url(server.url), hub.token(NAME)
    hub.stop(NAME)
    with pytest.raises(HandshakeRefused, match="the server is not running"):
        connect("/echo", server=url, token=token).open()
    hub.start(NAME)
    with connect("/echo", server=url, token=token) as bot:
        bot.send("back")
        assert bot.recv() == f"{NAME}: back"
