"""Threads are woken together, and the connections of a quick route share one of them."""

from __future__ import annotations

import asyncio
import sqlite3
import threading

import pytest
from support.memory import Gate, Visitor, route, until

from jupyter_wshandler.callbacks.fairness import Owner
from jupyter_wshandler.callbacks.pool import ThreadPool
from jupyter_wshandler.testing import User

pytestmark = pytest.mark.timeout(30)


async def visitors(manager, bot, count, users=1) -> list[Visitor]:
    there = [
        Visitor(manager, bot, current_user=User(username=f"u{n % users}")).open()
        for n in range(count)
    ]
    await until(lambda: all(v.connection.has_opened and not v.connection.work for v in there))
    return there


async def ask(there: list[Visitor], message: str = "x") -> list[str]:
    """Send a message each, all in one turn of the loop, and return the answers."""
    before = [len(visitor.messages) for visitor in there]
    for visitor in there:
        visitor.send(message)
    await until(
        lambda: all(len(v.messages) > n for v, n in zip(there, before, strict=True)), "answers"
    )
    return [visitor.messages[-1] for visitor in there]


async def leave(there: list[Visitor]) -> None:
    await asyncio.gather(*(visitor.leave() for visitor in there))


def ident(handler, message):
    return str(threading.get_ident())


@pytest.mark.parametrize("users", [1, 32])
async def test_connections_that_begin_with_a_message_share_a_thread(
    manager, users, monkeypatch
) -> None:
    for name in (
        "workers.HELD",
        "workers.HELD_IF_LATE",
        "workers.FRESH",
        "waits.YOUNG",
    ):  # of a busy machine, too
        monkeypatch.setattr(f"jupyter_wshandler.callbacks.{name}", 20.0)
    there = await visitors(manager, route(on_message=ident), 32, users)
    threads = {*await ask(there), *await ask(there)}
    assert len(threads) == 1
    await leave(there)


async def test_each_route_has_a_thread_of_its_own_for_that(manager) -> None:
    one = await visitors(manager, route("one", on_message=ident), 4)
    other = await visitors(manager, route("other", on_message=ident), 4)
    assert len({*await ask(one)}) == len({*await ask(other)}) == 1
    assert one[0].messages != other[0].messages
    await leave(one + other)


async def test_those_whose_open_runs_in_a_thread_are_spread(manager) -> None:
    bot = route(open=lambda handler: None, on_message=ident)
    there = await visitors(manager, bot, 16)
    assert len({*await ask(there)}) > 4
    await leave(there)


async def test_who_came_to_such_a_thread_by_its_open_waits_there_while_the_call_is_young(
    manager, gate, monkeypatch
) -> None:
    monkeypatch.setattr("jupyter_wshandler.callbacks.waits.YOUNG", 20.0)  # 0.1 s, as docs say

    def sometimes_long(handler, message):
        if message == "block":
            gate.wait()
        return ident(handler, message)

    one = await visitors(manager, route("one", on_message=sometimes_long), 3)
    (home,) = {*await ask(one)}
    bot = route("two", open=lambda handler: None, on_message=ident)
    two = await visitors(manager, bot, 48, 48)
    mine = [v for v, at in zip(two, await ask(two), strict=True) if at == home]
    assert mine
    one[0].send("block")
    await until(lambda: gate.entered)
    # Who is gathered there goes on elsewhere, as the thread is seen to be held; the other stays.
    assert home not in await ask(one[1:])
    answers = asyncio.create_task(ask(mine))
    await ask(one[1:])
    gate.open()
    assert {*await answers} == {home}
    await leave(one + two)


async def test_what_one_turn_reads_costs_one_wake_up_of_the_loop(manager, monkeypatch) -> None:
    monkeypatch.setattr("jupyter_wshandler.callbacks.rousing.STALL", 20.0)
    loop = asyncio.get_running_loop()
    there = await visitors(manager, route(on_message=lambda handler, message: message), 32)
    await ask(there)
    await until(lambda: not any(visitor.connection.work for visitor in there))
    woken = []
    real = loop._write_to_self
    monkeypatch.setattr(loop, "_write_to_self", lambda: woken.append(1) or real())
    assert await ask(there, "y") == ["y"] * 32
    assert 1 <= len(woken) <= 2  # a thread that is not yet asleep may be given some more
    await leave(there)


