"""A connection's `def` callbacks keep to one thread, as `sqlite3` and `threading.local` need it."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import gc
import io
import itertools
import sqlite3
import threading
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from types import SimpleNamespace
from typing import NamedTuple

import pytest
from support.memory import Gate, Visitor, bound, route, running_manager, until, warnings_in

from jupyter_wshandler.callbacks.advice import ADVICE, advise
from jupyter_wshandler.callbacks.bound import is_bound
from jupyter_wshandler.callbacks.fairness import NOBODY, Owner
from jupyter_wshandler.callbacks.pool import ThreadPool
from jupyter_wshandler.testing import User

pytestmark = pytest.mark.timeout(60)

VISITORS = 32
ROUNDS = 6


class Bot:
    """Keep a connection of `sqlite3` where `keep` says, open it in `open`, close it at the end."""

    def __init__(self, seconds: float, keep=None) -> None:
        self.seconds = seconds
        self.threads: dict[str, set[int]] = {}
        self._keep = keep or (lambda handler: handler.state)
        self.ended = 0

    def note(self, handler) -> None:
        self.threads.setdefault(handler.id, set()).add(threading.get_ident())

    def open(self, handler):
        self.note(handler)
        db = sqlite3.connect(":memory:")
        db.execute("create table said (what)")
        self._keep(handler)["db"] = db

    def on_message(self, handler, message):
        self.note(handler)
        time.sleep(self.seconds)
        db = self._keep(handler)["db"]
        db.execute("insert into said values (?)", [message])
        return str(db.execute("select count(*) from said").fetchone()[0])

    def on_close(self, handler):
        self.note(handler)
        self._keep(handler).pop("db").close()
        self.ended += 1


def visitors(manager, bot, count=VISITORS, users=1, **functions) -> list[Visitor]:
    named = {name: getattr(bot, name) for name in ("open", "on_message", "on_close")}
    one = route(**{**named, **functions})
    return [
        Visitor(manager, one, current_user=User(username=f"u{n % users}")).open()
        for n in range(count)
    ]


async def talk(all_of_them: list[Visitor], rounds: int = ROUNDS) -> None:
    for n in range(1, rounds + 1):
        for visitor in all_of_them:
            visitor.send("x")
        await until(
            lambda n=n: all(len(v.messages) >= n or v.goodbye for v in all_of_them), "answers"
        )


@pytest.mark.parametrize("seconds", [0.0, 0.01, 0.12], ids=["at-once", "young", "old"])
@pytest.mark.parametrize("users", [1, VISITORS])
async def test_32_visitors_with_a_sqlite3_connection_in_their_state_and_nobody_closes(
    caplog, seconds, users
) -> None:
    bot = Bot(seconds)
    async with running_manager(patience=30.0) as manager:
        there = visitors(manager, bot, users=users)
        await talk(there, 2 if seconds > 0.1 else ROUNDS)
        assert [visitor.goodbye for visitor in there] == [None] * VISITORS
        for visitor in there:
            assert visitor.messages == [str(n) for n in range(1, len(visitor.messages) + 1)]
        await asyncio.gather(*(visitor.leave() for visitor in there))
    assert bot.ended == VISITORS
    assert {len(threads) for threads in bot.threads.values()} == {1}
    assert len(set.union(*bot.threads.values())) > 4, "the connections are spread over the threads"
    assert warnings_in(caplog) == []


async def test_where_it_is_kept_in_a_dict_of_the_module_under_the_id_nobody_closes() -> None:
    names: dict[str, object] = {"sqlite3": sqlite3, "time": time}
    source = """
kept = {}
def open(handler):
    kept[handler.id] = [sqlite3.connect(":memory:")]
def on_message(handler, message):
    time.sleep(0.12)
    return str(kept[handler.id][0].execute("select 1 + 1").fetchone()[0])
