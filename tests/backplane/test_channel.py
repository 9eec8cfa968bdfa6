"""What a node makes of what it hears of one channel: the next, a gap, or of another epoch."""

from __future__ import annotations

from typing import Any

import pytest

from jupyter_wshandler.backplane.base import Change, Entries, Entry, Position, Publication
from jupyter_wshandler.backplane.redis.channel import Channel
from jupyter_wshandler.backplane.redis.counts import Counts
from jupyter_wshandler.backplane.redis.keys import Told, pack
from jupyter_wshandler.testing.backplanes import Heard


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def channel(heard: Heard) -> Channel:
    """A channel that has heard the third message of an epoch."""
    found = Channel("room", b"room", heard, lambda _: False, Counts())
    found.known = found.people = Position("e1", 3)
    return found


def told(epoch: str, offset: int) -> Told:
    return Told(Publication(f"{epoch}.{offset}"), Position(epoch, offset), b"id")


def change(epoch: str, offset: int) -> Change:
    return Change(Position(epoch, offset), "add", f"{epoch}.{offset}", Entry("ada"))


def reply(epoch: str, end: int, *offsets: int) -> list[Any]:
    """What the store answers: its last messages."""
    messages = [b"1.0 id " + pack(Publication(f"{epoch}.{offset}")) for offset in offsets]
    return [epoch.encode(), end, 0, messages]


def texts(heard: Heard) -> list[Any]:
    return [text for text, _ in heard.messages]


def test_the_next_message_behind_a_break_is_delivered_before_anything_is_read(channel, heard):
    channel.hold()
    assert not channel.hear(told("e1", 4))
    assert texts(heard) == ["e1.4"]
    assert not channel.lacks_messages
    channel.hear(told("e1", 5))
    assert texts(heard) == ["e1.4", "e1.5"]


@pytest.mark.parametrize("place", [("e1", 5), ("e2", 1), ("e2", 4)])
def test_any_other_one_waits_for_what_is_read(channel, heard, place):
    channel.hold()
    channel.hear(told(*place))
    channel.hear(told("e1", 4))
    assert texts(heard) == []
    assert channel.lacks_messages


@pytest.mark.parametrize("reason", ["it is blind", "it is being read"])
def test_nor_is_it_where_it_may_not_be_the_next(channel, heard, reason):
    """What a node has missed while it was alone has no number; what is read may hold it, too."""
    channel.hold()
    if reason == "it is blind":
        channel.is_blind = True
    else:
        channel.filling = object()
    channel.hear(told("e1", 4))
    assert texts(heard) == []
    channel.fill(reply("e1", 4, 4))
    channel.go_on(channel.epochs_held)
    assert texts(heard) == ["e1.4"]
    assert not channel.lacks_messages


def test_what_waits_of_an_epoch_that_is_over_is_let_go_of(channel, heard):
    channel.hear(told("e1", 7))
    channel.hear(told("e2", 1))
    before = channel.epochs_held
    channel.hear(told("e3", 2))
    channel.fill(reply("e2", 1, 1))
    channel.go_on(before)
    # e3 may have begun after the answer, or have been over before: it is asked for again.
    assert channel.lacks_messages
    before = channel.epochs_held
    assert before == {"e3"}
    channel.fill(reply("e3", 2, 1, 2))
    channel.go_on(before)
    assert not channel.lacks_messages
    assert texts(heard) == ["e2.1", "e3.1", "e3.2"]
    assert channel.known == ("e3", 2)


GARBAGE = (b"garbage", b"1.0 id \xc1", b"1.0 id \x80", b"x id \x80")
"""Messages of a log without an id, that are no msgpack, of another form, and without a time."""


@pytest.mark.parametrize(
    ("offsets", "garbage", "delivered", "gaps"),
    [
        ((4, 5, 6, 7), (5, 6), (4, 7, 8), (6,)),
        ((4, 5, 6, 7), (4,), (5, 6, 7, 8), (4,)),
        ((4, 5, 6, 7), (7,), (4, 5, 6, 8), (7,)),
        ((4, 5, 6, 7), (4, 5, 6, 7), (8,), (7,)),
        ((5, 6, 7), (6,), (5, 7, 8), (4, 6)),  # 4 is not there any more
        ((5, 6, 7), (5,), (6, 7, 8), (5,)),
    ],
)
def test_what_cannot_be_read_is_told_as_missed_and_the_rest_is_delivered(
    channel, heard, offsets, garbage, delivered, gaps
):
    found = reply("e1", 7, *offsets)
    for offset, data in zip(garbage, GARBAGE, strict=False):
        found[3][offset - 8] = data
    assert channel.hear(told("e1", 8))
    before = channel.epochs_held
    assert channel.fill(found) == (len(delivered) - 1, True)
    channel.go_on(before)
    assert not channel.lacks_messages
    assert texts(heard) == [f"e1.{offset}" for offset in delivered]
    assert heard.gaps == [("e1", offset) for offset in gaps]
    assert channel.known == ("e1", 8)


@pytest.mark.parametrize("offset", [1, 2])
def test_a_change_of_an_epoch_that_is_over_is_no_news(channel, heard, offset):
    channel.hold()
    channel.hear_change(change("e0", offset))
    before = channel.epochs_held
    channel.relist(Entries({}, Position("e2", 5)), before)
    assert not channel.lacks_people
    assert heard.changes == []
    assert channel.people == ("e2", 5)


def test_the_first_change_of_another_epoch_has_the_list_read(channel, heard):
    assert channel.hear_change(change("e2", 1))
    channel.relist(Entries({}, Position("e2", 1)), channel.epochs_held)
    assert not channel.hear_change(change("e2", 2))
    assert [one.key for one in heard.changes] == ["e2.2"]


def test_the_first_change_where_nobody_was_in_is_the_next(channel, heard):
    channel.people = Position()
    assert not channel.hear_change(change("e1", 1))
    assert [one.key for one in heard.changes] == ["e1.1"]
