"""Who is lost gives the seat back at once, and what does not end keeps nothing, on real servers."""

from __future__ import annotations

import contextlib
import socket as sockets
import struct
import threading
import time

import pytest
from support.bots import bot_text
from support.notebook import eventually, notebook
from support.server import running_server, wait_for
from websockets.exceptions import ConnectionClosed, InvalidStatus

pytestmark = pytest.mark.timeout(120)

BOTS = bot_text("stuck")

STUCK = ("sync_finally", "sync_ignores", "async_finally", "on_message", "on_error", "every")

YAML = """
url:
  report: {pattern: /report, handler: WebSocketHandler, kwargs: {on_message: bots.report}}
  rule: {pattern: /rule, handler: WebSocketHandler,
         kwargs: {on_message: bots.begun, timeout: 0.5, auth: {condition: bots.stubborn_rule}}}
  def: {pattern: /def, handler: WebSocketHandler,
        kwargs: {on_message: bots.slow, on_close: bots.on_close, max_connections: {user: 1}}}
  async: {pattern: /async, handler: WebSocketHandler,
          kwargs: {on_message: bots.slow_async, on_close: bots.on_close,
                   max_connections: {user: 1}}}
  handled: {pattern: /handled, handler: WebSocketHandler,
            kwargs: {on_message: bots.short, on_close: bots.on_close, lost: handle,
                     max_connections: {user: 1}}}
""" + "".join(
    f"  {name}: {{pattern: /{name}, handler: WebSocketHandler, kwargs: {{{functions},"
    " on_close: bots.on_close, timeout: 0.5, max_connections: {user: 1}}}\n"
    for name, functions in {
        "sync_finally": "on_message: bots.sync_finally",
        "sync_ignores": "on_message: bots.sync_ignores, run: loop",
        "async_finally": "on_message: bots.async_finally",
        "on_message": "on_message: bots.stubborn",
        "on_error": "on_message: bots.fails, on_error: bots.stubborn",
        "every": "on_message: bots.begun, every: {0.1s: bots.stubborn}",
        "start_task": "on_message: bots.leaves_a_task",
    }.items()
)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stuck")
    with running_server(YAML, folder=folder, modules={"bots.py": BOTS}) as server:
        yield server


@pytest.fixture(scope="module")
def book(server):
    with notebook(server) as book:
        book.run(
            BOTS
            + "import jupyter_wshandler as wsh\n"
            + "wsh.serve('/kernel/report', report)\n"
            + "limits = {'on_close': on_close, 'max_connections': {'user': 1}}\n"
            + "for name, functions in BOTS.items():\n"
            + "    wsh.serve('/kernel/' + name, **functions, **limits, timeout=0.5)\n"
            + "wsh.serve('/kernel/def', slow, **limits)\n"
            + "wsh.serve('/kernel/async', slow_async, **limits)\n"
            + "wsh.serve('/kernel/handled', short, **limits, lost='handle')\n"
        )
        yield book


@pytest.fixture(params=["", "/kernel"], ids=["module", "kernel"])
def where(request):
    if request.param:
        request.getfixturevalue("book")
    return request.param


def said(server, where: str) -> list[str]:
    import json

    with server.connect_sync(f"{where}/report") as socket:
        socket.send("x")
        return json.loads(socket.recv(timeout=10))["said"]


def cut(socket) -> None:
    """Let the client vanish with a RST, and without a close frame."""
    socket.socket.setsockopt(sockets.SOL_SOCKET, sockets.SO_LINGER, struct.pack("ii", 1, 0))
    with contextlib.suppress(OSError):
        # `close` alone would wait for the thread of the client that reads.
        socket.socket.shutdown(sockets.SHUT_RD)
    socket.socket.close()


def comes_back(server, path: str, within: float) -> float:
    """Connect until it is let in; return the seconds it took."""
    begun = time.monotonic()
    while True:
        try:
            with server.connect_sync(path):
                return time.monotonic() - begun
        except InvalidStatus as refused:
            if refused.response.status_code != 429 or time.monotonic() - begun > within:
                raise
            time.sleep(0.02)


def hear(socket) -> None:
    """Read until the connection ends, or says that it has begun."""
    with contextlib.suppress(ConnectionClosed):
        socket.recv(timeout=10)


