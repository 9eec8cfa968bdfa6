"""Start the servers to compare, each in a process of its own on loopback, and stop them."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from benchmarks import compiled
from benchmarks.loadclient import Target
from benchmarks.machine import BenchmarkError
from benchmarks.smallmessages import connected

SERVERS = Path(__file__).with_name("servers")
CHECKOUT = Path(__file__).resolve().parents[1]
START = 60.0
STOP = 8.0


@dataclass(frozen=True)
class Row:
    """One line of the tables: an endpoint of a server, and the groups it takes part in.

    `deflated` is the path of an echo that agrees to compression, `blocked` that of callbacks which
    block for as long as they are told; empty where there is none.
    """

    key: str
    title: str
    path: str = "/echo"
    only: frozenset[str] | None = None
    deflated: str = ""
    blocked: str = ""

    def takes(self, group: str) -> bool:
        """Whether it takes part in a group of scenarios."""
        if group == "compression":
            return bool(self.deflated)
        if group == "blocked":
            return bool(self.blocked)
        return self.only is None or group in self.only


@dataclass(frozen=True)
class Server:
    """One server process: how it starts, what it needs and which rows it serves."""

    key: str
    needs: tuple[str, ...]
    command: Callable[[int], list[str]]
    rows: tuple[Row, ...]
    jupyter: bool = False
    others: tuple[str, ...] = ("/sub", "/pub")
    tree: Path = CHECKOUT
    """The checkout whose package it serves."""
    tls: bool = False

    @property
    def missing(self) -> list[str]:
        """The modules it needs that are not installed."""
        return [name for name in self.needs if find_spec(name) is None]


def _script(name: str) -> Callable[[int], list[str]]:
    return lambda port: [sys.executable, str(SERVERS / name), str(port)]


def _compiled(name: str) -> Callable[[int], list[str]]:
    return lambda port: [str(compiled.build(SERVERS / name)), str(port)]


def _jupyter(extension: str, *options: str) -> Callable[[int], list[str]]:
    def command(port: int) -> list[str]:
        return [
            *(sys.executable, "-m", "jupyter_server", "--allow-root", "--no-browser"),
            *("--log-level=WARN", "--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}"),
            "--ServerApp.port_retries=0",
            f"--ServerApp.jpserver_extensions={{'{extension}': True}}",
            *options,
        ]

    return command


_CONFIG = SERVERS / "wshandler" / "bench.yaml"
_ECHO = frozenset({"echo"})
_THREADS = _ECHO | {"active"}
_FLOOR = frozenset({"echo", "active", "fairness", "fanout", "connect", "idle"})
_FEW = _FLOOR - {"active"} | {"small"}
"""All but the many active connections: a few servers are enough to compare there."""

ALL = (
    Server(
        "tornado",
        ("tornado",),
        _script("tornado_echo.py"),
        (Row("tornado", "raw Tornado", deflated="/echo_deflate"),),
    ),
    Server(
        "jupyter",
        ("jupyter_server",),
        _jupyter("jupyter_plain"),
        (Row("jupyter", "plain Jupyter handler", only=_FEW),),
        jupyter=True,
    ),
    Server(
        "websockets",
        ("websockets",),
        _script("websockets_echo.py"),
        (Row("websockets", "websockets", only=_FEW, deflated="/echo"),),
    ),
    Server(
        "fastapi",
        ("fastapi", "uvicorn", "uvloop", "httptools"),
        _script("fastapi_echo.py"),
        (Row("fastapi", "FastAPI on uvicorn", only=_FEW),),
    ),
    Server(
        "aiohttp",
        ("aiohttp",),
        _script("aiohttp_echo.py"),
        (Row("aiohttp", "aiohttp", deflated="/echo"),),
    ),
    Server(
        "picows",
        ("picows",),
        _script("picows_echo.py"),
        (Row("picows", "picows (compiled)"),),
    ),
    Server(
        "floor",
        (),
        _compiled("floor.c"),
        (Row("floor", "C, one thread", only=_FLOOR),),
    ),
    Server(
        "wshandler",
        ("jupyter_server", "msgspec", "yaml"),
        _jupyter("jupyter_wshandler", f"--WSHandlerApp.config_file={_CONFIG}"),
        (
            Row(
                "wshandler",
                "**jupyter_wshandler**, `async def`",
                deflated="/echo_deflate",
                blocked="/blocked",
            ),
            Row("wshandler-loop", "**jupyter_wshandler**, `def`, `run: loop`", "/echo_loop", _ECHO),
            Row(
                "wshandler-def",
                "**jupyter_wshandler**, `def` (threads)",
                "/echo_def",
                _THREADS,
                blocked="/blocked",
            ),
        ),
        jupyter=True,
    ),
)

BARE = Server("bare", (), _script("bare_room.py"), ())
"""Members and publishers only; what it has to say is in the benchmark of rooms."""


def before(tree: Path) -> Server:
    """Return our server with the package of another checkout, to be measured beside this one.

    Args:
        tree: Where it is.
    """
    ours = next(server for server in ALL if server.key == "wshandler")
    rows = tuple(
        replace(
            row,
            key=row.key.replace("wshandler", "before"),
            title=row.title.replace("**jupyter_wshandler**", "before"),
        )
        for row in ours.rows
    )
    return replace(ours, key="before", rows=rows, tree=tree.resolve())


class Running:
    """Run one server until `stop`.

    Args:
        server: What to start.
        core: The core to pin it to, or None.
        more: Environment variables that it gets, too.
        token: Its token, where it is not to be one of its own.
    """

    def __init__(
        self,
        server: Server,
        core: int | None,
        more: Mapping[str, str] | None = None,
        token: str = "",
    ) -> None:
        self.server = server
        self._more = dict(more or {})
        self._folder = tempfile.TemporaryDirectory(prefix="wshandler-bench-")
        self._log = Path(self._folder.name) / "server.log"
        self._token = token or secrets.token_hex(16)
        port = free_port()
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                server.command(port),
                env=self._environment(),
                cwd=self._folder.name,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        if core is not None:
            # before it has made any thread; those it makes later are pinned with it
            os.sched_setaffinity(self._process.pid, {core})
        header = f"Authorization: token {self._token}" if server.jupyter else ""
        self.target = Target(port, self._process.pid, header, server.tls)

    def _environment(self) -> dict[str, str]:
        """Return an environment in which no configuration of the user's has a say."""
        home = self._folder.name
        kept = {k: v for k, v in os.environ.items() if not k.startswith("JUPYTER")}
        return kept | {
            "PYTHONPATH": os.pathsep.join([str(self.server.tree), str(SERVERS)]),
            "HOME": home,
            "JUPYTER_CONFIG_DIR": f"{home}/config",
            "JUPYTER_DATA_DIR": f"{home}/data",
            "JUPYTER_RUNTIME_DIR": f"{home}/runtime",
            "JUPYTER_NO_CONFIG": "1",
            "JUPYTER_TOKEN": self._token,
            **self._more,
        }

    def wait(self) -> None:
        """Wait until every row's endpoint answers a handshake.

        Raises:
            BenchmarkError: It ended or did not answer in time; says what it logged last.
        """
        deadline = time.monotonic() + START
        paths = list(dict.fromkeys([*(row.path for row in self.server.rows), *self.server.others]))
        while paths:
            if self._process.poll() is not None:
                self._fail(f"ended with exit code {self._process.returncode}")
            try:
                with connected(self.target, paths[0]):
                    paths.pop(0)
            except BenchmarkError as exc:
                if time.monotonic() > deadline:
                    self._fail(f"does not answer after {START:.0f} s: {exc}")
                time.sleep(0.2)

    def _fail(self, why: str) -> None:
        log = self._log.read_text(encoding="utf-8", errors="replace").replace(
            self._token, "[token]"
        )
        # what it said of its own accord, not its answers to our questions
        said = [line for line in log.splitlines() if line.strip() and " GET /" not in line]
        raise BenchmarkError("\n".join([why, *said[-8:]]))

    def stop(self) -> None:
        """End the process, politely first, and remove its folder."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(STOP)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(STOP)
        self._folder.cleanup()


def free_port() -> int:
    """Return a port of this machine that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
