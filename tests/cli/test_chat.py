"""`jupyter wshandler chat` as a person runs it: at a terminal, and from a pipe."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import websockets.sync.server
from support.bots import bot_text
from support.breaking import breaking_server
from support.server import RunningServer, free_port, running_server, wait_for

BOT = bot_text("chat_command")

ROUTES = """
url:
  pingbot:
    pattern: /pingbot
    handler: WebSocketHandler
    kwargs: {on_message: bots.echo}
  story:
    pattern: /story
    handler: WebSocketHandler
    kwargs: {on_message: bots.story}
  odd:
    pattern: /odd
    handler: WebSocketHandler
    kwargs: {on_message: bots.odd}
  open:
    pattern: /open
    handler: WebSocketHandler
    kwargs: {on_message: bots.odd, on_error: {close: false}}
  strict:
    pattern: /strict
    handler: WebSocketHandler
    kwargs: {on_message: bots.echo, ratelimit: {messages: 1/h}}
  slow:
    pattern: /slow
    handler: WebSocketHandler
    kwargs: {on_message: bots.echo, ratelimit: {messages: 1/h, then: error}}
  broken:
    pattern: /broken
    handler: WebSocketHandler
    kwargs: {on_message: bots.nothing_like_that}
"""

RATE = r'Got message: a\n\{"error":"ratelimit","retry_after":[\d.]+\}\n'
ROWS = r'\{"rows":\[1,2\]\}\n'
FAILED = r'\{"error":"internal error","id":"\w+"\}\n'

SECONDS = 40


@pytest.fixture(scope="module")
def served(tmp_path_factory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("chat")
    with running_server(ROUTES, folder=folder, modules={"bots.py": BOT}, base_url="/me/") as server:
        yield server


def environment(runtime: Path | str, **more: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.upper().startswith(("JUPYTER", "JPY_"))}
    return {**kept, "JUPYTER_RUNTIME_DIR": str(runtime), "TERM": "xterm", **more}


def beside(server: RunningServer, **more: str) -> dict[str, str]:
    """Return the environment of a terminal of the person whose server this is."""
    return environment(server.folder / ".jupyter-state" / "runtime", **more)


def piped(arguments: list[str], said: str | bytes, env: dict[str, str]):
    return subprocess.run(
        [sys.executable, "-m", "jupyter_wshandler", "chat", *arguments],
        input=said.encode() if isinstance(said, str) else said,
        capture_output=True,
        env=env,
        timeout=SECONDS,
    )


class Terminal:
    """A terminal in which the command runs."""

    def __init__(self, arguments: list[str], env: dict[str, str]) -> None:
        self._master, slave = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "jupyter_wshandler", "chat", *arguments],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=env,
            # The terminal is its own, so that Ctrl-C is the terminal's doing.
            preexec_fn=lambda: _take_terminal(slave),
        )
        os.close(slave)
        self.text = ""

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def until(self, pattern: str) -> str:
        """Wait until what is new on the screen matches; forget what came before its end."""
        deadline = time.monotonic() + SECONDS
        while (found := re.search(pattern, self.text)) is None:
            assert self._read(deadline), f"{pattern!r} did not come; found:\n{self.text}"
        self.text = self.text[found.end() :]
        return found.group()

    def end(self) -> int:
        """Wait for the end of the command; return its exit code."""
        deadline = time.monotonic() + SECONDS
        while self._read(deadline):
            pass
        return self.process.wait(10)

    def interrupt(self) -> int:
        """Type Ctrl-C at the prompt until the command ends; return its exit code.

        Python's readline shows the prompt, and only then begins to wait: one that comes in between
        is not seen before the next key.
        """
        deadline = time.monotonic() + SECONDS
        while self.process.poll() is None and time.monotonic() < deadline:
            self.type("\x03")
            while self._read(time.monotonic() + 1):
                pass
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(1)
        return self.process.wait(10)

    def _read(self, deadline: float) -> bool:
        ready, _, _ = select.select([self._master], [], [], max(0, deadline - time.monotonic()))
        if not ready:
            return False
        try:
            data = os.read(self._master, 65536)
        except OSError:
            return False
        self.text += data.decode(errors="replace")
        return bool(data)

    def close(self) -> None:
        self.process.kill()
        self.process.wait(10)
        os.close(self._master)


def _take_terminal(slave: int) -> None:
    import fcntl
    import termios

    os.setsid()
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)


@contextlib.contextmanager
def terminal(arguments: list[str], env: dict[str, str]) -> Iterator[Terminal]:
    opened = Terminal(arguments, env)
    try:
        yield opened
    finally:
        opened.close()


def test_at_a_terminal_it_finds_the_server_answers_and_ends_with_ctrl_d(served):
    with terminal(["/pingbot"], beside(served)) as screen:
        screen.until(r"/me/pingbot: Ctrl-C stops an answer, Ctrl-D ends")
        screen.until("you > ")
        screen.type("hello\n")
        screen.until(r"bot < Got message: hello\r\n")
        screen.until("you > ")
        screen.type("again\n")
        screen.until(r"bot < Got message: again\r\n")
        screen.until("you > ")
        screen.type("äöü €\n")
        screen.until(r"bot < Got message: äöü €\r\n")
        screen.until("you > ")
        screen.type("\x04")
        assert screen.end() == 0, screen.text
        assert "Traceback" not in screen.text


def test_what_is_streamed_is_one_line_and_ctrl_c_stops_it_and_then_ends(served):
    with terminal(["story"], beside(served)) as screen:
        screen.until("you > ")
        screen.type("a time\n")
        screen.until(r"bot < once upon a time \r\n(\x1b\S+)?you > ")
        screen.type("for ever\n")
        screen.until("bot < once upon for ever and on and on ")
        screen.type("\x03")
        screen.until(r"\[stopped\]")
        screen.until("you > ")
        screen.type("there\n")
        screen.until(r"bot < once upon there \r\n")
        screen.until("you > ")
        assert screen.interrupt() == 0, screen.text
        assert "Traceback" not in screen.text


def test_what_comes_while_somebody_types_keeps_the_line_and_an_end_ends_the_prompt(served):
    with terminal(["/odd"], beside(served)) as screen:
        screen.until("you > ")
        screen.type("late\n")
        screen.until("you > ")
        screen.type("half a li")
        screen.until("bot < by the way")
        screen.until("you > half a li")
        screen.until("the bot has closed the connection: 4002 too late")
        assert screen.end() == 1, screen.text
        assert "Traceback" not in screen.text


def test_at_a_terminal_a_bot_that_has_failed_is_connected_again(served):
    with terminal(["/odd"], beside(served)) as screen:
        screen.until("you > ")
        for _ in range(2):
            screen.type("fail\n")
            screen.until("1011 internal error.*; the server's log has the error")
            screen.until(r"\[connected again\]")
            screen.until("you > ")
        screen.type("json\n")
        screen.until(r'bot < \{"rows":\[1,2\]\}')
        screen.until("you > ")
        screen.type("\x04")
        assert screen.end() == 0, screen.text
        assert "Traceback" not in screen.text


def test_at_a_terminal_a_server_that_comes_back_is_connected_again(tmp_path):
    port = free_port()

    def echo(socket) -> None:
        for message in socket:
            if message == "go":
                socket.close(1012)
                return
            socket.send("got " + message)

    def started() -> websockets.sync.server.Server:
        server = websockets.sync.server.serve(echo, "127.0.0.1", port)
        threading.Thread(target=server.serve_forever).start()
        return server

    server = started()
    try:
        with terminal([f"ws://127.0.0.1:{port}/x"], environment(tmp_path)) as screen:
            screen.until("you > ")
            screen.type("go\n")
            screen.until("1012")
            server.shutdown()
            screen.until("connecting again")
            server = started()
            screen.until(r"\[connected again\]")
            screen.until("you > ")
            screen.type("hello\n")
            screen.until("got hello")
    finally:
        server.shutdown()


def test_at_a_terminal_a_break_is_a_line_and_who_is_sent_elsewhere_goes_there(tmp_path):
    with (
        breaking_server() as server,
        terminal([server.url], environment(tmp_path)) as screen,
    ):
        screen.until("you > ")
        screen.type("hello\n")
        screen.until(r"bot < re hello\r\n")
        screen.until("you > ")
        screen.type("half a li")
        server.is_deaf = True
        server.cut()
        screen.until(r"\[the connection is lost; trying again\]")
        screen.until("you > half a li")
        screen.type("ne\n")  # which waits
        server.is_deaf = False
        screen.until(r"\[connected again\]")
        screen.until(r"bot < re half a line\r\n")
        screen.until("you > ")
        server.run(lambda: server.peers[0].say({"move": 0}))  # as one that is about to stop
        screen.until(r"\[connected again; the bot takes this for a new conversation\]")
        screen.until("you > ")
        screen.type("there\n")
        screen.until(r"bot < re there\r\n")
        screen.until("you > ")
        screen.type("\x04")
        assert screen.end() == 0, screen.text
        assert "Traceback" not in screen.text
        assert [peer.taken for peer in server.peers] == [["hello", "half a line"], ["there"]]


def test_from_a_pipe_an_answer_streams_on_through_a_break(tmp_path):
    with breaking_server() as server:
        cutter = threading.Thread(target=_cut_a_stream, args=[server])
        cutter.start()
        ended = piped([server.url], "stream 40\nhello\n", environment(tmp_path))
        cutter.join(SECONDS)
    assert ended.returncode == 0, ended.stderr
    tokens = "".join(f"{number} " for number in range(40))
    assert ended.stdout.decode() == f"{tokens}\nre hello\n"
    assert ended.stderr.decode().count("[connected again]") == 1


def test_from_a_pipe_an_answer_that_is_lost_is_no_success(tmp_path):
    with breaking_server() as server:
        server.refuses = "lost"
        cutter = threading.Thread(target=_cut_a_stream, args=[server])
        cutter.start()
        ended = piped([server.url], "stream 1000000\nhello\n", environment(tmp_path))
        cutter.join(SECONDS)
    assert ended.returncode == 1
    assert ended.stdout.decode().endswith("\nre hello\n")
    said = ended.stderr.decode()
    assert "[connected again; the bot takes this for a new conversation]" in said
    assert "[the answer is lost; the bot may have handled the message, or not]" in said


def _cut_a_stream(server) -> None:
    def begun() -> bool:
        return bool(server.peers and server.peers[0].streams and server.peers[0].streams[0][1] > 5)

    wait_for(begun, SECONDS, "the stream")
    server.cut()


def test_from_a_pipe_an_answer_that_a_task_sends_is_waited_for(served):
    ended = piped(["/odd"], "beside\njson\n", beside(served))
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.decode().splitlines() == ["told beside", '{"rows":[1,2]}']


def test_from_a_pipe_a_line_that_gets_no_answer_is_no_success(served):
    ended = piped(["/odd"], "nothing\nnothing\njson\n", beside(served))
    assert ended.returncode == 1
    assert ended.stdout.decode().splitlines() == ['{"rows":[1,2]}']
    assert ended.stderr.decode().count("[no answer within 5 s") == 1


def test_from_a_pipe_each_line_waits_for_its_answer_and_only_answers_are_put_out(served):
    ended = piped(["/pingbot"], "one\ntwo\n\nthree", beside(served))
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.decode().splitlines() == [
        "Got message: one",
        "Got message: two",
        "Got message: ",
        "Got message: three",
    ]
    assert ended.stderr == b""
    assert piped(["/pingbot"], "", beside(served)).returncode == 0


def test_each_kind_of_answer_has_its_lines_and_nothing_that_a_terminal_obeys(served):
    said = "tokens\njson\nbytes\nescape\ntwo\nargs\n"
    ended = piped(["/odd?name=blue&token=" + served.token], said, beside(served))
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.decode().split("\n") == [
        "a b",
        '{"rows":[1,2]}',
        "[5 bytes]",
        r"red \x1b[31m \u202e bell\x07",
        "first",
        "",
        "line",
        "line",
        '{"name": ["blue"]}',
        "",
    ]


@pytest.mark.parametrize(
    ("path", "said", "code", "out", "words"),
    [
        ("/slow", "a\nb\n", 1, RATE, "refused: too many messages"),
        ("/odd", "fail\n", 1, "", "1011 internal error"),
        ("/open", "fail\njson\n", 1, FAILED + ROWS, "[failed; the server's log"),
        ("/odd", "bye\nmore\n", 1, "farewell\n", "closed the connection: 4001 that was all"),
        ("/odd", "bye\n", 1, "farewell\n", "closed the connection: 4001 that was all"),
        ("/odd", "well\n", 0, "", ""),
        ("/odd", "well\nmore\n", 1, "", "closed the connection: 1000 good night"),
        ("/pingbot", b"a\n\xff\nb\n", 1, "Got message: a\nGot message: b\n", "line 2 is no UTF-8"),
        ("/strict", "a\nb\nc\n", 1, "Got message: a\n", "1008"),
        ("/nowhere", "a\n", 1, "", "404"),
        ("/broken", "a\n", 1, "", "503"),
        ("/../x", "a\n", 2, "", "expected a path without"),
    ],
)
def test_what_goes_wrong_is_said_and_is_the_exit_code(served, path, said, code, out, words):
    ended = piped([path], said, beside(served))
    assert ended.returncode == code, ended.stderr
    assert re.fullmatch(out, ended.stdout.decode()), ended.stdout
    assert words in ended.stderr.decode()
    assert "Traceback" not in ended.stderr.decode()
    assert served.token not in ended.stderr.decode()


def test_another_server_is_named_with_its_token_and_a_wrong_one_is_refused_in_words(
    served, tmp_path
):
    # A proxy of the environment is none of loopback's business, and would see the token.
    env = environment(tmp_path, HTTP_PROXY="http://127.0.0.1:9", ALL_PROXY="http://127.0.0.1:9")
    secret = tmp_path / "token"
    secret.write_text(served.token + "\n")
    for login in (["--token", served.token], ["--token-file", str(secret)]):
        ended = piped(["/pingbot", "--url", served.url, *login], "hi\n", env)
        assert ended.stdout == b"Got message: hi\n", ended.stderr
        assert ended.returncode == 0
    for login in (["--token", "wrong-secret"], []):
        ended = piped(["/pingbot", "--url", served.url, *login], "hi\n", env)
        said = ended.stderr.decode()
        assert ended.returncode == 1
        assert "403" in said
        assert "--token" in said
        assert "token=" not in said
        assert "wrong-secret" not in said
    missing = piped(["/pingbot", "--token-file", str(tmp_path / "none")], "hi\n", env)
    assert missing.returncode == 2
    assert "No such file" in missing.stderr.decode()


def test_without_a_server_it_says_where_it_looked_and_how_to_name_one(served, tmp_path):
    ended = piped(["/pingbot"], "hi\n", environment(tmp_path))
    said = ended.stderr.decode()
    assert ended.returncode == 1
    assert str(tmp_path) in said
    assert "--url" in said
    assert "connect(" not in said
    nobody = f"http://127.0.0.1:{free_port()}/"
    ended = piped(["/pingbot", "--url", nobody], "hi\n", environment(tmp_path))
    assert ended.returncode == 1
    assert "cannot reach" in ended.stderr.decode()


def test_of_two_servers_it_asks_which_one_is_meant(served, tmp_path):
    state = served.folder / ".jupyter-state" / "runtime"
    (file,) = state.glob("jpserver-*.json")
    with subprocess.Popen(["sleep", "100"]) as one, subprocess.Popen(["sleep", "100"]) as two:
        for number, pid in ((1, one.pid), (2, two.pid)):
            text = re.sub(r'"pid": \d+', f'"pid": {pid}', file.read_text())
            text = re.sub(r'"port": \d+', f'"port": {number}', text)
            (tmp_path / f"jpserver-{number}.json").write_text(text)
        ended = piped(["/pingbot"], "hi\n", environment(tmp_path))
        one.kill()
        two.kill()
    said = ended.stderr.decode()
    assert ended.returncode == 1, ended.stdout
    assert "--url http://127.0.0.1:" in said
    assert len(re.findall(r"^  http://127\.0\.0\.1:[12]/me/  \(folder", said, re.MULTILINE)) == 2


def test_the_end_of_who_reads_is_no_traceback(served):
    command = f"{sys.executable} -m jupyter_wshandler chat /story | head -c 5"
    ended = subprocess.run(
        ["bash", "-c", f"printf 'for ever\\n' | {command}"],
        env=beside(served),
        capture_output=True,
        timeout=SECONDS,
    )
    assert ended.stdout == b"once "
    assert b"Traceback" not in ended.stderr


def test_ctrl_c_stops_a_piped_conversation_with_a_shells_code(served):
    with subprocess.Popen(
        [sys.executable, "-m", "jupyter_wshandler", "chat", "/story"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=beside(served),
    ) as process:
        process.stdin.write(b"for ever\n")
        process.stdin.flush()
        assert process.stdout.read(30).startswith(b"once upon for ever and on")
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=SECONDS)
    assert process.returncode == 130
    assert b"[stopped]" in said


def test_a_server_that_does_not_say_where_answers_end_is_waited_for_a_while(tmp_path):
    def plain(socket) -> None:
        for message in socket:
            socket.send(f"{message} 1")
            socket.send(f"{message} 2")

    with websockets.sync.server.serve(plain, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            port = server.socket.getsockname()[1]
            ended = piped([f"ws://127.0.0.1:{port}/x"], "a\nb\n", environment(tmp_path))
        finally:
            server.shutdown()
            thread.join()
    assert ended.stdout.decode().splitlines() == ["a 1", "a 2", "b 1", "b 2"]
    assert ended.returncode == 0, ended.stderr
