"""What becomes of a bot when its kernel is restarted, killed, interrupted, culled or silent."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import threading
import time
from pathlib import Path

import pytest
from support.bots import bot_text
from support.endurance import sizes
from support.notebook import Notebook, eventually, notebook
from support.server import RunningServer, running_server
from support.visitor import Visitor
from websockets.exceptions import ConnectionClosed

SECONDS = 60
"""How long anything may take on a machine that has much else to do."""

SERVE = """
import jupyter_wshandler as wsh
async def on_message(handler, message):
    return 'Got message: ' + message
bot = wsh.serve('/bot', on_message=on_message)
"""

INSIDE = bot_text("inside")
CONFIG = """
url:
  inside: {pattern: /inside, handler: WebSocketHandler, kwargs: {on_message: inside.server}}
"""
RESTARTER = "--AsyncIOLoopKernelRestarter"
ARGUMENTS = [
    # Jupyter gives a kernel up that dies five times, and looks every three seconds.
    f"{RESTARTER}.restart_limit=100",
    f"{RESTARTER}.time_to_dead=0.2",
    f"{RESTARTER}.stable_start_time=0.1",
]


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> RunningServer:
    folder = tmp_path_factory.mktemp("server")
    with running_server(
        CONFIG, folder=folder, modules={"inside.py": INSIDE}, extra_args=ARGUMENTS
    ) as running:
        yield running


@pytest.fixture(scope="module")
def neighbour(server) -> Notebook:
    """Return a notebook whose bot nobody disturbs."""
    with notebook(server) as opened:
        opened.run(SERVE.replace("/bot", "/neighbour"))
        yield opened


def inside(server: RunningServer, word: str = "") -> dict:
    with server.connect_sync("/inside") as socket:
        socket.send(word)
        return json.loads(socket.recv(timeout=SECONDS))


def ask(socket, message: str) -> str:
    socket.send(message)
    return socket.recv(timeout=SECONDS)


class Traffic:
    """Clients that talk to a bot until they are closed."""

    def __init__(self, server: RunningServer, path: str, count: int = 3) -> None:
        self.codes: list[int | None] = []
        self.answers = 0
        self._threads = [
            threading.Thread(target=self._talk, args=(server, path)) for _ in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def _talk(self, server: RunningServer, path: str) -> None:
        with server.connect_sync(path) as socket:
            with contextlib.suppress(ConnectionClosed):
                while True:
                    for _ in range(4):
                        socket.send("x")
                    for _ in range(4):
                        assert socket.recv(timeout=SECONDS) == "Got message: x"
                        self.answers += 1
            self.codes.append(socket.close_code)

    def join(self) -> list[int | None]:
        for thread in self._threads:
            thread.join(SECONDS)
            assert not thread.is_alive(), "a client was never closed"
        return self.codes


def restart(book: Notebook) -> None:
    book.restart()


def is_stopped(pid: int) -> bool:
    """Return whether each thread of a process stands still, which none does at once."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    stats = [(thread / "stat").read_text() for thread in threads]
    return all(stat.rpartition(")")[2].split()[0] == "T" for stat in stats)


def kill(book: Notebook) -> None:
    pid = book.pid()
    os.kill(pid, signal.SIGKILL)
    # The server starts another process in its place.
    eventually(
        lambda: f"kernel {book.kernel_id} restarted" in book.server.log_text(), seconds=SECONDS
    )
    book.reconnect()
    assert book.pid() != pid


def without_ipykernels_own(log: str) -> str:
    """Return a log without what a kernel says of messages that come before it is ready for them.

    ipykernel 7.4 listens on its control channel before it has made the lock for it.
    """
    early = (
        r"ERROR:tornado\.general:Uncaught exception in ZMQStream callback\n(?:(?!\[|ERROR:).*\n)*"
    )
    return re.sub(early, lambda match: "" if "_control_lock" in match[0] else match[0], log)


