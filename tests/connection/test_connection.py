"""The receiving half of a connection: states, the inbox, closing, and the clock."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from support import frames
from support.frames import CLOSE, PING, TEXT
from support.memory import Host, Visitor, route, turns, until

from jupyter_wshandler.connection.farewell import CLOSE_TIMEOUT, LINGER, LINGER_AT_MOST
from jupyter_wshandler.connection.phase import CLOSED, CLOSING, OPEN, OPENING, PEER_CLOSED
from jupyter_wshandler.connection.receiving import INBOX, INBOX_BYTES
from jupyter_wshandler.connection.request import Request
from jupyter_wshandler.connection.turns import next_message
from jupyter_wshandler.engine.protocol import Pong
from jupyter_wshandler.errors import ConnectionClosed

pytestmark = pytest.mark.timeout(20)


def visit(host: Host | None = None, *, room: int | None = None, **options: Any) -> Visitor:
    """Open a connection whose callbacks nobody runs: what arrives stays in its inbox."""

    async def on_message(handler, message):
        raise AssertionError("nobody runs this")

    functions = options.pop("functions", {"on_message": on_message})
    return Visitor(host or Host(), route(options=options, **functions), room=room).open()


def drain(visitor: Visitor) -> list[Any]:
    """Take everything from the inbox, as the callbacks do."""
    taken = []
    while (message := next_message(visitor.connection)) is not None:
        taken.append(message)
    return taken


# ---- what a callback looks at ------------------------------------------------------------


async def test_the_handler_has_the_face_that_callbacks_know() -> None:
    host = Host()
    bot = route(options={"kwargs": {"title": "Bot"}})
    request = Request([("X-A", "1")], "/bot?a=1&a=2&b=", "192.0.2.1", "https", "example.org")
    visitor = Visitor(
        host,
        bot,
        request=request,
        current_user="me",
        path_args=("blue",),
        path_kwargs={"room": "blue"},
    ).open()
    handler = visitor.connection
    assert (handler.route, handler.name) == ("bot", "bot")
    assert handler.kwargs == {"title": "Bot"}
    assert handler.args == {"a": ["1", "2"], "b": [""]}
    assert (handler.path_args, handler.path_kwargs) == (("blue",), {"room": "blue"})
    assert handler.current_user == "me"
    assert handler.subprotocol is None
    assert handler.request.headers["x-a"] == "1"
    assert (handler.close_code, handler.close_reason) == (None, None)
    assert repr(handler) == f"<Connection {handler.id} of route 'bot', open>"
    with pytest.raises(TypeError):
        handler.kwargs["title"] = "x"


async def test_row_each_connection_has_an_id_and_a_state_of_its_own() -> None:
    host = Host()
    one, two = visit(host).connection, visit(host).connection
    assert one.id != two.id
    one.state.count = 1
    one.state["name"] = "x"
    assert one.state == {"count": 1, "name": "x"}
    assert two.state == {}
    del one.state.count
    assert "count" not in one.state
    with pytest.raises(AttributeError, match="no 'count'"):
        one.state.count
    with pytest.raises(AttributeError, match="no 'count'"):
        del one.state.count


async def test_looking_at_the_session_marks_it_to_be_saved() -> None:
    host, session = Host(), object()
    connection = Visitor(host, route(), session=session).connection
    assert host.touched == []
    assert connection.session is session
    assert host.touched == [session]


async def test_log_lines_begin_with_route_and_connection(caplog) -> None:
    connection = visit().connection
    with caplog.at_level(logging.INFO):
        connection.log.info("hello %s", "you")
    assert caplog.messages == [f"bot {connection.id}: hello you"]


async def test_row_handler_write_says_what_to_call_instead() -> None:
    with pytest.raises(TypeError, match=r"handler\.write_message"):
        visit().connection.write("x")


# ---- delivery ----------------------------------------------------------------------------


async def test_opening_wakes_the_callbacks_and_so_does_a_message() -> None:
    host = Host()
    visitor = visit(host)
    assert host.woken == [visitor.connection]
    visitor.send("1", "2")
    assert host.woken == [visitor.connection] * 2
    assert drain(visitor) == ["1", "2"]


async def test_the_inbox_never_holds_more_than_its_size_and_reading_pauses() -> None:
    visitor = visit()
    connection, transport = visitor.connection, visitor.transport
    names = [str(n) for n in range(1000)]
    visitor.send(*names[: INBOX - 1])
    assert transport.reading
    visitor.send(*names[INBOX - 1 : 500])
    assert (len(connection._inbox), transport.reading) == (INBOX, False)
    visitor.send(*names[500:])
    taken = []
    while (message := next_message(connection)) is not None:
        taken.append(message)
        assert len(connection._inbox) <= INBOX
    assert taken == names
    assert transport.reading


async def test_reading_goes_on_when_half_the_inbox_is_free() -> None:
    visitor = visit()
    visitor.send(*["x"] * INBOX)
    for _ in range(INBOX // 2 - 1):
        next_message(visitor.connection)
    assert not visitor.transport.reading
    next_message(visitor.connection)
    assert visitor.transport.reading


async def test_pongs_cannot_overfill_the_inbox() -> None:
    visitor = visit(functions={"on_pong": lambda handler, data: None})
    visitor.transport.receive(frames.frame(10, b"x") * 1000)
    assert len(visitor.connection._inbox) == INBOX
    taken = drain(visitor)
    await turns(20)
    taken += drain(visitor)
    assert set(map(type, taken)) == {Pong}
    assert len(visitor.connection._inbox) == 0
    await turns(20)
    assert visitor.transport.reading


async def test_a_peer_that_pings_and_never_reads_fills_no_memory() -> None:
    visitor = visit(room=0)
    for _ in range(2000):
        visitor.ping(b"x" * 125)
    limit = visitor.connection.entry.config.queue.messages
    assert visitor.transport.queued_frames <= limit + 1
    assert visitor.connection.phase == OPEN


# ---- the client closes -------------------------------------------------------------------


@pytest.mark.parametrize(("code", "answer"), [(1000, 1000), (4999, 4999), (None, 1005)])
async def test_an_idle_connection_answers_the_clients_close_at_once_with_its_code(
    code, answer
) -> None:
    visitor = visit()
    visitor.close(code, "bye" if code else "")
    assert visitor.goodbye.code == answer
    assert visitor.connection.close_code == (code or 1005)
    assert visitor.connection.close_reason == ("bye" if code else "")
    await turns()
    assert visitor.connection.phase == CLOSED
    assert visitor.transport.aborted


async def test_the_answer_waits_until_the_messages_before_it_are_handled() -> None:
    visitor = visit()
    visitor.send("1", "2")
    visitor.close(4000)
    connection = visitor.connection
    assert connection.phase == PEER_CLOSED
    assert visitor.goodbye is None
    connection.write_message("still heard")
    assert drain(visitor) == ["1", "2"]
    connection.settle()
    assert [f.opcode for f in visitor.frames] == [TEXT, CLOSE]
    assert visitor.goodbye.code == 4000


async def test_the_answer_waits_5_seconds_at_most() -> None:
    host = Host()
    visitor = visit(host)
    visitor.send("1")
    visitor.close()
    visitor.connection.tick(host.clock.now + CLOSE_TIMEOUT - 0.1)
    assert visitor.goodbye is None
    visitor.connection.tick(host.clock.now + CLOSE_TIMEOUT)
    assert visitor.goodbye.code == 1000
    with pytest.raises(ConnectionClosed):
        visitor.connection.write_message("too late")
    await turns()
    # The message was sent before the close and is delivered all the same.
    assert drain(visitor) == ["1"]


async def test_a_late_answer_still_has_time_to_leave() -> None:
    host = Host()
    visitor = visit(host, room=0)
    visitor.send("1")
    visitor.close()
    host.clock.now += CLOSE_TIMEOUT
    visitor.connection.tick(host.clock.now)
    visitor.connection.tick(host.clock.now + 1)
    assert not visitor.transport.lost
    visitor.transport.take()
    assert visitor.goodbye.code == 1000
    await turns()


async def test_a_client_that_does_not_take_the_answer_is_cut_off() -> None:
    host = Host()
    visitor = visit(host, room=0)
    visitor.close()
    visitor.connection.tick(host.clock.now + CLOSE_TIMEOUT + 0.1)
    assert visitor.transport.aborted
    await turns()
    assert visitor.connection.phase == CLOSED


async def test_nothing_after_the_clients_close_frame_counts() -> None:
    visitor = visit()
    visitor.send("1")
    visitor.close()
    visitor.send("2")
    assert drain(visitor) == ["1"]


async def test_a_close_frame_behind_a_full_inbox_is_seen_when_there_is_room() -> None:
    visitor = visit()
    visitor.transport.receive(frames.text("x") * 200 + frames.close(4001, "done"))
    connection = visitor.connection
    assert connection.close_code is None
    assert len(drain(visitor)) == 200
    assert (connection.close_code, connection.close_reason) == (4001, "done")


# ---- we close ----------------------------------------------------------------------------


async def test_close_sends_the_code_and_waits_for_the_clients_answer() -> None:
    visitor = visit()
    connection = visitor.connection
    connection.close(4001, "grüß")
    assert (visitor.goodbye.code, visitor.goodbye.reason) == (4001, "grüß")
    assert (connection.close_code, connection.close_reason) == (4001, "grüß")
    assert connection.phase == CLOSING
    assert connection.closed
    assert not visitor.transport.lost
    visitor.close(4001)
    assert visitor.transport.aborted
    await turns()
    assert connection.phase == CLOSED


@pytest.mark.parametrize("answer", [1001, None])
async def test_our_own_code_stays_whatever_the_client_answers(answer) -> None:
    visitor = visit()
    visitor.connection.close(4001, "ours")
    visitor.close(answer)
    await turns()
    assert (visitor.connection.close_code, visitor.connection.close_reason) == (4001, "ours")


async def test_close_without_arguments_is_1000_and_a_second_one_has_no_effect() -> None:
    visitor = visit()
    visitor.connection.close()
    visitor.connection.close(4001)
    assert [f.code for f in visitor.frames] == [1000]
    visitor.close()
    await turns()
    visitor.connection.close(4001)
    assert visitor.connection.close_code == 1000


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000])
async def test_a_code_that_may_not_be_sent_is_refused(code) -> None:
    visitor = visit()
    with pytest.raises(ValueError, match="3000 to 4999"):
        visitor.connection.close(code)
    assert visitor.connection.phase == OPEN


async def test_a_reason_has_at_most_123_bytes() -> None:
    visitor = visit()
    with pytest.raises(ValueError, match="found 124"):
        visitor.connection.close(4000, "ü" * 62)
    visitor.connection.close(4000, "ü" * 61 + "x")
    assert visitor.goodbye.code == 4000


async def test_messages_after_our_close_are_dropped_and_those_that_wait_too() -> None:
    visitor = visit()
    visitor.send("waits")
    visitor.connection.close(4001)
    visitor.send("late")
    visitor.pong(b"late")
    assert drain(visitor) == []


async def test_after_our_close_the_clients_answer_is_found_behind_a_full_inbox() -> None:
    visitor = visit()
    visitor.transport.receive(frames.text("x") * 100)
    visitor.send(*["y"] * 100)
    visitor.close(1000)  # waits, as reading is paused
    assert not visitor.transport.reading
    visitor.connection.close(4001)
    await until(lambda: visitor.transport.aborted)  # more frames than one turn takes
    await turns()
    assert visitor.connection.phase == CLOSED


async def test_a_peer_that_does_not_answer_our_close_is_cut_off_after_5_seconds() -> None:
    host = Host()
    visitor = visit(host)
    visitor.connection.close()
    visitor.connection.tick(host.clock.now + CLOSE_TIMEOUT - 0.1)
    assert not visitor.transport.lost
    visitor.connection.tick(host.clock.now + CLOSE_TIMEOUT)
    assert visitor.transport.aborted
    await turns()
    assert visitor.connection.close_code == 1000


async def test_close_while_the_client_waits_for_its_answer_is_the_answer() -> None:
    visitor = visit()
    visitor.send("1")
    visitor.close(4000, "theirs")
    visitor.connection.close(4001)
    assert [f.code for f in visitor.frames] == [4001]
    assert (visitor.connection.close_code, visitor.connection.close_reason) == (4000, "theirs")
    await turns()
    assert visitor.connection.phase == CLOSED


async def test_close_before_the_connection_is_open_has_no_effect() -> None:
    connection = Visitor(Host(), route()).connection
    connection.close(4001)
    assert connection.phase == OPENING
    with pytest.raises(ConnectionClosed, match="opening"):
        connection.write_message("x")


async def test_close_from_a_thread_is_checked_there_and_done_on_the_loop() -> None:
    visitor = visit()
    connection = visitor.connection

    def thread():
        with pytest.raises(ValueError):
            connection.close(1006)
        connection.write_message("before")
        connection.close(4001, "from a thread")

    await asyncio.to_thread(thread)
    await turns()
    assert [f.opcode for f in visitor.frames] == [TEXT, CLOSE]
    assert visitor.goodbye.code == 4001


# ---- the end of the stream ---------------------------------------------------------------


async def test_an_abrupt_end_is_1006_and_what_waited_is_kept_where_the_route_says_so() -> None:
    host = Host()
    visitor = visit(host, lost="handle")
    visitor.send("1", "2")
    visitor.vanish()
    await turns()
    connection = visitor.connection
    assert (connection.close_code, connection.close_reason) == (1006, "")
    assert connection.phase == CLOSED
    assert host.woken[-1] is connection
    assert drain(visitor) == ["1", "2"]
    with pytest.raises(ConnectionClosed, match=r"closed \(1006\)"):
        connection.write_message("x")
    with pytest.raises(ConnectionClosed):
        connection.ping()


async def test_messages_that_were_read_but_not_parsed_survive_an_abrupt_end_on_such_a_route() -> (
    None
):
    visitor = visit(lost="handle")
    visitor.send(*[str(n) for n in range(300)])
    visitor.vanish()
    await turns()
    assert drain(visitor) == [str(n) for n in range(300)]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frames.frame(3, b""), 1002),
        (frames.frame(TEXT, b"\xff"), 1007),
        (frames.frame(TEXT, b"x" * 2000), 1009),
    ],
)
async def test_a_peer_that_breaks_the_protocol_gets_its_code_and_time_to_read_it(
    data, code, caplog
) -> None:
    host = Host()
    visitor = visit(host, max_message=1000)
    connection = visitor.connection
    visitor.send("before")
    with caplog.at_level(logging.INFO):
        visitor.transport.receive(data)
    assert connection.close_code == code
    # What came before the violation is answered before the connection fails.
    assert visitor.goodbye is None
    assert drain(visitor) == ["before"]
    connection.write_message("an answer")
    connection.settle()
    assert [f.opcode for f in visitor.frames] == [TEXT, CLOSE]
    assert visitor.goodbye.code == code
    assert connection.phase == CLOSING
    assert visitor.transport.ended
    assert any(str(code) in message for message in caplog.messages)
    connection.tick(host.clock.now + LINGER - 0.1)
    assert not visitor.transport.lost
    connection.tick(host.clock.now + LINGER)
    assert visitor.transport.aborted
    await turns()


async def test_a_peer_that_still_sends_its_message_is_read_on_until_it_answers_our_close() -> None:
    """It cannot see our close frame before it has sent what it began."""
    host = Host()
    visitor = visit(host, max_message=1000)
    message = frames.frame(TEXT, b"x" * 100_000)
    visitor.transport.receive(message[:2000])
    assert visitor.goodbye.code == 1009
    for at in range(2000, len(message), 10_000):
        host.clock.now += 0.1
        visitor.connection.tick(host.clock.now)
        visitor.transport.receive(message[at : at + 10_000])
        assert not visitor.transport.lost
        if at == 22_000:
            host.clock.now += 0.1
            visitor.connection.tick(host.clock.now)
            host.clock.now += CLOSE_TIMEOUT - 0.2  # a line that hangs for a while
    visitor.transport.receive(frames.close(1009)[:3])
    assert not visitor.transport.lost
    visitor.transport.receive(frames.close(1009)[3:])
    assert visitor.transport.lost
    await turns()
    assert visitor.connection.close_code == 1009
    assert [f.opcode for f in visitor.frames] == [CLOSE]


async def test_a_peer_that_sends_on_for_ever_is_cut_off_after_some_time() -> None:
    host = Host()
    visitor = visit(host, max_message=1000)
    visitor.send("x" * 2000)
    began = host.clock.now
    while not visitor.transport.lost:
        host.clock.now += 0.5
        visitor.ping()
        visitor.connection.tick(host.clock.now)
    await turns()
    assert LINGER_AT_MOST <= host.clock.now - began <= LINGER_AT_MOST + CLOSE_TIMEOUT + 1


async def test_a_peer_that_sends_no_frames_of_a_client_is_not_waited_for() -> None:
    host = Host()
    visitor = visit(host)
    visitor.transport.receive(b"\x81\x00")
    began = host.clock.now
    while not visitor.transport.lost:
        host.clock.now += 0.5
        visitor.transport.receive(bytes(1000))
        visitor.connection.tick(host.clock.now)
    await turns()
    assert host.clock.now - began <= LINGER + 1


@pytest.mark.parametrize("closed", [False, True], ids=["violation", "closed by us"])
async def test_a_peer_that_sends_very_much_after_our_close_is_cut_off(closed, monkeypatch) -> None:
    monkeypatch.setattr("jupyter_wshandler.connection.connection.LINGER_BYTES", 100_000)
    visitor = visit(max_message=1000)
    if closed:
        visitor.connection.close(4000)
    else:
        visitor.send("x" * 2000)
    for _ in range(10):
        assert not visitor.transport.lost
        visitor.transport.receive(frames.frame(TEXT, b"x" * 10_000))
    assert visitor.transport.aborted
    await turns()


async def test_a_close_of_ours_waits_for_a_peer_that_still_sends() -> None:
    """The rate limit's 1008, say, on a client that is in the middle of a large message."""
    host = Host()
    visitor = visit(host, max_message=10_000_000)
    message = frames.frame(TEXT, b"x" * 200_000)
    visitor.transport.receive(message[:2000])
    visitor.connection.close(4008, "too much")
    for at in range(2000, len(message), 10_000):
        host.clock.now += 1.0
        visitor.connection.tick(host.clock.now)
        visitor.transport.receive(message[at : at + 10_000])
        assert not visitor.transport.lost
    visitor.transport.receive(frames.close(4008))
    assert visitor.transport.lost
    await turns()


