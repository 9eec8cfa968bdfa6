"""Connections of a notebook's bot that outlive a break, and what ends them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest
from support.bots import bot_text
from support.endurance import sizes
from support.notebook import Notebook, notebook
from support.resuming import Resumer
from support.server import RunningServer, running_server, wait_for


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[RunningServer]:
    with running_server("url: {}", folder=tmp_path_factory.mktemp("resume")) as running:
        yield running


@pytest.fixture(scope="module")
def book(server) -> Iterator[Notebook]:
    with notebook(server) as opened:
        cell = opened.run(bot_text("resuming_cell"))
        assert "Error" not in cell.text, cell.text
        yield opened


def heard(server, name: str) -> list[str]:
    """Return what the bot has heard of a client."""
    with server.connect_sync("/nb") as other:
        other.send(f"heard {name}")
        return list(json.loads(other.recv(timeout=20)))


def until(server, name: str, *words: str) -> None:
    wait_for(lambda: heard(server, name) == [*words], 20, f"{words} of {name}", every=0.2)


@sizes(short=0, full=30)
def test_an_answer_of_a_kernels_bot_goes_on_through_a_break_and_comes_once(server, book, size):
    """The break takes as many seconds as the size says, and what the bot needs to see it."""
    with Resumer(server, "/nb") as client:
        client.send("tokens 300", ask=1)
        got = [client.recv(20)["piece"] for _ in range(3)]
        client.cut()
        until(server, client.id, "open", "sees away")
        with server.connect_sync("/nb") as other:
            other.send(f"go {client.id}")
            other.recv(timeout=20)
        until(server, client.id, "open", "sees away", "ended", "away")
        time.sleep(size.number)
        assert client.connect()["resumed"] is True
        got += [client.recv(20)["piece"] for _ in range(297)]
        assert got == [f"t{number} " for number in range(300)]
        assert client.recv(20) == {"end": 1, "how": "done", "streamed": True}
        client.sent = client.first["received"]
        client.send("hello", ask=2)
        assert client.recv(20) == {"reply": "hello", "of": 2}
        until(server, client.id, "open", "sees away", "ended", "away", "resume")


def test_what_a_client_had_sent_before_the_break_is_handled_once_in_the_kernel(server, book):
    with Resumer(server, "/nb") as client:
        for number in range(30):
            client.send(f"m{number}")
        client.cut()
        client.connect()
        client.sent = client.first["received"]
        while client.sent < 30:
            client.send(f"m{client.sent}")
        assert [client.message() for _ in range(30)] == [f"m{number}" for number in range(30)]


def test_an_answer_of_a_kernels_bot_is_stopped_after_a_break(server, book):
    with Resumer(server, "/nb") as client:
        client.send("tokens 300", ask=1)
        assert [client.recv(20)["piece"] for _ in range(5)][-1] == "t4 "
        client.cut()
        until(server, client.id, "open", "sees away")
        client.connect()
        client.send_frame(stop=1)
        assert client.recv(20) == {"end": 1, "how": "stopped", "streamed": True}
        until(server, client.id, "open", "sees away", "ended", "away", "resume")


def test_what_a_cell_sends_to_who_is_away_waits_for_them(server, book):
    with Resumer(server, "/nb") as client:
        client.cut()
        until(server, client.id, "open", "away")
        book.run("bot.send('hello all')")
        client.connect()
        assert client.message() == "hello all"


def test_who_is_away_when_the_kernel_restarts_has_ended(server):
    with notebook(server) as other:
        other.run(bot_text("resuming_cell").replace('"/nb"', '"/nb2"').replace('"nb"', '"nb2"'))
        with Resumer(server, "/nb2") as client:
            client.send("hello")
            assert client.message() == "hello"
            client.cut()
            other.restart()
            other.run(bot_text("resuming_cell").replace('"/nb"', '"/nb2"').replace('"nb"', '"nb2"'))
            assert client.connect()["reason"] == "ended"
            client.send("hello")
            assert client.message() == "hello"
