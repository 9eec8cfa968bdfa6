"""Both ends of `wsh.v1` against each other, without a server."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from jupyter_wshandler.engine.asking import (
    HEADER,
    LAST,
    Asked,
    ClientEnd,
    NotSpoken,
    confirmed_by,
    message_frame,
    stop_frame,
)
from jupyter_wshandler.engine.envelope import EnvelopeCodec
from jupyter_wshandler.engine.messages import Close, MessageProtocol, Pong
from jupyter_wshandler.errors import AnswerFailed
from jupyter_wshandler.types import Question

MESSAGES = st.one_of(st.text(st.characters(exclude_categories=("Cs",)), max_size=20), st.binary())


class Stops:
    """What a codec tells its connection."""

    def __init__(self, admits: int = 2**31) -> None:
        self.stopped: list[int] = []
        self.ended: list[tuple[int, str]] = []
        self.violations: list[tuple[int, str]] = []
        self.admits = admits

    def stop(self, number: int) -> None:
        self.stopped.append(number)

    def admits_stop(self) -> bool:
        self.admits -= 1
        return self.admits >= 0

    def end(self, number: int, how: Any) -> None:
        self.ended.append((number, how))

    def violated(self, code: int, reason: str) -> None:
        self.violations.append((code, reason))


def server_end(longest: int = 0, admits: int = 2**31) -> tuple[EnvelopeCodec, Stops]:
    codec = EnvelopeCodec(MessageProtocol())
    codec.limit(longest)
    codec.stopper = stops = Stops(admits)
    return codec, stops


def read(codec: EnvelopeCodec, *frames: Any) -> list[Any]:
    return [
        (event.number, event.message) if isinstance(event, Question) else event
        for event in codec.receive(list(frames), 64, 2**20)
    ]


@given(st.lists(st.tuples(st.booleans(), MESSAGES), max_size=8))
def test_what_a_client_frames_is_what_the_server_reads(said):
    codec, stops = server_end()
    client = ClientEnd("x")
    expected = []
    for asks, message in said:
        asked, frame = client.ask(message) if asks else (None, message_frame(message))
        expected.append((asked.number if asked else 0, message))
        assert read(codec, frame) == expected[-1:]
    assert [number for number, _ in expected if number] == [*client.open]
    assert stops.violations == []


OBJECTS = st.fixed_dictionaries(
    {},
    optional={
        key: st.one_of(st.none(), st.booleans(), st.integers(-2, 3), st.text(max_size=3))
        for key in ("message", "ask", "stop", "more")
    },
).map(json.dumps)


@given(st.one_of(st.text(), st.binary(max_size=8), OBJECTS))
def test_any_frame_is_a_message_a_stop_or_one_violation_and_never_raises(frame):
    codec, stops = server_end()
    events = read(codec, frame, "after it", Pong(b"1"), Close(1000, ""))
    assert events[-2:] == [Pong(b"1"), Close(1000, "")]
    assert len(stops.violations) == 1  # the second one, if not the first
    code, reason = stops.violations[0]
    assert code == 1002
    assert len(reason.encode()) <= 123


@given(
    st.one_of(
        st.text(),
        st.binary(max_size=8),
        st.fixed_dictionaries(
            {},
            optional={
                key: st.one_of(st.none(), st.booleans(), st.integers(-2, 3), st.text(max_size=3))
                for key in ("message", "reply", "piece", "of", "end", "how", "json", "streamed")
            },
        ).map(json.dumps),
    )
)
def test_a_client_that_gets_any_frame_takes_it_or_says_that_it_is_none(frame):
    client = ClientEnd("x")
    asked, _ = client.ask("hello")
    try:
        client.receive(frame)
    except NotSpoken:
        return
    assert asked.how in (None, "done", "stopped", "failed", "refused")


@pytest.mark.parametrize("number", [1, LAST])
def test_numbers_go_up_to_the_largest_of_four_bytes(number):
    codec, stops = server_end()
    assert read(codec, message_frame("a", number)) == [(number, "a")]
    other, _ = server_end()
    assert read(other, message_frame(b"a", number)) == [(number, b"a")]
    assert read(codec, HEADER.pack(0)) == [(0, b"")]
    assert stops.violations == []


def test_a_stop_in_one_piece_with_its_message_takes_that_back():
    codec, stops = server_end()
    assert read(codec, message_frame("a", 1), message_frame("b", 2), stop_frame(1)) == [(2, "b")]
    assert stops.ended == [(1, "stopped")]
    assert read(codec, stop_frame(2)) == []
    assert stops.stopped == [2]


def test_a_stop_over_the_limit_or_of_what_was_never_asked_is_ignored():
    codec, stops = server_end(admits=1)
    read(codec, message_frame("a", 5))
    read(codec, stop_frame(6), stop_frame(0), stop_frame(5), stop_frame(5))
    assert stops.stopped == [5]
    assert stops.violations == []


@pytest.mark.parametrize("text", ["x" * 100, '"' * 100, "\n" * 100, "ü" * 50, "\U0001f680" * 25])
def test_a_message_of_the_largest_size_passes_and_one_more_byte_does_not(text):
    codec, stops = server_end(100)
    assert read(codec, message_frame(text, 1)) == [(1, text)]
    assert read(codec, message_frame(text + "x", 2)) == []
    assert stops.violations == [(1009, "message over 100 bytes")]


def test_a_piece_of_json_is_its_value_and_text_that_looks_like_it_is_text():
    client = ClientEnd("x")
    asked, _ = client.ask("hello")
    codec, _ = server_end()
    codec.of = 1
    client.receive(codec.encode('{"a":1}'))
    codec.json = True
    client.receive(codec.encode('{"a":1}'))
    client.receive(codec.encode(b"{}"))
    client.receive(codec.mark({"end": 1, "how": "done", "streamed": True}))
    assert asked.result() == ['{"a":1}', {"a": 1}, b"{}"]


@pytest.mark.parametrize(
    ("frame", "id"),
    [
        ('{"wsh": "v1", "id": "abc"}', "abc"),
        ('{"wsh": "v1", "id": "abc", "more": 1}', "abc"),
        ('{"wsh": "v2", "id": "abc"}', None),
        ('{"wsh": "v1"}', None),
        ('"wsh"', None),
        ("[" * 100_000, None),
        (b'{"wsh": "v1", "id": "abc"}', None),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_first_frame_confirms_or_is_a_plain_message(frame, id):
    assert confirmed_by(frame) == id


class Conversation(RuleBasedStateMachine):
    """A client and a server that ask, answer, stop and push in any order, with frames on their way.

    The server's side is the simplest there can be: one answer at a time, in order. After any number
    of steps each question has the values that were sent for it before its end, and one end.
    """

    def __init__(self) -> None:
        super().__init__()
        self.client = ClientEnd("x")
        self.codec, self.stops = server_end()
        self.up: list[Any] = []  # on their way to the server
        self.down: list[Any] = []  # on their way to the client
        self.inbox: list[tuple[int, Any]] = []
        self.asked: dict[int, Asked] = {}
        self.given: dict[int, list[Any]] = {}
        self.ends: dict[int, str] = {}
        self.pushed: list[Any] = []
        self.answering = 0

    @rule(message=MESSAGES)
    def ask(self, message: Any) -> None:
        asked, frame = self.client.ask(message)
        self.asked[asked.number] = asked
        self.given[asked.number] = []
        self.up.append(frame)

    @rule(message=MESSAGES)
    def send(self, message: Any) -> None:
        self.up.append(message_frame(message))

    @precondition(lambda self: self.asked)
    @rule(data=st.data())
    def stop(self, data: Any) -> None:
        self.up.append(stop_frame(data.draw(st.sampled_from([*self.asked]))))

    @precondition(lambda self: self.up)
    @rule(count=st.integers(1, 5))
    def arrive_at_the_server(self, count: int) -> None:
        frames, self.up = self.up[:count], self.up[count:]
        self.inbox += read(self.codec, *frames)
        for number, how in self.stops.ended:
            self._end(number, how)
        for number in self.stops.stopped:
            if number == self.answering:
                self.answering = 0
                self._end(number, "stopped")
            elif any(waits == number for waits, _ in self.inbox):
                self.inbox = [each for each in self.inbox if each[0] != number]
                self._end(number, "stopped")
        self.stops.ended.clear()
        self.stops.stopped.clear()

    def _end(self, number: int, how: str) -> None:
        assert number not in self.ends
        self.ends[number] = how
        self.down.append(self.codec.mark({"end": number, "how": how, "streamed": True}))

    @precondition(lambda self: not self.answering and self.inbox)
    @rule()
    def handle(self) -> None:
        self.answering, message = self.inbox.pop(0)
        if not self.answering:  # nobody asks: the answer is a message
            self.pushed.append(message)
            self.down.append(self.codec.encode(message))

    @precondition(lambda self: self.answering)
    @rule(value=MESSAGES)
    def answer(self, value: Any) -> None:
        self.codec.of = self.answering
        self.down.append(self.codec.encode(value))
        self.codec.of = 0
        self.given[self.answering].append(value)

    @precondition(lambda self: self.answering)
    @rule(how=st.sampled_from(["done", "failed"]))
    def end(self, how: str) -> None:
        number, self.answering = self.answering, 0
        self._end(number, how)

    @rule(value=MESSAGES)
    def push(self, value: Any) -> None:
        self.pushed.append(value)
        self.down.append(self.codec.encode(value))

    @precondition(lambda self: self.down)
    @rule(count=st.integers(1, 5))
    def arrive_at_the_client(self, count: int) -> None:
        frames, self.down = self.down[:count], self.down[count:]
        for frame in frames:
            self.client.receive(frame)

    @invariant()
    def each_question_has_what_was_sent_for_it(self) -> None:
        assert self.stops.violations == []
        came = list(self.client.messages)
        assert came == self.pushed[: len(came)]
        for number, asked in self.asked.items():
            values = list(asked.values)
            assert values == self.given[number][: len(values)]
            assert (number in self.client.open) == (asked.how is None)
            if asked.how is not None:
                assert asked.how == self.ends[number]
                assert values == self.given[number]

    def teardown(self) -> None:
        while self.up or self.inbox or self.answering:
            if self.up:
                self.arrive_at_the_server(5)
            elif self.answering:
                self.end("done")
            else:
                self.handle()
        self.arrive_at_the_client(len(self.down))
        self.each_question_has_what_was_sent_for_it()
        assert list(self.client.messages) == self.pushed
        for number, asked in self.asked.items():
            if self.ends[number] == "done":
                assert asked.result() == self.given[number]
            else:
                with pytest.raises(AnswerFailed):
                    asked.result()


TestConversation = Conversation.TestCase
TestConversation.settings = settings(stateful_step_count=25)
