"""Import a module with an end to the waiting: one that never finishes is left to itself."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import importlib
import linecache
import sys
import threading
import time
from collections.abc import Callable
from importlib import import_module
from types import FrameType, ModuleType

from . import sources
from .machinery import Broken, Machinery, MachineryBroken

IMPORT_LIMIT = 60.0
"""Seconds that a callback module may take to be imported."""

AFTER_ONE = 5.0
"""Seconds for the next ones where one of the same version was given up: they often share why."""

LOOK_AFTER = 1.0
"""Seconds after which an import ends as soon as one of its files is saved again."""

_STEP = 0.25


class ImportAbandoned(Exception):
    """The end of an import that was given up; says why, and where it stood."""


class _Import:
    """One import in a thread of its own."""

    def __init__(self, name: str, late: Callable[[str], object]) -> None:
        self.name = name
        self.abandoned = False
        self.module: ModuleType | None = None
        self.error: BaseException | None = None
        self.broken: list[Broken] = []
        self.done = threading.Event()
        self._late = late
        self._loop = _current_loop()
        self.thread = threading.Thread(
            target=contextvars.copy_context().run,
            args=(self._run,),
            name=f"wshandler-import {name}",
            daemon=True,
        )

    def _run(self) -> None:
        # A module may ask for the loop as it is imported, as in the thread that waits for it.
        asyncio.set_event_loop(self._loop)
        machinery = Machinery()
        try:
            self.module = import_module(self.name)
        except BaseException as error:
            self.error = error
        try:
            self.broken = machinery.mend()
        finally:
            _release_names()
            asyncio.set_event_loop(None)
            self.done.set()
            if self.abandoned:
                self._late(self.name)

    def place(self, is_mine: Callable[[str], bool]) -> str:
        """Say at which line of the user's it stands; empty where that is not known."""
        frame: FrameType | None = sys._current_frames().get(self.thread.ident or 0)
        found = None
        while frame is not None and found is None:
            found = frame if is_mine(frame.f_code.co_filename) else None
            frame = frame.f_back
        if found is None:
            return ""
        file, line = found.f_code.co_filename, found.f_lineno
        text = linecache.getline(file, line).strip()[:80]
        return f"{file}:{line}{f' ({text})' if text.isprintable() and text else ''}"


def import_within(
    name: str,
    limit: float,
    *,
    is_mine: Callable[[str], bool],
    is_stale: Callable[[], bool],
    late: Callable[[str], object],
) -> ModuleType:
    """Import a module, and go on without it where that does not end.

    Args:
        name: Its dotted name.
        limit: Seconds to wait.
        is_mine: Whether a file is one of the user's, to name the line where it hangs.
        is_stale: Whether a file has been saved since it was read, so that waiting is in vain.
        late: Called in the import's thread when one that was given up ends all the same.

    Raises:
        ImportAbandoned: It did not end; says where it stood.
        MachineryBroken: It has made unusable what imports need; that was put back.
        BaseException: Whatever the module raises.
    """
    found = sys.modules.get(name)
    if found is not None and not _initializing(found):
        return found
    call = _Import(name, late)
    call.thread.start()
    began = time.monotonic()
    reason = f"it did not end within {limit:g} s"
    while not call.done.wait(min(_STEP, limit)):
        waited = time.monotonic() - began
        if waited >= LOOK_AFTER and is_stale():
            reason = "it still ran when it was saved again"
        elif waited < limit:
            continue
        place = call.place(is_mine)
        call.abandoned = True
        if call.done.is_set():
            break
        _free_names(is_mine)
        raise ImportAbandoned(f"{reason}{f'; it is at {place}' if place else ''}")
    if call.error is not None and not (call.broken and not _is_the_users(call.error, is_mine)):
        raise call.error
    if call.broken:
        raise MachineryBroken(call.broken)
    if call.module is None:
        raise MachineryBroken([Broken("its own place in sys.modules", "modules")])
    return call.module


def _is_the_users(error: BaseException, is_mine: Callable[[str], bool]) -> bool:
    """Say whether an exception comes from a line of the user's, or is about one."""
    if isinstance(error, SyntaxError):
        return True
    traceback = error.__traceback__
    while traceback is not None:
        if is_mine(traceback.tb_frame.f_code.co_filename):
            return True
        traceback = traceback.tb_next
    return False


def _current_loop() -> asyncio.AbstractEventLoop | None:
    with contextlib.suppress(RuntimeError):
        return asyncio.get_running_loop()
    # Asking for it in public makes one in the main thread, or warns.
    local = getattr(asyncio.get_event_loop_policy(), "_local", None)
    loop: asyncio.AbstractEventLoop | None = getattr(local, "_loop", None)
    return loop


def _initializing(module: ModuleType) -> bool:
    try:
        return bool(getattr(getattr(module, "__spec__", None), "_initializing", False))
    except Exception:  # it has put something else in the place of its spec
        return False


def _release_names() -> None:
    """Give back the names that this thread still holds, at the end of its import.

    A trace function that raises where Python gives one back itself, as `sys.settrace(5)` does from
    3.13 on, would have the next import of that name wait for ever.
    """
    me = threading.get_ident()
    for reference in list(getattr(importlib._bootstrap, "_module_locks", {}).values()):
        lock = reference()
        while lock is not None and getattr(lock, "owner", None) == me:
            lock.release()


def _free_names(is_mine: Callable[[str], bool]) -> None:
    """Let the modules that an abandoned import holds be imported again.

    Python locks a module's name while it is imported, and the thread that hangs never gives it
    back; a new lock is made for a name that has none.
    """
    locks = getattr(importlib._bootstrap, "_module_locks", {})
    for name, module in list(sys.modules.items()):
        file = sources.origin_of(name) if isinstance(name, str) else None
        if file is not None and is_mine(file) and _initializing(module):
            sys.modules.pop(name, None)
            locks.pop(name, None)
