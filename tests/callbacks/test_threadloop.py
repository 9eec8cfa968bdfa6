"""Timers, tasks and futures that a `def` sets, as one does in Tornado and Gramex."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

import pytest
from support.bots import bot_text
from support.memory import Visitor, route, turns, until
from tornado.ioloop import IOLoop, PeriodicCallback

pytestmark = pytest.mark.timeout(30)


def open_with(manager, **functions) -> Visitor:
    return Visitor(manager, route(**functions)).open()


async def test_call_later_of_tornados_current_loop_reaches_the_server(manager) -> None:
    def on_message(handler, message):
        IOLoop.current().call_later(0.01, handler.write_message, f"later: {message}")

    visitor = open_with(manager, on_message=on_message)
    visitor.send("x", "y")
    await visitor.received("later: x", "later: y")
    await visitor.leave()


async def test_a_periodic_callback_of_a_def_ticks_until_its_connection_ends(manager) -> None:
    ticks: list[int] = []

    def open(handler):
        def tick():
            ticks.append(threading.get_ident())
            handler.write_message("tick")

        handler.timer = PeriodicCallback(tick, 5)
        handler.timer.start()

    visitor = open_with(manager, open=open)
    await until(lambda: len(visitor.messages) >= 3)
    assert set(visitor.messages) == {"tick"}
    assert set(ticks) == {threading.get_ident()}, "on the server's loop"
    await visitor.leave()
    count = len(ticks)
    await asyncio.sleep(0.05)
    assert len(ticks) == count


async def test_a_periodic_callback_is_stopped_from_a_thread(manager) -> None:
    def on_message(handler, message):
        if message == "start":
            handler.timer = PeriodicCallback(lambda: handler.write_message("tick"), 5)
            handler.timer.start()
            return None
        handler.timer.stop()
        return "stopped"

    visitor = open_with(manager, on_message=on_message)
    visitor.send("start")
    await until(lambda: "tick" in visitor.messages)
    visitor.send("stop")
    await until(lambda: visitor.messages and visitor.messages[-1] == "stopped")
    count = len(visitor.messages)
    await asyncio.sleep(0.05)
    assert len(visitor.messages) == count
    await visitor.leave()


async def test_asyncios_loop_of_a_thread_takes_timers_tasks_and_futures(manager) -> None:
    async def answer(handler, word):
        await asyncio.sleep(0)
        handler.write_message(word)
        return word

    def on_message(handler, message):
        loop = asyncio.get_event_loop()
        loop.call_soon(handler.write_message, "soon")
        handler.ensured = asyncio.ensure_future(answer(handler, "ensured"))
        assert loop.create_task(answer(handler, "task")).result(5) == "task"
        assert loop.run_until_complete(answer(handler, "complete")) == "complete"
        assert loop.run_in_executor(None, lambda: 5).result(5) == 5
        waiting = loop.create_future()
        waiting.add_done_callback(lambda future: handler.write_message(future.result()))
        waiting.set_result("future")

    visitor = open_with(manager, on_message=on_message)
    visitor.send("x")
    await until(lambda: len(visitor.messages) == 5)
    assert sorted(visitor.messages) == ["complete", "ensured", "future", "soon", "task"]
    await visitor.leave()


async def test_asyncio_run_in_a_def_still_works_and_leaves_the_threads_loop_behind(manager) -> None:
    async def inner():
        await asyncio.sleep(0)
        return "inner"

    def on_message(handler, message):
        return asyncio.run(inner())

    def timer(handler, message):
        asyncio.get_event_loop().call_later(0.001, handler.write_message, "still")

    visitor = open_with(
        manager, on_message=lambda h, m: (on_message if m == "run" else timer)(h, m)
    )
    for _ in range(3):
        visitor.send("run")
        await until(lambda: visitor.messages[-1:] == ["inner"])
        visitor.send("timer")
        await until(lambda: visitor.messages[-1:] == ["still"])
    await visitor.leave()


async def test_what_a_thread_has_set_is_cancelled_with_its_connection_and_no_other(manager) -> None:
    ran: list[str] = []

    async def wait(name):
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            ran.append(f"{name} cancelled")
            raise

    def on_message(handler, message):
        loop = asyncio.get_event_loop()
        loop.call_later(0.05, ran.append, message)
        handler.task = loop.create_task(wait(message))

    one, two = (open_with(manager, on_message=on_message) for _ in range(2))
    one.send("one")
    two.send("two")
    await turns(50)
    await one.leave()
    await until(lambda: "two" in ran)
    assert ran == ["one cancelled", "two"]
    await two.leave()
    await until(lambda: "two cancelled" in ran)


async def test_a_timer_that_on_close_sets_runs_although_the_connection_has_ended(manager) -> None:
    ran: list[str] = []

    def on_close(handler):
        IOLoop.current().call_later(0.01, ran.append, "cleaned up")

    visitor = open_with(manager, on_close=on_close)
    await visitor.leave()
    await until(lambda: ran == ["cleaned up"])


@pytest.mark.parametrize("error", [ValueError("wrong"), SystemExit(3)])
async def test_a_timer_that_fails_is_logged_with_its_route_and_costs_nobody_else(
    manager, caplog, error
) -> None:
    def fails():
        raise error

    def on_message(handler, message):
        loop = asyncio.get_event_loop()
        loop.call_later(0.001, fails)
        loop.call_later(0.02, handler.write_message, "fine")

    visitor = open_with(manager, on_message=on_message)
    visitor.send("x")
    await visitor.received("fine")
    assert any(
        "in timer " in record.message and "route bot" in record.message for record in caplog.records
    )
    await visitor.leave()


@pytest.mark.parametrize("name", ["run_forever", "add_reader", "create_server", "stop"])
async def test_what_only_the_loop_can_do_is_refused_with_what_to_write(
    manager, name, caplog
) -> None:
    said: list[str] = []

    def on_message(handler, message):
        try:
            getattr(asyncio.get_event_loop(), name)()
        except RuntimeError as error:
            said.append(str(error))
        return "done"

    visitor = open_with(manager, on_message=on_message)
    visitor.send("x")
    await visitor.received("done")
    assert said == [
        f"{name}() belongs to the event loop, and this callback runs in a thread; make the "
        "callback `async def`"
    ]
    await visitor.leave()


async def test_waiting_on_the_loop_itself_for_what_the_loop_has_to_do_is_refused(manager) -> None:
    said: list[str] = []

    async def nothing():
        pass

    def on_message(handler, message):
        loop = asyncio.get_event_loop()

        def wait():
            coroutine = nothing()
            try:
                loop.run_until_complete(coroutine)
            except RuntimeError as error:
                coroutine.close()
                said.append(str(error))
            handler.write_message("told")

        loop.call_soon(wait)

    visitor = open_with(manager, on_message=on_message)
    visitor.send("x")
    await visitor.received("told")
    assert "would wait for itself" in said[0]
    await visitor.leave()


def test_a_bot_without_tornado_does_not_load_it() -> None:
    program = bot_text("without_tornado")
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, timeout=60
    )
    assert (ran.stdout, ran.stderr) == ("False\n", "")