"""
    exec(source, names)
    async with running_manager(patience=30.0) as manager:
        there = visitors(
            manager,
            Bot(0),
            open=names["open"],
            on_message=names["on_message"],
            on_close=lambda handler: None,
        )
        await talk(there, 2)
        assert [visitor.messages for visitor in there] == [["2", "2"]] * VISITORS
        await asyncio.gather(*(visitor.leave() for visitor in there))


async def test_a_generator_with_a_cursor_among_its_variables_goes_on_in_its_thread() -> None:
    def on_message(handler, message):
        with contextlib.closing(sqlite3.connect(":memory:")) as db:
            cursor = db.execute("select 1 union select 2 union select 3")
            for row in cursor:
                yield row[0]
                time.sleep(0.12)

    async with running_manager(patience=30.0) as manager:
        there = visitors(
            manager,
            Bot(0),
            count=24,
            open=lambda handler: None,
            on_message=on_message,
            on_close=lambda handler: None,
        )
        for visitor in there:
            visitor.send("x")
        for visitor in there:
            await visitor.received("1", "2", "3")
            await visitor.leave()


async def test_what_belongs_to_a_thread_alone_stays_while_the_calls_are_short() -> None:
    mine = threading.local()

    def open(handler):
        mine.__dict__.setdefault("names", []).append(handler.id)

    def on_message(handler, message):
        return str(handler.id in mine.__dict__.get("names", []))

    async with running_manager() as manager:
        there = visitors(
            manager, Bot(0), open=open, on_message=on_message, on_close=lambda handler: None
        )
        await talk(there)
        assert {message for visitor in there for message in visitor.messages} == {"True"}
        await asyncio.gather(*(visitor.leave() for visitor in there))


# ---- the rule, as the pool keeps it ------------------------------------------------------------


class Keeper:
    """A connection, as far as the pool looks at one."""

    def __init__(self, is_bound: bool = False) -> None:
        self.thread_home, self.is_gathered = None, False
        self.is_bound = is_bound

    def keep_to_thread(self, worker, gathered=False) -> None:
        self.thread_home, self.is_gathered = worker, gathered


@pytest.fixture
async def pools():
    made: list[ThreadPool] = []

    def make(size: int = 2, **options: object) -> ThreadPool:
        options.setdefault("bound", lambda keeper, args: keeper.is_bound)
        made.append(ThreadPool(size, name=f"home{len(made)}", **options))
        return made[-1]

    yield make
    for pool in made:
        await pool.stop(5)


def call(pool, keeper, function=threading.get_ident, *args, owner=NOBODY):
    return pool.submit(function, *args, label="x", keeper=keeper, owner=owner)


async def test_each_connection_has_its_home_and_homes_are_spread_over_the_threads(pools) -> None:
    pool = pools(4)
    keepers = [Keeper() for _ in range(8)]
    homes = [await call(pool, keeper) for keeper in keepers]
    assert len(set(homes)) == 4
    assert homes[:4] == homes[4:]
    for _ in range(5):
        again = await asyncio.gather(*(call(pool, keeper) for keeper in keepers))
        assert again == homes


async def test_many_that_come_at_once_are_spread_over_the_threads_as_well(pools) -> None:
    pool, owner = pools(16, shared=True), Owner("chat", "ada")
    gates = [Gate() for _ in range(9)]  # as many threads as a user may hold
    held = [call(pool, Keeper(), gate.wait, owner=owner) for gate in gates]
    new = [call(pool, Keeper(), owner=owner) for _ in range(15)]
    gates[0].open()
    homes = await asyncio.wait_for(asyncio.gather(*new), 10)
    assert max(Counter(homes).values()) <= 3
    for gate in gates:
        gate.open()
    await asyncio.gather(*held)


async def test_behind_a_young_call_it_waits_and_behind_an_old_one_it_moves_and_stays(pools) -> None:
    pool, gate = pools(2), Gate()
    first, other, second = Keeper(), Keeper(), Keeper()
    home = await call(pool, first)
    await call(pool, other)
    assert await call(pool, second) == home
    held = call(pool, first, gate.wait)
    moved = await asyncio.wait_for(call(pool, second), 10)
    assert moved != home
    assert await call(pool, second) == moved
    gate.open()
    await held
    assert await call(pool, second) == moved
    assert await call(pool, first) == home


async def test_behind_a_call_that_stays_young_it_waits(pools, monkeypatch) -> None:
    monkeypatch.setattr("jupyter_wshandler.callbacks.waits.YOUNG", 60.0)
    monkeypatch.setattr("jupyter_wshandler.callbacks.waits.LONGEST", 60.0)
    pool, gate = pools(2), Gate()
    first, other, second = Keeper(), Keeper(), Keeper()
    home = await call(pool, first)
    await call(pool, other)
    assert await call(pool, second) == home
    held = call(pool, first, gate.wait)
    waiting = call(pool, second)
    await until(lambda: gate.entered)
    await asyncio.sleep(0.05)
    assert not waiting.done()
    gate.open()
    assert await waiting == home
    await held


async def test_one_that_is_bound_waits_for_its_thread_though_others_are_free(pools) -> None:
    pool, gate = pools(2), Gate()
    first, other, second = Keeper(), Keeper(), Keeper(is_bound=True)
    home = await call(pool, first)
    await call(pool, other)
    assert await call(pool, second) == home
    held = call(pool, first, gate.wait)
    waiting = call(pool, second)
    await asyncio.sleep(0.3)
    late = call(pool, second)
    await asyncio.sleep(0.1)
    assert not waiting.done()
    assert not late.done()
    assert await call(pool, other) != home, "the thread beside it serves the others"
    gate.open()
    assert await waiting == await late == home
    await held


async def test_a_bound_call_whose_thread_does_not_come_back_is_busy_in_the_end(pools) -> None:
    pool, gate = pools(2, patience=0.3), Gate()
    first, other, second = Keeper(), Keeper(), Keeper(is_bound=True)
    for keeper in (first, other, second):
        await call(pool, keeper)
    held = call(pool, first, gate.wait)
    with pytest.raises(Exception, match=r"waited 0.3 s for its own thread"):
        await call(pool, second)
    gate.open()
    await held


async def test_a_home_that_was_written_off_is_left_even_by_what_is_bound(pools) -> None:
    pool, gate = pools(2), Gate()
    first, other, second = Keeper(), Keeper(), Keeper(is_bound=True)
    home = await call(pool, first)
    await call(pool, other)
    assert await call(pool, second) == home
    held = call(pool, first, gate.wait)
    await until(lambda: gate.entered)
    waiting = call(pool, second)
    assert pool.abandon(held)
    assert await asyncio.wait_for(waiting, 10) != home
    gate.open()


async def test_a_call_behind_many_young_ones_of_its_thread_moves_where_another_is_free(
    pools,
) -> None:
    pool = pools(2)
    crowd = [Keeper() for _ in range(80)]
    homes = [await call(pool, keeper) for keeper in crowd]
    of_one = [keeper for keeper, home in zip(crowd, homes, strict=True) if home == homes[0]]
    calls = [call(pool, keeper, time.sleep, 0.05) for keeper in of_one]  # 2 s, one by one
    await asyncio.gather(*calls)
    assert len({await call(pool, keeper) for keeper in of_one}) == 2


async def test_of_one_users_connections_none_starves_though_its_thread_is_idle(pools) -> None:
    """Ada may hold 2 of 4 threads; who waits for the share comes in turn, wherever its home is."""
    pool = pools(4, shared=True)
    ada = Owner("bot", "ada")
    keepers = [Keeper() for _ in range(4)]
    homes = [await call(pool, keeper, owner=ada) for keeper in keepers]
    assert len(set(homes)) == 4
    counts = [0] * 4
    ending = time.monotonic() + 1.0

    async def flood(n: int) -> None:
        while time.monotonic() < ending:
            await call(pool, keepers[n], time.sleep, 0.005, owner=ada)
            assert await call(pool, keepers[n], owner=ada) == homes[n]
            counts[n] += 1

    await asyncio.gather(*(flood(n) for n in range(4)))
    assert min(counts) * 4 > max(counts), counts


async def test_a_long_line_of_others_does_not_starve_one_that_is_bound(pools) -> None:
    pool = pools(2)
    bound_one, other = Keeper(is_bound=True), Keeper()
    await call(pool, bound_one)
    await call(pool, other)
    flood = [
        call(pool, Keeper(), time.sleep, 0.05, owner=Owner("flood", f"u{n}")) for n in range(40)
    ]
    await call(pool, bound_one, owner=Owner("quiet", "u"))
    assert sum(future.done() for future in flood) < 12
    for future in flood:
        pool.abandon(future)


async def test_calls_never_wait_while_a_thread_and_a_share_are_free(pools) -> None:
    pool = pools(8)
    keepers = [Keeper() for _ in range(40)]
    for keeper in keepers:
        await call(pool, keeper)
    begun = time.monotonic()
    # Eight of those with a home in common, whose calls are slow: they part.
    await asyncio.gather(*(call(pool, keeper, time.sleep, 1.0) for keeper in keepers[::8][:5]))
    assert time.monotonic() - begun < 4, "five calls of a second on one thread would be 5 s"


async def test_cancels_and_abandons_among_homes_leave_the_pool_whole(pools) -> None:
    pool = pools(4, patience=20, shared=True)
    keepers = [Keeper(is_bound=n % 3 == 0) for n in range(30)]

    async def one(n: int) -> None:
        for turn in range(20):
            owner = Owner(f"r{n % 3}", f"u{n % 5}")
            future = call(pool, keepers[n], time.sleep, 0.0005 * (turn % 3), owner=owner)
            if (n + turn) % 11 == 0:
                await asyncio.sleep(0.0003)
                pool.abandon(future)
            with contextlib.suppress(asyncio.CancelledError):
                await future

    async with asyncio.timeout(30):
        await asyncio.gather(*(one(n) for n in range(30)))
    assert await asyncio.gather(*(call(pool, k, pow, 2, 3) for k in keepers)) == [8] * 30
    assert not pool._workers.shares._owners
    assert await pool.stop(5) == []


async def test_a_pool_that_retires_ends_though_calls_wait_for_their_threads(pools) -> None:
    pool, gate = pools(2), Gate()
    first, other, second = Keeper(), Keeper(), Keeper(is_bound=True)
    home = await call(pool, first)
    await call(pool, other)
    await call(pool, second)
    held = call(pool, first, gate.wait)
    await asyncio.sleep(0.15)
    waiting = call(pool, second)
    pool.retire()
    gate.open()
    assert await waiting == home
    await held
    await until(lambda: not pool._workers.threads, "the end of the threads")
    assert await asyncio.wait_for(call(pool, second), 10), "on_close still has its turn"


async def test_who_is_bound_and_waits_too_long_is_told_why(caplog) -> None:
    bot, gate = Bot(0), Gate()

    def on_message(handler, message):
        if message == "hold":
            gate.wait()
        return message

    async with running_manager(patience=0.4) as manager:
        there = visitors(manager, bot, 3, on_message=on_message, options={"threads": 2})
        for visitor in there:
            visitor.send("x")
            await visitor.received("x")
        shared = [
            (one, other)
            for one, other in itertools.combinations(there, 2)
            if one.connection.thread_home is other.connection.thread_home
        ]
        first, second = shared[0]  # of three in two threads two have one in common
        first.send("hold")
        await until(lambda: gate.entered)
        second.send("y")
        assert (await until(lambda: second.goodbye, "the end")).code == 1013
        assert any("check_same_thread=False" in line for line in warnings_in(caplog))
        gate.open()
        await first.received("x", "hold")
        await asyncio.gather(*(visitor.leave() for visitor in there))


# ---- what is bound -----------------------------------------------------------------------------


class Store:
    """Hold a connection as people do: as an attribute of something."""

    def __init__(self, db) -> None:
        self.inner = SimpleNamespace(db=db)


@dataclasses.dataclass(slots=True)
class Slotted:
    db: object
    unset: object = dataclasses.field(init=False)


class Pair(NamedTuple):
    number: int
    db: object


def rows(db):
    yield 1
    yield db


def started(generator):
    next(generator)
    return generator


def with_callback(stack, function):
    stack.callback(function)
    return stack


KEPT = {
    "connection": lambda db: db,
    "cursor": lambda db: db.cursor(),
    "in a list": lambda db: [1, [db]],
    "in a dict": lambda db: {"a": {"b": db}},
    "in an object": Store,
    "in an object with slots": Slotted,
    "in a named tuple": lambda db: Pair(1, db),
    "in a partial": lambda db: functools.partial(print, db),
    "in a closure": lambda db: lambda question: db.execute(question),
    "as a method of its own": lambda db: db.execute,
    "in a suspended generator": lambda db: started(rows(db)),
    "in an exit stack": lambda db: contextlib.ExitStack().enter_context(contextlib.closing(db)),
    "in an exit stack's callbacks": lambda db: with_callback(contextlib.ExitStack(), db.close),
}


def in_thread(function):
    found = []
    thread = threading.Thread(target=lambda: found.append(function()))
    thread.start()
    thread.join()
    return found[0]


def connection_with(manager, thing) -> Visitor:
    visitor = Visitor(manager, route(on_message=lambda handler, message: None)).open()
    if thing is not None:
        visitor.connection.state.thing = thing
    return visitor


@pytest.fixture
def unclosed() -> Iterator[None]:
    """Let connections of `sqlite3` go without a word; from Python 3.13 on they complain of it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "unclosed database", ResourceWarning)
        yield
        gc.collect()


