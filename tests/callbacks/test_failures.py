"""Callbacks that raise, that take too long, and that find no thread."""

from __future__ import annotations

import asyncio
import gc
import json
import threading

import pytest
from support.memory import (
    Visitor,
    look_late,
    route,
    running,
    running_manager,
    turns,
    until,
    warnings_in,
)

from jupyter_wshandler.callbacks import deadlines
from jupyter_wshandler.errors import ConnectionClosed

pytestmark = pytest.mark.timeout(30)


# ---- failures ----------------------------------------------------------------------------


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
    visitor = Visitor(manager, bot, current_user=type("User", (), {"username": "zoe"})()).open()
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

    bot = route(on_message=failing("async"), on_error=on_error, options={"on_error_close": close})
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


async def failing_group():
    async with asyncio.TaskGroup() as group:
        group.create_task(asyncio.Event().wait())
        raise ValueError


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
            await failing_group()
        async with asyncio.TaskGroup() as group:
            task = group.create_task(asyncio.sleep(0, "grouped"))
        return task.result()

    visitor = Visitor(manager, route(on_message=on_message)).open()
    visitor.send("x")
    await visitor.received("timeout", "grouped")
    visitor.send("again")
    await until(lambda: len(visitor.messages) == 4)
    await visitor.leave()


# ---- deadlines ---------------------------------------------------------------------------


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
    await until(lambda: running(visitor.connection))
    look_late(manager, visitor, 59)
    await turns()
    assert log == []
    look_late(manager, visitor, 61)
    goodbye = await visitor.closed_by_server()
    assert (goodbye.code, goodbye.reason) == (1011, "timeout")
    assert log == ["interrupted", "on_close"]
    assert any(
        "bot.on_message took longer than its timeout" in line for line in warnings_in(caplog)
    )


async def test_a_callback_that_swallows_the_interruption_is_closed_all_the_same(manager) -> None:
    async def on_message(handler, message):
        try:
            await asyncio.Event().wait()
        except BaseException:
            await asyncio.sleep(0)

    visitor = Visitor(manager, route(on_message=on_message, options={"timeout": 1.0})).open()
    visitor.send("x")
    await until(lambda: running(visitor.connection))
    look_late(manager, visitor)
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
    look_late(manager, visitor, deadlines.THREAD_TIMEOUT - 1)
    await turns()
    assert visitor.goodbye is None
    look_late(manager, visitor, deadlines.THREAD_TIMEOUT + 1)
    assert (await visitor.closed_by_server()).code == 1011
    assert any(
        "bot.on_message does not come back from its thread" in x for x in warnings_in(caplog)
    )
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
    look_late(manager, visitor)
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
    await until(lambda: running(visitor.connection))
    look_late(manager, visitor)
    await turns()
    assert interrupted == []
    other = Visitor(manager, route("other", on_close=forever)).open()
    other.close()
    await until(lambda: running(other.connection))
    look_late(manager, other, deadlines.CLOSER_TIMEOUT + 1)
    await other.gone()
    assert interrupted == [True]
    assert list(manager.connections) == [visitor.connection.id]


async def test_timeout_0_is_none_for_a_thread_too(manager, gate) -> None:
    def on_message(handler, message):
        gate.wait()

    visitor = Visitor(manager, route(on_message=on_message, options={"timeout": 0.0})).open()
    visitor.send("x")
    await until(lambda: gate.entered)
    look_late(manager, visitor)
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
    await until(lambda: running(connection))
    begun = connection.work.since
    go_on.set()
    await visitor.received("first")
    assert connection.work.since > begun
    await visitor.leave()


async def test_row_a_slow_callback_is_named_in_a_warning_once(manager, caplog) -> None:
    async def on_message(handler, message):
        await asyncio.Event().wait()

    bot = route(on_message=on_message)
    for _ in range(2):
        visitor = Visitor(manager, bot).open()
        visitor.send("x")
        await until(lambda visitor=visitor: running(visitor.connection))
        look_late(manager, visitor, deadlines.SLOW - 1)
        assert len(warnings_in(caplog)) == (0 if _ == 0 else 1)
        look_late(manager, visitor, deadlines.SLOW + 1)
        look_late(manager, visitor, deadlines.SLOW + 2)
    assert warnings_in(caplog) == ["Route bot: bot.on_message runs for over 10 s"]


# ---- a busy pool -------------------------------------------------------------------------


async def test_a_busy_pool_closes_1013_and_names_its_holders_once(gate, caplog) -> None:
    async with running_manager(threads=2, patience=0.05) as manager:

        def hold(handler, message):
            gate.wait()

        def quick(handler, message):
            return "never"

        async def awaited(handler, message):
            return "on the loop"

        # One route, or one user, does not get both.
        for name in ("holders", "holders-2"):
            user = type("User", (), {"username": name})()
            holders = route(name, on_message=hold)
            Visitor(manager, holders, current_user=user).open().send("x")
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
            assert goodbye.code == 1013
            assert goodbye.reason == "busy: the threads are held by holders, holders-2"
            assert visitor.messages == []
        warnings = [line for line in warnings_in(caplog) if "no thread was free" in line]
        assert len(warnings) == 1
        assert "all are held by: bot.hold (route holders, holders-2)." in warnings[0]
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
    await until(lambda: sum(t.name.startswith("wshandler-own") for t in threading.enumerate()) == 1)
    await asyncio.gather(first.leave(), second.leave(), third.leave())
