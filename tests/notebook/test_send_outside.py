"""`wsh.send` in a notebook: to the kernel's own bots, and to the routes of its server."""

from __future__ import annotations

import json

import pytest
from support.bots import bot_text
from support.notebook import Notebook, eventually, notebook
from support.server import RunningServer, running_server
from support.sharecommand import runtime_of
from support.sharing import ask

from jupyter_wshandler.cli import main

CONFIG = """
url:
  filed: {pattern: /filed, handler: WebSocketHandler, kwargs: {on_message: published.echo}}
  both: {pattern: /both, handler: WebSocketHandler, kwargs: {on_message: published.echo}}
"""

API = "/wshandler/api/routes"


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> RunningServer:
    folder = tmp_path_factory.mktemp("server")
    with running_server(
        CONFIG, folder=folder, modules={"published.py": bot_text("published")}, base_url="/base/"
    ) as running:
        yield running


@pytest.fixture(scope="module")
def book(server) -> Notebook:
    with notebook(server, path="bots.ipynb") as opened:
        opened.run("import jupyter_wshandler as wsh")
        yield opened


@pytest.fixture(scope="module")
def serving(server) -> Notebook:
    """Return a notebook with a bot."""
    with notebook(server, path="serving.ipynb") as opened:
        opened.run(
            "import jupyter_wshandler as wsh\n"
            "async def on_message(handler, message):\n"
            "    if message == 'tell':\n"
            "        sent = await wsh.send('filed', 'from a callback')\n"
            "        return repr(sent)\n"
            "    if message == 'wrong':\n"
            "        wsh.send('fild', 'x')\n"
            "        return 'said'\n"
            "    return 'echo ' + message\n"
            "bot = wsh.serve('/celled', on_message=on_message)"
        )
        yield opened


def test_a_cell_reaches_a_route_of_a_file_and_awaits_what_has_become_of_it(server, book):
    with server.connect_sync("/filed") as one:
        cell = book.run("await wsh.send('filed', {'price': 42})")
        assert cell.error is None
        assert cell.result == (f"<Delivered to 1 of 1 connections of 'filed' at {server.url}>")
        assert one.recv(timeout=5) == '{"price":42}'
        assert book.run("wsh.send('filed', b'bytes').result() == 1").result == "True"
        assert one.recv(timeout=5) == b"bytes"


def test_a_cell_goes_on_at_once_and_a_failure_is_one_line_below_it(server, book):
    with server.connect_sync("/filed") as one:
        cell = book.run("for n in range(10):\n    wsh.send('filed', n)")
        assert (cell.error, cell.text) == (None, "")
        assert [json.loads(one.recv(timeout=10)) for _ in range(10)] == [*range(10)]
    cell = book.run("sent = wsh.send('fild', 'x')")
    assert cell.error is None
    eventually(lambda: "there is no route 'fild'; `jupyter wshandler routes` lists" in cell.text)
    cell = book.run("await wsh.send('fild', 'x')", fails=True)
    assert cell.error.startswith("LookupError: there is no route 'fild'")
    assert cell.text == ""  # raised, and not written as well


def test_a_kernel_with_a_bot_reaches_its_own_clients_itself_and_others_by_the_server(
    server, serving, book
):
    with server.connect_sync("/celled") as own, server.connect_sync("/filed") as filed:
        own.send("hi")
        assert own.recv(timeout=10) == "echo hi"
        assert serving.run("wsh.send('celled', 'mine')").result == (
            "<Delivered to 1 of 1 connections of 'celled'>"
        )
        assert own.recv(timeout=5) == "mine"
        assert serving.run("int(await wsh.send('filed', 'other'))").result == "1"
        assert filed.recv(timeout=5) == "other"
        # The bot of the other notebook, by way of the server.
        assert book.run("int(await wsh.send('celled', 'from a neighbour'))").result == "1"
        assert own.recv(timeout=5) == "from a neighbour"


def test_a_callback_in_a_kernel_reaches_a_route_of_a_file(server, serving):
    with server.connect_sync("/celled") as own, server.connect_sync("/filed") as filed:
        own.send("tell")
        assert own.recv(timeout=10).startswith("<Delivered to 1 of 1 connections of 'filed'")
        assert filed.recv(timeout=5) == "from a callback"
        own.send("wrong")
        assert own.recv(timeout=10) == "said"


def test_a_route_of_a_kernel_is_reached_over_rest_and_listed_as_a_kernels(server, serving):
    with (
        server.connect_sync("/celled") as plain,
        server.connect_sync("/celled", subprotocols=["wsh.v1"]) as chat,
    ):
        assert json.loads(chat.recv(timeout=10))["wsh"] == "v1"
        for socket, hi in ((plain, "hi"), (chat, '{"message": "hi"}')):
            socket.send(hi)
            socket.recv(timeout=10)
        status, _, body = ask(server, "POST", f"{API}/celled", {"message": "from outside"})
        assert (status, json.loads(body)["delivered"]) == (200, 2)
        assert plain.recv(timeout=5) == "from outside"
        while (said := json.loads(chat.recv(timeout=5))) != {"message": "from outside"}:
            assert "from outside" not in str(said)
        found = json.loads(server.fetch(API)[2])["routes"]
        celled = next(route for route in found if route["name"] == "celled")
        assert (celled["host"], celled["state"], celled["connections"]) == ("kernel", "ready", 2)


TYPED = """
import msgspec
class Vote(msgspec.Struct, tag="vote"):
    "One vote in a poll."
    poll: int
def on_vote(handler, message: Vote) -> list[int]:
    return [message.poll]
voted = wsh.serve('/voted', on_message=on_vote)
"""


def test_what_a_notebooks_bot_takes_is_told_to_programs(server, book, monkeypatch, capsys):
    assert book.run(TYPED).error is None
    status, _, answer = ask(server, "GET", "/wshandler/api/types?route=voted")
    found = json.loads(answer)
    assert (status, found["typed"]) == (200, True)
    assert [kind["name"] for kind in found["takes"]] == ["Vote"]
    assert found["definitions"]["Vote"]["description"] == "One vote in a poll."
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(runtime_of(server)))
    assert main(["types", "--route", "voted"]) == 0
    channels = json.loads(capsys.readouterr().out)["channels"]
    assert set(channels) == {"voted", "voted.wsh.v1"}
    assert main(["types", "--ts", "--route", "voted", "--route", "filed"]) == 0
    assert 'type: "vote"' in capsys.readouterr().out
    assert main(["types", "--route", "vote"]) == 1
    assert "there is no route 'vote'" in capsys.readouterr().err
    assert main(["types", "--allow-public-routes"]) == 2
    # Served anew with another type, it takes that one.
    assert book.run(TYPED.replace("poll", "poll_id")).error is None
    found = json.loads(ask(server, "GET", "/wshandler/api/types?route=voted")[2])
    assert set(found["definitions"]["Vote"]["properties"]) == {"type", "poll_id"}
