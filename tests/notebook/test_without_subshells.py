"""Bots in a kernel that has no subshells: any ipykernel before 7."""

from __future__ import annotations

import json
import sys

import pytest
from support.bots import bot_text
from support.notebook import eventually, notebook
from support.server import RunningServer, running_server

# What ipykernel 7 has in addition is one thread; without it, it is as the ones before.
KERNEL = bot_text("kernel_without_subshells")
SERVE = """
import jupyter_wshandler as wsh
bot = wsh.serve('/bot', lambda handler, message: 'Got message: ' + message)
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> RunningServer:
    folder = tmp_path_factory.mktemp("server")
    kernel = folder / ".jupyter-state/data/kernels/older"
    kernel.mkdir(parents=True)
    (kernel / "kernel.py").write_text(KERNEL)
    argv = [sys.executable, str(kernel / "kernel.py"), "-f", "{connection_file}"]
    spec = {"argv": argv, "display_name": "Older", "language": "python"}
    (kernel / "kernel.json").write_text(json.dumps(spec))
    with running_server(folder=folder) as running:
        yield running


def test_a_bot_says_that_it_waits_while_a_cell_runs_and_does(server):
    with notebook(server, name="older") as book:
        cell = book.run(SERVE)
        assert "no subshells" in cell.text
        assert "waits whenever a cell runs" in cell.text
        eventually(lambda: book.run("print(bot.state)").text == "live\n")
        with server.connect_sync("/bot") as socket:
            socket.send("1")
            assert socket.recv(timeout=10) == "Got message: 1"
            busy = book.start("print('begun'); import time; time.sleep(1.5)")
            book.until(lambda: "begun" in busy.text)
            socket.send("2")
            with pytest.raises(TimeoutError):
                socket.recv(timeout=0.5)
            assert not busy.idle
            assert socket.recv(timeout=10) == "Got message: 2"
            # Swapping needs no answer of the server, and so no second note.
            again = book.run(SERVE.replace("Got message", "Now"))
            assert again.text == ""
            socket.send("3")
            assert socket.recv(timeout=10) == "Now: 3"


def test_a_bot_that_waits_shows_its_chat_in_the_same_place_when_it_is_live(server):
    with notebook(server, name="older") as book:
        cell = book.run(SERVE.replace("'/bot'", "'/shown'") + "bot")
        [shown] = [o for o in cell.outputs if o["output_type"] == "display_data"]
        book.until(lambda: "chat.js" in shown["data"]["text/html"], what="the chat")
        assert ": live" in shown["data"]["text/plain"]
        assert cell.result is None
        # From now on it is shown as anything is.
        assert "live" in book.run("bot").result
        book.run("%load_ext jupyter_wshandler")
        cell = book.run("%%websocket /magic\ndef on_message(handler, message): return message")
        [shown] = [o for o in cell.outputs if o["output_type"] == "display_data"]
        book.until(lambda: "chat.js" in shown["data"]["text/html"], what="the chat")
        cell = book.run(SERVE.replace("'/bot'", "'/api/status'") + "bot")
        [shown] = [o for o in cell.outputs if o["output_type"] == "display_data"]
        book.until(lambda: "not served" in shown["data"]["text/html"], what="the refusal")


def test_a_refusal_comes_late_and_is_shown_at_the_cell(server):
    with notebook(server, name="older") as book:
        cell = book.run(SERVE.replace("/bot", "/api/status"))
        eventually(lambda: "is not served" in cell.text and "answered by" in cell.text)
        assert book.run("print(bot.state)").text == "refused\n"


def test_another_cell_pushes_and_prints_stay_at_the_serving_cell(server):
    with notebook(server, name="older") as book:
        cell = book.run(
            SERVE + "def on_message(handler, message): print('got', message)\n"
            "bot = wsh.serve('/bot', on_message)"
        )
        eventually(lambda: book.run("print(bot.state)").text == "live\n")
        with server.connect_sync("/bot") as socket:
            socket.send("1")
            eventually(lambda: "got 1" in cell.text)
            assert book.run("print(bot.send('pushed'))").text == "1\n"
            assert socket.recv(timeout=10) == "pushed"


def test_a_share_in_the_cell_that_serves_the_bot_is_open_when_that_cell_has_ended(server):
    with notebook(server, name="older") as book:
        cell = book.run(SERVE + "share = bot.share('class')\nprint(share.state)\nshare")
        assert "waiting\n" in cell.text

        def shown() -> str:
            outputs = [o for o in cell.outputs if o["output_type"] == "display_data"]
            return outputs[0]["data"]["text/html"]

        eventually(lambda: "share_token=" in shown())
        url = book.run("print(share.url)").text.strip()
        token = url.partition("share_token=")[2]
        headers = {"Authorization": f"Bearer {token}"}
        with server.connect_sync("/bot", token=False, headers=headers) as socket:
            socket.send("1")
            assert socket.recv(timeout=10) == "Got message: 1"
            book.run("share.revoke()")
            eventually(lambda: book.run("print(share.state)").text == "ended\n")
        eventually(lambda: token not in shown())
