"""Half of a pair of surrogates, which Python's texts may have and UTF-8 has not, in a notebook."""

from __future__ import annotations

import pytest
from support.bots import bot_text
from support.notebook import Notebook, eventually, notebook
from support.server import RunningServer, running_server

LONE = "\ud800"


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> RunningServer:
    with running_server("url: {}", folder=tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture(scope="module")
def book(server) -> Notebook:
    with notebook(server) as opened:
        opened.run("import jupyter_wshandler as wsh\ndef f(handler, message):\n    return message")
        yield opened


@pytest.mark.parametrize("run", ["loop", "thread"])
def test_what_a_callback_raises_is_shown_with_escapes_below_its_cell(server, book, run):
    cell = book.run(
        "def fail(handler, message):\n    raise ValueError('before \\ud800 after')\n"
        f"bot = wsh.serve('/raises/{run}', fail, run={run!r})"
    )
    with server.connect_sync(f"/raises/{run}") as socket:
        for _ in range(2):
            socket.send("x")
            assert "internal error" in socket.recv(timeout=10)
    eventually(lambda: cell.text.count("before \\ud800 after") >= 2, cell.text)
    assert "never retrieved" not in cell.text


@pytest.mark.parametrize(
    ("call", "where"),
    [
        (r"wsh.serve('/named', f, name='a\ud800')", "name"),
        (r"wsh.serve('/pattern\ud800', f)", "pattern"),
        (r"wsh.serve('/groups', f, auth={'groups': ['a\udc80']})", "auth['groups'][0]"),
        (r"wsh.serve('/sub', f, subprotocols=['\udfff'])", "subprotocols"),
        (r"wsh.serve('/key', f, **{'\ud800': 1})", "\\ud800"),
    ],
    ids=["name", "pattern", "group", "subprotocol", "key"],
)
def test_a_text_that_no_message_can_hold_is_refused_in_the_cell(server, book, call, where):
    book.run("live = wsh.serve('/live', f)")
    error = book.run(call, fails=True).error
    assert error.startswith(("ValueError: ", "ConfigError: ")), error
    assert where in error
    assert "\\ud" in error
    with server.connect_sync("/live") as socket:  # the kernel's way to the server is whole
        socket.send("x")
        assert socket.recv(timeout=10) == "x"


@pytest.mark.parametrize("pattern", ["5", "None", "b'/x'"])
def test_a_pattern_that_is_no_text_is_a_type_error_that_says_what_is_expected(book, pattern):
    error = book.run(f"wsh.serve({pattern}, f)", fails=True).error
    assert error.startswith("TypeError: wsh.serve: pattern: expected a str such as '/chat', found")
    assert pattern in error


def test_a_long_pattern_is_cut_in_the_message(book):
    error = book.run("wsh.serve('x' * 100_000, f)", fails=True).error
    assert "xxx..." in error
    assert len(error) < 1000
    error = book.run("wsh.serve('/' + '{x}' * 33_000, f)", fails=True).error
    assert len(error) < 1000
    error = book.run("wsh.serve('/' + 'x' * 100_000, f, auth=False)", fails=True).error or ""
    assert len(error) < 1000


def test_a_notebook_whose_name_is_no_utf8_serves_its_bots(server, book):
    book.run(
        "import os\nbefore = os.environ.get('JPY_SESSION_NAME', '')\n"
        "os.environ['JPY_SESSION_NAME'] = 'caf\\udce9.ipynb'\n"
        "bot = wsh.serve('/label', f)\nos.environ['JPY_SESSION_NAME'] = before"
    )
    assert book.run("print(bot.state)").text == "live\n"


def test_an_event_that_cannot_be_sent_costs_itself_and_not_the_way_to_the_server(server, book):
    cell = book.run(
        "import sys\nbot = wsh.serve('/whole', f)\n"
        "link = sys.modules['jupyter_wshandler.notebook.serve']._link\n"
        "from jupyter_wshandler.kernels.events import Withdraw\n"
        "link.call(lambda: link._put(Withdraw('\\ud800')))"
    )
    with server.connect_sync("/whole") as socket:
        for _ in range(20):
            socket.send("x")
            assert socket.recv(timeout=10) == "x"
    assert book.run("print(wsh.serve('/later', f).state)").text == "live\n"
    assert cell.error is None


def test_what_a_timer_of_a_notebooks_bot_raises_is_shown_below_its_cell_and_remembered(
    server, book
):
    cell = book.run(bot_text("timers_cell"))
    with server.connect_sync("/timers") as socket:
        socket.send("x")
        assert socket.recv(timeout=10) == "x"
        eventually(lambda: cell.text.count("timers: timer fail failed for ") == 2, cell.text)
    assert "the connection stays open" in cell.text
    assert book.run("print([str(e.exception) for e in bot.errors])").text == (
        "['of a timer', 'of a timer']\n"
    )
