"""TLS on a socket of our own: records, directions that wait for each other, and the goodbye."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.memory import turns, until
from support.tlspair import Peer, server_context, shake_hands
from tornado.iostream import SSLIOStream

from jupyter_wshandler.engine.shared import Frames
from jupyter_wshandler.transports.handover import take_over
from jupyter_wshandler.transports.loop import LoopIO
from jupyter_wshandler.transports.stream import StreamTransport
from jupyter_wshandler.transports.tls import RECORD, TLSTransport

pytestmark = pytest.mark.timeout(60)

VERSIONS = ["tls-1.2", "tls-1.3"]
FUZZ = settings().max_examples


class Whims(ssl.SSLSocket):
    """Refuse or shorten what is asked, as OpenSSL may: `reads` and `writes` say what comes next.

    An exception is raised, a number is how many bytes are sent at most.
    """

    reads: Iterator[type[Exception] | None] = iter(())
    writes: Iterator[type[Exception] | int | None] = iter(())
    refused: bytes | None = None

    def recv_into(self, buffer, nbytes=None, flags=0):
        if (whim := next(self.reads, None)) is not None:
            raise whim
        return super().recv_into(buffer, nbytes, flags)

    def send(self, data, flags=0):
        whim = next(self.writes, None)
        if self.refused is not None:
            # OpenSSL's rule: what it has begun is offered again first, with the same bytes.
            assert bytes(data[: len(self.refused)]) == self.refused
        if whim is None or isinstance(whim, int):
            self.refused = None
            return super().send(data[:whim], flags)
        self.refused = bytes(data)
        raise whim


class Seen:
    """Be what a transport reads to."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.chunks: list[int] = []
        self.lost = 0
        self.resumed = 0
        self.on_data: Callable[[], object] = lambda: None

    def data_received(self, data: bytes) -> None:
        assert not self.lost
        self.data += data
        self.chunks.append(len(data))
        self.on_data()

    def connection_lost(self) -> None:
        self.lost += 1

    def writing_resumed(self) -> None:
        self.resumed += 1


class Line:
    """A transport, what it reads to, and its peer."""

    def __init__(self, version: str = "tls-1.3", buffer: int | None = None) -> None:
        ours, theirs = socket.socketpair()
        for sock in (ours, theirs):
            sock.setblocking(False)
            if buffer is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
        self.peer = Peer(theirs)
        self.sock = shake_hands(ours, self.peer, version, Whims)
        self.io = LoopIO(asyncio.get_running_loop())
        self.transport = TLSTransport(self.sock, self.io)
        self.seen = Seen()

    def start(self, early: bytes = b"") -> Line:
        self.transport.start(self.seen, early)
        return self

    def fill(self) -> int:
        """Write until the operating system takes no more; return the bytes written."""
        written = 0
        while not self.transport.queued_bytes:
            self.transport.write(frame(4096))
            written += 4096
        return written

    async def peer_reads(self, size: int) -> bytes:
        async with asyncio.timeout(20):
            return await self.peer.receive(size)

    def close(self) -> None:
        self.transport.abort()
        self.peer.sock.close()


def frame(size: int, number: int = 0) -> bytes:
    """Return bytes that a queue takes for a message."""
    return b"\x81" + f"{number:<{size - 1}}".encode()


@pytest.fixture
async def dial() -> AsyncIterator[Callable[..., Line]]:
    lines: list[Line] = []

    def make(*args, **kwargs) -> Line:
        lines.append(Line(*args, **kwargs))
        return lines[-1]

    yield make
    for line in lines:
        line.close()
    await turns()


# ---- any split -------------------------------------------------------------------------------


