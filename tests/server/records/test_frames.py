"""Messages are kept while their owner watches them: bounded, and of nobody else."""

from __future__ import annotations

import asyncio
import base64
import logging
from types import SimpleNamespace

from jupyter_wshandler.connection.observer import Observers
from jupyter_wshandler.server.records import followed
from jupyter_wshandler.server.records.frames import (
    A_SECOND,
    KEPT,
    TEXT,
    WATCHED,
    WATCHING,
    Frames,
    Watch,
    Watched,
)
from jupyter_wshandler.types import Question


def connection(name="c1", route="bot"):
    user = SimpleNamespace(username="ada")
    return SimpleNamespace(id=name, route=route, current_user=user)


def newly(frames: Frames, wanted: Watched, who: str = "ada") -> bool:
    watch = frames.watch(wanted, who)
    assert watch is not None
    return watch.is_new


def begun(*wanted: Watched) -> tuple[Frames, Observers, str]:
    observers = Observers(logging.getLogger("test"))
    frames = Frames(observers)
    for one in wanted:
        assert newly(frames, one)
    return frames, observers, frames.since("").place


def test_nobody_who_does_not_watch_pays_for_it():
    observers = Observers(logging.getLogger("test"))
    Frames(observers)
    assert not observers.message_in
    assert not observers.message_out


async def test_what_is_watched_is_kept_in_order_and_nothing_else():
    frames, observers, place = begun(Watched("route", "bot"), Watched("connection", "c9"))
    one = connection()
    observers.tell(observers.message_in, one, Question(1, "a question", 30))
    observers.tell(observers.message_out, one, "an answer")
    observers.tell(observers.message_in, connection("c2", "other"), "nobody's business")
    observers.tell(observers.message_out, connection("c9", "other"), b"\0\1")
    page = frames.since(place)
    assert page.complete
    said = [happening.said for happening in page.happenings]
    assert [(one["way"], one["connection"], one["route"]) for one in said] == [
        ("in", "c1", "bot"),
        ("out", "c1", "bot"),
        ("out", "c9", "other"),
    ]
    assert [one.get("text") for one in said] == ["a question", "an answer", None]
    assert base64.b64decode(said[2]["binary"]) == b"\0\1"
    assert said[0]["user"] == "ada"
    frames.stop()
    assert not observers.message_out


async def test_of_a_long_message_the_begin_is_kept():
    frames, observers, place = begun(Watched("route", "bot"))
    observers.tell(observers.message_in, connection(), "x" * 10_000)
    observers.tell(observers.message_in, connection(), b"x" * 10_000)
    text, binary = (one.said for one in frames.since(place).happenings)
    assert (len(text["text"]), text["size"]) == (TEXT, 10_000)
    assert (len(base64.b64decode(binary["binary"])), binary["size"]) == (TEXT, 10_000)
    frames.stop()


async def test_of_a_flood_so_many_are_kept_and_who_watches_is_told(monkeypatch):
    now = iter([1000.0] * (A_SECOND + 50) + [1001.0 + second for second in range(KEPT)])
    clock = SimpleNamespace(time=lambda: next(now))
    monkeypatch.setattr("jupyter_wshandler.server.records.frames.time", clock)
    frames, observers, place = begun(Watched("route", "bot"))
    for _ in range(A_SECOND + 50):
        observers.tell(observers.message_in, connection(), "flood")
    page = frames.since(place)
    assert (len(page.happenings), page.complete) == (A_SECOND, False)
    observers.tell(observers.message_in, connection(), "later")
    after = frames.since(page.place)
    assert ([one.said["text"] for one in after.happenings], after.complete) == (["later"], True)
    frames.stop()


async def test_so_much_is_watched_at_a_time_and_forgotten_when_nobody_asks(monkeypatch):
    frames, observers, place = begun(*(Watched("route", f"r{number}") for number in range(WATCHED)))
    assert not newly(frames, Watched("route", "r0"))
    assert frames.watch(Watched("route", "one more"), "ada") is None
    observers.tell(observers.message_in, connection(route="one more"), "hello")
    assert frames.since(place).happenings == []
    monkeypatch.setattr("jupyter_wshandler.server.records.frames.IDLE", -1.0)
    assert newly(frames, Watched("route", "one more"))
    frames.stop()


async def test_each_who_watches_begins_with_their_first_question(monkeypatch):
    bot = Watched("route", "bot")
    frames, observers, _ = begun(bot)
    for _ in range(3):
        observers.tell(observers.message_in, connection(), "before eve came")
    ada, eve = frames.watch(bot, "ada"), frames.watch(bot, "eve")
    assert (ada, eve) == (Watch(is_new=False, begun=0), Watch(is_new=True, begun=3))
    observers.tell(observers.message_in, connection(), "later")
    assert frames.watch(bot, "eve") == Watch(is_new=False, begun=3)
    monkeypatch.setattr("jupyter_wshandler.server.records.frames.IDLE", -1.0)
    assert frames.watch(bot, "eve") == Watch(is_new=True, begun=4)  # after a while, anew
    frames.stop()


async def test_so_many_watch_the_same():
    bot = Watched("route", "bot")
    frames, _, _ = begun()
    assert all(newly(frames, bot, f"u{number}") for number in range(WATCHING))
    assert frames.watch(bot, "one more") is None
    assert not newly(frames, bot, "u0")
    assert newly(frames, Watched("route", "another"), "one more")
    frames.stop()


async def test_it_ends_with_the_last_who_watches(monkeypatch):
    monkeypatch.setattr(followed, "IDLE", 0.0)
    frames, observers, place = begun(Watched("route", "bot"))
    async with asyncio.timeout(10):
        while observers.message_in:
            await asyncio.sleep(0.01)
    observers.tell(observers.message_in, connection(), "hello")
    assert newly(frames, Watched("route", "bot"))
    assert not frames.since(place).complete
    frames.stop()
