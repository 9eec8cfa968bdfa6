"""The demo as a person starts it, and what its server counts meanwhile."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from support.processes import end
from support.server import free_port, wait_for

SECONDS = 60
"""How long its server may take to start, and to stop."""


@dataclass
class Demo:
    """A running demo.

    Args:
        page: The address of the chat with `pingbot`, with the token, as the demo prints it.
    """

    page: str

    @property
    def token(self) -> str:
        """The token, which is another one each time that the demo is started."""
        return parse_qs(urlsplit(self.page).query)["token"][0]

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return urlsplit(self.page).port or 0

    def url(self, path: str = "") -> str:
        """Return the address of a path, without the token."""
        return f"http://127.0.0.1:{self.port}/{path}"

    def counted(self, name: str) -> int:
        """Return what the server counts of `pingbot`, as "connections" or "requests_refused"."""
        request = urllib.request.Request(
            self.url("metrics"), headers={"Authorization": f"token {self.token}"}
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=20) as answer:
            text = answer.read().decode()
        found = re.findall(rf'^wshandler_{name}{{route="pingbot".*}} (\S+)$', text, re.M)
        return round(sum(map(float, found)))


@contextmanager
def running_demo(folder: Path, port: int = 0) -> Iterator[Demo]:
    """Start the demo, and stop it with Ctrl-C at the end.

    Args:
        folder: Where it is started, and where what it prints goes.
        port: The port to listen on; any free one for 0.
    """
    printed = folder / "demo.txt"
    arguments = ["demo", "--no-browser", "--port", str(port or free_port())]
    with printed.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "jupyter_wshandler", *arguments],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
        )

    def address() -> str | None:
        assert process.poll() is None, printed.read_text()
        found = re.search(r"http://127\.0\.0\.1:\d+/pingbot\?token=\S+", printed.read_text())
        return found and found[0]

    try:
        yield Demo(wait_for(address, SECONDS, "the demo's page"))
    finally:
        end(process, signal.SIGINT, SECONDS)
