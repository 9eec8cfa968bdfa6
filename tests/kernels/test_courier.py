"""Batches between a server and a kernel: order, size, pace, confirmation."""

from __future__ import annotations

import asyncio
import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.memory import until

from jupyter_wshandler.kernels.courier import (
    MAX_EVENTS,
    MAX_SIZE,
    Courier,
    OutOfStep,
    with_buffers,
)
from jupyter_wshandler.kernels.events import Event


class Said(Event, tag="said", frozen=True):
    """An event of any shape."""

    parts: tuple

    def as_list(self) -> list:
        return list(self.parts)


def said(*parts: object) -> Said:
    return Said("", parts)


class Line:
    """Two couriers, and what travels between them."""

    def __init__(self, *, in_flight: int = 1, patience: float = 0.0, **options) -> None:
        loop = asyncio.get_running_loop()
        options = {"in_flight": in_flight, "patience": patience, **options}
        self.sent: list[dict] = []
        self.held = False
        self.waiting: list[tuple[dict, list[bytes]]] = []
        self.log: list[object] = []
        self.there = Courier(loop, lambda *_: None, in_flight=1, patience=0.0)
        self.here = Courier(loop, self._transmit, **options)
        self.there._transmit = lambda batch, buffers: self.here.receive(batch)

    def _transmit(self, batch: dict, buffers: list[bytes]) -> None:
        batch = json.loads(json.dumps(batch))
        self.sent.append(batch)
        self.waiting.append((batch, buffers))
        if not self.held:
            self.deliver()

    def deliver(self) -> None:
        while self.waiting:
            batch, _ = self.waiting.pop(0)
            events, taken = self.there.receive(batch)
            self.log += events
            self.log += [("taken", name, count) for name, count in taken.items()]


async def test_events_of_one_turn_travel_in_one_batch_in_order():
    line = Line()
    for number in range(5):
        line.here.put(said("event", number))
    await until(lambda: line.log)
    assert line.log == [["event", number] for number in range(5)]
    assert len(line.sent) == 1


async def test_while_a_batch_is_on_its_way_the_next_one_grows():
    line = Line()
    line.held = True
    line.here.put(said("event", 0))
    await until(lambda: line.sent)
    for number in range(1, 100):
        line.here.put(said("event", number))
        await asyncio.sleep(0)
    assert len(line.sent) == 1
    line.held = False
    line.deliver()
    await until(lambda: len(line.log) == 100)
    assert [len(batch["events"]) for batch in line.sent if "events" in batch] == [1, 99]


async def test_a_batch_holds_a_bounded_number_of_events_and_bytes():
    line = Line(in_flight=100)
    for number in range(MAX_EVENTS + 1):
        line.here.put(said("event", number))
    await until(lambda: len(line.log) == MAX_EVENTS + 1)
    assert [len(batch["events"]) for batch in line.sent] == [MAX_EVENTS, 1]
    line.sent.clear()
    for _ in range(3):
        line.here.put(said("big"), size=MAX_SIZE - 1)
    line.here.put(said("bigger"), size=MAX_SIZE * 3)
    await until(lambda: len(line.log) == MAX_EVENTS + 5)
    assert [len(batch["events"]) for batch in line.sent] == [1, 1, 1, 1]
    assert line.here.waiting == 0


async def test_batches_may_burst_after_a_silence_and_keep_to_their_rate_then():
    line = Line(in_flight=1000, rate=100.0, burst=5)
    loop = asyncio.get_running_loop()
    times = []
    transmit = line.here._transmit
    line.here._transmit = lambda *batch: (times.append(loop.time()), transmit(*batch))
    for number in range(12):
        line.here.put(said("event", number))
        await until(lambda number=number: len(line.log) > number)
    gaps = [after - before for before, after in itertools.pairwise(times)]
    assert len(times) == 12
    # The first five find credit; what time they take earns a little more.
    assert times[11] - times[0] >= (12 - 5) / 100 - 0.001
    assert max(gaps[:4]) < min(gaps[6:])


async def test_a_message_is_taken_only_after_what_was_put_before_has_left():
    line = Line()
    line.held = True
    line.here.put(said("first"))
    await until(lambda: line.sent)
    for number in range(MAX_EVENTS + 1):
        line.here.put(said("answer", number))
    line.here.take("c", 1)
    line.here.take("c", 2)
    line.held = False
    line.deliver()
    await until(lambda: ("taken", "c", 3) in line.log)
    assert line.log[-1] == ("taken", "c", 3)
    assert line.log[-2] == ["answer", MAX_EVENTS]


async def test_a_confirmation_travels_with_an_answer_and_else_on_its_own():
    loop = asyncio.get_running_loop()
    sent: list[dict] = []
    courier = Courier(loop, lambda batch, _: sent.append(batch), in_flight=1, patience=0.02)
    courier.receive({"n": 1, "events": [["x"]]})
    courier.put(said("answer"))
    await until(lambda: sent)
    assert sent == [{"n": 1, "events": [["answer"]], "got": 1}]
    began = loop.time()
    courier.receive({"n": 2, "events": [["x"]]})
    await until(lambda: len(sent) == 2)
    assert sent[1] == {"got": 2}
    assert loop.time() - began >= 0.0199


