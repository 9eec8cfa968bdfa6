"""The socket between a server and a kernel of one machine: whole messages, bounds, the end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import stat
import struct
import time
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.memory import turns, until

from jupyter_wshandler.kernels import pipe as pipes
from jupyter_wshandler.kernels.batches import MAX_CONTENT, MAX_EVENTS, NotABatch
from jupyter_wshandler.kernels.events import (
    Details,
    Open,
    RequestDetails,
    Served,
    Text,
    Withdraw,
    read_told,
)
from jupyter_wshandler.kernels.pipe import Pipe, connect, write_batch
from jupyter_wshandler.server.kernels import door as doors
from jupyter_wshandler.server.kernels.door import Door, open_door
from jupyter_wshandler.server.kernels.pipe import KernelPipe


class End:
    """One end of a pipe, and what it has got."""

    def __init__(self, sock: socket.socket, **options) -> None:
        self.got: list[tuple[bytes, list[bytes]]] = []
        self.ended: list[object] = []
        self.pipe = Pipe(
            asyncio.get_running_loop(),
            sock,
            lambda content, buffers: self.got.append((content, buffers)),
            self.ended.append,
            **options,
        )


@contextlib.asynccontextmanager
async def ends(**options):
    here, there = socket.socketpair()
    one, other = End(here), End(there, **options)
    try:
        yield one, other
    finally:
        one.pipe.close()
        other.pipe.close()


@contextlib.asynccontextmanager
async def raw_end(**options):
    """A pipe, and a bare socket at its other end."""
    here, there = socket.socketpair()
    end = End(here, **options)
    try:
        yield end, there
    finally:
        end.pipe.close()
        there.close()


def written(content: bytes, *buffers: bytes) -> bytes:
    head = struct.pack("!II", len(content), len(buffers))
    sizes = b"".join(struct.pack("!Q", len(buffer)) for buffer in buffers)
    return head + sizes + content + b"".join(buffers)


# ---- messages ------------------------------------------------------------------------------------


async def test_messages_and_their_buffers_come_whole_and_in_order():
    async with ends() as (one, other):
        sent = [(b"{}", []), (b'{"n":1}', [b"", b"\0" * 5]), (b"", []), (b"x" * 70_000, [b"y"])]
        for content, buffers in sent:
            one.pipe.send(content, buffers)
        other.pipe.send(b"back")
        await until(lambda: len(other.got) == 4 and one.got)
        assert other.got == sent
        assert one.got == [(b"back", [])]


async def test_what_the_system_does_not_take_at_once_follows_when_it_does():
    async with ends() as (one, other):
        large = os.urandom(3_000_000)
        for number in range(4):
            one.pipe.send(b"%d" % number, [large, b"", large[:number]])
        await until(lambda: len(other.got) == 4)
        assert [content for content, _ in other.got] == [b"0", b"1", b"2", b"3"]
        assert all(buffers[0] == large and buffers[1] == b"" for _, buffers in other.got)
        assert [len(buffers[2]) for _, buffers in other.got] == [0, 1, 2, 3]


@given(
    messages=st.lists(st.tuples(st.binary(max_size=40), st.lists(st.binary(max_size=9)))),
    cuts=st.lists(st.integers(1, 30), min_size=1),
)
def test_it_does_not_matter_in_which_pieces_messages_come(messages, cuts):
    async def go() -> None:
        async with raw_end() as (end, there):
            data = b"".join(written(content, *buffers) for content, buffers in messages)
            at, turn = 0, 0
            while at < len(data):
                size = cuts[turn % len(cuts)]
                there.sendall(data[at : at + size])
                at, turn = at + size, turn + 1
                await turns(2)
            await until(lambda: len(end.got) == len(messages))
            assert end.got == messages

    asyncio.run(go())


async def test_many_messages_leave_the_loop_to_others_in_between():
    here, there = socket.socketpair()
    handled: list[int] = []
    passed = 0

    def slowly(content: bytes, buffers: list[bytes]) -> None:
        time.sleep(0.002)
        handled.append(passed)

    pipe = Pipe(asyncio.get_running_loop(), here, slowly, lambda error: None)
    with there:
        there.sendall(written(b"{}") * 40)
        while len(handled) < 40:
            await asyncio.sleep(0)
            passed += 1
        assert len(set(handled)) >= 40 / 3
        there.sendall(written(b"{}"))
        await until(lambda: len(handled) == 41)
        pipe.close()


async def test_a_message_that_fails_to_be_taken_costs_none_of_those_behind_it():
    here, there = socket.socketpair()
    got: list[bytes] = []
    failed: list[dict] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda loop, context: failed.append(context))

    def take(content: bytes, buffers: list[bytes]) -> None:
        got.append(content)
        if content == b"bad":
            raise LookupError("ours")

    pipe = Pipe(loop, here, take, lambda error: None)
    with there:
        there.sendall(written(b"bad") + written(b"bad") + written(b"good"))
        await until(lambda: len(got) == 3)
        pipe.close()
    assert got == [b"bad", b"bad", b"good"]
    assert [type(context["exception"]) for context in failed] == [LookupError, LookupError]


# ---- bounds --------------------------------------------------------------------------------------


async def test_who_runs_the_event_loop_while_a_message_is_handed_over_gets_each_once_and_in_order():
    async with ends() as (one, other):
        got, take = [], other.pipe._received

        def received(content: bytes, buffers: list[bytes]) -> None:
            got.append(content)
            take(content, buffers)
            if content == b"0":  # as a bot does with nest_asyncio, whose callback runs in here
                one.pipe.send(b"3")
                other.pipe._readable()

        other.pipe._received = received
        for number in range(3):
            one.pipe.send(b"%d" % number)
        await until(lambda: len(got) >= 4)
        one.pipe.send(b"4")
        await until(lambda: got[-1] == b"4")
        assert got == [b"0", b"1", b"2", b"3", b"4"]
        assert other.ended == []


async def test_a_message_that_says_it_is_too_large_ends_the_pipe_before_it_comes():
    async with raw_end(largest=MAX_CONTENT) as (end, there):
        there.sendall(struct.pack("!II", MAX_CONTENT + 1, 0))
        await until(lambda: end.ended)
        assert isinstance(end.ended[0], NotABatch)
        assert there.recv(1) == b""


async def test_a_message_with_too_many_buffers_ends_the_pipe():
    async with raw_end() as (end, there):
        there.sendall(written(b"first") + struct.pack("!II", 2, MAX_EVENTS + 1))
        await until(lambda: end.ended)
        assert isinstance(end.ended[0], NotABatch)
        assert end.got == [(b"first", [])]


async def test_a_buffer_that_says_it_is_enormous_costs_no_more_than_what_comes_of_it():
    async with raw_end() as (end, there):
        there.sendall(struct.pack("!IIQQ", 2, 2, 2**63, 2**63) + b"{}" + b"x" * 1000)
        await until(lambda: len(end.pipe._came) > 1000)
        assert end.got == end.ended == []
        assert len(end.pipe._came) < 2000


async def test_who_sends_and_never_reads_is_ended_and_nothing_piles_up(monkeypatch):
    monkeypatch.setattr(pipes, "MAX_PARTS", 50)
    async with raw_end() as (end, _):
        while not end.ended:
            end.pipe.send(b"x" * 60_000)
            await asyncio.sleep(0)
        assert isinstance(end.ended[0], NotABatch)
        assert not end.pipe._unsent


# ---- the end -------------------------------------------------------------------------------------


async def test_the_end_of_the_other_side_is_heard_of_once_after_all_that_it_has_said():
    async with raw_end() as (end, there):
        there.sendall(written(b"bye"))
        there.close()
        await until(lambda: end.ended)
        end.pipe.send(b"too late")
        await turns()
        assert end.got == [(b"bye", [])]
        assert end.ended == [None]


async def test_who_ends_a_pipe_hears_nothing_more_of_it():
    async with ends() as (one, other):
        other.pipe.send(b"on its way")
        one.pipe.close()
        one.pipe.close()
        await until(lambda: other.ended)
        assert other.ended == [None]
        assert one.got == one.ended == []


async def test_who_ends_a_pipe_in_the_middle_of_its_messages_gets_no_more_of_them():
    async with raw_end() as (end, there):
        end.pipe._received = lambda *message: (end.got.append(message), end.pipe.close())
        there.sendall(written(b"1") + written(b"2"))
        await until(lambda: end.got)
        await turns()
        assert end.got == [(b"1", [])]


# ---- batches -------------------------------------------------------------------------------------


def test_a_batch_that_is_no_plain_json_is_written_as_jupyter_does_it():
    assert write_batch({"n": 1, "events": [Text("c", "ä")]}, json.dumps) == (
        '{"n":1,"events":[["text","c","ä"]]}'.encode()
    )
    given: list = []
    strange = {"n": 2, "events": [Withdraw("x"), Served("x", 1, object())]}
    assert write_batch(strange, lambda batch: given.append(batch) or b"packed") == b"packed"
    assert given[0]["events"][0] == ["withdraw", "x"]
    with pytest.raises(UnicodeEncodeError):  # as `pack` has it: the event that is to blame is found
        write_batch({"events": [Text("c", "\ud800")]}, lambda batch: "\ud800".encode())


def test_what_a_server_tells_is_read_as_it_was_written():
    request = RequestDetails([("Host", "h")], "/bot", "::1", "http", "h")
    details = Details("bot", {"name": "ada"}, ("s", {"a": 1}), request, [], {}, None, False)
    events = [Open("c1", details), Text("c1", "hello")]
    batch = {"n": 3, "got": 2, "taken": {"c1": 4}, "events": events}
    told = read_told(write_batch(batch, json.dumps))
    assert (told.n, told.got, told.taken, told.events) == (3, 2, {"c1": 4}, events)
    assert read_told(b'{"got": 1}').events == []
    with pytest.raises(ValueError, match="nonsense"):
        read_told(b'{"n": 1, "events": [["nonsense", "c1"]]}')


# ---- the door ------------------------------------------------------------------------------------


@pytest.fixture
def came() -> Iterator[list[socket.socket]]:
    sockets: list[socket.socket] = []
    yield sockets
    for sock in sockets:
        sock.close()


@pytest.fixture
async def door(came, tmp_path, monkeypatch):
    monkeypatch.setattr(doors.tempfile, "tempdir", str(tmp_path))
    opened = Door(asyncio.get_running_loop(), came.append)
    yield opened
    opened.close()


async def test_a_kernel_that_knows_the_secret_is_let_in_and_the_door_is_gone(door, came, tmp_path):
    with connect(door.offer) as sock:
        sock.sendall(written(b"hello"))  # at once, behind the secret
        await until(lambda: came)
        assert came[0].recv(100) == written(b"hello")
        assert list(tmp_path.iterdir()) == []
        assert connect(door.offer) is None


async def test_only_the_servers_user_may_come_to_the_door(door, tmp_path):
    [folder] = tmp_path.iterdir()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


async def test_who_does_not_know_the_secret_is_turned_away_and_the_kernel_still_comes_in(
    door, came
):
    for proof in (b"", b"x" * 10, b"x" * pipes.SECRET):
        with socket.socket(socket.AF_UNIX) as stranger:
            stranger.connect(door.offer["path"])
            stranger.sendall(proof)
            stranger.shutdown(socket.SHUT_WR)
            stranger.setblocking(False)
            await until(lambda stranger=stranger: _has_ended(stranger))
    assert came == []
    with connect(door.offer):
        await until(lambda: came)


async def test_who_says_nothing_holds_up_the_door_for_a_moment_only(door, came, monkeypatch):
    monkeypatch.setattr(doors, "PROOF", 0.05)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.connect(door.offer["path"])
        await turns()
        with connect(door.offer):
            await until(lambda: came)
        assert silent.recv(1) == b""


async def test_a_secret_that_comes_in_pieces_is_the_secret(door, came):
    with socket.socket(socket.AF_UNIX) as kernel:
        kernel.connect(door.offer["path"])
        for byte in bytes.fromhex(door.offer["secret"]):
            kernel.sendall(bytes([byte]))
            await turns(2)
        await until(lambda: came)


async def test_a_door_that_is_closed_leaves_nothing_behind(door, came, tmp_path):
    with socket.socket(socket.AF_UNIX) as waiting:
        waiting.connect(door.offer["path"])
        await turns()
        door.close()
        assert waiting.recv(1) == b""
    assert list(tmp_path.iterdir()) == [] == came


async def test_a_kernel_that_is_stopped_for_days_is_sent_no_beats_to_keep(tmp_path, monkeypatch):
    monkeypatch.setattr(doors.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(pipes, "MAX_PARTS", 50)
    ended: list[object] = []
    loop, begun = asyncio.get_running_loop(), asyncio.Event()
    here = SimpleNamespace(transport="tcp", ip="127.0.0.1")
    way = KernelPipe(loop, lambda content, buffers: None, ended.append)
    with connect(way.offer_to(here, begun.set)["pipe"]) as kernel:
        await asyncio.wait_for(begun.wait(), 10)
        way.beat()
        kernel.setblocking(True)
        assert kernel.recv(100) == written(b"{}")
        way.send(b"x" * 1_000_000, ())
        for _ in range(200):
            way.beat()
        await turns()
        assert ended == []
        way.close()


def _has_ended(sock: socket.socket) -> bool:
    try:
        return sock.recv(1) == b""
    except BlockingIOError:
        return False


@pytest.mark.parametrize(
    "offer",
    [
        *(None, 5, {}, {"path": "/"}),
        {"path": 5, "secret": ""},
        {"path": "/none", "secret": "zz"},
        {"path": "/" + "x" * 300, "secret": "00"},
        {"path": "/no\0", "secret": "00"},
        {"path": "/does/not/exist", "secret": "00"},
    ],
)
def test_an_offer_that_leads_nowhere_is_no_way_and_no_error(offer):
    assert connect(offer) is None


async def test_a_kernel_elsewhere_is_offered_nothing(monkeypatch, tmp_path):
    loop = asyncio.get_running_loop()
    for kernel in (
        SimpleNamespace(transport="tcp", ip="10.0.0.7"),
        SimpleNamespace(transport="tcp", ip="kernels.example"),
        SimpleNamespace(),
    ):
        assert open_door(loop, kernel, lambda sock: None) is None
    # A folder whose name is too long for a Unix socket is no error, either.
    deep = tmp_path / ("d" * 120)
    deep.mkdir()
    monkeypatch.setattr(doors.tempfile, "tempdir", str(deep))
    here = SimpleNamespace(transport="tcp", ip="127.0.0.1")
    assert open_door(loop, here, lambda sock: None) is None
    assert list(deep.iterdir()) == []
