"""What timers and tasks of the user's own raise: told as a bot's errors, whoever runs them."""

from __future__ import annotations

import asyncio
import functools
import gc
import logging

import pytest
from support.memory import Visitor, route, until
from tornado.ioloop import IOLoop, PeriodicCallback

pytestmark = pytest.mark.timeout(60)


class Wrong(Exception):
    pass


TIMERS: list[PeriodicCallback] = []


@pytest.fixture(autouse=True)
def stop_timers():
    yield
    while TIMERS:
        TIMERS.pop().stop()


def fails(*args):
    raise Wrong("secret detail")


async def fails_later(*args):
    await asyncio.sleep(0)
    raise Wrong("secret detail")


def tornado_call_later():
    IOLoop.current().call_later(0.001, fails)


def tornado_call_later_of_a_coroutine():
    IOLoop.current().call_later(0.001, fails_later)


def tornado_add_callback():
    IOLoop.current().add_callback(functools.partial(fails, 1))


def tornado_spawn_callback():
    IOLoop.current().spawn_callback(fails_later)


def tornado_periodic():
    TIMERS.append(PeriodicCallback(fails, 10))
    TIMERS[-1].start()


def tornado_periodic_of_a_coroutine():
    TIMERS.append(PeriodicCallback(fails_later, 10))
    TIMERS[-1].start()


def asyncio_call_later():
    asyncio.get_event_loop().call_later(0.001, fails)


def asyncio_call_soon():
    asyncio.get_event_loop().call_soon(fails)


def asyncio_threadsafe():
    asyncio.get_event_loop().call_soon_threadsafe(fails)


WAYS = [
    tornado_call_later,
    tornado_call_later_of_a_coroutine,
    tornado_add_callback,
    tornado_spawn_callback,
    tornado_periodic,
    tornado_periodic_of_a_coroutine,
    asyncio_call_later,
    asyncio_call_soon,
    asyncio_threadsafe,
]


def told(caplog, start: str) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.getMessage().startswith(start)]


def check(manager, caplog, visitor, name: str) -> None:
    (record, *_) = told(caplog, "Error ")
    message = record.getMessage()
    assert f" in timer {name}, route bot, connection {visitor.connection.id}, user zoe" in message
    assert len(message.split()[1]) == 8, "a reference, as of every error"
    assert record.exc_info[0] is Wrong
    assert manager.metrics.errors["bot"] == len(told(caplog, "Error "))
    others = {r.name for r in caplog.records if r.levelno >= logging.ERROR}
    assert not others & {"tornado.application", "asyncio"}, "nothing is told twice"


@pytest.mark.parametrize("run", ["async", "loop", "thread"])
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
async def test_what_a_timer_raises_is_told_as_an_error_of_its_bot(
    manager, caplog, way, run
) -> None:
    async def on_message_async(handler, message):
        way()

    def on_message(handler, message):
        way()

    function = on_message_async if run == "async" else on_message
    bot = route(on_message=function, loop=("on_message",) if run == "loop" else ())
    visitor = Visitor(manager, bot, current_user=type("U", (), {"username": "zoe"})()).open()
    visitor.send("x")
    await until(lambda: told(caplog, "Error "))
    while TIMERS:
        TIMERS.pop().stop()
    check(
        manager,
        caplog,
        visitor,
        "fails_later" if "coroutine" in way.__name__ or "spawn" in way.__name__ else "fails",
    )
    assert b"secret" not in visitor.transport.data
    await visitor.leave()


async def test_a_task_that_nobody_awaits_is_told_as_an_error_of_its_bot(manager, caplog) -> None:
    async def on_message(handler, message):
        asyncio.create_task(fails_later())  # noqa: RUF006

    visitor = Visitor(manager, route(on_message=on_message)).open()
    visitor.send("x")

    def was_told():
        gc.collect()
        return told(caplog, "Error ")

    await until(was_told)
    (record,) = was_told()
    assert f"in task fails_later, route bot, connection {visitor.connection.id}" in record.message
    assert manager.metrics.errors["bot"] == 1
    await visitor.leave()


async def test_a_task_of_the_connection_is_told_with_a_reference_and_counted(
    manager, caplog
) -> None:
    async def on_message(handler, message):
        handler.start_task(fails_later(), name="clean up")

    visitor = Visitor(manager, route(on_message=on_message)).open()
    visitor.send("x")
    await until(lambda: told(caplog, "Error "))
    assert "in clean up, route bot, connection" in told(caplog, "Error ")[0].message
    assert manager.metrics.errors["bot"] == 1
    await visitor.leave()


async def test_a_periodic_callback_that_outlives_its_connection_is_told_once(
    manager, caplog
) -> None:
    timers: list[PeriodicCallback] = []
    ticks: list[int] = []

    async def open(handler):
        def tick():
            ticks.append(1)
            handler.write_message("tick")

        timers.append(PeriodicCallback(tick, 2))
        timers[0].start()

    visitor = Visitor(manager, route(open=open)).open()
    await until(lambda: ticks)
    await visitor.leave()
    count = len(ticks)
    await until(lambda: len(ticks) > count + 5)
    timers[0].stop()
    assert len(told(caplog, "Route bot: timer ")) == 1
    assert "stop it in on_close" in caplog.text
    assert manager.metrics.errors["bot"] == 0


async def test_what_is_nobodys_goes_where_it_went(manager, caplog) -> None:
    visitor = Visitor(manager, route(on_message=lambda handler, message: "x")).open()
    visitor.send("x")
    await visitor.received("x")
    IOLoop.current().call_later(0, fails)
    asyncio.get_running_loop().call_soon(fails)
    await until(lambda: len([r for r in caplog.records if r.levelno >= logging.ERROR]) == 2)
    assert {r.name for r in caplog.records if r.exc_info} == {"tornado.application", "asyncio"}
    assert manager.metrics.errors["bot"] == 0
    await visitor.leave()


async def test_a_handler_that_the_loop_had_before_hears_what_is_nobodys() -> None:
    from jupyter_wshandler.callbacks.strays import catch_strays

    loop, seen = asyncio.get_running_loop(), []
    loop.set_exception_handler(lambda loop, context: seen.append(context["exception"]))
    catch_strays(loop)
    catch_strays(loop)
    loop.call_soon(fails)
    await until(lambda: seen)
    assert [type(error) for error in seen] == [Wrong]


async def test_the_context_of_a_connection_ends_with_it(manager) -> None:
    functions = {"open": lambda handler: None, "on_message": lambda handler, message: "x"}
    visitor = Visitor(manager, route(**functions)).open()
    visitor.send("x")
    await visitor.received("x")
    assert visitor.connection._context is not None
    await visitor.leave()
    assert visitor.connection._context is None