@pytest.mark.usefixtures("unclosed")
@pytest.mark.parametrize("way", KEPT)
async def test_what_keeps_a_sqlite3_connection_of_another_thread_is_bound(manager, way) -> None:
    thing = in_thread(lambda: KEPT[way](sqlite3.connect(":memory:")))
    visitor = connection_with(manager, thing)
    assert is_bound(visitor.connection)
    await visitor.leave()


@pytest.mark.usefixtures("unclosed")
@pytest.mark.parametrize("way", KEPT)
async def test_with_check_same_thread_false_it_is_not_bound(manager, way) -> None:
    thing = in_thread(lambda: KEPT[way](sqlite3.connect(":memory:", check_same_thread=False)))
    visitor = connection_with(manager, thing)
    assert not is_bound(visitor.connection)
    await visitor.leave()


@pytest.mark.usefixtures("unclosed")
async def test_an_attribute_of_the_handler_binds_too_and_a_plain_state_does_not(manager) -> None:
    visitor = connection_with(manager, None)
    assert not is_bound(visitor.connection)
    visitor.connection.history = ["x" * 100] * 10_000
    visitor.connection.itself = visitor.connection
    assert not is_bound(visitor.connection)
    visitor.connection.db = in_thread(lambda: sqlite3.connect(":memory:"))
    assert is_bound(visitor.connection)
    await visitor.leave()


