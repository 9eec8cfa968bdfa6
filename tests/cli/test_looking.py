"""`jupyter wshandler connections`, `tail` and `about`, beside a server and without one."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import websockets.exceptions
from support.answering import SECRET, answering
from support.bots import bot_text
from support.server import running_server, wait_for
from support.sharecommand import own_terminal, runtime_of

from jupyter_wshandler.cli import main, parser
from jupyter_wshandler.cli import tail as tail_module
from jupyter_wshandler.errors import ConnectError, RequestRefused

CONFIG = """
url:
  push: {pattern: /push, handler: WebSocketHandler, kwargs: {on_message: looked_at.answer}}
  fails: {pattern: /fails, handler: WebSocketHandler,
          kwargs: {on_message: looked_at.answer, on_error: {close: false}}}
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with running_server(
        CONFIG,
        folder=tmp_path_factory.mktemp("looking"),
        modules={"looked_at.py": bot_text("looked_at")},
        base_url="/me/",
    ) as running:
        yield running


@pytest.fixture
def typed(server, monkeypatch, capsys):
    """Return what runs a command in a terminal of the person whose server it is."""
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(runtime_of(server)))

    def run(*words: str) -> SimpleNamespace:
        code = main(words)
        said = capsys.readouterr()
        return SimpleNamespace(code=code, out=said.out, said=said.err)

    return run


def answered(one, message="hello"):
    one.send(message)
    return one.recv(timeout=5)


# ---- connections ---------------------------------------------------------------------------------


def test_who_is_connected_is_a_table_and_can_be_closed(server, typed):
    with server.connect_sync("/push") as one, server.connect_sync("/fails") as two:
        answered(one)
        answered(two)
        ended = typed("connections", "/push")
        heading, row = ended.out.splitlines()
        assert heading.split() == [
            *("ID", "BOT", "USER", "ADDRESS", "OPEN", "FOR", "STATE", "QUEUED", "PATH")
        ]
        assert re.fullmatch(
            r"\w{16}  push  \w+  127\.0\.0\.1   +\d s  open        0  /me/push", row
        ), row
        assert (ended.code, ended.said) == (0, "")
        assert len(typed("connections").out.splitlines()) == 3
        found = json.loads(typed("connections", "push", "--json").out)
        assert (found["total"], found["connections"][0]["route"]) == (1, "push")
        ended = typed("connections", "--limit", "1")
        assert ended.said == "\nThese are 1 of 2; --limit 0 lists all.\n"
        name = found["connections"][0]["id"]
        ended = typed("connections", "--close", name, "--code", "4000", "--reason", "go home")
        assert (ended.code, ended.out) == (0, f"Closed {name}.\n")
        with pytest.raises(websockets.exceptions.ConnectionClosed):
            one.recv(timeout=5)
        assert (one.close_code, one.close_reason) == (4000, "go home")
    wait_for(lambda: not typed("connections").out, what="nobody there")
    assert typed("connections").said == "Nobody is connected.\n"
    ended = typed("connections", "--close", name)
    assert ended.code == 1
    assert ended.said == (
        "jupyter wshandler connections: there is no such connection, or it has ended\n"
    )


def test_all_pages_are_listed(server, typed, monkeypatch):
    monkeypatch.setattr("jupyter_wshandler.cli.connections.PAGE", 2)
    with contextlib.ExitStack() as stack:
        for _ in range(5):
            answered(stack.enter_context(server.connect_sync("/push")))
        found = json.loads(typed("connections", "--limit", "0", "--json").out)
        assert len({one["id"] for one in found["connections"]}) == found["total"] == 5
        assert (
            len(json.loads(typed("connections", "--limit", "3", "--json").out)["connections"]) == 3
        )


def test_what_cannot_be_meant_is_said(server, typed, capsys):
    assert typed("connections", "/no_such").code == 1
    assert "there is no route 'none'" in typed("connections", "none").said
    ended = typed("connections", "--close", "x", "--code", "1005")
    assert (ended.code, "close code 1005 may not be sent" in ended.said) == (2, True)
    for words in (["connections", "--limit", "-1"], ["tail", "--only", "all"]):
        with pytest.raises(SystemExit) as error:
            main(words)
        assert error.value.code == 2
    assert "expected a number from 0 on, found '-1'" in capsys.readouterr().err


# ---- tail ----------------------------------------------------------------------------------------


