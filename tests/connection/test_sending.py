"""The sending half of a connection: types, limits, policies, threads, joined writes."""

from __future__ import annotations

import asyncio
import collections
import logging
import threading
import zlib
from typing import Any

import pytest
from support.frames import CLOSE, PING, TEXT
from support.memory import Host, Visitor, own_tasks, route, running_manager, turns, until

from jupyter_wshandler.config.model import QueueConfig
from jupyter_wshandler.connection.phase import CLOSING, OPEN
from jupyter_wshandler.connection.sending import SENT, to_message
from jupyter_wshandler.engine.deflate import PerMessageDeflate
from jupyter_wshandler.engine.frames import check_close
from jupyter_wshandler.engine.protocol import Protocol
from jupyter_wshandler.errors import ConnectionClosed

pytestmark = pytest.mark.timeout(20)

FRAME = 104  # bytes of a message of 100, with its header


def visit(host: Any = None, *, room: int | None = None, **queue: Any) -> Visitor:
    options = {"queue": QueueConfig(**queue)}
    return Visitor(host or Host(), route(options=options), room=room).open()


def message(n: int) -> str:
    return f"{n:<100}"


def numbers(visitor: Visitor) -> list[int]:
    return [int(m) for m in visitor.messages]


# ---- what can be sent --------------------------------------------------------------------


async def test_row_write_message_of_str_bytes_dict_and_list() -> None:
    visitor = visit()
    write = visitor.connection.write_message
    write("grüß dich")
    write(b"\x00")
    write(bytearray(b"\x01"))
    write(memoryview(b"\x02"))
    write({"a": [1, None, "ü"]})
    write(collections.OrderedDict(b=1))
    write([1, {"x": True}])
    write("")
    write("text", binary=True)
    write(b"bytes", binary=False)
    assert visitor.messages == [
        "grüß dich",
        b"\x00",
        b"\x01",
        b"\x02",
        '{"a":[1,null,"ü"]}',
        '{"b":1}',
        '[1,{"x":true}]',
        "",
        b"text",
        "bytes",
    ]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "None is no message"),
        (object(), "is of type object, which has no JSON form; turn it into str"),
        (iter("x"), "is of type str_ascii_iterator|is of type str_iterator"),
        ((x for x in "ab"), "a generator is no message; send each of its items, or return it"),
        (print, "is of type builtin_function_or_method"),
    ],
)
async def test_what_is_no_message_is_refused_with_what_to_do(value, words) -> None:
    visitor = visit()
    with pytest.raises(TypeError, match=words):
        visitor.connection.write_message(value)
    assert visitor.frames == []


async def test_a_coroutine_is_no_message_and_the_error_says_to_await_it() -> None:
    async def answer() -> str:
        return "text"

    visitor = visit()
    waiting = answer()
    with pytest.raises(TypeError, match="a coroutine is no message; await it"):
        visitor.connection.write_message(waiting)
    waiting.close()
    assert visitor.frames == []


async def test_what_json_cannot_hold_is_refused() -> None:
    visitor = visit()
    with pytest.raises(TypeError):
        visitor.connection.write_message({"a": object()})
    with pytest.raises(UnicodeDecodeError):
        visitor.connection.write_message(b"\xff", binary=False)
    assert visitor.connection.phase == OPEN


async def test_text_that_utf8_cannot_hold_is_refused_on_the_loop_and_in_a_thread() -> None:
    async with running_manager() as manager:
        visitor = Visitor(manager, route()).open()
        write = visitor.connection.write_message
        with pytest.raises(UnicodeEncodeError):
            write("\ud800")

        def thread():
            write("before")
            with pytest.raises(UnicodeEncodeError):
                write("\ud800")
            write("after")

        await asyncio.to_thread(thread)
        await visitor.received("before", "after")
        await visitor.leave()


def test_a_subclass_of_str_is_sent_as_what_it_holds() -> None:
    class Name(str):
        __slots__ = ()

    assert type(to_message(Name("x"))) is str


async def test_a_ping_carries_at_most_125_bytes() -> None:
    visitor = visit()
    visitor.connection.ping()
    visitor.connection.ping("ü")
    visitor.connection.ping(b"x" * 125)
    with pytest.raises(ValueError, match="at most 125 bytes, not 126"):
        visitor.connection.ping(b"x" * 126)
    assert [f.payload for f in visitor.frames] == [b"", "ü".encode(), b"x" * 125]
    visitor.connection.close()
    with pytest.raises(ConnectionClosed):
        visitor.connection.ping()


