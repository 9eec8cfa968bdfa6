"""The end of a process that a test has started."""

from __future__ import annotations

import signal
import subprocess

from support.forkserver import Forked


def end(
    process: subprocess.Popen | Forked, sig: int = signal.SIGTERM, seconds: float = 10.0
) -> None:
    """Ask a process to end, and kill it where it has not done so in time."""
    if process.poll() is not None:
        return
    process.send_signal(sig)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(5)
