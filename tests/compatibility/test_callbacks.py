"""What moves from Gramex, on a real server: callbacks, messages, returns, errors, closing."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
from pathlib import Path

import pytest
from support.bots import bot_text
from support.frames import BINARY, PING, PONG, TEXT, close, frame, text
from support.journal import MODULE as JOURNAL
from support.journal import ROUTE, Journal, new_tag
from support.server import running_server, wait_for
from support.wire import Wire
from websockets.exceptions import ConnectionClosed

EXAMPLES = Path(__file__).parents[2] / "examples"

YAML = """
url:
  pingbot:
    pattern: /pingbot
    handler: WebSocketHandler
    kwargs:
      open:       {function: pingbot.open}
      on_message: {function: pingbot.on_message}
      on_close:   {function: pingbot.on_close}
      origins: [gramener.com, localhost, 127.0.0.1]
      auth: true
"""

PINGBOT = bot_text("gramex_pingbot")

BOTS = bot_text("gramex_callbacks")

KWARGS = {
    "sample": "{open: sample.on_open, on_message: sample.on_message, on_close: sample.on_close}",
    "kind": "{on_message: bots.kind}",
    "builtin": "{open: shadow.open, on_message: shadow.on_message}",
    "renamed": "{on_open: renamed.on_open, on_message: renamed.on_message}",
    "deaf": "{open: bots.opened, on_close: bots.closed}",
    "only-open": "{open: bots.opened}",
    "nothing": "{}",
    "returns": "{on_message: bots.returns, on_close: bots.closed}",
    "returns-later": "{on_message: bots.returns_later, on_close: bots.closed}",
    "ignores": "{on_message: bots.returns, returns: ignore}",
    "counts": "{on_message: bots.counts}",
    "counts-later": "{on_message: bots.counts_later}",
    "slowly": "{on_message: bots.slowly}",
    "slowly-tornado": "{on_message: bots.slowly_in_tornado}",
    "blocks": "{on_message: bots.blocks}",
    "blocks-loop": "{on_message: bots.echo, run: loop}",
    "opens-slowly": "{open: bots.opens_slowly, on_message: bots.echo}",
    "open-returns": "{open: bots.open_returns, on_message: bots.echo, on_close: bots.closed}",
    "closes-slowly": "{on_message: bots.echo, on_close: bots.closes_slowly}",
    "closes-in-steps": "{on_message: bots.echo, on_close: bots.closes_in_steps}",
    "open-fails": "{open: bots.fails, on_message: bots.echo, on_close: bots.closed}",
    "fails": "{on_message: bots.fails, on_close: bots.closed}",
    "fails-later": "{on_message: bots.fails_later, on_close: bots.closed}",
    "fails-on": "{on_message: bots.fails, on_error: {close: false}}",
    "close-fails": "{on_message: bots.echo, on_close: bots.fails}",
    "closes-at-once": "{open: bots.closes_at_once, on_message: bots.echo, on_close: bots.closed}",
    "echo": "{open: bots.opened, on_message: bots.echo, on_close: bots.closed}",
    "to-the-end": "{on_message: bots.waits_for_the_end, on_close: bots.closed}",
    "writes": "{on_message: bots.writes, on_close: bots.closed}",
    "writes-too-late": "{on_message: bots.echo, on_close: bots.writes_too_late}",
    "writes-as-http": "{on_message: bots.writes_as_http}",
    "small": "{on_message: bots.kind, max_message: 1KiB}",
    "packed": "{on_message: bots.echo, compression: true}",
    "packed-if-asked": "{on_message: bots.echo, get_compression_options: bots.compression}",
    "pinged": "{on_message: bots.echo, on_close: bots.closed, ping_interval: 40ms, "
    "ping_timeout: 200ms}",
    "speaks": "{on_message: bots.echo, subprotocols: [v2, v1]}",
    "speaks-last": "{on_message: bots.echo, select_subprotocol: bots.last_protocol}",
    "pongs": "{on_message: bots.pings, on_pong: bots.ponged}",
}
YAML += "".join(
    f"  {name}: {{pattern: /{name}, handler: WebSocketHandler, kwargs: {kwargs}}}\n"
    for name, kwargs in KWARGS.items()
)

SHADOW = """
def open(handler):
    pass

