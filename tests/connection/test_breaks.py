"""A connection whose client is away: what it keeps, what goes on, what ends it; in memory."""

from __future__ import annotations

import asyncio
import gc
import json
import tracemalloc
from typing import Any

import pytest
from support.memory import MemoryTransport, Visitor, own_tasks, route, turns, until

from jupyter_wshandler.config.model import QueueConfig, ResumeConfig
from jupyter_wshandler.engine.protocol import Protocol
from jupyter_wshandler.engine.resuming import LAST_NUMBER, ComeBack
from jupyter_wshandler.errors import ConnectionClosed
from jupyter_wshandler.routes import Route, RouteTable

SECRET = "s" * 32
RESUME = {"resume": ResumeConfig()}


class Returning(Visitor):
    """A client that comes and goes."""

    def __init__(self, manager: Any, bot: Route, **options: Any) -> None:
        super().__init__(manager, bot, **options)
        self.said = 0

    def open(self, early: bytes = b"") -> Returning:
        codec, line = self.connection.outlive(self.protocol, self.transport, SECRET, ("user:anne",))
        self.host.open(self.connection, codec, line, early)
        return self

    def say(self, *texts: str) -> None:
        for text in texts:
            self.said += 1
            self.send(json.dumps({"message": text, "n": self.said}))

    def tell(self, **frame: Any) -> None:
        self.send(json.dumps(frame))

    def back(self, received: int, room: int | None = None) -> Returning:
        """Come back by another way, as one that has received so many frames."""
        assert self.connection.line.knows(SECRET)
        assert self.connection.line.goes_on_behind(received)
        self.transport = MemoryTransport(self.host.io, room)
        codec = Protocol(max_message=self.connection.entry.config.max_message)
        come_back = ComeBack(self.connection.id, SECRET, received)
        self.connection.line.take_up(self.transport, codec, b"", come_back)
        return self

    @property
    def first(self) -> Any:
        return json.loads(self.messages[0])

    @property
    def got(self) -> list[Any]:
        """What has come by this way, but for its first frame and acknowledgements."""
        found = [json.loads(text) for text in self.messages[1:]]
        return [frame for frame in found if "ack" not in frame]

    @property
    def texts(self) -> list[str]:
        return [frame["message"] for frame in self.got]


async def echo(handler, message):
    return message


async def test_what_is_sent_while_nobody_is_there_waits_and_comes_in_order(manager):
    visitor = Returning(manager, route(on_message=echo, options=RESUME)).open()
    visitor.say("a")
    await until(lambda: visitor.texts == ["a"])
    visitor.vanish()
    await until(lambda: visitor.connection.away)
    assert not visitor.connection.closed
    visitor.connection.write_message("b")
    await asyncio.to_thread(visitor.connection.write_message, b"c")
    await asyncio.to_thread(visitor.connection.write_message, "d")
    await until(lambda: visitor.connection.line.queued_frames == 4)
    visitor.back(1)
    assert visitor.first["resumed"] is True
    assert visitor.first["received"] == 1
    assert visitor.messages[1:] == [
        '{"message":"b","n":2}',
        b"\0\0\0\0\0\0\0\3c",
        '{"message":"d","n":4}',
    ]
    assert not visitor.connection.away
    await visitor.leave()


async def test_what_is_in_the_inbox_is_handled_while_nobody_is_there(manager):
    gate = asyncio.Event()

    async def slow(handler, message):
        await gate.wait()
        return message

    visitor = Returning(manager, route(on_message=slow, options=RESUME)).open()
    visitor.say(*map(str, range(100)))  # more than an inbox holds
    await turns()
    visitor.transport._unread.clear()
    visitor.vanish()
    await until(lambda: visitor.connection.away)
    gate.set()
    await until(lambda: visitor.connection.work is None)
    visitor.back(0)
    taken = visitor.said = visitor.first["received"]
    assert taken == len(visitor.got)
    assert 60 < taken < 70
    visitor.say(*map(str, range(taken, 100)))
    await until(lambda: len(visitor.got) == 100)
    assert visitor.texts == [*map(str, range(100))]
    await visitor.leave()


