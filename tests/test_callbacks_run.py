"""Callbacks as connections run them: order, threads, generators, deadlines, failures."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import json
import logging
import sys
import threading
import time
from collections.abc import AsyncIterator

import pytest
from support.frames import CLOSE, PONG
from support.memory import Gate, Visitor, own_tasks, route, running_manager, turns, until
from tornado.gen import coroutine

from jupyter_wshandler.callbacks import run
from jupyter_wshandler.config.model import QueueConfig
from jupyter_wshandler.errors import ConnectionClosed
from jupyter_wshandler.manager import WebSocketManager, current_manager
from jupyter_wshandler.sending import OPEN

pytestmark = pytest.mark.timeout(30)

HOUR = 3600.0


@pytest.fixture
async def manager() -> AsyncIterator[WebSocketManager]:
    async with running_manager(patience=5.0) as manager:
        yield manager


@pytest.fixture
def gate() -> Gate:
    return Gate()


def said(caplog: pytest.LogCaptureFixture, level: int = logging.WARNING) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= level]


def late(manager: WebSocketManager, visitor: Visitor, seconds: float = HOUR) -> None:
    """Let the clock look at a connection as if so much time had passed."""
    manager.runner.check(visitor.connection, asyncio.get_running_loop().time() + seconds)


# ---- order ------------------------------------------------------------------------------------


async def test_row_sample_pingbot_text(manager: WebSocketManager, capsys) -> None:
    def open(handler):
        print("Chatbot opened for", handler.session["id"])

    def on_message(handler, message):
        handler.write_message("Got message: " + message)

    def on_close(handler):
        print("Chatbot closed for", handler.session["id"])

    bot = route(open=open, on_message=on_message, on_close=on_close)
    session = await manager.sessions.attach("abc", "user:me")
    visitor = Visitor(manager, bot, session=session).open()
    visitor.send("Hello world")
    await visitor.received("Got message: Hello world")
    await visitor.leave()
    assert capsys.readouterr().out == "Chatbot opened for abc\nChatbot closed for abc\n"
    assert manager.connections == {}


async def test_row_message_types_text_is_str_and_binary_is_bytes(manager) -> None:
    seen = []

    async def on_message(handler, message):
        seen.append(message)

    visitor = Visitor(manager, route(on_message=on_message)).open()
    visitor.send("", "grüß dich 🐍", b"\x00\xff", b"")
    await until(lambda: len(seen) == 4)
    assert seen == ["", "grüß dich 🐍", b"\x00\xff", b""]
    await visitor.leave()


@pytest.mark.parametrize("kind", ["async", "thread", "loop", "mixed"])
async def test_messages_are_handled_one_at_a_time_in_order_after_open(manager, kind) -> None:
    log = []

    def step(name):
        log.append(f"+{name}")
        log.append(f"-{name}")

    async def slow(name):
        log.append(f"+{name}")
        await asyncio.sleep(0.001)
        log.append(f"-{name}")

    functions = {
        "async": (
            lambda handler: slow("open"),
            lambda handler, message: slow(message),
            lambda handler: slow("close"),
        ),
        "thread": (
            lambda handler: step("open"),
            lambda handler, message: step(message),
            lambda handler: step("close"),
        ),
    }
    opener, on_message, on_close = functions["thread" if kind in ("thread", "loop") else "async"]
    if kind == "mixed":
        on_message = functions["thread"][1]
    loop = ("open", "on_message", "on_close") if kind == "loop" else ()
    bot = route(open=opener, on_message=on_message, on_close=on_close, loop=loop)
    visitor = Visitor(manager, bot).open()
    names = [str(i) for i in range(200)]
    for at in range(0, 200, 50):
        visitor.send(*names[at : at + 50])
    await visitor.leave()
    assert log == [f"{sign}{name}" for name in ["open", *names, "close"] for sign in "+-"]


async def test_row_async_on_message_is_awaited_strictly_one_at_a_time(manager) -> None:
    running, most, ended = 0, 0, []

    async def on_message(handler, message):
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.02)
        running -= 1
        ended.append(message)

    visitor = Visitor(manager, route(on_message=on_message)).open()
    start = time.monotonic()
    visitor.send("1", "2", "3")
    await until(lambda: ended == ["1", "2", "3"])
    assert time.monotonic() - start >= 0.06
    assert most == 1
    await visitor.leave()


async def test_row_tornado_coroutine_on_message_is_awaited_on_the_loop(manager) -> None:
    threads, ended = [], []

    @coroutine
    def on_message(handler, message):
        threads.append(threading.get_ident())
        yield asyncio.sleep(0.001)
        ended.append(message)

    visitor = Visitor(manager, route(on_message=on_message)).open()
    visitor.send("1", "2")
    await until(lambda: ended == ["1", "2"])
    assert set(threads) == {threading.get_ident()}
    await visitor.leave()


async def test_row_sync_callback_that_blocks_stalls_no_other_connection(manager, gate) -> None:
    def on_message(handler, message):
        if message == "block":
            gate.wait()
        handler.write_message(message)

    bot = route(on_message=on_message)
    stuck, other = Visitor(manager, bot).open(), Visitor(manager, bot).open()
    stuck.send("block")
    await until(lambda: gate.entered)
    other.send("free")
    await other.received("free")
    assert stuck.messages == []
    gate.open()
    await stuck.received("block")
    await asyncio.gather(stuck.leave(), other.leave())


async def test_run_loop_calls_a_def_on_the_loop(manager) -> None:
    threads = []

    def on_message(handler, message):
        threads.append(threading.get_ident())

    visitor = Visitor(manager, route(on_message=on_message, loop=("on_message",))).open()
    visitor.send("x")
    await until(lambda: threads)
    assert threads == [threading.get_ident()]
    await visitor.leave()


async def test_row_async_open_frames_sent_meanwhile_are_delivered_after_it(manager) -> None:
    log, go_on = [], asyncio.Event()

    async def opener(handler):
        log.append("open")
        await go_on.wait()
        log.append("opened")

    async def on_message(handler, message):
        log.append(message)

    visitor = Visitor(manager, route(open=opener, on_message=on_message)).open()
    visitor.send("1", "2")
    await turns()
    assert log == ["open"]
    go_on.set()
    await until(lambda: len(log) == 4)
    assert log == ["open", "opened", "1", "2"]
    await visitor.leave()


async def test_bytes_that_came_with_the_handshake_are_delivered_after_open(manager) -> None:
    from support.frames import text

    log = []

    def opener(handler):
        log.append("open")

    async def on_message(handler, message):
        log.append(message)

    visitor = Visitor(manager, route(open=opener, on_message=on_message)).open(text("early"))
    await until(lambda: log == ["open", "early"])
    await visitor.leave()


async def test_a_busy_connection_lets_others_have_a_turn(manager) -> None:
    """Thousands of messages in one chunk are not handled in one turn of the loop."""
    order = []

    async def on_message(handler, message):
        order.append(handler.id)

    bot = route(on_message=on_message)
    loud, quiet = Visitor(manager, bot).open(), Visitor(manager, bot).open()
    loud.send(*["x"] * 2000)
    quiet.send("y")
    await until(lambda: len(order) == 2001)
    assert order.index(quiet.connection.id) < 200
    await asyncio.gather(loud.leave(), quiet.leave())


async def test_an_idle_connection_has_no_task(manager) -> None:
    async def on_message(handler, message):
        await asyncio.sleep(0)

    visitor = Visitor(manager, route(on_message=on_message)).open()
    visitor.send("x")
    await until(lambda: visitor.connection._task is None)
    assert own_tasks() == ["wshandler clock"]
    await visitor.leave()


async def test_an_async_callback_that_awaits_nothing_is_done_within_one_turn_of_the_loop(
    manager,
) -> None:
    async def on_message(handler, message):
        handler.write_message(message)

    visitor = Visitor(manager, route(on_message=on_message)).open()
    await turns()
    visitor.send("x")
    if sys.version_info < (3, 12):  # since then a task's first step runs at once
        await turns(1)
    assert visitor.messages == ["x"]
    assert visitor.connection._task is None
    await visitor.leave()


# ---- returned values ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["async", "thread", "loop"])
async def test_row_on_message_returns_str_bytes_dict_and_list_are_sent(manager, kind) -> None:
    values = {
        "s": "text",
        "b": b"bytes",
        "a": bytearray(b"array"),
        "m": memoryview(b"view"),
        "d": {"a": [1, None]},
        "l": [1, "zwei"],
        "n": None,
        "e": "",
    }

    def plain(handler, message):
        return values[message]

    async def awaited(handler, message):
        return values[message]

    loop = ("on_message",) if kind == "loop" else ()
    visitor = Visitor(
        manager, route(on_message=awaited if kind == "async" else plain, loop=loop)
    ).open()
    visitor.send(*values)
    await visitor.received(
        "text", b"bytes", b"array", b"view", '{"a":[1,null]}', '[1,"zwei"]', ""
    )
    await visitor.leave()


@pytest.mark.parametrize("value", [1, 1.5, (1, 2), True, object()])
async def test_row_on_message_returns_int_or_tuple_is_a_clear_error_and_never_hangs(
    manager, value, caplog
) -> None:
    def on_message(handler, message):
        return value

    visitor = Visitor(manager, route(on_message=on_message)).open()
    visitor.send("x")
    assert (await visitor.closed_by_server()).code == 1011
    error = next(r for r in caplog.records if r.exc_info)
    assert isinstance(error.exc_info[1], TypeError)
    assert "return str, bytes, dict or list to send it, or None" in str(error.exc_info[1])


async def test_returns_ignore_sends_nothing_that_is_returned_or_yielded(manager) -> None:
    driven = []

    def on_message(handler, message):
        if message == "value":
            return "not sent"
        if message == "int":
            return 1
        return generate(handler)

    def generate(handler):
        yield "not sent"
        driven.append(1)
        handler.write_message("sent")

    visitor = Visitor(
        manager, route(on_message=on_message, options={"returns": "ignore"})
    ).open()
    visitor.send("value", "int", "generator")
    await visitor.received("sent")
    assert driven == [1]
    await visitor.leave()


@pytest.mark.parametrize("value", ["text", 5, {"a": 1}, (), object()])
async def test_row_open_returns_non_none_is_ignored(manager, value) -> None:
    def opener(handler):
        return value

    async def on_message(handler, message):
        return message

    visitor = Visitor(manager, route(open=opener, on_message=on_message)).open()
    visitor.send("x")
    await visitor.received("x")
    await visitor.leave()


async def test_awaitables_that_plain_functions_return_are_awaited(manager) -> None:
    async def answer(message):
        await asyncio.sleep(0)
        return message.upper()

    class Later:
        def __await__(self):
            yield from asyncio.sleep(0).__await__()
            return "later"

    def on_message(handler, message):
        if message == "write":
            return handler.write_message("written")
        return Later() if message == "later" else answer(message)

    for loop in ((), ("on_message",)):
        visitor = Visitor(manager, route(on_message=on_message, loop=loop)).open()
        visitor.send("write", "later", "a")
        await visitor.received("written", "later", "A")
        await visitor.leave()


# ---- generators -----------------------------------------------------------------------------------


def words(handler, message):
    for word in message.split():
        yield word
    yield None
    yield {"end": True}


async def words_async(handler, message):
    for word in message.split():
        await asyncio.sleep(0)
        yield word
    yield None
    yield {"end": True}


@pytest.mark.parametrize(("function", "loop"), [(words, False), (words, True), (words_async, True)])
async def test_row_generator_on_message_streams_each_item_as_one_message(
    manager, function, loop
) -> None:
    bot = route(on_message=function, loop=("on_message",) if loop else ())
    visitor = Visitor(manager, bot).open()
    visitor.send("one two", "three")
    end = '{"end":true}'
    await visitor.received("one", "two", end, "three", end)
    await visitor.leave()


async def test_each_step_of_a_generator_runs_in_a_thread_and_in_one_context(manager) -> None:
    mark: contextvars.ContextVar[str] = contextvars.ContextVar("mark", default="lost")
    threads = set()

    def on_message(handler, message):
        mark.set(message)
        yield "first"
        threads.add(threading.get_ident())
        yield mark.get()

    visitor = Visitor(manager, route(on_message=on_message)).open()
    visitor.send("kept")
    await visitor.received("first", "kept")
    assert threading.get_ident() not in threads
    await visitor.leave()


async def test_a_generator_that_open_returns_greets(manager) -> None:
    def opener(handler):
        yield "welcome"

    visitor = Visitor(manager, route(open=opener, on_message=words)).open()
    await visitor.received("welcome")
    await visitor.leave()


@pytest.mark.parametrize("way", ["close", "vanish"])
async def test_closing_the_connection_closes_an_async_generator_that_awaits(manager, way) -> None:
    log = []

    async def on_message(handler, message):
        try:
            yield "first"
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            log.append("finally")

    def on_close(handler):
        log.append(handler.close_code)

    visitor = Visitor(manager, route(on_message=on_message, on_close=on_close)).open()
    visitor.send("x")
    await visitor.received("first")
    if way == "close":
        await visitor.leave(4001)
        assert visitor.goodbye.code == 4001
    else:
        visitor.vanish()
        await visitor.gone()
    assert log == ["finally", 4001 if way == "close" else 1006]


@pytest.mark.parametrize("way", ["close", "vanish"])
async def test_closing_the_connection_closes_an_endless_generator(manager, way) -> None:
    log = []

    def numbers(handler, message):
        n = 0
        try:
            while True:
                yield str(n)
                n += 1
        finally:
            log.append("finally")

    async def numbers_async(handler, message):
        n = 0
        try:
            while True:
                yield str(n)
                n += 1
        finally:
            log.append("finally")

    def on_close(handler):
        log.append("on_close")

    for function, loop in ((numbers, ()), (numbers, ("on_message",)), (numbers_async, ())):
        log.clear()
        bot = route(on_message=function, on_close=on_close, loop=loop)
        visitor = Visitor(manager, bot).open()
        visitor.send("x")
        await until(lambda visitor=visitor: len(visitor.transport.writes) > 5)
        if way == "close":
            await visitor.leave()
        else:
            visitor.vanish()
            await visitor.gone()
        assert log == ["finally", "on_close"]


async def test_a_generator_step_in_a_thread_ends_before_on_close_runs(manager, gate, caplog) -> None:
    log = []

    def on_message(handler, message):
        try:
            yield "first"
            gate.wait()
            log.append("step")
            yield "second"
        finally:
            log.append("finally")

    def on_close(handler):
        log.append("on_close")

    visitor = Visitor(manager, route(on_message=on_message, on_close=on_close)).open()
    visitor.send("x")
    await until(lambda: gate.entered)
    visitor.vanish()
    await turns()
    assert log == []
    gate.open()
    await visitor.gone()
    assert log == ["step", "finally", "on_close"]
    assert visitor.messages == ["first"]
    assert said(caplog) == []


async def test_a_generator_advances_only_while_the_queue_has_room(manager) -> None:
    produced = []

    async def on_message(handler, message):
        for n in range(100):
            produced.append(n)
            yield "x" * 1000

    queue = QueueConfig(messages=5, bytes=10_000)
    bot = route(on_message=on_message, options={"queue": queue})
    visitor = Visitor(manager, bot, room=0).open()
    visitor.send("go")
    await turns(300)
    assert len(produced) == 6
    visitor.transport.take(3000)
    await turns(300)
    assert 7 <= len(produced) <= 10
    visitor.transport.take()
    await until(lambda: len(visitor.messages) == 100)
    await visitor.leave()


@pytest.mark.parametrize("kind", ["sync", "loop", "async"])
async def test_row_generator_on_close_runs_to_its_end_and_sends_nothing(manager, kind) -> None:
    log = []

    def plain(handler):
        log.append("begin")
        yield "dropped"
        log.append("end")

    async def awaited(handler):
        log.append("begin")
        yield "dropped"
        await asyncio.sleep(0)
        log.append("end")

    bot = route(
        on_close=awaited if kind == "async" else plain, loop=("on_close",) if kind == "loop" else ()
    )
    visitor = Visitor(manager, bot).open()
    await visitor.leave()
    assert log == ["begin", "end"]
    assert visitor.messages == []


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_an_exception_in_a_generator_is_one_of_its_callback(manager, kind, caplog) -> None:
    def plain(handler, message):
        yield "first"
        raise RuntimeError("midway")

    async def awaited(handler, message):
        yield "first"
        raise RuntimeError("midway")

    visitor = Visitor(manager, route(on_message=plain if kind == "sync" else awaited)).open()
    visitor.send("x")
    assert (await visitor.closed_by_server()).code == 1011
    assert visitor.messages == ["first"]
    assert "midway" in caplog.text


async def test_a_yielded_value_that_cannot_be_sent_ends_the_generator(manager) -> None:
    log = []

    def on_message(handler, message):
        try:
            yield 5
        finally:
            log.append("finally")

    visitor = Visitor(manager, route(on_message=on_message)).open()
    visitor.send("x")
    assert (await visitor.closed_by_server()).code == 1011
    assert log == ["finally"]


async def test_an_endless_async_generator_that_awaits_nothing_leaves_the_loop_to_others(
    manager,
) -> None:
    async def on_message(handler, message):
        while True:
            yield "x"

    visitor = Visitor(manager, route(on_message=on_message)).open()
    visitor.send("x")
    await turns(20)
    assert 1 <= len(visitor.transport.writes) <= 100
    await visitor.leave()


# ---- the end ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["async", "thread", "loop"])
async def test_row_async_on_close_is_awaited_and_runs_once(manager, kind) -> None:
    log = []

    def plain(handler):
        log.append((handler.close_code, handler.close_reason))

    async def awaited(handler):
        await asyncio.sleep(0.001)
        plain(handler)

    bot = route(
        on_close=awaited if kind == "async" else plain, loop=("on_close",) if kind == "loop" else ()
    )
    visitor = Visitor(manager, bot).open()
    await visitor.leave(4999, "bye now")
    await turns()
    assert log == [(4999, "bye now")]


async def test_row_client_close_code_and_reason_are_on_the_handler(manager) -> None:
    seen = []

    def on_close(handler):
        seen.append((handler.close_code, handler.close_reason))

    bot = route(on_close=on_close)
    for code, reason in ((4999, "bye now"), (1001, ""), (None, "")):
        await Visitor(manager, bot).open().leave(code, reason)
    assert seen == [(4999, "bye now"), (1001, ""), (1005, "")]


async def test_row_abrupt_disconnect_idle_runs_on_close_with_1006(manager) -> None:
    seen = []

    def on_close(handler):
        seen.append(handler.close_code)

    visitor = Visitor(manager, route(on_close=on_close)).open()
    await turns()
    visitor.vanish()
    await visitor.gone()
    assert seen == [1006]


async def test_row_abrupt_disconnect_in_async_on_message_runs_to_its_end_then_on_close(
    manager,
) -> None:
    log, go_on = [], asyncio.Event()

    async def on_message(handler, message):
        log.append("begin")
        await go_on.wait()
        try:
            handler.write_message("late")
        except ConnectionClosed as error:
            log.append(str(error).partition(" is ")[2])
        log.append("end")

    async def on_close(handler):
        log.append("on_close")

    visitor = Visitor(manager, route(on_message=on_message, on_close=on_close)).open()
    visitor.send("x")
    await until(lambda: log)
    visitor.vanish()
    await turns()
    assert log == ["begin"]
    go_on.set()
    await visitor.gone()
    assert log == ["begin", "closed (1006)", "end", "on_close"]


async def test_messages_before_an_abrupt_end_are_delivered(manager) -> None:
    log = []

    async def on_message(handler, message):
        await asyncio.sleep(0)
        log.append(message)

    def on_close(handler):
        log.append("on_close")

    visitor = Visitor(manager, route(on_message=on_message, on_close=on_close)).open()
    visitor.send("1", "2", "3")
    visitor.vanish()
    await visitor.gone()
    assert log == ["1", "2", "3", "on_close"]


async def test_row_write_message_in_on_close_raises(manager, caplog) -> None:
    log = []

    def on_close(handler):
        with pytest.raises(ConnectionClosed, match=r"closed \(1000\)"):
            handler.write_message("x")
        log.append("checked")
        handler.write_message("x")

    visitor = Visitor(manager, route(on_close=on_close)).open()
    await visitor.leave()
    assert log == ["checked"]
    # Whatever follows in such an on_close does not run, and that is said.
    assert ["on_close ended early" in line for line in said(caplog)] == [True]


async def test_row_handler_close_in_open_drops_messages(manager) -> None:
    seen = []

    def opener(handler):
        handler.close(4001, "not now")

    def on_message(handler, message):
        seen.append(message)

    def on_close(handler):
        seen.append((handler.close_code, handler.close_reason))

    for loop in ((), ("open", "on_message", "on_close")):
        seen.clear()
        bot = route(open=opener, on_message=on_message, on_close=on_close, loop=loop)
        visitor = Visitor(manager, bot).open()
        if not visitor.transport.lost:
            visitor.send("in flight")
        goodbye = await visitor.closed_by_server()
        assert (goodbye.code, goodbye.reason) == (4001, "not now")
        assert seen == [(4001, "not now")]


async def test_on_close_runs_when_open_was_entered_and_raised(manager) -> None:
    log = []

    def opener(handler):
        raise ValueError("no")

    def on_message(handler, message):
        log.append(message)

    def on_close(handler):
        log.append("on_close")

    visitor = Visitor(manager, route(open=opener, on_message=on_message, on_close=on_close)).open()
    visitor.send("never delivered")
    assert (await visitor.closed_by_server()).code == 1011
    assert log == ["on_close"]


async def test_the_session_and_the_count_are_released_after_on_close(manager) -> None:
    session = await manager.sessions.attach("s1", "me")
    seen = []

    def on_close(handler):
        seen.append((handler.session["id"], len(manager.connections)))

    visitor = Visitor(manager, route(on_close=on_close), session=session).open()
    await visitor.leave()
    assert seen == [("s1", 1)]
    assert manager.connections == {}
    with pytest.raises(LookupError):
        visitor.connection.session


# ---- failures -----------------------------------------------------------------------------------


def failing(kind):
    def plain(*args):
        raise ValueError("secret detail")

    async def awaited(*args):
        await asyncio.sleep(0)
        raise ValueError("secret detail")

    return awaited if kind == "async" else plain


@pytest.mark.parametrize("kind", ["async", "thread", "loop"])
@pytest.mark.parametrize("event", ["open", "on_message", "on_pong"])
async def test_row_exception_in_a_callback_closes_1011_with_an_error_id(
    manager, kind, event, caplog
) -> None:
    log = []

    def on_close(handler):
        log.append(handler.close_code)

    bot = route(
        **{event: failing(kind)}, on_close=on_close, loop=(event,) if kind == "loop" else ()
    )
    visitor = Visitor(
        manager, bot, current_user=type("User", (), {"username": "zoe"})()
    ).open()
    visitor.send("x") if event == "on_message" else visitor.pong()
    goodbye = await visitor.closed_by_server()
    assert goodbye.code == 1011
    error_id = goodbye.reason.rpartition(" ")[2]
    assert goodbye.reason == f"internal error, id {error_id}"
    (record,) = [r for r in caplog.records if r.exc_info]
    assert record.exc_info[1].args == ("secret detail",)
    for part in (error_id, "route bot", visitor.connection.id, "user zoe"):
        assert part in record.getMessage()
    assert b"secret" not in visitor.transport.data
    assert log == [1011]


@pytest.mark.parametrize("kind", ["async", "thread", "loop"])
async def test_row_exception_in_on_close_is_logged_and_the_client_has_its_1000(
    manager, kind, caplog
) -> None:
    errors = []

    def on_error(handler, exc):
        errors.append(exc)

    bot = route(
        on_close=failing(kind), on_error=on_error, loop=("on_close",) if kind == "loop" else ()
    )
    visitor = Visitor(manager, bot).open()
    await visitor.leave(1000)
    assert visitor.goodbye.code == 1000
    assert len([r for r in caplog.records if r.exc_info]) == 1
    assert [str(error) for error in errors] == ["secret detail"]
    assert manager.connections == {}


@pytest.mark.parametrize("close", [True, False])
async def test_on_error_is_called_and_decides_with_its_option_whether_the_socket_stays(
    manager, close, caplog
) -> None:
    errors = []

    async def on_error(handler, exc):
        errors.append(exc)
        handler.write_message("sorry")

    async def on_message(handler, message):
        if message == "bad":
            raise ValueError("no")
        return message

    bot = route(on_message=on_message, on_error=on_error, options={"on_error_close": close})
    visitor = Visitor(manager, bot).open()
    visitor.send("bad", "good")
    if close:
        assert (await visitor.closed_by_server()).code == 1011
        assert visitor.messages == ["sorry"]
    else:
        await until(lambda: len(visitor.messages) == 3)
        sorry, error, good = visitor.messages
        assert (sorry, good) == ("sorry", "good")
        error = json.loads(error)
        assert error["error"] == "internal error"
        assert error["id"] in caplog.text
        await visitor.leave()
    assert [type(error) for error in errors] == [ValueError]


async def test_a_message_is_answered_with_an_error_where_the_socket_stays_without_on_error(
    manager,
) -> None:
    bot = route(on_message=failing("thread"), options={"on_error_close": False})
    visitor = Visitor(manager, bot).open()
    visitor.send("1", "2")
    await until(lambda: len(visitor.messages) == 2)
    assert [json.loads(m)["error"] for m in visitor.messages] == ["internal error"] * 2
    await visitor.leave()


@pytest.mark.parametrize("close", [True, False])
async def test_an_on_error_that_fails_itself_is_logged_and_called_once(
    manager, close, caplog
) -> None:
    calls = []

    def on_error(handler, exc):
        calls.append(exc)
        raise RuntimeError("worse")

    bot = route(
        on_message=failing("async"), on_error=on_error, options={"on_error_close": close}
    )
    visitor = Visitor(manager, bot).open()
    visitor.send("x")
    if close:
        assert (await visitor.closed_by_server()).code == 1011
    else:
        await until(lambda: visitor.messages)
        await visitor.leave()
    assert len(calls) == 1
    assert [str(r.exc_info[1]) for r in caplog.records if r.exc_info] == ["secret detail", "worse"]


@pytest.mark.parametrize("error", [SystemExit(3), StopIteration("x"), GeneratorExit()])
@pytest.mark.parametrize("kind", ["async", "thread", "loop"])
async def test_an_exception_that_is_none_of_the_ordinary_ends_no_more_than_its_connection(
    manager, kind, error, caplog
) -> None:
    def plain(handler, message):
        raise error

    async def awaited(handler, message):
        raise error

    bot = route(
        on_message=awaited if kind == "async" else plain,
        loop=("on_message",) if kind == "loop" else (),
    )
    visitor, other = Visitor(manager, bot).open(), Visitor(manager, bot).open()
    visitor.send("x")
    assert (await visitor.closed_by_server()).code == 1011
    assert len([r for r in caplog.records if r.exc_info]) == 1
    await other.leave()


@pytest.mark.parametrize("way", ["raises", "self", "self later", "awaits a cancelled task"])
async def test_a_callback_that_cancels_itself_fails_alone(manager, way, caplog) -> None:
    errors = []

    async def on_message(handler, message):
        if message != "bad":
            async with asyncio.timeout(5):
                await asyncio.sleep(0)
            return message
        if way == "raises":
            raise asyncio.CancelledError
        if way == "awaits a cancelled task":
            task = asyncio.ensure_future(asyncio.sleep(60))
            task.cancel()
            await task
        asyncio.current_task().cancel()
        if way == "self":
            await asyncio.sleep(0)
        return None

    def on_error(handler, exc):
        errors.append(type(exc))

    bot = route(on_message=on_message, on_error=on_error, options={"on_error_close": False})
    visitor = Visitor(manager, bot).open()
    visitor.send("bad", "good", "better")
    await until(lambda: "better" in visitor.messages)
    assert visitor.messages[-2:] == ["good", "better"]
    assert errors == ([] if way == "self later" else [asyncio.CancelledError])
    await visitor.leave()


async def test_a_closed_connection_of_somebody_else_is_an_error_of_the_callback(
    manager, caplog
) -> None:
    others = []

    async def on_message(handler, message):
        others[0].write_message("x")

    other = Visitor(manager, route("other")).open()
    await other.leave()
    others.append(other.connection)
    visitor = Visitor(manager, route(on_message=on_message)).open()
    visitor.send("x")
    assert (await visitor.closed_by_server()).code == 1011


async def test_timeout_and_taskgroup_of_asyncio_work_inside_callbacks(manager) -> None:
    async def on_message(handler, message):
        try:
            async with asyncio.timeout(0.001):
                await asyncio.Event().wait()
        except TimeoutError:
            handler.write_message("timeout")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.Event().wait(), 0.001)
        with pytest.raises(ExceptionGroup):
            async with asyncio.TaskGroup() as group:
                group.create_task(asyncio.Event().wait())
                group.create_task(asyncio.sleep(0)).add_done_callback(lambda t: None)
                raise ValueError
        async with asyncio.TaskGroup() as group:
            task = group.create_task(asyncio.sleep(0, "grouped"))
        return task.result()

    visitor = Visitor(manager, route(on_message=on_message)).open()
    visitor.send("x")
    await visitor.received("timeout", "grouped")
    visitor.send("again")
    await until(lambda: len(visitor.messages) == 4)
    await visitor.leave()


# ---- no callback ----------------------------------------------------------------------------------


async def test_row_no_on_message_configured_closes_1003_with_a_reason(manager) -> None:
    visitor = Visitor(manager, route()).open()
    await turns()
    assert visitor.connection._phase == OPEN  # as long as it says nothing
    visitor.send("x")
    goodbye = await visitor.closed_by_server()
    assert (goodbye.code, goodbye.reason) == (1003, "this route takes no messages")


async def test_on_pong_gets_the_payload_in_order_with_the_messages(manager) -> None:
    log = []

    async def on_pong(handler, data):
        log.append(data)

    async def on_message(handler, message):
        log.append(message)
        handler.ping(b"again")

    visitor = Visitor(manager, route(on_message=on_message, on_pong=on_pong)).open()
    visitor.send("1")
    visitor.pong(b"data")
    visitor.send("2")
    await until(lambda: log == ["1", b"data", "2"])
    await visitor.leave()


async def test_a_pong_without_on_pong_wakes_nobody(manager) -> None:
    visitor = Visitor(manager, route(on_message=words)).open()
    await turns()
    visitor.pong(b"x")
    assert visitor.connection._task is None
    visitor.ping(b"hi")
    assert [f.payload for f in visitor.frames if f.opcode == PONG] == [b"hi"]
    await visitor.leave()


# ---- deadlines ------------------------------------------------------------------------------------


async def test_timeout_closes_1011_and_interrupts_an_async_callback(manager, caplog) -> None:
    log = []

    async def on_message(handler, message):
        try:
            await asyncio.Event().wait()
        finally:
            log.append("interrupted")

    async def on_close(handler):
        await asyncio.sleep(0)
        log.append("on_close")

    bot = route(on_message=on_message, on_close=on_close, options={"timeout": 60.0})
    visitor = Visitor(manager, bot).open()
    visitor.send("x", "never delivered")
    await until(lambda: visitor.connection._running)
    late(manager, visitor, 59)
    await turns()
    assert log == []
    late(manager, visitor, 61)
    goodbye = await visitor.closed_by_server()
    assert (goodbye.code, goodbye.reason) == (1011, "timeout")
    assert log == ["interrupted", "on_close"]
    assert any("bot.on_message took longer than its timeout" in line for line in said(caplog))


async def test_a_callback_that_swallows_the_interruption_is_closed_all_the_same(manager) -> None:
    async def on_message(handler, message):
        try:
            await asyncio.Event().wait()
        except BaseException:
            await asyncio.sleep(0)

    visitor = Visitor(manager, route(on_message=on_message, options={"timeout": 1.0})).open()
    visitor.send("x")
    await until(lambda: visitor.connection._running)
    late(manager, visitor)
    assert (await visitor.closed_by_server()).reason == "timeout"


async def test_timeout_of_a_thread_closes_1011_and_leaves_the_thread_by_name(
    manager, gate, caplog
) -> None:
    log = []

    def on_message(handler, message):
        gate.wait()
        try:
            handler.write_message("late")
        except ConnectionClosed:
            log.append("closed")

    def on_close(handler):
        log.append("on_close")

    bot = route(on_message=on_message, on_close=on_close)
    visitor = Visitor(manager, bot).open()
    visitor.send("x")
    await until(lambda: gate.entered)
    late(manager, visitor, run.THREAD_TIMEOUT - 1)
    await turns()
    assert visitor.goodbye is None
    late(manager, visitor, run.THREAD_TIMEOUT + 1)
    assert (await visitor.closed_by_server()).code == 1011
    assert any("bot.on_message does not come back from its thread" in x for x in said(caplog))
    assert log == ["on_close"]
    gate.open()
    await until(lambda: log == ["on_close", "closed"])


async def test_an_abandoned_generator_is_closed_when_its_thread_comes_back(manager, gate) -> None:
    log = []

    def on_message(handler, message):
        try:
            gate.wait()
            yield "too late"
        finally:
            log.append("finally")

    visitor = Visitor(manager, route(on_message=on_message)).open()
    visitor.send("x")
    await until(lambda: gate.entered)
    late(manager, visitor)
    assert (await visitor.closed_by_server()).code == 1011
    assert log == []
    gate.open()

    def collected():
        gc.collect()
        return log == ["finally"]

    await until(collected)
    assert visitor.messages == []


async def test_without_a_timeout_an_async_callback_may_take_for_ever_but_not_on_close(
    manager, caplog
) -> None:
    interrupted = []

    async def forever(*args):
        try:
            await asyncio.Event().wait()
        finally:
            interrupted.append(True)

    visitor = Visitor(manager, route(on_message=forever)).open()
    visitor.send("x")
    await until(lambda: visitor.connection._running)
    late(manager, visitor)
    await turns()
    assert interrupted == []
    other = Visitor(manager, route("other", on_close=forever)).open()
    other.close()
    await until(lambda: other.connection._running)
    late(manager, other, run.CLOSER_TIMEOUT + 1)
    await other.gone()
    assert interrupted == [True]
    assert list(manager.connections) == [visitor.connection.id]


async def test_timeout_0_is_none_for_a_thread_too(manager, gate) -> None:
    def on_message(handler, message):
        gate.wait()

    visitor = Visitor(manager, route(on_message=on_message, options={"timeout": 0.0})).open()
    visitor.send("x")
    await until(lambda: gate.entered)
    late(manager, visitor)
    await turns()
    assert visitor.goodbye is None
    gate.open()
    await visitor.leave()


async def test_the_clock_of_a_timeout_begins_anew_with_each_item_of_a_generator(manager) -> None:
    go_on = asyncio.Event()

    async def on_message(handler, message):
        await go_on.wait()
        yield "first"
        await asyncio.Event().wait()

    visitor = Visitor(manager, route(on_message=on_message, options={"timeout": 5.0})).open()
    connection = visitor.connection
    visitor.send("x")
    await until(lambda: connection._running)
    begun = connection._since
    go_on.set()
    await visitor.received("first")
    assert connection._since > begun
    await visitor.leave()


async def test_row_a_slow_callback_is_named_in_a_warning_once(manager, caplog) -> None:
    async def on_message(handler, message):
        await asyncio.Event().wait()

    bot = route(on_message=on_message)
    for _ in range(2):
        visitor = Visitor(manager, bot).open()
        visitor.send("x")
        await until(lambda visitor=visitor: visitor.connection._running)
        late(manager, visitor, run.SLOW - 1)
        assert len(said(caplog)) == (0 if _ == 0 else 1)
        late(manager, visitor, run.SLOW + 1)
        late(manager, visitor, run.SLOW + 2)
    assert said(caplog) == ["Route bot: bot.on_message runs for over 10 s"]


# ---- a busy pool ----------------------------------------------------------------------------------


async def test_a_busy_pool_closes_1013_and_names_its_holders_once(gate, caplog) -> None:
    async with running_manager(threads=2, patience=0.05) as manager:

        def hold(handler, message):
            gate.wait()

        def quick(handler, message):
            return "never"

        async def awaited(handler, message):
            return "on the loop"

        holders = route("holders", on_message=hold)
        for visitor in [Visitor(manager, holders).open() for _ in range(2)]:
            visitor.send("x")
        await until(lambda: gate.entered == 2)
        bot = route(on_message=quick)
        late_ones = [Visitor(manager, bot).open() for _ in range(2)]
        for visitor in late_ones:
            visitor.send("x")
        free = Visitor(manager, route("free", on_message=awaited)).open()
        free.send("x")
        await free.received("on the loop")
        for visitor in late_ones:
            goodbye = await visitor.closed_by_server()
            assert (goodbye.code, goodbye.reason) == (1013, "busy")
            assert visitor.messages == []
        warnings = [line for line in said(caplog) if "no thread was free" in line]
        assert len(warnings) == 1
        assert "all are held by: bot.hold." in warnings[0]
        gate.open()


async def test_on_close_waits_for_a_thread_however_long_that_takes(gate) -> None:
    async with running_manager(threads=1, patience=0.02) as manager:
        log = []

        def hold(handler, message):
            gate.wait()

        def on_close(handler):
            log.append("on_close")

        holder = Visitor(manager, route("holder", on_message=hold)).open()
        holder.send("x")
        await until(lambda: gate.entered)
        visitor = Visitor(manager, route(on_close=on_close)).open()
        visitor.close()
        await asyncio.sleep(0.08)
        assert log == []
        gate.open()
        await visitor.gone()
        assert log == ["on_close"]


async def test_a_route_may_have_threads_of_its_own(manager, gate) -> None:
    names = []

    def on_message(handler, message):
        names.append(threading.current_thread().name)
        gate.wait()

    own = route("own", on_message=on_message, options={"threads": 1})
    first, second = Visitor(manager, own).open(), Visitor(manager, own).open()
    first.send("1")
    await until(lambda: gate.entered == 1)
    second.send("2")
    await turns(50)
    assert gate.entered == 1
    gate.open()
    await until(lambda: len(names) == 2)
    assert set(names) == {"wshandler-own-1"}
    # With another number, after a reload, the old threads end.
    wider = route("own", on_message=on_message, options={"threads": 2})
    third = Visitor(manager, wider).open()
    third.send("3")
    await until(lambda: len(names) == 3)
    await until(
        lambda: sum(t.name.startswith("wshandler-own") for t in threading.enumerate()) == 1
    )
    await asyncio.gather(first.leave(), second.leave(), third.leave())


# ---- the manager of the running callback ------------------------------------------------------


async def test_the_current_manager_is_set_in_every_callback_threads_included(manager) -> None:
    seen = {}

    def remember(event):
        async def awaited(handler, *args):
            seen[event] = current_manager.get(None)

        def plain(handler, *args):
            seen[event] = current_manager.get(None)

        return awaited if event in ("on_message", "condition") else plain

    def generator(handler, data):
        seen["generator 1"] = current_manager.get(None)
        yield None
        seen["generator 2"] = current_manager.get(None)
        raise ValueError

    events = ("open", "on_message", "on_close", "on_error", "select_subprotocol", "condition")
    bot = route(**{event: remember(event) for event in events}, on_pong=generator)
    visitor = Visitor(manager, bot)
    await manager.ask(visitor.connection, "select_subprotocol", [])
    await manager.ask(visitor.connection, "condition")
    visitor.open()
    visitor.send("x")
    visitor.pong()
    await visitor.closed_by_server()
    assert seen.keys() == {*events, "generator 1", "generator 2"}
    assert set(seen.values()) == {manager}
    assert current_manager.get(None) is None


@pytest.mark.parametrize("kind", ["async", "thread", "loop"])
async def test_a_question_of_the_handshake_is_answered_or_raises(manager, kind) -> None:
    def plain(handler, *args):
        if args == ("bad",):
            raise ValueError("no")
        if args == ("exit",):
            raise SystemExit
        return args

    async def awaited(handler, *args):
        if args == ("cancel",):
            raise asyncio.CancelledError
        await asyncio.sleep(0)
        return plain(handler, *args)

    bot = route(
        condition=awaited if kind == "async" else plain, loop=("condition",) if kind == "loop" else ()
    )
    connection = Visitor(manager, bot).connection
    assert await manager.ask(connection, "condition", 1, 2) == (1, 2)
    with pytest.raises(ValueError, match="no"):
        await manager.ask(connection, "condition", "bad")
    with pytest.raises(RuntimeError, match="raised SystemExit"):
        await manager.ask(connection, "condition", "exit")
    if kind == "async":
        with pytest.raises(RuntimeError, match="was cancelled"):
            await manager.ask(connection, "condition", "cancel")


async def test_a_question_that_is_never_answered_times_out(manager, gate) -> None:
    def condition(handler):
        gate.wait()

    bot = route(condition=condition, options={"timeout": 0.02})
    with pytest.raises(TimeoutError):
        await manager.ask(Visitor(manager, bot).connection, "condition")
    gate.open()


# ---- stopping -------------------------------------------------------------------------------------


async def test_stop_closes_1001_and_lets_on_close_run(caplog) -> None:
    log = []

    async def on_close(handler):
        await asyncio.sleep(0)
        log.append(handler.close_code)

    manager = WebSocketManager()
    await manager.start()
    visitors = [Visitor(manager, route(on_close=on_close)).open() for _ in range(3)]
    stopping = asyncio.ensure_future(manager.stop())
    for visitor in visitors:
        await visitor.closed_by_server()
    await stopping
    assert log == [1001] * 3
    assert own_tasks() == []
    assert manager.connections == {}
    assert said(caplog) == []


@pytest.mark.parametrize("stubborn", [False, True])
async def test_stop_interrupts_what_still_runs_and_leaves_no_task(gate, caplog, stubborn) -> None:
    log = []

    async def on_message(handler, message):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if not stubborn:
                raise
            await asyncio.sleep(0.01)
        finally:
            log.append("interrupted")

    def blocking(handler, message):
        gate.wait()

    async def on_close(handler):
        log.append("on_close")
        await asyncio.Event().wait()

    manager = WebSocketManager()
    await manager.start()
    first = Visitor(manager, route("first", on_message=on_message, on_close=on_close)).open()
    second = Visitor(manager, route("second", on_message=blocking)).open()
    first.send("x")
    second.send("x")
    await until(lambda: gate.entered and first.connection._running)
    start = time.monotonic()
    await manager.stop(0.05)
    assert time.monotonic() - start < 5
    assert log == ["interrupted", "on_close"]
    assert own_tasks() == []
    assert manager.connections == {}
    assert any("bot.blocking" in line for line in said(caplog))
    assert [f.code for f in first.frames if f.opcode == CLOSE] == [1001]
    gate.open()


async def test_stop_does_not_wait_for_a_peer_that_never_answers() -> None:
    manager = WebSocketManager()
    await manager.start()
    visitor = Visitor(manager, route(), room=0).open()
    await turns()
    start = time.monotonic()
    await manager.stop(0.1)
    assert time.monotonic() - start < 3
    assert visitor.transport.aborted
    assert own_tasks() == []


async def test_what_a_thread_sends_after_the_loop_has_ended_is_refused(gate) -> None:
    # A thread that was left to itself may outlive the event loop.
    outcome = []

    def serve():
        async def main():
            manager = WebSocketManager()
            await manager.start()
            visitor = Visitor(manager, route(on_message=on_message)).open()
            visitor.send("x")
            await until(lambda: gate.entered)
            late(manager, visitor)
            await visitor.closed_by_server()
            await manager.stop(0.05)

        asyncio.run(main())

    def on_message(handler, message):
        gate.wait()
        try:
            handler.write_message("late")
        except Exception as error:
            outcome.append(type(error))

    await asyncio.to_thread(serve)
    gate.open()
    await until(lambda: outcome)
    assert outcome == [ConnectionClosed]
