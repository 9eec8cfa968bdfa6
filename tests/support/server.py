"""A real Jupyter server in a process of its own, with the extension, on loopback."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import websockets.asyncio.client
import websockets.sync.client

from support.forkserver import Forked, can_fork, fork_server
from support.processes import end

TOKEN = "a-token-only-tests-know"
START_SECONDS = 100

HANDSHAKE_SECONDS = 60
"""Seconds that a handshake may take on a machine that has much else to do."""

WITHOUT_LAB = (
    "--ServerApp.jpserver_extensions={'jupyterlab': False, 'jupyter_lsp': False, "
    "'notebook_shim': False, 'notebook': False}"
)
"""JupyterLab is installed for the tests that look at it; the others start without."""


def free_port() -> int:
    """Return a port that nobody listens on now, and that the system gives to nobody by itself.

    A server takes seconds to come up: meanwhile a kernel beside it may be given any other.
    """
    while True:
        port = random.randrange(10_000, 30_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def wait_for(condition, seconds: float = 10.0, what: str = "the condition", every: float = 0.02):
    """Return the condition's first true value; fail when it stays false."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come true within {seconds} s")
        time.sleep(every)


@dataclass
class RunningServer:
    """What a test knows of a running server."""

    port: int
    base_url: str
    token: str
    folder: Path
    process: subprocess.Popen | Forked
    log_path: Path
    scheme: str = "http"
    host: str = "127.0.0.1"
    extra: dict = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.host}:{self.port}{self.base_url}"

    @property
    def pid(self) -> int:
        return self.process.pid

    def ws(self, path: str) -> str:
        """Return the socket's URL of a path such as "/pingbot"."""
        return self.url.replace("http", "ws", 1).rstrip("/") + "/" + path.lstrip("/")

    def log_text(self) -> str:
        return self.log_path.read_text(errors="replace")

    def headers(self, token: str | None = None) -> dict[str, str]:
        return {"Authorization": f"token {token or self.token}"}

    def connect(self, path: str, *, token: str | bool = True, headers=None, **options):
        """Open a socket as an async context manager; token False sends none."""
        sent = dict(headers or {})
        if token:
            sent |= self.headers(None if token is True else token)
        options.setdefault("compression", None)
        options.setdefault("proxy", None)
        options.setdefault("open_timeout", HANDSHAKE_SECONDS)
        return websockets.asyncio.client.connect(self.ws(path), additional_headers=sent, **options)

    def connect_sync(self, path: str, *, token: str | bool = True, headers=None, **options):
        sent = dict(headers or {})
        if token:
            sent |= self.headers(None if token is True else token)
        options.setdefault("compression", None)
        options.setdefault("proxy", None)
        options.setdefault("open_timeout", HANDSHAKE_SECONDS)
        return websockets.sync.client.connect(self.ws(path), additional_headers=sent, **options)

    def fetch(self, path: str, *, method="GET", token: str | bool = True, headers=None, data=None):
        """Send one HTTP request; return (status, headers, body) and follow no redirect."""
        sent = dict(headers or {})
        if token:
            sent |= self.headers(None if token is True else token)
        request = urllib.request.Request(
            self.url.rstrip("/") + "/" + path.lstrip("/"), method=method, headers=sent, data=data
        )
        opener = urllib.request.build_opener(_NoRedirect, urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=20) as answer:
                return answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers, error.read()

    def raw_handshake(self, path: str, headers: Sequence[tuple[str, str]] = (), **options):
        """Send a handshake byte for byte; see `raw_request`."""
        return raw_request(self, path, headers, **options)

    def stop(self, sig: int = signal.SIGTERM, seconds: float = 15.0) -> int:
        """Stop the server and return its exit code."""
        end(self.process, sig, seconds)
        return self.process.returncode


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args, **kwargs):
        return None


def raw_request(
    server: RunningServer,
    path: str,
    headers: Sequence[tuple[str, str]] = (),
    *,
    method: str = "GET",
    version: str = "HTTP/1.1",
    upgrade: bool = True,
    replace: dict[str, str | None] | None = None,
) -> tuple[int, str, socket.socket]:
    """Send a hand-made request; return its status, its head and the open socket.

    `replace` changes or (with None) removes one of the usual handshake fields.
    """
    parts = urlsplit(server.ws(path))
    fields = {"Host": f"{parts.hostname}:{parts.port}"}
    if upgrade:
        fields |= {
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
            "Sec-WebSocket-Version": "13",
        }
    fields |= replace or {}
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    lines = [f"{method} {target} {version}"]
    lines += [f"{name}: {value}" for name, value in fields.items() if value is not None]
    lines += [f"{name}: {value}" for name, value in headers]
    sock = socket.create_connection((server.host, server.port), timeout=20)
    sock.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
    head = b""
    while b"\r\n\r\n" not in head:
        chunk = sock.recv(1)
        if not chunk:
            break
        head += chunk
    text = head.decode("latin-1")
    return int(text.split(" ", 2)[1]) if text else 0, text, sock


