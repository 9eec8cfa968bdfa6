"""What callbacks return and yield: what is sent of it, and when a generator is closed."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from pathlib import Path

import pytest
from support.memory import (
    Visitor,
    route,
    turns,
    until,
    warnings_in,
)

from jupyter_wshandler.callbacks.errorlog import place_of, users_part
from jupyter_wshandler.config.model import QueueConfig
from jupyter_wshandler.notebook.tracebacks import format_error

pytestmark = pytest.mark.timeout(30)


# ---- returned values ---------------------------------------------------------------------


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
    await visitor.received("text", b"bytes", b"array", b"view", '{"a":[1,null]}', '[1,"zwei"]', "")
    await visitor.leave()


@pytest.mark.parametrize(
    ("value", "text"), [(1, "1"), (1.5, "1.5"), ((1, 2), "[1,2]"), (True, "true"), (False, "false")]
)
async def test_row_on_message_returns_a_number_a_tuple_or_a_bool_and_it_is_sent_as_json(
    manager, value, text
) -> None:
    def on_message(handler, message):
        return value

    visitor = Visitor(manager, route(on_message=on_message)).open()
    visitor.send("x")
    await visitor.received(text)
    await visitor.leave()


@pytest.mark.parametrize("how", ["returned", "yielded"])
@pytest.mark.parametrize("value", [object(), {"rows": [1, {"when": 1j}]}])
async def test_row_on_message_returns_what_has_no_json_form_is_a_clear_error_and_never_hangs(
    manager, value, how, caplog
) -> None:
    def on_message(handler, message):
        return value

    def yielding(handler, message):
        yield value

    function = on_message if how == "returned" else yielding
    visitor = Visitor(manager, route(on_message=function)).open()
    visitor.send("x")
    assert (await visitor.closed_by_server()).code == 1011
    error = next(r for r in caplog.records if r.exc_info)
    assert isinstance(error.exc_info[1], TypeError)
    where = "the value" if type(value) is object else "$.rows[1].when"
    kind = "object" if type(value) is object else "complex"
    words = f"{how} what cannot be sent: {where} is of type {kind}"
    assert words in str(error.exc_info[1])


@pytest.mark.parametrize("kind", ["def", "async def"])
async def test_a_value_that_cannot_be_sent_is_traced_to_the_yield_and_to_nothing_of_ours(
    manager, kind, caplog
) -> None:
    def yielding(handler, message):
        yield "before"
        yield object()  # this line

    async def yielding_async(handler, message):
        yield "before"
        yield object()  # this line

    function = yielding if kind == "def" else yielding_async
    visitor = Visitor(manager, route(on_message=function)).open()
    visitor.send("x")
    assert (await visitor.closed_by_server()).code == 1011
    error = next(r for r in caplog.records if r.exc_info).exc_info[1]
    own = users_part(error.__traceback__)
    assert own.tb_next is None
    lines = Path(__file__).read_text().splitlines()
    assert lines[own.tb_lineno - 1].endswith("# this line")
    assert place_of(error) == f"{__file__}:{own.tb_lineno}"


async def test_a_returned_value_that_cannot_be_sent_is_shown_in_one_line_in_a_notebook(
    manager, caplog
) -> None:
    visitor = Visitor(manager, route(on_message=lambda handler, message: object())).open()
    visitor.send("x")
    assert (await visitor.closed_by_server()).code == 1011
    error = next(r for r in caplog.records if r.exc_info).exc_info[1]
    (line,) = format_error(None, error).splitlines()
    assert line.startswith("TypeError: ")
    assert "returned what cannot be sent: the value is of type object" in line


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

    visitor = Visitor(manager, route(on_message=on_message, options={"returns": "ignore"})).open()
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


# ---- generators --------------------------------------------------------------------------


def words(handler, message):
    yield from message.split()
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


async def test_a_generator_step_in_a_thread_ends_before_on_close_runs(
    manager, gate, caplog
) -> None:
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
    assert warnings_in(caplog) == []


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
            yield object()
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