async def test_looking_for_it_runs_no_code_of_the_users(manager) -> None:
    class Hostile(dict):
        def __getattribute__(self, name):
            raise AssertionError(f"looked at {name}")

        __iter__ = values = items = __len__ = __eq__ = __getattribute__
        __hash__ = None

    visitor = connection_with(manager, [Hostile(a=1)])
    assert not is_bound(visitor.connection)
    await visitor.leave()


# ---- words and globals -------------------------------------------------------------------------


@pytest.mark.usefixtures("unclosed")
@pytest.mark.parametrize("wrapped", [False, True], ids=["bare", "wrapped"])
async def test_the_log_says_what_to_do_below_sqlite3s_own_words(manager, caplog, wrapped) -> None:
    def on_message(handler, message):
        try:
            handler.state.db.execute("select 1")
        except sqlite3.Error as error:
            if wrapped:
                raise RuntimeError("the history cannot be read") from error
            raise

    async def open(handler):
        handler.state.db = sqlite3.connect(":memory:")

    visitor = Visitor(manager, route(open=open, on_message=on_message)).open()
    visitor.send("x")
    assert (await visitor.closed_by_server()).code == 1011
    assert "can only be used in that same thread" in caplog.text
    assert caplog.text.count("check_same_thread=False") == 1
    assert "run: loop" in caplog.text


