"""The threads that run callbacks: on demand, bounded, and never in the way of the exit."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable
from random import Random

import pytest
from support.bots import bot_text
from support.memory import until

from jupyter_wshandler.callbacks.fairness import Owner, Shares
from jupyter_wshandler.callbacks.pool import ThreadPool
from jupyter_wshandler.errors import PoolBusy


class Gate:
    """A gate at which functions in threads wait until the test opens it."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._entered = threading.Semaphore(0)

    def wait(self, value: object = None) -> object:
        self._entered.release()
        assert self._event.wait(20), "the test did not open the gate"
        return value

    def open(self) -> None:
        self._event.set()

    async def entered(self, times: int = 1) -> None:
        for _ in range(times):
            await until(lambda: self._entered.acquire(blocking=False), "a thread at the gate")


@pytest.fixture
async def pools() -> AsyncIterator[Callable[..., ThreadPool]]:
    made: list[ThreadPool] = []

    def make(size: int = 2, **options: object) -> ThreadPool:
        made.append(ThreadPool(size, name=f"pool{len(made)}", **options))
        return made[-1]

    yield make
    for pool in made:
        await pool.stop(5)


@pytest.fixture
def gate() -> Gate:
    return Gate()


def names(prefix: str) -> list[str]:
    return sorted(t.name for t in threading.enumerate() if t.name.startswith(prefix))


async def test_a_function_runs_in_a_named_daemon_thread_and_its_result_comes_back(pools) -> None:
    pool = pools()
    thread = await pool.submit(threading.current_thread, label="x")
    assert (thread.name, thread.daemon) == ("pool0-1", True)
    assert await pool.submit(pow, 2, 5, label="x") == 32


async def test_an_exception_comes_back(pools) -> None:
    with pytest.raises(ZeroDivisionError):
        await pools().submit(lambda: 1 / 0, label="x")


@pytest.mark.parametrize(
    "error",
    [
        SystemExit(3),
        KeyboardInterrupt(),
        GeneratorExit(),
        asyncio.CancelledError(),
        StopIteration(),
    ],
)
async def test_what_is_no_ordinary_exception_comes_back_wrapped_and_the_thread_lives_on(
    pools, error: BaseException
) -> None:
    pool = pools(1)

    def fail() -> None:
        raise error

    with pytest.raises(RuntimeError, match=f"bot.run raised {type(error).__name__}") as caught:
        await pool.submit(fail, label="bot.run")
    assert caught.value.__cause__ is error
    assert (await pool.submit(threading.current_thread, label="x")).name == "pool0-1"


async def test_threads_start_on_demand_and_the_last_idle_one_is_used_first(pools, gate) -> None:
    pool = pools(4)
    for _ in range(20):
        assert (await pool.submit(threading.current_thread, label="x")).name == "pool0-1"
    held = pool.submit(gate.wait, label="held")
    await gate.entered()
    for _ in range(20):
        assert (await pool.submit(threading.current_thread, label="x")).name == "pool0-2"
    assert names("pool0-") == ["pool0-1", "pool0-2"]
    gate.open()
    await held
    assert (await pool.submit(threading.current_thread, label="x")).name == "pool0-1"


@pytest.mark.parametrize("size", [1, 3])
async def test_never_more_than_size_run_and_the_others_wait_in_order(pools, gate, size) -> None:
    pool = pools(size)
    order: list[int] = []
    held = [pool.submit(gate.wait, label="held") for _ in range(size)]
    waiting = [pool.submit(order.append, n, label="waiting") for n in range(20)]
    await gate.entered(size)
    assert [label for label, _ in pool.busy()] == ["held"] * size
    assert order == []
    gate.open()
    await asyncio.gather(*held, *waiting)
    assert len(names("pool0-")) == size
    assert sorted(order) == [*range(20)]
    assert size > 1 or order == [*range(20)]


async def test_who_holds_the_threads_is_known_with_the_time_the_longest_first(pools, gate) -> None:
    pool = pools(2)
    first = pool.submit(gate.wait, label="bot.first")
    await gate.entered()
    await asyncio.sleep(0.05)
    second = pool.submit(gate.wait, label="bot.second")
    await gate.entered()
    (name1, seconds1), (name2, seconds2) = pool.busy()
    assert (name1, name2) == ("bot.first", "bot.second")
    assert seconds1 >= 0.04
    assert seconds1 > seconds2 >= 0
    gate.open()
    await asyncio.gather(first, second)
    assert pool.busy() == []