@settings(max_examples=FUZZ if FUZZ >= 10_000 else 30)
@given(
    version=st.sampled_from(VERSIONS),
    sent=st.lists(st.integers(1, 40_000), max_size=8),
    cuts=st.lists(st.integers(100, 20_000), min_size=1, max_size=8),
    written=st.lists(st.integers(2, 60_000), max_size=8),
    taken=st.lists(st.integers(1, 30_000), min_size=1, max_size=8),
    batches=st.lists(st.booleans(), min_size=1, max_size=6),
    pauses=st.lists(st.booleans(), min_size=1, max_size=6),
)
def test_however_bytes_are_split_both_ends_get_the_same(
    version, sent, cuts, written, taken, batches, pauses
) -> None:
    async def exchange() -> None:
        line = Line(version, 4096).start()
        to_us = [bytes([n % 251]) * size for n, size in enumerate(sent)]
        records = b"".join(map(line.peer.encrypted, to_us))
        from_us = [frame(size, n) for n, size in enumerate(written)]
        received = bytearray()
        cut, take = itertools.cycle(cuts), itertools.cycle(taken)
        batch, pause = itertools.cycle(batches), itertools.cycle(pauses)
        left, turn = list(from_us), 0

        async def step() -> bool:
            nonlocal records, turn
            turn += 1
            if left and next(batch):
                line.io.begin_batch()
            if left:
                line.transport.write(left.pop(0))
            whimsical = turn < 300
            with contextlib.suppress(BlockingIOError):
                records = records[line.peer.sock.send(records[: next(cut)]) :]
            with contextlib.suppress(BlockingIOError):
                line.peer.incoming.write(line.peer.sock.recv(next(take) if whimsical else 1 << 16))
                received.extend(line.peer.decrypted())
            if whimsical and next(pause):
                line.transport.pause_reading()
            else:
                line.transport.resume_reading()
            await asyncio.sleep(0)
            return len(line.seen.data) == sum(sent) and len(received) == sum(written)

        async with asyncio.timeout(20):
            while not await step():
                pass
        line.transport.resume_reading()
        await turns(2)
        assert line.seen.data == b"".join(to_us)
        assert received == b"".join(from_us)
        assert (line.transport.queued_bytes, line.transport.queued_frames) == (0, 0)
        line.close()
        await turns()
        assert line.seen.lost == 1

    asyncio.run(exchange())


# ---- reading ---------------------------------------------------------------------------------


async def test_records_that_are_there_together_are_read_together(dial) -> None:
    line = dial().start()
    messages = [frame(100, n) for n in range(16)]
    line.peer.sock.send(b"".join(map(line.peer.encrypted, messages)))
    await until(lambda: line.seen.data)
    assert line.seen.data == b"".join(messages)
    assert line.seen.chunks == [1600]


async def test_a_peer_that_begins_to_send_several_records_is_soon_read_so(dial) -> None:
    line = dial().start()
    for n in range(5):  # one at a time
        await line.peer.send(frame(100, n))
        await until(lambda n=n: len(line.seen.data) == 100 * (n + 1))
    line.seen.chunks.clear()
    for n in range(40):  # four at a time
        size = len(line.seen.data) + 400
        line.peer.sock.send(b"".join(line.peer.encrypted(frame(100, n)) for _ in range(4)))
        await until(lambda size=size: len(line.seen.data) == size)
    assert line.seen.chunks[-20:] == [400] * 20


async def test_what_openssl_has_decrypted_before_the_start_is_read(dial) -> None:
    line = dial()
    await line.peer.send(b"early" + b"late")
    early = await asyncio.to_thread(lambda: wait_and_read(line.sock, 5))
    assert line.sock.pending() == 4
    line.start(early)
    await until(lambda: line.seen.data == b"earlylate")


def wait_and_read(sock: ssl.SSLSocket, size: int) -> bytes:
    while True:
        try:
            return sock.recv(size)
        except ssl.SSLWantReadError:
            pass


async def test_half_a_record_is_no_news(dial) -> None:
    line = dial().start()
    record = line.peer.encrypted(b"hello")
    line.peer.sock.send(record[:-1])
    await turns(20)
    assert (line.seen.data, line.seen.lost) == (b"", 0)
    line.peer.sock.send(record[-1:])
    await until(lambda: line.seen.data == b"hello")


@pytest.mark.parametrize("paused", [False, True])
async def test_a_forged_record_ends_the_connection_after_what_came_before_it(dial, paused) -> None:
    line = dial().start()
    good, forged = line.peer.encrypted(b"good"), bytearray(line.peer.encrypted(b"evil"))
    forged[-1] ^= 1
    if paused:
        line.seen.on_data = line.transport.pause_reading
    line.peer.sock.send(good + forged)
    await until(lambda: line.seen.data)
    if paused:
        await turns(20)
        assert line.seen.lost == 0
        line.transport.resume_reading()
    await until(lambda: line.seen.lost)
    assert line.seen.data == b"good"


async def test_bytes_that_are_no_tls_end_the_connection(dial) -> None:
    line = dial().start()
    line.peer.sock.send(b"GET / HTTP/1.1\r\n\r\n")
    await until(lambda: line.seen.lost)
    assert line.seen.data == b""


@pytest.mark.parametrize("version", VERSIONS)
async def test_the_goodbye_of_the_peer_is_the_end(dial, version) -> None:
    line = dial(version).start()
    await line.peer.send(b"last words")
    with contextlib.suppress(ssl.SSLWantReadError):
        line.peer.tls.unwrap()
    await line.peer.send(b"")
    await until(lambda: line.seen.lost)
    assert line.seen.data == b"last words"