@pytest.mark.parametrize("place", STUCK)
def test_what_does_not_end_is_written_off_and_its_user_comes_back(server, where, place):
    n = f"{where}{place}"
    socket = server.connect_sync(f"{where}/{place}?n={n}").__enter__()
    socket.send("x")
    if place not in ("on_error",):
        hear(socket)
    cut(socket)
    assert comes_back(server, f"{where}/{place}?n=again", 1.0) < 1.0
    wait_for(lambda: f"closed {n}" in said(server, where), 10, "its on_close")
    time.sleep(0.3)
    assert said(server, where).count(f"closed {n}") == 1


@pytest.mark.parametrize("place", ["on_message", "on_error", "every"])
def test_a_client_that_stays_is_closed_1011_and_can_come_back(server, where, place):
    n = f"stays{where}{place}"
    with server.connect_sync(f"{where}/{place}?n={n}") as socket:
        socket.send("x")
        with contextlib.suppress(ConnectionClosed):
            for _ in socket:
                pass
        assert socket.close_code == 1011
    assert comes_back(server, f"{where}/{place}?n=again", 2.0) < 2.0
    wait_for(lambda: said(server, where).count(f"closed {n}") == 1, 10, "its on_close")


def test_a_task_that_swallows_its_end_keeps_no_seat(server, where):
    n = f"{where}task"
    with server.connect_sync(f"{where}/start_task?n={n}") as socket:
        socket.send("x")
        assert socket.recv(timeout=10) == "begun"
        cut(socket)
    assert comes_back(server, f"{where}/start_task?n=again", 1.0) < 1.0
    wait_for(lambda: said(server, where).count(f"closed {n}") == 1, 10, "its on_close")


def test_a_rule_that_swallows_its_end_is_answered_in_time(server):
    begun = time.monotonic()
    status, _, sock = server.raw_handshake("/rule", [*server.headers().items()])
    sock.close()
    assert status in (403, 500, 503, 504)
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize("kind", ["def", "async"])
@pytest.mark.parametrize("way", ["rst", "fin"])
def test_a_user_who_was_lost_behind_slow_messages_comes_back_at_once(server, where, kind, way):
    n = f"{where}{kind}{way}"
    socket = server.connect_sync(f"{where}/{kind}?n={n}").__enter__()
    for number in range(10):
        socket.send(f"{n} {number}")
    wait_for(lambda: f"slow {n} 0" in said(server, where), 10, "the first message")
    if way == "rst":
        cut(socket)
    else:
        socket.socket.shutdown(sockets.SHUT_RDWR)
    assert comes_back(server, f"{where}/{kind}?n=again", 1.0) < 1.0
    wait_for(lambda: f"closed {n}" in said(server, where), 10, "its on_close")
    heard = said(server, where)
    assert [line for line in heard if line.startswith(f"slow {n} ")] == [f"slow {n} 0"]
    assert heard.count(f"closed {n}") == 1


@pytest.mark.parametrize("kind", ["def", "async"])
def test_a_user_who_was_lost_behind_more_than_the_inbox_holds_comes_back_as_well(
    server, where, kind
):
    n = f"{where}{kind}many"
    socket = server.connect_sync(f"{where}/{kind}?n={n}").__enter__()
    for number in range(300):  # it is not read to the end, and so its end is not met
        socket.send(f"{n} {number}")
    wait_for(lambda: f"slow {n} 0" in said(server, where), 10, "the first message")
    cut(socket)
    assert comes_back(server, f"{where}/{kind}?n=again", 3.0) < 3.0
    wait_for(lambda: f"closed {n}" in said(server, where), 10, "its on_close")
    heard = said(server, where)
    assert len([line for line in heard if line.startswith(f"slow {n} ")]) < 10


def test_a_route_that_says_so_handles_what_a_lost_client_has_sent(server, where):
    n = f"{where}handled"
    socket = server.connect_sync(f"{where}/handled?n={n}").__enter__()
    for number in range(5):
        socket.send(f"{n} {number}")
    wait_for(lambda: f"short {n} 0" in said(server, where), 10, "the first message")
    cut(socket)
    wait_for(lambda: f"closed {n}" in said(server, where), 15, "its on_close")
    heard = [line for line in said(server, where) if line.startswith(f"short {n} ")]
    assert heard == [f"short {n} {number}" for number in range(5)]