async def test_after_close_a_write_raises_and_says_the_code() -> None:
    visitor = visit()
    visitor.connection.close(4001)
    with pytest.raises(ConnectionClosed, match=r"is closing \(4001\)"):
        visitor.connection.write_message("x")
    assert [f.opcode for f in visitor.frames] == [CLOSE]


# ---- awaited and not ---------------------------------------------------------------------


async def test_a_write_is_awaitable_and_may_be_ignored_without_a_warning() -> None:
    visitor = visit(room=10_000, messages=2)
    assert visitor.connection.write_message("x") is SENT
    assert await visitor.connection.write_message("x") is None
    await asyncio.wait_for(visitor.connection.write_message("x"), 1)
    await asyncio.gather(*(visitor.connection.write_message("x") for _ in range(3)))
    assert len(visitor.messages) == 6


async def test_an_awaited_write_waits_for_room() -> None:
    visitor = visit(room=0, messages=3)
    sent = []

    async def producer():
        for n in range(10):
            await visitor.connection.write_message(message(n))
            sent.append(n)

    task = asyncio.ensure_future(producer())
    await turns()
    assert sent == [0, 1, 2]
    assert visitor.transport.queued_frames == 4
    for more in range(1, 7):
        visitor.transport.take(FRAME)
        await turns()
        assert sent == [*range(3 + more)]
    visitor.transport.take()
    await task
    assert numbers(visitor) == [*range(10)]
    assert visitor.connection.phase == OPEN
    assert visitor.connection.dropped == 0


@pytest.mark.parametrize("slow", ["close", "drop_oldest"])
async def test_writes_awaited_together_or_in_a_task_wait_for_room_too(slow) -> None:
    visitor = visit(room=0, messages=10, slow=slow)

    async def producer():
        write = visitor.connection.write_message
        await asyncio.gather(*(write(message(n)) for n in range(15)))
        await asyncio.wait_for(write(message(15)), 5)

    task = asyncio.ensure_future(producer())
    await turns()
    assert visitor.connection.phase == OPEN
    assert not task.done()
    visitor.transport.take()
    await task
    assert numbers(visitor) == [*range(16)]
    assert visitor.connection.dropped == 0


async def test_a_write_that_waits_for_room_raises_when_the_connection_ends() -> None:
    for end in ("vanish", "close"):
        visitor = visit(room=0, messages=1)

        async def producer(visitor=visitor):
            while True:
                await visitor.connection.write_message(message(0))

        task = asyncio.ensure_future(producer())
        await turns()
        assert not task.done()
        if end == "vanish":
            visitor.vanish()
        else:
            visitor.connection.close()
            visitor.transport.take()
        with pytest.raises(ConnectionClosed):
            await asyncio.wait_for(task, 5)


async def test_one_message_over_the_limit_of_bytes_is_sent_when_it_is_alone() -> None:
    visitor = visit(room=0, messages=10, bytes=1000)
    visitor.connection.write_message("x" * 5000)
    await turns()
    assert visitor.connection.phase == OPEN
    visitor.transport.take()
    assert len(visitor.messages) == 1


# ---- a slow reader -----------------------------------------------------------------------


@pytest.mark.parametrize("limit", [{"messages": 5}, {"bytes": 5 * FRAME}])
async def test_unawaited_writes_over_the_limit_close_1013_at_the_end_of_the_turn(
    limit, caplog
) -> None:
    visitor = visit(room=0, **limit)
    connection = visitor.connection
    for n in range(6):
        connection.write_message(message(n))
    assert connection.phase == OPEN  # the peer may read until the turn ends
    await turns()
    assert connection.phase == CLOSING
    assert connection.close_code == 1013
    assert connection.dropped == 6
    with pytest.raises(ConnectionClosed):
        connection.write_message("x")
    visitor.transport.take()
    assert [f.opcode for f in visitor.frames] == [CLOSE]
    assert [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING] == [
        f"Route bot: {connection.id} reads too slowly; closing it"
    ]


async def test_a_message_that_has_begun_to_leave_is_sent_whole_before_the_close_frame() -> None:
    visitor = visit(room=50, messages=3)
    for n in range(6):
        visitor.connection.write_message(message(n))
    await turns()
    visitor.transport.take()
    assert [f.opcode for f in visitor.frames] == [TEXT, CLOSE]
    assert numbers(visitor) == [0]
    assert visitor.connection.dropped == 5


async def test_a_burst_that_the_peer_takes_within_the_turn_closes_nothing() -> None:
    visitor = visit(room=0, messages=5)
    for n in range(8):
        visitor.connection.write_message(message(n))
    visitor.transport.take()
    await turns()
    assert numbers(visitor) == [*range(8)]
    assert visitor.connection.phase == OPEN


