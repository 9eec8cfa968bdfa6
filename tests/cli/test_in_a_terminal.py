"""`jupyter wshandler chat`, `routes` and `tail` in tmux: what a person sees on the screen."""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from support.bots import bot_text
from support.server import RunningServer, running_server
from support.sharecommand import own_terminal, runtime_of
from support.tmux import Screen, screen

CONFIG = """
url:
  echo: {pattern: /echo, handler: WebSocketHandler, kwargs: {on_message: in_terminal.echo}}
  story: {pattern: /story, handler: WebSocketHandler, kwargs: {on_message: in_terminal.story}}
  fails: {pattern: /fails, handler: WebSocketHandler,
          kwargs: {on_message: in_terminal.fail, on_error: {close: false}}}
  broken: {pattern: /broken, handler: WebSocketHandler,
           kwargs: {on_message: in_terminal.nothing_like_that}}
"""

PROMPT = r"\nyou >"


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[RunningServer]:
    with running_server(
        CONFIG,
        folder=tmp_path_factory.mktemp("terminal"),
        modules={"in_terminal.py": bot_text("in_terminal")},
        base_url="/me/",
    ) as running:
        yield running


def typed(server: RunningServer, *words: str) -> AbstractContextManager[Screen]:
    """Run one of our commands in a terminal of the person whose server it is."""
    # The path of a socket has 107 bytes at most, and folders of tests are long.
    return screen(
        Path(tempfile.mkdtemp(prefix="tmux-")) / "s",
        [sys.executable, "-m", "jupyter_wshandler", *words],
        env=own_terminal(runtime_of(server), TERM="xterm-256color"),
        cwd=server.folder,
    )


def test_a_chat_has_a_history_lines_that_go_on_and_messages_that_are_pasted(server):
    with typed(server, "chat", "/echo") as terminal:
        terminal.until(r"/me/echo: Ctrl-C stops an answer, Ctrl-D ends\." + PROMPT)
        terminal.type("hello")
        terminal.keys("Enter")
        terminal.until("\nyou > hello\nbot < 'hello'" + PROMPT)
        terminal.keys("Up", "BSpace", "Enter")  # what was typed comes back, to be changed
        terminal.until("\nyou > hell\nbot < 'hell'" + PROMPT)
        terminal.type("one \\")
        terminal.keys("Enter")
        terminal.until(r"\nyou > one \\\n\.\.\. >")
        terminal.type("two")
        terminal.keys("Enter")
        terminal.until(r"\n\.\.\. > two\nbot < 'one \\ntwo'" + PROMPT)
        terminal.paste("def f():\n    return 1\n")
        terminal.until(r"you > def f\(\):\n    return 1")
        terminal.keys("Enter")
        terminal.until(r"bot < 'def f\(\):\\n    return 1(\\n)?'" + PROMPT)
        terminal.keys("C-d")
        terminal.until("\nended with 0")


def test_ctrl_c_drops_a_message_of_several_lines_and_ctrl_d_sends_it(server):
    with typed(server, "chat", "/echo") as terminal:
        terminal.until(PROMPT)
        terminal.type("never said \\")
        terminal.keys("Enter")
        terminal.until(r"\n\.\.\. >")
        terminal.keys("C-c")
        terminal.until(r"\n\.\.\. >\s*(\^C)?" + PROMPT)
        terminal.type("said \\")
        terminal.keys("Enter")
        terminal.until(r"\n\.\.\. >")
        terminal.keys("C-d")
        lines = terminal.until("\nbot < 'said '" + PROMPT)
        assert not any(line.startswith("bot < ") for line in lines[:-2])
        terminal.keys("C-d")
        terminal.until("\nended with 0")


def test_an_answer_grows_on_its_line_and_ctrl_c_stops_it(server):
    with typed(server, "chat", "/story") as terminal:
        terminal.until(PROMPT)
        terminal.type("for ever")
        terminal.keys("Enter")
        terminal.until("\nbot < once upon for ever (and on ?){3,}")
        terminal.keys("C-c")
        lines = terminal.until(PROMPT)
        # Its `finally` has run when the prompt is there again.
        assert (server.folder / "ended").read_text() == "CancelledError"
        terminal.type("a time")
        terminal.keys("Enter")
        lines = terminal.until("\nbot < once upon a time" + PROMPT)
        assert "Traceback" not in "\n".join(lines)
        terminal.keys("C-c")
        terminal.until("\nended with 0")


def test_routes_are_a_table_and_what_is_broken_is_told_below(server):
    with typed(server, "routes") as terminal:
        lines = terminal.until("\nended with 0")
    headings = lines[0].split()
    assert headings == ["NAME", "HERE", "STATE", "SERVED", "BY", "PATTERN"]
    rows = {line.split()[0]: line.split()[1:] for line in lines[1:5]}
    assert rows == {
        "broken": ["0", "broken", "a", "module", "/broken"],
        "echo": ["0", "ready", "a", "module", "/echo"],
        "fails": ["0", "ready", "a", "module", "/fails"],
        "story": ["0", "ready", "a", "module", "/story"],
    }
    # Columns stand below each other.
    at = lines[0].index("STATE")
    assert [line[at:].split()[0] for line in lines[1:5]] == ["broken", "ready", "ready", "ready"]
    assert re.search(r"^broken: .*nothing_like_that", "\n".join(lines), re.MULTILINE)


def test_tail_tells_as_it_happens_and_ends_with_ctrl_c(server):
    with typed(server, "tail", "--traceback") as terminal:
        terminal.until(r"tail: .*Ctrl-C ends.*")
        with server.connect_sync("/fails") as client:
            client.send("what was asked")
            terminal.until(r"ValueError: on purpose")
        lines = terminal.until(r"closed   fails  \S+  \S+ with 1000 after [\d.]+ m?s")
        told = "\n".join(lines)
        assert re.search(r"^[\d:]{8}  opened   fails  \S+  \S+ from 127\.0\.0\.1$", told, re.M)
        assert re.search(r"failed   fails .* ValueError in in_terminal\.fail", told)
        assert "its message, of 14: what was asked" in told
        terminal.keys("C-c")
        lines = terminal.until("\n(\\^C)?ended with 130")
        assert "KeyboardInterrupt" not in "\n".join(lines)
