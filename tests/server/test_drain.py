"""A server that is emptied before it stops: who is told what, and who is let in no more."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from support.server import TOKEN, RunningServer, running_server, wait_for
from websockets.exceptions import ConnectionClosed, InvalidStatus

from jupyter_wshandler.client import Change, connect

BOT = """
import asyncio
import os

async def on_message(handler, message):
    if message.startswith("count "):
        for number in range(int(message[6:])):
            yield f"{number}"
            await asyncio.sleep(0.05)
    elif message.startswith("until "):
        while not os.path.exists(message[6:]):
            yield "."
            await asyncio.sleep(0.05)
    elif message == "forever":
        while True:
            yield "."
            await asyncio.sleep(0.05)
    else:
        yield message

def on_close(handler):
    print("closed", handler.close_code, flush=True)
"""

KWARGS = "on_message: bots.on_message, on_close: bots.on_close"

YAML = f"""
url:
  bot: {{pattern: /bot, handler: WebSocketHandler, kwargs: {{{KWARGS}}}}}
  lasting: {{pattern: /lasting, handler: WebSocketHandler, kwargs: {{{KWARGS}, resume: true}}}}
"""

API = "wshandler/api/drain"


@pytest.fixture(scope="module")
def shared(tmp_path_factory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("drain")
    options = ["--WSHandlerApp.stop_timeout=3"]
    with running_server(YAML, folder=folder, modules={"bots.py": BOT}, extra_args=options) as found:
        yield found


@pytest.fixture
def server(shared) -> Iterator[RunningServer]:
    yield shared
    assert ask(shared, "DELETE") == {"draining": False, "connections": 0}


def ask(server: RunningServer, method: str, body: Any = None) -> dict[str, Any]:
    data = None if body is None else json.dumps(body).encode()
    status, _, text = server.fetch(API, method=method, data=data)
    assert status == 200, text
    return json.loads(text)


def health(server: RunningServer) -> tuple[int, str]:
    status, _, text = server.fetch("wshandler/api/health", token=False)
    return status, json.loads(text)["status"]


class Wire:
    """A client of `wsh.v1` that a test drives by hand, and that obeys nothing by itself."""

    def __init__(self, stack: ExitStack, server: RunningServer, path: str = "/bot") -> None:
        opening = server.connect_sync(path, subprotocols=["wsh.v1"])
        self.socket = stack.enter_context(opening)
        assert "wsh" in self.frame()

    def frame(self) -> dict[str, Any]:
        return json.loads(self.socket.recv(timeout=20))

    def send(self, **said: Any) -> None:
        self.socket.send(json.dumps(said))

    def end(self) -> tuple[int, str]:
        """Read to the end; return how it was closed."""
        try:
            while True:
                self.socket.recv(timeout=20)
        except ConnectionClosed as closed:
            return (closed.rcvd.code, closed.rcvd.reason) if closed.rcvd else (1006, "")


def refused(server: RunningServer) -> Any:
    with pytest.raises(InvalidStatus) as refusal:
        server.connect_sync("/bot").__enter__()
    return refusal.value.response


def test_clients_are_told_each_a_time_of_their_own_and_nobody_new_is_let_in(server):
    with ExitStack() as stack:
        clients = [Wire(stack, server) for _ in range(4)]
        assert ask(server, "GET") == {"draining": False, "connections": 4}
        assert ask(server, "POST", {"seconds": 80}) == {"draining": True, "connections": 4}
        times = [client.frame()["move"] for client in clients]
        for found, expected in zip(times, (0, 20, 40, 60), strict=True):
            assert max(0, expected - 15) <= found <= expected
        assert health(server) == (503, "draining")
        answer = refused(server)
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "2")
        assert answer.body == b"503: the server is draining\n"
        assert server.fetch("bot", headers={"Accept": "text/html"})[0] == 503
        assert ask(server, "POST", {"seconds": 0})["draining"] is True  # it has begun already
        # The first one has not gone, though its time has come.
        assert clients[0].end() == (1001, "the server is stopping")
        clients[1].send(message="still here")
        assert clients[1].frame()["piece"] == "still here"
        assert ask(server, "DELETE") == {"draining": False, "connections": 3}
        assert health(server) == (200, "ok")
        Wire(stack, server)


def test_an_answer_that_was_asked_for_ends_first_and_a_plain_client_is_closed(server):
    with ExitStack() as stack:
        asks = Wire(stack, server)
        plain = stack.enter_context(server.connect_sync("/bot"))
        asks.send(message="count 12", ask=1)
        assert asks.frame()["piece"] == "0"
        ask(server, "POST", {"seconds": 0})
        with pytest.raises(ConnectionClosed) as closed:
            plain.recv(timeout=10)
        assert closed.value.rcvd.code == 1001
        pieces = []
        while "piece" in (frame := asks.frame()):
            pieces.append(frame["piece"])
        assert pieces == [str(number) for number in range(1, 12)]
        assert frame == {"end": 1, "how": "done", "streamed": True}
        assert asks.frame() == {"move": 0.0}
        assert asks.end()[0] == 1001  # who stays although they are told


def test_an_answer_without_an_end_is_cut_off_when_the_time_to_stop_is_over(server):
    with ExitStack() as stack:
        asks = Wire(stack, server)
        asks.send(message="forever", ask=1)
        asks.frame()
        began = time.monotonic()
        ask(server, "POST", {"seconds": 0})
        assert asks.end() == (1001, "the server is stopping")
        assert 2.5 < time.monotonic() - began < 10
        wait_for(lambda: ask(server, "GET")["connections"] == 0, 20, "an empty server")


@pytest.mark.parametrize("path", ["/bot", "/lasting"])
def test_our_client_goes_when_it_has_its_answer_and_comes_back_as_a_new_one(server, path):
    changes: list[Change] = []
    opened = connect(server.ws(path), token=TOKEN, on_state=changes.append, timeout=30)
    with opened as bot:
        bot.send("one")
        assert bot.recv() == "one"
        answer = bot.stream("count 10")
        values = [next(answer)]
        ask(server, "POST", {"seconds": 0})
        assert [*values, *answer] == [str(number) for number in range(10)]
        wait_for(lambda: [c.event for c in changes] == ["away"], 20, "the client to go")
        bot.send("two")  # waits until it is back
        wait_for(lambda: ask(server, "GET")["connections"] == 0, 20, "an empty server")
        ask(server, "DELETE")
        assert bot.recv() == "two"
        # Whatever was sent is acknowledged before the end, however little it was.
        assert [(c.event, c.reason, c.unsure) for c in changes[1:]] == [("renewed", "moved", ())]
        assert changes[0].code == 4900
    assert server.log_text().count("closed 4900") >= 1


def test_who_may_not_is_refused_and_what_is_no_number_of_seconds_too(server):
    assert server.fetch(API, method="POST", token=False)[0] == 403
    assert server.fetch(API, token="wrong")[0] in (401, 403)
    for wrong in ({"seconds": -1}, {"seconds": 1e9}, {"seconds": "1"}, {"minutes": 1}, [1]):
        status, _, text = server.fetch(API, method="POST", data=json.dumps(wrong).encode())
        assert status == 400, wrong
        assert "expected JSON such as" in json.loads(text)["message"]
    assert ask(server, "GET")["draining"] is False


def test_with_bots_only_it_is_for_whom_is_named_and_a_server_alone_that_stops_sends_nobody_away(
    tmp_path,
):
    people = (
        "from jupyter_server.auth.identity import IdentityProvider, User\n"
        "class People(IdentityProvider):\n"
        "    def get_user(self, handler):\n"
        "        return User(username=handler.request.headers.get('X-Person', 'eve'))\n"
    )
    options = [
        "--WSHandlerApp.bots_only=True",
        "--WSHandlerApp.publishers=ada",
        "--WSHandlerApp.stop_timeout=60",  # the answer ends when all has been looked at
        "--ServerApp.identity_provider_class=people.People",
        "--ServerApp.disable_check_xsrf=True",
    ]
    with running_server(
        YAML,
        folder=tmp_path,
        modules={"bots.py": BOT, "people.py": people},
        extra_args=options,
        env={"PYTHONPATH": os.pathsep.join((str(tmp_path), *sys.path))},
        wait_path="wshandler/api/health",
    ) as server:
        status, _, text = server.fetch(API, method="POST")
        assert status == 403
        assert "SIGTERM drains it in any case" in json.loads(text)["message"]
        assert server.fetch(API, method="POST", headers={"X-Person": "ada"})[0] == 200
        with ExitStack() as stack:  # as the server stops
            server.fetch(API, method="DELETE", headers={"X-Person": "ada"})
            speaks = Wire(stack, server)
            asks = Wire(stack, server)
            plain = stack.enter_context(server.connect_sync("/bot"))
            asks.send(message=f"until {tmp_path / 'looked at'}", ask=1)
            asks.frame()
            server.process.send_signal(signal.SIGTERM)
            for socket in (speaks.socket, plain):  # there is no other server to go to
                with pytest.raises(ConnectionClosed) as closed:
                    socket.recv(timeout=10)
                assert closed.value.rcvd.code == 1001
                assert closed.value.rcvd.reason == "the server is stopping"
            with pytest.raises(OSError, match="refused"):  # Jupyter listens no more from here on
                health(server)
            (tmp_path / "looked at").touch()
            frame = asks.frame()
            while "piece" in frame:
                frame = asks.frame()
            assert frame == {"end": 1, "how": "done", "streamed": True}
            assert asks.end() == (1001, "the server is stopping")
        assert server.process.wait(20) == 0
        assert "Traceback" not in server.log_text()
