"""What a peer has not taken yet, asked of real sockets, and whether it goes on taking it."""

from __future__ import annotations

import contextlib
import socket
import sys

import pytest
from support.server import wait_for

from jupyter_wshandler.transports.outstanding import Taking, outstanding
from jupyter_wshandler.types import Outstanding

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux is asked")


@pytest.fixture
def pair():
    """Two ends of a TCP connection, of which the second reads into a small buffer."""
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as far:
        far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        far.connect(listener.getsockname())
        near, _ = listener.accept()
        with near:
            near.setblocking(False)
            far.setblocking(False)
            yield near, far


def fill(sock: socket.socket) -> int:
    count = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            count += sock.send(bytes(65536))
    return count


def drain(sock: socket.socket) -> int:
    count = 0
    with contextlib.suppress(BlockingIOError):
        while data := sock.recv(65536):
            count += len(data)
    return count


@on_linux
def test_what_the_system_holds_is_outstanding_and_what_the_peer_reads_is_taken(pair):
    near, far = pair
    sent = fill(near)
    first = outstanding(near, 0)
    assert 0 < first.size <= sent
    taken = 0

    def has_room() -> bool:
        nonlocal taken
        taken += drain(far)
        return outstanding(near, 0).size < first.size / 2

    wait_for(has_room)
    now = outstanding(near, 100)
    assert now.taken - first.taken == first.size + 100 - now.size
    assert taken > 0


@on_linux
def test_what_is_sent_meanwhile_does_not_hide_that_the_peer_takes(pair):
    near, far = pair
    fill(near)
    taking = Taking(outstanding(near, 0))
    wait_for(lambda: drain(far) and fill(near))  # as much waits as before
    assert taking.goes_on(outstanding(near, 10**6))


@on_linux
def test_a_peer_that_reads_nothing_takes_nothing(pair):
    near, _ = pair
    fill(near)
    wait_for(lambda: outstanding(near, 0) == outstanding(near, 0))
    taking = Taking(outstanding(near, 0))
    assert not taking.goes_on(outstanding(near, 0))


def test_all_that_was_taken_is_nothing_outstanding(pair):
    near, far = pair
    near.send(b"hello")
    wait_for(lambda: drain(far) == 5)
    wait_for(lambda: outstanding(near, 0).size == 0)


def test_a_unix_socket_tells_what_waits():
    near, far = socket.socketpair()
    with near, far:
        near.setblocking(False)
        far.setblocking(False)
        fill(near)
        taking = Taking(outstanding(near, 500))
        assert not taking.goes_on(outstanding(near, 500))
        drain(far)
        assert taking.goes_on(outstanding(near, 400))


def test_without_a_socket_or_with_a_closed_one_our_own_queue_says_it():
    closed = socket.socket()
    closed.close()
    for sock in (None, closed):
        assert outstanding(sock, 0) == Outstanding(0, 0)
        taking = Taking(outstanding(sock, 500))
        assert taking.goes_on(outstanding(sock, 400))
        assert not taking.goes_on(outstanding(sock, 400))
        assert taking.goes_on(outstanding(sock, 0))
        assert not taking.goes_on(outstanding(sock, 0))


def test_only_what_stood_before_counts():
    """The system of a peer whose program is stopped acknowledges what is sent later, too."""
    taking = Taking(Outstanding(100, 1000))
    assert taking.goes_on(Outstanding(500, 1090))
    assert taking.goes_on(Outstanding(500, 1150))
    assert not taking.goes_on(Outstanding(500, 1400))
    assert not taking.goes_on(Outstanding(500, 2000))
