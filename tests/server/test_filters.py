"""Filters on a real server: of one route and of all, of bots in files and in kernels."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import websockets.exceptions
from support.bots import bot_text
from support.notebook import Notebook, notebook
from support.server import RunningServer, running_server, wait_for

from jupyter_wshandler.client import connect
from jupyter_wshandler.errors import AnswerFailed

YAML = """
url:
  room:
    pattern: /room/{room}
    handler: WebSocketHandler
    kwargs:
      on_message: rooms.on_message
      rooms: ["{room}"]
      history: {size: 10, replay: 5}
      filters: shout
  own:
    pattern: /own
    handler: WebSocketHandler
    kwargs: {on_message: echo.on_message, filters: [shout, shout.Twice], resume: true}
  none:
    pattern: /none
    handler: WebSocketHandler
    kwargs: {on_message: echo.on_message}
"""

SHOUT = """
def outgoing(handler, message):
    return message.upper() if isinstance(message, str) else message

class Twice:
    def incoming(self, handler, message):
        return f"{message} {message}"
"""

ECHO = """
async def on_message(handler, message):
    return message
"""

CELL = """
import jupyter_wshandler as wsh

def on_message(handler, message):
    if message == "stream":
        return (f"card 1234 5678 {n}" for n in range(3))
    return f"echo {message}" if isinstance(message, str) else message

class Own:
    def outgoing(self, handler, message):
        return message + "!" if isinstance(message, str) else message

bot = wsh.serve("/celled", on_message=on_message)
own = wsh.serve("/celled-own", on_message=on_message, filters=[Own])
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("filters")
    modules = {
        "rooms.py": bot_text("rooms"),
        "audit.py": bot_text("audit"),
        "shout.py": SHOUT,
        "echo.py": ECHO,
    }
    options = ["--WSHandlerApp.filters=audit", "--WSHandlerApp.filters=audit.Later"]
    with running_server(YAML, folder=folder, modules=modules, extra_args=options) as running:
        yield running


@pytest.fixture(scope="module")
def book(server) -> Iterator[Notebook]:
    with notebook(server, path="bots.ipynb") as opened:
        cell = opened.run(CELL)
        assert cell.error is None
        yield opened


def lines(server: RunningServer, route: str) -> list[str]:
    log = Path(server.folder, "audit.log")
    found = log.read_text().splitlines() if log.exists() else []
    return [line.removeprefix(f"{route} True ") for line in found if line.startswith(f"{route} ")]


def read(socket) -> str | bytes:
    return socket.recv(timeout=20)


def test_filters_of_all_routes_stand_around_those_of_one(server):
    with server.connect_sync("/own") as socket:
        socket.send("card 1234 5678")
        assert read(socket) == "CARD **** **** CARD **** ****"
        socket.send("spam")
        assert json.loads(read(socket)) == {"ERROR": "MESSAGE", "REASON": "NO SPAM HERE"}
    done = ["later open ", "in card 1234 5678", "out CARD **** **** CARD **** ****", "in spam"]
    wait_for(lambda: "later close 1000" in lines(server, "own"), what="the last line of the audit")
    assert lines(server, "own")[:5] == ["open ", *done]
    assert lines(server, "own")[-2:] == ["later close 1000", "close 1000"]


def test_what_is_said_in_a_room_and_what_was_said_before_goes_through_them(server):
    with server.connect_sync("/room/cards") as ada, server.connect_sync("/room/cards") as bob:
        ada.send("say card 1234 5678")
        assert [read(ada), read(bob)] == ["CARD **** ****"] * 2
        with server.connect_sync("/room/cards") as late:
            assert read(late) == "CARD **** ****"
    with connect("room/cards", server=server.url, token=server.token) as ada:
        assert ada.recv() == "CARD **** ****"
        ada.send("say 9999 9999")
        assert ada.recv() == "**** ****"


def test_what_is_sent_from_outside_goes_through_them(server):
    with server.connect_sync("/own") as socket:
        path = "wshandler/api/routes/own"
        data = json.dumps({"message": "card 1234 5678"}).encode()
        status, *_ = server.fetch(
            path, method="POST", data=data, headers={"Content-Type": "application/json"}
        )
        assert status == 200
        assert read(socket) == "CARD **** ****"


