"""Messages are counted while somebody asks, and at no other time."""

from __future__ import annotations

import logging
from types import SimpleNamespace

from jupyter_wshandler.connection.observer import Observers
from jupyter_wshandler.server.records.traffic import Traffic


def connection(name="c1", route="bot"):
    return SimpleNamespace(id=name, route=route)


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
        "jupyter_wshandler.server.records.traffic.perf_counter", lambda: next(times)
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