async def test_a_call_that_no_thread_takes_in_time_fails_as_busy(pools, gate) -> None:
    pool = pools(1, patience=0.1)
    held = pool.submit(gate.wait, "done", label="held")
    ran: list[int] = []
    began = time.monotonic()
    first = pool.submit(ran.append, 1, label="bot.first")
    await asyncio.sleep(0.06)
    second = pool.submit(ran.append, 2, label="bot.second")
    with pytest.raises(PoolBusy, match=r"bot.first waited 0.1 s for one of 1 threads"):
        await first
    assert 0.09 <= time.monotonic() - began < 5
    assert not second.done()
    with pytest.raises(PoolBusy, match=r"bot\.second"):
        await second
    assert time.monotonic() - began >= 0.15
    gate.open()
    assert await held == "done"
    assert await pool.submit(ran.append, 3, label="x") is None
    assert ran == [3]


async def test_a_thread_that_becomes_free_within_the_patience_takes_the_call(pools, gate) -> None:
    pool = pools(1, patience=20)
    held = pool.submit(gate.wait, label="held")
    waiting = pool.submit(pow, 2, 3, label="waiting")
    gate.open()
    assert await waiting == 8
    await held


async def test_a_call_cancelled_before_a_thread_takes_it_never_runs(pools, gate) -> None:
    pool = pools(1)
    ran: list[int] = []
    held = pool.submit(gate.wait, label="held")
    waiting = pool.submit(ran.append, 1, label="waiting")
    waiting.cancel()
    gate.open()
    await held
    await pool.submit(ran.append, 2, label="x")
    assert ran == [2]


async def test_a_call_cancelled_while_it_runs_ends_and_its_result_is_dropped(pools, gate) -> None:
    pool = pools(1)
    future = pool.submit(gate.wait, label="held")
    await gate.entered()
    future.cancel()
    gate.open()
    assert (await pool.submit(threading.current_thread, label="x")).name == "pool0-1"
    assert future.cancelled()


async def test_an_abandoned_thread_is_replaced_and_ends_when_its_function_returns(
    pools, gate
) -> None:
    pool = pools(1)
    stuck = pool.submit(gate.wait, label="stuck")
    await gate.entered()
    waiting = pool.submit(threading.current_thread, label="waiting")
    assert pool.abandon(stuck) is True
    assert (await waiting).name == "pool0-2"
    assert stuck.cancelled()
    assert pool.busy() == []
    assert names("pool0-") == ["pool0-1", "pool0-2"]
    gate.open()
    await until(lambda: names("pool0-") == ["pool0-2"], "the end of the abandoned thread")


async def test_abandoning_a_call_that_waits_or_is_done_writes_no_thread_off(pools, gate) -> None:
    pool = pools(1)
    held = pool.submit(gate.wait, label="held")
    ran: list[int] = []
    waiting = pool.submit(ran.append, 1, label="waiting")
    assert pool.abandon(waiting) is False
    gate.open()
    await held
    assert pool.abandon(held) is False
    assert (await pool.submit(threading.current_thread, label="x")).name == "pool0-1"
    assert ran == []


async def test_no_more_than_size_threads_are_ever_abandoned(pools, gate) -> None:
    pool = pools(2, patience=0.05)
    for _ in range(4):
        future = pool.submit(gate.wait, label="stuck")
        await gate.entered()
        assert pool.abandon(future) is True
    # Two are written off, the next two hold the places of the pool.
    assert [label for label, _ in pool.busy()] == ["stuck", "stuck"]
    assert len(names("pool0-")) == 4
    with pytest.raises(PoolBusy):
        await pool.submit(gate.wait, label="late")
    gate.open()
    await until(lambda: len(names("pool0-")) == 2, "the end of the written-off threads")
    assert await pool.submit(pow, 2, 2, label="x") == 4


async def test_a_burst_of_results_costs_few_wake_ups_of_the_loop(pools, monkeypatch) -> None:
    pool = pools(4)
    loop = asyncio.get_running_loop()
    calls: list[object] = []
    real = loop.call_soon_threadsafe

    def counted(function, *args, **options):
        calls.append(function)
        return real(function, *args, **options)

    monkeypatch.setattr(loop, "call_soon_threadsafe", counted)
    futures = [pool.submit(pow, n, 2, label="x") for n in range(400)]
    time.sleep(0.2)  # the loop is busy with something else, as in a burst
    assert await asyncio.gather(*futures) == [n * n for n in range(400)]
    assert len(calls) < 10


async def test_the_context_of_the_caller_is_seen_and_what_the_call_sets_is_not(pools) -> None:
    pool = pools(1)
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="none")
    variable.set("caller")
    assert await pool.submit(variable.get, label="x") == "caller"
    await pool.submit(variable.set, "changed", label="x")
    assert await pool.submit(variable.get, label="x") == "caller"
    given = contextvars.Context()
    assert await pool.submit(variable.get, label="x", context=given) == "none"
    await pool.submit(variable.set, "kept", label="x", context=given)
    assert given[variable] == "kept"