async def test_a_read_that_must_write_first_goes_on_when_it_can(dial) -> None:
    line = dial().start()
    line.sock.reads = iter([ssl.SSLWantWriteError, ssl.SSLWantWriteError])
    await line.peer.send(b"hello")
    await until(lambda: line.seen.data == b"hello")
    assert line.seen.resumed == 0  # nothing had waited
    line.sock.reads = iter([None, ssl.SSLWantWriteError])
    for _ in range(20):
        await line.peer.send(b"x")
    await until(lambda: len(line.seen.data) == 25)
    written = line.fill()
    line.sock.reads = iter([ssl.SSLWantWriteError])
    await line.peer.send(b"y")
    await turns(20)
    assert len(await line.peer_reads(written)) == written
    await until(lambda: len(line.seen.data) == 26)
    await until(lambda: line.transport.queued_bytes == 0)


# ---- writing ---------------------------------------------------------------------------------


@pytest.mark.parametrize("paused", [False, True])
async def test_a_write_that_must_read_first_goes_on_when_it_can(dial, paused) -> None:
    line = dial().start()
    if paused:
        line.transport.pause_reading()
    line.sock.writes = iter([ssl.SSLWantReadError, ssl.SSLWantReadError])
    line.transport.write(frame(100, 1))
    line.transport.write(frame(100, 2))
    assert (line.transport.queued_bytes, line.transport.queued_frames) == (200, 2)
    if paused:
        line.transport.resume_reading()
        line.transport.pause_reading()
    await turns(20)
    assert line.transport.queued_bytes == 200
    await line.peer.send(b"hel")
    await until(lambda: line.seen.resumed)
    await line.peer.send(b"lo")
    assert await line.peer_reads(200) == frame(100, 1) + frame(100, 2)
    await until(lambda: line.transport.queued_bytes == 0)
    await turns()
    assert line.seen.data == (b"" if paused else b"hello")
    line.transport.resume_reading()
    await until(lambda: line.seen.data == b"hello")


async def test_a_write_that_must_read_first_ends_with_its_connection(dial) -> None:
    line = dial().start()
    line.transport.pause_reading()
    line.sock.writes = iter([ssl.SSLWantReadError])
    line.transport.write(frame(100))
    line.transport.abort()
    await turns()
    assert (line.seen.lost, line.transport.queued_bytes) == (1, 0)


async def test_what_openssl_has_begun_is_offered_again_before_all_else(dial) -> None:
    """Another offer would be a `bad write retry`, and the end of the connection."""
    line = dial().start()
    line.sock.writes = iter([ssl.SSLWantWriteError, ssl.SSLWantReadError, BlockingIOError])
    line.transport.write(frame(100, 1))
    line.io.begin_batch()
    for n in range(2, 6):
        line.transport.write(frame(100, n))
    assert line.transport.drop_oldest() == 100  # the second: the first is on its way
    line.transport.write_all(Frames((frame(100, 6),), frame(100, 6), 100))
    await line.peer.send(b"x")
    expected = b"".join(frame(100, n) for n in (1, 3, 4, 5, 6))
    assert await line.peer_reads(500) == expected
    await until(lambda: line.transport.queued_bytes == 0)


async def test_what_is_sent_in_part_goes_on_where_it_was(dial) -> None:
    line = dial().start()
    line.sock.writes = iter([3, 5, 1, ssl.SSLWantWriteError, 2, 40_000])
    line.transport.write(frame(100, 1))
    assert (line.transport.queued_bytes, line.transport.queued_frames) == (97, 1)
    line.transport.write(frame(50_000, 2))
    assert await line.peer_reads(50_100) == frame(100, 1) + frame(50_000, 2)
    await until(lambda: line.transport.queued_bytes == 0)


async def test_what_a_turn_says_leaves_in_one_record(dial) -> None:
    line = dial().start()
    line.io.begin_batch()
    for n in range(16):
        line.transport.write(frame(100, n))
    await turns(3)
    data = line.peer.sock.recv(1 << 16)
    assert int.from_bytes(data[3:5], "big") + 5 == len(data)  # one header, RFC 8446 section 5.1
    line.peer.incoming.write(data)
    assert line.peer.decrypted() == b"".join(frame(100, n) for n in range(16))


async def test_a_large_message_gives_others_a_turn_and_is_counted_as_it_leaves(dial) -> None:
    line = dial(buffer=1 << 22).start()
    line.transport.write(frame(8 << 20))
    sizes = [line.transport.queued_bytes]
    while line.transport.queued_bytes:
        with contextlib.suppress(BlockingIOError):
            line.peer.incoming.write(line.peer.sock.recv(1 << 20))
            line.peer.decrypted()
        await asyncio.sleep(0)
        sizes.append(line.transport.queued_bytes)
    steps = {before - after for before, after in itertools.pairwise(sizes)}
    assert steps <= {n * RECORD for n in range(17)}
    assert max(steps) > 0


