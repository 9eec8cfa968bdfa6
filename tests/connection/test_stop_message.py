"""`stop_message`: a plain client stops its answer with a text, in a module and in a kernel."""

from __future__ import annotations

import pytest
from support.bots import bot_text
from support.memory import Host, Visitor, route, running_manager, turns
from support.server import wait_for
from support.twohosts import noted, two_hosts

from jupyter_wshandler.connection.receiving import LIGHT

BOTS = bot_text("stopping")
NAMES = ("later", "thread", "slow")
YAML = "url:\n" + "".join(
    f"""
  {name}:
    pattern: /{name}
    handler: WebSocketHandler
    kwargs:
      on_message: {{function: bots.{name}}}
      stop_message: /stop
"""
    for name in NAMES
)


CELL = f"""
for name in {NAMES!r}:
    wsh.serve('/' + name, on_message=globals()[name], stop_message='/stop')
"""
server, in_kernel, host = two_hosts("bots", BOTS, YAML, CELL)


@pytest.mark.parametrize("path", ["/later", "/thread", "/slow"])
def test_it_stops_the_answer_of_a_plain_client_and_the_next_message_is_answered(host, path):
    with host.connect_sync(path) as socket:
        socket.send("go")
        if path == "/slow":
            wait_for(lambda: noted(host) == ["go"], 10, "its begin")
        else:
            assert socket.recv(timeout=10) == "more "
        socket.send("hi")  # waits, and the stop overtakes it
        socket.send("/stop")
        while (got := socket.recv(timeout=10)) != "hello":
            assert got == "more "
        assert noted(host) == ["go", "closed", "hi"]


def test_it_reaches_no_callback_and_stops_nothing_where_nothing_is_answered(host):
    with host.connect_sync("/slow") as socket:
        for _ in range(3):
            socket.send("/stop")
        socket.send("hi")
        assert socket.recv(timeout=10) == "hello"
        assert noted(host) == ["hi"]


def bot(on_message, **options):
    return route(options={"stop_message": "/stop", **options}, on_message=on_message)


async def take(handler, message):
    """Take a message and say nothing."""


async def test_it_takes_back_the_message_whose_turn_it_is_where_none_is_handled_yet() -> None:
    visitor = Visitor(Host(), bot(take, max_message=0)).open()
    heavy = "x" * (2 * LIGHT)
    visitor.send(heavy, "b")
    assert visitor.connection._waiting_size > LIGHT
    visitor.send("/stop")
    assert list(visitor.connection._inbox) == ["b"]
    assert visitor.connection._waiting_size == 0


async def test_a_text_that_only_looks_like_it_and_the_same_bytes_are_messages() -> None:
    visitor = Visitor(Host(), bot(take)).open()
    visitor.send("/stop ", b"/stop", "/STOP")
    assert list(visitor.connection._inbox) == ["/stop ", b"/stop", "/STOP"]


async def test_what_open_does_is_not_stopped_by_it() -> None:
    opened = []

    async def open(handler):
        await turns(5)
        opened.append(handler)

    async with running_manager() as manager:
        options = {"stop_message": "/stop"}
        visitor = Visitor(manager, route(options=options, open=open, on_message=take)).open()
        visitor.send("/stop")
        await turns(30)
        assert opened == [visitor.connection]
        await visitor.leave()
