"""The fixtures that pytest finds by itself: `wsh_chat`, `wsh_server`, `wsh_server_factory`.

Every pytest of this environment imports this module, so it imports nothing but pytest.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .chat import Chat
    from .server import RunningServer


@pytest.fixture
def wsh_chat() -> Iterator[Callable[..., Chat]]:
    """Return what makes a `jupyter_wshandler.testing.Chat`, with the same arguments.

    At the end of the test all are closed, and what a callback has raised and nobody has seen
    yet is raised.
    """
    from .chat import Chat

    with contextlib.ExitStack() as chats:

        def make(source: object = None, /, **arguments: Any) -> Chat:
            return chats.enter_context(Chat(source, **arguments))

        yield make


@pytest.fixture
def wsh_server(request: pytest.FixtureRequest) -> Iterator[Callable[..., RunningServer]]:
    """Return what starts a real Jupyter server, as `jupyter_wshandler.testing.start_server`.

    ``wsh_server("wshandler.yaml")`` names a file beside the test; YAML text and a mapping of
    routes find their modules there. At the end of the test all servers are stopped.
    """
    from .server import start_server

    with contextlib.ExitStack() as servers:

        def start(config: Any, **options: Any) -> RunningServer:
            options.setdefault("folder", request.path.parent)
            return servers.enter_context(start_server(config, **options))

        yield start


@pytest.fixture(scope="session")
def wsh_server_factory() -> Iterator[Callable[..., RunningServer]]:
    """Return the same as `wsh_server` for servers that live until the end of all tests.

    Asked again for the same server, it returns the one that runs. For a fixture of your own of
    a wider scope, which gives the path of its file (or `folder`).
    """
    from .server import start_server

    with contextlib.ExitStack() as servers:
        running: dict[str, RunningServer] = {}

        def start(config: Any, **options: Any) -> RunningServer:
            key = repr((config, sorted(options.items())))
            server = running.get(key)
            if server is None or server.process.poll() is not None:
                server = servers.enter_context(start_server(config, **options))
                running[key] = server
            return server

        yield start