def test_a_failing_filter_closes_counts_and_is_logged_with_its_route(server):
    with server.connect_sync("/none") as socket:
        socket.send("fail out")
        with pytest.raises(websockets.exceptions.ConnectionClosedError) as caught:
            read(socket)
    assert caught.value.rcvd.code == 1011
    error_id = caught.value.rcvd.reason.removeprefix("internal error, id ")
    assert f"Error {error_id} in audit.outgoing, route none, connection" in server.log_text()
    errors = json.loads(server.fetch("wshandler/api/errors?route=none")[2])["errors"]
    assert errors[0]["callback"] == "audit.outgoing"


def test_a_route_with_filters_that_gets_one_more_keeps_who_is_there(server):
    file = Path(server.folder, "wshandler.yaml")
    with server.connect_sync("/none") as socket:
        socket.send("hello")
        assert read(socket) == "hello"
        file.write_text(
            YAML.replace(
                "kwargs: {on_message: echo.on_message}",
                "kwargs: {on_message: echo.on_message, filters: shout}",
            )
        )
        with server.connect_sync("/none") as other:

            def shouts() -> bool:
                other.send("hello")
                return read(other) == "HELLO"

            wait_for(shouts, what="the reload")
        socket.send("again")
        assert read(socket) == "AGAIN"


def test_a_filter_that_is_saved_with_a_mistake_leaves_the_last_good_one(server):
    file = Path(server.folder, "shout.py")
    with server.connect_sync("/own") as socket:
        file.write_text("def outgoing(handler: 1 +\n")
        wait_for(lambda: "shout.py" in server.log_text(), what="the line about the mistake")
        socket.send("hello")
        assert read(socket) == "HELLO HELLO"
        file.write_text(SHOUT.replace("upper", "title"))

        def titled() -> bool:
            socket.send("hello")
            return read(socket) == "Hello Hello"

        wait_for(titled, what="the new filter")


# ---- bots in kernels ---------------------------------------------------------------------------


def test_filters_of_all_routes_hold_for_bots_in_kernels_in_the_server(server, book):
    with server.connect_sync("/celled") as socket:
        for said, answer in (("card 1234 5678", "echo card **** ****"), (b"4711", b"****")):
            socket.send(said)
            assert read(socket) == answer
        socket.send("stream")
        assert [read(socket) for _ in range(3)] == [f"card **** **** {n}" for n in range(3)]
        socket.send("spam")
        assert json.loads(read(socket)) == {"error": "message", "reason": "no spam here"}
        book.run("bot.send('card 1234 5678')")
        assert read(socket) == "card **** ****"
        socket.send("first")
        socket.send("second")
        assert [read(socket), read(socket)] == ["echo first", "echo second"]
    wait_for(lambda: "close 1000" in lines(server, "celled"), what="the audit's last line")
    found = lines(server, "celled")
    assert found[:4] == ["open ", "later open ", "in card 1234 5678", "out echo card **** ****"]
    assert found[-2:] == ["later close 1000", "close 1000"]


def test_a_bots_own_filters_run_in_its_kernel_inside_those_of_all(server, book):
    with server.connect_sync("/celled-own") as socket:
        socket.send("card 1234 5678")
        assert read(socket) == "echo card **** ****!"


def test_an_answer_of_a_kernel_in_its_envelope_goes_through_them(server, book):
    with connect("celled", server=server.url, token=server.token) as client:
        assert client.ask("card 1234 5678") == "echo card **** ****"
        assert client.ask(b"4711") == b"****"
        assert [*client.ask("stream")] == [f"card **** **** {n}" for n in range(3)]
        with pytest.raises(AnswerFailed, match="no spam here"):
            client.ask("spam")
        assert client.ask("hello") == "echo hello"


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("fail in", "audit.incoming"),
        ("fail later", "audit.Later.incoming"),
        (b"fail out", "audit.outgoing"),
    ],
)
def test_a_filter_that_fails_closes_also_who_talks_to_a_kernel(server, book, said, name):
    with server.connect_sync("/celled") as socket:
        socket.send(said)
        with pytest.raises(websockets.exceptions.ConnectionClosedError) as caught:
            read(socket)
    assert caught.value.rcvd.code == 1011
    error_id = caught.value.rcvd.reason.removeprefix("internal error, id ")
    assert f"Error {error_id} in {name}, route celled, connection" in server.log_text()