def test_only_what_ipykernel_says_of_early_messages_is_left_out():
    ours = "[E 2026-11-26 16:09:47 WSHandlerApp] it failed\nTraceback (most recent call last):\n"
    theirs = "ERROR:tornado.general:Uncaught exception in ZMQStream callback\nTraceback (most\n"
    early = theirs + "KeyError: '_control_lock'\n\nTraceback\nTraitError: a Lock\n"
    assert without_ipykernels_own(early + early + ours + theirs + ours) == ours + theirs + ours


@pytest.mark.timeout(600)
@sizes(short=6, full=20)
@pytest.mark.parametrize("end", [restart, kill])
def test_clients_see_1012_each_time_a_kernel_ends_and_nothing_else_is_touched(
    server, neighbour, end, size
):
    with notebook(server) as book, server.connect_sync("/neighbour") as witness:
        before = None
        for turn in range(size.number):
            book.run(SERVE)
            traffic = Traffic(server, "/bot")
            eventually(lambda traffic=traffic: traffic.answers > 20)
            server.log_path.write_text("")
            end(book)
            assert traffic.join() == [1012] * 3
            assert ask(witness, str(turn)) == f"Got message: {turn}"
            assert "bot" not in inside(server)["routes"]
            if turn == 1:  # what is made once is made by now
                before = settled(server)
        names = ("tasks", "wires", "connections")

        def is_as_before() -> bool:
            after = inside(server)
            same = all(after[name] == before[name] for name in names)
            return same and after["descriptors"] <= before["descriptors"] + 2

        eventually(is_as_before, f"a server as before, {before}, and not {inside(server)}")
        assert before["wires"] == 2
        assert "Traceback" not in without_ipykernels_own(server.log_text())


def settled(server: RunningServer) -> dict:
    """Return what is inside the server once two looks in a row are the same."""
    seen = [inside(server)]

    def same() -> bool:
        seen.append(inside(server))
        return seen[-1] == seen[-2]

    eventually(same, "a server that has settled")
    return seen[-1]


def test_the_same_client_can_come_back_when_the_cell_is_run_again(server):
    with notebook(server) as book:
        book.run(SERVE)
        with server.connect_sync("/bot") as socket:
            assert ask(socket, "1") == "Got message: 1"
            book.restart()
            with pytest.raises(ConnectionClosed, match="kernel"):
                socket.recv(timeout=SECONDS)
        assert Visitor(server).status("/bot", token=True) == 404
        book.run(SERVE)
        with server.connect_sync("/bot") as socket:
            assert ask(socket, "2") == "Got message: 2"


def test_a_way_that_was_lost_is_found_again_without_running_a_cell(server):
    with notebook(server) as book:
        book.run(SERVE)
        with server.connect_sync("/bot") as socket:
            ask(socket, "1")
            inside(server, f"cut {book.kernel_id}")
            with pytest.raises(ConnectionClosed):
                socket.recv(timeout=SECONDS)
            assert socket.close_code == 1012
        eventually(lambda: "bot" in inside(server)["routes"])
        with server.connect_sync("/bot") as socket:
            assert ask(socket, "2") == "Got message: 2"
        assert book.run("print(bot.state)").text == "live\n"


def test_talking_to_a_bot_does_not_make_a_busy_kernel_look_idle(server, tmp_path):
    with notebook(server) as book:
        book.run(SERVE)

        def state() -> str:
            return json.loads(server.fetch(f"api/kernels/{book.kernel_id}")[2])["execution_state"]

        with server.connect_sync("/bot") as socket:
            go = tmp_path / "go"
            cell = book.start(
                "print('begun')\n"
                "import os, time\n"
                f"while not os.path.exists({str(go)!r}): time.sleep(0.05)"
            )
            book.until(lambda: "begun" in cell.text)
            for _ in range(20):
                ask(socket, "x")
            assert state() == "busy"
            assert not cell.idle
            go.touch()
            book.wait(cell)
            eventually(lambda: state() == "idle")
            seen = len(book.seen)
            ask(socket, "x")
            assert {message["msg_type"] for message in book.seen[seen:]} <= {"comm_msg"}


