"""Messages that a thread handles in a row: nothing of it is to be seen but the speed."""

from __future__ import annotations

import asyncio
import contextvars
import threading

import pytest
from support.memory import Visitor, look_late, route, turns, until, warnings_in

from jupyter_wshandler.callbacks.fairness import NOBODY
from jupyter_wshandler.callbacks.inthread import MANY
from jupyter_wshandler.callbacks.pool import ThreadPool

pytestmark = pytest.mark.timeout(30)

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


async def opened(manager, bot, count=1):
    visitors = [Visitor(manager, bot).open() for _ in range(count)]
    await turns()
    return visitors if count > 1 else visitors[0]


async def test_what_it_writes_and_returns_comes_in_the_order_in_which_it_did(manager) -> None:
    def on_message(handler, message):
        handler.write_message(f"{message} written")
        return f"{message} returned"

    visitor = await opened(manager, route(on_message=on_message))
    names = [str(n) for n in range(3 * MANY)]
    visitor.send(*names)
    await visitor.received(*(f"{n} {what}" for n in names for what in ("written", "returned")))
    await visitor.leave()


async def test_many_messages_of_one_connection_cost_few_jobs_of_the_pool(
    manager, monkeypatch
) -> None:
    handed = []
    real = ThreadPool.run
    monkeypatch.setattr(
        ThreadPool, "run", lambda self, turn, owner: handed.append(1) or real(self, turn, owner)
    )
    monkeypatch.setattr("jupyter_wshandler.callbacks.inthread.STRETCH", 10.0)
    visitor = await opened(manager, route(on_message=lambda handler, message: message))
    visitor.send(*(str(n) for n in range(50)))
    await until(lambda: len(visitor.messages) == 50)
    assert len(handed) <= 3
    await visitor.leave()


async def test_of_large_answers_one_is_gone_before_the_next_is_asked_for(
    manager, monkeypatch
) -> None:
    handed = []
    real = ThreadPool.run
    monkeypatch.setattr(
        ThreadPool, "run", lambda self, turn, owner: handed.append(1) or real(self, turn, owner)
    )
    monkeypatch.setattr("jupyter_wshandler.callbacks.inthread.STRETCH", 10.0)
    visitor = await opened(manager, route(on_message=lambda handler, message: "x" * 20_000))
    visitor.send(*(str(n) for n in range(20)))
    await until(lambda: len(visitor.messages) == 20)
    assert len(handed) == 20
    await visitor.leave()


@pytest.mark.parametrize("result", [{"a": 1}, [1], 7, b"bytes", "", "grüß"])
async def test_what_it_returns_is_sent_as_before(manager, result) -> None:
    visitor = await opened(manager, route(on_message=lambda handler, message: result))
    visitor.send("1", "2")
    text = (
        result
        if isinstance(result, (str, bytes))
        else {"{'a': 1}": '{"a":1}', "[1]": "[1]", "7": "7"}[str(result)]
    )
    await until(lambda: len(visitor.messages) == 2)
    assert [str(m).replace(" ", "") for m in visitor.messages] == [str(text)] * 2
    await visitor.leave()


async def test_where_results_are_not_sent_none_is(manager) -> None:
    def on_message(handler, message):
        if message == "last":
            handler.write_message("done")
        return message

    bot = route(on_message=on_message, options={"returns": "ignore"})
    visitor = await opened(manager, bot)
    visitor.send("a", "b", "last")
    await visitor.received("done")
    await visitor.leave()


async def test_a_generator_among_them_is_streamed_in_its_turn(manager) -> None:
    def parts():
        yield "one"
        yield "two"

    def on_message(handler, message):
        return parts() if message == "stream" else message

    visitor = await opened(manager, route(on_message=on_message))
    visitor.send("a", "stream", "b")
    await visitor.received("a", "one", "two", "b")
    await visitor.leave()


async def test_one_that_raises_is_told_in_its_turn_and_the_rest_is_handled(manager, caplog) -> None:
    def on_message(handler, message):
        if message == "bad":
            raise ValueError("no")
        return message

    bot = route(on_message=on_message, options={"on_error_close": False})
    visitor = await opened(manager, bot)
    visitor.send("a", "bad", "b", "c")
    await until(lambda: len(visitor.messages) == 4)
    assert [m for m in visitor.messages if "internal error" not in m] == ["a", "b", "c"]
    assert "internal error" in visitor.messages[1]
    assert visitor.connection.work is None
    await visitor.leave()


async def test_what_utf8_cannot_write_is_the_fault_of_who_has_returned_it(manager) -> None:
    def on_message(handler, message):
        return "\ud800" if message == "bad" else message

    bot = route(on_message=on_message, options={"on_error_close": False})
    visitor = await opened(manager, bot)
    visitor.send("a", "bad", "b")
    await until(lambda: len(visitor.messages) == 3)
    assert "internal error" in visitor.messages[1]
    assert visitor.messages[::2] == ["a", "b"]
    await visitor.leave()