async def test_twice_the_limit_is_not_waited_for() -> None:
    visitor = visit(room=0, messages=5)
    for n in range(11):
        visitor.connection.write_message(message(n))
    with pytest.raises(ConnectionClosed):
        visitor.connection.write_message(message(11))
    assert visitor.connection.close_code == 1013
    assert visitor.transport.queued_frames == 1


@pytest.mark.parametrize("limit", [{"messages": 5}, {"bytes": 5 * FRAME}])
async def test_drop_oldest_keeps_the_newest_and_counts_what_is_lost(limit) -> None:
    visitor = visit(room=0, slow="drop_oldest", **limit)
    for n in range(1000):
        visitor.connection.write_message(message(n))
        assert visitor.transport.queued_frames <= 11
        if n % 100 == 99:
            await turns()
            assert visitor.transport.queued_frames == 5
    visitor.transport.take()
    assert numbers(visitor) == [995, 996, 997, 998, 999]
    assert visitor.connection.dropped == 995
    assert visitor.connection.phase == OPEN


async def test_drop_oldest_spares_pings_and_what_has_begun_to_leave() -> None:
    visitor = visit(room=10, messages=3, slow="drop_oldest")
    visitor.connection.write_message(message(0))
    visitor.connection.ping(b"here")
    for n in range(1, 20):
        visitor.connection.write_message(message(n))
    await turns()
    visitor.transport.take()
    assert [f.opcode for f in visitor.frames] == [TEXT, PING, TEXT]
    assert numbers(visitor) == [0, 19]
    assert visitor.connection.dropped == 18


@pytest.mark.parametrize("alone", [False, True])
async def test_a_reload_to_drop_oldest_takes_nothing_that_later_frames_refer_to(alone) -> None:
    visitor = Visitor(Host(), route(options={"queue": QueueConfig(messages=5)}), room=0)
    deflate = PerMessageDeflate(server_no_context_takeover=alone)
    visitor.protocol = Protocol(max_message=0, deflate=deflate)
    connection = visitor.open().connection
    connection.write_message(message(0))
    connection.adopt(route(options={"queue": QueueConfig(messages=5, slow="drop_oldest")}))
    said = 1
    while said < 100 and connection.phase == OPEN:
        connection.write_message(message(said))
        said += 1
    visitor.transport.take()
    inflater, found, at = zlib.decompressobj(-15), [], 0
    while (data := visitor.transport.data[at:]) and data[0] == 0xC1:
        size = data[1]
        if alone:
            inflater = zlib.decompressobj(-15)
        found.append(int(inflater.decompress(data[2 : 2 + size] + b"\0\0\xff\xff")))
        at += 2 + size
    if alone:
        assert found[-1] == said - 1 == 99
        assert connection.dropped > 50
    else:
        assert connection.close_code == 1013
        assert found == list(range(len(found)))


# ---- from threads ------------------------------------------------------------------------


async def test_writes_from_a_thread_keep_their_order_and_never_wait() -> None:
    async with running_manager() as manager:
        visitor = Visitor(
            manager, route(options={"queue": QueueConfig(messages=5000)}), room=0
        ).open()
        done = threading.Event()

        def thread():
            for n in range(1000):
                assert visitor.connection.write_message(message(n)) is SENT
                if n % 100 == 0:
                    visitor.connection.ping(str(n))
            done.set()

        # Nobody reads, and the loop is this very thread: it is not needed for the writes.
        thread_ = threading.Thread(target=thread)
        thread_.start()
        thread_.join(10)
        assert done.is_set()
        visitor.transport.take()
        await until(lambda: len(visitor.messages) == 1000)
        assert numbers(visitor) == [*range(1000)]
        opcodes = [f.opcode for f in visitor.frames]
        assert [i for i, opcode in enumerate(opcodes) if opcode == PING][:3] == [1, 102, 203]
        await visitor.leave()


async def test_writes_from_a_thread_that_nobody_reads_close_1013() -> None:
    async with running_manager() as manager:
        visitor = Visitor(manager, route(options={"queue": QueueConfig(messages=5)}), room=0).open()

        def thread():
            while True:
                visitor.connection.write_message(message(0))

        with pytest.raises(ConnectionClosed):
            await asyncio.wait_for(asyncio.to_thread(thread), 10)
        assert visitor.connection.close_code == 1013
        visitor.transport.take()
        await visitor.closed_by_server()


