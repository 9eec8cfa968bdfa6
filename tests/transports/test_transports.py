"""The transports over real sockets: bytes in order, bounded, and one clean end."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.memory import turns, until
from support.tlspair import Peer, shake_hands
from tornado.iostream import IOStream

from jupyter_wshandler.engine.shared import Frames
from jupyter_wshandler.transports.direct import DirectTransport
from jupyter_wshandler.transports.handover import take_over
from jupyter_wshandler.transports.loop import RECEIVE_SIZE, LoopIO
from jupyter_wshandler.transports.queue import JOIN_SIZE, FrameQueue
from jupyter_wshandler.transports.stream import StreamTransport
from jupyter_wshandler.transports.tls import TLSTransport

pytestmark = pytest.mark.timeout(30)

Transport = DirectTransport | StreamTransport

PING = b"\x89\x00"


def frame(n: int, size: int = 100) -> bytes:
    """Return bytes that a queue takes for a message: the first is a text frame's."""
    return b"\x81" + f"{n:<{size - 1}}".encode()


class Recorder:
    """Be what a transport reads to."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.chunks = 0
        self.lost = 0
        self.resumed = 0
        self.on_data: Callable[[], object] = lambda: None

    def data_received(self, data: bytes) -> None:
        assert not self.lost, "nothing follows the end"
        assert type(data) is bytes
        self.data += data
        self.chunks += 1
        self.on_data()

    def connection_lost(self) -> None:
        self.lost += 1

    def writing_resumed(self) -> None:
        assert not self.lost
        self.resumed += 1


class Line:
    """A transport, what it reads to, and the peer's end of the socket."""

    def __init__(self, transport: Transport, peer: socket.socket, io: LoopIO) -> None:
        self.transport = transport
        self.peer = peer
        self.io = io
        self.seen = Recorder()

    def start(self, early: bytes = b"") -> Line:
        self.transport.start(self.seen, early)
        return self

    async def peer_reads(self, size: int) -> bytes:
        """Read so many bytes as the peer, or fewer where the stream ends."""
        loop, data = asyncio.get_running_loop(), bytearray()
        async with asyncio.timeout(10):
            while len(data) < size:
                chunk = await loop.sock_recv(self.peer, min(size - len(data), 1 << 16))
                if not chunk:
                    break
                data += chunk
        return bytes(data)

    async def peer_reads_all(self) -> bytes:
        return await self.peer_reads(1 << 30)

    async def peer_sends(self, data: bytes) -> None:
        async with asyncio.timeout(10):
            await asyncio.get_running_loop().sock_sendall(self.peer, data)

    def fill(self) -> int:
        """Write until the operating system takes no more; return the bytes written."""
        written = 0
        while not self.transport.queued_bytes:
            self.transport.write(frame(0, 4096))
            written += 4096
        return written


class TlsLine(Line):
    """A line whose peer encrypts."""

    def __init__(self, transport: Transport, tls: Peer, io: LoopIO) -> None:
        super().__init__(transport, tls.sock, io)
        self.tls = tls

    async def peer_reads(self, size: int) -> bytes:
        async with asyncio.timeout(10):
            return await self.tls.receive(size)

    async def peer_sends(self, data: bytes) -> None:
        async with asyncio.timeout(10):
            await self.tls.send(data)