async def test_a_generator_goes_on_until_keep_is_full_and_then_waits(manager):
    async def count(handler, message):
        for number in range(50):
            yield str(number)

    options = {"resume": ResumeConfig(messages=10)}
    visitor = Returning(manager, route(on_message=count, options=options)).open()
    visitor.vanish()
    await until(lambda: visitor.connection.away)
    visitor.back(0)
    visitor.say("go")
    await until(lambda: visitor.got)
    visitor.vanish()
    await until(lambda: visitor.connection.away)
    await turns(50)
    assert visitor.connection.line.queued_frames == 10
    visitor.back(0)
    for number in range(50):
        await until(lambda number=number: len(visitor.got) > number)
        visitor.tell(ack=number + 1)
    await until(lambda: len(visitor.got) == 51)
    assert [frame.get("piece") for frame in visitor.got] == [*map(str, range(50)), None]
    await visitor.leave()


async def test_what_nobody_awaits_ends_a_connection_that_keeps_too_much(manager, caplog):
    ended = []

    def on_close(handler):
        ended.append((handler.close_code, handler.close_reason))

    options = {"resume": ResumeConfig(messages=10)}
    bot = route(on_message=echo, on_close=on_close, loop=("on_close",), options=options)
    visitor = Returning(manager, bot).open()
    visitor.vanish()
    await until(lambda: visitor.connection.away)
    for number in range(11):
        visitor.connection.write_message(str(number))
    await until(lambda: ended)
    assert ended == [(1013, "too slow: messages are waiting unread")]
    assert "is away for too long; closing it" in caplog.text
    with pytest.raises(ConnectionClosed):
        visitor.connection.write_message("x")
    assert visitor.connection.dropped == 11


async def test_where_the_oldest_are_dropped_their_numbers_remain(manager):
    options = {
        "resume": ResumeConfig(messages=10),
        "queue": QueueConfig(slow="drop_oldest"),
    }
    visitor = Returning(manager, route(on_message=echo, options=options)).open()
    visitor.vanish()
    await until(lambda: visitor.connection.away)
    for number in range(14):
        visitor.connection.write_message(str(number))
    await until(lambda: visitor.connection.dropped)
    dropped = visitor.connection.dropped
    visitor.back(0)
    assert [frame["n"] for frame in visitor.got] == [*range(1, 15)]
    assert [frame.get("message") for frame in visitor.got[:dropped]] == [None] * dropped
    assert [frame["message"] for frame in visitor.got[dropped:]] == [*map(str, range(dropped, 14))]
    await visitor.leave()


async def test_a_client_that_is_there_is_not_closed_for_what_it_has_not_acknowledged(manager):
    options = {"resume": ResumeConfig(messages=10)}
    visitor = Returning(manager, route(on_message=echo, options=options)).open()
    for number in range(500):
        visitor.connection.write_message(str(number))
    await turns(50)
    assert len(visitor.got) == 500
    assert visitor.goodbye is None
    assert not visitor.connection.line.goes_on_behind(100)  # that is not kept any more
    visitor.tell(ack=500)
    await visitor.leave()


async def test_what_a_slow_reader_has_not_taken_comes_by_the_next_way(manager):
    visitor = Returning(manager, route(on_message=echo, options=RESUME), room=200).open()
    for number in range(100):
        visitor.connection.write_message(f"{number:0100d}")
    visitor.vanish()
    await until(lambda: visitor.connection.away)
    visitor.back(0, room=5000)
    assert len(visitor.transport.data) == 5000
    visitor.transport.take()
    await until(lambda: len(visitor.got) == 100)
    assert [int(text) for text in visitor.texts] == [*range(100)]
    await visitor.leave()


async def test_a_slow_reader_is_closed_as_without_resume(manager):
    options = {**RESUME, "queue": QueueConfig(messages=10)}
    visitor = Returning(manager, route(on_message=echo, options=options), room=200).open()
    for _ in range(200):
        if not visitor.connection.closed:
            visitor.connection.write_message("x" * 100)
    await until(lambda: visitor.connection.close_code == 1013)
    visitor.transport.take()
    goodbye = await visitor.closed_by_server()
    assert goodbye.reason == "too slow: messages are waiting unread"


async def test_what_was_sent_leaves_before_the_close_frame(manager):
    visitor = Returning(manager, route(on_message=echo, options=RESUME), room=200).open()
    for number in range(100):
        visitor.connection.write_message(str(number))
    visitor.connection.close(4000)
    visitor.transport.take()
    assert visitor.texts == [*map(str, range(100))]
    assert (await visitor.closed_by_server()).code == 4000


