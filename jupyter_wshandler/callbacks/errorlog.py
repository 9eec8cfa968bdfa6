"""What is written about callbacks that fail: enough to find the fault, never a flood."""

from __future__ import annotations

import logging
import traceback as tracebacks
from collections import OrderedDict
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Protocol

from ..connection.connection import Connection
from ..guard import kind_of as name_of_kind
from ..guard import place_of as place_of
from ..guard import tamed
from .showing import Shower

WHOLE = 5
"""Tracebacks of one fault that are written whole in a period; the rest is one line each."""

PERIOD = 60.0
"""Seconds of such a period."""

_PACKAGE = Path(__file__).resolve().parents[1].as_posix() + "/"
_MACHINERY = (_PACKAGE, "/asyncio/", "/concurrent/futures/", "/contextlib.py")

FAULTS = 1000
"""Faults that are told apart, at most."""

KINDS = 20
"""Kinds of exceptions that are told apart at one place; the rest counts as one kind."""

MESSAGE = 1000
"""Characters that are shown of one exception's message."""

FRAMES = 50
"""Lines of code that are shown of one traceback."""

TRACEBACK = 16_000
"""Characters that are shown of a whole traceback, its causes and groups included."""


_SHOWER = Shower()


class CallbackFailure(NamedTuple):
    """What a callback raised, and what it was called with.

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
    """Where what callbacks raise goes."""

    def write(self, failure: CallbackFailure, now: float) -> None:
        """Take one failure; see `ErrorLog.write`."""


class ErrorLog:
    """The log of what callbacks raise: each with its id, and whole tracebacks now and then.

    Args:
        log: Where they go.
    """

    def __init__(self, log: logging.Logger | logging.LoggerAdapter[Any]) -> None:
        self._log = log
        self._faults: OrderedDict[tuple[object, ...], tuple[float, int]] = OrderedDict()
        self._shower = Shower()
        self._kinds: dict[tuple[str, str, str], set[str]] = {}

    def write(self, failure: CallbackFailure, now: float) -> None:
        """Write one failure; never the message, which is somebody's own.

        Args:
            failure: What a callback raised.
            now: The event loop's time, in seconds.
        """
        c, error = failure.handler, failure.exception
        line = place_of(error)
        whole = self.is_news(failure, now)
        text = f"Error {failure.error_id} in {on_one_line(failure.callback)}, route {c.route}, "
        text += f"connection {c.id}, user {username(c.current_user)}"
        if whole:
            write_whole(self._log, text, error, self._shower)
        else:
            self._log.error("%s: %s at %s, as before", text, kind_of(error), line)

    def is_news(self, failure: CallbackFailure, now: float) -> bool:
        """Say whether a fault is to be shown whole: it is new, or has not come up for a while.

        Args:
            failure: What a callback raised.
            now: The event loop's time, in seconds.
        """
        error = failure.exception
        place = (failure.handler.route, failure.callback, place_of(error))
        kinds = self._kinds.setdefault(place, set())
        # By its name: a module that is loaded again, or a function, makes a new class each time.
        kind = kind_of(error)
        if kind not in kinds and len(kinds) >= KINDS:
            kind = "another"
        kinds.add(kind)
        if len(self._kinds) > FAULTS:
            del self._kinds[next(iter(self._kinds))]
        fault = (*place, kind)
        since, count = self._faults.get(fault, (now, 0))
        if now - since >= PERIOD:
            since, count = now, 0
        self._faults[fault] = (since, count + 1)
        self._faults.move_to_end(fault)
        if len(self._faults) > FAULTS:
            self._faults.popitem(last=False)
        return count < WHOLE


def write_whole(
    log: logging.Logger | logging.LoggerAdapter[Any],
    text: str,
    error: BaseException,
    shower: Shower | None = None,
) -> None:
    """Write an error with its traceback, bounded in size and time; never raises for what it is.

    Args:
        log: Where it goes.
        text: What stands in front.
        error: Whatever code of the user's has raised.
        shower: Turns exceptions into text that may take long.
    """
    while isinstance(log, logging.LoggerAdapter):
        log = log.logger
    if not log.isEnabledFor(logging.ERROR):
        return
    error = tamed(error, "it")
    exc_info = (type(error), error, error.__traceback__)
    record = log.makeRecord(log.name, logging.ERROR, __file__, 0, "%s", (text,), exc_info, "write")

    def write(shown: str | None) -> None:
        # Formatters take this where it is there, and would print without any bound.
        record.exc_text = shown or (
            f"  {kind_of(error)} at {place_of(error)}, which takes too long to be shown"
        )
        log.handle(record)

    (shower or _SHOWER).show(error, shown, write)


def kind_of(error: BaseException) -> str:
    """Return the name of an exception's class, cut and on one line."""
    return on_one_line(name_of_kind(error))


def on_one_line(text: str, limit: int = 100) -> str:
    """Return a text for a log line: cut, without line ends and control characters."""
    return "".join(c if c.isprintable() else "?" for c in text[:limit])


def shown(error: BaseException, *, users: bool = False) -> str:
    """Return an exception's traceback for the log: bounded in every direction.

    Args:
        error: Any exception; also one that cannot be printed, or a group of thousands.
        users: Whether it begins where the user's own code does, if it has any.
    """
    try:
        found = tracebacks.TracebackException(
            type(error),
            error,
            (users_part(error.__traceback__) if users else None) or error.__traceback__,
            limit=-FRAMES,
            max_group_width=5,
            max_group_depth=3,
            compact=True,
        )
        lines: list[str] = []
        size = 0
        for text in found.format():
            for line in text.splitlines():
                lines.append("  " + on_one_line(line, MESSAGE) + ("..." if line[MESSAGE:] else ""))
                size += len(lines[-1])
                if size > TRACEBACK:
                    return "\n".join([*lines, "  (the rest is not shown)"])
        return "\n".join(lines)
    except BaseException as broken:
        return f"  {kind_of(error)} at {place_of(error)}, which cannot be shown: {kind_of(broken)}"


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
    """Return a name for log lines: the user's own, cut and on one line, or "anonymous".

    A bot may have put anything in the user's place: what cannot be read is "unreadable".
    """
    try:
        name = str(getattr(user, "username", None) or user or "anonymous")
    except Exception:
        name = "unreadable"
    return "".join(c if c.isprintable() else "?" for c in name[:100])
