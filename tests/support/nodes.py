"""Jupyter servers that one store joins, and what each says of it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from support.bots import bot_text
from support.server import RunningServer, running_server

YAML = """
url:
  talk:
    pattern: /talk/{room}
    handler: WebSocketHandler
    kwargs:
      on_message: rooms.on_message
      rooms: ["{room}", "user:{user}"]
      history: {size: 500}
      presence: {card: rooms.card}
  who: {pattern: /who, handler: WebSocketHandler, kwargs: {on_message: shared.who}}
  lasting:
    pattern: /lasting
    handler: WebSocketHandler
    kwargs:
      open: resuming.opened
      on_message: resuming.on_message
      on_close: resuming.closed
      resume: {window: 60s}
      rooms: [lobby]
      history: {size: 100}
  plain:
    pattern: /plain/{room}
    handler: WebSocketHandler
    kwargs: {on_message: rooms.on_message, rooms: ["{room}"]}
"""


@contextmanager
def node(
    folder: Any, url: str, *arguments: str, config: str = YAML, **options: Any
) -> Iterator[RunningServer]:
    """Start a server with this backplane."""
    path = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))
    with running_server(
        config,
        folder=folder,
        modules={
            "people.py": bot_text("people_by_header"),
            **{f"{name}.py": bot_text(name) for name in ("rooms", "shared", "resuming")},
        },
        extra_args=["--ServerApp.identity_provider_class=people.People", "--debug", *arguments],
        env={"PYTHONPATH": path, "WSHANDLER_BACKPLANE": url},
        **options,
    ) as server:
        yield server


def told_of_health(server: RunningServer) -> Any:
    """Return what a probe is told, who has no login."""
    return json.loads(server.fetch("wshandler/api/health", token=False)[2])


def health(server: RunningServer) -> str:
    """Return whether all is well: "ok" or "degraded"."""
    return str(told_of_health(server)["status"])


def metric(server: RunningServer, name: str) -> float:
    """Return a number of the backplane, by the name and labels behind `wshandler_backplane_`."""
    (line,) = [
        line
        for line in server.fetch("metrics")[2].decode().splitlines()
        if line.startswith(f"wshandler_backplane_{name} ")
    ]
    return float(line.rpartition(" ")[2])
