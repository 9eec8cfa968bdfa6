"""A notebook on a real server: cells that run in a kernel, over the server's own WebSocket."""

from __future__ import annotations

import contextlib
import json
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import version

import pytest
import websockets.exceptions

from support.server import RunningServer, wait_for

SECONDS = 60.0

_IPYKERNEL = tuple(int(part) for part in version("ipykernel").split(".")[:2])
told_of_the_end = pytest.mark.skipif(
    _IPYKERNEL < (7, 4), reason="before 7.4 ipykernel answers nothing for a deleted subshell"
)


@dataclass
class Cell:
    """One execution: what it has put out so far, also after its end."""

    msg_id: str
    outputs: list[dict] = field(default_factory=list)
    reply: dict | None = None
    idle: bool = False

    @property
    def text(self) -> str:
        """What it has printed."""
        return "".join(o["text"] for o in self.outputs if o["output_type"] == "stream")

    @property
    def result(self) -> str | None:
        """The plain text of its last expression."""
        for output in self.outputs:
            if output["output_type"] == "execute_result":
                return output["data"]["text/plain"]
        return None

    @property
    def error(self) -> str | None:
        """The exception that ended it, with its message."""
        for output in self.outputs:
            if output["output_type"] == "error":
                return f"{output['ename']}: {output['evalue']}"
        return None


class Notebook:
    """A kernel of a running server, and the cells that were run in it.

    Args:
        server: The server.
        name: The kernel's specification.
        path: A notebook file's name, as JupyterLab gives it to a kernel.
    """

    def __init__(
        self, server: RunningServer, name: str = "python3", path: str | None = None
    ) -> None:
        self.server = server
        if path is None:
            answer = self._api("kernels", "POST", {"name": name})
            self.kernel_id = answer["id"]
        else:
            body = {"path": path, "name": path, "type": "notebook", "kernel": {"name": name}}
            self.kernel_id = self._api("sessions", "POST", body)["kernel"]["id"]
        self.cells: dict[str, Cell] = {}
        self.seen: list[dict] = []
        self._session = uuid.uuid4().hex
        self._changed = threading.Condition()
        self._connect()

    def _api(self, path: str, method: str = "GET", body: dict | None = None):
        data = None if body is None else json.dumps(body).encode()
        status, _, answer = self.server.fetch(f"api/{path}", method=method, data=data)
        assert status < 300, (status, answer)
        return json.loads(answer) if answer else None

    def _connect(self) -> None:
        # It stays open across calls; `close` ends it.
        self._socket = self.server.connect_sync(
            f"api/kernels/{self.kernel_id}/channels?session_id={self._session}", max_size=None
        ).__enter__()
        self._reader = threading.Thread(target=self._read, args=(self._socket,), daemon=True)
        self._reader.start()
        self._get_ready()

    def _get_ready(self) -> None:
        """Ask until the kernel answers and is heard: what it says before that is lost."""
        deadline = time.monotonic() + SECONDS
        while True:
            cell = self._request("kernel_info_request", {})
            with contextlib.suppress(AssertionError):
                self.until(lambda cell=cell: cell.idle, 2.0)
                return
            assert time.monotonic() < deadline, "the kernel did not answer"

    def _read(self, socket) -> None:
        with contextlib.suppress(websockets.exceptions.ConnectionClosed, OSError):
            for raw in socket:
                if isinstance(raw, bytes):
                    continue  # a comm message with buffers: none of a cell's
                message = json.loads(raw)
                with self._changed:
                    self._take(message)
                    self._changed.notify_all()

    def _take(self, message: dict) -> None:
        kind, content = message["msg_type"], message["content"]
        self.seen.append({"msg_type": kind, "parent": message["parent_header"].get("msg_id")})
        cell = self.cells.get(message["parent_header"].get("msg_id", ""))
        if cell is None:
            return
        if kind == "execute_reply":
            cell.reply = content
        elif kind == "status" and content["execution_state"] == "idle":
            cell.idle = True
        elif kind in ("stream", "error", "display_data", "execute_result"):
            cell.outputs.append({"output_type": kind, **content})
        elif kind == "update_display_data":
            for output in cell.outputs:
                if output.get("transient") == content["transient"]:
                    output["data"] = content["data"]

    def start(self, code: str) -> Cell:
        """Begin to run a cell."""
        content = {
            "code": code,
            "silent": False,
            "store_history": True,
            "user_expressions": {},
            "allow_stdin": False,
            "stop_on_error": False,
        }
        return self._request("execute_request", content)

    def _request(self, kind: str, content: dict) -> Cell:
        """Send a request; what comes of it is a cell's."""
        msg_id = uuid.uuid4().hex
        cell = self.cells[msg_id] = Cell(msg_id)
        header = {
            "msg_id": msg_id,
            "username": "test",
            "session": self._session,
            "msg_type": kind,
            "version": "5.3",
            "date": "2026-01-01T00:00:00Z",
        }
        message = {"channel": "shell", "header": header, "content": content}
        self._socket.send(json.dumps({**message, "parent_header": {}, "metadata": {}}))
        return cell

    def wait(self, cell: Cell, seconds: float = SECONDS) -> Cell:
        """Wait for a cell's end."""
        self.until(lambda: cell.reply is not None and cell.idle, seconds, "the end of a cell")
        return cell

    def run(self, code: str, *, fails: bool = False) -> Cell:
        """Run a cell to its end; fail the test where it raises, unless it is meant to."""
        cell = self.wait(self.start(code))
        assert fails or cell.error is None, f"{cell.error}\n{cell.text}"
        return cell

    def until(self, condition, seconds: float = SECONDS, what: str = "the condition"):
        """Return the condition's first true value, asked again at each message."""
        deadline = time.monotonic() + seconds
        with self._changed:
            while not (value := condition()):
                left = deadline - time.monotonic()
                assert left > 0, f"{what} did not come true within {seconds} s"
                self._changed.wait(min(left, 0.25))
        return value

    def restart(self) -> None:
        """Restart the kernel."""
        self._api(f"kernels/{self.kernel_id}/restart", "POST", {})
        self.reconnect()

    def reconnect(self) -> None:
        """Open the way to the kernel again; its process is another one."""
        self.leave()
        self._connect()
        self.run("pass")

    def leave(self) -> None:
        """Close the way to the kernel, which runs on."""
        self._socket.close()
        self._reader.join(10)

    def interrupt(self) -> None:
        """Interrupt the kernel, as a notebook's stop button does."""
        self._api(f"kernels/{self.kernel_id}/interrupt", "POST", {})

    def pid(self) -> int:
        """Return the process id of the kernel."""
        return int(self.run("import os; print(os.getpid())").text)

    def shutdown(self) -> None:
        """Shut the kernel down."""
        self._api(f"kernels/{self.kernel_id}", "DELETE")

    def close(self) -> None:
        """Shut the kernel down, if it runs, and let go of it."""
        if self.server.process.poll() is not None:
            self.leave()
            return
        status, _, _ = self.server.fetch(f"api/kernels/{self.kernel_id}", method="DELETE")
        assert status in (204, 404), status
        self.leave()


@contextlib.contextmanager
def notebook(server: RunningServer, **options) -> Iterator[Notebook]:
    """Open a notebook and shut its kernel down at the end."""
    opened = Notebook(server, **options)
    try:
        yield opened
    finally:
        opened.close()


def eventually(function, what: str = "the condition", seconds: float = 60.0):
    """Return the function's first true value; see `support.server.wait_for`."""
    return wait_for(function, seconds, what)