async def test_a_peer_that_closed_behind_its_violation_gets_our_close_frame_and_the_end() -> None:
    visitor = visit(max_message=1000)
    visitor.send("before")
    visitor.transport.receive(frames.text("x" * 2000) + frames.close(1000))
    assert drain(visitor) == ["before"]
    assert not visitor.transport.lost
    visitor.connection.settle()
    assert visitor.goodbye.code == 1009
    assert visitor.transport.lost
    await turns()


async def test_a_message_at_work_does_not_stop_the_reading_after_our_close() -> None:
    """What is in a callback's hands fills the inbox; what comes now is not put there."""
    visitor = visit(max_message=4 * INBOX_BYTES)
    visitor.transport.receive(frames.frame(TEXT, b"x" * 2 * INBOX_BYTES))
    assert len(next_message(visitor.connection)) == 2 * INBOX_BYTES
    visitor.connection.close(4000)
    visitor.transport.receive(frames.text("y"))
    assert visitor.transport.reading
    visitor.transport.receive(frames.close(4000))
    assert visitor.transport.lost
    await turns()


# ---- keepalive ---------------------------------------------------------------------------


def pings(visitor: Visitor) -> int:
    return sum(f.opcode == PING for f in visitor.frames)


async def test_row_keepalive_pings_come_by_the_clock_and_an_answer_keeps_the_client() -> None:
    host = Host()
    visitor = visit(host)  # 20 s and 20 s are the defaults
    start = host.clock.now
    for second in range(1, 121):
        visitor.connection.tick(start + second)
        if second % 20 == 5:
            visitor.pong()
        assert pings(visitor) == second // 20
    assert not visitor.transport.lost