def on_message(handler, message):
    with open(__file__) as file:
        return file.readline()
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("callbacks")
    shutil.copy(EXAMPLES / "pingbot" / "pingbot.py", folder / "sample.py")
    modules = {
        "journal.py": JOURNAL,
        "bots.py": BOTS,
        "pingbot.py": PINGBOT,
        "shadow.py": SHADOW,
        "renamed.py": "# first line" + SHADOW.replace("def open", "def on_open"),
    }
    with running_server(YAML + ROUTE, folder=folder, modules=modules) as running:
        yield running


@pytest.fixture(scope="module")
def journal(server):
    found = Journal(server)
    yield found
    found.close()


@pytest.fixture
def tag():
    return new_tag()


@pytest.fixture
def dial(server, tag):
    """Return a function that opens a socket whose callbacks note under `tag`."""
    with contextlib.ExitStack() as stack:

        def connect(name, query="", **options):
            path = f"/{name}?tag={tag}{query}"
            return stack.enter_context(server.connect_sync(path, **options))

        yield connect


def ask(socket, message):
    socket.send(message)
    return socket.recv(timeout=10)


def end_of(socket):
    """Return code and reason of the close frame that comes next."""
    with pytest.raises(ConnectionClosed) as ended:
        socket.recv(timeout=10)
    assert ended.value.rcvd is not None, "the connection ended without a close frame"
    return ended.value.rcvd.code, ended.value.rcvd.reason


def raw(server, name, tag, **options):
    return Wire(server, f"/{name}?tag={tag}", **options)


# ---- messages --------------------------------------------------------------------------------


def test_row_sample_pingbot_text_opens_answers_and_closes_with_one_session(server, dial):
    socket = dial("pingbot")
    assert ask(socket, "Hello world") == "Got message: Hello world"
    assert ask(socket, "") == "Got message: "
    socket.close()
    pattern = r"^Chatbot (\w+) for (\S+)$"
    said = wait_for(
        lambda: f if len(f := re.findall(pattern, server.log_text(), re.M)) == 2 else None
    )
    assert [word for word, _ in said] == ["opened", "closed"]
    assert said[0][1] == said[1][1]


def test_row_sample_pingbot_binary_frame_is_an_error_there_and_answered_by_our_sample(dial):
    socket = dial("pingbot")
    socket.send(b"\x00\xff")
    assert end_of(socket)[0] == 1011
    assert ask(dial("sample"), b"\x00\xff") == b"Got message: \x00\xff"


def test_row_message_types_text_is_str_binary_is_bytes_and_empty_is_delivered(dial):
    socket = dial("kind")
    assert json.loads(ask(socket, "text")) == {"type": "str", "length": 4}
    assert json.loads(ask(socket, "")) == {"type": "str", "length": 0}
    assert json.loads(ask(socket, b"\x00\xff")) == {"type": "bytes", "length": 2}
    assert json.loads(ask(socket, b"")) == {"type": "bytes", "length": 0}
    assert ask(dial("echo"), "வணக்கம் 😀") == "வணக்கம் 😀"


def test_row_callback_named_open_hides_the_builtin_so_the_log_warns_and_on_open_does_not(
    server, dial
):
    log = server.log_text()
    assert re.search(r"shadow\.open: the callback has the name of Python's open\(\)", log)
    assert not re.search(r"(renamed|bots|sample)\.\w+: the callback has the name", log)
    assert ask(dial("renamed"), "?") == "# first line\n"
    socket = dial("builtin")
    socket.send("?")
    assert end_of(socket)[0] == 1011


def test_row_no_on_message_closes_with_1003_and_a_reason_and_is_said_at_load(
    server, dial, journal, tag
):
    socket = dial("deaf")
    socket.send("anybody there?")
    assert end_of(socket) == (1003, "this route takes no messages")
    journal.wait(tag, ["close", 1003, "this route takes no messages"])
    assert re.search(r"deaf.*on_message.*1003", server.log_text())


@pytest.mark.parametrize("name", ["only-open", "nothing"])
def test_row_open_only_or_nothing_configured_still_opens_and_is_said_at_load(server, dial, name):
    assert dial(name).ping().wait(10)
    assert re.search(rf"{name}.*1003", server.log_text())


# ---- what callbacks return ---------------------------------------------------------------------