async def test_the_bot_hears_of_a_break_and_of_its_end_once_each(manager):
    heard = []

    def on_away(handler):
        heard.append(("away", handler.away))

    def on_resume(handler):
        heard.append(("resume", handler.away))
        return "is never sent"

    bot = route(
        on_message=echo,
        on_away=on_away,
        on_resume=on_resume,
        loop=("on_away", "on_resume"),
        options=RESUME,
    )
    visitor = Returning(manager, bot).open()
    visitor.vanish()
    await until(lambda: heard == [("away", True)])
    visitor.back(0)
    await until(lambda: heard == [("away", True), ("resume", False)])
    await turns()
    assert visitor.got == []
    await visitor.leave()


async def test_a_busy_bot_hears_of_many_breaks_no_more_than_of_one(manager):
    heard: list[str] = []
    gate = asyncio.Event()

    async def busy(handler, message):
        await gate.wait()

    bot = route(
        on_message=busy,
        on_away=lambda handler: heard.append("away"),
        on_resume=lambda handler: heard.append("resume"),
        loop=("on_away", "on_resume"),
        options=RESUME,
    )
    visitor = Returning(manager, bot).open()
    visitor.say("x")
    await turns()
    for _ in range(20):
        visitor.vanish()
        await until(lambda: visitor.connection.away)
        visitor.back(0)
    gate.set()
    await until(lambda: len(heard) == 2)
    await turns()
    assert heard == ["away", "resume"]
    await visitor.leave()


async def test_when_the_time_is_over_the_connection_is_lost(manager):
    ended = []
    bot = route(
        on_message=echo,
        on_close=lambda handler: ended.append((handler.close_code, handler.away)),
        loop=("on_close",),
        options={"resume": ResumeConfig(window=60)},
    )
    visitor = Returning(manager, bot).open()
    visitor.vanish()
    await until(lambda: visitor.connection.away)
    now = manager.io.loop.time()
    visitor.connection.tick(now + 59)
    await turns()
    assert ended == []
    visitor.connection.tick(now + 61)
    await until(lambda: ended)
    assert [code for code, _ in ended] == [1006]
    assert manager.connections == {}


async def test_a_page_that_went_away_and_never_came_back_has_said_1001(manager):
    visitor = Returning(manager, route(on_message=echo, options=RESUME)).open()
    visitor.close(1001)
    await until(lambda: visitor.connection.away)
    assert visitor.goodbye.code == 1001
    visitor.connection.tick(manager.io.loop.time() + 121)
    await visitor.gone()
    assert visitor.connection.close_code == 1001


async def test_who_is_ended_while_away_has_ended_at_once(manager):
    visitor = Returning(manager, route(on_message=echo, options=RESUME)).open()
    visitor.vanish()
    await until(lambda: visitor.connection.away)
    visitor.connection.end(4401, "your login has ended")
    await visitor.gone()
    assert visitor.connection.close_code == 4401
    said = ComeBack(visitor.connection.id, SECRET, 0)
    assert manager.resumes.find(said, visitor.connection, ["user:anne"]) == "ended"
    assert manager.resumes.find(said, visitor.connection, ["user:bob"]) == "user"
    wrong = said._replace(secret="t" * 32)
    assert manager.resumes.find(wrong, visitor.connection, ["user:anne"]) == "unknown"


async def test_a_server_that_stops_waits_for_nobody_who_is_away(manager):
    ended = []
    bot = route(
        on_message=echo,
        on_close=lambda handler: ended.append(handler.close_code),
        loop=("on_close",),
        options=RESUME,
    )
    away, there = Returning(manager, bot).open(), Returning(manager, bot).open()
    away.vanish()
    await until(lambda: away.connection.away)
    stopping = asyncio.create_task(manager.stop(5))
    await until(lambda: there.goodbye)
    there.vanish()  # a break now is an end
    await stopping
    assert ended == [1001, 1001]
    assert own_tasks() == []


async def test_a_connection_whose_numbers_are_used_up_ends_and_its_client_comes_again(manager):
    visitor = Returning(manager, route(on_message=echo, options=RESUME)).open()
    visitor.vanish()
    await until(lambda: visitor.connection.away)
    lasting = visitor.connection.line._codec.lasting
    lasting.last = lasting.sent = lasting._ever = LAST_NUMBER - 2
    visitor.back(LAST_NUMBER - 2)
    visitor.connection.write_message(b"a")
    visitor.connection.write_message(b"b")
    with pytest.raises(ConnectionClosed):
        visitor.connection.write_message(b"c")
    assert [message[8:] for message in visitor.messages[1:]] == [b"a", b"b"]
    goodbye = await visitor.closed_by_server()
    assert (goodbye.code, goodbye.reason) == (1012, "wsh.v1: all numbers are used up; come again")