async def test_row_keepalive_a_peer_that_vanished_is_gone_in_40_seconds() -> None:
    host = Host()
    visitor = visit(host)
    start = host.clock.now
    for second in range(1, 40):
        visitor.connection.tick(start + second)
        assert not visitor.transport.lost
    visitor.connection.tick(start + 40)
    assert visitor.transport.aborted
    await turns()
    assert visitor.connection.close_code == 1006
    assert pings(visitor) == 1


async def test_any_message_counts_as_a_sign_of_life() -> None:
    host = Host()
    visitor = visit(host)
    start = host.clock.now
    for second in range(1, 200):
        visitor.connection.tick(start + second)
        if second % 15 == 0:
            visitor.send("x")
            drain(visitor)
    assert not visitor.transport.lost


async def test_a_slow_reader_that_still_takes_bytes_is_alive() -> None:
    host = Host()
    visitor = visit(host, room=0)
    visitor.connection.write_message("x" * 5000)
    start = host.clock.now
    for second in range(1, 100):
        visitor.connection.tick(start + second)
        visitor.transport.take(10)
    assert not visitor.transport.lost


async def test_ping_interval_0_sends_none_and_ping_timeout_0_waits_for_ever() -> None:
    host = Host()
    silent, patient = visit(host, ping_interval=0.0), visit(host, ping_timeout=0.0)
    for second in range(1, 200):
        for visitor in (silent, patient):
            visitor.connection.tick(host.clock.now + second)
    assert (pings(silent), pings(patient)) == (0, 9)
    assert [visitor.transport.lost for visitor in (silent, patient)] == [False, False]