async def test_each_call_starts_from_the_connections_context_and_leaves_nothing_in_it(
    manager,
) -> None:
    def on_message(handler, message):
        found = variable.get()
        variable.set(message)
        return found

    visitor = await opened(manager, route(on_message=on_message))
    visitor.send("a", "b", "c")
    await visitor.received("unset", "unset", "unset")
    await visitor.leave()


async def test_an_asyncio_run_in_one_leaves_the_next_its_event_loop(manager) -> None:
    def on_message(handler, message):
        kind = type(asyncio.get_event_loop_policy().get_event_loop()).__name__
        asyncio.run(asyncio.sleep(0))
        return kind

    visitor = await opened(manager, route(on_message=on_message))
    visitor.send("a", "b", "c")
    await visitor.received("ThreadLoop", "ThreadLoop", "ThreadLoop")
    await visitor.leave()


async def test_text_and_pongs_and_bytes_keep_their_order(manager) -> None:
    seen = []

    def on_message(handler, message):
        seen.append(message)

    bot = route(on_message=on_message, on_pong=lambda handler, data: seen.append((data,)))
    visitor = await opened(manager, bot)
    visitor.send("1", b"2")
    visitor.pong(b"x")
    visitor.send("3", "4" * 20_000, "5")
    await until(lambda: len(seen) == 6)
    assert [*map(len, seen)] == [1, 1, 1, 1, 20_000, 1]
    assert seen[2] == (b"x",)
    await visitor.leave()


async def test_after_a_close_of_its_own_no_further_message_is_handled(manager) -> None:
    seen = []

    def on_message(handler, message):
        seen.append(message)
        handler.close(4000, "enough")

    for _ in range(20):
        visitor = await opened(manager, route(on_message=on_message))
        visitor.send("1", "2", "3")
        await visitor.closed_by_server()
    assert seen == ["1"] * 20


async def test_the_next_message_finds_the_rooms_that_one_has_joined_and_left(manager) -> None:
    def on_message(handler, message):
        if message == "say":
            handler.broadcast("said")  # to the only room that it is in
        elif message == "leave":
            handler.leave(handler.rooms[0])
        else:
            handler.join(message)

    for _ in range(20):
        visitor = await opened(manager, route(on_message=on_message))
        visitor.send("hall", "say", "leave", "yard", "say")
        await visitor.received("said", "said")
        await visitor.leave()


async def test_of_those_behind_a_callback_none_is_handled_where_the_client_is_lost(
    manager, gate
) -> None:
    seen = []

    def on_message(handler, message):
        seen.append(message)
        gate.wait()

    visitor = await opened(
        manager, route(on_message=on_message, on_close=lambda handler: seen.append("closed"))
    )
    visitor.send("1", "2", "3")
    await until(lambda: gate.entered)
    visitor.vanish()
    await turns()
    gate.open()
    await visitor.gone()
    assert seen == ["1", "closed"]
    assert visitor.connection.unhandled == 2


async def test_a_client_that_stops_one_answer_gets_the_next_one_whole(
    manager, gate, monkeypatch
) -> None:
    monkeypatch.setattr("jupyter_wshandler.callbacks.inthread.STRETCH", 10.0)

    def on_message(handler, message):
        if message == "plain":
            gate.wait()
            return message
        return (str(number) for number in range(4))

    bot = route(on_message=on_message, options={"stop_message": "STOP"})
    visitor = await opened(manager, bot)
    visitor.send("plain", "stream")
    await until(lambda: gate.entered)
    visitor.send("STOP")
    gate.open()
    await visitor.received("plain", "0", "1", "2", "3")
    await visitor.leave()


async def test_a_timeout_leaves_the_thread_to_itself_and_closes(manager, gate, caplog) -> None:
    def on_message(handler, message):
        gate.wait()
        return "too late"

    bot = route(on_message=on_message, options={"timeout": 1.0})
    visitor = await opened(manager, bot)
    visitor.send("x")
    await until(lambda: gate.entered)
    look_late(manager, visitor, 5.0)
    goodbye = await visitor.closed_by_server()
    assert (goodbye.code, goodbye.reason) == (1011, "timeout")
    gate.open()
    await turns()
    assert visitor.messages == []
    assert any("does not come back from its thread" in line for line in warnings_in(caplog))


async def test_when_the_server_stops_what_runs_is_interrupted_and_nothing_hangs(
    manager, gate
) -> None:
    visitor = await opened(manager, route(on_message=lambda handler, message: gate.wait()))
    visitor.send("x", "y")
    await until(lambda: gate.entered)
    await asyncio.wait_for(manager.stop(0.1), 10)
    assert visitor.connection.work is None
    gate.open()


