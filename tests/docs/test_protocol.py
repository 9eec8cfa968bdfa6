"""docs/protocol.md: its examples are what a server says."""

from __future__ import annotations

import json
import re
import socket
import time
from pathlib import Path
from typing import Any

import pytest
from support.server import RunningServer, running_server
from websockets.exceptions import ConnectionClosed

from jupyter_wshandler.engine.asking import SUBPROTOCOL

PAGE = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text()
BOT = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[0]
EXAMPLES = re.findall(r"```text (/\w+)\n(.*?)```", PAGE, re.DOTALL)
LIMIT = re.sub(r"\s+", " ", re.findall(r"`ratelimit: (\{.*?\})`", PAGE, re.DOTALL)[0])

DRAIN = "wshandler/api/drain"

YAML = "url:\n" + "".join(
    f"""
  {name}:
    pattern: /{name}
    handler: WebSocketHandler
    kwargs:
      on_message: {{function: bots.{function}}}
      on_error: {{close: false}}
      {more}
"""
    for name, function, more in (
        ("bot", "on_message", ""),
        ("count", "on_count", ""),
        ("double", "on_double", ""),
        ("lasting", "on_message", "resume: true"),
        ("strict", "on_message", f"ratelimit: {LIMIT}"),
        (
            "rooms",
            "on_say",
            "may_join: bots.may_join\n      history: true\n      presence: true",
        ),
    )
)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("protocol")
    with running_server(YAML, folder=folder, modules={"bots.py": BOT}) as running:
        yield running


def is_like(expected: Any, found: Any) -> bool:
    """Return whether a frame is the one of an example, but for what differs each time."""
    if isinstance(expected, dict) and isinstance(found, dict):
        return expected.keys() == found.keys() and all(
            is_like(value, found[key]) for key, value in expected.items()
        )
    if isinstance(expected, list) and isinstance(found, list):
        return len(expected) == len(found) and all(map(is_like, expected, found))
    if isinstance(expected, str) and isinstance(found, str) and "retry_after" in expected:
        return is_like(json.loads(expected), json.loads(found))
    if isinstance(expected, float):  # when somebody came
        return isinstance(found, float) and abs(found - time.time()) < 60
    if expected == 60:
        return isinstance(found, (int, float)) and 50 < found <= 61
    return found == expected or (expected == "..." and isinstance(found, str) and found != "")


def frame_of(text: str) -> str | bytes:
    return bytes.fromhex(text[1:-1]) if text.startswith("[") else text


class Example:
    """A client that says what an example says, and compares what it hears."""

    def __init__(self, server: RunningServer, path: str) -> None:
        self.server, self.path = server, path
        self.known = {"ID": "", "SECRET": ""}
        self.epoch = ""
        self.socket: Any = None
        self._others: Any = None
        self.drains = False

    def offer(self, names: str) -> None:
        """Connect, with these subprotocols."""
        for word, value in self.known.items():
            names = names.replace(f".{word}", f".{value}")
        self.socket = self._open(names.split(", "))

    def _open(self, names: list[str]) -> Any:
        opened = self.server.connect_sync(self.path, subprotocols=names).__enter__()
        assert opened.subprotocol == SUBPROTOCOL
        return opened

    @property
    def other(self) -> Any:
        """Somebody else, who is there from the first line on where one is theirs."""
        if self._others is None:
            self._others = self._open([SUBPROTOCOL])
        return self._others

    def close(self) -> None:
        """Disconnect both, and let others in again."""
        for opened in (self.socket, self._others):
            if opened is not None:
                opened.close()
        if self.drains:
            self.server.fetch(DRAIN, method="DELETE")

    def do(self, line: str) -> None:
        """Go on by one line."""
        arrow, text = line[0], line[2:]
        if text.startswith("offers "):
            self.offer(text.removeprefix("offers "))
        elif text == "breaks":
            self.socket.socket.shutdown(socket.SHUT_RDWR)
        elif text == "drains":
            self.server.fetch(DRAIN, method="POST", data=b'{"seconds": 0}')
            self.drains = True
        elif arrow == ">":
            text = text.replace('"epoch": "..."', f'"epoch": "{self.epoch}"')
            self.socket.send(frame_of(text))
        elif arrow == "#":
            self.other.send(text)
        elif text.startswith("closed "):
            with pytest.raises(ConnectionClosed) as closed:
                self.socket.recv(timeout=10)
            assert text == f"closed {closed.value.rcvd.code} {closed.value.rcvd.reason}"
        elif text.startswith("["):
            assert self.socket.recv(timeout=10) == frame_of(text)
        else:
            found = json.loads(self.socket.recv(timeout=10))
            assert is_like(json.loads(text), found), f"{line}\nfound: {found}"
            self.epoch = found.get("epoch", self.epoch)
            if "resume" in found:
                self.known = {"ID": found["id"], "SECRET": found["resume"]["secret"]}


@pytest.mark.parametrize(("path", "lines"), EXAMPLES)
def test_an_example_of_the_page_is_what_a_server_says(server, path, lines):
    example = Example(server, path)
    if not lines.startswith("="):
        example.offer(SUBPROTOCOL)
    for line in lines.splitlines():
        example.do(line)
    if path == "/rooms":
        example.socket.send('{"leave": "nothing"}')
        assert json.loads(example.socket.recv(timeout=10)) == {"left": "nothing"}
    elif "closed" not in lines and path != "/lasting":
        example.socket.send('{"message": "json"}' if path == "/bot" else '{"message": "1"}')
        assert json.loads(example.socket.recv(timeout=10))  # nothing else was on its way
    example.close()


def test_the_page_shows_each_frame_that_there_is():
    frames = [line for _, lines in EXAMPLES for line in lines.splitlines()]
    assert len(EXAMPLES) == 17
    words = "message reply piece end wsh stop ask json streamed join leave joined left refused"
    words += " since recovered presence members member room offset epoch presence_offset"
    words += " resume resumed received reason n ack move"
    for member in words.split():
        assert any(f'"{member}"' in frame for frame in frames), member
    for how in ("done", "stopped", "failed", "refused"):
        assert any(f'"how": "{how}"' in frame for frame in frames), how
