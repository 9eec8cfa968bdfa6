"""A room as a client sees it: offsets, what was missed, and a list that no change races."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_wshandler.engine.asking import ClientEnd
from jupyter_wshandler.engine.joined import Joined, Member


def heard(room):
    said = list(room.messages)
    room.messages.clear()
    return said


def joined(offset=None, epoch="e", **more):
    where = {} if offset is None else {"epoch": epoch, "offset": offset}
    return {"joined": "blue", **where, **more}


def message(text, offset=None, **more):
    where = {} if offset is None else {"offset": offset}
    return {"message": text, "room": "blue", **where, **more}


def test_a_wish_says_since_and_presence_only_where_they_are_known_or_wanted():
    assert json.loads(Joined("blue").join_frame()) == {"join": "blue"}
    room = Joined("blue", since=("e", 3), presence=True)
    assert json.loads(room.join_frame()) == {
        "join": "blue", "since": {"epoch": "e", "offset": 3}, "presence": True,
    }  # fmt: skip


def test_the_offset_follows_what_was_heard_and_a_repetition_is_dropped():
    room = Joined("blue")
    room.take(joined(2))
    assert (room.is_in, room.since) == (True, ("e", 2))
    for offset in (1, 2, 2, 3):
        room.take(message(f"m{offset}", offset))
    assert heard(room) == ["m1", "m2", "m3"]
    assert room.since == ("e", 3)


def test_a_break_before_what_was_missed_has_come_asks_for_it_again():
    room = Joined("blue", since=("e", 3))
    room.join_frame()
    room.take(joined(9, recovered=True))
    room.take(message("m4", 4))
    assert json.loads(room.join_frame())["since"] == {"epoch": "e", "offset": 4}
    room.take(message("m9", 9))  # before the answer: it comes again
    room.take(joined(9, recovered=True))
    for offset in range(5, 10):
        room.take(message(f"m{offset}", offset))
    assert heard(room) == ["m4", "m5", "m6", "m7", "m8", "m9"]


def test_a_room_that_was_forgotten_counts_anew_and_says_that_something_may_be_missing():
    room = Joined("blue", since=("e", 30))
    room.join_frame()
    room.take(joined(2, "f", recovered=False))
    room.take(message("m1", 1))
    room.take(message("m2", 2))
    assert (heard(room), room.recovered, room.since) == (["m1", "m2"], False, ("f", 2))
    room.take(message("fresh", 1, epoch="g"))
    assert (heard(room), room.since) == (["fresh"], ("g", 1))


def test_without_a_history_everything_is_heard_and_nothing_can_be_asked_for():
    room = Joined("blue")
    room.take(joined())
    room.take(message("a"))
    room.take(message("a"))
    assert (heard(room), room.since) == (["a", "a"], None)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"error": "room", "detail": "no"}, "no"),
        ({"error": "room"}, "does not say why"),
        ({"error": "ratelimit", "retry_after": 60}, "try again in 60 s"),
    ],
)
def test_a_refusal_has_words(said, words):
    room = Joined("blue")
    room.take({"refused": "blue", **said})
    assert words in room.refusal
    assert not room.is_in


def test_a_client_that_is_taken_out_has_left_but_an_older_leave_says_nothing():
    room = Joined("blue")
    room.take({"left": "blue"})
    assert not room.is_left
    room.take(joined())
    room.take({"left": "blue"})
    assert room.is_left


def test_an_end_gives_each_room_its_own_and_takes_the_rest_for_messages():
    end = ClientEnd("c")
    end.rooms["blue"] = Joined("blue")
    end.take(message("mine"))
    end.take({"message": "red", "room": "red"})
    assert list(end.rooms["blue"].messages) == ["mine"]
    assert list(end.messages) == ["red"]
    assert end.unread == 2


PEOPLE = st.sampled_from("abcdef")


@given(
    st.lists(st.tuples(PEOPLE, st.integers(0, 3)), max_size=40),
    st.integers(0, 40),
    st.integers(0, 40),
    st.integers(1, 3),
)
def test_whoever_applies_a_list_and_the_changes_around_it_knows_the_truth(
    steps, listed_at, seen_from, page
):
    truth, states, changes = {}, [{}], []
    for number, (id, connections) in enumerate(steps, 1):
        known = id in truth
        if connections:
            truth[id] = connections
        else:
            truth.pop(id, None)
        change = "left" if not connections else "changed" if known else "joined"
        member = {"id": id, "connections": connections}
        changes.append(
            {"member": member, "change": change, "room": "blue", "presence_offset": number}
        )
        states.append(dict(truth))
    listed_at = min(listed_at, len(steps))
    told: dict[str, int] = {}

    def tell(member, change):
        if member is None:
            told.clear()
            told.update((each.id, each.connections) for each in room.members.values())
        elif change == "left":
            told.pop(member.id, None)
        else:
            told[member.id] = member.connections

    room = Joined("blue", presence=True, changed=tell)
    for change in changes[min(seen_from, listed_at) : listed_at]:
        room.take(change)  # those that were on their way before the list
    people = [{"id": id, "connections": count} for id, count in states[listed_at].items()]
    pages = [people[at : at + page] for at in range(0, len(people), page)] or [[]]
    for at, some in enumerate(pages, 1):
        more = {"more": True} if at < len(pages) else {}
        where = {"room": "blue", "presence_offset": listed_at}
        room.take({"members": some, **where, **more})
    for change in changes[min(seen_from, listed_at) :]:
        room.take(change)
    assert {member.id: member.connections for member in room.members.values()} == truth
    assert told == truth


def test_what_is_no_member_is_left_out():
    room = Joined("blue", presence=True)
    room.take({"members": ["x", {"id": 3}, {"id": "a"}], "room": "blue", "presence_offset": 0})
    assert room.members == {"a": Member("a")}
    change = {"id": "a", "connections": 2}
    room.take({"member": change, "change": "changed", "room": "blue", "presence_offset": 1})
    assert room.members["a"].connections == 2
