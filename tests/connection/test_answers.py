"""Where an answer ends, and how it is stopped: the subprotocol `wsh.v1`, on a real server."""

from __future__ import annotations

import json
import struct
from contextlib import contextmanager

import pytest
from support.bots import bot_text
from support.server import running_server, wait_for
from support.twohosts import noted, two_hosts
from websockets.exceptions import ConnectionClosedError

from jupyter_wshandler.engine.asking import SUBPROTOCOL

NAMES = (
    *("deaf", "words", "later", "thread", "loop", "plain", "slow", "chosen", "listed"),
    *("greeting", "ticking", "limited"),
)
YAML = "url:\n" + "".join(
    f"""
  {name}:
    pattern: /{name}
    handler: WebSocketHandler
    kwargs:
"""
    + {
        "deaf": "      open: {function: bots.greet}\n",
        "loop": "      on_message: {function: bots.thread}\n      run: loop\n",
        "chosen": (
            "      on_message: {function: bots.plain}\n"
            "      select_subprotocol: {function: bots.choose}\n"
        ),
        "listed": "      on_message: {function: bots.plain}\n      subprotocols: [a, b]\n",
        "greeting": (
            "      open: {function: bots.greet}\n      on_message: {function: bots.plain}\n"
        ),
        "ticking": (
            "      on_message: {function: bots.words}\n"
            "      every: {0.05s: {function: bots.tick}}\n"
        ),
        "limited": (
            "      on_message: {function: bots.plain}\n"
            "      ratelimit: {messages: 1/h, then: error}\n"
        ),
    }.get(name, f"      on_message: {{function: bots.{name}}}\n")
    for name in NAMES
)
BOTS = bot_text("answers")


CELL = """
for name in ('words', 'later', 'thread', 'slow', 'plain'):
    wsh.serve('/' + name, on_message=globals()[name])
wsh.serve('/loop', on_message=thread, run='loop')
wsh.serve('/greeting', open=greet, on_message=plain)
"""
server, in_kernel, host = two_hosts("bots", BOTS, YAML, CELL, notes=("noted", "go"))


@contextmanager
def chat(host, path, **options):
    """Connect as a client does that speaks `wsh.v1`."""
    with host.connect_sync(path, subprotocols=[SUBPROTOCOL], **options) as socket:
        assert socket.subprotocol == SUBPROTOCOL
        first = receive(socket)
        assert first["wsh"] == "v1"
        assert first["id"]
        yield socket


def say(socket, number, text):
    socket.send(json.dumps({"message": text, "ask": number}, ensure_ascii=False))


def receive(socket):
    """Return the next envelope; of a binary frame its answer and its payload."""
    frame = socket.recv(timeout=10)
    if isinstance(frame, str):
        return json.loads(frame)
    return struct.unpack(">i", frame[:4])[0], frame[4:]


def until_end(socket, number):
    """Return all that comes up to the end of an answer."""
    got = []
    while (
        not got
        or (isinstance(got[-1], dict) and got[-1].get("end") != number)
        or (isinstance(got[-1], tuple))
    ):
        got.append(receive(socket))
    return got


def test_what_a_generator_yields_is_one_answer_with_an_end_and_what_it_writes_is_not(host):
    with chat(host, "/words") as socket:
        say(socket, 7, "hi")
        got = until_end(socket, 7)
    # Written in a thread, the message finds its way between the pieces.
    assert {"message": "beside"} in got
    got.remove({"message": "beside"})
    assert got == [
        {"piece": "one ", "of": 7},
        {"piece": '{"n":2}', "of": 7, "json": True},
        (7, b"\x00\x01"),
        {"piece": "three", "of": 7},
        {"end": 7, "how": "done", "streamed": True},
    ]


def test_a_plain_client_gets_plain_frames(host):
    with host.connect_sync("/words") as socket:
        socket.send("hi")
        got = [socket.recv(timeout=10) for _ in range(5)]
        got.remove("beside")
        assert got == ["one ", '{"n":2}', b"\x00\x01", "three"]


def test_the_bot_sees_a_str_and_no_subprotocol(host):
    with chat(host, "/plain") as socket:
        say(socket, 1, "héllo")
        assert until_end(socket, 1) == [
            {"reply": "str héllo", "of": 1},
            {"end": 1, "how": "done"},
        ]
        say(socket, 2, "protocol")
        assert until_end(socket, 2)[0] == {"reply": "None", "of": 2}


