"""A client that takes slowly what it was sent: it loses nothing at the end, and is not given up."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from connection.test_breaks import RESUME, Returning
from support import frames
from support.frames import CLOSE, PING, TEXT
from support.memory import Host, MemoryTransport, Visitor, route, turns, until

from jupyter_wshandler.connection.farewell import (
    CLOSE_TIMEOUT,
    DRAIN_AT_MOST,
    LINGER,
    LINGER_AT_MOST,
)
from jupyter_wshandler.connection.phase import CLOSED, OPEN, PEER_CLOSED
from jupyter_wshandler.types import Outstanding

pytestmark = pytest.mark.timeout(20)


class HeldUp(MemoryTransport):
    """A transport whose operating system takes all at once, and holds what the peer has not taken.

    Attributes:
        before: Bytes that it had at the beginning.
        took: Bytes that the peer has taken.
    """

    before = took = 0

    def outstanding(self) -> Outstanding:
        return Outstanding(self.before + len(self.data) - self.took, self.took)

    def take(self, count: int | None = None) -> None:
        self.took = self.before + len(self.data) if count is None else self.took + count


async def on_message(handler: Any, message: Any) -> None:
    raise AssertionError("nobody runs this")


def visit(host: Host, room: int | None = None, **options: Any) -> Visitor:
    return Visitor(host, route(options=options, on_message=on_message), room=room).open()


def held_up(before: int) -> Visitor:
    host = Host()
    visitor = Visitor(host, route(on_message=on_message))
    visitor.transport = HeldUp(host.io)
    visitor.transport.before = before
    return visitor.open()


def pings(visitor: Visitor) -> int:
    return sum(frame.opcode == PING for frame in visitor.frames)


def let_pass(visitor: Visitor, seconds: float, each: Any = None) -> float:
    """Let time pass until the stream has ended; return the seconds that it took at most."""
    clock = visitor.host.clock
    began, until = clock.now, clock.now + seconds
    while clock.now < until and not visitor.transport.lost:
        clock.now += 1.0
        visitor.connection.tick(clock.now)
        if each is not None and not visitor.transport.lost:
            each()
    return clock.now - began


# ---- after our close frame -----------------------------------------------------------------


async def test_what_was_sent_before_the_close_leaves_however_long_it_takes() -> None:
    visitor = visit(Host(), room=0)
    visitor.connection.write_message("x" * 100_000)
    visitor.connection.close(4000, "done")
    let_pass(visitor, 90, lambda: visitor.transport.take(1000))
    assert not visitor.transport.lost
    visitor.transport.take()
    assert [frame.opcode for frame in visitor.frames] == [TEXT, CLOSE]
    assert visitor.goodbye.code == 4000
    visitor.close(4000)
    assert visitor.transport.lost
    await turns()


async def test_what_the_system_still_holds_counts_as_what_waits_here() -> None:
    visitor = held_up(40_000)
    visitor.connection.close()
    let_pass(visitor, 40, lambda: visitor.transport.take(1000))
    assert not visitor.transport.lost
    assert let_pass(visitor, 60) <= CLOSE_TIMEOUT + 1
    assert visitor.transport.aborted
    await turns()


async def test_a_reader_that_takes_nothing_any_more_is_cut_off_in_5_seconds() -> None:
    visitor = visit(Host(), room=0)
    visitor.connection.write_message("x" * 100_000)
    visitor.connection.close()
    let_pass(visitor, 22, lambda: visitor.transport.take(1000))
    assert not visitor.transport.lost
    assert let_pass(visitor, 60) <= CLOSE_TIMEOUT + 1
    assert visitor.transport.aborted
    await turns()


async def test_a_reader_that_never_takes_anything_is_cut_off_as_ever() -> None:
    visitor = visit(Host(), room=0)
    visitor.connection.write_message("x" * 100_000)
    visitor.connection.close()
    assert let_pass(visitor, 60) == CLOSE_TIMEOUT
    await turns()


async def test_a_reader_of_a_byte_at_a_time_keeps_no_connection_for_ever() -> None:
    visitor = visit(Host(), room=0)
    visitor.connection.write_message("x" * 100_000)
    visitor.connection.close()
    took = let_pass(visitor, 10_000, lambda: visitor.transport.take(1))
    assert DRAIN_AT_MOST <= took <= DRAIN_AT_MOST + CLOSE_TIMEOUT
    await turns()
    assert visitor.connection.phase == CLOSED


async def test_the_answer_to_the_clients_own_close_waits_for_what_stands_before_it() -> None:
    visitor = visit(Host(), room=0)
    visitor.connection.write_message("x" * 100_000)
    visitor.close(4001)
    let_pass(visitor, 60, lambda: visitor.transport.take(1000))
    assert not visitor.transport.lost
    visitor.transport.take()
    assert visitor.transport.lost
    assert [frame.opcode for frame in visitor.frames] == [TEXT, CLOSE]
    await turns()


async def test_a_client_that_has_said_goodbye_is_not_read_on_for() -> None:
    visitor = visit(Host(), room=0)
    visitor.connection.write_message("x" * 100_000)
    visitor.close(4001)
    took = let_pass(visitor, 600, lambda: visitor.transport.receive(frames.text("more")))
    assert took == CLOSE_TIMEOUT
    await turns()


async def test_what_was_sent_before_a_violation_leaves_too() -> None:
    visitor = visit(Host(), room=0, max_message=1000)
    visitor.connection.write_message("x" * 100_000)
    visitor.send("y" * 2000)
    let_pass(visitor, 60, lambda: visitor.transport.take(1000))
    assert not visitor.transport.lost
    visitor.transport.take()
    assert [frame.opcode for frame in visitor.frames] == [TEXT, CLOSE]
    assert visitor.goodbye.code == 1009
    visitor.close(1009)
    await turns()


async def test_who_is_given_up_has_its_two_seconds_and_no_more() -> None:
    visitor = visit(Host(), room=0)
    visitor.connection.write_message("x" * 100_000)
    visitor.connection.give_up(1011, "timeout")
    took = let_pass(visitor, 600, lambda: visitor.transport.take(1000))
    assert took == LINGER
    await turns()


async def test_a_client_that_both_sends_and_takes_is_waited_for_while_it_takes() -> None:
    visitor = visit(Host(), room=0)
    visitor.connection.write_message("x" * 100_000)
    visitor.connection.close()

    def both() -> None:
        visitor.transport.take(1000)
        visitor.ping()

    let_pass(visitor, LINGER_AT_MOST + 30, both)
    assert not visitor.transport.lost
    visitor.transport.take()
    visitor.close()
    await turns()


async def test_a_close_frame_that_is_acknowledged_late_buys_a_tick_and_no_second_timeout() -> None:
    visitor = held_up(0)
    visitor.connection.close()
    let_pass(visitor, 1)
    visitor.transport.take()  # a system that has nothing to say acknowledges 40 ms later
    assert let_pass(visitor, 60) == CLOSE_TIMEOUT + 1
    assert visitor.transport.aborted
    await turns()


# ---- pings ---------------------------------------------------------------------------------


async def test_a_ping_that_stands_behind_data_waits_while_the_data_leaves() -> None:
    visitor = held_up(100_000)
    let_pass(visitor, 95, lambda: visitor.transport.take(1000))
    assert not visitor.transport.lost
    assert pings(visitor) == 1
    visitor.transport.take()
    visitor.pong()
    let_pass(visitor, 20)
    assert pings(visitor) == 2


async def test_that_more_is_sent_meanwhile_does_not_hide_that_the_client_takes() -> None:
    visitor = held_up(100_000)

    def take_as_much_as_comes() -> None:
        visitor.connection.write_message("x" * 1000)
        visitor.transport.take(1000)

    let_pass(visitor, 95, take_as_much_as_comes)
    assert visitor.transport.outstanding().size > 100_000
    assert not visitor.transport.lost


async def test_a_stopped_client_with_data_before_it_is_gone_a_timeout_later_at_most() -> None:
    visitor = held_up(100_000)
    let_pass(visitor, 30)
    visitor.transport.take(50_000)  # its system still took some
    assert let_pass(visitor, 100) == 30
    assert visitor.transport.aborted
    await turns()
    assert visitor.connection.close_code == 1006


async def test_a_stopped_client_that_has_taken_nothing_since_is_gone_as_ever() -> None:
    visitor = held_up(100_000)
    assert let_pass(visitor, 100) == 40
    await turns()


async def test_a_stopped_client_whose_system_takes_on_and_on_is_gone_all_the_same() -> None:
    """What is sent behind the ping says nothing about who should answer it."""
    visitor = held_up(10)

    def drip() -> None:
        visitor.connection.write_message("drip")
        visitor.transport.take(6)

    assert let_pass(visitor, 200, drip) == 60
    await turns()


async def test_a_client_that_answers_after_all_starts_anew() -> None:
    visitor = held_up(10_000)
    let_pass(visitor, 39)
    visitor.transport.take()
    let_pass(visitor, 10)
    assert not visitor.transport.lost
    visitor.pong()
    let_pass(visitor, 1)  # the next ping was due
    visitor.transport.take()
    assert pings(visitor) == 2
    assert let_pass(visitor, 100) == 20
    await turns()


# ---- a connection that outlives breaks -----------------------------------------------------


def returning(manager: Any, **options: Any) -> Returning:
    visitor = Returning(manager, route(on_message=on_message, options={**RESUME, **options}))
    visitor.transport = HeldUp(manager.io)
    visitor.transport.before = 100_000
    return visitor.open()


async def test_a_ping_of_a_connection_that_outlives_breaks_waits_too(manager) -> None:
    visitor = returning(manager)
    now = asyncio.get_running_loop().time()
    for second in range(95):
        visitor.connection.tick(now + second)
        visitor.transport.take(1000)
    assert not visitor.connection.away
    visitor.connection.tick(now + 140)
    visitor.connection.tick(now + 180)
    assert visitor.connection.away
    await turns()


async def test_writing_to_a_stopped_client_is_no_sign_of_life_of_it(manager) -> None:
    visitor = Returning(manager, route(on_message=on_message, options=RESUME), room=0).open()
    visitor.connection.write_message("x" * 70_000)  # as much as is given to the system ahead
    now = asyncio.get_running_loop().time()
    for second in range(65):
        visitor.connection.tick(now + second)
        manager.io.begin_batch()
        visitor.connection.write_message("more")
        await turns(3)
        if visitor.connection.away:
            break
    assert visitor.connection.away
    assert second <= 61


async def test_what_a_connection_that_outlives_breaks_has_sent_before_a_close_leaves(
    manager,
) -> None:
    visitor = Returning(manager, route(on_message=on_message, options=RESUME), room=0).open()
    assert visitor.connection.phase == OPEN
    for _ in range(5):
        visitor.connection.write_message("x" * 40_000)
    visitor.connection.close(4000)
    now = asyncio.get_running_loop().time()
    for second in range(1, 100):
        visitor.connection.tick(now + second)
        visitor.transport.take(1000)
    assert not visitor.transport.lost
    visitor.transport.take()
    assert visitor.goodbye.code == 4000
    visitor.close(4000)
    await until(lambda: visitor.connection.phase > PEER_CLOSED)
    await turns()