async def test_many_writes_from_threads_cost_few_wake_ups_and_few_chunks() -> None:
    async with running_manager() as manager:
        visitor = Visitor(manager, route()).open()
        calls = []
        wake = manager.io.loop.call_soon_threadsafe

        def counting(*args, **kwargs):
            calls.append(args)
            return wake(*args, **kwargs)

        manager.io.loop.call_soon_threadsafe = counting
        try:

            def thread():
                for n in range(200):
                    visitor.connection.write_message(message(n))

            thread_ = threading.Thread(target=thread)
            thread_.start()
            thread_.join(10)
        finally:
            manager.io.loop.call_soon_threadsafe = wake
        assert len(calls) == 1
        await until(lambda: len(visitor.messages) == 200)
        assert len(visitor.transport.writes) == 1
        await visitor.leave()


async def test_what_a_thread_wrote_before_the_connection_ended_hurts_nobody() -> None:
    async with running_manager() as manager:
        gone, other = Visitor(manager, route()).open(), Visitor(manager, route()).open()

        def thread():
            for visitor in (gone, other):
                visitor.connection.write_message("x")
            gone.connection.ping()

        thread_ = threading.Thread(target=thread)
        gone.vanish()
        thread_.start()
        thread_.join(10)
        await other.received("x")
        assert gone.messages == []
        await asyncio.gather(gone.gone(), other.leave())
    assert own_tasks() == []


# ---- joined writes -----------------------------------------------------------------------


async def test_a_lone_message_leaves_at_once() -> None:
    visitor = visit()
    visitor.connection.write_message("x")
    assert len(visitor.transport.writes) == 1


async def test_in_a_batch_each_connection_writes_once_a_turn() -> None:
    host = Host()
    visitors = [visit(host) for _ in range(5)]
    host.io.begin_batch()
    for n in range(10):
        for visitor in visitors:
            visitor.connection.write_message(message(n))
    assert [visitor.transport.writes for visitor in visitors] == [[]] * 5
    await turns(1)
    for visitor in visitors:
        assert len(visitor.transport.writes) == 1
        assert numbers(visitor) == [*range(10)]
    visitors[0].connection.write_message(message(10))
    assert len(visitors[0].transport.writes) == 2


async def test_the_answers_to_messages_of_one_chunk_are_one_write() -> None:
    async with running_manager() as manager:

        async def on_message(handler, message):
            handler.write_message(message)

        visitor = Visitor(manager, route(on_message=on_message)).open()
        await turns()
        visitor.send(*map(str, range(16)))
        await visitor.received(*map(str, range(16)))
        assert len(visitor.transport.writes) == 1
        await visitor.leave()


async def test_a_batch_larger_than_the_limit_is_no_slow_reader() -> None:
    host = Host()
    visitor = visit(host, messages=10)
    host.io.begin_batch()
    for n in range(100):
        visitor.connection.write_message(message(n))
    await turns()
    assert numbers(visitor) == [*range(100)]
    assert visitor.connection.phase == OPEN


async def test_a_close_in_a_batch_follows_the_messages_before_it() -> None:
    host = Host()
    visitor = visit(host)
    host.io.begin_batch()
    visitor.connection.write_message("x")
    visitor.connection.close(4001)
    await turns()
    assert [f.opcode for f in visitor.frames] == [TEXT, CLOSE]
    assert len(visitor.transport.writes) == 1


@pytest.mark.parametrize(
    ("code", "reason", "error", "words"),
    [
        ("x", "", TypeError, "close code: expected an int such as 1000, found 'x'"),
        (True, "", TypeError, "close code: expected an int"),
        (1000.0, "", TypeError, "close code: expected an int"),
        (1000, b"x", TypeError, "close reason: expected a str, found b'x'"),
        (1000, "\ud800", ValueError, r"expected text that UTF-8 can write, found '\\ud800'"),
    ],
)
def test_what_is_no_close_code_or_no_reason_is_refused_in_words(code, reason, error, words):
    with pytest.raises(error, match=words) as raised:
        check_close(code, reason)
    assert type(raised.value) is error


@pytest.mark.parametrize("queue", [{"messages": 4}, {"bytes": 1000}])
async def test_pings_to_a_peer_that_reads_nothing_are_bounded_by_its_queue(queue) -> None:
    visitor = visit(room=0, **queue)
    for _ in range(1000):
        visitor.connection.ping(b"p" * 125)
    transport = visitor.connection._transport
    assert 4 <= transport.queued_frames <= 9
    assert transport.queued_bytes < 2000
    assert not visitor.connection.closed