def test_what_open_yields_is_one_stream_of_its_own_with_an_end(host):
    with chat(host, "/greeting") as socket:
        assert until_end(socket, -1) == [
            {"piece": "Hel", "of": -1},
            {"piece": "lo", "of": -1},
            {"end": -1, "how": "done", "streamed": True},
        ]


def test_a_timer_between_answers_has_streams_of_its_own(server):
    with chat(server, "/ticking") as socket:
        first, second = until_end(socket, -1), until_end(socket, -2)
    assert [piece.get("of") for piece in (*first[:2], *second[:2])] == [-1, -1, -2, -2]


def test_a_failed_answer_says_so_and_nothing_of_the_error(in_kernel):
    with chat(in_kernel, "/plain") as socket:
        say(socket, 1, "fail")
        got = until_end(socket, 1)
    (end,) = got
    assert end.pop("id")
    assert end == {"end": 1, "how": "failed", "error": "internal error"}
    assert "secret" not in str(got)


@pytest.mark.parametrize("path", ["/later", "/thread", "/loop"])
def test_a_stop_closes_the_generator_and_the_next_message_is_answered(host, path):
    with chat(host, path) as socket:
        say(socket, 1, "go on")
        assert receive(socket) == {"piece": "more ", "of": 1}
        socket.send('{"stop": 1}')
        assert until_end(socket, 1)[-1] == {"end": 1, "how": "stopped", "streamed": True}
        wait_for(lambda: noted(host) == ["closed"], 10, "the generator's end")
        if path == "/thread":
            say(socket, 2, "hi")
            assert until_end(socket, 2)[-1] == {"end": 2, "how": "done", "streamed": True}


def test_a_function_in_a_thread_that_a_stop_cannot_end_is_not_called_stopped(host):
    with chat(host, "/plain") as socket:
        say(socket, 1, "until noted")
        wait_for(lambda: noted(host) == ["begun"], 10, "its begin")
        socket.send('{"stop": 1}')
        say(socket, 2, "hi")
        socket.send('{"stop": 2}')
        assert receive(socket) == {"end": 2, "how": "stopped"}  # so the first stop has come
        (host.folder / "go").touch()
        assert until_end(socket, 1) == [{"message": "ran on"}, {"end": 1, "how": "done"}]


def test_a_stop_cancels_a_coroutine_and_overtakes_the_messages_that_wait(host):
    with chat(host, "/slow") as socket:
        for number in (1, 2, 3):
            say(socket, number, "wait")
        say(socket, 4, "hi")
        wait_for(lambda: noted(host) == ["begun"], 10, "the first")
        socket.send('{"stop": 3}')  # still in the inbox
        assert receive(socket) == {"end": 3, "how": "stopped"}
        socket.send('{"stop": 1}')
        assert receive(socket) == {"end": 1, "how": "stopped"}
        wait_for(lambda: len(noted(host)) == 3, 10, "the second")
        socket.send('{"stop": 2}')
        assert receive(socket) == {"end": 2, "how": "stopped"}
        assert until_end(socket, 4) == [
            {"reply": "hello", "of": 4},
            {"end": 4, "how": "done"},
        ]
    assert noted(host) == ["begun", "CancelledError"] * 2


def test_a_stop_that_comes_too_late_or_for_nothing_does_nothing(host):
    with chat(host, "/plain") as socket:
        say(socket, 1, "hi")
        until_end(socket, 1)
        for number in (1, 2, 0, -1, 2**40, 2**62):
            socket.send(json.dumps({"stop": number}))
        say(socket, 2, "on")
        assert until_end(socket, 2)[-1] == {"end": 2, "how": "done"}


@pytest.mark.parametrize(
    "frame",
    [
        *("hi", "{", "[]", "{}", '{"x": 1}', '{"message": 1}', '{"message": null}', '{"ask": 1}'),
        *('{"message": "a", "ask": 0}', '{"message": "a", "ask": -1}', '{"stop": "1"}'),
        *('{"message": "a", "ask": 1.5}', '{"message": "a", "ask": 2147483648}'),
        *('{"message": "a", "stop": 1}', '{"ask": 1, "stop": 1}', '{"message": "a", "x": 2}'),
        *('"\\ud800"', '{"message": "\\ud800"}', "[" * 100_000, b""),
        *(b"\0\0\1", b"\xff\xff\xff\xff"),
    ],
    ids=lambda frame: str(frame)[:40],
)
def test_a_frame_that_the_protocol_does_not_have_closes_with_1002_and_words(server, frame):
    with chat(server, "/plain") as socket:
        socket.send(frame)
        with pytest.raises(ConnectionClosedError) as closed:
            socket.recv(timeout=10)
    assert closed.value.rcvd.code == 1002
    assert closed.value.rcvd.reason.startswith("wsh.v1: ")


