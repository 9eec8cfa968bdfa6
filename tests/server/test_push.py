"""What a bot does unasked, on a real server: timers, tasks, push; and what counts as activity."""

from __future__ import annotations

import json
import time

import pytest
import websockets.exceptions
from support.bots import bot_text
from support.server import running_server, wait_for

CONFIG = """
url:
  push:
    pattern: /push
    handler: WebSocketHandler
    kwargs: {on_message: pushbot.on_message}
  timed:
    pattern: /timed
    handler: WebSocketHandler
    kwargs: {on_message: pushbot.slow, every: {100ms: pushbot.tick}}
  idle:
    pattern: /idle
    handler: WebSocketHandler
    kwargs: {on_message: pushbot.on_message, idle_timeout: 600ms, ping_interval: 100ms}
  opening:
    pattern: /opening
    handler: WebSocketHandler
    kwargs: {on_open: pushbot.never_opens, on_message: pushbot.on_message, timeout: 400ms}
  present:
    pattern: /present
    handler: WebSocketHandler
    kwargs: {on_message: pushbot.on_message, keep_alive: connections}
  quiet:
    pattern: /quiet
    handler: WebSocketHandler
    kwargs: {on_message: pushbot.on_message, keep_alive: none}
"""

PUSHBOT = bot_text("push")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("push")
    with running_server(CONFIG, folder=folder, modules={"pushbot.py": PUSHBOT}) as running:
        yield running


def ask(socket, message):
    socket.send(message)
    return socket.recv(timeout=5)


def test_send_reaches_every_connection_of_the_route_and_says_how_many(server):
    with server.connect_sync("/push") as one, server.connect_sync("/push") as two:
        one.send("all hello")
        assert two.recv(timeout=5) == "hello"
        assert {one.recv(timeout=5), one.recv(timeout=5)} == {"hello", '{"sent":2}'}


def test_send_to_an_id_or_a_user_reaches_only_them(server):
    with server.connect_sync("/push") as one, server.connect_sync("/push") as two:
        other = json.loads(ask(two, "id"))
        assert ask(one, f"to {other['id']} by id") == '{"sent":1}'
        assert two.recv(timeout=5) == "by id"
        assert ask(one, f"to {other['user']} by name") == '{"sent":1}'
        assert two.recv(timeout=5) == "by name"
        assert ask(one, "to nobody x") == '{"sent":0}'


def test_connections_lists_the_open_ones_of_the_route_only(server):
    with server.connect_sync("/push") as one, server.connect_sync("/present"):
        mine = json.loads(ask(one, "id"))["id"]
        assert json.loads(ask(one, "ids"))["ids"] == [mine]


def test_send_works_from_a_thread(server):
    with server.connect_sync("/push") as one:
        one.send("thread")
        assert json.loads(one.recv(timeout=5)) == {"from": "thread"}


def test_an_unknown_route_is_an_error_that_names_the_nearest(server):
    with server.connect_sync("/push") as one:
        assert ask(one, "wrong") == "there is no route 'pusch'; did you mean 'push'?"


def test_a_task_ends_with_its_connection_and_a_failing_one_is_logged(server):
    with server.connect_sync("/push") as one:
        mine = json.loads(ask(one, "id"))["id"]
        assert ask(one, "task") == "started"
        assert ask(one, "failing") == "started"
        assert ask(one, "still there") == "echo still there"
    wait_for(lambda: "RuntimeError: a task failed" in server.log_text(), what="the log line")
    with server.connect_sync("/push") as other:
        wait_for(lambda: mine in json.loads(ask(other, "ended"))["ended"], what="the task's end")


def test_timers_take_turns_with_messages_and_leave_out_what_they_miss(server):
    with server.connect_sync("/timed") as socket:
        assert socket.recv(timeout=5) == "tick 1"
        socket.send("go")
        got = [socket.recv(timeout=5)]
        while got[-1] != "slow done":
            got.append(socket.recv(timeout=5))
        # While the slow callback ran three turns were due; one of them waits, the rest is left out.
        next_ones = [socket.recv(timeout=5) for _ in range(2)]
        numbers = [int(text.split()[1]) for text in (*got[:-1], *next_ones)]
        assert numbers == list(range(2, 2 + len(numbers)))


def test_a_timer_set_by_a_callback_ends_with_the_connection(server):
    with server.connect_sync("/push") as socket:
        assert ask(socket, "every") == "started"
        assert [socket.recv(timeout=5) for _ in range(3)] == ["turn"] * 3


def test_a_connection_without_messages_is_closed_as_idle_although_it_answers_pings(server):
    with server.connect_sync("/idle") as socket:
        begun = time.monotonic()
        for _ in range(3):
            time.sleep(0.3)
            assert ask(socket, "hi") == "echo hi"
        with pytest.raises(websockets.exceptions.ConnectionClosed) as closed:
            socket.recv(timeout=5)
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1000, "idle")
        assert time.monotonic() - begun > 1.2


def test_an_open_that_does_not_end_closes_the_connection(server):
    with server.connect_sync("/opening") as socket:
        socket.send("waits for open")
        with pytest.raises(websockets.exceptions.ConnectionClosed) as closed:
            socket.recv(timeout=5)
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1011, "timeout")


def test_messages_are_activity_and_an_open_connection_only_where_the_route_says_so(server):
    with server.connect_sync("/push") as socket:
        before = json.loads(ask(socket, "activity"))
        assert before["any"] is False

        def later():
            return json.loads(ask(socket, "activity"))["message"] > before["message"]

        wait_for(later, what="a newer activity")
    with server.connect_sync("/quiet") as quiet:
        # The clock looks once a tick; two answers without a change are enough to see none.
        def settled():
            first = json.loads(ask(quiet, "activity"))["message"]
            time.sleep(1.2)
            return json.loads(ask(quiet, "activity"))["message"] == first

        wait_for(settled, what="no more activity")
        with server.connect_sync("/present"):
            assert json.loads(ask(quiet, "activity"))["any"] is True
        wait_for(lambda: not json.loads(ask(quiet, "activity"))["any"], what="nobody present")