@contextmanager
def running_server(
    config: str | Path | None = None,
    *,
    folder: Path,
    modules: dict[str, str] | None = None,
    base_url: str = "/",
    token: str = TOKEN,
    extra_args: Sequence[str] = (),
    env: dict[str, str] | None = None,
    command: Sequence[str] | None = None,
    scheme: str = "http",
    wait_path: str = "api/status",
    port: int | None = None,
    host: str = "127.0.0.1",
    fork: bool = True,
) -> Iterator[RunningServer]:
    """Start a Jupyter server with a route configuration and stop it at the end.

    Args:
        config: A path of a YAML file, or its text, which is written to `folder`.
        folder: The server's folder; config, modules, runtime files and the log go there.
        modules: Python modules to write beside the config, by file name.
        base_url: Where the server lives.
        token: The server's token; "" with a password in `extra_args`.
        extra_args: More options of the server.
        env: More environment variables.
        command: What to run instead of ``python -m jupyter_server``.
        scheme: "https" where `extra_args` turn TLS on.
        wait_path: A path that answers once the server is up.
        port: The port; any free one where None.
        host: The address to listen on.
        fork: Whether it may be a fork of a process that has imported Jupyter Server. All forks of
            one test process have the same hash seed.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in (modules or {}).items():
        (folder / name).write_text(text)
    arguments = []
    if config is not None:
        if isinstance(config, str):
            (folder / "wshandler.yaml").write_text(config)
            config = folder / "wshandler.yaml"
        arguments.append(f"--WSHandlerApp.config_file={config}")
    port = port or free_port()
    state = folder / ".jupyter-state"
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith(("JUPYTER", "JPY_"))},
        "HOME": str(state),
        "JUPYTER_CONFIG_DIR": str(state / "config"),
        "JUPYTER_DATA_DIR": str(state / "data"),
        "JUPYTER_RUNTIME_DIR": str(state / "runtime"),
        "PYTHONUNBUFFERED": "1",
        "PYTHONWARNINGS": "default",
        **(env or {}),
    }
    state.mkdir(exist_ok=True)
    log_path = folder / "server.log"
    words = [
        *arguments,
        *([] if command or "jpserver_extensions" in str(extra_args) else [WITHOUT_LAB]),
        f"--ServerApp.port={port}",
        "--ServerApp.port_retries=0",
        f"--ServerApp.ip={host}",
        f"--ServerApp.base_url={base_url}",
        f"--IdentityProvider.token={token}",
        "--ServerApp.open_browser=False",
        "--ServerApp.allow_root=True",
        f"--ServerApp.root_dir={folder}",
        *extra_args,
    ]
    process: subprocess.Popen | Forked
    if fork and command is None and can_fork(environment):
        process = fork_server.start("jupyter_server", words, folder, environment, log_path)
    else:
        with log_path.open("ab") as log:
            process = subprocess.Popen(
                [*(command or [sys.executable, "-m", "jupyter_server"]), *words],
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
    server = RunningServer(port, base_url, token, folder, process, log_path, scheme, host)
    try:
        wait_until_up(server, wait_path)
        yield server
    finally:
        server.stop()


def wait_until_up(server: RunningServer, path: str) -> None:
    def up() -> bool:
        if server.process.poll() is not None:
            raise AssertionError(f"the server ended at once:\n{server.log_text()[-4000:]}")
        with socket.socket() as probe:
            probe.settimeout(1)
            return probe.connect_ex((server.host, server.port)) == 0

    def answers() -> bool:
        try:
            return server.fetch(path)[0] in (200, 403, 404, 503)
        except OSError:
            # Jupyter opens the port once to see whether it is free, and closes it again.
            return not up()

    try:
        wait_for(up, START_SECONDS, "the server's port")
        if server.scheme == "http":
            # The port opens before the extensions' start hooks have run to their end.
            wait_for(answers, START_SECONDS, "the server")
    except AssertionError as error:
        raise AssertionError(f"{error}\n{server.log_text()[-4000:]}") from None
