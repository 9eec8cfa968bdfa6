"""Messages are counted while somebody asks, and at no other time."""

from __future__ import annotations

import logging
import threading
from types import SimpleNamespace
from typing import Any

import pytest
from support.memory import SECONDS, Visitor, route, running_manager, until

from jupyter_wshandler.connection.observer import Observer, Observers
from jupyter_wshandler.server.records.traffic import Traffic
from jupyter_wshandler.server.traffic import Traffic as ForMetrics


def connection(name="c1", route="bot", undone=0):
    counts = SimpleNamespace(undone=undone)
    return SimpleNamespace(id=name, route=route, queue_counts=lambda: counts)


class Clock:
    """The time as a test says."""

    def __init__(self, monkeypatch) -> None:
        self.now = 10.0
        where = "jupyter_wshandler.server.records.arrivals.perf_counter"
        monkeypatch.setattr(where, lambda: self.now)


class Dones(Observer):
    """Count the messages that are done."""

    def __init__(self) -> None:
        self.count = 0

    def message_done(self, connection: Any, later: int | None = None) -> None:
        self.count += 1


def begun() -> tuple[Traffic, Observers]:
    observers = Observers(logging.getLogger("test"))
    return Traffic(observers), observers


def test_nothing_is_heard_before_somebody_asks():
    traffic, observers = begun()
    assert not observers.message_in
    assert not observers.message_done
    assert traffic.of_connection("c1") is None
    assert traffic.of_routes(["bot"]) == {}


async def test_messages_are_counted_by_route_and_connection_from_then_on():
    traffic, observers = begun()
    traffic.listen()
    one, other = connection(), connection("c2", "other")
    observers.tell(observers.message_done, one)  # it came before
    for _ in range(3):
        observers.tell(observers.message_in, one, "hello")
    observers.tell(observers.message_in, other, b"hello")
    observers.tell(observers.message_done, one)
    found = traffic.of_routes(["bot", "other", "nobody"])
    assert {name: counts.messages for name, counts in found.items()} == {"bot": 3, "other": 1}
    assert (sum(found["bot"].took.counts), sum(found["other"].took.counts)) == (1, 0)
    assert [traffic.of_connection(name) for name in ("c1", "c2", "c3")] == [3, 1, 0]
    observers.tell(observers.ended, one)
    assert traffic.of_connection("c1") == 0
    observers.tell(observers.message_done, one)  # of one that is forgotten
    assert sum(found["bot"].took.counts) == 1
    traffic.stop()


async def test_a_message_took_as_long_as_it_waited_and_ran(monkeypatch):
    times = iter([10.0, 10.5, 11.0, 13.0])
    monkeypatch.setattr(
        "jupyter_wshandler.server.records.arrivals.perf_counter", lambda: next(times)
    )
    traffic, observers = begun()
    traffic.listen()
    one = connection()
    for _ in range(2):
        observers.tell(observers.message_in, one, "hello")
    for _ in range(2):
        observers.tell(observers.message_done, one)
    assert traffic.of_routes(["bot"])["bot"].took.sum == (11.0 - 10.0) + (13.0 - 10.5)
    traffic.stop()


async def test_who_asks_after_a_while_begins_anew_and_is_told_so():
    traffic, observers = begun()
    traffic.listen()
    before = traffic.life
    observers.tell(observers.message_in, connection(), "hello")
    traffic.listen()
    assert traffic.life == before
    traffic.stop()
    assert not observers.message_in
    assert traffic.life != before
    assert traffic.of_connection("c1") is None
    traffic.listen()
    assert traffic.of_connection("c1") == 0
    traffic.stop()


async def test_what_has_waited_before_the_first_question_is_not_measured(monkeypatch):
    clock = Clock(monkeypatch)
    traffic, observers = begun()
    one = connection(undone=2)
    traffic.listen([one, connection("c2")])
    observers.tell(observers.message_in, one, "hello")
    for clock.now in (11.0, 12.0, 14.0):  # the two of before, and this one
        observers.tell(observers.message_done, one)
    counted = traffic.of_routes(["bot"])["bot"]
    assert (sum(counted.took.counts), counted.took.sum, counted.messages) == (1, 4.0, 1)
    observers.tell(observers.message_in, one, "hello")
    traffic.listen([connection(undone=5)])  # asked again: that one is known
    clock.now = 15.0
    observers.tell(observers.message_done, one)
    assert counted.took.sum == 4.0 + 1.0
    traffic.stop()


@pytest.mark.parametrize("kind", [Traffic, ForMetrics])
async def test_a_message_that_no_callback_gets_shifts_no_other(kind, monkeypatch):
    clock, observers = Clock(monkeypatch), Observers(logging.getLogger("test"))
    if kind is Traffic:
        traffic = Traffic(observers)
        traffic.listen()
    else:
        traffic = ForMetrics()
        observers.add(traffic)
    one = connection()
    for clock.now in (10.0, 11.0, 12.0, 13.0):
        observers.tell(observers.message_in, one, "hello")
    observers.tell(observers.message_done, one, 0)  # over the rate limit: the newest
    observers.tell(observers.message_done, one, 1)  # taken back: the second of three
    for clock.now in (20.0, 30.0):
        observers.tell(observers.message_done, one)
    took = traffic.of_routes(["bot"])["bot"].took if kind is Traffic else traffic.seconds["bot"]
    assert (sum(took.counts), took.sum) == (2, (20.0 - 10.0) + (30.0 - 12.0))
    observers.tell(observers.message_done, one, 7)  # of what is forgotten
    if kind is Traffic:
        traffic.stop()


@pytest.mark.parametrize("is_observed", [False, True])
@pytest.mark.parametrize("place", ["thread", "loop"])
async def test_only_what_comes_while_somebody_counts_is_measured(place, is_observed, monkeypatch):
    monkeypatch.setattr("jupyter_wshandler.callbacks.inthread.STRETCH", 60.0)  # one takes them all
    may_end = {name: threading.Event() for name in "abc"}
    taken: list[str] = []

    def in_thread(handler, message):
        taken.append(message)
        assert may_end[message].wait(SECONDS)

    async def on_loop(handler, message):
        taken.append(message)
        await until(may_end[message].is_set)

    async with running_manager() as manager:
        dones, traffic = Dones(), Traffic(manager.observers)
        bot = route(on_message=in_thread if place == "thread" else on_loop)
        visitor = Visitor(manager, bot).open()
        await until(lambda: visitor.connection.has_opened and visitor.connection.work is None)
        if is_observed:  # then the one in hand is told of, too
            manager.observers.add(dones)
        visitor.send("a", "b")
        await until(lambda: taken == ["a"])
        if not is_observed:
            manager.observers.add(dones)
        traffic.listen(manager.connections.values())
        visitor.send("c")
        may_end["a"].set()
        may_end["b"].set()
        await until(lambda: taken == ["a", "b", "c"])
        await until(lambda: dones.count == 1 + is_observed)
        took = traffic.of_routes(["bot"])["bot"].took
        assert sum(took.counts) == 0
        may_end["c"].set()
        await until(lambda: sum(took.counts) == 1)
        assert dones.count == 2 + is_observed
        await visitor.leave()
        traffic.stop()