@contextlib.contextmanager
def following(server, *words: str) -> Iterator[subprocess.Popen[str]]:
    """Run `tail` as a person does, until Ctrl-C."""
    process = subprocess.Popen(
        [sys.executable, "-m", "jupyter_wshandler", "tail", *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=own_terminal(runtime_of(server)),
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
        assert (process.returncode, said) == (130, "")


def line_with(process, words: str) -> str:
    """Return the next line with some words in it."""
    for line in process.stdout:
        if words in line:
            return line.rstrip("\n")
    raise AssertionError(f"it has ended without {words!r}")


def test_a_line_for_each_that_comes_and_goes_and_for_each_failure(server):
    with server.connect_sync("/fails") as early:
        before = json.loads(answered(early, "fail before"))["id"]
    with following(server, "/fails", "--traceback", "-n", "1") as tail:
        # What there was before stands first; from then on, all is told.
        first = line_with(tail, before)
        assert re.match(r"\d\d:\d\d:\d\d  failed   fails  \w+  \w{16} ValueError in ", first)
        assert line_with(tail, "its message") == "  its message, of 11: fail before"
        assert line_with(tail, "ValueError: ") == "    ValueError: this cannot be done"
        with server.connect_sync("/fails") as one:
            opened = line_with(tail, "opened")
            assert opened.endswith("from 127.0.0.1")
            error_id = json.loads(answered(one, "fail\x1b[2J now"))["id"]
            assert f"error {error_id}" in line_with(tail, "failed")
            assert line_with(tail, "its message") == "  its message, of 12: fail\\x1b[2J now"
            assert re.fullmatch(r"  .*File .*looked_at\.py.*", line_with(tail, "looked_at.py"))
        assert re.search(r"\w{16} with 1000 after \d+ s$", line_with(tail, "closed"))


def test_only_what_is_wanted_is_told_and_in_json_a_line_each(server):
    with following(server, "--json", "--only", "closed", "-n", "0") as tail:
        # It says nothing at its begin: so there have to be some until it hears one.
        def comes_and_goes() -> bool:
            with server.connect_sync("/push") as one:
                answered(one)
            return bool(_readable(tail))

        wait_for(comes_and_goes, seconds=30, what="a line")
        event = json.loads(tail.stdout.readline())
        assert (event["event"], event["route"], event["code"]) == ("closed", "push", 1000)


def _readable(process) -> bool:
    import select

    return bool(select.select([process.stdout], [], [], 0)[0])


class Server:
    """Answers the questions of `tail`, one answer after another."""

    def __init__(self, *answers) -> None:
        self.answers = [*answers]
        self.asked: list[str] = []
        self.looked = 0

    def __call__(self, method, path, body=None, *, timeout=0.0):
        self.asked.append(path)
        if not self.answers:
            raise KeyboardInterrupt
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def look_again(self):
        self.looked += 1


def page(*events, place="b-1", complete=True):
    return {"events": [*events], "next": place, "complete": complete}


OPENED = {"event": "opened", "at": 0.0, "route": "push", "user": None, "connection": "c1"}
OPENED |= {"address": "192.0.2.1"}


def followed(server, monkeypatch, **options) -> None:
    for pause in ("SOON", "TOGETHER", "LATEST"):
        monkeypatch.setattr(tail_module, pause, 0.001)
    given = {"route": "", "only": tail_module.KINDS, "traceback": False, "as_json": False}
    with pytest.raises(KeyboardInterrupt):
        tail_module._Follower(server, **{**given, **options}).follow(0)


def test_it_goes_on_where_the_server_was_started_again(monkeypatch, capsys):
    away = ConnectError("nobody there")
    server = Server(
        page(), away, away, RequestRefused("starts", 503), page(place="c-0"), page(OPENED)
    )
    followed(server, monkeypatch)
    said = capsys.readouterr()
    # Once; in which zone the time is told is the machine's.
    assert said.out.count("opened   push  -  c1 from 192.0.2.1\n") == 1
    assert said.out.count("\n") == 1
    assert said.err.splitlines() == [
        "jupyter wshandler tail: the server is away; waiting for it",
        "jupyter wshandler tail: the server is back",
    ]
    assert server.looked == 3
    assert "since=c-0" in server.asked[-2]


def test_it_goes_on_where_the_server_goes_before_a_traceback_is_there(monkeypatch, capsys):
    away = ConnectError("nobody there")
    failed = {"event": "failed", "at": 0.0, "route": "push", "user": None, "connection": "c1"}
    failed |= {"id": "e1", "callback": "bot.answer", "exception": "ValueError", "place": None}
    server = Server(page(), page(failed), away, away, page(place="c-0"), page(OPENED))
    followed(server, monkeypatch, traceback=True)
    said = capsys.readouterr()
    assert [line.split("  ", 1)[1] for line in said.out.splitlines()] == [
        "failed   push  -  c1 ValueError in bot.answer, error e1",
        "opened   push  -  c1 from 192.0.2.1",
    ]
    assert said.err.endswith("the server is back\n")
    assert (server.asked[2], server.asked[4]) == ("errors/e1", "events")


def test_it_asks_again_after_a_pause_and_at_once_where_it_has_waited(monkeypatch):
    now = iter([0.0, 0.0, 5.0, 5.25, 10.0, 30.0, 40.0])
    slept: list[float] = []
    clock = SimpleNamespace(
        monotonic=lambda: next(now),
        sleep=slept.append,
        localtime=time.localtime,
        strftime=time.strftime,
    )
    monkeypatch.setattr(tail_module, "time", clock)
    follower = tail_module._Follower(
        Server(page(), page(OPENED), page(), page(OPENED)), "", tail_module.KINDS, False, False
    )
    with pytest.raises(KeyboardInterrupt):
        follower.follow(0)
    assert slept == [tail_module.TOGETHER, tail_module.SOON - 0.25, 0.0]


def test_it_ends_where_the_server_refuses_and_says_what_is_missing(monkeypatch, capsys):
    server = Server(page(), page(OPENED, complete=False), RequestRefused("no more", 403))
    monkeypatch.setattr(tail_module, "TOGETHER", 0.001)
    follower = tail_module._Follower(server, "", tail_module.KINDS, False, False)
    with pytest.raises(RequestRefused):
        follower.follow(0)
    assert "some of what has happened is missing" in capsys.readouterr().err


def test_what_a_server_says_does_nothing_in_a_terminal(monkeypatch, capsys):
    bad = "\x1b[2J\x07\x9b"
    event = {"event": "failed", "at": 0.0, "route": bad, "user": bad, "connection": bad, "id": bad}
    event |= {"callback": bad, "exception": bad, "place": bad, "traceback": f"a\n{bad}"}
    event |= {"message": {"text": bad, "size": 3}}
    followed(Server(page(), page(event)), monkeypatch, traceback=True)
    out = capsys.readouterr().out
    assert not re.search("[\x1b\x07\x9b]", out)
    assert out.count("\n") == 4


# ---- about ---------------------------------------------------------------------------------------


def test_about_tells_of_the_server_and_holds_no_secret(server, typed, monkeypatch):
    monkeypatch.setenv("JUPYTER_TOKEN", "a-token-in-the-environment")
    ended = typed("about")
    assert (ended.code, ended.said) == (0, "")
    assert ended.out.startswith("jupyter_wshandler ")
    assert f"server http://127.0.0.1:{server.port}/me/: jupyter_wshandler " in ended.out
    assert f"  file: {server.folder / 'wshandler.yaml'}" in ended.out
    assert "  route fails: /fails of a module, " in ended.out
    assert "    on_message: looked_at.answer" in ended.out
    assert "JUPYTER_TOKEN" in ended.out
    found = json.loads(typed("about", "--json").out)
    assert found["server"]["routes"].keys() == {"push", "fails"}
    assert found["servers"][0]["pid"] == server.pid
    for text in (ended.out, json.dumps(found)):
        assert server.token not in text
        assert "a-token-in-the-environment" not in text


def test_about_says_what_it_can_where_there_is_no_server(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path))
    assert main(["about"]) == 0
    assert "server: none runs here" in capsys.readouterr().out
    assert main(["about", "--url", "http://127.0.0.1:9/", "--token", SECRET]) == 1
    said = capsys.readouterr()
    assert "server: cannot reach http://127.0.0.1:9/" in said.out
    with answering(403, json.dumps({"message": f"no {SECRET}"}).encode()) as (other, _):
        assert main(["about", "--url", other.url, "--token", SECRET, "--json"]) == 1
    assert SECRET not in capsys.readouterr().out


# ---- the start -----------------------------------------------------------------------------------

HEAVY = {
    "asyncio",
    "msgspec",
    "yaml",
    "tornado",
    "traitlets",
    "jupyter_server",
    "prometheus_client",
}
"""What takes most of the 0.3 s that a command may take to begin with its work."""


def loaded(*words: str) -> set[str]:
    """Return the modules that a new Python has after a command has asked a server that is away."""
    code = (
        "import json, sys\nfrom jupyter_wshandler.cli import main\n"
        f"code = main({words!r})\nassert code in (0, 1), code\n"
        "print(json.dumps([*sys.modules]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "words",
    [["routes"], ["send", "bot", "x"], ["connections"], ["tail"], ["about"], ["share", "--list"]],
    ids=lambda words: words[0],
)
def test_a_command_loads_no_more_than_it_needs(words):
    found = loaded(*words, "--url", "http://127.0.0.1:9/", "--token", "x")
    assert not found & HEAVY
    assert len(found) < 350


def test_every_command_that_asks_a_server_can_answer_in_json():
    commands = next(a for a in parser()._actions if a.dest == "command").choices
    asking = {name for name, one in commands.items() if "--token-file" in one.format_help()}
    without = {name for name in asking if "--json" not in commands[name].format_help()}
    assert without == {"chat", "types"}  # a conversation, and documents