async def test_what_is_sent_before_a_long_wait_goes_at_once(manager, gate) -> None:
    def on_message(handler, message):
        if message == "wait":
            handler.write_message("begun")
            gate.wait()
        return message

    there = await visitors(manager, route(on_message=on_message), 2)
    await ask(there, "hello")
    there[0].send("wait")
    await there[0].received("hello", "begun")
    gate.open()
    await there[0].received("hello", "begun", "wait")
    await leave(there)


async def test_where_a_call_takes_long_the_others_go_on_elsewhere_and_new_ones_are_spread(
    manager, gate
) -> None:
    def on_message(handler, message):
        if message == "block":
            gate.wait()
        return str(threading.get_ident())

    bot = route(on_message=on_message)
    there = await visitors(manager, bot, 16)
    (home,) = {*await ask(there)}
    there[0].send("block")
    await until(lambda: gate.entered)
    moved = await ask(there[1:])
    assert home not in moved
    new = await visitors(manager, bot, 8)
    assert len({*await ask(new)}) > 2
    gate.open()
    await there[0].received(home, home)
    assert await ask(there[1:]) == moved
    await leave(there + new)


async def test_one_that_keeps_what_its_thread_alone_can_use_waits_for_it(manager, gate) -> None:
    def on_message(handler, message):
        if message == "block":
            gate.wait()
        if "db" not in handler.state:
            handler.state["db"] = sqlite3.connect(":memory:")
        assert handler.state["db"].execute("select 1").fetchone() == (1,)
        return str(threading.get_ident())

    def on_close(handler):
        handler.state["db"].close()

    there = await visitors(manager, route(on_message=on_message, on_close=on_close), 3)
    (home,) = {*await ask(there)}
    there[0].send("block")
    await until(lambda: gate.entered)
    there[1].send("x")
    await asyncio.sleep(0.15)  # longer than any other waits
    assert len(there[1].messages) == 1
    gate.open()
    await there[1].received(home, home)
    await leave(there)


async def test_on_a_loop_that_is_debugged_threads_hold_nothing_back(manager, monkeypatch) -> None:
    monkeypatch.setattr("jupyter_wshandler.callbacks.rousing.STALL", 20.0)
    asyncio.get_running_loop().set_debug(True)
    there = await visitors(manager, route(on_message=lambda handler, message: message), 8)
    assert await ask(there, "a") == ["a"] * 8
    assert await ask(there, "b") == ["b"] * 8
    await leave(there)


# ---- shares, as the pool keeps them -------------------------------------------------------------


class Keeper:
    def __init__(self) -> None:
        self.thread_home, self.is_gathered = None, False

    def keep_to_thread(self, worker, gathered=False) -> None:
        self.thread_home, self.is_gathered = worker, gathered


class Call:
    """A turn of one call."""

    label = "call"

    def __init__(self, keeper, function) -> None:
        self.keeper, self.function, self.clock = keeper, function, self
        self.since, self.ran, self.over = 0.0, threading.Event(), False

    def run(self, enter) -> None:
        self.function()

    def post(self, error) -> None:
        self.ran.set()

    def done(self) -> bool:
        return self.over

    cancelled = done


async def test_a_turn_that_came_along_waits_where_its_owner_holds_too_many_by_then(
    monkeypatch,
) -> None:
    monkeypatch.setattr("jupyter_wshandler.callbacks.workers.FRESH", 20.0)
    monkeypatch.setattr("jupyter_wshandler.callbacks.workers.HELD", 20.0)
    monkeypatch.setattr("jupyter_wshandler.callbacks.workers.HELD_IF_LATE", 20.0)
    pool = ThreadPool(2, name="shares", shared=True)
    ada, bob = Owner("bot", "ada"), Owner("other", "bob")
    keepers = [Keeper() for _ in range(4)]
    for keeper in keepers:
        await pool.submit(lambda: None, label="x", keeper=keeper)
    home = keepers[0].thread_home
    mine = [keeper for keeper in keepers if keeper.thread_home is home]
    (elsewhere, _) = (keeper for keeper in keepers if keeper.thread_home is not home)
    first, second = Gate(), Gate()
    bobs, adas = Call(mine[0], first.wait), Call(mine[1], int)
    pool.run(bobs, bob)
    pool.run(adas, ada)
    assert [*home.turns] == [adas]
    held = pool.submit(second.wait, label="held", keeper=elsewhere, owner=ada)
    await until(lambda: second.entered)
    first.open()
    await until(bobs.ran.is_set)
    await until(lambda: [*pool._workers.waiting()])
    assert not adas.ran.is_set()
    second.open()
    await held
    await until(adas.ran.is_set)
    assert await pool.stop(5) == []
    assert not pool._workers.shares._owners
