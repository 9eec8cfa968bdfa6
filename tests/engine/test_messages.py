"""Connections without bytes: the codec of whole messages, and the transport with a window."""

from __future__ import annotations

import asyncio

import pytest

from jupyter_wshandler.engine.frames import Failure
from jupyter_wshandler.engine.messages import (
    Close,
    MessageProtocol,
    Ping,
    Pong,
    size_of,
)
from jupyter_wshandler.engine.protocol import CLOSE_CAME, CLOSE_DONE, CLOSE_SENT, FAILED, FLOWING
from jupyter_wshandler.transports.messages import MessageTransport


class Receiver:
    """Remember what a transport says."""

    def __init__(self) -> None:
        self.events: list[object] = []
        self.lost = 0
        self.resumed = 0

    def data_received(self, data) -> None:
        self.events += data

    def connection_lost(self) -> None:
        self.lost += 1

    def writing_resumed(self) -> None:
        self.resumed += 1


class Peer:
    """Hold a transport and what has left on it."""

    def __init__(self, **window: int) -> None:
        self.frames: list[object] = []
        self.ended = 0
        self.receiver = Receiver()
        self.transport = MessageTransport(
            asyncio.get_running_loop(), self.frames.append, self._end, **window
        )
        self.transport.start(self.receiver, ())

    def _end(self) -> None:
        self.ended += 1


async def turn() -> None:
    await asyncio.sleep(0)


# ---- the codec ---------------------------------------------------------------------------------


def test_messages_pongs_and_closes_come_out_in_the_order_in_which_they_came():
    protocol = MessageProtocol()
    events = ["a", b"b", Pong(b"p"), "c", Close(1000, "bye")]
    assert protocol.receive(events) == events
    assert protocol.state == CLOSE_CAME


def test_the_limit_counts_messages_and_what_is_over_it_waits_in_order():
    protocol = MessageProtocol()
    assert protocol.receive(["a", Pong(b"1"), "b", Pong(b"2"), "c"], 2) == [
        "a",
        Pong(b"1"),
        "b",
        Pong(b"2"),
    ]
    assert protocol.pending
    assert protocol.receive(["d"], 0) == []
    assert protocol.receive([], 5) == ["c", "d"]
    assert not protocol.pending


def test_a_message_over_the_limit_is_a_failure_after_those_before_it_and_drops_those_behind():
    protocol = MessageProtocol(max_message=3)
    assert protocol.receive(["abc", b"abcd", "e"]) == [
        "abc",
        Failure(1009, "message too long"),
    ]
    assert protocol.state == FAILED
    assert not protocol.pending
    assert protocol.outgoing() == Close(1009, "message too long")
    assert protocol.outgoing() is None
    assert protocol.receive(["f"]) == []


def test_the_size_of_a_text_is_that_of_its_utf8():
    assert MessageProtocol(max_message=4).receive(["éé"]) == ["éé"]
    [failure] = MessageProtocol(max_message=3).receive(["éé"])
    assert type(failure) is Failure


def test_a_limit_that_changes_holds_for_the_next_message():
    protocol = MessageProtocol(max_message=3)
    protocol.limit(0)
    assert protocol.receive(["x" * 10_000]) == ["x" * 10_000]
    protocol.limit(3)
    assert type(protocol.receive(["abcd"])[0]) is Failure


def test_nothing_is_received_behind_the_close_of_the_peer():
    protocol = MessageProtocol()
    assert protocol.receive([Close(1000, ""), "late"]) == [Close(1000, "")]
    assert not protocol.pending
    assert protocol.receive(["later"]) == []


def test_once_a_close_was_sent_all_that_comes_is_let_through_up_to_the_answer():
    protocol = MessageProtocol()
    assert protocol.encode_close(4000, "go") == Close(4000, "go")
    assert protocol.state == CLOSE_SENT
    assert protocol.receive(["a", "b", Close(4000, "")], 0) == ["a", "b", Close(4000, "")]
    assert protocol.state == CLOSE_DONE
    assert protocol.encode_close() is None


def test_the_answer_to_a_close_is_sent_once():
    protocol = MessageProtocol()
    protocol.receive([Close(1000, "")])
    assert protocol.encode_close(1000) == Close(1000, "")
    assert protocol.state == CLOSE_DONE
    assert protocol.encode_close(1000) is None


def test_frames_are_the_messages_themselves():
    protocol = MessageProtocol()
    assert protocol.encode("grün") == "grün"
    assert protocol.encode(b"\xff") == b"\xff"
    ping = protocol.encode_ping(b"p")
    assert type(ping) is Ping
    assert ping.payload == b"p"
    assert [size_of(frame) for frame in ("grün", b"ab", ping, Close(1000, ""))] == [4, 2, 3, 0]


def test_a_text_that_could_not_travel_as_utf8_is_refused():
    with pytest.raises(UnicodeEncodeError):
        MessageProtocol().encode("\ud800")


def test_a_new_codec_is_open():
    assert MessageProtocol().state == FLOWING


# ---- the transport -------------------------------------------------------------------------------


async def test_without_a_window_everything_leaves_at_once():
    peer = Peer()
    for number in range(1000):
        peer.transport.write(str(number))
    assert peer.frames == [str(number) for number in range(1000)]
    assert peer.transport.queued_bytes == peer.transport.queued_frames == 0


