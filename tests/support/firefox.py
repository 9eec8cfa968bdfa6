"""Debian's Firefox, driven over WebDriver BiDi (https://www.w3.org/TR/webdriver-bidi/).

Playwright brings a Firefox of its own and knows no other; a few commands are enough here.
"""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from websockets.sync.client import ClientConnection, connect

from support.need import need
from support.processes import end
from support.server import wait_for

SECONDS = 60
"""How long it may take to start, and for one command."""


class Firefox:
    """One tab of a running Firefox.

    Args:
        socket: The connection to it.
    """

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._numbers = count(1)
        self._command("session.new", capabilities={})
        [tab, *_] = self._command("browsingContext.getTree")["contexts"]
        self._tab = tab["context"]

    def _command(self, method: str, **params) -> dict:
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            answer = json.loads(self._socket.recv(timeout=SECONDS))
            if answer.get("id") == number:
                assert answer["type"] == "success", answer
                return answer["result"]

    def goto(self, url: str) -> None:
        """Go to an address, and wait until the page is loaded."""
        self._command("browsingContext.navigate", context=self._tab, url=url, wait="complete")

    def back(self) -> None:
        """Go back."""
        self._command("browsingContext.traverseHistory", context=self._tab, delta=-1)

    def evaluate(self, script: str):
        """Return the value of an expression in the page, or of the promise that it gives."""
        answer = self._command(
            "script.evaluate",
            expression=f"(async () => JSON.stringify([await ({script})]))()",
            target={"context": self._tab},
            awaitPromise=True,
        )
        assert answer["type"] == "success", answer["exceptionDetails"]["text"]
        [value] = json.loads(answer["result"]["value"])
        return value

    def until(self, condition: str) -> None:
        """Wait for something to be true in the page."""
        wait_for(lambda: self.evaluate(condition), SECONDS, condition, every=0.1)

    def screenshot(self, name: str) -> None:
        """Keep a picture of the page in the folder that WSHANDLER_SCREENSHOTS names, if it does."""
        folder = os.environ.get("WSHANDLER_SCREENSHOTS")
        if folder:
            picture = self._command("browsingContext.captureScreenshot", context=self._tab)["data"]
            Path(folder, f"{name}.png").write_bytes(base64.b64decode(picture))


@contextmanager
def running_firefox(folder: Path) -> Iterator[Firefox]:
    """Start a Firefox with an empty profile, and stop it at the end.

    Args:
        folder: Where its profile and its log go.
    """
    program = need("firefox-esr")
    profile, log = folder / "profile", folder / "firefox.log"
    profile.mkdir(parents=True)
    arguments = ["--headless", "--no-remote", "--profile", profile, "--remote-debugging-port", "0"]
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [program, *arguments],
            env={**os.environ, "HOME": str(folder)},
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
        )

    def address() -> str | None:
        assert process.poll() is None, f"Firefox ended at once:\n{log.read_text()}"
        found = re.search(r"BiDi listening on (ws://\S+)", log.read_text())
        return found and found[1]

    try:
        url = wait_for(address, SECONDS, "the address of Firefox")
        with connect(f"{url}/session", proxy=None, compression=None, max_size=None) as socket:
            yield Firefox(socket)
    finally:
        end(process, seconds=20)
