"""How long callbacks may take, and what becomes of those that take longer."""

from __future__ import annotations

import logging
from typing import Any

import msgspec

from ..connection.connection import Connection
from ..connection.work import Work
from ..types import Callback

SLOW = 10.0
"""Seconds after which a callback that still runs is named in a warning, once."""

THREAD_TIMEOUT = 300.0
"""Seconds that a callback in a thread may take where the route says nothing else."""

OPEN_TIMEOUT = 10.0
"""Seconds that `open` may take where the route says nothing else: messages wait for its end."""

CLOSER_TIMEOUT = 30.0
"""Seconds that an `on_close` on the event loop may take where the route says nothing else."""

GRACE = 1.0
"""Seconds for a callback that was interrupted to end, before it is left to itself."""


class Deadlines:
    """The time limits of callbacks, looked at by the manager's clock.

    Args:
        log: Where slow callbacks are named.
    """

    def __init__(self, log: logging.Logger | logging.LoggerAdapter[Any]) -> None:
        self._log = log
        self._warned: set[tuple[str, str]] = set()

    def check(self, c: Connection, work: Work, now: float) -> bool:
        """Warn about a slow callback, and interrupt one past its timeout.

        Args:
            c: The connection.
            work: What of it runs.
            now: The event loop's time, in seconds.

        Returns:
            Whether the callback does not end though it was interrupted, and is to be left alone.
        """
        callback = work.callback
        if callback is None:
            return False
        if work.why == "timeout":
            return now - work.cancelled_at > GRACE
        taken = now - work.since
        if taken > SLOW:
            key = (c.route, callback.name)
            if key not in self._warned:
                self._warned.add(key)
                self._log.warning("Route %s: %s runs for over %d s", c.route, callback.name, SLOW)
        timeout = _timeout(c, callback)
        if work.why is not None and work.why != "stopping":
            # It was told that nobody listens, and has this long to clean up.
            taken = now - work.cancelled_at
            if c.entry.config.timeout is msgspec.UNSET:
                timeout = min(timeout or CLOSER_TIMEOUT, CLOSER_TIMEOUT)
        if timeout is not None and taken > timeout:
            c.cancel("timeout")
        return False


def _timeout(c: Connection, callback: Callback) -> float | None:
    """Return the seconds that a callback may take; None for any time."""
    timeout = c.entry.config.timeout
    if timeout is msgspec.UNSET:
        if callback.event == "open":
            return OPEN_TIMEOUT
        if not callback.inline:
            return THREAD_TIMEOUT
        return CLOSER_TIMEOUT if callback.event == "on_close" else None
    return timeout or None
