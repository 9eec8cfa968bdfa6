"""Messages between two ends whose connection breaks at any point: each once, in order, none missing."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

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


def test_a_message_that_comes_twice_is_delivered_once_and_acknowledged_at_once():
    one, other = end(), end()
    first = one.send("a")
    assert other.receive(first, 1.0) is True
    assert other.due(1.0) == 0
    assert other.receive(first, 2.0) is False
    assert other.due(2.0) == 1


def test_an_acknowledgement_is_due_after_64_messages_or_5_seconds():
    one, other = end(), end()
    for _ in range(ACK_EACH - 1):
        other.receive(one.send("a"), 100.0)
    assert other.due(100.0 + ACK_AFTER - 0.1) == 0
    other.receive(one.send("a"), 100.0)
    assert other.due(100.0) == ACK_EACH
    other.receive(one.send("a"), 200.0)
    assert other.due(200.0) == 0
    assert other.due(200.0 + ACK_AFTER) == ACK_EACH + 1
    assert other.due(1000.0) == 0


def test_a_gap_without_a_break_is_an_error_and_never_a_delivery():
    other = end()
    with pytest.raises(Missing, match="message 2 came, and 1 is the next"):
        other.receive(Numbered(2, "b"), 0.0)
    assert other.received == 0


@pytest.mark.parametrize("number", [4, 2**62])
def test_who_has_received_what_was_never_sent_means_another_connection(number):
    one = end()
    for text in "abc":
        one.send(text)
    with pytest.raises(Missing):
        one.resume(number)
    assert [message for _, message in one.resume(0)] == ["a", "b", "c"]


def test_who_is_behind_what_was_acknowledged_cannot_resume():
    one = end()
    for text in "abc":
        one.send(text)
    one.acknowledged(2)
    with pytest.raises(NotKept, match="message 2 is not kept any more; 3 is the first one"):
        one.resume(1)
    assert [message for _, message in one.resume(2)] == ["c"]
    assert one.resume(3) == []
    with pytest.raises(NotKept):
        one.resume(2)


def test_it_is_full_by_number_and_by_size_and_one_message_always_fits():
    one = end(messages=2, size=10)
    assert not one.is_full
    one.send("x" * 100)
    assert one.is_full
    one.acknowledged(1)
    one.send("a")
    assert not one.is_full
    one.send("b")
    assert one.is_full
    assert not end(messages=0, size=0).is_full


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
        numbered = self.ends[which].send(text)
        self.sent[which].append(text)
        if self.connected:
            self.ways[which].append(numbered)

    @precondition(lambda self: self.connected)
    @rule(which=st.integers(0, 1), count=st.integers(1, 100))
    def arrive(self, which: int, count: int) -> None:
        frames, self.ways[which] = self.ways[which][:count], self.ways[which][count:]
        other = self.ends[1 - which]
        for frame in frames:
            if isinstance(frame, int):
                other.acknowledged(frame)
            elif other.receive(frame, self.now):
                self.got[which].append(frame.message)

    @precondition(lambda self: self.connected)
    @rule(which=st.integers(0, 1), seconds=st.floats(0, 10))
    def look_at_the_clock(self, which: int, seconds: float) -> None:
        self.now += seconds
        number = self.ends[which].due(self.now)
        if number:
            self.ways[which].append(number)

    @precondition(lambda self: self.connected)
    @rule(which=st.integers(0, 1), data=st.data())
    def repeat_what_is_under_way(self, which: int, data: st.DataObject) -> None:
        way = self.ways[which]
        if way:
            at = data.draw(st.integers(0, len(way) - 1))
            way.insert(data.draw(st.integers(at, len(way))), way[at])

    @precondition(lambda self: self.connected)
    @rule()
    def break_it(self) -> None:
        self.connected = False
        self.ways = [[], []]

    @precondition(lambda self: not self.connected)
    @rule()
    def come_back(self) -> None:
        for which, one in enumerate(self.ends):
            self.ways[which] = list(one.resume(self.ends[1 - which].received))
        self.connected = True

    @invariant()
    def all_came_once_and_in_order(self) -> None:
        for sent, got, one in zip(self.sent, self.got, self.ends, strict=True):
            assert got == sent[: len(got)]
            assert one.unacknowledged <= len(sent)

    def teardown(self) -> None:
        if not self.connected:
            self.come_back()
        for which in (0, 1):
            self.arrive(which, len(self.ways[which]))
        assert self.got == self.sent
        self.now += 2 * ACK_AFTER
        for which in (0, 1):
            self.look_at_the_clock(which, 0)
            self.arrive(which, len(self.ways[which]))
        assert [one.unacknowledged for one in self.ends] == [0, 0]


TestBreaks = Breaks.TestCase