@pytest.mark.parametrize("name", ["returns", "returns-later"])
def test_row_on_message_returns_str_bytes_dict_or_list_and_it_is_sent(dial, name):
    socket = dial(name)
    assert ask(socket, "str") == "text"
    assert ask(socket, "bytes") == b"bytes"
    assert json.loads(ask(socket, "dict")) == {"a": 1}
    assert json.loads(ask(socket, "list")) == [1, 2]
    socket.send("none")
    assert ask(socket, "str") == "text"


@pytest.mark.parametrize("name", ["returns", "returns-later"])
def test_row_on_message_returns_a_number_a_tuple_or_a_bool_and_it_is_sent(dial, name):
    socket = dial(name)
    assert [ask(socket, value) for value in ("int", "tuple", "true")] == ["5", "[1,2]", "true"]


@pytest.mark.parametrize("name", ["returns", "returns-later"])
@pytest.mark.parametrize("value", ["object", "deep"])
def test_row_on_message_returns_anything_else_and_it_is_a_clear_error_with_1011(
    server, dial, journal, tag, name, value
):
    socket = dial(name)
    socket.send(value)
    code, reason = end_of(socket)
    assert code == 1011
    journal.wait(tag, ["close", 1011, reason])
    where = {"object": "the value is of type object", "deep": "$[0].when is of type complex"}[value]
    wait_for(lambda: f"returned what cannot be sent: {where}" in server.log_text())


def test_row_on_message_returns_a_value_that_the_route_ignores(dial):
    socket = dial("ignores")
    for value in ("str", "dict", "none"):
        socket.send(value)
    assert socket.ping().wait(10)
    with pytest.raises(TimeoutError):
        socket.recv(timeout=0.05)


@pytest.mark.parametrize(
    ("name", "item"),
    [("counts", "a {}"), ("counts-later", '{{"a":{}}}')],
    ids=["generator", "async generator"],
)
def test_row_generator_on_message_sends_each_item_as_one_frame(dial, name, item):
    socket = dial(name)
    socket.send("a")
    assert [socket.recv(timeout=10) for _ in range(3)] == [item.format(n) for n in range(3)]
    assert ask(socket, "a") == item.format(0)


# ---- in which order, and where -------------------------------------------------------------------


@pytest.mark.parametrize("name", ["slowly", "slowly-tornado"])
def test_row_async_def_and_tornado_coroutine_are_awaited_one_at_a_time(dial, journal, tag, name):
    socket = dial(name)
    for message in "abc":
        socket.send(message)
    expected = [[word, message] for message in "abc" for word in ("begin", "end")]
    assert journal.wait(tag, ["end", "c"]) == expected
    if name == "slowly-tornado":
        assert [socket.recv(timeout=10) for _ in "abc"] == [f"answer to {m}" for m in "abc"]


def test_row_sync_callback_that_blocks_stalls_no_other_connection(server, dial, journal, tag):
    blocked = dial("blocks")
    blocked.send("wait")
    assert ask(dial("blocks"), "at once") == "done: at once"
    assert ask(dial("slowly-tornado"), "x") == "answer to x"
    assert server.fetch("/api/status")[0] == 200
    with pytest.raises(TimeoutError):
        blocked.recv(timeout=0)
    journal.open(tag)
    assert blocked.recv(timeout=10) == "done: wait"
    assert ask(dial("blocks-loop"), "on the loop") == "on the loop"


def test_row_async_def_open_is_awaited_and_frames_wait_for_it(dial, journal, tag):
    socket = dial("opens-slowly")
    for message in "abc":
        socket.send(message)
    assert socket.ping().wait(10)  # the server has read what was sent before
    assert journal.of(tag) == [["open begins"]]
    journal.open(tag)
    assert [socket.recv(timeout=10) for _ in "abc"] == ["a", "b", "c"]
    expected = [["open begins"], ["open ends"], *(["message", m] for m in "abc")]
    assert journal.of(tag) == expected


@pytest.mark.parametrize("value", ["int", "tuple", "true", "object", "none", "str", "dict"])
def test_row_open_returns_a_value_and_it_is_ignored(dial, journal, tag, value):
    socket = dial("open-returns", query=f"&value={value}")
    assert ask(socket, "hello") == "hello"
    socket.close()
    assert journal.wait(tag, ["close", 1000, ""])[0] == ["message", "hello"]