def test_an_interrupt_stops_the_cell_and_not_the_bot(server):
    with notebook(server) as book:
        book.run(SERVE)
        with server.connect_sync("/bot") as socket:
            cell = book.start("print('begun'); import time; time.sleep(60)")
            book.until(lambda: "begun" in cell.text)
            assert ask(socket, "1") == "Got message: 1"
            book.interrupt()
            book.wait(cell)
            assert cell.error.startswith("KeyboardInterrupt")
            assert ask(socket, "2") == "Got message: 2"


def test_a_kernel_that_is_shut_down_takes_its_bot_along(server):
    with notebook(server) as book:
        book.run(SERVE)
        with server.connect_sync("/bot") as socket:
            ask(socket, "1")
            book.shutdown()
            with pytest.raises(ConnectionClosed):
                socket.recv(timeout=SECONDS)
            assert socket.close_code == 1012
        assert Visitor(server).status("/bot", token=True) == 404


def test_a_kernel_that_does_not_answer_costs_its_clients_1013_and_nobody_else_anything(tmp_path):
    impatient = ["--WSHandlerApp.thread_patience=1"]
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(running_server(folder=tmp_path, extra_args=impatient))
        neighbour, book = (stack.enter_context(notebook(server)) for _ in range(2))
        neighbour.run(SERVE.replace("/bot", "/neighbour"))
        witness = stack.enter_context(server.connect_sync("/neighbour"))
        book.run(SERVE)
        pid = book.pid()
        with server.connect_sync("/bot") as quiet, server.connect_sync("/bot") as socket:
            ask(socket, "1")
            ask(quiet, "1")
            os.kill(pid, signal.SIGSTOP)
            try:
                eventually(lambda: is_stopped(pid), "a kernel that stands still")
                began = time.monotonic()
                for _ in range(200):
                    socket.send("x")
                with pytest.raises(ConnectionClosed):
                    socket.recv(timeout=SECONDS)
                assert socket.close_code == 1013
                assert time.monotonic() - began > 0.9
                assert ask(witness, "2") == "Got message: 2"
            finally:
                os.kill(pid, signal.SIGCONT)
            # Who did not wait for anything stays, and is answered again.
            assert ask(quiet, "3") == "Got message: 3"


def test_a_bot_is_found_by_a_server_that_comes_later(server):
    with notebook(server) as book:
        book.run(SERVE)
        with server.connect_sync("/bot") as socket:
            ask(socket, "1")
            inside(server, "again")
            with pytest.raises(ConnectionClosed):
                socket.recv(timeout=SECONDS)

        def answers() -> bool:
            if Visitor(server).status("/bot", token=True) != 101:
                return False
            with server.connect_sync("/bot") as again:
                return ask(again, "2") == "Got message: 2"

        eventually(answers)
        assert book.run("print(bot.state)").text == "live\n"


def test_a_server_that_stops_says_goodbye_to_the_clients_of_a_bot_and_runs_its_on_close(tmp_path):
    with running_server(folder=tmp_path) as server, notebook(server) as book:
        book.run(
            "import jupyter_wshandler as wsh\n"
            "def on_message(handler, message): return message\n"
            "def on_close(handler):\n"
            f"    with open({str(tmp_path / 'closed')!r}, 'a') as f:\n"
            "        f.write(f'{handler.close_code}\\n')\n"
            "bot = wsh.serve('/bot', on_message=on_message, on_close=on_close)"
        )
        with server.connect_sync("/bot") as socket:
            ask(socket, "1")
            server.process.send_signal(signal.SIGTERM)
            with pytest.raises(ConnectionClosed):
                socket.recv(timeout=SECONDS)
            assert socket.close_code == 1001
        assert server.process.wait(SECONDS) == 0
        assert (tmp_path / "closed").read_text() == "1001\n"


def culling(**options) -> list[str]:
    given = {"cull_idle_timeout": 2, "cull_interval": 1, **options}
    return [f"--MappingKernelManager.{key}={value}" for key, value in given.items()]


