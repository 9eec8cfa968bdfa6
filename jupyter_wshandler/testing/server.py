"""A real Jupyter server with bots, in a process of its own, on loopback."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import weakref
from collections.abc import Mapping, Sequence
from email.message import Message
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

from ..config.logicalpath import absolute

if TYPE_CHECKING:
    from ..client.connector import Connector

__tracebackhide__ = True

HOST = "127.0.0.1"

START = 60.0
"""Seconds for a server to come up."""

STOP = 15.0
"""Seconds for a server to end by itself."""

TRIES = 3
"""Ports that are tried: another process may take one between the look and the start."""

LOG_END = 4000
"""Characters of the log that a failure shows."""


class Answer(NamedTuple):
    """What a server answers to an HTTP request."""

    status: int
    headers: Message
    body: bytes

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode(errors="replace")

    def json(self) -> Any:
        """Return what the body holds as JSON."""
        return json.loads(self.body)


class RunningServer:
    """A Jupyter server in a process of its own; `stop` or the end of a ``with`` ends it.

    Attributes:
        url: Its base URL, with a final slash.
        token: What it takes for a login.
        process: The process.
        folder: Its own folder, with the log and Jupyter's files; removed at the end.
    """

    def __init__(
        self, process: subprocess.Popen[bytes], port: int, base_url: str, token: str, folder: Path
    ) -> None:
        self.url = f"http://{HOST}:{port}{base_url}"
        self.token = token
        self.process = process
        self.folder = folder
        self._remove = weakref.finalize(self, _remove, process, folder)
        self._last_log = ""

    @property
    def headers(self) -> dict[str, str]:
        """The header field that logs a client in."""
        return {"Authorization": f"token {self.token}"}

    @property
    def pid(self) -> int:
        """The process's number."""
        return self.process.pid

    @property
    def log(self) -> str:
        """What the server has written to its log so far, without the token."""
        if self._remove.alive:
            with contextlib.suppress(OSError):
                text = (self.folder / "server.log").read_text(errors="replace")
                self._last_log = text.replace(self.token, "***")
        return self._last_log

    def ws_url(self, path: str) -> str:
        """Return the socket's URL of a path such as "/pingbot"; it holds no token."""
        return self.url.replace("http", "ws", 1) + path.lstrip("/")

    def connect(self, path: str, **options: Any) -> Connector:
        """Prepare a connection; ``with``, ``async with``, ``await`` or `open()` opens it.

        Args:
            path: The path below the base URL, with or without a query.
            options: As for `jupyter_wshandler.client.connect`; ``token=""`` comes without one.
        """
        from ..client.connector import connect

        return connect(path.lstrip("/"), **{"server": self.url, "token": self.token, **options})

    def fetch(
        self,
        path: str = "",
        *,
        method: str = "GET",
        data: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 20.0,
    ) -> Answer:
        """Send one HTTP request, with the token; follow no redirect.

        Args:
            path: The path below the base URL.
            method: The method.
            data: The body.
            headers: More header fields; an Authorization replaces the token.
            timeout: Seconds for each step.

        Raises:
            OSError: The server cannot be reached.
        """
        request = urllib.request.Request(  # noqa: S310 - the URL is our own
            self.url + path.lstrip("/"),
            data=data,
            headers={**self.headers, **(headers or {})},
            method=method,
        )
        opener = urllib.request.build_opener(_NoRedirect, urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=timeout) as answer:
                return Answer(answer.status, answer.headers, answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, error.headers, error.read())

    def wait(self, seconds: float = START) -> None:
        """Wait until the server answers.

        Args:
            seconds: How long, at most.

        Raises:
            RuntimeError: It has ended, or does not answer in time; shows the end of its log.
        """
        deadline = time.monotonic() + seconds
        while self.process.poll() is None:
            with contextlib.suppress(OSError):
                if self.fetch("api/status", timeout=5).status == 200:
                    return
            if time.monotonic() > deadline:
                raise RuntimeError(self._failure(f"does not answer after {seconds:g} s"))
            time.sleep(0.05)
        raise RuntimeError(self._failure(f"has ended with {self.process.returncode}"))

    def _failure(self, what: str) -> str:
        return f"the Jupyter server {what}. Its log ends with:\n{self.log[-LOG_END:]}"

    def stop(self) -> int:
        """Stop the server, with force where SIGTERM is not enough, and remove its folder.

        Returns:
            Its exit code; again the same.
        """
        _end(self.process)
        self._last_log = self.log  # it can be read afterwards, too
        self._remove()
        return int(self.process.returncode)

    def __repr__(self) -> str:
        code = self.process.poll()
        state = "runs" if code is None else f"has ended with {code}"
        return f"<RunningServer {self.url} {state}>"

    def __enter__(self) -> RunningServer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.stop()


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


