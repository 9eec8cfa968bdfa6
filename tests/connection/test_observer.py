"""Who observes connections: what is told, in which order, to how many, and what one can spoil."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import pytest
from support.memory import Gate, Host, Visitor, route, running, running_manager, until

from jupyter_wshandler.config.model import Rate, Ratelimit
from jupyter_wshandler.connection.observer import EVENTS, Observer, Observers

pytestmark = pytest.mark.timeout(60)


class Diary(Observer):
    """Write down everything that is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def opened(self, connection: Any) -> None:
        self.lines.append(f"opened, {connection.phase.words}")

    def ready(self, connection: Any) -> None:
        self.lines.append("ready")

    def message_in(self, connection: Any, message: Any) -> None:
        self.lines.append(f"in {message}")

    def message_done(self, connection: Any, later: int | None = None) -> None:
        self.lines.append("done" if later is None else f"done, {later} later")

    def message_out(self, connection: Any, message: Any) -> None:
        self.lines.append(f"out {message}")

    def failed(self, connection: Any, failure: Any) -> None:
        self.lines.append(f"failed {failure.callback}: {failure.exception}")

    def lost(self, connection: Any) -> None:
        self.lines.append(f"lost {connection.close_code}")

    def ended(self, connection: Any) -> None:
        self.lines.append(f"ended {connection.close_code}")


async def echo(handler, message):
    return message


def done_in(diary: Diary) -> list[str]:
    """Return what it says of messages that are done."""
    return [line for line in diary.lines if line.startswith("done")]


def says(diary: Diary, text: str):
    """Return a callback that leaves a line in a diary."""

    async def callback(handler, *args):
        diary.lines.append(text)

    return callback


async def test_a_life_is_told_from_the_handshake_to_the_last_callback() -> None:
    async with running_manager() as manager:
        diary = Diary()
        manager.observers.add(diary)
        bot = route(open=says(diary, "open"), on_message=echo, on_close=says(diary, "on_close"))
        visitor = Visitor(manager, bot).open()
        await until(lambda: "ready" in diary.lines)
        visitor.send("1", "2")
        await visitor.received("1", "2")
        await visitor.leave()
    assert diary.lines == [
        "opened, opening",
        "open",
        "ready",
        "in 1",
        "in 2",
        "out 1",
        "done",
        "out 2",
        "done",
        "lost 1000",
        "on_close",
        "ended 1000",
    ]


async def test_a_client_that_vanishes_is_lost_before_its_callbacks_have_ended() -> None:
    gate = asyncio.Event()

    async def on_message(handler, message):
        await gate.wait()

    async with running_manager() as manager:
        diary = Diary()
        manager.observers.add(diary)
        visitor = Visitor(manager, route(on_message=on_message)).open()
        await until(lambda: "ready" in diary.lines)
        visitor.send("x")
        await until(lambda: running(visitor.connection))
        visitor.vanish()
        await until(lambda: len(diary.lines) == 4)
        assert diary.lines == ["opened, opening", "ready", "in x", "lost 1006"]
        gate.set()
        await visitor.gone()
    assert diary.lines[4:] == ["done", "ended 1006"]


async def test_a_callback_that_fails_and_a_task_beside_it_are_told() -> None:
    async def on_message(handler, message):
        async def beside():
            raise LookupError("nothing there")

        handler.start_task(beside(), name="beside")
        await asyncio.sleep(0)  # it has begun then; the end of the connection cancels what has not
        raise ValueError("no")

    async with running_manager() as manager:
        diary = Diary()
        manager.observers.add(diary)
        visitor = Visitor(manager, route(on_message=on_message)).open()
        visitor.send("x")
        await visitor.closed_by_server()
        assert sorted(line for line in diary.lines if line.startswith("failed")) == [
            "failed beside: nothing there",
            "failed bot.on_message: no",
        ]
        assert manager.metrics.errors["bot"] == 2


async def test_a_stop_of_the_server_ends_every_connection_for_those_who_observe() -> None:
    diary = Diary()
    async with running_manager() as manager:
        manager.observers.add(diary)
        for _ in range(3):
            Visitor(manager, route(on_message=echo)).open()
    assert diary.lines.count("lost 1001") == diary.lines.count("ended 1001") == 3


async def test_a_message_over_the_rate_limit_is_done_without_a_callback() -> None:
    limit = Ratelimit(messages=Rate(0.5), then="error")  # one at once
    async with running_manager() as manager:
        diary = Diary()
        manager.observers.add(diary)
        visitor = Visitor(manager, route(on_message=echo, options={"ratelimit": limit}))
        manager.admit(visitor.connection, "user:ada")
        visitor.open()
        await until(lambda: "ready" in diary.lines)
        visitor.send("1", "2")
        await until(lambda: len(done_in(diary)) == 2)
        assert done_in(diary)[-2:] in (["done, 0 later", "done"], ["done", "done, 0 later"])
        assert [line for line in diary.lines if line.startswith(("in", "out 1"))] == [
            "in 1",
            "in 2",
            "out 1",
        ]
        assert visitor.connection.rate_limited == 1
        await visitor.leave()


