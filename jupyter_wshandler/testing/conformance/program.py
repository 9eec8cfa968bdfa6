"""The client that is tried: a program that reads wishes and writes what it sees."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

SAID = 2000
"""Characters of what it has written to its standard error that a report shows."""


class Program:
    """A running client.

    Args:
        command: How it is started.
        url: What it is to connect to.
        pause: Seconds that it should wait between two tries at most.
        changed: Is notified when it has said something.

    Attributes:
        events: What it has written, in order.
        nonsense: The first line that it has written and that is none of a JSON object.
    """

    def __init__(
        self, command: Sequence[str], url: str, pause: float, changed: threading.Condition
    ) -> None:
        self._changed = changed
        self.events: list[dict[str, Any]] = []
        self.nonsense = ""
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - `end` closes it
        try:
            self._process = subprocess.Popen(  # noqa: S603 - what the user has asked for
                list(command),
                env={**os.environ, "WSH_URL": url, "WSH_LONGEST_PAUSE": f"{pause:g}"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
            )
        except BaseException:
            self._errors.close()
            raise
        self._reader = threading.Thread(target=self._read, name="conformance program")
        self._reader.start()

    def do(self, what: str, **more: Any) -> None:
        """Give it a wish."""
        assert self._process.stdin is not None
        with suppress(OSError):  # that it has ended is seen elsewhere
            self._process.stdin.write(json.dumps({"do": what, **more}).encode() + b"\n")
            self._process.stdin.flush()

    @property
    def code(self) -> int | None:
        """Its exit code; None while it runs."""
        return self._process.poll()

    def wait(self, seconds: float) -> int | None:
        """Return its exit code, where it ends in time."""
        with suppress(subprocess.TimeoutExpired):
            return self._process.wait(seconds)
        return None

    @property
    def errors(self) -> str:
        """The end of what it has written to its standard error."""
        size = os.fstat(self._errors.fileno()).st_size
        data = os.pread(self._errors.fileno(), SAID, max(0, size - SAID))
        return data.decode(errors="replace").strip()

    def end(self) -> None:
        """End it, if it has not."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._reader.join(10)
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            assert stream is not None
            with suppress(OSError):
                stream.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            try:
                event = json.loads(line)
            except ValueError:
                event = None
            with self._changed:
                if isinstance(event, dict) and isinstance(event.get("event"), str):
                    self.events.append(event)
                elif line.strip():
                    self.nonsense = self.nonsense or line.decode(errors="replace").strip()[:200]
                self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()
