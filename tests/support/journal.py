"""What callbacks of a real server did, told to the test that asks; and gates that it opens."""

from __future__ import annotations

import contextlib
import itertools
import json

from support.bots import bot_text
from support.server import RunningServer, wait_for

MODULE = bot_text("journal")

ROUTE = "  journal: {pattern: /journal, handler: WebSocketHandler, kwargs: {on_message: journal.on_message}}\n"  # noqa: E501
"""The route that a configuration needs below its ``url:``."""

_numbers = itertools.count(1)


def new_tag() -> str:
    """Return a tag that no other connection of this test run has."""
    return f"t{next(_numbers)}"


class Journal:
    """Ask a server that has `ROUTE` and `MODULE` (as journal.py) what its callbacks did."""

    def __init__(self, server: RunningServer) -> None:
        self._stack = contextlib.ExitStack()
        self.socket = self._stack.enter_context(server.connect_sync("/journal"))

    def _ask(self, text: str) -> list[list[object]]:
        self.socket.send(text)
        return json.loads(self.socket.recv(timeout=10))["notes"]

    def of(self, tag: str) -> list[list[object]]:
        """Return what was noted under a tag, in order."""
        return self._ask(f"read {tag}")

    def open(self, tag: str) -> None:
        """Open the gate of a connection."""
        self._ask(f"open {tag}")

    def wait(self, tag: str, last: list[object]) -> list[list[object]]:
        """Return what was noted under a tag, once its last note is this one."""
        try:
            return wait_for(lambda: n if (n := self.of(tag)) and n[-1] == last else None)
        except AssertionError:
            raise AssertionError(f"expected {last} at the end of {self.of(tag)}") from None

    def close(self) -> None:
        self._stack.close()
