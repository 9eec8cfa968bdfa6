"""What happens, written down while somebody follows it, and at no other time."""

from __future__ import annotations

import asyncio
import logging
from types import SimpleNamespace

from jupyter_wshandler.connection.observer import Observers
from jupyter_wshandler.server.records import followed
from jupyter_wshandler.server.records.followed import WAITING
from jupyter_wshandler.server.records.journal import KEPT, Journal
from jupyter_wshandler.server.records.ledger import Ledger


def connection(name="c1", route="bot"):
    return SimpleNamespace(
        id=name,
        route=route,
        current_user=SimpleNamespace(username="ada"),
        request=SimpleNamespace(remote_ip="192.0.2.1"),
        close_code=1000,
        close_reason="done",
    )


def begun() -> tuple[Journal, Observers, str]:
    observers, ledger = Observers(logging.getLogger("test")), Ledger()
    observers.add(ledger)
    journal = Journal(observers, ledger)
    return journal, observers, journal.since("").place


def test_nobody_who_does_not_look_pays_for_it():
    observers, ledger = Observers(logging.getLogger("test")), Ledger()
    Journal(observers, ledger).refused("bot", None, 403, "no")
    assert not observers.opened
    assert not observers.lost
    assert not observers.failed


async def test_what_happens_is_told_once_and_in_order():
    journal, observers, place = begun()
    one = connection()
    observers.tell(observers.opened, one)
    observers.tell(observers.lost, one)
    journal.refused("bot", None, 403, "no")
    page = journal.since(place)
    assert [happening.said["event"] for happening in page.happenings] == [
        *("opened", "closed", "refused")
    ]
    opened, closed, refused = (happening.said for happening in page.happenings)
    assert (opened["connection"], opened["user"], opened["address"]) == ("c1", "ada", "192.0.2.1")
    assert (closed["code"], closed["reason"]) == (1000, "done")
    assert 0 <= closed["seconds"] < 60
    assert (refused["code"], refused["user"], refused["connection"]) == (403, None, None)
    assert page.complete
    assert journal.since(page.place).happenings == []
    journal.stop()


async def test_who_comes_late_has_the_newest_and_is_told_that_some_are_missing():
    journal, observers, place = begun()
    for number in range(KEPT + 5):
        observers.tell(observers.opened, connection(f"c{number}"))
    page = journal.since(place)
    assert (len(page.happenings), page.complete) == (KEPT, False)
    assert page.happenings[0].said["connection"] == "c5"
    strange_places = ("x", "x-1", f"{place}9999", "-", "é-1", page.place.replace("-", "-+"))
    for strange in (*strange_places, place + "9" * 5000):
        assert not journal.since(strange).complete
    journal.stop()


async def test_who_waits_is_woken_by_the_next_thing_that_happens():
    journal, observers, place = begun()
    gone = asyncio.get_running_loop().create_future()
    waiting = asyncio.create_task(journal.wait(30, gone))
    await asyncio.sleep(0)
    observers.tell(observers.opened, connection())
    await asyncio.wait_for(waiting, 5)
    assert len(journal.since(place).happenings) == 1
    waiting = asyncio.create_task(journal.wait(30, gone))
    await asyncio.sleep(0)
    gone.set_result(None)
    await asyncio.wait_for(waiting, 5)
    journal.stop()


async def test_no_more_than_so_many_wait_at_a_time():
    journal, _, _ = begun()
    gone = asyncio.get_running_loop().create_future()
    waiting = [asyncio.create_task(journal.wait(30, gone)) for _ in range(WAITING)]
    await asyncio.sleep(0)
    await asyncio.wait_for(journal.wait(30, gone), 5)
    journal.stop()  # lets them all go
    await asyncio.wait_for(asyncio.gather(*waiting), 5)


async def test_it_rests_once_nobody_asks_and_who_comes_back_has_missed_something(monkeypatch):
    monkeypatch.setattr(followed, "IDLE", 0.0)
    journal, observers, place = begun()
    observers.tell(observers.opened, connection())
    deadline = asyncio.get_running_loop().time() + 10
    while observers.lost:  # a second, at least, is between two looks
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.01)
    assert observers.opened  # the ledger's
    page = journal.since(place)
    assert (page.happenings, page.complete) == ([], False)
    assert observers.lost
    journal.stop()
    journal.stop()


def test_each_connection_has_a_time_of_its_own_and_they_are_in_order(monkeypatch):
    ledger = Ledger()
    times = iter([100.0, 100.0, 50.0, 101.0])  # the clock is set back, too
    monkeypatch.setattr("jupyter_wshandler.server.records.ledger.time", lambda: next(times))
    for name in "abcd":
        ledger.opened(connection(name))
    assert [name for name, _ in ledger.after(0)] == [*"abcd"]
    assert [name for name, _ in ledger.after(ledger.since("b"))] == [*"cd"]
    ledger.ended(connection("c"))
    ledger.ended(connection("never"))
    assert [name for name, _ in ledger.after(ledger.since("a"))] == [*"bd"]
    assert ledger.since("c") == 0
