"""The files of the routes, watched: what notices that they have changed, and has them reloaded."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from ..functions.watch import FileWatch, Places

LOOK_AUTO = 3.0
"""Seconds between two looks at the files where the system also tells of changes: it says nothing
of a network folder that another machine writes to."""

LOOK_POLL = 1.0
"""Seconds between two looks where it does not."""


class FileWatcher:
    """One loop that looks at the files of the routes, and reloads them when they have changed.

    The system's word that a file has changed only makes it look earlier: what counts is what the
    files are like, since the system may tell of nothing (network folders), of too much (a file that
    is saved as it was), or of a file that is half written.

    Args:
        log: Where it goes that the files cannot be looked at.
        is_told: Whether the system is asked to tell of changes.
        places: Returns which places the system is to watch.
        look: Returns whether a file has changed since it was read.
        reload: Loads what has changed; its errors are written to the log, and end nothing.
    """

    def __init__(
        self,
        log: logging.Logger | logging.LoggerAdapter[Any],
        *,
        is_told: bool,
        places: Callable[[], Awaitable[Places]],
        look: Callable[[], Awaitable[bool]],
        reload: Callable[[], Awaitable[object]],
    ) -> None:
        self._log = log
        self._is_told = is_told
        self._places = places
        self._look = look
        self._reload = reload
        self._told = asyncio.Event()
        self._failing = ""  # why the files could not be looked at, as far as it was written

    async def run(self) -> None:
        """Watch until the task is cancelled."""
        loop = asyncio.get_running_loop()

        def notify(function: Callable[..., object], *args: Any) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(function, *args)

        watch = FileWatch(
            lambda: notify(self._told.set), lambda why: notify(self._cannot_be_told, why)
        )
        try:
            while True:
                await self._listen(watch)
                await self._turn(watch)
        finally:
            watch.stop()
            while watch.running:  # noqa: ASYNC110 # a thread of compiled code sets no event
                await asyncio.sleep(0.01)

    async def _turn(self, watch: FileWatch) -> None:
        """Wait until it is time for a look, look, and reload what has changed."""
        with contextlib.suppress(TimeoutError):
            # `wait_for` of Python 3.11 may swallow the cancellation of `stop`.
            async with asyncio.timeout(LOOK_AUTO if self._is_told else LOOK_POLL):
                await self._told.wait()
        was_told = self._told.is_set()
        # Before the look: what changes during it, or during the reload, is told once more.
        self._told.clear()
        try:
            if await self._look():
                if not was_told:
                    watch.stop()  # it is deaf, as after its folder was replaced
                await self._reload_safely()
        except Exception as error:
            # A file system may say anything; the next look may be better.
            self._say_failing(error)
        else:
            self._say_failing(None)

    async def _listen(self, watch: FileWatch) -> None:
        """Let the system tell of changes, where it is asked to."""
        if not self._is_told:
            return
        try:
            places = await self._places()
        except Exception as error:  # the look that follows tells what there is to tell
            self._log.debug("The folders of the routes' files cannot be asked for: %s", error)
            return
        if watch.follow(places):
            self._told.set()  # something may have changed before the watch began

    def _cannot_be_told(self, why: str) -> None:
        self._log.warning("Files are looked at every second, not watched: %s", why)
        self._is_told = False
        self._told.set()

    async def _reload_safely(self) -> None:
        try:
            await self._reload()
        except Exception:
            self._log.exception("The reload failed; the last good version goes on")

    def _say_failing(self, error: Exception | None) -> None:
        """Write that the files cannot be looked at, once for each reason, and that they can again.

        Args:
            error: What a look has ended with; None if it went well.
        """
        before = self._failing
        self._failing = "" if error is None else f"{type(error).__name__}: {error}"
        if error is None and before:
            self._log.info("The files of the routes can be looked at again")
        elif self._failing != before:
            self._log.error(
                "The files of the routes cannot be looked at; what is served goes on, and changes "
                "are not noticed meanwhile: %s",
                self._failing,
            )