# ---- the end -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["closes-slowly", "closes-in-steps"])
def test_row_async_def_and_generator_on_close_run_to_their_end(dial, journal, tag, name):
    socket = dial(name)
    assert ask(socket, "hello") == "hello"
    socket.close()
    expected = [["message", "hello"], ["close begins"], ["close ends", 1000]]
    assert journal.wait(tag, ["close ends", 1000]) == expected


def error_id(server, reason: str) -> str:
    """Return the id of a close reason that tells the client no more than that."""
    found = re.fullmatch(r"internal error, id ([0-9a-f]{8})", reason)
    assert found, reason
    line = f"Error {found[1]} in bots.fails"
    entry = wait_for(lambda: t if line in (t := server.log_text()) else None, what=line)
    assert "a-detail-only-the-log-knows" in entry[entry.index(line) :]
    return found[1]


def test_row_exception_in_open_closes_with_1011_and_on_close_runs(server, dial, journal, tag):
    socket = dial("open-fails")
    code, reason = end_of(socket)
    assert code == 1011
    error_id(server, reason)
    assert journal.wait(tag, ["close", 1011, reason]) == [["close", 1011, reason]]


@pytest.mark.parametrize("name", ["fails", "fails-later"], ids=["sync", "async"])
def test_row_exception_in_on_message_closes_with_1011_an_id_and_no_traceback(
    server, dial, journal, tag, name
):
    socket, other = dial(name), dial("kind")
    socket.send("now")
    code, reason = end_of(socket)
    assert code == 1011
    error_id(server, reason)
    assert journal.wait(tag, ["close", 1011, reason]) == [["close", 1011, reason]]
    assert ask(other, "still here")


def test_row_exception_in_on_message_can_leave_the_socket_open(server, dial):
    socket = dial("fails-on")
    for _ in range(2):
        answer = json.loads(ask(socket, "now"))
        assert answer["error"] == "internal error"
        error_id(server, f"internal error, id {answer['id']}")


def test_row_exception_in_on_close_is_logged_and_the_client_has_its_1000(server, dial):
    socket = dial("close-fails")
    assert ask(socket, "hello") == "hello"
    before = server.log_text().count("a-detail-only-the-log-knows")
    socket.close()
    assert (socket.protocol.close_code, socket.protocol.close_reason) == (1000, "")
    wait_for(lambda: server.log_text().count("a-detail-only-the-log-knows") > before)


def test_row_handler_close_in_open_reaches_the_client_and_messages_in_flight_are_dropped(
    server, journal, tag
):
    with raw(server, "closes-at-once", tag, early=text("in flight")) as wire:
        ended = wire.frame()
        assert (ended.code, ended.payload[2:]) == (4001, b"not today")
        wire.send(text("later") + close(4001))
        assert wire.frame() is None
    expected = [["open"], ["close", 4001, "not today"]]
    assert journal.wait(tag, ["close", 4001, "not today"]) == expected


def test_row_client_close_code_and_reason_are_seen_by_on_close(dial, journal, tag):
    socket = dial("echo")
    socket.close(4999, "bye now")
    assert journal.wait(tag, ["close", 4999, "bye now"]) == [["open"], ["close", 4999, "bye now"]]


def test_row_abrupt_disconnect_of_an_idle_client_runs_on_close_with_1006(server, journal, tag):
    wire = raw(server, "echo", tag).open()
    journal.wait(tag, ["open"])
    wire.reset()
    assert journal.wait(tag, ["close", 1006, ""]) == [["open"], ["close", 1006, ""]]


def test_row_abrupt_disconnect_in_async_on_message_lets_it_end_before_on_close(
    server, journal, tag
):
    wire = raw(server, "to-the-end", tag).open()
    wire.send(text("stay"))
    journal.wait(tag, ["begin"])
    wire.reset()
    assert journal.wait(tag, ["close", 1006, ""]) == [
        ["begin"],
        ["write failed", "ConnectionClosed"],
        ["end"],
        ["close", 1006, ""],
    ]


# ---- sending -----------------------------------------------------------------------------------


