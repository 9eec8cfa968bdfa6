"""What the user's code has set on the event loop and raises there: whose it is, and how it is told.

A timer of `asyncio` or of Tornado, and a task that nobody awaits, have no callback of ours around
them. asyncio and Tornado write what they raise to their own logs, where nothing says which bot it
was. The context that they run in does (see `connection.current`).
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import logging
from typing import TYPE_CHECKING, Any

from ..connection.current import current_connection

if TYPE_CHECKING:
    from ..connection.connection import Connection

OWNER = "_wshandler_owner"
"""Attribute of a task of the user's: the connection that it was made for, and its function."""

_TORNADOS = frozenset({"_run_callback", "_run"})
"""Functions of `tornado.ioloop` that write what callbacks raise."""


def claim(task: asyncio.Task[Any], context: contextvars.Context | None, label: str) -> None:
    """Remember for which connection a task was made: before Python 3.12 it does not say.

    Args:
        task: A task of the user's.
        context: The context that was made for it; None where it has a copy of the current one.
        label: The name of its function.
    """
    owner = (
        current_connection.get(None) if context is None else context.get(current_connection, None)
    )
    if owner is not None:
        setattr(task, OWNER, (owner, f"task {label}"))


def catch_strays(loop: asyncio.AbstractEventLoop) -> None:
    """Write what the user's timers and tasks raise on a loop as what callbacks raise.

    All else goes where it went before.

    Args:
        loop: The event loop.
    """
    before = loop.get_exception_handler()
    if not isinstance(before, _Handler):
        loop.set_exception_handler(_Handler(before))
    logger = logging.getLogger("tornado.application")
    if not any(isinstance(filter, _TornadoFilter) for filter in logger.filters):
        logger.addFilter(_TornadoFilter())


class _Handler:
    """A loop's exception handler, which tells whose bot it was.

    Args:
        before: The one that was there.
    """

    def __init__(self, before: Any) -> None:
        self._before = before

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if error is not None and _tell(*_owner_of(context, error), error):
            return
        if self._before is None:
            loop.default_exception_handler(context)
        else:
            self._before(loop, context)


class _TornadoFilter(logging.Filter):
    """A filter that takes the lines of Tornado about the timers of bots out of its log."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether Tornado is to write the line."""
        if record.module != "ioloop" or record.funcName not in _TORNADOS or not record.exc_info:
            return True
        error = record.exc_info[1]
        connection = current_connection.get(None)
        if error is None or connection is None:
            return True
        callback = record.args[0] if isinstance(record.args, tuple) and record.args else None
        return not _tell(connection, f"timer {_name_of(callback, error)}", error)


def _tell(connection: Connection | None, label: str, error: BaseException) -> bool:
    """Write an error as one of a connection's bot; return whether that was possible."""
    if connection is None or isinstance(error, asyncio.CancelledError):
        return False
    return connection.failed_beside(label, error)


def _owner_of(context: dict[str, Any], error: BaseException) -> tuple[Connection | None, str]:
    """Return whose connection an error is, and what it came from."""
    handle = context.get("handle")
    if handle is None:
        task = context.get("task") or context.get("future")
        owner: tuple[Connection | None, str] = getattr(task, OWNER, (None, ""))
        return owner
    held: contextvars.Context | None = getattr(handle, "_context", None)
    connection = None if held is None else held.get(current_connection)
    return connection, f"timer {_name_of(getattr(handle, '_callback', None), error)}"


def _name_of(function: Any, error: BaseException) -> str:
    """Return the name of a function of the user's, or of the one that has raised."""
    while isinstance(function, functools.partial):
        function = function.func
    module = getattr(function, "__module__", None) or ""
    name = getattr(function, "__qualname__", None)
    if isinstance(name, str) and module.partition(".")[0] not in ("tornado", "jupyter_wshandler"):
        return name
    found = "of an unknown function"
    traceback = error.__traceback__
    while traceback is not None:
        code = traceback.tb_frame.f_code
        if "/tornado/" not in code.co_filename.replace("\\", "/"):
            found = code.co_qualname
        traceback = traceback.tb_next
    return found
