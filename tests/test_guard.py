"""What stands between the user's code and the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import sys
import threading
import time

import pytest
from support.memory import Visitor, route, running, running_manager, until

from jupyter_wshandler.guard import Escaped, guard_tasks, guarded, run_to_its_end

ours: contextvars.ContextVar[str] = contextvars.ContextVar("ours")


def interrupt() -> None:
    raise KeyboardInterrupt


async def leave() -> None:
    sys.exit(1)


@pytest.fixture
async def loop():
    loop = asyncio.get_running_loop()
    guard_tasks(loop, ours)
    yield loop
    loop.set_task_factory(None)


async def test_a_task_of_the_users_fails_as_any_other(loop) -> None:
    ours.set("x")
    task = asyncio.create_task(leave(), name="a name")
    assert task.get_name() == "a name"
    with pytest.raises(Escaped, match="leave raised SystemExit"):
        await task


async def test_a_group_of_tasks_of_the_users_fails_as_any_other(loop) -> None:
    ours.set("x")
    with pytest.raises(ExceptionGroup):
        async with asyncio.TaskGroup() as group:
            group.create_task(leave())


async def test_a_task_in_a_context_of_ours_is_guarded_whoever_makes_it(loop) -> None:
    context = contextvars.Context()
    context.run(ours.set, "x")
    with pytest.raises(Escaped):
        await loop.create_task(leave(), context=context)


async def test_tasks_of_others_are_as_asyncio_makes_them(loop) -> None:
    async def theirs() -> None:
        await asyncio.sleep(0)

    coroutine = theirs()
    task = asyncio.create_task(coroutine)
    assert task.get_coro() is coroutine
    await task
    ours.set("x")
    coroutine = theirs()
    task = loop.create_task(coroutine, context=contextvars.Context())
    assert task.get_coro() is coroutine
    await task


async def test_a_loop_that_has_a_task_factory_keeps_it() -> None:
    loop = asyncio.get_running_loop()

    def factory(loop, coroutine, **options):
        return asyncio.Task(coroutine, loop=loop, **options)

    loop.set_task_factory(factory)
    guard_tasks(loop, ours)
    assert loop.get_task_factory() is factory
    loop.set_task_factory(None)


async def test_a_task_that_is_cancelled_before_it_begins_leaves_no_warning(loop, recwarn) -> None:
    ours.set("x")
    task = asyncio.create_task(leave())
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    del task
    await asyncio.sleep(0)
    gc.collect()
    assert not [w for w in recwarn if "never awaited" in str(w.message)]


def test_a_guarded_coroutine_can_be_closed() -> None:
    closed = []

    class Turn:
        def __await__(self):
            yield

    async def waits() -> None:
        try:
            await Turn()
        finally:
            closed.append(True)

    coroutine = guarded(waits(), "waits")
    coroutine.send(None)
    coroutine.close()
    assert closed == [True]


# ---- a loop of our own --------------------------------------------------------------------


@pytest.mark.parametrize("how", ["call_soon", "call_later", "callback", "stop", "signal"])
def test_a_loop_of_our_own_goes_on_and_nothing_is_lost(how) -> None:
    survived, done = [], []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        later = asyncio.create_task(asyncio.sleep(0.05, "later"))
        if how == "call_soon":
            loop.call_soon(sys.exit, 1)
        elif how == "call_later":
            loop.call_later(0.01, sys.exit, 1)
        elif how == "callback":
            task = asyncio.create_task(asyncio.sleep(0))
            task.add_done_callback(lambda _: sys.exit(2))
        elif how == "stop":
            loop.stop()
        else:
            loop.call_soon(interrupt)
        loop.call_soon(done.append, "behind it")
        done.append(await later)

    thread = threading.Thread(target=run_to_its_end, args=(main(), survived.append))
    thread.start()
    thread.join(5)
    assert not thread.is_alive()
    assert done == ["behind it", "later"]
    wanted = {"stop": "NoneType", "signal": "KeyboardInterrupt"}.get(how, "SystemExit")
    assert [type(error).__name__ for error in survived] == [wanted]


def test_a_loop_of_our_own_ends_though_a_task_of_it_does_not() -> None:
    async def stubborn() -> None:
        while True:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(60)

    async def main() -> None:
        tasks.append(asyncio.create_task(stubborn()))
        await asyncio.sleep(0)

    tasks: list[asyncio.Task[None]] = []
    begun = time.monotonic()
    run_to_its_end(main(), lambda _: None)
    assert time.monotonic() - begun < 5
    tasks[0]._log_destroy_pending = False  # it is, as it must be


# ---- a callback that was left to itself, and comes back -----------------------------------


@pytest.mark.parametrize("ends", ["raises", "returns", "yields", "on_error"])
async def test_what_comes_back_late_does_not_disturb_on_close(ends) -> None:
    gate, closing, log = asyncio.Event(), asyncio.Event(), []

    async def wait_stubbornly() -> None:
        while not gate.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await gate.wait()

    async def raises(handler, message):
        await wait_stubbornly()
        raise ValueError("too late")

    async def returns(handler, message):
        await wait_stubbornly()
        return "too late"

    async def yields(handler, message):
        await wait_stubbornly()
        yield "too late"

    async def fails(handler, message):
        raise ValueError("in time")

    async def on_error(handler, error):
        log.append("on_error")
        if ends == "on_error":
            await wait_stubbornly()
            raise ValueError("too late")

    async def on_close(handler):
        log.append("on_close")
        await closing.wait()
        log.append("closed")

    function = {"raises": raises, "returns": returns, "yields": yields, "on_error": fails}[ends]
    async with running_manager() as manager:
        bot = route(
            on_message=function, on_error=on_error, on_close=on_close, options={"timeout": 5.0}
        )
        visitor = Visitor(manager, bot).open()
        connection = visitor.connection
        visitor.send("x")
        await until(lambda: running(connection) is not None and (ends != "on_error" or log))
        left = connection.work.task
        connection.cancel("timeout")
        await asyncio.sleep(0.01)
        manager.runner.write_off(connection)
        visitor.transport.abort()
        await until(lambda: "on_close" in log)
        worker, begun = connection.work, connection.work.callback
        since = connection.work.since
        assert worker is not left
        gate.set()
        await until(left.done)
        assert connection.work is worker
        assert running(connection) is begun
        assert connection.work.since == since
        closing.set()
        await until(lambda: connection.id not in manager.connections)
    assert log == [*(["on_error"] if ends == "on_error" else []), "on_close", "closed"]


async def test_a_generator_that_cleans_up_after_the_server_has_closed_is_timed() -> None:
    gate, log = asyncio.Event(), []

    async def on_message(handler, message):
        try:
            yield "begun"
            handler.close(1000, "enough")
            yield "not sent"
        finally:
            while not gate.is_set():
                with contextlib.suppress(asyncio.CancelledError):
                    await gate.wait()

    async def on_close(handler):
        log.append("closed")

    async with running_manager() as manager:
        visitor = Visitor(manager, route(on_message=on_message, on_close=on_close)).open()
        connection = visitor.connection
        visitor.send("x")
        await until(lambda: connection.closed)
        visitor.transport.abort()
        await until(lambda: connection.work.why == "closed")
        now = manager.io.loop.time()
        manager.runner.check(connection, now + 29)
        assert connection.work.why == "closed"
        manager.runner.check(connection, now + 31)
        assert connection.work.why == "timeout"
        manager.runner.check(connection, manager.io.loop.time() + 2)
        await until(lambda: log == ["closed"])
        gate.set()
        await until(lambda: not manager.runner._left)
    assert log == ["closed"]


async def test_the_thread_of_a_generator_that_cleans_up_for_ever_is_given_up() -> None:
    gate, log = threading.Event(), []

    def on_message(handler, message):
        try:
            while True:
                yield "begun"
        finally:
            log.append("cleans up")
            gate.wait(20)

    def on_close(handler):
        log.append("closed")

    async with running_manager(threads=1) as manager:
        bot = route(on_message=on_message, on_close=on_close, options={"timeout": 5.0})
        visitor = Visitor(manager, bot).open()
        connection = visitor.connection
        visitor.send("x")
        await until(lambda: visitor.messages)
        visitor.transport.abort()
        await until(lambda: log)
        now = manager.io.loop.time()
        manager.runner.check(connection, now + 40)
        await until(lambda: connection.id not in manager.connections)
        assert log == ["cleans up", "closed"]
        gate.set()


class Untouchable(Exception):
    def __getattribute__(self, name):
        raise KeyboardInterrupt(name)


async def untouchable() -> None:
    await asyncio.sleep(0)
    raise Untouchable


@pytest.mark.parametrize("how", ["task", "gather", "group"])
async def test_an_exception_that_cannot_be_looked_at_ends_no_loop(loop, how) -> None:
    ours.set("x")

    async def task() -> None:
        await asyncio.create_task(untouchable())

    async def gather() -> None:
        await asyncio.gather(untouchable(), asyncio.sleep(0.01))

    async def group() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(untouchable())

    with pytest.raises((Escaped, ExceptionGroup)) as raised:
        await {"task": task, "gather": gather, "group": group}[how]()
    error = raised.value.exceptions[0] if how == "group" else raised.value
    assert "untouchable raised Untouchable, which cannot be looked at" in str(error)
