"""Every refusal on a real server: a line in the log and an event, without a secret."""

from __future__ import annotations

import json
import re

import pytest
import websockets.exceptions
from support.server import running_server, wait_for
from tornado.web import HTTPError

from jupyter_wshandler.server.access.refused import words_of

YAML = """
url:
  bot: {pattern: /bot, handler: WebSocketHandler, kwargs: {on_message: bot.echo}}
  staff:
    pattern: /staff
    handler: WebSocketHandler
    kwargs: {on_message: bot.echo, auth: {groups: [staff]}}
  one:
    pattern: /one
    handler: WebSocketHandler
    kwargs: {on_message: bot.echo, max_connections: {route: 1}}
  short:
    pattern: /short
    handler: WebSocketHandler
    kwargs: {on_message: bot.rotate, auth: {recheck: 200ms}}
"""

BOT = """
from jupyter_server.serverapp import ServerApp

def echo(handler, message):
    return message

async def rotate(handler, message):
    ServerApp.instance().identity_provider.token = message
"""

CONFIG = """
import logging
c.EventLogger.handlers = [logging.FileHandler({path!r})]
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("refusals")
    (folder / "config.py").write_text(CONFIG.format(path=str(folder / "events.log")))
    with running_server(
        YAML,
        folder=folder,
        modules={"bot.py": BOT},
        extra_args=[f"--config={folder / 'config.py'}"],
    ) as running:
        yield running


def events(server) -> list[dict]:
    lines = (server.folder / "events.log").read_text().splitlines()
    found = [json.loads(line) for line in lines]
    return [event for event in found if event["__schema__"] == "urn:jupyter-wshandler:refused"]


def last(server, count: int) -> dict:
    wait_for(lambda: len(events(server)) > count, what="the event")
    return {key: value for key, value in events(server)[-1].items() if not key.startswith("__")}


def test_a_stranger_is_named_nobody(server):
    count = len(events(server))
    status, _, sock = server.raw_handshake("bot", [("Authorization", "token a-wrong-secret")])
    sock.close()
    assert status == 403
    event = last(server, count)
    assert event.pop("reason")
    assert event == {"route": "bot", "status": 403, "user": None, "kind": None}
    assert re.search(r"Route bot: 403 for anonymous: ", server.log_text())
    assert "a-wrong-secret" not in server.log_text() + json.dumps(events(server))


def test_a_user_who_may_not_is_named_with_the_reason(server):
    count = len(events(server))
    status, _, sock = server.raw_handshake("staff?x=1", list(server.headers().items()))
    sock.close()
    assert status == 403
    event = last(server, count)
    assert event.pop("user")
    assert event == {
        "route": "staff",
        "status": 403,
        "kind": "user",
        "reason": "this user may not use this route",
    }
    assert server.token not in json.dumps(events(server))


def test_a_reached_limit_is_an_event_each_time_though_the_log_is_spared(server):
    with server.connect_sync("one"):
        for _ in range(3):
            count = len(events(server))
            with pytest.raises(websockets.exceptions.InvalidStatus):
                server.connect_sync("one")
            assert last(server, count)["status"] == 429


def test_a_login_that_has_ended_is_an_event_with_the_close_code(server):
    count = len(events(server))
    with server.connect_sync("short") as socket:
        socket.send("another-token")
        with pytest.raises(websockets.exceptions.ConnectionClosed) as closed:
            socket.recv(timeout=10)
        assert closed.value.rcvd.code == 4401
    event = last(server, count)
    assert event.pop("user")
    assert event == {
        "route": "short",
        "status": 4401,
        "kind": "user",
        "reason": "your login has ended",
    }
    assert re.search(r"Route short: closing \w+ of \w+ with 4401", server.log_text())


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (HTTPError(404, "there is no 50%% of '100%'"), "there is no 50%% of '100%'"),
        (HTTPError(404, "no %s, 50%% of it", "half"), "no half, 50% of it"),
        (HTTPError(404), ""),
    ],
)
def test_an_error_says_what_was_written_whatever_percent_signs_it_has(error, words):
    assert words_of(error) == words
