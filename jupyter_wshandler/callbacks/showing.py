"""Turn exceptions into text where that may take long: their `__str__` is the user's code."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from types import ModuleType
from typing import Any

PATIENCE = 2.0
"""Seconds after which an exception that is still being turned into text is written without."""

AT_ONCE = 4
"""Exceptions that are turned into text in threads at a time; those that hang count, too."""

CHAIN = 50
"""Causes and members of groups that are looked at."""

_PLAIN = frozenset((str, int, float, bool, bytes, type(None)))
_DIRS: tuple[Any, ...] = (object.__dir__, type.__dir__, ModuleType.__dir__)


def is_plain(error: BaseException) -> bool:
    """Say whether turning an exception into text runs no code of the user's.

    Args:
        error: Any exception; its causes and members are looked at, too.
    """
    waiting: list[BaseException | None] = [error]
    seen = 0
    while waiting:
        one = waiting.pop()
        if one is None:
            continue
        seen += 1
        if seen > CHAIN or not _is_plain_alone(one):
            return False
        waiting += (one.__cause__, one.__context__)
        if isinstance(one, BaseExceptionGroup):
            waiting += one.exceptions[:CHAIN]
    return True


def _is_plain_alone(error: BaseException) -> bool:
    if getattr(type(error).__str__, "__module__", None) is not None:
        return False  # a function of Python's; those of built-in classes have no module
    if isinstance(error, AttributeError | NameError):
        # The traceback suggests names that are alike.
        thing = getattr(error, "obj", None)
        if type(thing).__dir__ not in _DIRS:
            return False
    arguments = () if isinstance(error, BaseExceptionGroup) else error.args
    notes = getattr(error, "__notes__", ())
    if not isinstance(notes, list | tuple):
        return False
    return all(type(part) in _PLAIN for part in (*arguments, *notes)) or isinstance(
        error, SyntaxError
    )


class Shower:
    """What shows exceptions without ever holding up who asks."""

    def __init__(self) -> None:
        self._running = 0
        self._lock = threading.Lock()

    def show(
        self,
        error: BaseException,
        show: Callable[[BaseException], str],
        write: Callable[[str | None], Any],
    ) -> None:
        """Turn an exception into text and write it: at once, or a moment later from a thread.

        Args:
            error: The exception.
            show: Returns its text; may take long.
            write: Gets the text once, or None where there is none after `PATIENCE`.
        """
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            loop = None
        if loop is None or is_plain(error):
            write(show(error))
            return
        if self._running >= AT_ONCE:
            write(None)
            return
        with self._lock:
            self._running += 1
        written = threading.Lock()

        def once(text: str | None) -> None:
            if written.acquire(blocking=False):
                write(text)

        def run() -> None:
            try:
                once(show(error))
            finally:
                with self._lock:
                    self._running -= 1

        thread = threading.Thread(target=run, name="wshandler-error", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the operating system's limit
            self._running -= 1
            once(None)
            return
        # Most take no time at all, and the log is in order then.
        thread.join(0.002)
        if thread.is_alive():
            loop.call_later(PATIENCE, once, None)