async def test_confirmations_are_not_confirmed():
    line = Line()
    line.here.put(said("x"))
    await until(lambda: line.log)
    for _ in range(20):
        await asyncio.sleep(0.002)
    assert len(line.sent) == 1


async def test_a_batch_that_never_came_is_noticed():
    courier = Line().here
    courier.receive({"n": 1, "events": []})
    with pytest.raises(OutOfStep, match="expected batch 2, found 3"):
        courier.receive({"n": 3, "events": []})


async def test_stalled_says_for_how_long_nothing_was_confirmed():
    line = Line()
    assert line.here.stalled() == 0.0
    line.held = True
    line.here.put(said("x"))
    await until(lambda: line.here.stalled() > 0.02)
    line.held = False
    line.deliver()
    await until(lambda: line.here.stalled() == 0.0)


async def test_a_closed_courier_sends_nothing():
    line = Line()
    line.here.put(said("x"))
    line.here.close()
    line.here.put(said("y"))
    line.here.take("c")
    await asyncio.sleep(0.01)
    assert line.sent == []


@given(st.lists(st.one_of(st.integers(0, 5), st.binary(max_size=5))))
def test_each_event_gets_its_own_buffer_back(values):
    events, buffers = [], []
    for value in values:
        if isinstance(value, bytes):
            events.append(["binary", "c"])
            buffers.append(value)
        else:
            events.append(["text", "c", value])
    pairs = with_buffers(events, [memoryview(b) for b in buffers], frozenset({"binary"}))
    back = [buffer if event[0] == "binary" else event[2] for event, buffer in pairs]
    assert back == values


def test_a_buffer_that_is_missing_is_noticed():
    with pytest.raises(OutOfStep, match="buffer"):
        with_buffers([["binary", "c"]], [], frozenset({"binary"}))


async def test_an_event_that_cannot_be_written_is_dropped_alone_and_the_numbers_go_on():
    line = Line()
    dropped: list[object] = []
    written: list[tuple[dict, list[bytes]]] = []

    def transmit(batch: dict, buffers: list[bytes]) -> None:
        json.dumps(batch, ensure_ascii=False).encode()  # as a kernel's session does
        written.append((batch, buffers))
        line._transmit(batch, buffers)

    line.here._transmit = transmit
    line.here._dropped = lambda event, error: dropped.append(
        (event.as_list(), type(error).__name__)
    )
    line.here.put(said("binary", "a"), b"1")
    line.here.put(said("binary", "\ud800"), b"2")
    line.here.put(said("binary", "b"), b"3")
    await until(lambda: len(line.log) == 2)
    assert written == [({"n": 1, "events": [["binary", "a"], ["binary", "b"]]}, [b"1", b"3"])]
    assert dropped == [(["binary", "\ud800"], "UnicodeEncodeError")]
    line.here.put(said("text", {1, 2}))
    await until(lambda: len(dropped) == 2)
    line.here.put(said("text", "after"))
    await until(lambda: len(line.log) == 3)
    assert [batch["n"] for batch, _ in written] == [1, 2, 3]
    assert line.log[-1] == ["text", "after"]
    line.here.close()
    line.there.close()


@pytest.mark.parametrize("error", [TypeError, ValueError, RecursionError, OverflowError])
async def test_an_event_that_the_line_cannot_write_for_any_reason_costs_the_others_nothing(error):
    dropped: list[tuple[object, Exception]] = []

    def pack(value: object) -> str:
        if "wrong" in str(value):
            raise error("not this one")
        return json.dumps(value)

    line = Line(pack=pack, dropped=lambda *what: dropped.append(what))
    transmit = line.here._transmit
    line.here._transmit = lambda batch, buffers: (pack(batch), transmit(batch, buffers))
    for event in (["text", "a", 1], ["text", "b", "wrong"], ["text", "c", 3]):
        line.here.put(said(*event))
    await until(lambda: len(line.log) == 2)
    line.here.put(said("text", "d", 4))
    await until(lambda: len(line.log) == 3)
    assert [event[1] for event in line.log] == ["a", "c", "d"]
    assert [(event.as_list()[1], type(why)) for event, why in dropped] == [("b", error)]


async def test_an_event_that_only_this_line_can_write_is_not_dropped_with_another():
    def pack(value: object) -> str:
        return json.dumps(value, default=str, allow_nan=False)

    line = Line(pack=pack)
    line.here._transmit = lambda batch, buffers: line.log.extend(json.loads(pack(batch))["events"])
    for event in (["serve", "a", {1, 2}], ["serve", "b", float("nan")], ["serve", "c"]):
        line.here.put(said(*event))
    await until(lambda: line.log)
    assert [event[1] for event in line.log] == ["a", "c"]
