"""Messages between two ends whose connection breaks at any point: each once, in order."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from support.examples import few

from jupyter_wshandler.engine.lasting import (
    ACK_AFTER,
    ACK_EACH,
    Lasting,
    Missing,
    NotKept,
    Numbered,
)


def end(messages: int = 10**6, size: int = 10**9) -> Lasting[str]:
    return Lasting(messages=messages, size=size)


def say(one: Lasting[str], *texts: str) -> None:
    """Have messages leave."""
    for text in texts:
        one.send(text, len(text))
    while one.take():
        pass


def left(one: Lasting[str]) -> list[str | None]:
    """Return what is still to leave, which leaves now."""
    found = []
    while (numbered := one.take()) is not None:
        found.append(numbered.message)
    return found


def test_a_message_that_comes_twice_is_delivered_once_and_acknowledged_at_once():
    other = end()
    assert other.receive(1, 1.0) is True
    assert other.due(1.0) == 0
    assert other.receive(1, 2.0) is False
    assert other.due(2.0) == 1


def test_an_acknowledgement_is_due_after_64_messages_or_5_seconds():
    other = end()
    for number in range(1, ACK_EACH):
        other.receive(number, 100.0)
    assert other.due(100.0 + ACK_AFTER - 0.1) == 0
    other.receive(ACK_EACH, 100.0)
    assert other.due(100.0) == ACK_EACH
    other.receive(ACK_EACH + 1, 200.0)
    assert other.due(200.0) == 0
    assert other.due(200.0 + ACK_AFTER) == ACK_EACH + 1
    assert other.due(1000.0) == 0


def test_a_gap_without_a_break_is_an_error_and_never_a_delivery():
    other = end()
    with pytest.raises(Missing, match="message 2 came, and 1 is the next"):
        other.receive(2, 0.0)
    assert other.received == 0


@pytest.mark.parametrize("number", [4, 2**62])
def test_who_has_received_what_was_never_sent_means_another_connection(number):
    one = end()
    say(one, "a", "b", "c")
    assert not one.can_resume(number)
    with pytest.raises(Missing):
        one.resume(number)
    with pytest.raises(Missing):
        one.acknowledged(number)
    one.resume(0)
    assert left(one) == ["a", "b", "c"]


def test_what_has_not_left_can_neither_be_acknowledged_nor_received():
    one = end()
    one.send("a", 1)
    assert not one.can_resume(1)
    with pytest.raises(Missing):
        one.acknowledged(1)


def test_who_is_behind_what_was_acknowledged_cannot_resume():
    one = end()
    say(one, "a", "b", "c")
    assert one.acknowledged(2)
    assert not one.acknowledged(1)
    assert not one.can_resume(1)
    with pytest.raises(NotKept, match="message 2 is not kept any more; 3 is the first one"):
        one.resume(1)
    one.resume(2)
    assert left(one) == ["c"]
    one.resume(3)
    assert left(one) == []
    with pytest.raises(NotKept):
        one.resume(2)


def test_it_is_full_by_number_and_by_size_and_one_message_always_fits():
    one = end(messages=2, size=10)
    assert not one.is_full()
    say(one, "x" * 100)
    assert one.is_full()
    one.acknowledged(1)
    say(one, "a")
    assert not one.is_full()
    say(one, "b")
    assert one.is_full()
    assert not one.is_full(2)
    assert not end(messages=0, size=0).is_full()


def test_what_is_dropped_leaves_its_number_so_that_nobody_sees_a_gap():
    one = end(messages=3)
    say(one, "a")
    for text in "bcd":
        one.send(text, 1)
    assert one.drop_oldest() == 1
    assert one.drop_oldest() == 1
    assert (one.unsent, one.unsent_size, one.kept_size) == (3, 1, 2)
    assert left(one) == [None, None, "d"]
    one.pause()
    one.resume(0)
    assert left(one) == ["a", None, None, "d"]
    one.acknowledged(4)
    assert (one.unacknowledged, one.kept_size, one.unsent_size) == (0, 0, 0)


def test_no_more_is_dropped_than_may_be_kept():
    one = end(messages=3)
    for text in "abcdefgh":
        one.send(text, 1)
    assert [one.drop_oldest() for _ in range(5)] == [1, 1, 1, 0, 0]


def test_of_what_has_left_no_more_is_kept_than_may_be():
    one = end(messages=3)
    say(one, *"abcde")
    one.forget_sent()
    assert one.unacknowledged == 2
    assert not one.can_resume(2)
    assert one.can_resume(3)
    one.send("f", 1)
    one.send("g", 1)
    one.send("h", 1)
    one.forget_sent()
    assert left(one) == ["f", "g", "h"]


def test_anew_what_has_left_is_told_from_what_never_has():
    one = end()
    say(one, "a", "b")
    one.acknowledged(1)
    one.pause()
    one.send("c", 1)
    assert one.renew() == (["b"], ["c"])
    assert one.send("d", 1) == 1
    assert one.received == 0


class Breaks(RuleBasedStateMachine):
    """Two ends, frames on their way between them, and breaks that lose any part of those."""

    def __init__(self) -> None:
        super().__init__()
        self.ends = [end(), end()]
        self.sent: list[list[str]] = [[], []]
        self.got: list[list[str]] = [[], []]
        self.ways: list[list[Numbered[str] | int]] = [[], []]  # from each end
        self.connected = True
        self.now = 1.0

    @rule(which=st.integers(0, 1), text=st.text(max_size=5))
    def send(self, which: int, text: str) -> None:
        self.ends[which].send(text, len(text))
        self.sent[which].append(text)

    @precondition(lambda self: self.connected)
    @rule(which=st.integers(0, 1), count=st.integers(1, 20))
    def leave(self, which: int, count: int) -> None:
        for _ in range(count):
            if (numbered := self.ends[which].take()) is not None:
                self.ways[which].append(numbered)

    @precondition(lambda self: self.connected)
    @rule(which=st.integers(0, 1), count=st.integers(1, 100))
    def arrive(self, which: int, count: int) -> None:
        frames, self.ways[which] = self.ways[which][:count], self.ways[which][count:]
        other = self.ends[1 - which]
        for frame in frames:
            if isinstance(frame, int):
                other.acknowledged(frame)
            elif other.receive(frame.number, self.now):
                assert frame.message is not None
                self.got[which].append(frame.message)

    @precondition(lambda self: self.connected)
    @rule(which=st.integers(0, 1), seconds=st.floats(0, 10))
    def look_at_the_clock(self, which: int, seconds: float) -> None:
        self.now += seconds
        number = self.ends[which].due(self.now)
        if number:
            self.ways[which].append(number)

    @precondition(lambda self: self.connected)
    @rule(which=st.integers(0, 1), at=st.integers(0, 99), later=st.integers(0, 99))
    def repeat_what_is_under_way(self, which: int, at: int, later: int) -> None:
        way = self.ways[which]
        if way:
            at %= len(way)
            way.insert(at + later % (len(way) - at + 1), way[at])

    @precondition(lambda self: self.connected)
    @rule()
    def break_it(self) -> None:
        self.connected = False
        self.ways = [[], []]
        for one in self.ends:
            one.pause()

    @precondition(lambda self: not self.connected)
    @rule()
    def come_back(self) -> None:
        for which, one in enumerate(self.ends):
            assert one.can_resume(self.ends[1 - which].received)
            one.resume(self.ends[1 - which].received)
        self.connected = True

    @invariant()
    def all_came_once_and_in_order(self) -> None:
        for sent, got, one in zip(self.sent, self.got, self.ends, strict=True):
            assert got == sent[: len(got)]
            assert one.unacknowledged <= len(sent)
            assert 0 <= one.unsent <= one.unacknowledged
            assert 0 <= one.unsent_size <= one.kept_size <= sum(map(len, sent))

    def teardown(self) -> None:
        if not self.connected:
            self.come_back()
        for which in (0, 1):
            self.leave(which, len(self.sent[which]))
            self.arrive(which, len(self.ways[which]))
        assert self.got == self.sent
        self.now += 2 * ACK_AFTER
        for which in (0, 1):
            self.look_at_the_clock(which, 0)
            self.arrive(which, len(self.ways[which]))
        assert [one.unacknowledged for one in self.ends] == [0, 0]


TestBreaks = Breaks.TestCase
TestBreaks.settings = few(50, stateful_step_count=40, deadline=None)