async def test_an_idle_thread_keeps_nothing_of_its_last_call_alive(pools) -> None:
    class Thing:
        pass

    pool = pools(1)
    thing = Thing()
    alive = weakref.ref(thing)
    assert await pool.submit(lambda x: x, thing, label="x") is thing
    del thing
    gc.collect()
    await until(lambda: alive() is None, "the end of the argument")


async def test_stop_lets_running_calls_finish_in_time_and_leaves_no_thread(pools, gate) -> None:
    pool = pools(3)
    await pool.submit(pow, 1, 1, label="idle")
    running = pool.submit(gate.wait, "done", label="running")
    await gate.entered()
    asyncio.get_running_loop().call_later(0.05, gate.open)
    assert await pool.stop(10) == []
    assert await running == "done"
    assert names("pool0-") == []


async def test_stop_names_and_leaves_what_does_not_end(pools, gate) -> None:
    pool = pools(2)
    stuck = [pool.submit(gate.wait, label=f"bot.stuck{n}") for n in (2, 1)]
    waiting = pool.submit(gate.wait, label="bot.waiting")
    await gate.entered(2)
    began = time.monotonic()
    assert await pool.stop(0.05) == ["bot.stuck1", "bot.stuck2"]
    assert time.monotonic() - began < 2
    with pytest.raises(PoolBusy, match=r"bot\.waiting did not run"):
        await waiting
    gate.open()
    await asyncio.gather(*stuck)
    await until(lambda: names("pool0-") == [], "the end of the threads")


async def test_a_retired_pool_ends_its_calls_and_keeps_no_thread(pools, gate) -> None:
    pool = pools(2)
    held = [pool.submit(gate.wait, n, label="held") for n in range(2)]
    waiting = pool.submit(pow, 2, 3, label="waiting")
    await gate.entered(2)
    pool.retire()
    gate.open()
    assert await asyncio.gather(*held, waiting) == [0, 1, 8]
    await until(lambda: names("pool0-") == [], "the end of the threads")
    assert await pool.submit(pow, 2, 4, label="late") == 16
    await until(lambda: names("pool0-") == [], "the end of the thread")
    assert await pool.stop(1) == []


async def test_a_pool_that_retires_dismisses_its_idle_threads(pools) -> None:
    pool = pools(2)
    await pool.submit(pow, 2, 3, label="x")
    assert names("pool0-") == ["pool0-1"]
    pool.retire()
    await until(lambda: names("pool0-") == [], "the end of the thread")


async def test_after_stop_a_call_fails_as_busy(pools) -> None:
    pool = pools()
    assert await pool.stop(1) == []
    with pytest.raises(PoolBusy, match="have ended"):
        await pool.submit(pow, 1, 1, label="x")
    assert await pool.stop(1) == []


async def test_when_no_thread_can_be_started_the_call_fails_as_busy(pools, monkeypatch) -> None:
    def fail(self) -> None:
        raise RuntimeError("can't start new thread")

    pool = pools(2)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", fail)
        with pytest.raises(PoolBusy, match="can't start new thread"):
            await pool.submit(pow, 1, 1, label="x")
    assert await pool.submit(pow, 2, 2, label="x") == 4


async def test_when_no_further_thread_can_be_started_the_call_waits(
    pools, gate, monkeypatch
) -> None:
    def fail(self) -> None:
        raise RuntimeError("can't start new thread")

    pool = pools(2)
    held = pool.submit(gate.wait, label="held")
    await gate.entered()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", fail)
        waiting = pool.submit(pow, 2, 2, label="x")
    gate.open()
    assert await waiting == 4
    await held


def test_a_loop_that_closes_while_a_thread_runs_is_no_error_and_the_next_can_use_the_pool() -> None:
    pool = ThreadPool(1, name="orphan", patience=5)
    gate = Gate()

    async def begin() -> None:
        pool.submit(gate.wait, label="held")
        pool.submit(gate.wait, label="waiting")
        await gate.entered()

    asyncio.run(begin())
    gate.open()

    async def go_on() -> None:
        assert await pool.submit(pow, 2, 3, label="x") == 8
        assert await pool.stop(5) == []

    asyncio.run(go_on())
    assert names("orphan-") == []


def test_a_pool_without_threads_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 thread, found 0"):
        ThreadPool(0)


def test_a_callback_that_never_returns_does_not_keep_the_process_from_ending() -> None:
    code = bot_text("stuck_pool")
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert done.stdout == "['stuck']\n"
    assert done.stderr == ""


