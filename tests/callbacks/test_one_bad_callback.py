"""What one callback does to all others: nothing, whatever it raises and however long it takes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import threading
import time

import pytest
from support.bots import bot_text
from support.memory import Visitor, route, running, running_manager, until
from support.server import running_server

from jupyter_wshandler.guard import Escaped

pytestmark = pytest.mark.timeout(60)


class Own(BaseException):
    pass


class Unspeakable(Exception):
    def __str__(self):
        sys.exit(3)

    __repr__ = __str__


RAISED = {
    "SystemExit": SystemExit,
    "KeyboardInterrupt": KeyboardInterrupt,
    "GeneratorExit": GeneratorExit,
    "CancelledError": asyncio.CancelledError,
    "BaseExceptionGroup": lambda: BaseExceptionGroup("all", [SystemExit(), KeyboardInterrupt()]),
    "own": Own,
    "unspeakable": Unspeakable,
}


async def still_echoes(manager) -> None:
    async def echo(handler, message):
        return message

    other = Visitor(manager, route("other", on_message=echo)).open()
    other.send("still here")
    await other.received("still here")


@pytest.mark.parametrize("kind", ["async", "awaitable", "yields", "loop", "thread"])
@pytest.mark.parametrize("event", ["open", "on_message", "on_pong"])
@pytest.mark.parametrize("name", RAISED)
async def test_whatever_a_callback_raises_closes_1011_and_hurts_nobody(
    manager, name, event, kind, caplog
) -> None:
    async def awaited(*args):
        await asyncio.sleep(0)
        raise RAISED[name]()

    async def yields(*args):
        await asyncio.sleep(0)
        yield None
        raise RAISED[name]()

    class Awaitable:
        def __await__(self):
            yield
            raise RAISED[name]()

    def plain(*args):
        raise RAISED[name]()

    function = {
        "async": awaited,
        "yields": yields,
        "awaitable": lambda *args: Awaitable(),
        "loop": plain,
        "thread": plain,
    }[kind]
    loop = (event,) if kind in ("awaitable", "loop") else ()
    visitor = Visitor(manager, route(loop=loop, **{event: function})).open()
    visitor.send("x") if event == "on_message" else visitor.pong()
    goodbye = await visitor.closed_by_server()
    assert goodbye.code == 1011
    # An exception's text comes from a thread, a moment later where it takes one.
    await until(lambda: any("route bot" in r.getMessage() for r in caplog.records), "the log line")
    await still_echoes(manager)


@pytest.mark.parametrize("name", RAISED)
async def test_whatever_a_task_of_a_connection_raises_is_logged_and_hurts_nobody(
    manager, name, caplog
) -> None:
    async def work():
        await asyncio.sleep(0)
        raise RAISED[name]()

    async def on_message(handler, message):
        handler.start_task(work(), name="the work")
        return "started"

    visitor = Visitor(manager, route(on_message=on_message)).open()
    visitor.send("x")
    await visitor.received("started")
    if name != "CancelledError":
        await until(lambda: "the work" in caplog.text)
    await still_echoes(manager)


@pytest.mark.parametrize("event", ["condition", "select_subprotocol", "get_compression_options"])
@pytest.mark.parametrize("name", RAISED)
async def test_whatever_a_rule_raises_is_an_answer_to_its_handshake(manager, name, event) -> None:
    async def rule(handler, *args):
        await asyncio.sleep(0)
        raise RAISED[name]()

    visitor = Visitor(manager, route(**{event: rule}))
    with pytest.raises(Exception) as raised:
        async with asyncio.timeout(5):
            await manager.ask(visitor.connection, event)
    assert not isinstance(raised.value, TimeoutError)
    if name in ("SystemExit", "KeyboardInterrupt", "own", "BaseExceptionGroup"):
        assert isinstance(raised.value, Escaped)
    await still_echoes(manager)


# ---- what does not end --------------------------------------------------------------------


async def test_a_rule_that_swallows_its_interruption_is_answered_at_the_timeout(
    manager, caplog
) -> None:
    done = asyncio.Event()

    async def rule(handler):
        while not done.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await done.wait()

    visitor = Visitor(manager, route(condition=rule, options={"timeout": 0.1}))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(5):
            await manager.ask(visitor.connection, "condition")
    assert "is left to itself" in caplog.text
    done.set()


@pytest.mark.parametrize("event", ["open", "on_message", "on_pong", "on_close"])
async def test_a_callback_that_swallows_its_interruption_is_written_off(
    manager, event, caplog
) -> None:
    done, log, late = asyncio.Event(), [], []

    async def stubborn(handler, *args):
        log.append("begun")
        while not done.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await done.wait()
        try:
            handler.write_message("late")
        except Exception as error:
            late.append(type(error).__name__)
        return "late, too"

    async def on_close(handler):
        log.append("on_close")

    functions = {"on_close": on_close, event: stubborn}
    visitor = Visitor(manager, route(options={"timeout": 0.1}, **functions)).open()
    connection = visitor.connection
    if event == "on_message":
        visitor.send("x")
    elif event == "on_pong":
        visitor.pong()
    elif event == "on_close":
        visitor.transport.vanish()
    await until(lambda: log == ["begun"])
    task = connection.work.task
    begun = time.monotonic()
    while connection.id in manager.connections and time.monotonic() < begun + 10:
        manager.clock.look_at(connection, manager.io.loop.time())
        if visitor.transport.ended:
            visitor.transport.abort()  # the peer has taken the close frame
        await asyncio.sleep(0.05)
    assert connection.id not in manager.connections
    assert time.monotonic() - begun < 5
    assert "is left to itself" in caplog.text
    assert log == (["begun"] if event == "on_close" else ["begun", "on_close"])
    if event != "on_close":
        assert visitor.goodbye.code == 1011
    done.set()
    await until(lambda: task.done())
    assert late == ["ConnectionClosed"]
    assert log.count("on_close") <= 1
    await still_echoes(manager)


async def test_a_manager_stops_in_time_whatever_its_callbacks_do() -> None:
    done = asyncio.Event()

    async def stubborn(handler, *args):
        while not done.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await done.wait()

    async with running_manager() as manager:
        visitor = Visitor(manager, route(on_message=stubborn, on_close=stubborn)).open()
        visitor.send("x")
        await until(lambda: running(visitor.connection))
        begun = time.monotonic()
        await manager.stop(timeout=0.5)
        assert time.monotonic() - begun < 0.5 + 3
        assert not manager.connections
        done.set()


# ---- who is lost --------------------------------------------------------------------------


@pytest.mark.parametrize("lost", ["drop", "handle"])
async def test_what_waits_behind_a_callback_when_the_client_is_lost(manager, lost, caplog) -> None:
    caplog.set_level(logging.INFO)
    gate, handled = asyncio.Event(), []

    async def on_message(handler, message):
        await gate.wait()
        handled.append(message)

    bot = route(on_message=on_message, options={"lost": lost})
    visitor = Visitor(manager, bot)
    manager.admit(visitor.connection, "user:ada")
    visitor.open()
    for number in range(5):
        visitor.send(str(number))
    await until(lambda: running(visitor.connection))
    counter = manager.limits._counters["bot"]
    assert counter.total == 1
    visitor.transport.vanish()
    await until(lambda: counter.total == 0, "the seat is free while a callback still runs")
    gate.set()
    await until(lambda: visitor.connection.id not in manager.connections)
    assert handled == (["0"] if lost == "drop" else list("01234"))
    assert manager.metrics.unhandled["bot"] == (4 if lost == "drop" else 0)
    assert ("4 messages that waited are not handled" in caplog.text) is (lost == "drop")


# ---- the threads --------------------------------------------------------------------------


async def test_a_route_that_is_slow_leaves_threads_to_the_others(gate) -> None:
    def hold(handler, message):
        gate.wait()

    def quick(handler, message):
        return threading.current_thread().name

    async with running_manager(threads=4, patience=5.0) as manager:
        slow = route("slow", on_message=hold)
        for number in range(8):
            user = type("User", (), {"username": f"u{number}"})()
            Visitor(manager, slow, current_user=user).open().send("x")
        await until(lambda: gate.entered == 3)
        begun = time.monotonic()
        other = Visitor(manager, route("quick", on_message=quick)).open()
        other.send("x")
        await until(lambda: other.messages)
        assert time.monotonic() - begun < 2
        assert gate.entered == 3
        gate.open()


# ---- a real server ------------------------------------------------------------------------

BOTS = bot_text("exits")

YAML = """
url:
  echo: {pattern: /echo, handler: WebSocketHandler, kwargs: {on_message: bots.echo}}
  leave: {pattern: /leave, handler: WebSocketHandler, kwargs: {on_message: bots.leave}}
  interrupt: {pattern: /interrupt, handler: WebSocketHandler, kwargs: {on_message: bots.interrupt}}
  rule: {pattern: /rule, handler: WebSocketHandler,
         kwargs: {on_message: bots.echo, auth: {condition: bots.rule}}}
  seats: {pattern: /seats, handler: WebSocketHandler,
          kwargs: {on_message: bots.echo, max_connections: 2, auth: {condition: bots.slow_rule}}}
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bad")
    with running_server(YAML, folder=folder, modules={"bots.py": BOTS}) as server:
        yield server


@pytest.mark.parametrize("path", ["/leave", "/interrupt"])
def test_a_server_outlives_a_callback_that_ends_the_process(server, path):
    with server.connect_sync("/echo") as other:
        with server.connect_sync(path) as socket:
            socket.send("x")
            with pytest.raises(Exception, match="1011"):
                socket.recv(timeout=5)
        other.send("still here")
        assert other.recv(timeout=5) == "still here"


def test_a_rule_that_raises_a_group_answers_403(server):
    status, _, sock = server.raw_handshake("/rule", [*server.headers().items()])
    sock.close()
    assert status == 403


def test_handshakes_whose_rule_is_slow_take_a_seat_first(server):
    answers, socks = [], []

    def ask():
        status, _, sock = server.raw_handshake("/seats", [*server.headers().items()])
        socks.append(sock)
        return status

    threads = [threading.Thread(target=lambda: answers.append(ask())) for _ in range(8)]
    begun = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert time.monotonic() - begun < 3
    assert answers.count(429) == 6
    assert answers.count(101) == 2
    for sock in socks:
        sock.close()
