"""A server for each of the ways that bytes take: a socket of our own, Tornado's stream, TLS."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.nginx import make_certificate
from support.server import RunningServer, running_server


@contextmanager
def serving(
    transport: str, config: str, *, folder: Path, modules: dict[str, str]
) -> Iterator[RunningServer]:
    """Run a server; its `extra` names the transport, and the certificate where it has one.

    Args:
        transport: "direct", "stream" or "tls".
        config: The routes.
        folder: Where the server runs.
        modules: Their callbacks.
    """
    certificate = None
    options = {"extra_args": [f"--WSHandlerApp.transport={transport}"]}
    if transport == "tls":
        certificate, key = make_certificate(folder)
        options = {
            "extra_args": [f"--ServerApp.certfile={certificate}", f"--ServerApp.keyfile={key}"],
            "scheme": "https",
        }
    with running_server(config, folder=folder, modules=modules, **options) as running:
        running.extra |= {"transport": transport, "certificate": certificate}
        yield running