@pytest.mark.usefixtures("unclosed")
@pytest.mark.parametrize("how", ["task", "timer"], ids=["start_task", "a timer of Tornado's"])
async def test_so_does_that_of_a_task_and_of_a_timer_which_run_on_the_loop(
    manager, caplog, how
) -> None:
    async def task(handler):
        handler.state.db.execute("select 1")

    def open(handler):
        handler.state.db = sqlite3.connect(":memory:")
        if how == "timer":
            asyncio.get_event_loop().call_later(0, handler.state.db.execute, "select 1")

    async def on_message(handler, message):
        if how == "task":
            handler.start_task(task(handler))

    visitor = Visitor(manager, route(open=open, on_message=on_message)).open()
    visitor.send("x")
    await until(lambda: "check_same_thread=False" in caplog.text, "the advice")
    await visitor.leave()


@pytest.mark.parametrize(
    "error",
    [
        ValueError("something else"),
        ExceptionGroup("two", [ValueError("x"), TypeError("y")]),
        KeyError(b"SQLite objects created in a thread can only be used in that same thread"),
    ],
)
def test_another_error_gets_no_advice(error) -> None:
    advise(error)
    assert not hasattr(error, "__notes__")


def test_an_error_that_cannot_be_looked_at_is_no_obstacle_and_one_gets_its_advice_once() -> None:
    class Hostile(Exception):
        @property
        def args(self):
            raise ZeroDivisionError

    advise(Hostile())
    error = sqlite3.ProgrammingError("... can only be used in that same thread. ...")
    group = ExceptionGroup("some", [ValueError("x"), error])
    advise(group)
    advise(group)
    assert len(error.__notes__) == 1
    signals = ValueError("signal only works in main thread of the main interpreter")
    advise(signals)
    assert "where the server is started" in signals.__notes__[0]
    assert not any("docs/" in advice for _, advice in ADVICE)  # who installs has no docs/


async def test_on_the_loop_output_that_is_redirected_is_the_visitors_own(manager) -> None:
    """`sys.stdout` is the process's: `run: loop` calls one at a time, as docs/threads.md says."""

    def on_message(handler, message):
        with contextlib.redirect_stdout(io.StringIO()) as out:
            print(message, end=" ")
            time.sleep(0.001)
            print(message, end="")
        return out.getvalue()

    bots = [route(f"bot{n}", on_message=on_message, loop=("on_message",)) for n in range(2)]
    there = [Visitor(manager, bots[n % 2]).open() for n in range(8)]
    for turn in range(5):
        for n, visitor in enumerate(there):
            visitor.send(f"{n}.{turn}")
    for n, visitor in enumerate(there):
        await visitor.received(*(f"{n}.{turn} {n}.{turn}" for turn in range(5)))
        await visitor.leave()
    assert bound(on_message, run="loop").inline
