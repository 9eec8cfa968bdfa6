"""The thread in which the files of the routes are looked at and callback modules imported."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Callable
from typing import Any

from ..callbacks.pool import ThreadPool

SLOW = 10.0
"""Seconds after which a reload that still runs is named in a warning."""

LOOKING = "a look at the files"
"""What a look is called where it does not end."""


class ImportThread:
    """One thread for what may take long: file systems that hang, modules that load a model.

    Args:
        log: Where it goes that a call takes long.

    Attributes:
        context: What calls run in; it names the manager. None: the current context.
    """

    def __init__(self, log: logging.Logger | logging.LoggerAdapter[Any]) -> None:
        self._log = log
        self._pool = ThreadPool(1, name="wshandler-reload")
        self.context: contextvars.Context | None = None

    async def run(self, function: Callable[..., Any], *args: Any, label: str) -> Any:
        """Run a function in the thread, and return what it returns.

        Args:
            function: What to run.
            args: What it gets.
            label: What it is called where it does not end.
        """
        loop = asyncio.get_running_loop()
        context = contextvars.Context() if self.context is None else self.context.copy()

        def run() -> Any:
            # A module may ask for the loop as it is imported. At the start, when modules are
            # imported in the loop's own thread, it gets one: here it gets the same.
            asyncio.set_event_loop(loop)
            try:
                return function(*args)
            finally:
                asyncio.set_event_loop(None)

        future = self._pool.submit(run, label=label, context=context)
        # Asked here, as asyncio complains of an exception that nobody asks for: where the watching
        # ends meanwhile, nobody else does.
        future.add_done_callback(lambda done: done.cancelled() or done.exception())
        done, _ = await asyncio.wait([future], timeout=SLOW)
        if not done and label == LOOKING:
            self._log.warning(
                "The files of the routes cannot be looked at: the file system has not answered for "
                "%d s; changes are not noticed meanwhile",
                SLOW,
            )
        elif not done:
            self._log.warning("The callback modules take over %d s to be imported again", SLOW)
        result = await future
        if not done and label == LOOKING:
            self._log.info("The files of the routes can be looked at again")
        return result

    async def stop(self, timeout: float) -> None:
        """End the thread; what still runs then is left to itself, and named in the log.

        Args:
            timeout: Seconds to wait for it.
        """
        for label in await self._pool.stop(timeout):
            self._log.warning("%s still ran when the server stopped", label)
