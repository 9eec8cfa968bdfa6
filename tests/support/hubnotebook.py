"""A notebook of a user's server under a Hub: cells that run in a kernel there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from support.hub import HubServer, RunningHub
from support.notebook import Notebook


class _Server:
    """A user's server as a notebook expects one, reached through the Hub's proxy."""

    def __init__(self, hub: RunningHub, server: HubServer, token: str) -> None:
        self._at = server.at
        self._script = hub.script(token)

    def fetch(self, path: str, method: str = "GET", data: bytes | None = None) -> Any:
        answer = self._script.fetch(self._at(path), method=method, data=data)
        return answer.status, answer.headers, answer.body

    def connect_sync(self, path: str, **options: Any) -> Any:
        return self._script.connect_sync(self._at(path), **options)


@contextmanager
def kernel_of(hub: RunningHub, server: HubServer, token: str) -> Iterator[Notebook]:
    """Start a kernel at a user's server, and end it at the end if the server still runs.

    Args:
        hub: The Hub.
        server: The server.
        token: A token of its owner's.
    """
    started = Notebook(_Server(hub, server, token))  # type: ignore[arg-type]
    try:
        yield started
    finally:
        if hub.server(server.user, server.name) is not None:
            started.shutdown()
        started.leave()
