"""A share where the server is of another version, or where there is none that hears the kernel."""

from __future__ import annotations

from support.bots import bot_text
from support.notebook import eventually, notebook
from support.server import running_server

CONFIG = """
url:
  older:
    pattern: /older
    handler: WebSocketHandler
    kwargs: {on_message: older_server.on_message}
"""
SERVE = """
import jupyter_wshandler as wsh
bot = wsh.serve('/bot', lambda handler, message: message, wait=0.5)
"""


def test_a_share_on_a_server_of_another_version_says_so_and_so_does_none_at_all(tmp_path):
    modules = {"older_server.py": bot_text("older_server")}
    with running_server(CONFIG, folder=tmp_path, modules=modules) as server:
        with notebook(server) as book:
            book.run(SERVE)
            cell = book.run("bot.share()", fails=True)
            assert cell.error.startswith("ShareRefused: bot is not shared: no Jupyter server")
            assert "install the same version in the server and in this kernel" in cell.error
            assert book.run("print(bot.shares)").text == "[]\n"

            with server.connect_sync("/older") as socket:
                socket.send("again")
                assert socket.recv(timeout=20) == "again"

            def told() -> bool:
                return "another version" in book.run("bot.share()", fails=True).error

            eventually(told)
            assert book.run("print(bot.state, bot.shares)").text == "waiting []\n"
