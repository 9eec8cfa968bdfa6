"""What a notebook does to the server, seen by somebody else's bot on it."""

from __future__ import annotations

import time

import pytest
from support.bots import bot_text
from support.latency import Pulse
from support.notebook import eventually, notebook
from support.server import RunningServer, running_server

CONFIG = """
url: {bystander: {pattern: /bystander, handler: WebSocketHandler, kwargs: {on_message: bot.echo}}}
"""
BOT = "async def echo(handler, message):\n    return message\n"

# Nobody looks on: what a kernel puts out, Jupyter reads and writes again for an open notebook.
LATER = """
import threading
threading.Timer(1.0, lambda: exec({code!r}, globals())).start()
"""

SERVE = """
import jupyter_wshandler as wsh
async def on_message(handler, message):
    return message
bots = [wsh.serve(f'/many/{n}/{{room}}', on_message=on_message, wait=0) for n in range(1000)]
"""

RAW = bot_text("raw_cell")

ATTACKS = {
    "events": "say({'n': 2, 'events': [['text', 'x', 'y']] * 300_000})",
    "nested": "say({'n': 2, 'events': [['text', 'x', [[]] * 1_300_000]]})",
    "deep": "say({'n': 2, 'events': eval('[' * 90 + ']' * 90)})",
    "large": "say({'n': 2, 'events': [['text', 'x', 'y' * 50_000_000]]})",
    "many": "for n in range(2, 3000): say({'n': n, 'events': [['text', 'x', 'y']] * 500})",
    "claims": "for n in range(2, 40): say({'n': n, 'events': [['serve', f'a{n}-{m}', 1, "
    "{'pattern': f'/a/{n}/{m}', 'events': ['on_message']}, ''] for m in range(500)]})",
    "events on iopub": "publish({'n': 2, 'events': [['text', 'x', 'y']] * 300_000})",
    "large on iopub": "publish({'n': 2, 'events': [['text', 'x', 'y' * 50_000_000]]})",
    "empty": "flood(2.5)",
    "wrong": "for n in range(2, 40): say({'n': n, 'events': [['text', 5]] * 500})",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> RunningServer:
    folder = tmp_path_factory.mktemp("server")
    arguments = ["--WSHandlerApp.kernel_routes_limit=1000"]
    with running_server(
        CONFIG, folder=folder, modules={"bot.py": BOT}, extra_args=arguments
    ) as running:
        yield running


class Bystander(Pulse):
    """Echo on a route of a module, again and again."""

    def __init__(self, server: RunningServer) -> None:
        self.socket = server.connect_sync("/bystander").__enter__()
        super().__init__(self._echo, 0.005)
        self.start()

    def _echo(self) -> None:
        self.socket.send("x")
        assert self.socket.recv(timeout=20) == "x"

    def __exit__(self, *args: object) -> None:
        self.stop()
        self.socket.close()

    def __enter__(self) -> Bystander:
        return self

    def worst(self) -> float:
        """Return the worst but the two that another process of this machine may have caused."""
        return sorted(self.take())[-3]


def test_a_thousand_bots_in_a_loop_hold_nobody_up(server):
    with notebook(server) as book, Bystander(server) as bystander:
        book.run(LATER.format(code=SERVE))
        book.leave()
        time.sleep(0.5)
        bystander.take()
        begun = time.monotonic()
        eventually(lambda: server.fetch("many/999/x")[0] != 404, "a thousand bots", 40)
        seconds = time.monotonic() - begun
        served = bystander.worst()
        book.reconnect()
        cell = book.run("wsh.serve('/one/more', on_message=on_message)", fails=True)
        assert "kernel_routes_limit" in cell.error
        book.run(LATER.format(code="for b in bots[:500]: b.stop()"))
        book.leave()
        time.sleep(0.5)
        bystander.take()
        eventually(lambda: server.fetch("many/499/x")[0] == 404)
        withdrawn = bystander.worst()
        book.shutdown()
        eventually(lambda: server.fetch("many/900/x")[0] == 404)
        time.sleep(0.2)
        ended = bystander.worst()
    print(f"{seconds:.1f} s; worst {served:.3f}, {withdrawn:.3f}, {ended:.3f} s")
    assert seconds < 30
    assert max(served, withdrawn, ended) < 0.25


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS.keys())
def test_whatever_a_kernel_sends_delays_others_by_milliseconds(server, attack):
    with notebook(server) as book:
        book.run(RAW)
        with Bystander(server) as bystander:
            book.run(LATER.format(code=attack))
            book.leave()
            time.sleep(0.5)
            bystander.take()
            time.sleep(2.5)
            worst = bystander.worst()
        print(f"worst {worst * 1000:.0f} ms")
        assert worst < 0.2
        with server.connect_sync("/bystander") as socket:
            socket.send("still")
            assert socket.recv(timeout=20) == "still"


SIBLING = bot_text("sibling_cell")


def printed(book, expression: str) -> str:
    return book.run(f"print({expression})").text.strip()


def test_a_kernel_that_is_cut_off_knows_it_and_its_bots_say_why(server):
    with notebook(server) as book:
        book.run(RAW)
        eventually(lambda: printed(book, "bot.state") == "live")
        book.run("say({'n': 2, 'events': 5})")
        eventually(lambda: printed(book, "bot.state") == "displaced")
        assert "restart the kernel" in printed(book, "bot.reason")


@pytest.mark.parametrize("where", ["name='\\ud800'", "subprotocols=['\\ud800']"])
def test_a_text_that_cannot_travel_is_refused_in_its_cell_and_costs_no_other_bot(server, where):
    with notebook(server) as book:
        book.run(SIBLING)
        eventually(lambda: printed(book, "sibling.state") == "live")
        with server.connect_sync("/sibling") as client:
            cell = book.run(f"wsh.serve('/odd', on_message=on_message, {where})", fails=True)
            assert "UnicodeEncodeError" not in cell.error
            client.send("still here")
            assert client.recv(timeout=10) == "still here"
            # One that gets as far as the way to the server costs nothing either.
            book.run(
                "from jupyter_wshandler.kernels.events import Withdraw\n"
                "link.call(lambda: link._put(Withdraw('half \\ud800')))"
            )
            client.send("and here")
            assert client.recv(timeout=10) == "and here"
        assert printed(book, "sibling.state") == "live"
