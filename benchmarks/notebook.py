"""A kernel of a running Jupyter server, and the cells that run in it, as a notebook has them."""

from __future__ import annotations

import contextlib
import json
import threading
import time
import urllib.request
import uuid
from dataclasses import dataclass, field
from typing import Any

from websockets.exceptions import WebSocketException
from websockets.sync.client import ClientConnection, connect

from benchmarks.loadclient import Target
from benchmarks.machine import BenchmarkError

SECONDS = 60.0


@dataclass
class Cell:
    """One execution: what it has printed so far, the error that ended it, and its end."""

    text: str = ""
    error: str = ""
    replied: bool = False
    idle: bool = False

    @property
    def lines(self) -> list[str]:
        """Its lines so far."""
        return self.text.splitlines()


def socket(target: Target, path: str, **options: Any) -> ClientConnection:
    """Open a WebSocket with the token of the server."""
    name, _, value = target.header.partition(": ")
    try:
        return connect(
            f"ws://127.0.0.1:{target.port}{path}",
            additional_headers={name: value},
            compression=None,
            proxy=None,
            max_size=None,
            **options,
        )
    except (OSError, WebSocketException) as exc:
        raise BenchmarkError(f"{path}: {exc}") from None


@dataclass
class Notebook:
    """Start a kernel over the REST API and attach to it, as an open notebook is attached.

    Args:
        target: The server.
    """

    target: Target
    kernel_id: str = ""
    pid: int = 0
    cells: dict[str, Cell] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._session = uuid.uuid4().hex
        self._changed = threading.Condition()
        self.kernel_id = json.loads(self._api("kernels", "POST", {"name": "python3"}))["id"]
        self._socket = socket(
            self.target, f"/api/kernels/{self.kernel_id}/channels?session_id={self._session}"
        )
        self._reader = threading.Thread(target=self._read, name="notebook", daemon=True)
        self._reader.start()
        try:
            self.pid = int(self.run("import os; print(os.getpid())").text)
        except BaseException:
            self.close()
            raise

    def _api(self, path: str, method: str, body: dict[str, Any] | None = None) -> bytes:
        name, _, value = self.target.header.partition(": ")
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.target.port}/api/{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={name: value},
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=30) as answer:
                return answer.read()
        except OSError as exc:
            raise BenchmarkError(f"{method} api/{path}: {exc}") from None

    def _read(self) -> None:
        with contextlib.suppress(WebSocketException, OSError):
            for raw in self._socket:
                if isinstance(raw, bytes):
                    continue  # a comm message with buffers: none of a cell's
                message = json.loads(raw)
                with self._changed:
                    self._take(message)
                    self._changed.notify_all()

    def _take(self, message: dict[str, Any]) -> None:
        kind, content = message["msg_type"], message["content"]
        cell = self.cells.get(message["parent_header"].get("msg_id", ""))
        if cell is None:
            return
        if kind == "execute_reply":
            cell.replied = True
        elif kind == "status" and content["execution_state"] == "idle":
            cell.idle = True
        elif kind == "stream":
            cell.text += content["text"]
        elif kind == "error":
            cell.error = f"{content['ename']}: {content['evalue']}"

    def start(self, code: str) -> Cell:
        """Begin to run a cell."""
        msg_id = uuid.uuid4().hex
        cell = self.cells[msg_id] = Cell()
        header = {
            "msg_id": msg_id,
            "username": "bench",
            "session": self._session,
            "msg_type": "execute_request",
            "version": "5.3",
            "date": "2026-01-01T00:00:00Z",
        }
        content = {
            "code": code,
            "silent": False,
            "store_history": False,
            "user_expressions": {},
            "allow_stdin": False,
            "stop_on_error": False,
        }
        message = {"channel": "shell", "header": header, "parent_header": {}, "metadata": {}}
        self._socket.send(json.dumps(message | {"content": content}))
        return cell

    def begun(self, code: str) -> Cell:
        """Begin to run a cell, and return once it runs; its first line is not its own."""
        cell = self.start(f"print('begun', flush=True)\n{code}")
        self._until(lambda: cell.text.startswith("begun\n"), "the first line of a cell", cell)
        return cell

    def wait(self, cell: Cell, seconds: float = SECONDS) -> Cell:
        """Wait for the end of a cell.

        Raises:
            BenchmarkError: It raised something, or did not end in time.
        """
        self._until(lambda: cell.replied and cell.idle, "the end of a cell", cell, seconds)
        if cell.error:
            raise BenchmarkError(f"a cell failed: {cell.error}")
        return cell

    def _until(self, condition: Any, what: str, cell: Cell, seconds: float = SECONDS) -> None:
        deadline = time.monotonic() + seconds
        with self._changed:
            while not condition():
                left = deadline - time.monotonic()
                if left < 0:
                    raise BenchmarkError(f"{what} did not come in {seconds:g} s: {cell}")
                self._changed.wait(min(left, 0.25))

    def run(self, code: str) -> Cell:
        """Run a cell to its end."""
        return self.wait(self.start(code))

    def close(self) -> None:
        """Shut the kernel down and let go of it."""
        with contextlib.suppress(BenchmarkError):
            self._api(f"kernels/{self.kernel_id}", "DELETE")
        self._socket.close()
        self._reader.join(10)


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process: all threads, user and kernel, in nanosecond steps."""
    try:
        return time.clock_gettime(~pid << 3 | 2)  # its CPUCLOCK_SCHED, see clock_getcpuclockid(3)
    except OSError:
        raise BenchmarkError(f"process {pid} is gone") from None
