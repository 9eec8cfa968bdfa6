"""The first step of a callback without a task: what a callback finds there all the same."""

from __future__ import annotations

import asyncio
import contextvars
import gc
from asyncio.tasks import _enter_task, _leave_task

import pytest
from support.memory import Visitor, own_tasks, route, turns, until

from jupyter_wshandler.callbacks.firststep import IN_STOCK, UNTRIED, FirstSteps

pytestmark = pytest.mark.timeout(30)

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


async def test_what_one_turn_reads_is_answered_together_in_the_next(manager) -> None:
    """With one turn for each, many connections cost many turns of the loop."""
    seen = []

    async def on_message(handler, message):
        seen.append(f"handles {message}")
        handler.write_message(message)

    def read() -> None:
        for visitor, message in zip(visitors, "abc", strict=True):
            visitor.send(message)
            seen.append(f"reads {message}")

    visitors = [Visitor(manager, route(on_message=on_message)).open() for _ in range(3)]
    await turns()
    loop = asyncio.get_running_loop()
    loop.call_soon(read)
    loop.call_soon(loop.call_soon, seen.append, "the turn after that")
    await turns()
    reads, handles = [f"reads {name}" for name in "abc"], [f"handles {name}" for name in "abc"]
    assert seen == [*reads, *handles, "the turn after that"]
    assert [visitor.messages for visitor in visitors] == [["a"], ["b"], ["c"]]
    assert [visitor.connection.work for visitor in visitors] == [None, None, None]
    await asyncio.gather(*(visitor.leave() for visitor in visitors))


async def test_of_callbacks_that_wait_for_nothing_none_makes_a_task(manager) -> None:
    seen = []

    async def on_message(handler, message):
        seen.append(asyncio.current_task().get_name())

    visitor = Visitor(manager, route(on_message=on_message)).open()
    await turns()
    before = asyncio.all_tasks()
    for n in range(50):
        asyncio.get_running_loop().call_soon(visitor.send, str(n))
        await turns()
    assert seen == [IN_STOCK] * 50
    assert len(asyncio.all_tasks() - before) <= 1  # the one in stock
    await visitor.leave()


async def test_the_task_that_a_callback_finds_before_it_waits_is_the_one_after_and_has_its_name(
    manager,
) -> None:
    seen = []

    async def on_message(handler, message):
        seen.append(asyncio.current_task())
        await asyncio.sleep(0)
        seen.append(asyncio.current_task())
        handler.write_message(asyncio.current_task().get_name())

    visitor = Visitor(manager, route(on_message=on_message)).open()
    await turns()
    asyncio.get_running_loop().call_soon(visitor.send, "x")
    await visitor.received(f"wshandler {visitor.connection.id}")
    assert seen[0] is seen[1]
    assert seen[0] is not asyncio.current_task()
    await visitor.leave()


@pytest.mark.parametrize("waits_first", [False, True])
async def test_a_timeout_that_begins_before_the_first_wait_ends_the_wait(
    manager, waits_first
) -> None:
    async def on_message(handler, message):
        if waits_first:
            await asyncio.sleep(0)
        try:
            async with asyncio.timeout(0.01):
                await asyncio.sleep(30)
        except TimeoutError:
            handler.write_message("in time")

    visitor = Visitor(manager, route(on_message=on_message)).open()
    await turns()
    asyncio.get_running_loop().call_soon(visitor.send, "x")
    await visitor.received("in time")
    await visitor.leave()


async def test_a_timeout_of_zero_that_is_asked_before_the_first_wait_ends_it_as_well(
    manager,
) -> None:
    async def on_message(handler, message):
        try:
            async with asyncio.timeout(0):
                await asyncio.get_running_loop().create_future()
        except TimeoutError:
            handler.write_message("in time")

    visitor = Visitor(manager, route(on_message=on_message)).open()
    await turns()
    asyncio.get_running_loop().call_soon(visitor.send, "x")
    await visitor.received("in time")
    await visitor.leave()