async def test_while_the_inbox_is_full_the_ping_clock_stops() -> None:
    host = Host()
    visitor = visit(host)
    start = host.clock.now
    visitor.connection.tick(start + 19)
    visitor.send(*["x"] * INBOX)
    visitor.connection.tick(start + 19.5)
    for second in range(20, 500):
        visitor.connection.tick(start + second)
    assert pings(visitor) == 0
    drain(visitor)
    visitor.connection.tick(start + 500)
    assert pings(visitor) == 1
    visitor.connection.tick(start + 519)
    assert not visitor.transport.lost
    visitor.connection.tick(start + 520)
    assert visitor.transport.lost
    await turns()


async def test_a_ping_under_way_when_reading_pauses_is_not_held_against_the_peer() -> None:
    host = Host()
    visitor = visit(host)
    start = host.clock.now
    visitor.connection.tick(start + 20)
    visitor.send(*["x"] * INBOX)
    for second in range(21, 60):
        visitor.connection.tick(start + second)
    drain(visitor)
    visitor.connection.tick(start + 60)
    assert pings(visitor) == 2
    assert not visitor.transport.lost


async def test_no_pings_while_closing() -> None:
    host = Host()
    visitor = visit(host)
    visitor.connection.close()
    visitor.connection.tick(host.clock.now + 4)
    visitor.connection.tick(host.clock.now + 100)
    assert pings(visitor) == 0
    await turns()