def test_an_open_chat_keeps_its_kernel_from_the_culler_like_an_open_notebook(tmp_path):
    with running_server(folder=tmp_path, extra_args=culling()) as server:
        book = Notebook(server)
        book.run(SERVE)
        with server.connect_sync("/bot") as socket:
            ask(socket, "1")
            book.leave()
            began = time.monotonic()
            while time.monotonic() - began < 5:  # idle for longer than the culler allows
                with pytest.raises(TimeoutError):
                    socket.recv(timeout=0.5)
            assert ask(socket, "2") == "Got message: 2"
        eventually(lambda: server.fetch("api/kernels")[2] == b"[]", "the culler")
        assert Visitor(server).status("/bot", token=True) == 404


def test_a_culled_kernel_closes_its_clients_with_1012(tmp_path):
    # Long enough for a slow machine to run the cell, and to connect.
    patient = culling(cull_connected=True, cull_idle_timeout=6)
    with running_server(folder=tmp_path, extra_args=patient) as server:
        book = Notebook(server)
        book.run(SERVE)
        book.leave()
        with server.connect_sync("/bot") as socket:
            ask(socket, "1")
            with pytest.raises(ConnectionClosed, match="kernel"):
                socket.recv(timeout=SECONDS)
            assert socket.close_code == 1012


@pytest.mark.parametrize(
    ("policy", "extra", "call", "outcome"),
    [
        ("off", [], "wsh.serve('/x', print)", "serves no routes of kernels"),
        ("any", [], "wsh.serve('/x', print, auth=False)", "allow_public_routes"),
        (
            "any",
            ["--WSHandlerApp.allow_public_routes=True"],
            "wsh.serve('/x', print, auth=False)",
            "",
        ),
        ("any", [], "wsh.serve('/x', print, origins=['https://a.example'])", ""),
        (
            "private",
            ["--WSHandlerApp.enforce={'auth': {'membership': {'username': 'nobody'}}}"],
            "wsh.serve('/x', print)",
            "",
        ),
    ],
    ids=["off", "any", "public", "origins", "enforced"],
)
def test_the_administrator_decides_what_kernels_may_serve(tmp_path, policy, extra, call, outcome):
    arguments = [f"--WSHandlerApp.kernel_routes={policy}", *extra]
    with running_server(folder=tmp_path, extra_args=arguments) as server, notebook(server) as book:
        cell = book.run(f"import jupyter_wshandler as wsh\nbot = {call}", fails=True)
        if outcome:
            assert cell.error.startswith("RouteRefused")
            assert outcome in cell.error
            return
        assert cell.error is None
        visitor = Visitor(server)
        if "auth=False" in call:
            assert visitor.status("/x") == 101
        elif "origins" in call:
            origin = [("Origin", "https://a.example")]
            assert visitor.status("/x", origin, token=True) == 101
            assert visitor.status("/x", [("Origin", server.url[:-1])], token=True) == 403
        else:
            assert visitor.status("/x", token=True) == 403


def test_a_configured_route_that_comes_later_takes_its_address_from_a_bot(tmp_path):
    config = "url: {}\n"
    module = {"later.py": "def on_message(handler, message): return 'configured'\n"}
    with (
        running_server(config, folder=tmp_path, modules=module) as server,
        notebook(server) as book,
    ):
        cell = book.run(SERVE)
        with server.connect_sync("/bot") as socket:
            ask(socket, "1")
            (tmp_path / "wshandler.yaml").write_text(
                "url:\n  other:\n    pattern: /bot\n    handler: WebSocketHandler\n"
                "    kwargs: {on_message: later.on_message}\n"
            )
            with pytest.raises(ConnectionClosed):
                socket.recv(timeout=SECONDS)
            assert socket.close_code == 1012
        with server.connect_sync("/bot") as socket:
            assert ask(socket, "2") == "configured"
        assert "'other'" in book.run("print(bot.state, bot.reason)").text
        eventually(lambda: "is no longer served" in cell.text)
