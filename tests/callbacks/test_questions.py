"""Functions of handshakes that run in threads: they take turns with those who are in already."""

from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace

import pytest
from support.memory import (
    Gate,
    Visitor,
    look_late,
    own_tasks,
    route,
    running_manager,
    until,
    warnings_in,
)

from jupyter_wshandler.callbacks import deadlines
from jupyter_wshandler.callbacks.fairness import Line, Owner, Shares
from jupyter_wshandler.callbacks.job import WAITING
from jupyter_wshandler.errors import ConnectionClosed, NoAnswer, PoolBusy

pytestmark = pytest.mark.timeout(30)

CROWD = 100


def user(name: str) -> SimpleNamespace:
    return SimpleNamespace(username=name)


# ---- shares ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "half"), [(1, 1), (2, 1), (3, 1), (4, 2), (16, 8)])
@pytest.mark.parametrize("shared", [True, False])
def test_handshakes_of_all_routes_and_users_hold_half_of_any_threads(size, half, shared):
    shares = Shares(size, shared=shared)
    owners = [Owner(f"r{n % 7}", f"u{n}", asking=True) for n in range(CROWD)]
    assert sum(shares.take(owner) for owner in owners) == half
    assert not shares.allow_asking("another")
    if size > 1:
        assert shares.take(Owner("another", "user"))
    shares.give_back(owners[0])
    assert shares.take(Owner("new", "guest", asking=True))


@pytest.mark.parametrize("one", ["route", "user"])
def test_of_what_handshakes_may_hold_one_route_or_user_leaves_something_to_others(one):
    shares = Shares(16, shared=True)

    def asks(n: int) -> Owner:
        route, user = ("slow", f"u{n}") if one == "route" else (f"r{n}", "ada")
        return Owner(route, user, asking=True)

    assert sum(shares.take(asks(n)) for n in range(CROWD)) == 6
    other = Owner("quick", "bob", asking=True)
    assert shares.take(other)
    shares.give_back(other)
    for n in range(6):
        shares.give_back(asks(n))
    assert (shares._asking, shares._askers) == (0, {})


def test_the_handshakes_of_a_user_count_for_the_user_and_the_route_as_well():
    shares = Shares(16, shared=True)
    asking = Owner("chat", "ada", asking=True)
    assert sum(shares.take(asking) for _ in range(CROWD)) == 6
    assert sum(shares.take(Owner("chat", "ada")) for _ in range(CROWD)) == 3  # nine are a user's
    # Twelve are a route's, and the last three are for users who hold none.
    others = [Owner("chat", name) for name in ("bob", "carol", "dan", "erin")]
    assert [sum(shares.take(one) for _ in range(CROWD)) for one in others] == [1, 1, 1, 0]
    for _ in range(6):
        shares.give_back(asking)
    for _ in range(3):
        shares.give_back(Owner("chat", "ada"))
    for one in others[:3]:
        shares.give_back(one)
    assert shares._held == 0
    assert (shares._asking, shares._routes, shares._users, shares._owners) == (0, {}, {}, {})


def test_a_message_waits_for_one_handshake_at_most_and_not_for_all_that_came_before():
    line: Line = Line()
    for n in range(CROWD):
        line.add(SimpleNamespace(owner=Owner("chat", f"guest-{n}", asking=True)))
    line.add(SimpleNamespace(owner=Owner("chat", "ada")))
    shares = Shares(16, shared=True)
    taken = []
    for _ in range(2):
        job = line.next(shares)
        line.remove(job)
        assert shares.take(job.owner)
        taken.append(job.owner.asking)
    assert taken == [True, False]
    assert len(line) == CROWD - 1


# ---- through a manager ---------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [None, 2], ids=["shared threads", "the route's own"])
async def test_while_many_knock_a_message_of_the_same_route_is_answered(gate, threads):
    """However long the rules of others take."""

    def condition(handler):
        gate.wait()
        return True

    def on_message(handler, message):
        handler.write_message(message)

    options = {} if threads is None else {"threads": threads}
    bot = route(condition=condition, on_message=on_message, options=options)
    async with running_manager(threads=4) as manager:
        visitor = Visitor(manager, bot, current_user=user("ada")).open()
        knocking = [
            asyncio.ensure_future(
                manager.ask(
                    Visitor(manager, bot, current_user=user(f"guest-{n}")).connection, "condition"
                )
            )
            for n in range(CROWD)
        ]
        await until(lambda: gate.entered)
        visitor.send("one")
        await visitor.received("one")
        visitor.send("two")
        await visitor.received("one", "two")
        gate.open()
        assert all(await asyncio.gather(*knocking))
        await visitor.leave()


