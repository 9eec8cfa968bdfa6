"""What a process uses, as /proc tells it: memory, threads; and the peak of a while."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MIB = 1024 * 1024


def status(pid: int, field: str) -> int:
    """Return a number of /proc/pid/status: "Threads", or "VmRSS" in KiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1])
    raise LookupError(f"process {pid} has no {field} in its status")


def rss(pid: int) -> int:
    """Return the bytes of a process that are in RAM."""
    return status(pid, "VmRSS") * 1024


def threads(pid: int) -> int:
    """Return how many threads a process has."""
    return status(pid, "Threads")


class Watch:
    """Hold the most that was seen; `growth` is the memory's, in bytes."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.before = rss(pid)
        self.most = self.before
        self.threads = threads(pid)

    def look(self) -> None:
        with contextlib.suppress(OSError, LookupError):  # a process that has ended uses nothing
            self.most = max(self.most, rss(self.pid))
            self.threads = max(self.threads, threads(self.pid))

    @property
    def growth(self) -> int:
        return self.most - self.before


@contextmanager
def watched(pid: int, every: float = 0.01) -> Iterator[Watch]:
    """Look at a process again and again while the block runs."""
    watch, done = Watch(pid), threading.Event()

    def look() -> None:
        while not done.wait(every):
            watch.look()

    looker = threading.Thread(target=look, name="watch")
    looker.start()
    try:
        yield watch
    finally:
        done.set()
        looker.join()
        watch.look()


def slope(points: list[tuple[float, float]]) -> float:
    """Return the slope of the straight line that fits the points best."""
    count = len(points)
    mean_x, mean_y = (sum(axis) / count for axis in zip(*points, strict=True))
    above = sum((x - mean_x) * (y - mean_y) for x, y in points)
    return above / sum((x - mean_x) ** 2 for x, _ in points)