async def test_many_calls_cancels_and_abandons_at_once_leave_the_pool_whole(pools) -> None:
    pool = pools(4, patience=20)
    results = []

    async def one(n: int) -> None:
        future = pool.submit(time.sleep, 0.0005 * (n % 3), label="x")
        if n % 5 == 0:
            await asyncio.sleep(0.0003)
            pool.abandon(future)
        elif n % 7 == 0:
            future.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            results.append(await future)

    async with asyncio.timeout(30):
        await asyncio.gather(*[one(n) for n in range(500)])
    assert pool.busy() == [] or len(pool.busy()) <= 4
    assert await asyncio.gather(*[pool.submit(pow, n, 1, label="x") for n in range(50)]) == [
        *range(50)
    ]
    assert await pool.stop(5) == []
    await until(lambda: names("pool0-") == [], "the end of all threads")


# ---- shares -----------------------------------------------------------------------------------


def held(shares: Shares, *owners: Owner) -> int:
    """Take threads for these owners, in turn, as long as any of them may; return how many."""
    count = 0
    while more := sum(shares.take(owner) for owner in owners):
        count += more
    return count


SIZES = [(1, 1, 1), (2, 1, 1), (3, 2, 1), (4, 3, 2), (8, 6, 4), (16, 12, 9)]


@pytest.mark.parametrize(("size", "route", "user"), SIZES)
def test_a_route_holds_three_quarters_and_one_user_of_it_three_quarters_of_those(size, route, user):
    assert held(Shares(size, shared=True), Owner("a", "ada")) == user
    assert held(Shares(size, shared=True), *[Owner("a", f"u{n}") for n in range(20)]) == route
    assert held(Shares(size, shared=True), *[Owner(f"r{n}", "ada") for n in range(20)]) == route


@pytest.mark.parametrize("size", [3, 4, 8, 16])
def test_where_there_are_three_threads_a_slow_user_leaves_one_to_the_own_other_route(size):
    shares = Shares(size, shared=True)
    held(shares, Owner("slow", "ada"))
    assert shares.take(Owner("quick", "ada"))
    assert shares.take(Owner("slow", "bob"))


def test_four_slow_routes_leave_threads_to_the_fifth_and_slow_users_to_another_user():
    shares = Shares(16, shared=True)
    held(shares, *[Owner("r0", f"u{n}") for n in range(20)])
    for n in range(1, 4):  # each comes when those before it hold what they may
        assert held(shares, *[Owner(f"r{n}", f"u{m}") for m in range(20)]) == 1
    assert shares.take(Owner("quick", "u0"))
    shares = Shares(16, shared=True)
    assert [held(shares, Owner("bot", user)) for user in ("ada", "bob", "eve")] == [9, 1, 1]
    assert shares.take(Owner("bot", "kim"))


@pytest.mark.parametrize("size", [*range(1, 33)])
def test_what_the_line_may_take_is_what_is_counted_and_never_more_than_there_is(size):
    shares, random = Shares(size, shared=True), Random(size)
    taken = []
    for _ in range(2000):
        if taken and random.random() < 0.45:
            shares.give_back(taken.pop(random.randrange(len(taken))))
        owner = Owner(f"r{random.randrange(4)}", f"u{random.randrange(4)}")
        may = shares.allow(owner)
        assert not may or shares.allow_route(owner.route)
        assert may or len(taken) > 0, "one thread can always be held"
        if len(taken) < size:
            assert shares.take(owner) == may
            taken += [owner] * may
    for owner in taken:
        shares.give_back(owner)
    assert shares._held == 0


async def test_forty_slow_calls_of_four_routes_leave_a_thread_to_the_fifth(pools, gate) -> None:
    pool = pools(16, shared=True)
    slow = [
        pool.submit(gate.wait, label="slow", owner=Owner(f"r{n % 4}", f"u{n}")) for n in range(40)
    ]
    await gate.entered(12)
    quick = pool.submit(pow, 2, 5, label="quick", owner=Owner("quick", "u0"))
    assert await asyncio.wait_for(quick, 10) == 32
    gate.open()
    await asyncio.gather(*slow)


def test_what_was_given_back_is_forgotten():
    shares = Shares(4, shared=True)
    owner = Owner("a", "ada")
    count = held(shares, owner)
    for _ in range(count):
        shares.give_back(owner)
    assert not shares._routes
    assert not shares._users
    assert not shares._owners


def test_the_threads_of_one_route_are_all_its_own():
    shares = Shares(2, shared=False)  # how many there are is for the pool to count
    assert all(shares.take(Owner("a", "ada")) for _ in range(2))


@pytest.mark.parametrize("size", [1, 2])
async def test_a_tiny_pool_serves_one_route_after_the_other(size):
    pool = ThreadPool(size, shared=True)
    calls = [
        pool.submit(str, n, label="x", owner=Owner(f"r{n % 3}", f"u{n % 2}")) for n in range(30)
    ]
    assert await asyncio.wait_for(asyncio.gather(*calls), 10) == [str(n) for n in range(30)]
    assert await pool.stop(1.0) == []
