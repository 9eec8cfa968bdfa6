"""What a kernel says is read in bounded time, whatever it is."""

from __future__ import annotations

import json
import time

import msgspec
import pytest

from jupyter_wshandler.kernels.batches import (
    MAX_CHANGES,
    MAX_CONTENT,
    MAX_EVENTS,
    MAX_OPTIONS,
    NotABatch,
    about,
    one_line,
    read_batch,
    read_changes,
    read_claim,
    read_event,
)
from jupyter_wshandler.kernels.events import Close, SessionChange, Text


def content(data: object) -> bytes:
    return json.dumps({"comm_id": "c", "data": data}, separators=(",", ":")).encode()


def test_a_batch_is_read_and_its_events_one_by_one():
    events = [["text", "a", "grün 🤖"], ["close", "a", 4000, "bye"]]
    batch = read_batch(content({"n": 3, "got": 2, "taken": {"a": 1}, "events": events}))
    assert (batch.number, batch.got, batch.taken) == (3, 2, {"a": 1})
    assert [read_event(event) for event in batch.events] == [
        Text("a", "grün 🤖"),
        Close("a", 4000, "bye"),
    ]


FULL = [["text", "a", "x"]] * MAX_EVENTS


def test_as_many_events_as_a_courier_sends_are_read_and_one_more_is_none():
    assert len(read_batch(content({"n": 1, "events": FULL})).events) == MAX_EVENTS
    with pytest.raises(NotABatch, match="512"):
        read_batch(content({"n": 1, "events": [*FULL, ["text", "a", "x"]]}))


@pytest.mark.parametrize(
    "raw",
    [
        content({"n": 1, "events": [["text", "i", "x"]] * 220_000}),
        content({"n": 1, "events": [[]] * 1_300_000}),
        content({"n": 1, "events": [["text", "id", [[]] * 1_300_000]]}),
        content({"n": 1, "events": [["serve", "id", 1, {"options": [[]] * 1_300_000}]]}),
        content({"n": 1, "events": [["session", "id", {"a": "b"}, [""] * 1_300_000]]}),
        content({"n": 1, "taken": [0] * 2_000_000}),
        b'{"comm_id": "c", "data": ' + b"[" * 2_000_000 + b"]" * 2_000_000 + b"}",
        b'{"comm_id": "c", "data": ' + b'{"a":' * 800_000,
        b"\\" * 4_000_000,
        content({"n": 1, "events": [["text", "id", "\ud800" * 600_000]]}),
    ],
    ids=["events", "lists", "text", "options", "removed", "taken", "deep", "deeper", "\\", "\\ud"],
)
def test_what_is_large_and_hostile_costs_a_few_milliseconds(raw):
    def read() -> float:
        start = time.thread_time()
        try:
            for event in read_batch(raw).events:
                said = read_event(event)
                if isinstance(said, SessionChange):
                    read_changes(said)
                read_claim(said.claim)
        except (NotABatch, ValueError):
            pass
        return time.thread_time() - start

    assert len(raw) <= MAX_CONTENT
    # Each of 4 MiB is read over three times at most; handling what it says would take seconds.
    assert min(read() for _ in range(3)) < 0.2


def test_a_batch_over_the_size_is_not_even_looked_at():
    with pytest.raises(NotABatch, match=str(MAX_CONTENT)):
        read_batch(b"[" * (MAX_CONTENT + 1))


@pytest.mark.parametrize(
    "data",
    [
        [],
        None,
        5,
        {"n": "1"},
        {"n": 1.5},
        {"events": [["text", "a", "b"]]},
        {"n": 1, "events": {}},
        {"taken": {"a": "b"}},
        {"taken": []},
        {"got": []},
    ],
)
def test_what_is_no_batch_is_named(data):
    with pytest.raises(NotABatch):
        read_batch(content(data))


@pytest.mark.parametrize(
    "event",
    [
        *([], 5, None, "text", {}, ["what", "a"], [["text"], "a"], ["text"], ["text", "a"]),
        *(["text", "a", 5], ["text", 5, "a"], ["text", "a", None], ["text", "a", ["b"]]),
        *(["close", "a"], ["close", "a", "x", ""], ["close", "a", None, ""]),
        *(["close", "a", True, ""], ["close", "a", 1.5, ""], ["close", "a", 1000, 5]),
        *(["closed", "a", "x"], ["serve", "a", "1", {}], ["session", "a"], ["text", "a", "\ud800"]),
    ],
)
def test_what_is_no_event_is_told_and_costs_no_other(event):
    good = ["text", "a", "b"]
    batch = read_batch(content({"n": 1, "events": [good, event, good]}))
    with pytest.raises(ValueError):
        read_event(batch.events[1])
    assert read_event(batch.events[0]) == read_event(batch.events[2]) == Text("a", "b")
    about(batch.events[1])


@pytest.mark.parametrize(
    "text", ["\\ud800", "\\\\ud800", "😀", "\\\\😀", "\\", '"', "\U0010ffff\\u", "a\\\ud7ff"]
)
def test_half_a_surrogate_beside_it_changes_no_other_text(text):
    batch = read_batch(content({"n": 1, "events": [["text", "a", text], ["text", "a", "\udfff"]]}))
    assert read_event(batch.events[0]) == Text("a", text)
    with pytest.raises(ValueError):
        read_event(batch.events[1])


def test_what_an_event_is_about_is_found_where_the_rest_makes_no_sense():
    assert about(msgspec.Raw(b'["close","id",null,[[[')) == ("", "")
    assert about(msgspec.Raw(b'["close","id",null]')) == ("close", "id")
    assert about(msgspec.Raw(b'["binary",5]')) == ("binary", "")


def test_large_options_are_refused_with_words():
    claim = {"pattern": "/bot", "options": {"x": "y" * MAX_OPTIONS}}
    with pytest.raises(ValueError, match=r"options of \d+ bytes"):
        read_claim(msgspec.Raw(json.dumps(claim).encode()))


def test_changes_of_a_session_have_a_size():
    quotes = json.dumps('"' * (MAX_CHANGES // 2 - 100))
    assert len(quotes) <= MAX_CHANGES
    good = SessionChange("s", *(msgspec.Raw(json.dumps(x).encode()) for x in ({"a": quotes}, [])))
    assert read_changes(good) == ({"a": quotes}, [])
    large = {str(number): "1" for number in range(MAX_CHANGES // 4)}
    bad = SessionChange("s", *(msgspec.Raw(json.dumps(x).encode()) for x in (large, [])))
    with pytest.raises(ValueError, match="more than"):
        read_changes(bad)


def test_one_line_holds_nothing_that_a_terminal_obeys():
    assert one_line("a\n\x1b[31mb\u202e", 100) == "a??[31mb?"
    assert one_line("x" * 500, 10) == "xxxxxxx..."
