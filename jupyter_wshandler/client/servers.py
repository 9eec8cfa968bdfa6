"""Which Jupyter server is this process under? Find its address, and the token for it."""

from __future__ import annotations

import os
from dataclasses import replace
from urllib.parse import urlsplit

from ..errors import ServerNotFound
from .addresses import (
    SECURE,
    UNIX,
    Server,
    netloc_of,
    split_url,
    take_share_token,
    take_token,
    with_slash,
)
from .running import is_running, related_pids, running_servers, runtime_dir, starter_pid

EXAMPLE = "connect(..., server='http://127.0.0.1:8888/', token='...')"


def find_server(server: str | None = None) -> Server:
    """Find the server that this process is under.

    In this order: the one that is named; the JupyterHub variables; the runtime files of
    jupyter_server, and there this very process, then `JPY_PARENT_PID` (the server that started
    this kernel), then an ancestor of either, then the only server that is alive. In a kernel that
    somebody else has started (`jupyter execute`, papermill) and that is still there, that one is
    not taken: it knows nothing of this kernel.

    Args:
        server: Base URL of a server, also as Jupyter prints it, with ``/lab?token=...``.

    Raises:
        ServerNotFound: There is none, or several and nothing that tells which.
        ValueError: `server` is no URL.
    """
    if server is not None:
        return _named(server)
    hub = hub_server()
    if hub:
        return hub
    alive = running_servers()
    by_pid = {found.pid: found for found in alive}
    for pid in related_pids():
        if pid in by_pid:
            return by_pid[pid]
    parent = starter_pid()
    if alive and parent and is_running(parent):
        raise ServerNotFound(_started_by(parent, alive))
    if len(alive) == 1:
        return alive[0]
    raise ServerNotFound(_which(alive) if alive else _nothing())


def owner_of(url: str) -> Server | None:
    """Return the server found here that a whole URL belongs to, if there is one."""
    hub = hub_server()
    known = [*([hub] if hub else []), *running_servers()]
    return next((server for server in known if server.owns(url)), None)


def hub_server() -> Server | None:
    """Return the single-user server that JupyterHub's variables describe, if they do."""
    url, token = (os.environ.get(f"JUPYTERHUB_{name}", "") for name in ("SERVICE_URL", "API_TOKEN"))
    parts = urlsplit(url)
    if not token or parts.scheme not in ("http", "https"):
        return None
    # Where a server is told to listen on all addresses, this machine's own is one of them.
    netloc = netloc_of(parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))
    path = parts.path if parts.path.strip("/") else ""
    path = path or os.environ.get("JUPYTERHUB_SERVICE_PREFIX", "") or "/"
    return Server(f"{parts.scheme}://{netloc}{with_slash(path)}", token, "JUPYTERHUB_API_TOKEN")


def _named(text: str) -> Server:
    parts = urlsplit(text)
    if parts.scheme not in (*SECURE, UNIX):
        raise ValueError(
            "expected the base URL of a server such as http://127.0.0.1:8888/ as server=, "
            f"found the scheme {parts.scheme!r}"
        )
    parts = split_url(text)
    if take_share_token(parts.query)[1]:
        raise ValueError(
            "expected the base URL of a server as server=, found the link of a share, which says "
            "all: give it in place of the path"
        )
    path, (_, token) = parts.path, take_token(parts.query)
    if token:
        # As Jupyter prints it: the page that opens first is not part of the base URL.
        path = path.removesuffix("/").removesuffix("/lab").removesuffix("/tree")
    scheme = {"ws": "http", "wss": "https"}.get(parts.scheme, parts.scheme)
    url = f"{scheme}://{parts.netloc}{with_slash(path)}"
    known = owner_of(url)
    if known is None:
        return Server(url, token)
    # Asked for under any of its names, a known server is reached where it said that it listens.
    own = urlsplit(known.url)
    url = f"{own.scheme}://{own.netloc}{with_slash(path)}"
    return replace(known, url=url, token=token or known.token)


def _which(alive: list[Server]) -> str:
    lines = "".join(f"\n  {server.url}  (folder {server.root_dir})" for server in alive)
    return (
        f"{len(alive)} Jupyter servers run here and none of them started this process:{lines}\n"
        f"Say which: connect(..., server={alive[0].url!r})"
    )


def _started_by(starter: int, alive: list[Server]) -> str:
    first, count = alive[0], len(alive)
    those = f"The {count} Jupyter servers that run here do"
    if count == 1:
        those = f"The Jupyter server that runs here ({first.url}, folder {first.root_dir}) does"
    return (
        f"this kernel was started by process {starter}, which is no Jupyter server (`jupyter "
        f"execute`, papermill, a console). {those} not know its bots: run the notebook in "
        "JupyterLab, test the bot with jupyter_wshandler.testing.Chat, or, for a bot of that "
        f"server, say so: connect(..., server={first.url!r})"
    )


def _nothing() -> str:
    folder = runtime_dir()
    stale = len(list(folder.glob("jpserver-*.json")))
    files = f"only {stale} of servers that have ended" if stale else "none"
    return (
        "no Jupyter server found. Looked for JUPYTERHUB_SERVICE_URL with JUPYTERHUB_API_TOKEN "
        f"in the environment (not both are set), and for runtime files jpserver-*.json in {folder} "
        f"({files}). Start a server (jupyter wshandler serve FILE), or name one: {EXAMPLE}"
    )