async def test_a_route_that_is_loaded_again_takes_the_next_message(manager, gate) -> None:
    def old(handler, message):
        gate.wait()
        return f"old {message}"

    bot = route(on_message=old)
    visitor = await opened(manager, bot)
    visitor.send("1", "2", "3")
    await until(lambda: gate.entered)
    visitor.connection.adopt(route(on_message=lambda handler, message: f"new {message}"))
    gate.open()
    await visitor.received("old 1", "new 2", "new 3")
    await visitor.leave()


async def test_a_blocked_callback_delays_none_of_those_that_share_its_thread_for_long(
    manager, gate
) -> None:
    """Turns that came along with a call that blocks find another thread."""

    def on_message(handler, message):
        if message == "block":
            gate.wait()
        return f"{message} {threading.get_ident()}"

    visitors = await opened(manager, route(on_message=on_message), 40)
    for visitor in visitors:
        visitor.send("hello")
    await until(lambda: all(visitor.messages for visitor in visitors))
    homes = [visitor.messages[0].split()[1] for visitor in visitors]
    first = visitors[0]
    first.send("block")
    await until(lambda: gate.entered)
    others = [v for v, home in zip(visitors, homes, strict=True) if home == homes[0]][1:]
    assert others
    for visitor in others:
        visitor.send("free")
    await until(lambda: all(len(visitor.messages) == 2 for visitor in others))
    assert len(first.messages) == 1
    gate.open()
    await until(lambda: len(first.messages) == 2)
    await asyncio.gather(*(visitor.leave() for visitor in visitors))


# ---- the rule, as the pool keeps it ------------------------------------------------------------


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
        self.since, self.ran, self.over, self.error = 0.0, threading.Event(), False, None

    def run(self, enter) -> None:
        self.function()

    def post(self, error) -> None:
        self.error = error
        self.ran.set()

    def done(self) -> bool:
        return self.over

    def cancelled(self) -> bool:
        return self.over

    def cancel(self) -> None:
        self.over = True

    def set_exception(self, error) -> None:
        self.error = error
        self.ran.set()


@pytest.fixture
async def pool():
    made = ThreadPool(2, name="along")
    yield made
    await made.stop(5)


async def settled(pool, keeper):
    await pool.submit(lambda: None, label="x", keeper=keeper)


async def test_turns_of_one_owner_are_done_with_the_job_that_its_thread_has(pool, gate) -> None:
    keepers = [Keeper() for _ in range(4)]
    for keeper in keepers:
        await settled(pool, keeper)
    same = [keeper for keeper in keepers if keeper.thread_home is keepers[0].thread_home]
    calls = [Call(keeper, gate.wait if not n else int) for n, keeper in enumerate(same)]
    for call in calls:
        pool.run(call, NOBODY)
    assert [*keepers[0].thread_home.turns] == calls[1:]
    gate.open()
    await until(lambda: all(call.ran.is_set() for call in calls))
    assert [call.error for call in calls] == [None] * len(calls)


async def test_of_turns_that_came_along_one_can_be_given_up_and_never_runs(pool, gate) -> None:
    keepers = [Keeper() for _ in range(4)]
    for keeper in keepers:
        await settled(pool, keeper)
    same = [keeper for keeper in keepers if keeper.thread_home is keepers[0].thread_home]
    ran = []
    held, other = Call(same[0], gate.wait), Call(same[1], lambda: ran.append(1))
    pool.run(held, NOBODY)
    pool.run(other, NOBODY)
    assert not pool.abandon(other)
    gate.open()
    await until(held.ran.is_set)
    await settled(pool, same[1])
    assert not ran


async def test_where_the_job_is_given_up_those_that_came_along_run_elsewhere(pool, gate) -> None:
    keepers = [Keeper() for _ in range(4)]
    for keeper in keepers:
        await settled(pool, keeper)
    same = [keeper for keeper in keepers if keeper.thread_home is keepers[0].thread_home]
    held, other = Call(same[0], gate.wait), Call(same[1], int)
    pool.run(held, NOBODY)
    pool.run(other, NOBODY)
    assert pool.abandon(held)
    await until(other.ran.is_set)
    assert other.error is None
    gate.open()


async def test_when_the_threads_end_turns_that_came_along_are_told(gate) -> None:
    pool = ThreadPool(1, name="ends")
    keepers = [Keeper(), Keeper()]
    for keeper in keepers:
        await settled(pool, keeper)
    held, other = Call(keepers[0], gate.wait), Call(keepers[1], int)
    pool.run(held, NOBODY)
    pool.run(other, NOBODY)
    assert await pool.stop(0.05) == ["call"]
    assert "did not run" in str(other.error)
    gate.open()