async def test_what_the_bot_says_at_once_comes_behind_the_first_frame(manager):
    bot = route(
        on_message=echo,
        on_resume=lambda handler: handler.write_message("welcome back") and None,
        loop=("on_resume",),
        options=RESUME,
    )
    visitor = Returning(manager, bot).open()
    visitor.vanish()
    await until(lambda: visitor.connection.away)
    visitor.connection.write_message("missed")
    visitor.back(0)
    await until(lambda: len(visitor.got) == 2)
    assert visitor.first["resumed"] is True
    assert visitor.texts == ["missed", "welcome back"]
    await visitor.leave()


async def swap(manager: Any, bot: Route) -> None:
    manager.served.table = RouteTable([bot])
    for connection in list(manager.connections.values()):
        manager.served._move(connection)


async def test_a_reload_meanwhile_takes_who_is_away_along(manager):
    visitor = Returning(manager, route(on_message=echo, options=RESUME)).open()
    visitor.vanish()
    await until(lambda: visitor.connection.away)

    async def louder(handler, message):
        return message.upper()

    fewer = {"resume": ResumeConfig(messages=5), "max_message": 2000}
    await swap(manager, route(on_message=louder, options=fewer))
    visitor.back(0)
    visitor.say("a")
    await until(lambda: visitor.texts == ["A"])
    visitor.say("x" * 2001)
    assert (await visitor.closed_by_server()).code == 1009


@pytest.mark.parametrize("how", ["gone", "off"])
async def test_a_reload_that_takes_the_route_or_its_resume_ends_who_is_away(manager, how):
    bot = route(on_message=echo, options=RESUME)
    visitor = Returning(manager, bot).open()
    visitor.vanish()
    await until(lambda: visitor.connection.away)
    await swap(manager, route("other") if how == "gone" else route(on_message=echo))
    visitor.connection.tick(manager.io.loop.time())
    await visitor.gone()
    assert visitor.connection.close_code == (1012 if how == "gone" else 1006)


async def test_beyond_what_a_server_keeps_a_break_is_an_end(manager, monkeypatch):
    monkeypatch.setattr("jupyter_wshandler.manager.resuming.AWAY_AT_MOST", 1)
    bot = route(on_message=echo, options=RESUME)
    one, other = Returning(manager, bot).open(), Returning(manager, bot).open()
    one.vanish()
    await until(lambda: one.connection.away)
    other.vanish()
    await other.gone()
    assert one.connection.away


async def test_away_connections_have_no_tasks_and_little_memory(manager):
    bot = route(on_message=echo, on_away=lambda handler: None, loop=("on_away",), options=RESUME)
    served = manager.served
    Returning(manager, bot).open().vanish()  # what is made once
    count = 2000
    await turns()
    gc.collect()
    tasks = len(asyncio.all_tasks())
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(count):
            visitor = Returning(manager, bot).open()
            visitor.say("hello")
            visitor.tell(ack=0)
            visitor.vanish()
        del visitor
        await until(lambda: manager.resumes.away == count + 1)
        for connection in manager.connections.values():
            connection.write_message("")  # what was kept is acknowledged at the next break
            break
        await turns()
        gc.collect()
        each = (tracemalloc.get_traced_memory()[0] - before) / count
    finally:
        tracemalloc.stop()
    assert len(asyncio.all_tasks()) == tasks
    assert each < 6 * 1024, f"{each:.0f} bytes"
    for connection in list(manager.connections.values()):
        connection.line.expire()
    await until(lambda: not manager.connections)
    assert len(served.table) >= 1


async def test_what_was_short_enough_before_a_break_is_so_behind_it(manager):
    async def size(handler, message):
        return str(len(message))

    options = {**RESUME, "max_message": 1000}
    visitor = Returning(manager, route(on_message=size, options=options)).open()
    longest = '"' * 1000  # which takes twice as much as JSON
    visitor.say(longest)
    await until(lambda: visitor.texts == ["1000"])
    visitor.vanish()
    await until(lambda: visitor.connection.away)
    visitor.back(1)
    visitor.say(longest)
    await until(lambda: visitor.texts == ["1000"])
    visitor.say("x" * 1001)
    await until(lambda: visitor.connection.close_code == 1009)
    await visitor.leave()