async def test_a_rule_whose_client_has_gone_does_not_begin(gate):
    begun = []

    def condition(handler):
        begun.append(handler.current_user.username)
        gate.wait()
        return True

    bot = route(condition=condition)
    async with running_manager(threads=2) as manager:
        gone = [asyncio.get_running_loop().create_future() for _ in range(CROWD)]
        asked = [
            asyncio.ensure_future(
                manager.ask(
                    Visitor(manager, bot, current_user=user(f"guest-{n}")).connection,
                    "condition",
                    gone=gone[n],
                )
            )
            for n in range(CROWD)
        ]
        await until(lambda: begun)
        for each in gone:
            each.set_result(None)
        assert {type(e) for e in await asyncio.gather(*asked, return_exceptions=True)} == {
            ConnectionClosed
        }
        gate.open()
        last = Visitor(manager, bot, current_user=user("last")).connection
        assert await manager.ask(last, "condition")
        assert begun == ["guest-0", "last"]
        with pytest.raises(ConnectionClosed):
            await manager.ask(last, "condition", gone=gone[0])
        assert begun == ["guest-0", "last"]
        assert manager.runner._questions._asking == set()


async def test_a_rule_that_runs_as_its_client_goes_keeps_its_thread_until_it_ends_or_is_given_up(
    gate, caplog
):
    threads: list[threading.Thread] = []

    def condition(handler):
        threads.append(threading.current_thread())
        gate.wait()

    async with running_manager(threads=2, answer_timeout=0.3) as manager:
        bot = route(condition=condition)
        gone = asyncio.get_running_loop().create_future()
        asked = asyncio.ensure_future(
            manager.ask(Visitor(manager, bot).connection, "condition", gone=gone)
        )
        await until(lambda: threads)
        pool = manager.runner._threads._shared
        gone.set_result(None)
        with pytest.raises(ConnectionClosed):
            await asked
        assert len(pool.busy()) == 1
        await until(lambda: not pool.busy())
        assert threads[0].is_alive()
        gate.open()
    assert warnings_in(caplog) == []


async def test_an_async_rule_is_cancelled_as_its_client_goes(manager):
    cancelled = asyncio.Event()

    async def condition(handler):
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    gone = asyncio.get_running_loop().create_future()
    connection = Visitor(manager, route(condition=condition)).connection
    asked = asyncio.ensure_future(manager.ask(connection, "condition", gone=gone))
    await until(lambda: manager.runner._questions._asking)
    gone.set_result(None)
    with pytest.raises(ConnectionClosed):
        await asked
    await asyncio.wait_for(cancelled.wait(), 5)
    await until(lambda: not [name for name in own_tasks() if "condition" in name])


async def test_a_rule_that_found_no_thread_is_said_to_have_waited_and_not_to_be_slow(gate):
    def condition(handler):
        gate.wait()

    async with running_manager(threads=2, answer_timeout=0.2) as manager:
        bot = route(condition=condition)
        asked = [
            asyncio.ensure_future(manager.ask(Visitor(manager, bot).connection, "condition"))
            for _ in range(2)
        ]
        first, second = await asyncio.gather(*asked, return_exceptions=True)
        assert isinstance(first, NoAnswer)
        assert isinstance(second, PoolBusy)
        assert "waited 0.2 s for a thread" in str(second)
        gate.open()


# ---- what only waits -----------------------------------------------------------------------------


async def test_what_only_waits_for_a_thread_is_not_said_to_run_for_over_10_s(gate, caplog):
    def hold(handler, message):
        gate.wait()

    def quick(handler, message):
        second.wait()

    second = Gate()
    async with running_manager(threads=1) as manager:
        holder = Visitor(manager, route("holder", on_message=hold)).open()
        holder.send("x")
        await until(lambda: gate.entered)
        waiter = Visitor(
            manager, route("waiter", on_message=quick, options={"timeout": 1.0})
        ).open()
        waiter.send("x")
        await until(lambda: waiter.connection.work.since == WAITING)
        look_late(manager, waiter, deadlines.SLOW + 5)
        assert warnings_in(caplog) == []
        assert waiter.connection.work.why is None
        gate.open()
        # From when it has its thread, its time counts.
        await until(lambda: second.entered)
        begun = waiter.connection.work.since
        assert begun != WAITING
        assert 0 <= asyncio.get_running_loop().time() - begun < 10
        look_late(manager, waiter, deadlines.SLOW + 5)
        assert warnings_in(caplog) == ["Route waiter: bot.quick runs for over 10 s"]
        assert waiter.connection.work.why == "timeout"
        second.open()
        await holder.leave()