async def test_shared_messages_leave_in_one_record_where_they_fit(dial) -> None:
    line = dial().start()
    each = tuple(frame(100, n) for n in range(3))
    assert not line.transport.write_all(Frames(each, b"".join(each), 300))
    data = line.peer.sock.recv(1 << 16)
    assert int.from_bytes(data[3:5], "big") + 5 == len(data)
    line.peer.incoming.write(data)
    assert line.peer.decrypted() == b"".join(each)
    large = tuple(frame(10_000, n) for n in range(3))
    assert not line.transport.write_all(Frames(large, b"".join(large), 30_000))
    assert await line.peer_reads(30_000) == b"".join(large)


# ---- the end -----------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("waiting", [False, True])
async def test_a_close_says_goodbye_behind_the_last_byte(dial, version, waiting) -> None:
    """So a client can tell an end from a connection that somebody has cut (RFC 8446 6.1)."""
    line = dial(version).start()
    written = line.fill() if waiting else 0
    line.transport.write(frame(100))
    line.transport.close()
    assert len(await line.peer_reads(1 << 30)) == written + 100
    assert line.peer.ended
    await until(lambda: line.seen.lost)


async def test_an_abort_says_no_goodbye(dial) -> None:
    line = dial().start()
    line.transport.write(frame(100))
    line.transport.abort()
    assert len(await line.peer_reads(1 << 30)) == 100
    assert not line.peer.ended


async def test_a_close_raises_nothing_when_the_peer_has_gone(dial) -> None:
    line = dial().start()
    line.peer.sock.close()
    line.transport.close()
    await until(lambda: line.seen.lost)


# ---- the hand-over -------------------------------------------------------------------------------


def tls_stream() -> tuple[SSLIOStream, Peer]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        theirs = socket.create_connection(server.getsockname())
        ours, _ = server.accept()
    ours.setblocking(False)
    theirs.setblocking(False)
    theirs.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    peer = Peer(theirs)
    tls = server_context("tls-1.3").wrap_socket(
        ours, server_side=True, do_handshake_on_connect=False
    )
    return SSLIOStream(tls), peer


async def greeted() -> tuple[SSLIOStream, Peer]:
    """Return a stream whose handshake Tornado has made, and its client."""
    stream, peer = tls_stream()
    done = asyncio.ensure_future(stream.wait_for_handshake())
    while True:
        try:
            peer.tls.do_handshake()
            break
        except ssl.SSLWantReadError:
            await peer.send(b"")
            peer.incoming.write(await asyncio.get_running_loop().sock_recv(peer.sock, 1 << 16))
    await peer.send(b"")
    await done
    return stream, peer


@pytest.mark.parametrize("wanted", ["auto", "direct", "stream"])
@pytest.mark.parametrize("early", [b"", b"early", b"e" * 100_000])
async def test_the_hand_over_of_tls_loses_nothing_and_leaves_no_stream_behind(
    wanted, early
) -> None:
    stream, peer = await greeted()
    sending = asyncio.ensure_future(peer.send(early))
    await turns(5)
    io = LoopIO(asyncio.get_running_loop())
    taken = take_over(stream, io, wanted)
    assert taken is not None
    transport, first = taken
    assert type(transport) is (StreamTransport if wanted == "stream" else TLSTransport)
    assert stream.closed() == (wanted != "stream")
    seen = Seen()
    transport.start(seen, first)
    await sending
    await peer.send(b" and more")
    await until(lambda: len(seen.data) == len(early) + 9)
    assert seen.data == early + b" and more"
    transport.write(frame(100))
    assert await peer.receive(100) == frame(100)
    peer.sock.close()
    await until(lambda: seen.lost)


@pytest.mark.parametrize("way", ["end", "reset"])
async def test_a_client_of_tls_that_has_left_gets_no_transport(way) -> None:
    stream, peer = await greeted()
    if way == "reset":
        peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.sock.close()
    await turns(3)
    assert take_over(stream, LoopIO(asyncio.get_running_loop())) is None
    stream.close()


async def test_a_stream_of_tls_that_still_writes_its_answer_stays_a_stream() -> None:
    stream, peer = await greeted()
    answer = b"a" * (8 << 20)
    writing = asyncio.ensure_future(stream.write(answer))
    await turns(2)
    assert stream.writing()
    taken = take_over(stream, LoopIO(asyncio.get_running_loop()))
    assert taken is not None
    transport, first = taken
    assert isinstance(transport, StreamTransport)
    transport.start(Seen(), first)
    transport.write(frame(100))
    assert await peer.receive(len(answer) + 100) == answer + frame(100)
    await writing
    transport.abort()
    peer.sock.close()
    await turns()