async def test_a_window_of_messages_holds_the_rest_until_some_are_taken():
    peer = Peer(messages=2, size=100)
    for text in ("a", "b", "c", "d"):
        peer.transport.write(text)
    assert peer.frames == ["a", "b"]
    assert peer.transport.queued_frames == 2
    assert peer.transport.queued_bytes == 2
    peer.transport.taken(1)
    assert peer.frames == ["a", "b", "c"]
    assert peer.receiver.resumed == 1
    peer.transport.taken(2)
    assert peer.frames == ["a", "b", "c", "d"]
    peer.transport.taken(5)
    assert peer.receiver.resumed == 2


async def test_a_window_of_bytes_lets_one_message_of_any_size_through():
    peer = Peer(messages=10, size=4)
    peer.transport.write(b"x" * 1000)
    peer.transport.write(b"y")
    assert peer.frames == [b"x" * 1000]
    peer.transport.taken(1)
    assert peer.frames[1:] == [b"y"]


async def test_a_close_needs_no_room_but_waits_behind_messages_that_do():
    peer = Peer(messages=1, size=100)
    peer.transport.write("a")
    peer.transport.write(Close(1000, ""))
    assert len(peer.frames) == 2
    peer = Peer(messages=1, size=100)
    peer.transport.write("a")
    peer.transport.write("b")
    peer.transport.write(Close(1000, ""))
    assert len(peer.frames) == 1
    peer.transport.taken(1)
    assert peer.frames[1:] == ["b", Close(1000, "")]


@pytest.mark.parametrize("window", [{"messages": 3, "size": 1000}, {"messages": 100, "size": 20}])
async def test_pings_need_room_as_messages_do(window):
    peer = Peer(**window)
    for _ in range(9):
        peer.transport.write(Ping(b"12345"))
    assert len(peer.frames) in (2, 3)
    left = 9 - len(peer.frames)
    assert peer.transport.queued_frames == left
    assert peer.transport.queued_bytes == left * 7
    for frames in range(len(peer.frames) + 1, 10):
        peer.transport.taken(1)
        assert len(peer.frames) == frames
    assert peer.transport.queued_bytes == 0


async def test_pings_and_messages_are_taken_in_the_order_in_which_they_were_sent():
    peer = Peer(messages=2, size=100)
    frames = [Ping(b""), "a" * 99, Ping(b"x"), "b"]
    for frame in frames:
        peer.transport.write(frame)
    assert peer.frames == frames[:1]
    peer.transport.taken(1)
    assert peer.frames == frames[:2]
    peer.transport.taken(1)
    assert peer.frames == frames


async def test_the_oldest_message_that_waits_is_dropped_and_never_a_close():
    peer = Peer(messages=1, size=100)
    for frame in ("a", "", "bcd", Close(1000, "")):
        peer.transport.write(frame)
    assert peer.transport.queued_bytes == 3
    assert peer.transport.drop_oldest() == 1
    assert peer.transport.drop_oldest() == 3
    assert peer.transport.drop_oldest() == 0
    assert peer.transport.queued_frames == 1
    peer.transport.taken(1)
    assert peer.frames == ["a", Close(1000, "")]


async def test_empty_messages_that_wait_count_as_waiting():
    peer = Peer(messages=1, size=100)
    for _ in range(3):
        peer.transport.write("")
    assert peer.transport.queued_bytes == 2


async def test_close_sends_what_waits_before_it_ends():
    peer = Peer(messages=1, size=100)
    peer.transport.write("a")
    peer.transport.write("b")
    peer.transport.close()
    peer.transport.write("too late")
    assert peer.ended == 0
    peer.transport.taken(1)
    assert peer.frames == ["a", "b"]
    assert peer.ended == 1
    await turn()
    assert peer.receiver.lost == 1


async def test_the_end_is_told_once_and_not_to_whoever_is_on_the_stack():
    peer = Peer()
    peer.transport.abort()
    assert peer.receiver.lost == 0
    peer.transport.abort()
    peer.transport.lost()
    peer.transport.close()
    await turn()
    assert (peer.ended, peer.receiver.lost) == (1, 1)


async def test_a_peer_that_is_lost_is_not_told_of_its_end():
    peer = Peer(messages=1, size=100)
    peer.transport.write("a")
    peer.transport.write("b")
    peer.transport.lost()
    peer.transport.taken(1)
    await turn()
    assert (peer.ended, peer.receiver.lost, peer.frames) == (0, 1, ["a"])
    assert peer.transport.queued_bytes == 0
    peer.transport.feed(["nobody is there"])
    assert peer.receiver.events == []


async def test_what_came_early_is_delivered_at_the_start_and_an_early_end_a_turn_later():
    frames: list[object] = []
    loop = asyncio.get_running_loop()
    early, gone = Receiver(), Receiver()
    MessageTransport(loop, frames.append, lambda: None).start(early, ["hi"])
    assert early.events == ["hi"]
    transport = MessageTransport(loop, frames.append, lambda: None)
    transport.lost()
    await turn()
    transport.start(gone, ["hi"])
    assert (gone.events, gone.lost) == ([], 0)
    await turn()
    assert gone.lost == 1