async def test_a_task_group_that_begins_before_the_first_wait_is_cancelled_by_its_child(
    manager,
) -> None:
    async def fails() -> None:
        raise ValueError("child")

    async def on_message(handler, message):
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(fails())
                await asyncio.get_running_loop().create_future()
        except* ValueError as errors:
            handler.write_message(str(errors.exceptions[0]))

    visitor = Visitor(manager, route(on_message=on_message)).open()
    await turns()
    asyncio.get_running_loop().call_soon(visitor.send, "x")
    await visitor.received("child")
    await visitor.leave()


@pytest.mark.parametrize("yields", ["nothing", "a future"])
async def test_a_callback_that_cancels_its_own_task_before_it_waits_is_cancelled_where_it_waits(
    manager, yields
) -> None:
    futures = []

    async def on_message(handler, message):
        if message == "after":
            handler.write_message("here")
            return
        asyncio.current_task().cancel()
        futures.append(asyncio.get_running_loop().create_future())
        try:
            await (asyncio.sleep(0) if yields == "nothing" else futures[0])
        except asyncio.CancelledError:
            handler.write_message("cancelled")
            raise

    bot = route(on_message=on_message, options={"on_error_close": False})
    visitor = Visitor(manager, bot).open()
    await turns()
    asyncio.get_running_loop().call_soon(visitor.send, "x")
    await until(lambda: "cancelled" in visitor.messages)
    assert yields == "nothing" or futures[0].cancelled()
    visitor.send("after")
    await until(lambda: "here" in visitor.messages)
    await visitor.leave()


async def test_one_that_cancels_its_task_and_takes_that_back_hits_nobody_after_it(manager) -> None:
    async def on_message(handler, message):
        if message == "bad":
            asyncio.current_task().cancel()
            asyncio.current_task().uncancel()
        else:
            await asyncio.sleep(0)
            handler.write_message(message)

    bot = route(on_message=on_message)
    bad, good = Visitor(manager, bot).open(), Visitor(manager, bot).open()
    await turns()
    for _ in range(3):  # with a task in stock that has not begun, that stands ready, and a new one
        loop = asyncio.get_running_loop()
        loop.call_soon(bad.send, "bad")
        loop.call_soon(good.send, "fine")
        await until(lambda: good.connection.work is None and good.messages)
        await turns()
    assert good.messages == ["fine"] * 3
    await asyncio.gather(bad.leave(), good.leave())


async def test_what_a_callback_sets_before_it_waits_is_there_after_and_not_for_the_next(
    manager,
) -> None:
    async def on_message(handler, message):
        handler.write_message(variable.get())
        variable.set(message)
        await asyncio.sleep(0)
        handler.write_message(variable.get())

    visitor = Visitor(manager, route(on_message=on_message)).open()
    await turns()
    loop = asyncio.get_running_loop()
    loop.call_soon(visitor.send, "one")
    await until(lambda: len(visitor.messages) == 2 and visitor.connection.work is None)
    loop.call_soon(visitor.send, "two")
    await visitor.received("unset", "one", "unset", "two")
    assert variable.get() == "unset"
    await visitor.leave()


@pytest.mark.parametrize("keeps", ["in a list", "as a weak key"])
async def test_a_task_that_somebody_has_kept_is_not_the_next_callbacks(manager, keeps) -> None:
    """What is keyed by the task, as sessions of a database are, must not reach another user."""
    import weakref

    kept: list[object] = []
    keyed: weakref.WeakKeyDictionary[object, str] = weakref.WeakKeyDictionary()

    async def on_message(handler, message):
        task = asyncio.current_task()
        handler.write_message(str(task in keyed or task in kept))
        if keeps == "in a list":
            kept.append(task)
        else:
            keyed[task] = message

    bot = route(on_message=on_message)
    ada, bob = Visitor(manager, bot).open(), Visitor(manager, bot).open()
    await turns()
    loop = asyncio.get_running_loop()
    loop.call_soon(ada.send, "secret")
    loop.call_soon(bob.send, "hello")
    await until(lambda: ada.messages and bob.messages)
    await turns()
    loop.call_soon(bob.send, "again")
    await bob.received("False", "False")
    await asyncio.gather(ada.leave(), bob.leave())


