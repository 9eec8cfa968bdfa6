"""`jupyter wshandler send` and `routes` as a person runs them beside a server of theirs."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from support.answering import SECRET, answering
from support.bots import bot_text
from support.server import running_server
from support.sharecommand import SECONDS, command, own_terminal, runtime_of

CONFIG = """
url:
  pushbot: {pattern: /push, handler: WebSocketHandler, kwargs: {on_message: published.echo}}
  room: {pattern: "/room/{room}", handler: WebSocketHandler,
         kwargs: {on_message: published.echo}}
  /odd name: {pattern: /odd, handler: WebSocketHandler, kwargs: {on_message: published.echo}}
  broken: {pattern: /broken, handler: WebSocketHandler, kwargs: {on_message: published.no_such}}
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("send")
    with running_server(
        CONFIG,
        folder=folder,
        modules={"published.py": bot_text("published")},
        base_url="/me/",
        extra_args=["--ServerApp.identity_provider_class=published.People"],
        env={"PYTHONPATH": str(folder)},
    ) as running:
        yield running


def send(server, *arguments: str, said: str = ""):
    return command(runtime_of(server), "send", *arguments, said=said)


def test_a_message_goes_to_all_by_path_or_by_name_and_it_says_to_how_many(server):
    with server.connect_sync("/push") as one, server.connect_sync("/push") as two:
        ended = send(server, "/push", "Back in five minutes")
        assert (ended.code, ended.out, ended.said) == (0, "Sent to 2 connections of pushbot.\n", "")
        assert one.recv(timeout=5) == two.recv(timeout=5) == "Back in five minutes"
        assert send(server, "pushbot", '{"a": 1}').code == 0
        assert one.recv(timeout=5) == '{"a": 1}'
        assert send(server, "--route", "pushbot", "-- by name --").code == 0
        assert [one.recv(timeout=5), two.recv(timeout=5)][0] == "-- by name --"
    ended = send(server, "/push", "x")
    assert (ended.code, ended.out) == (0, "Nobody is connected to pushbot: sent to nobody.\n")


def test_a_pattern_means_all_of_it_and_a_name_may_look_like_a_path(server):
    with server.connect_sync("/room/blue") as blue, server.connect_sync("/odd") as odd:
        assert send(server, "/room/{room}", "x").out == "Sent to 1 connection of room.\n"
        assert blue.recv(timeout=5) == "x"
        assert (
            send(server, "--route", "/odd name", "y").out == "Sent to 1 connection of /odd name.\n"
        )
        assert odd.recv(timeout=5) == "y"
        ended = send(server, "/room/blue", "x")
        assert ended.code == 1
        assert "no bot has the path /room/blue; there are: " in ended.said
        assert "/room/{room}" in ended.said


def test_it_goes_to_one_user_only(server):
    with server.connect_sync("/push", token="person-bob") as bob, server.connect_sync("/push"):
        ended = send(server, "/push", "--user", "bob", "for bob")
        assert ended.out == "Sent to 1 connection of bob to pushbot.\n"
        assert bob.recv(timeout=5) == "for bob"
        ended = send(server, "/push", "x", "--user", "eve\x1b[2J")
        assert ended.code == 0
        assert ended.out == "eve\\x1b[2J is not connected to pushbot: sent to nobody.\n"


def test_the_standard_input_is_sent_as_a_shell_would_and_as_bytes(server):
    with server.connect_sync("/push") as one:
        assert send(server, "/push", "-", said="two\nlines é\n").code == 0
        assert one.recv(timeout=5) == "two\nlines é"
        data = bytes(range(256))
        ended = subprocess.run(
            [sys.executable, "-m", "jupyter_wshandler", "send", "/push", "-", "--binary"],
            input=data,
            capture_output=True,
            env=own_terminal(runtime_of(server)),
            timeout=SECONDS,
        )
        assert ended.returncode == 0, ended.stderr
        assert one.recv(timeout=5) == data
        ended = subprocess.run(
            [sys.executable, "-m", "jupyter_wshandler", "send", "/push", "-"],
            input=data,
            capture_output=True,
            env=own_terminal(runtime_of(server)),
            timeout=SECONDS,
        )
        assert ended.returncode == 2
        assert b"is no text in UTF-8 (byte 128); with --binary it is sent as it is" in ended.stderr


def test_for_programs_it_prints_what_the_server_answers(server):
    ended = send(server, "/push", "x", "--json")
    assert json.loads(ended.out) == {"route": "pushbot", "delivered": 0, "connections": 0}
    listed = command(runtime_of(server), "routes", "--json")
    found = {route["name"]: route for route in json.loads(listed.out)["routes"]}
    assert set(found) == {"pushbot", "room", "/odd name", "broken"}


def test_the_routes_are_a_table_and_what_is_wrong_stands_below_it(server):
    with server.connect_sync("/room/blue"):
        ended = command(runtime_of(server), "routes")
    lines = ended.out.splitlines()
    assert ended.code == 0
    assert lines[0].split() == ["NAME", "HERE", "STATE", "SERVED", "BY", "PATTERN"]
    assert "room          1  ready   a module   /room/{room}" in lines
    assert "broken        0  broken  a module   /broken" in lines
    assert "broken: " in ended.said
    assert "no_such" in ended.said


def test_what_cannot_be_meant_is_2_and_what_is_refused_is_1_with_a_sentence(server, tmp_path):
    ended = send(server, "/push")
    assert ended.code == 2
    assert 'jupyter wshandler send /pingbot "Hello world"' in ended.said
    assert send(server, "/push", "two", "words").code == 2
    assert "unrecognized arguments: --usr" in send(server, "/push", "--usr", "bob", "x").said
    assert send(server, "--route", "pushbot", "two", "words").code == 2
    ended = send(server, "pusch", "x")
    assert ended.code == 1
    assert ended.said == (
        "jupyter wshandler send: there is no route 'pusch'; `jupyter wshandler routes` lists them\n"
    )
    for name in ("send", "routes"):
        ended = command(tmp_path, name, *(("/push", "x") if name == "send" else ()))
        assert ended.code == 1
        assert f"jupyter wshandler {name}: no Jupyter server of yours runs on this" in ended.said
        assert (
            f"jupyter wshandler {name} {'/push MESSAGE ' if name == 'send' else ''}--url"
            in ended.said
        )


def test_what_a_server_says_does_nothing_in_a_terminal_and_no_token_is_shown(tmp_path):
    bad = {"name": "\x1b[2Jbot", "pattern": "/\x1b]0;x\x07", "host": "module", "connections": 0}
    bad |= {"state": "broken", "error": f"\x1b[2J\n\x9b{'x'}"}
    with answering(200, json.dumps({"routes": [bad]}).encode()) as (other, _):
        ended = command(tmp_path, "routes", "--url", other.url, "--token", SECRET)
    assert ended.code == 0
    assert "\x1b" not in ended.out + ended.said
    assert "\x9b" not in ended.out + ended.said
    with answering(403, json.dumps({"message": f"no\x1b[2J {SECRET}"}).encode()) as (other, _):
        ended = command(tmp_path, "send", "a", "b", "--url", other.url, "--token", SECRET)
    assert ended.code == 1
    assert "\x1b" not in ended.said
    assert SECRET not in ended.said
