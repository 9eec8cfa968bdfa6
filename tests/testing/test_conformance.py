"""`jupyter wshandler conformance`: a client that is right passes, and a wrong one fails by name."""

from __future__ import annotations

import http.client
import http.server
import shutil
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.chatpage import STATIC
from support.need import need

from jupyter_wshandler.cli import main
from jupyter_wshandler.testing import start_server
from jupyter_wshandler.testing.conformance import bots
from jupyter_wshandler.testing.conformance.relay import BINARY, TEXT, Reader, Relay, text_frame
from jupyter_wshandler.testing.conformance.run import OPTIONS, attempt, names
from jupyter_wshandler.testing.conformance.trial import Ground, chosen

CLIENT = [sys.executable, str(Path(__file__).parents[1] / "support" / "conformclient.py")]
CLIENTS = Path(__file__).parents[1] / "clients"
STRANGER, HELPER = CLIENTS / "stranger.mjs", CLIENTS / "helper.mjs"
RUN = [sys.executable, "-m", "jupyter_wshandler", "conformance"]
PAGE = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text()

WRONG = {
    ("takes_repetitions", "resume-repetition"): ("messages: 'pushed 1' at place 1", "pushed 0"),
    ("never_acknowledges", "resume-acks"): ("an acknowledgement of more than 136", "push 200"),
    ("does_not_see_gaps", "resume-gap"): ("close code 4900", "told of"),
    ("forgets_stops", "resume-stop-lost"): ('"how": "stopped"', "resumed"),
    ("sends_blindly_again", "resume-renewed"): ("was given while away", "one"),
    ("never_comes_back", "resume-start"): ('"resumed": true', "closed"),
    ("says_nonsense", "message-text"): ('"event": "open"', "has ended with 3"),
}
"""Mistakes of a client, each with the scenario that finds it, and words of what it says."""


@pytest.fixture
def helper(tmp_path):
    """Return the command of `wshandler.js` as a client, in a folder of modules."""
    for module in STATIC.glob("*.js"):
        shutil.copy(module, tmp_path)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    return [*node(), str(HELPER), str(tmp_path / "wshandler.js")]


def node():
    return [need("node"), "--experimental-websocket", "--no-warnings"]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("client", ["jupyter_wshandler.client", "wshandler.js", "the stranger's"])
def test_a_client_that_is_right_passes_each_scenario(client, request):
    if client == "wshandler.js":
        program = request.getfixturevalue("helper")
    else:
        program = CLIENT if client != "the stranger's" else [*node(), str(STRANGER)]
    command = [*RUN, "--seed", "1", "--patience", "4", "--", *program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=290)
    passed = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("pass ")]
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    assert passed == [name for name, _ in names()]
    assert f"OK: {len(passed)} of {len(passed)} passed" in done.stdout


@pytest.fixture(scope="module")
def tried():
    """Tries a program in one scenario, and returns the verdict."""
    with (
        start_server({"url": bots.routes()}, options=OPTIONS) as server,
        server.connect("/taken") as ledger,
    ):
        yield lambda command, name: attempt(
            Ground(server, ledger, command, seed=1, patience=0.5), chosen([name])[0]
        )


@pytest.fixture(scope="module")
def verdicts(tried):
    """What is found of each wrong client; each is tried beside the others, as most of it waits."""
    with ThreadPoolExecutor(4) as pool:
        found = pool.map(lambda wrong: tried([*CLIENT, wrong[0]], wrong[1]), WRONG)
        return dict(zip(WRONG, found, strict=True))


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong[0])
def test_a_client_that_is_wrong_on_purpose_fails_by_name(verdicts, wrong):
    verdict = verdicts[wrong]
    assert verdict.failed is not None
    expected, found = WRONG[wrong]
    assert expected in verdict.failed.expected
    assert found in verdict.failed.found


def test_what_a_failure_shows_holds_no_secret_and_says_what_was_on_the_wire(verdicts):
    notes = verdicts["never_comes_back", "resume-start"].notes
    assert any("the server has sent last" in note and '"secret":"***"' in note for note in notes)
    nonsense = verdicts["says_nonsense", "message-text"].notes
    assert any("hello, world" in note for note in nonsense)


def test_a_program_that_cannot_be_started_is_a_failure_and_no_traceback(tried, tmp_path):
    verdict = tried([str(tmp_path / "missing")], "ask")
    assert verdict.failed is not None
    assert verdict.failed.expected == "that the program can be started"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "expected the command of a client behind --"),
        (["--only", "resume-never", "--", "true"], "found 'resume-never'; see --list"),
        (["--jobs", "0", "--", "true"], "--jobs of at least 1"),
        (["--patience", "nan", "--", "true"], "--patience above 0"),
    ],
)
def test_what_cannot_be_tried_is_said_at_once(capsys, words, says):
    assert main(["conformance", *words]) == 2
    assert says in capsys.readouterr().err


def test_the_list_names_each_scenario_with_a_sentence(capsys):
    assert main(["conformance", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [name for name, _ in names()]
    assert len(lines) == len({line.split()[0] for line in lines}) > 35
    assert all(line.endswith(".") for line in lines)


@pytest.mark.parametrize("event", ["open", "message", "reply", "piece", "end", "closed", "member"])
def test_the_page_describes_each_event(event):
    assert f'| `{{"event": "{event}"' in PAGE


def test_the_relay_passes_on_what_a_client_asks_over_http_each_on_a_connection_of_its_own():
    class Answers(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"  # which keeps a connection, if nobody says otherwise

        def do_GET(self):
            self.send_error(426, "only WebSockets here")

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers) as behind:
        thread = threading.Thread(target=behind.serve_forever, name="behind the relay")
        thread.start()
        relay = Relay(behind.server_port, threading.Condition())
        try:
            for _ in range(2):
                client = http.client.HTTPConnection("127.0.0.1", relay.port, timeout=20)
                client.request("GET", "/ask")
                with client.getresponse() as answer:
                    assert (answer.status, answer.headers["Connection"]) == (426, "close")
                    assert b"only WebSockets here" in answer.read()
                client.close()
            assert relay.offers == []
        finally:
            relay.close()
            behind.shutdown()
            thread.join()


def test_the_relay_reads_masks_fragments_and_what_stands_between_them():
    near, far = socket.socketpair()
    with near, far:
        masked = bytes([0x81, 0x82, 1, 2, 3, 4, ord("h") ^ 1, ord("i") ^ 2])
        near.sendall(masked)
        near.sendall(b"\x02\x01a" + b"\x89\x01p" + b"\x89\x00" + b"\x80\x01b")
        near.sendall(text_frame({"n": 1}) + text_frame("x" * 300) + text_frame("y" * 70_000))
        near.shutdown(socket.SHUT_WR)
        reader = Reader(far)
        assert reader.message() == (TEXT, b"hi", masked)
        assert reader.message() == (BINARY, b"ab", b"\x02\x01a\x80\x01b")
        assert reader.message()[:2] == (9, b"p")
        assert reader.message()[:2] == (9, b"")
        assert reader.message()[1] == b'{"n": 1}'
        assert [len(reader.message()[1]) for _ in range(2)] == [300, 70_000]
        with pytest.raises(EOFError):
            reader.message()
