"""How many file descriptors the process has open, and how many of them connections may use.

Each connection takes one. A process that has none left can open no file, no kernel and no log.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

try:
    import resource
except ImportError:  # Windows has no such limit
    resource = None  # type: ignore[assignment]

SHARE = 0.8
"""Part of the process's descriptors that connections may bring into use."""


class DescriptorGuard:
    """What keeps part of the process's descriptors free, for Jupyter, files and kernels.

    Counting walks a folder, so the count is kept for a short time, in which every connection
    that is let in counts as one more.

    Args:
        count: Returns the open descriptors; None where the system does not tell.
        limit: Returns the soft limit; None where there is none.
    """

    def __init__(
        self,
        count: Callable[[], int | None] | None = None,
        limit: Callable[[], int | None] | None = None,
    ) -> None:
        self._count = count or open_descriptors
        self._limit = limit or descriptor_limit
        self._stale_at = self._again_at = 0.0
        self.open = 0
        self.allowed: int | None = None

    def reached(self, now: float) -> bool:
        """Return whether the share is used up; where not, count one connection more.

        Args:
            now: The event loop's time, in seconds.
        """
        used_up = self.allowed is not None and self.open >= self.allowed
        if now >= self._stale_at or (used_up and now >= self._again_at):
            self._recount(now)
            used_up = self.allowed is not None and self.open >= self.allowed
        if not used_up:
            self.open += 1
        return used_up

    def _recount(self, now: float) -> None:
        start = time.perf_counter()
        limit, count = self._limit(), self._count()
        taken = time.perf_counter() - start
        self.open = count or 0
        self.allowed = None if limit is None or count is None else int(limit * SHARE)
        # At most a twentieth of the time goes into counting, however many there are.
        self._again_at = now + max(0.05, 20 * taken)
        self._stale_at = now + max(1.0, 20 * taken)


def open_descriptors() -> int | None:
    """Return how many descriptors this process has open, or None where nobody knows."""
    for folder in ("/proc/self/fd", "/dev/fd"):
        try:
            return len(os.listdir(folder)) - 1  # one of them was there for reading the folder
        except OSError:
            continue
    return None


def descriptor_limit() -> int | None:
    """Return how many descriptors this process may have open, or None for no limit."""
    if resource is None:
        return None
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return None if soft == resource.RLIM_INFINITY else soft