@pytest.mark.parametrize("second", [1, 2])
def test_a_number_that_is_not_above_the_one_before_closes_with_1002(server, second):
    with chat(server, "/plain") as socket:
        say(socket, 2, "a")
        until_end(socket, 2)
        say(socket, second, "b")
        with pytest.raises(ConnectionClosedError) as closed:
            socket.recv(timeout=10)
    assert closed.value.rcvd.reason == "wsh.v1: each number is above the one before"


def test_a_message_that_nobody_asks_about_has_no_end(host):
    with chat(host, "/plain") as socket:
        socket.send('{"message": "a"}')
        assert receive(socket) == {"message": "str a"}
        say(socket, 1, "b")
        assert until_end(socket, 1) == [{"reply": "str b", "of": 1}, {"end": 1, "how": "done"}]


def test_bytes_are_asked_about_and_answered_behind_their_number(host):
    with chat(host, "/plain") as socket:
        socket.send(struct.pack(">i", 5) + b"\x00\xff")
        assert until_end(socket, 5)[0] == {"reply": "bytes b'\\x00\\xff'", "of": 5}
        socket.send(struct.pack(">i", 0) + b"")
        assert receive(socket) == {"message": "bytes b''"}


def test_a_message_as_large_as_the_route_takes_fits_in_its_envelope_and_no_larger_one(server):
    with chat(server, "/plain", max_size=None) as socket:
        for number, text in ((1, "x" * 2**20), (2, '"' * 2**20), (3, "ü" * 2**19)):
            say(socket, number, text)
            assert until_end(socket, number)[0] == {"reply": "str " + text, "of": number}
        say(socket, 4, "x" * (2**20 + 1))
        with pytest.raises(ConnectionClosedError) as closed:
            socket.recv(timeout=10)
    assert closed.value.rcvd.code == 1009


def test_a_message_over_the_rate_limit_has_an_end_as_well(server):
    with chat(server, "/limited") as socket:
        say(socket, 1, "a")
        until_end(socket, 1)
        say(socket, 2, "b")
        got = until_end(socket, 2)
    (end,) = got
    assert 0 < end.pop("retry_after") <= 3600
    assert end == {"end": 2, "how": "refused", "error": "ratelimit"}


def test_a_route_that_takes_no_messages_closes_the_chat_as_it_does_others(server):
    with chat(server, "/deaf") as socket:
        until_end(socket, -1)
        say(socket, 1, "hi")
        with pytest.raises(Exception, match="1003"):
            until_end(socket, 1)


@pytest.mark.parametrize("path", ["/chosen", "/listed"])
def test_a_route_with_subprotocols_of_its_own_chats_too_and_never_hears_of_ours(server, path):
    with chat(server, path) as socket:
        say(socket, 1, "protocol")
        assert until_end(socket, 1)[0] == {"reply": "None", "of": 1}
    for offered in (["b", SUBPROTOCOL], [SUBPROTOCOL, "b"]):
        with server.connect_sync(path, subprotocols=offered) as socket:
            assert socket.subprotocol == "b"
            socket.send("protocol")
            assert socket.recv(timeout=10) == "'b'"
    with server.connect_sync(path, subprotocols=["x"]) as socket:
        assert socket.subprotocol is None
    assert SUBPROTOCOL not in "".join(noted(server))


def test_compressed_frames_carry_the_envelopes_as_well(tmp_path):
    text = YAML.replace("kwargs:\n", "kwargs:\n      compression: true\n")
    with (
        running_server(text, folder=tmp_path, modules={"bots.py": BOTS}) as running,
        chat(running, "/plain", compression="deflate") as socket,
    ):
        say(socket, 1, "x" * 5000)
        assert until_end(socket, 1)[0] == {"reply": "str " + "x" * 5000, "of": 1}
