"""The same functions on two real servers: from a module, and from a notebook's kernel."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from support.notebook import notebook
from support.server import RunningServer, running_server


def two_hosts(
    module: str, code: str, config: str, cell: str, *, notes: tuple[str, ...] = ("noted",)
) -> tuple[Any, Any, Any]:
    """Return the fixtures `server`, `in_kernel` and `host`, for a test's module to give names to.

    `host` is one of the other two after the other. What the functions have noted in files of the
    server's folder is forgotten before each test.

    Args:
        module: The name of the module that the configuration imports.
        code: The functions.
        config: The configuration of the routes of the first.
        cell: Serves the same from a notebook's cell, after `import jupyter_wshandler as wsh`.
        notes: The names of the files.
    """

    @pytest.fixture(scope="module")
    def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
        folder = tmp_path_factory.mktemp(module)
        with running_server(config, folder=folder, modules={f"{module}.py": code}) as running:
            yield running

    @pytest.fixture(scope="module")
    def in_kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
        folder = tmp_path_factory.mktemp("kernel")
        with running_server(folder=folder) as running, notebook(running) as book:
            book.run(code)
            book.run(f"import jupyter_wshandler as wsh\n{cell}")
            yield running

    @pytest.fixture(params=["server", "in_kernel"])
    def host(request: pytest.FixtureRequest) -> RunningServer:
        running: RunningServer = request.getfixturevalue(request.param)
        forget(running, *notes)
        return running

    return server, in_kernel, host


def forget(host: RunningServer, *notes: str) -> None:
    """Forget what the functions have noted."""
    for name in notes:
        (host.folder / name).unlink(missing_ok=True)


def noted(host: RunningServer) -> list[str]:
    """Return the words that the functions have noted."""
    path = host.folder / "noted"
    return path.read_text().split() if path.exists() else []