@pytest.fixture(params=["direct", "stream", "tls-1.2", "tls-1.3"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


def make_pair(family: str = "tcp") -> tuple[socket.socket, socket.socket]:
    if family == "unix":
        ours, peer = socket.socketpair()
    else:
        with socket.create_server(("127.0.0.1", 0)) as server:
            peer = socket.create_connection(server.getsockname())
            # What is sent behind a handshake must not wait for its acknowledgement (40 ms).
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            ours, _ = server.accept()
    for sock in (ours, peer):
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 16)
    return ours, peer


@pytest.fixture
async def dial(kind: str) -> AsyncIterator[Callable[..., Line]]:
    """Return a function that makes a line of the transport under test."""
    io, lines = LoopIO(asyncio.get_running_loop()), []

    def make(family: str = "tcp") -> Line:
        ours, peer = make_pair(family)
        if kind.startswith("tls"):
            tls = Peer(peer)
            lines.append(TlsLine(TLSTransport(shake_hands(ours, tls, kind), io), tls, io))
            return lines[-1]
        transport: Transport
        if kind == "direct":
            transport = DirectTransport(ours, io)
        else:
            transport = StreamTransport(IOStream(ours), io)
        lines.append(Line(transport, peer, io))
        return lines[-1]

    yield make
    for line in lines:
        line.transport.abort()
        line.peer.close()
    await turns()


# ---- all transports ------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["tcp", "unix"])
async def test_bytes_travel_both_ways(dial, family) -> None:
    line = dial(family).start()
    await line.peer_sends(b"hello")
    await until(lambda: line.seen.data == b"hello")
    line.transport.write(frame(1))
    assert await line.peer_reads(100) == frame(1)
    assert line.transport.queued_bytes == line.transport.queued_frames == 0


async def test_early_bytes_come_first_and_once(dial) -> None:
    line = dial().start(b"early ")
    assert line.seen.data == b"early "
    await line.peer_sends(b"late")
    await until(lambda: line.seen.data == b"early late")


async def test_much_is_read_in_order_in_bounded_chunks(dial) -> None:
    line = dial().start()
    data = bytes(range(256)) * 4096
    biggest = 0

    def measure():
        nonlocal biggest
        biggest = max(biggest, len(line.seen.data) - measured[-1])
        measured.append(len(line.seen.data))

    measured = [0]
    line.seen.on_data = measure
    await line.peer_sends(data)
    await until(lambda: len(line.seen.data) == len(data))
    assert line.seen.data == data
    assert biggest <= RECEIVE_SIZE


def shared(*each: bytes) -> Frames:
    """Return the frames of some messages for many."""
    whole = b"".join(each)
    return Frames(each, whole, len(whole))


async def test_shared_frames_leave_in_one_piece_and_in_order_with_the_others(dial) -> None:
    line = dial().start()
    line.transport.write(frame(1))
    assert not line.transport.write_all(shared(frame(2), frame(3)))
    line.transport.write(frame(4))
    line.io.begin_batch()
    line.transport.write(frame(5))
    line.transport.write_all(shared(frame(6), frame(7)))
    line.transport.write(frame(8))
    assert await line.peer_reads(800) == b"".join(frame(n) for n in range(1, 9))


async def test_shared_frames_that_the_system_takes_in_part_wait_one_by_one(dial) -> None:
    line = dial().start()
    big = [frame(n, 1 << 20) for n in range(8)]
    assert line.transport.write_all(shared(*big))
    assert line.transport.queued_frames > 1
    line.transport.write(frame(8))
    dropped = line.transport.drop_oldest()
    assert dropped == 1 << 20  # one message, and not all that were said in the turn
    data = await line.peer_reads(7 * (1 << 20) + 100)
    left = [one for one in (*big, frame(8)) if one in data]
    assert len(left) == 8
    assert data == b"".join(left)


async def test_nothing_is_sent_of_shared_frames_after_the_end(dial) -> None:
    line = dial().start()
    line.transport.abort()
    assert not line.transport.write_all(shared(frame(1)))
    assert await line.peer_reads_all() == b""


async def test_frames_that_the_system_does_not_take_wait_in_order(dial) -> None:
    line = dial().start()
    written = line.fill()
    frames = [frame(n, 4096) for n in range(500)]
    for one in frames:
        line.transport.write(one)
    assert line.transport.queued_frames >= 500
    assert line.transport.queued_bytes >= 500 * 4096
    data = await line.peer_reads(written + 500 * 4096)
    assert data[written:] == b"".join(frames)
    await until(lambda: line.transport.queued_bytes == 0)
    assert line.transport.queued_frames == 0
    assert line.seen.resumed > 0


async def test_a_frame_larger_than_all_buffers_arrives_whole(dial) -> None:
    line = dial().start()
    big = frame(1, 5 << 20)
    line.transport.write(big)
    line.transport.write(frame(2))
    assert await line.peer_reads(len(big) + 100) == big + frame(2)


async def test_in_a_batch_frames_leave_together_at_the_end_of_the_turn(dial) -> None:
    lines = [dial().start() for _ in range(3)]
    lines[0].io.begin_batch()
    for n in range(10):
        for line in lines:
            line.transport.write(frame(n))
    for line in lines:
        assert line.transport.queued_frames == 10
        with pytest.raises(BlockingIOError):
            line.peer.recv(1)
    await turns(2)
    for line in lines:
        assert line.transport.queued_frames == 0
        assert await line.peer_reads(1000) == b"".join(frame(n) for n in range(10))


async def test_a_batch_of_more_than_one_chunk_leaves_whole_and_tells_that_there_is_room(
    dial,
) -> None:
    line = dial().start()
    line.io.begin_batch()
    frames = [frame(n, JOIN_SIZE // 3) for n in range(20)]
    for one in frames:
        line.transport.write(one)
    size = sum(map(len, frames))
    assert await line.peer_reads(size) == b"".join(frames)
    await until(lambda: line.seen.resumed)
    assert line.transport.queued_bytes == 0


async def test_the_oldest_message_of_which_nothing_has_left_can_be_dropped(dial) -> None:
    line = dial().start()
    written = line.fill()
    line.transport.write(PING)
    for n in range(1, 6):
        line.transport.write(frame(n))
    # Waits behind `fill`, of which a part has left.
    while (dropped := line.transport.drop_oldest()) == 4096:
        written -= 4096
    assert dropped == 100
    assert line.transport.drop_oldest() == 100
    left = PING + frame(3) + frame(4) + frame(5)
    assert (await line.peer_reads(written + len(left)))[written:] == left
    assert line.transport.drop_oldest() == 0


async def test_paused_reading_leaves_the_bytes_to_the_system_until_it_goes_on(dial) -> None:
    line = dial().start()
    await line.peer_sends(b"1")
    await until(lambda: line.seen.data == b"1")
    line.transport.pause_reading()
    await line.peer_sends(b"2")
    await turns(50)
    assert line.seen.data == b"1"
    line.transport.resume_reading()
    await until(lambda: line.seen.data == b"12")


async def test_a_peer_that_sends_while_reading_is_paused_is_held_back(dial) -> None:
    line = dial().start()
    line.transport.pause_reading()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await asyncio.get_running_loop().sock_sendall(line.peer, b"x" * (64 << 20))
    assert not line.seen.data
    line.transport.abort()


async def test_pausing_and_resuming_inside_a_read_delivers_every_byte_once(dial) -> None:
    """As when callbacks that run at once empty a full inbox before the read returns."""
    line = dial().start()
    data = bytes(range(256)) * 1000

    def stutter():
        line.transport.pause_reading()
        line.transport.resume_reading()
        if line.seen.chunks % 3 == 0:
            line.transport.pause_reading()
            asyncio.get_running_loop().call_soon(line.transport.resume_reading)

    line.seen.on_data = stutter
    for at in range(0, len(data), 10_000):
        await line.peer_sends(data[at : at + 10_000])
        await turns(3)
    await until(lambda: len(line.seen.data) >= len(data))
    await turns(20)
    assert line.seen.data == data


async def test_the_end_of_the_peer_is_told_once_after_all_its_bytes(dial) -> None:
    line = dial().start()
    await line.peer_sends(b"last words")
    line.peer.close()
    await until(lambda: line.seen.lost)
    await turns()
    assert (line.seen.data, line.seen.lost) == (b"last words", 1)
    line.transport.write(frame(1))
    line.transport.pause_reading()
    line.transport.resume_reading()
    line.transport.close()
    line.transport.end()
    line.transport.abort()
    await turns()
    assert line.seen.lost == 1
    assert line.transport.queued_bytes == 0
    assert line.transport.drop_oldest() == 0


async def test_a_reset_by_the_peer_is_an_end_like_any_other(dial) -> None:
    line = dial().start()
    line.fill()
    line.peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    line.peer.close()
    await until(lambda: line.seen.lost)
    await turns()
    assert line.seen.lost == 1
    assert line.transport.queued_bytes == 0


async def test_a_write_to_a_peer_that_has_left_raises_nothing_and_tells_the_end_later(dial) -> None:
    line = dial("unix").start()
    line.peer.close()
    line.transport.write(frame(1))
    line.transport.write(frame(2))
    assert line.seen.lost == 0  # never in the middle of a write
    await until(lambda: line.seen.lost)
    await turns()
    assert line.seen.lost == 1


async def test_an_end_while_reading_is_paused_is_told_when_reading_goes_on(dial) -> None:
    line = dial().start()
    line.transport.pause_reading()
    await line.peer_sends(b"x")
    line.peer.close()
    await turns(20)
    line.transport.resume_reading()
    await until(lambda: line.seen.lost)
    assert line.seen.data == b"x"


async def test_close_sends_what_waits_and_takes_no_more(dial) -> None:
    line = dial().start()
    written = line.fill()
    line.transport.write(frame(1))
    line.transport.close()
    line.transport.write(frame(2))
    await turns()
    assert line.seen.lost == 0
    data = await line.peer_reads_all()
    assert data[written:] == frame(1)
    await until(lambda: line.seen.lost)


async def test_close_with_nothing_queued_ends_the_stream_but_not_in_the_callers_stack(dial) -> None:
    line = dial().start()
    line.transport.write(frame(1))
    line.transport.close()
    assert line.seen.lost == 0
    assert await line.peer_reads_all() == frame(1)
    await until(lambda: line.seen.lost)
    await turns()
    assert line.seen.lost == 1


async def test_close_in_a_batch_sends_the_batch_first(dial) -> None:
    line = dial().start()
    line.io.begin_batch()
    line.transport.write(frame(1))
    line.transport.close()
    assert await line.peer_reads_all() == frame(1)


async def test_abort_drops_what_waits(dial) -> None:
    line = dial().start()
    written = line.fill()
    for n in range(100):
        line.transport.write(frame(n, 4096))
    line.transport.abort()
    line.transport.abort()
    assert line.transport.queued_bytes == 0
    data = bytearray()
    with contextlib.suppress(ConnectionResetError):
        data += await line.peer_reads_all()
    assert len(data) < written + 100 * 4096
    await until(lambda: line.seen.lost)
    assert line.seen.lost == 1


async def test_end_sends_what_waits_writes_no_more_and_reads_on(dial) -> None:
    """It does not end our direction: a proxy would cut the peer off, which may still send."""
    line = dial().start()
    written = line.fill()
    line.transport.write(frame(1))
    line.transport.pause_reading()
    line.transport.end()
    line.transport.write(frame(2))
    await line.peer_sends(b"still talking")
    assert (await line.peer_reads(written + 100))[written:] == frame(1)
    await until(lambda: line.seen.data == b"still talking")
    assert line.seen.lost == 0
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(line.peer_reads(1), 0.1)
    line.transport.close()
    assert await line.peer_reads_all() == b""
    await until(lambda: line.seen.lost)


async def test_what_is_written_before_the_start_arrives(dial) -> None:
    """`open` may run and send before the transport has started."""
    line = dial()
    line.transport.write(frame(1))
    line.start()
    assert await line.peer_reads(100) == frame(1)


async def test_an_end_before_the_start_is_told_after_it(dial) -> None:
    line = dial()
    line.transport.write(frame(1))
    line.transport.close()
    await turns()
    line.start()
    await until(lambda: line.seen.lost)
    await turns()
    assert line.seen.lost == 1
    assert await line.peer_reads_all() == frame(1)


async def test_an_empty_frame_is_nothing(dial) -> None:
    line = dial().start()
    line.io.begin_batch()
    line.transport.write(b"")
    assert line.transport.queued_frames == 0
    line.transport.write(frame(1))
    await turns(2)
    assert await line.peer_reads(100) == frame(1)


async def test_no_connection_keeps_the_loop_to_itself(dial) -> None:
    flood, quiet = dial().start(), dial().start()
    await quiet.peer_sends(b"x")
    sender = asyncio.ensure_future(flood.peer_sends(b"y" * (8 << 20)))
    await until(lambda: quiet.seen.data)
    assert len(flood.seen.data) < 4 << 20
    await sender
    await until(lambda: len(flood.seen.data) == 8 << 20)


# ---- the batch ---------------------------------------------------------------------------


async def test_a_batch_may_be_ended_early_and_begun_again() -> None:
    flushed = []

    class Flushable:
        def flush(self) -> None:
            flushed.append(io.batching)

    io = LoopIO(asyncio.get_running_loop())
    io.begin_batch()
    io.begin_batch()
    io.add(Flushable())
    io.end_batch()
    assert flushed == [False]
    io.begin_batch()
    io.add(Flushable())
    await turns(3)
    assert flushed == [False, False]
    assert not io.batching


# ---- the hand-over -----------------------------------------------------------------------


@pytest.mark.parametrize("wanted", ["auto", "direct", "stream"])
@pytest.mark.parametrize("early", [b"", b"early bytes"])
@pytest.mark.parametrize("is_read", [False, True])
async def test_the_hand_over_loses_nothing(wanted, early, is_read) -> None:
    ours, peer = make_pair()
    stream = IOStream(ours)
    if is_read:  # what came with the end of the handshake is in the stream, not in the socket
        peer.send(b"!" + early)
        assert await stream.read_until(b"!") == b"!"
    elif early:
        peer.send(early)
        await turns(3)
    io = LoopIO(asyncio.get_running_loop())
    taken = take_over(stream, io, wanted)
    assert taken is not None
    transport, first = taken
    assert type(transport) is (StreamTransport if wanted == "stream" else DirectTransport)
    assert first == (early if is_read or wanted == "stream" else b"")
    line = Line(transport, peer, io).start(first)
    await line.peer_sends(b" and more")
    await until(lambda: line.seen.data == early + b" and more")
    line.transport.write(frame(1))
    assert await line.peer_reads(100) == frame(1)
    peer.close()
    await until(lambda: line.seen.lost)
    assert transport.fileno() == -1


async def test_a_stream_that_is_watched_already_leaves_the_loop() -> None:
    ours, peer = make_pair()
    stream = IOStream(ours)
    stream.set_close_callback(lambda: None)  # as Tornado does while a request waits
    await turns(3)
    io = LoopIO(asyncio.get_running_loop())
    taken = take_over(stream, io)
    assert taken is not None
    line = Line(taken[0], peer, io).start(taken[1])
    await line.peer_sends(b"hello")
    await until(lambda: line.seen.data == b"hello")
    peer.close()
    await until(lambda: line.seen.lost)
    ours, peer = make_pair()  # the descriptors of before are free for others
    again = IOStream(ours)
    again.set_close_callback(lambda: None)
    again.close()
    peer.close()


@pytest.mark.parametrize("wanted", ["auto", "stream"])
async def test_a_client_that_has_left_gets_no_transport(wanted) -> None:
    ours, peer = make_pair()
    stream = IOStream(ours)
    peer.close()
    await turns(3)
    assert take_over(stream, LoopIO(asyncio.get_running_loop()), wanted) is None
    stream.close()
    assert take_over(stream, LoopIO(asyncio.get_running_loop()), wanted) is None


async def test_a_stream_that_still_writes_its_answer_stays_a_stream() -> None:
    ours, peer = make_pair()
    stream = IOStream(ours)
    answer = b"a" * (4 << 20)
    stream.write(answer)
    assert stream.writing()
    io = LoopIO(asyncio.get_running_loop())
    taken = take_over(stream, io)
    assert taken is not None
    line = Line(taken[0], peer, io).start(taken[1])
    assert isinstance(line.transport, StreamTransport)
    line.transport.write(frame(1))
    assert await line.peer_reads(len(answer) + 100) == answer + frame(1)
    line.transport.abort()
    peer.close()
    await turns()


# ---- the queue ---------------------------------------------------------------------------


def test_a_queue_joins_small_frames_and_never_cuts_a_large_one() -> None:
    queue = FrameQueue()
    small = [frame(n) for n in range(10)]
    for one in small:
        queue.append(one)
    assert (len(queue), queue.size) == (10, 1000)
    assert queue.chunk() == b"".join(small)
    large = frame(10, JOIN_SIZE * 2)
    queue.append(large)
    assert queue.chunk() == b"".join(small)
    queue.sent(1000)
    assert queue.chunk() is large
    queue.sent(len(large))
    assert (len(queue), queue.size) == (0, 0)


def test_a_frame_that_was_sent_in_part_goes_on_where_it_was() -> None:
    queue = FrameQueue()
    queue.append(frame(1))
    queue.append(frame(2))
    queue.sent(150)
    assert (len(queue), queue.size) == (1, 50)
    assert bytes(queue.chunk()) == frame(2)[50:]
    assert queue.drop_oldest() == 0
    queue.append(frame(3))
    queue.append(frame(4))
    assert queue.drop_oldest() == 100
    queue.sent(50)
    assert bytes(queue.chunk()) == frame(4)


@pytest.mark.parametrize("first", [0x88, 0x89, 0x8A])
def test_dropping_spares_control_frames(first) -> None:
    queue = FrameQueue()
    control = bytes((first, 0))
    for one in (control, frame(1), control, frame(2)):
        queue.append(one)
    assert [queue.drop_oldest() for _ in range(3)] == [100, 100, 0]
    assert bytes(queue.chunk()) == control * 2
    assert queue.size == 4


@given(
    st.lists(
        st.one_of(
            st.integers(1, 200_000).map(lambda size: ("append", size)),
            st.integers(1, 300_000).map(lambda size: ("send", size)),
            st.just(("drop", 0)),
        ),
        max_size=40,
    )
)
def test_whatever_happens_a_queue_sends_whole_frames_in_order(steps) -> None:
    queue, waiting, sent = FrameQueue(), [], bytearray()
    expected = bytearray()
    begun = 0
    for number, (step, size) in enumerate(steps):
        if step == "append":
            one = bytes((0x81, number)) + b"x" * size
            queue.append(one)
            waiting.append(one)
        elif step == "drop":
            dropped = queue.drop_oldest()
            at = 1 if begun else 0
            assert dropped == (len(waiting[at]) if len(waiting) > at else 0)
            del waiting[at : at + 1]
        elif waiting:
            chunk = bytes(queue.chunk())[:size]
            queue.sent(len(chunk))
            sent += chunk
            left = len(chunk)
            while left:
                take = min(left, len(waiting[0]) - begun)
                expected += waiting[0][begun : begun + take]
                begun, left = begun + take, left - take
                if begun == len(waiting[0]):
                    del waiting[0]
                    begun = 0
        assert len(queue) == len(waiting)
        assert queue.size == sum(map(len, waiting)) - begun
    assert sent == expected
