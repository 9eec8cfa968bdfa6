"""`wsh.room` outside of a server: a script speaks to rooms of the server's, and looks into them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.answering import SECRET, answering
from support.bots import bot_text
from support.server import RunningServer, running_server
from support.sharecommand import own_terminal, runtime_of

import jupyter_wshandler as wsh

CONFIG = """
url:
  talk: {pattern: "/talk/{room}", handler: WebSocketHandler,
         kwargs: {on_message: published.echo, rooms: ["{room}"], presence: true, history: true}}
  bare: {pattern: "/bare/{room}", handler: WebSocketHandler,
         kwargs: {on_message: published.echo, rooms: ["{room}"]}}
"""

SCRIPT = bot_text("rooms_outside")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("outside")
    with running_server(
        CONFIG, folder=folder, modules={"published.py": bot_text("published")}, base_url="/me/"
    ) as running:
        yield running


def script(runtime: Path, what: str, url: str = "") -> subprocess.CompletedProcess:
    """Run the script as a person does in a terminal of theirs."""
    ended = subprocess.run(
        [sys.executable, "-c", SCRIPT, url, what],
        capture_output=True,
        text=True,
        env=own_terminal(runtime, PYTHONIOENCODING="utf-8"),
        timeout=60,
    )
    assert "Traceback" not in ended.stderr, ended.stderr
    return ended


def test_a_script_speaks_to_a_room_of_the_server_and_looks_into_it_at_once(server):
    with server.connect_sync("/talk/blue") as one:
        lines = script(runtime_of(server), "plain").stdout.splitlines()
        assert one.recv(timeout=5) == "from a script"
    assert lines == [
        "<Room 'blue' of 'talk'> Published(offset=1, delivered=1)",
        "['from a script'] 1",
        "None",
    ]


def test_on_an_event_loop_of_its_own_everything_is_awaited(server):
    with server.connect_sync("/talk/blue") as one:
        lines = script(runtime_of(server), "await").stdout.splitlines()
        assert one.recv(timeout=5) == '{"n":1}'
        assert one.recv(timeout=5) == b"\0\1"
    first = int(lines[0].partition("offset=")[2].partition(",")[0])
    assert lines[0].endswith("delivered=1)")
    assert lines[2:] == [
        lines[2],
        f"""[({first}, '{{"n":1}}'), ({first + 1}, b'\\x00\\x01')] {first + 1} True""",
        f"[{first + 1}] True",
        f"[{first + 1}]",
        "None 0",
    ]
    assert lines[2].endswith(", 1)] 1")


def test_what_is_asked_of_a_room_comes_after_what_was_said_before(server):
    lines = script(runtime_of(server), "order").stdout.splitlines()
    assert lines == ["['0', '1', '2', '3', '4']"]


def test_any_name_of_a_room_finds_the_room(server):
    with server.connect_sync("/talk/%C3%A9%20%3F%23%26") as one:
        lines = script(runtime_of(server), "names").stdout.splitlines()
        assert lines == ["1 ['é ?#&']", "0 ['a/b %2F']"]
        assert one.recv(timeout=5) == "é ?#&"


def test_what_fails_and_nobody_awaits_is_one_line_and_the_script_goes_on(server):
    ended = script(runtime_of(server), "unheard")
    assert ended.stdout.startswith("0 <Delivery to the room 'blue': Published(offset=")
    assert ended.stderr == (
        "wsh.room('blue', space='nowhere').send(...): "
        "there is no space 'nowhere', and no route of that name\n"
    )


def test_what_cannot_be_is_said_with_a_sentence(server):
    lines = script(runtime_of(server), "wrong").stdout.splitlines()
    assert lines[0].startswith("LookupError True: no callback is running, so the space of")
    assert lines[1].startswith("ValueError False: expected the name of a room")
    assert lines[2:5] == [
        "LookupError True: there is no space 'nowhere', and no route of that name",
        "LookupError True: there is no space ''",
        "LookupError True: there is no space '?', and no route of that name",
    ]
    assert lines[5].startswith("RequestRefused False: the routes of this space have no history")
    assert lines[6].startswith("RequestRefused False: the routes of this space have no presence")
    assert lines[7].startswith("TypeError")
    assert lines[8].startswith("UnicodeEncodeError")
    assert lines[9] == (
        "TypeError False: it is not known yet what becomes of it: await it, or ask for .result()"
    )


def test_a_server_that_answers_with_something_else_is_named_and_the_token_is_not(tmp_path):
    with answering(200, b'{"hello": "world"}') as (other, heard):
        ended = script(tmp_path, "unheard", f"{other.url}?token={SECRET}")
    assert heard[0][:2] == ("POST", "/me/wshandler/api/spaces/nowhere/rooms/blue")
    assert f"{other.url} answers as no server of this package does" in ended.stderr
    assert SECRET not in ended.stdout + ended.stderr


def test_in_a_test_a_room_is_asked_for_at_no_server_that_is_not_named(server, monkeypatch):
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(runtime_of(server)))
    monkeypatch.delitem(sys.modules, "jupyter_wshandler.server.app", raising=False)
    with pytest.raises(LookupError, match="no test sends to a server that it does not name"):
        wsh.room("blue", space="talk")
    room = wsh.room("blue", space="talk", server=server.url, token=server.token)
    assert room.send("named").result().delivered == 0
