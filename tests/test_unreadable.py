"""What a bot raises or stores and nobody can look at: it costs its own connection, and no more."""

from __future__ import annotations

import pytest
import websockets.exceptions
from support.bots import bot_text
from support.server import running_server, wait_for

BOTS = bot_text("unreadable")

YAML = """
url:
  plain: {pattern: /plain, handler: Websocket, kwargs: {on_message: bots.plain}}
  loop: {pattern: /loop, handler: Websocket, kwargs: {on_message: bots.loop}}
  generator: {pattern: /generator, handler: Websocket, kwargs: {on_message: bots.generator}}
  rule: {pattern: /rule, handler: Websocket,
         kwargs: {on_message: bots.echo, auth: {condition: bots.condition}}}
  rule-on-loop: {pattern: /rule-on-loop, handler: Websocket,
                 kwargs: {on_message: bots.echo, auth: {condition: bots.condition_on_loop}}}
  select: {pattern: /select, handler: Websocket,
           kwargs: {on_message: bots.echo, select_subprotocol: bots.select}}
  store: {pattern: /store, handler: Websocket, kwargs: {on_message: bots.store}}
  echo: {pattern: /echo, handler: Websocket, kwargs: {on_message: bots.echo}}
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unreadable")
    with running_server(YAML, folder=folder, modules={"bots.py": BOTS}) as running:
        yield running


@pytest.fixture
def bystander(server):
    with server.connect_sync("/echo") as socket:
        yield socket
        socket.send("still here")
        assert socket.recv(timeout=10) == "still here"
    log = server.log_text()
    assert "never retrieved" not in log
    assert "Logging error" not in log
    assert max(map(len, log.splitlines())) < 5000


@pytest.mark.parametrize("what", ["nameless", "closed", "odd", "long"])
@pytest.mark.parametrize("route", ["plain", "loop", "generator"])
def test_an_exception_that_cannot_be_looked_at_closes_with_1011_and_an_id_that_is_in_the_log(
    server, bystander, route, what
):
    with server.connect_sync(f"/{route}") as socket:
        socket.send(what)
        if route == "generator":
            assert socket.recv(timeout=10) == "begun"
        with pytest.raises(websockets.exceptions.ConnectionClosed):
            socket.recv(timeout=10)
        assert socket.protocol.close_code == 1011
        error_id = socket.protocol.close_reason.rpartition(" ")[2]
    wait_for(lambda: f"Error {error_id} in bots.{route}" in server.log_text())


@pytest.mark.parametrize("what", ["nameless", "closed", "odd", "long"])
@pytest.mark.parametrize(
    ("route", "status"), [("rule", 403), ("rule-on-loop", 403), ("select", 500)]
)
def test_a_rule_that_raises_what_cannot_be_looked_at_is_answered(
    server, bystander, route, status, what
):
    with (
        pytest.raises(websockets.exceptions.InvalidStatus) as refused,
        server.connect_sync(f"/{route}?raise={what}", subprotocols=["a"]),
    ):
        pass
    assert refused.value.response.status_code == status


@pytest.mark.parametrize("how", ["exit", "interrupt", "value"])
def test_a_value_of_a_session_that_raises_when_it_is_saved_is_left_out_and_ends_no_server(
    server, bystander, how
):
    with server.connect_sync("/store") as socket:
        socket.send(how)
        assert socket.recv(timeout=10) == "stored"
        wait_for(lambda: "session['value']" in server.log_text())