def test_row_write_message_of_dict_list_and_tuple_is_json_and_of_an_object_an_error(
    dial, journal, tag
):
    socket = dial("writes")
    assert json.loads(ask(socket, "dict")) == {"a": 1}
    assert json.loads(ask(socket, "list")) == [1, 2]
    assert ask(socket, "tuple") == "[1,2]"
    socket.send("object")
    code, reason = end_of(socket)
    assert code == 1011
    journal.wait(tag, ["close", 1011, reason])


def test_row_write_message_in_on_close_raises_connection_closed(dial, journal, tag):
    socket = dial("writes-too-late")
    assert ask(socket, "hello") == "hello"
    socket.close()
    journal.wait(tag, ["write failed"])


def test_row_handler_write_is_an_error_that_names_write_message(server, dial):
    socket = dial("writes-as-http")
    socket.send("hello")
    assert end_of(socket)[0] == 1011
    wait_for(lambda: "use handler.write_message(message)" in server.log_text())


def test_row_max_message_is_closed_with_1009_past_the_limit_of_the_route(dial):
    socket = dial("small")
    assert json.loads(ask(socket, "x" * 1024))["length"] == 1024
    socket.send("x" * 1025)
    assert end_of(socket)[0] == 1009
    assert json.loads(ask(dial("kind"), "x" * 100_000))["length"] == 100_000


@pytest.mark.parametrize(
    ("name", "query", "packed"),
    [
        ("echo", "", False),
        ("packed", "", True),
        ("packed-if-asked", "", False),
        ("packed-if-asked", "&on=1", True),
    ],
)
def test_row_per_message_deflate_is_off_unless_the_route_says_so(dial, name, query, packed):
    socket = dial(name, query=query, compression="deflate")
    agreed = socket.response.headers.get("Sec-WebSocket-Extensions", "")
    assert agreed.startswith("permessage-deflate") is packed
    assert ask(socket, "hello " * 100) == "hello " * 100


def test_row_keepalive_pings_a_client_and_gives_up_one_that_does_not_answer(server, journal, tag):
    with raw(server, "pinged", tag) as wire:
        for _ in range(3):
            asked = wire.frame()
            assert asked.opcode == PING
            wire.send(frame(PONG, asked.payload))
        assert wire.frame().opcode == PING
        assert wire.frame() is None  # nobody answered the last one
    journal.wait(tag, ["close", 1006, ""])


def test_row_keepalive_is_on_by_default():
    from jupyter_wshandler.config.loader import load

    entry = {"pattern": "/x", "handler": "WebSocketHandler", "kwargs": {"on_message": "a.b"}}
    (route,) = load(url={"a": entry}).routes
    assert (route.ping_interval, route.ping_timeout) == (20.0, 20.0)


@pytest.mark.parametrize(
    ("name", "offered", "chosen"),
    [
        ("echo", ["v1", "v2"], None),
        ("speaks", ["v1", "v2"], "v1"),
        ("speaks", ["v1", "v0"], "v1"),
        ("speaks", ["v0"], None),
        ("speaks-last", ["v1", "v9"], "v9"),
    ],
)
def test_row_subprotocols_are_ignored_unless_the_route_lists_or_selects_them(
    dial, name, offered, chosen
):
    socket = dial(name, subprotocols=offered)
    assert socket.subprotocol == chosen
    assert ask(socket, "hello") == "hello"


# ---- beyond the sample ---------------------------------------------------------------------------


def test_row_on_pong_gets_the_handler_and_the_data_as_bytes(dial, journal, tag):
    socket = dial("pongs")
    assert ask(socket, "are you there") == "pong"
    assert journal.of(tag) == [["pong", "bytes", "are you there"]]


def test_row_select_subprotocol_gets_the_handler_and_the_list_of_what_is_offered(
    dial, journal, tag
):
    dial("speaks-last", subprotocols=["v1", "v2"])
    assert journal.of(tag) == [["offered", "v1", "v2"]]


def test_row_a_ping_is_answered_by_the_server_with_the_same_data(server, tag):
    with raw(server, "echo", tag) as wire:
        wire.send(frame(PING, b"x") + frame(TEXT, b"y") + frame(BINARY, b"z"))
        found = {(f.opcode, f.payload) for f in (wire.frame(), wire.frame(), wire.frame())}
    assert found == {(PONG, b"x"), (TEXT, b"y"), (BINARY, b"z")}
