"""Rooms over the wire of a connection that outlives a break, on a real server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.bots import bot_text
from support.resuming import Resumer
from support.server import RunningServer, running_server

YAML = """
url:
  room:
    pattern: /room
    handler: WebSocketHandler
    kwargs:
      on_message: rooms.on_message
      may_join: rooms.may_join
      resume: {window: 60s}
      history: true
      presence: true
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("resumerooms")
    with running_server(YAML, folder=folder, modules={"rooms.py": bot_text("rooms")}) as running:
        yield running


def wishes(client: Resumer, **frame: object) -> None:
    """Send what the client wants of a room, with its number."""
    client.sent += 1
    client.send_frame(**frame, n=client.sent)


def test_joins_messages_and_presence_of_rooms_are_numbered_and_outlive_a_break(server):
    with Resumer(server, "/room") as ada, Resumer(server, "/room") as bob:
        wishes(ada, join="blue", presence=True)
        assert ada.recv()["joined"] == "blue"
        assert len(ada.recv()["members"]) == 1
        bob.send("to blue before")
        assert ada.recv()["offset"] == 1
        ada.cut()
        wishes(bob, join="blue")
        assert bob.recv()["joined"] == "blue"
        bob.send("to blue meanwhile")
        assert bob.recv()["message"] == "meanwhile"
        ada.connect()
        assert ada.first["resumed"] is True
        change, meanwhile = ada.recv(), ada.recv()
        assert change["change"] == "joined"
        assert (meanwhile["message"], meanwhile["room"], meanwhile["offset"]) == (
            "meanwhile",
            "blue",
            2,
        )
        wishes(bob, leave="blue")
        assert bob.recv() == {"left": "blue"}
        assert ada.recv()["change"] == "left"
        wishes(ada, join="secret")
        assert ada.recv()["refused"] == "secret"
        ada.send_frame(join="blue", n=1)  # a repetition: it is dropped
        wishes(ada, leave="blue")
        assert ada.recv() == {"left": "blue"}


def test_a_join_without_a_number_ends_a_connection_whose_frames_are_numbered(server):
    with Resumer(server, "/room") as ada:
        ada.send_frame(join="blue")
        code, reason = ada.closed()
        assert (code, reason[:7]) == (1002, "wsh.v1:")
