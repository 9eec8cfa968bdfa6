"""Messages in an envelope count like anybody's: in the inbox, the rate limit and the queue."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from support.memory import Host, Visitor, look_late, route, running_manager, turns, until

from jupyter_wshandler.config.model import QueueConfig
from jupyter_wshandler.connection.receiving import INBOX_BYTES, LIGHT
from jupyter_wshandler.connection.turns import next_message
from jupyter_wshandler.limits.rates import Meter, TokenBucket
from jupyter_wshandler.types import Question

pytestmark = pytest.mark.timeout(20)


def chat(host: Any, bot: Any, *, room: int | None = None) -> Visitor:
    visitor = Visitor(host, bot, room=room)
    protocol = visitor.connection.envelop(visitor.protocol, confirms=False)
    visitor.protocol = protocol  # type: ignore[assignment]
    return visitor.open()


def say(number: int, text: str = "hi") -> str:
    return json.dumps({"message": text, "ask": number})


def envelopes(visitor: Visitor) -> list[Any]:
    return [json.loads(message) for message in visitor.messages]


async def on_message(handler, message):
    """Take a message and say nothing."""


async def test_heavy_messages_with_an_id_pause_the_reading_and_are_let_go_one_by_one() -> None:
    visitor = chat(Host(), route(options={"max_message": 0}, on_message=on_message))
    connection = visitor.connection
    for number in range(1, 10):
        visitor.send(say(number, "x" * (INBOX_BYTES // 4)))
    assert len(connection._inbox) < 9
    assert INBOX_BYTES <= connection._waiting_size < 2 * INBOX_BYTES
    taken = []
    while (message := next_message(connection)) is not None:
        assert isinstance(message, Question)
        taken.append(message.number)
    assert taken == [*range(1, 10)]
    assert connection._waiting_size == 0


async def test_a_heavy_message_that_is_stopped_in_the_inbox_counts_no_more() -> None:
    visitor = chat(Host(), route(options={"max_message": 0}, on_message=on_message))
    visitor.send(say(1, "x" * (2 * LIGHT)))
    assert visitor.connection._waiting_size > 2 * LIGHT
    visitor.send('{"stop": 1}')
    assert visitor.connection._waiting_size == 0
    assert envelopes(visitor) == [{"end": 1, "how": "stopped"}]


async def test_messages_with_an_id_that_nobody_handles_any_more_are_counted() -> None:
    visitor = chat(Host(), route(options={"lost": "drop"}, on_message=on_message))
    visitor.send(say(1), say(2), '{"message": "plain"}')
    visitor.vanish()
    await turns()
    assert visitor.connection.unhandled == 3


async def test_stops_count_as_pings_do_and_with_a_message_in_one_piece_are_no_way_round() -> None:
    host = Host()
    visitor = chat(host, route(on_message=on_message))
    now = host.clock.time()
    control = TokenBucket(0.001, 3, now)
    visitor.connection._meter = Meter(TokenBucket(0.001, 1, now), None, False, control)
    for number in range(1, 7):
        visitor.send(say(number), json.dumps({"stop": number}))
    host.io.end_batch()
    ends = {e["end"]: e["how"] for e in envelopes(visitor) if "end" in e}
    # Three stops pass; then one message is taken, and the rest is over the limit.
    assert ends == {
        **dict.fromkeys((1, 2, 3), "stopped"),
        **dict.fromkeys((5, 6), "refused"),
    }
    assert [m.number for m in visitor.connection._inbox] == [4]  # type: ignore[union-attr]
    assert visitor.connection.rate_limited == 5


async def test_the_bytes_of_an_envelope_count_for_the_rate() -> None:
    meter = Meter(None, TokenBucket(0.001, 100, 0.0), False)
    padded = Question(1, "a", len('{"message": "a",' + " " * 200 + '"ask": 1}'))
    small = Question(2, "a", len('{"message": "a", "ask": 2}'))
    # One message always fits, as large as it is; it leaves nothing for the next.
    assert meter.sift([padded, small], 0.0)[0] == [padded]


async def test_a_client_that_sends_and_never_reads_is_not_owed_ends_without_bound() -> None:
    handled = 0

    async def count(handler, message):
        nonlocal handled
        handled += 1

    bot = route(options={"queue": QueueConfig(messages=8)}, on_message=count)
    async with running_manager() as manager:
        visitor = chat(manager, bot, room=0)
        for number in range(1, 60):
            visitor.send(say(number))
            await turns()
        assert 0 < handled < 30
        assert visitor.transport.queued_frames < 16
        assert not visitor.connection.closed
        visitor.vanish()
        await visitor.gone()


async def test_a_worker_that_was_written_off_ends_no_answer_of_a_later_one() -> None:
    go = asyncio.Event()

    begun = []

    async def stubborn(handler, message):
        begun.append(message)
        while not go.is_set():
            try:
                await go.wait()
            except asyncio.CancelledError:
                continue

    async with running_manager() as manager:
        visitor = chat(manager, route(options={"timeout": 1.0}, on_message=stubborn))
        visitor.send(say(1))
        await until(lambda: begun, "its begin")
        look_late(manager, visitor)
        await turns()
        look_late(manager, visitor, 7200.0)
        assert envelopes(visitor) == [{"end": 1, "how": "failed"}]
        answers = visitor.connection.chat_answers
        assert answers is not None
        answers.current = 2  # as if another worker answered
        go.set()
        await turns()
        assert answers.current == 2
        visitor.vanish()
        await visitor.gone()
