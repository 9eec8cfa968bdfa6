"""A save of a module that never finishes importing, on a server in a process of its own."""

from __future__ import annotations

import os
import sys
import time

import pytest
from support.server import running_server, wait_for

ECHO = """
async def on_message(handler, message):
    return {answer!r}
"""

SLEEP = "import time\ntime.sleep(100_000)\n"

LOCK = "import threading\nlock = threading.Lock()\nlock.acquire()\nlock.acquire()\n"

YAML = """
url:
  bot:
    pattern: /bot
    handler: WebSocketHandler
    kwargs: {on_message: hangbot.on_message}
  other:
    pattern: /other
    handler: WebSocketHandler
    kwargs: {on_message: otherbot.on_message}
"""

# The test does not wait for the minute that an import is given.
START = """
import sys
from jupyter_wshandler.functions import modules
modules.IMPORT_LIMIT = 3.0
from jupyter_server.serverapp import main
sys.exit(main())
"""


def ask(server, path):
    with server.connect_sync(path) as client:
        client.send("who")
        return client.recv(timeout=5)


def save(path, text):
    """Write a file as an editor does, so that nobody reads half of it."""
    aside = path.with_suffix(".new")
    aside.write_text(text)
    os.replace(aside, path)


@pytest.mark.parametrize(("source", "line"), [(SLEEP, 2), (LOCK, 4)], ids=["sleep", "lock"])
def test_the_last_good_version_serves_while_an_import_hangs_and_the_next_save_is_served(
    tmp_path, source, line
):
    start = tmp_path / "start.py"
    start.write_text(START)
    with running_server(
        YAML,
        folder=tmp_path,
        modules={
            "hangbot.py": ECHO.format(answer="v1"),
            "otherbot.py": ECHO.format(answer="other 1"),
        },
        command=[sys.executable, str(start)],
    ) as server:
        module = tmp_path / "hangbot.py"
        assert ask(server, "/bot") == "v1"
        with server.connect_sync("/bot") as connected:
            save(module, source + ECHO.format(answer="v2"))
            began, slowest = time.monotonic(), 0.0
            named = f"{module}:{line}"
            while named not in server.log_text():
                assert time.monotonic() - began < 30, server.log_text()
                asked = time.monotonic()
                assert ask(server, "/bot") == "v1"
                slowest = max(slowest, time.monotonic() - asked)
            assert slowest < 2.0  # the limit of the import is 3 s: the loop never waited for it
            save(module, ECHO.format(answer="v3"))
            wait_for(lambda: ask(server, "/bot") == "v3", 30, "the next save")
            connected.send("who")
            assert connected.recv(timeout=5) == "v3"
        save(tmp_path / "otherbot.py", ECHO.format(answer="other 2"))
        wait_for(lambda: ask(server, "/other") == "other 2", 30, "the other module")
        assert server.log_text().count("given up") == 1
        stopped = time.monotonic()
        server.stop()
        assert time.monotonic() - stopped < 10  # the thread that hangs holds nobody up
