"""What is written about callbacks that fail: enough to find the fault, never a flood."""

from __future__ import annotations

import logging
from collections import OrderedDict
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Protocol

from ..connection import Connection

WHOLE = 5
"""Tracebacks of one fault that are written whole in a period; the rest is one line each."""

PERIOD = 60.0
"""Seconds of such a period."""

_PACKAGE = Path(__file__).resolve().parents[1].as_posix() + "/"
_MACHINERY = (_PACKAGE, "/asyncio/", "/concurrent/futures/", "/contextlib.py")

FAULTS = 1000
"""Faults that are told apart, at most."""


class Failure(NamedTuple):
    """Remember what a callback raised, and what it was called with.

    Attributes:
        handler: The connection.
        message: What `on_message` got, or `on_pong`; None for other callbacks.
        exception: What was raised.
        callback: The function's name.
        at: When, in seconds since 1970.
        error_id: What the client was told.
    """

    handler: Connection
    message: Any
    exception: BaseException
    callback: str
    at: float
    error_id: str = ""


class ErrorSink(Protocol):
    """Take what callbacks raise."""

    def write(self, failure: Failure, now: float) -> None:
        """Take one failure; see `ErrorLog.write`."""


class ErrorLog:
    """Write the errors of callbacks, each with its id, and whole tracebacks now and then.

    Args:
        log: Where they go.
    """

    def __init__(self, log: logging.Logger | logging.LoggerAdapter[Any]) -> None:
        self._log = log
        self._faults: OrderedDict[tuple[object, ...], tuple[float, int]] = OrderedDict()

    def write(self, failure: Failure, now: float) -> None:
        """Write one failure; never the message, which is somebody's own.

        Args:
            failure: What a callback raised.
            now: The event loop's time, in seconds.
        """
        c, error = failure.handler, failure.exception
        line = place_of(error)
        whole = self.is_news(failure, now)
        self._log.error(
            "Error %s in %s, route %s, connection %s, user %s%s",
            failure.error_id,
            failure.callback,
            c.route,
            c.id,
            username(c.current_user),
            "" if whole else f": {type(error).__name__} at {line}, as before",
            exc_info=error if whole else None,
        )

    def is_news(self, failure: Failure, now: float) -> bool:
        """Say whether a fault is to be shown whole: it is new, or has not come up for a while.

        Args:
            failure: What a callback raised.
            now: The event loop's time, in seconds.
        """
        error = failure.exception
        fault = (failure.handler.route, failure.callback, type(error), place_of(error))
        since, count = self._faults.get(fault, (now, 0))
        if now - since >= PERIOD:
            since, count = now, 0
        self._faults[fault] = (since, count + 1)
        self._faults.move_to_end(fault)
        if len(self._faults) > FAULTS:
            self._faults.popitem(last=False)
        return count < WHOLE


def place_of(error: BaseException) -> str:
    """Return the file and line that an exception comes from."""
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    if traceback is None:
        return "an unknown place"
    return f"{traceback.tb_frame.f_code.co_filename}:{traceback.tb_lineno}"


def users_part(traceback: TracebackType | None) -> TracebackType | None:
    """Return a traceback from the first line on that is the user's, or None where none is.

    What is left out is this package, and what runs callbacks for it.
    """
    while traceback is not None:
        name = traceback.tb_frame.f_code.co_filename.replace("\\", "/")
        if not any(part in name for part in _MACHINERY):
            return traceback
        traceback = traceback.tb_next
    return None


def username(user: Any) -> str:
    """Return a name for log lines: the user's own, cut and on one line, or "anonymous"."""
    name = str(getattr(user, "username", None) or user or "anonymous")
    return "".join(c if c.isprintable() else "?" for c in name[:100])