def start_server(
    config: str | os.PathLike[str] | Mapping[str, Any],
    *,
    folder: str | os.PathLike[str] | None = None,
    base_url: str = "/",
    options: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    port: int = 0,
    timeout: float = START,
) -> RunningServer:
    """Start a Jupyter server with the routes of a YAML file, and wait until it answers.

    It has its own folders for Jupyter's files and its own token, and listens on 127.0.0.1 only.

    Args:
        config: A path of a YAML file, whose folder holds the modules; or YAML text, or what is
            below ``url:`` (or the whole of it) as a mapping.
        folder: Where the modules are for text and mappings, and where a relative path begins;
            the working directory where None.
        base_url: Where the server lives, with slashes around it.
        options: More options of ``jupyter server``.
        env: More environment variables.
        port: The port; any free one where 0.
        timeout: Seconds for it to come up.

    Raises:
        FileNotFoundError: There is no such file.
        RuntimeError: The server does not come up; shows the end of its log.
    """
    attempt = 1
    while True:
        server = _launch(config, folder, base_url, options, env, port or free_port())
        try:
            server.wait(timeout)
        except BaseException as error:
            server.stop()
            taken = "already in use" in server.log or "EADDRINUSE" in server.log
            if port or not taken or attempt == TRIES or not isinstance(error, RuntimeError):
                raise
            attempt += 1
        else:
            return server


def _launch(
    config: str | os.PathLike[str] | Mapping[str, Any],
    folder: str | os.PathLike[str] | None,
    base_url: str,
    options: Sequence[str],
    env: Mapping[str, str] | None,
    port: int,
) -> RunningServer:
    own = Path(tempfile.mkdtemp(prefix="wshandler-"))
    try:
        file, modules = _config_file(config, own, folder)
        token = secrets.token_urlsafe(24)
        with (own / "server.log").open("wb") as log:
            process = subprocess.Popen(  # noqa: S603 - our own command
                [
                    *(sys.executable, "-m", "jupyter_wshandler", "serve", str(file)),
                    f"--ServerApp.port={port}",
                    "--ServerApp.port_retries=0",
                    f"--ServerApp.ip={HOST}",
                    f"--ServerApp.base_url={base_url}",
                    "--ServerApp.open_browser=False",
                    "--ServerApp.allow_root=True",
                    f"--ServerApp.root_dir={own}",
                    *options,
                ],
                env=_environment(own, modules, token, env),
                # Not the caller's folder: `-m` puts it before all others on Python's path.
                cwd=own,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Ctrl-C is for the tests: they stop the server themselves, so it ends in order.
                start_new_session=True,
            )
    except BaseException:
        shutil.rmtree(own, ignore_errors=True)
        raise
    return RunningServer(process, port, base_url, token, own)


def _environment(
    own: Path, modules: Path | None, token: str, env: Mapping[str, str] | None
) -> dict[str, str]:
    # What is set for another server, or by a Hub for this one, is not for the tests' server.
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("JUPYTER", "JPY_"))}
    if modules is not None:
        path = [str(modules), *filter(None, [kept.get("PYTHONPATH", "")])]
        kept["PYTHONPATH"] = os.pathsep.join(path)
    return {
        **kept,
        # By the environment: every user of the machine can read a command line.
        "JUPYTER_TOKEN": token,
        "JUPYTER_CONFIG_DIR": str(own / "config"),
        "JUPYTER_DATA_DIR": str(own / "data"),
        "JUPYTER_RUNTIME_DIR": str(own / "runtime"),
        "PYTHONUNBUFFERED": "1",
        **(env or {}),
    }


def _config_file(
    config: str | os.PathLike[str] | Mapping[str, Any],
    own: Path,
    folder: str | os.PathLike[str] | None,
) -> tuple[Path, Path | None]:
    """Return the file to serve, and the folder of its modules where that is another one."""
    if isinstance(config, Mapping):
        routes = config if "url" in config else {"url": config}
        text = json.dumps(routes)  # which is YAML, too
    elif isinstance(config, str) and ("\n" in config or ":" in config.replace(":\\", "")):
        text = config
    else:
        places = [Path(folder or "."), Path(".")]
        for path in (place / config for place in places):
            if path.is_file():
                return Path(absolute(path)), None
        raise FileNotFoundError(
            f"expected a YAML file with routes at {places[0] / config}, found none"
        )
    file = own / "wshandler.yaml"
    file.write_text(text, encoding="utf-8")
    return file, Path(absolute(folder or "."))


def free_port() -> int:
    """Return a port of this machine that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _remove(process: subprocess.Popen[bytes], folder: Path) -> None:
    """End a process, and remove its folder."""
    _end(process)
    shutil.rmtree(folder, ignore_errors=True)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process; with force, if it must be, and then with what it has started."""
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP)
    if process.poll() is None:
        if hasattr(os, "killpg"):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        process.kill()
        process.wait()
