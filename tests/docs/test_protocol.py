"""docs/protocol.md: its examples are what a server says."""

from __future__ import annotations

import contextlib
import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from support.server import running_server
from websockets.exceptions import ConnectionClosed

from jupyter_wshandler.engine.asking import SUBPROTOCOL

PAGE = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text()
BOT = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[0]
EXAMPLES = re.findall(r"```text (/\w+)\n(.*?)```", PAGE, re.DOTALL)
LIMIT = re.sub(r"\s+", " ", re.findall(r"`ratelimit: (\{.*?\})`", PAGE, re.DOTALL)[0])

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


@pytest.mark.parametrize(("path", "lines"), EXAMPLES)
def test_an_example_of_the_page_is_what_a_server_says(server, path, lines):
    epoch = ""
    with contextlib.ExitStack() as stack:
        socket, other = (
            stack.enter_context(server.connect_sync(path, subprotocols=[SUBPROTOCOL]))
            for _ in range(2)
        )
        assert socket.subprotocol == SUBPROTOCOL
        for line in lines.splitlines():
            arrow, text = line[0], line[2:]
            if arrow == ">":
                socket.send(frame_of(text.replace('"epoch": "..."', f'"epoch": "{epoch}"')))
            elif arrow == "#":
                other.send(text)
            elif text.startswith("closed "):
                with pytest.raises(ConnectionClosed) as closed:
                    socket.recv(timeout=10)
                assert text == f"closed {closed.value.rcvd.code} {closed.value.rcvd.reason}"
            elif text.startswith("["):
                assert socket.recv(timeout=10) == frame_of(text)
            else:
                found = json.loads(socket.recv(timeout=10))
                assert is_like(json.loads(text), found), f"{line}\nfound: {found}"
                epoch = found.get("epoch", epoch)
        if path == "/rooms":
            socket.send('{"leave": "nothing"}')
            assert json.loads(socket.recv(timeout=10)) == {"left": "nothing"}
        elif "closed" not in lines:
            socket.send('{"message": "json"}' if path == "/bot" else '{"message": "1"}')
            assert json.loads(socket.recv(timeout=10))  # nothing else was on its way


def test_the_page_shows_each_frame_that_there_is():
    frames = [line for _, lines in EXAMPLES for line in lines.splitlines()]
    assert len(EXAMPLES) == 11
    words = "message reply piece end wsh stop ask json streamed join leave joined left refused"
    words += " since recovered presence members member room offset epoch presence_offset"
    for member in words.split():
        assert any(f'"{member}"' in frame for frame in frames), member
    for how in ("done", "stopped", "failed", "refused"):
        assert any(f'"how": "{how}"' in frame for frame in frames), how