async def test_the_name_of_a_task_and_who_waits_for_its_end_are_of_one_callback_only(
    manager,
) -> None:
    """Else a log line names another connection's user, and the end never comes."""
    names, ended = [], []

    async def on_message(handler, message):
        task = asyncio.current_task()
        names.append(task.get_name())
        if message == "named":
            task.set_name("a secret")
        else:
            task.add_done_callback(lambda task: ended.append(message))

    visitor = Visitor(manager, route(on_message=on_message)).open()
    await turns()
    for message in ("named", "1", "2"):
        asyncio.get_running_loop().call_soon(visitor.send, message)
        await turns()
    assert names == [IN_STOCK] * 3
    assert ended == ["1", "2"]
    await visitor.leave()


@pytest.mark.parametrize("inner_waits", [False, True])
async def test_an_event_loop_that_is_run_within_a_first_step_runs_others_to_their_end(
    manager, inner_waits
) -> None:
    """With nest_asyncio a callback may do that; the task that it has found is its own."""
    tasks = {}

    async def on_message(handler, message):
        tasks[message] = asyncio.current_task()
        if message == "outer":
            loop, task = asyncio.get_running_loop(), asyncio.current_task()
            _leave_task(loop, task)
            while "inner" not in tasks:
                loop.call_soon(int)  # it waits for nothing
                loop._run_once()
            _enter_task(loop, task)
            await asyncio.sleep(0)
        elif inner_waits:
            await asyncio.sleep(0)
        assert asyncio.current_task() is tasks[message]
        handler.write_message(message)

    bot = route(on_message=on_message)
    outer, inner = Visitor(manager, bot).open(), Visitor(manager, bot).open()
    await turns()
    # Both have their turn at once: the inner one would come behind the outer one's.
    asyncio.get_running_loop().call_soon(outer.send, "outer")
    asyncio.get_running_loop().call_soon(inner.send, "inner")
    await outer.received("outer")
    await inner.received("inner")
    assert tasks["outer"] is not tasks["inner"]
    await asyncio.gather(outer.leave(), inner.leave())


async def test_in_a_task_of_anothers_a_callback_gets_a_task_of_its_own(manager) -> None:
    seen = []

    async def on_message(handler, message):
        seen.append(asyncio.current_task())

    visitor = Visitor(manager, route(on_message=on_message)).open()
    await turns()
    visitor.send("x")  # from within this test's own task
    await until(lambda: seen)
    assert seen[0] is not asyncio.current_task()
    await visitor.leave()


async def test_work_that_waits_goes_to_a_task_at_once_the_next_times() -> None:
    steps = FirstSteps(asyncio.get_running_loop(), contextvars.copy_context())
    bot = route(on_message=lambda handler, message: None)
    assert steps.may_take(bot)
    steps.it_waits(bot)
    assert [steps.may_take(bot) for _ in range(UNTRIED + 2)] == [False] * UNTRIED + [True] * 2
    await steps.stop()


async def test_the_task_in_stock_ends_with_the_manager_and_none_is_left(manager) -> None:
    async def on_message(handler, message):
        handler.write_message(message)

    visitor = Visitor(manager, route(on_message=on_message)).open()
    await turns()
    asyncio.get_running_loop().call_soon(visitor.send, "x")
    await visitor.received("x")
    await visitor.leave()
    await manager.stop(0.2)
    assert own_tasks() == []
    gc.collect()


async def test_who_looks_at_a_task_that_went_on_sees_where_it_stands(manager) -> None:
    tasks = []

    async def on_message(handler, message):
        tasks.append(asyncio.current_task())
        await asyncio.sleep(30)

    visitor = Visitor(manager, route(on_message=on_message)).open()
    await turns()
    asyncio.get_running_loop().call_soon(visitor.send, "x")
    await until(lambda: tasks and visitor.connection.work.task is tasks[0])
    assert tasks[0].get_stack()[0].f_code.co_name == "_work"
    assert "turn" in repr(tasks[0])
    visitor.connection.cancel("stop")
    await visitor.leave()
