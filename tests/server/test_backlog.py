"""The line in front of a server: who comes while it is busy need not try again."""

from __future__ import annotations

import os
import select
import signal
import socket
import time
from contextlib import ExitStack

import pytest
from support.server import running_server
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port

from jupyter_wshandler.server.backlog import lengthen

COMING = 300
"""More than Tornado's 128, and fewer than any system's own limit."""

YAML = "url:\n  bot: {pattern: /bot, handler: WebSocketHandler, kwargs: {on_message: bot.echo}}\n"
BOT = "def echo(handler, message):\n    return message\n"


def let_in(port: int) -> int:
    """Return how many of those who come at once the operating system keeps in line."""
    with ExitStack() as opened:
        poller = select.poll()
        for _ in range(COMING):
            sock = opened.enter_context(socket.socket())
            sock.setblocking(False)
            sock.connect_ex(("127.0.0.1", port))
            poller.register(sock, select.POLLOUT)
        # On loopback a connection is made within the call; the first repeated try is after 1 s.
        deadline = time.monotonic() + 0.5
        while len(made := poller.poll(0)) < COMING and time.monotonic() < deadline:
            time.sleep(0.01)
        return len(made)


@pytest.mark.parametrize(("backlog", "all_in"), [(1024, True), (16, False)])
async def test_a_server_that_listens_gets_another_line(backlog, all_in):
    sock, port = bind_unused_port()
    server = HTTPServer(lambda request: None)
    server.add_sockets([sock])
    try:
        assert lengthen(server, backlog) == 1
        found = let_in(port)
        assert (found == COMING) is all_in
        assert found >= backlog // 4
    finally:
        server.stop()


def test_what_listens_in_another_way_is_left_alone():
    assert lengthen(object(), 1024) == 0


def test_all_who_come_while_a_server_is_busy_are_in_its_line(tmp_path):
    with running_server(YAML, folder=tmp_path, modules={"bot.py": BOT}) as server:
        os.kill(server.pid, signal.SIGSTOP)
        try:
            assert let_in(server.port) == COMING
        finally:
            os.kill(server.pid, signal.SIGCONT)
        assert server.fetch("bot")[0] == 426
