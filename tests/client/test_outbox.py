"""`wsh.send` outside of a server: a script reaches the clients of the server's routes."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from support.answering import SECRET, answering
from support.bots import bot_text
from support.server import running_server
from support.sharecommand import own_terminal, runtime_of

import jupyter_wshandler as wsh
from jupyter_wshandler.engine.jsontext import to_json
from jupyter_wshandler.types import Delivered

CONFIG = """
url:
  push: {pattern: /push, handler: WebSocketHandler, kwargs: {on_message: published.echo}}
"""

SCRIPT = bot_text("send_outside")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("outbox")
    with running_server(
        CONFIG, folder=folder, modules={"published.py": bot_text("published")}, base_url="/me/"
    ) as running:
        yield running


def script(runtime, what: str, url: str = "", **more: str) -> subprocess.CompletedProcess:
    """Run the script as a person does in a terminal of theirs."""
    ended = subprocess.run(
        [sys.executable, "-c", SCRIPT, url, what],
        capture_output=True,
        text=True,
        env=own_terminal(runtime, PYTHONIOENCODING="utf-8", **more),
        timeout=60,
    )
    assert "Traceback" not in ended.stderr, ended.stderr
    return ended


def test_a_script_reaches_who_is_connected_and_is_told_how_many(server):
    with server.connect_sync("/push") as one, server.connect_sync("/push") as two:
        ended = script(runtime_of(server), "plain")
        assert ended.stdout == f"<Delivered to 2 of 2 connections of 'push' at {server.url}>\n"
        assert one.recv(timeout=5) == two.recv(timeout=5) == "plain"


def test_what_nobody_awaits_arrives_in_order_and_leaves_before_the_process_ends(server):
    with server.connect_sync("/push") as one:
        assert script(runtime_of(server), "unawaited").stderr == ""
        assert [json.loads(one.recv(timeout=5)) for _ in range(4)] == [*range(4)]


def test_what_nobody_awaits_never_blocks(tmp_path):
    body = b'{"route": "push", "delivered": 1, "connections": 1}'
    with answering(200, body, after=0.5) as (slow, heard):
        ended = script(tmp_path, "unawaited", slow.url)
    assert int(ended.stdout) < 2  # of four, each of which takes half a second
    assert [json.loads(asked[3])["message"] for asked in heard] == ["0", "1", "2", "3"]


def test_awaited_it_says_what_has_become_of_it(server):
    with server.connect_sync("/push") as one:
        lines = script(runtime_of(server), "await").stdout.splitlines()
        assert lines == [
            f"True 2 1 1 <Delivered to 1 of 1 connections of 'push' at {server.url}>",
            "1",
            "0",
            "there is no route 'pusch'; `jupyter wshandler routes` lists them",
        ]
        assert one.recv(timeout=5) == "awaited"
        assert one.recv(timeout=5) == b"bytes"


def test_a_route_that_is_not_there_is_a_lookup_error_as_in_the_server(server):
    lines = script(runtime_of(server), "unknown").stdout.splitlines()
    assert lines[0] == (
        "LookupError True: there is no route 'pusch'; `jupyter wshandler routes` lists them"
    )
    assert lines[1] == "LookupError True: there is no route ''"
    assert lines[2].startswith("LookupError True: there is no route '?'")


def test_what_fails_and_nobody_awaits_is_one_line_and_the_script_goes_on(server):
    ended = script(runtime_of(server), "unheard")
    assert ended.returncode == 0
    assert ended.stdout == "goes on\n"
    assert ended.stderr == (
        "wsh.send('pusch', ...): there is no route 'pusch'; `jupyter wshandler routes` lists them\n"
    )


def test_without_a_server_awaiting_says_so_and_nothing_else_is_sent_anywhere(tmp_path):
    lines = script(tmp_path, "unknown").stdout.splitlines()
    assert lines[0].startswith("ServerNotFound True: no Jupyter server found")


def test_it_has_no_truth_before_it_is_known(server):
    with server.connect_sync("/push"):
        lines = script(runtime_of(server), "truth").stdout.splitlines()
    assert lines[0] == "it is not known yet how many it reaches: await it, or ask for .result()"
    assert lines[1].startswith("True <Delivery to 'push': <Delivered to 1 of 1")


def test_what_is_no_message_and_no_server_raises_at_once(server):
    lines = script(runtime_of(server), "wrong").stdout.splitlines()
    assert lines[:3] == ["TypeError", "TypeError", "UnicodeEncodeError"]
    assert lines[3].startswith("expected the base URL of a server")


def test_a_fork_and_threads_send_too_and_no_thread_is_left(server):
    with server.connect_sync("/push") as one:
        ended = script(runtime_of(server), "fork")
        assert ended.stdout.startswith("<Delivered to 1 of 1")
        assert [one.recv(timeout=5), one.recv(timeout=5)] == ["parent", "child"]
        assert script(runtime_of(server), "threads").stdout == "8 []\n"
        assert sorted(int(one.recv(timeout=5)) for _ in range(8)) == [*range(8)]


def test_a_message_whose_awaiting_is_given_up_before_it_has_left_is_not_sent(tmp_path):
    body = b'{"route": "push", "delivered": 1, "connections": 1}'
    with answering(200, body, after=1.0) as (slow, heard):
        ended = script(tmp_path, "gives up", slow.url)
    assert ended.stdout == "False\n"
    assert [json.loads(asked[3])["message"] for asked in heard] == ["first"]
    assert heard[0][:2] == ("POST", "/me/wshandler/api/routes/push")


def test_a_server_that_answers_with_something_else_is_named(tmp_path):
    with answering(200, b'{"hello": "world"}') as (other, _):
        ended = script(tmp_path, "unheard", other.url)
    assert f"{other.url} answers as no server of this package does" in ended.stderr


def test_a_server_that_does_not_answer_fills_no_memory(tmp_path):
    with answering(200, b"{}", after=2.0) as (slow, _):
        ended = script(tmp_path, "many", slow.url)
    assert ended.stdout.startswith("True ConnectError False: it waits for the server behind 1000")


def test_no_error_and_no_repr_shows_the_token(tmp_path, server):
    said = json.dumps({"message": f"what is {SECRET}?"}).encode()
    with answering(403, said) as (other, heard):
        ended = script(tmp_path, "unknown", f"{other.url}?token={SECRET}")
    assert heard[0][2]["Authorization"] == f"token {SECRET}"
    assert SECRET not in ended.stdout + ended.stderr


def test_in_a_test_nothing_is_sent_to_a_server_that_runs_here(server, monkeypatch):
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(runtime_of(server)))
    # Other tests of this process may have loaded it; then its own server is meant, and awaited.
    monkeypatch.delitem(sys.modules, "jupyter_wshandler.server.app", raising=False)
    with pytest.raises(LookupError, match="no test sends to a server that it does not name"):
        wsh.send("push", "x")
    sent = wsh.send("push", "x", server=server.url, token=server.token)
    assert sent.result() == 0


def test_what_was_delivered_is_a_number_that_can_be_awaited_sent_and_copied():
    import copy
    import pickle

    sent = Delivered(2, "push", 5)
    with pytest.raises(StopIteration) as caught:
        next(sent.__await__())
    assert caught.value.value is sent
    assert sent.result() is sent
    assert to_json({"sent": sent}) == '{"sent":2}'
    assert json.dumps(sent) == str(sent) == f"{sent}" == "2"
    for again in (copy.copy(sent), pickle.loads(pickle.dumps(sent))):
        assert (again, again.route, again.connections) == (2, "push", 5)