# ---- the bots' thread -------------------------------------------------------------------------


def test_bots_whose_thread_has_ended_are_not_live_and_their_cells_make_them_anew(server):
    with notebook(server) as book:
        cell = (
            "import jupyter_wshandler as wsh\n"
            "bot = wsh.serve('/revived', lambda handler, message: message)\n"
            "print(bot.state)"
        )
        assert "live" in book.run(cell).text
        book.run(
            "import asyncio\n"
            "async def all_end(handler, message):\n"
            "    for task in asyncio.all_tasks():\n"
            "        task.cancel()\n"
            "wsh.serve('/ends', all_end)"
        )
        with contextlib.suppress(ConnectionClosed), server.connect_sync("/ends") as socket:
            socket.send("x")
            eventually(lambda: "live" not in book.run("print(bot.state)").text, "the end")
        assert "displaced" in book.run("print(bot.state, bot.reason)").text
        revived = book.run(cell).text
        assert "made anew" in revived
        assert "live" in revived
        with server.connect_sync("/revived") as socket:
            socket.send("hi")
            assert socket.recv(timeout=10) == "hi"


# ---- the threads ------------------------------------------------------------------------------

CROWD = bot_text("crowd")

PEOPLE = bot_text("people_by_token")

CROWD_YAML = """
url:
  hold: {pattern: /hold, handler: WebSocketHandler, kwargs: {on_message: bots.hold}}
  quick: {pattern: /quick, handler: WebSocketHandler, kwargs: {on_message: bots.quick}}
  rule: {pattern: /rule, handler: WebSocketHandler,
         kwargs: {on_message: bots.echo, auth: {condition: bots.rule}}}
"""


@pytest.fixture(scope="module")
def crowd(tmp_path_factory):
    folder = tmp_path_factory.mktemp("crowd")
    with running_server(
        CROWD_YAML,
        folder=folder,
        modules={"bots.py": CROWD, "people.py": PEOPLE},
        extra_args=["--ServerApp.identity_provider_class=people.People"],
        env={"PYTHONPATH": str(folder)},
    ) as server:
        yield server


def test_slow_calls_of_one_route_leave_threads_to_another(crowd):
    with contextlib.ExitStack() as stack:
        for _ in range(16):
            stack.enter_context(crowd.connect_sync("/hold")).send("x")
        with crowd.connect_sync("/quick") as socket:
            time.sleep(0.2)  # all of them hold what they may
            begun = time.monotonic()
            socket.send("hi")
            assert socket.recv(timeout=10) == "hi"
            assert time.monotonic() - begun < 1.5


def test_slow_rules_of_one_user_delay_another_only_a_little(crowd):
    socks, lock = [], threading.Lock()

    def ask(name):
        headers = [*crowd.headers(f"person-{name}").items()]
        status, _, sock = crowd.raw_handshake("/rule", headers)
        with lock:
            socks.append(sock)
        return status

    begun = time.monotonic()
    assert ask("ada") == 101
    alone = time.monotonic() - begun
    many = [threading.Thread(target=ask, args=("eve",), daemon=True) for _ in range(100)]
    for thread in many:
        thread.start()
    time.sleep(0.3)
    begun = time.monotonic()
    assert ask("ada") == 101
    assert time.monotonic() - begun < alone + 1.5
    for thread in many:
        thread.join(30)
    for sock in socks:
        sock.close()


def test_slow_calls_of_one_user_leave_threads_to_another_of_the_same_route(crowd):
    def hold(name, stack, count):
        for _ in range(count):
            socket = crowd.connect_sync("/hold", token=f"person-{name}")
            yield stack.enter_context(socket)

    with contextlib.ExitStack() as stack:
        for socket in hold("eve", stack, 16):
            socket.send("x")
        time.sleep(0.2)
        (other,) = hold("ada", stack, 1)
        begun = time.monotonic()
        other.send("x")  # 4 s of its own
        assert other.recv(timeout=20) == "x"
        assert time.monotonic() - begun < 4 + 1.5