async def test_a_message_that_its_client_takes_back_is_told_with_how_many_came_later() -> None:
    host, diary = Host(), Diary()
    host.observers.add(diary)
    visitor = Visitor(host, route(on_message=echo))
    visitor.protocol = visitor.connection.envelop(visitor.protocol, confirms=False)
    visitor.open()
    for number in (1, 2, 3):
        visitor.send(json.dumps({"message": "hi", "ask": number}))
    for number in (2, 3, 1):
        visitor.send(json.dumps({"stop": number}))
    assert done_in(diary) == ["done, 1 later", "done, 0 later", "done, 0 later"]


async def test_a_stop_message_is_done_and_so_is_the_message_that_it_takes_back() -> None:
    host, diary = Host(), Diary()
    host.observers.add(diary)
    visitor = Visitor(host, route(on_message=echo, options={"stop_message": "stop"})).open()
    visitor.send("a")
    visitor.send("b")
    visitor.send("stop")  # takes back the first, as its turn would be next
    assert done_in(diary) == ["done, 0 later", "done"]
    assert visitor.connection.queue_counts().undone == 1
    visitor.send("c", "stop", "stop")  # in one piece: the second takes back what came with it
    assert done_in(diary)[2:] == ["done, 0 later", "done", *["done, 0 later"] * 2]
    assert visitor.connection.queue_counts().undone == 0


async def test_pings_pongs_and_timers_are_no_messages() -> None:
    async with running_manager() as manager:
        diary = Diary()
        manager.observers.add(diary)
        turns: list[int] = []

        async def open(handler):
            handler.every(0.01, lambda handler: turns.append(1))

        visitor = Visitor(manager, route(open=open, on_message=echo, on_pong=echo)).open()
        visitor.ping(b"1")
        visitor.pong(b"2")
        await until(lambda: len(turns) > 2)
        assert [line for line in diary.lines if line.startswith(("in", "done"))] == []
        await visitor.leave()


async def test_any_number_observes_in_the_order_in_which_they_came_and_may_leave() -> None:
    heard: list[str] = []

    class Named(Observer):
        def __init__(self, name: str) -> None:
            self.name = name

        def ready(self, connection: Any) -> None:
            heard.append(self.name)

    async with running_manager() as manager:
        first, second, third = Named("first"), Named("second"), Named("third")
        for one in (first, second, third):
            manager.observers.add(one)
        one = Visitor(manager, route(on_message=echo)).open()
        await until(lambda: len(heard) == 3)
        manager.observers.remove(second)
        manager.observers.remove(second)
        two = Visitor(manager, route(on_message=echo)).open()
        await until(lambda: len(heard) == 5)
        assert heard == ["first", "second", "third", "first", "third"]
        await one.leave()
        await two.leave()


@pytest.mark.parametrize("event", EVENTS)
async def test_an_observer_that_raises_is_logged_and_disturbs_nobody(event: str, caplog) -> None:
    def broken(self: Any, *what: Any) -> None:
        raise RuntimeError(f"broken {event}")

    async def on_message(handler, message):
        if message == "fail":
            raise ValueError("no")
        return message

    async with running_manager() as manager:
        diary = Diary()
        manager.observers.add(type("Broken", (Observer,), {event: broken})())
        manager.observers.add(diary)
        session = await manager.sessions.attach("s1", "user:ada", new=True)
        visitor = Visitor(manager, route(on_message=on_message))
        visitor.connection.take_session(session)
        manager.admit(visitor.connection, "user:ada")
        visitor.open()
        visitor.send("1")
        await visitor.received("1")
        visitor.send("fail")
        assert (await visitor.closed_by_server()).code == 1011
        assert diary.lines[-1] == "ended 1011"
        assert manager.connections == {}
        assert visitor.connection.attached_session is None
        assert manager.metrics.closed["bot", "1011"] == 1
        # The place is free again, too.
        assert manager.limits._counters["bot"].total == 0
    told = [record for record in caplog.records if "hears what becomes" in record.getMessage()]
    assert told
    assert all(f"broken {event}" in str(record.exc_info) for record in told)


def test_an_observer_is_told_only_what_it_wants_to_hear() -> None:
    class Losses(Observer):
        def lost(self, connection: Any) -> None:
            pass

    observers = Observers(logging.getLogger("test"))
    assert all(getattr(observers, event) == () for event in EVENTS)
    losses = Losses()
    observers.add(losses)
    assert [event for event in EVENTS if getattr(observers, event)] == ["lost"]
    assert observers.lost == (losses.lost,)


async def test_a_manager_that_nobody_watches_tells_of_no_message() -> None:
    async with running_manager() as manager:
        observers = manager.observers
        assert (observers.message_in, observers.message_done, observers.message_out) == ((), (), ())


async def test_the_place_of_a_lost_client_is_free_while_its_callbacks_still_run() -> None:
    gate = Gate()

    def on_message(handler, message):
        gate.wait()

    async with running_manager() as manager:
        visitor = Visitor(manager, route(on_message=on_message))
        manager.admit(visitor.connection, "user:ada")
        visitor.open()
        visitor.send("x")
        await until(lambda: gate.entered)
        visitor.vanish()
        await until(lambda: manager.limits._counters["bot"].total == 0)
        assert manager.connections
        gate.open()
        await visitor.gone()
