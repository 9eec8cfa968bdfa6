"""The thread in which a store is called, so that a slow disk holds up nobody else."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
import time
from collections.abc import Callable
from typing import Any

_Call = tuple["asyncio.Future[Any]", Callable[..., Any], tuple[Any, ...]]


class StoreThread:
    """One daemon thread that makes calls in order; it starts when it is first needed.

    `concurrent.futures` joins its threads when the interpreter exits, so a file system that hangs
    would keep the process from ending.

    Args:
        name: The thread's name.
    """

    def __init__(self, name: str = "wshandler-sessions") -> None:
        self._name = name
        self._since = 0.0
        self._calls: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def submit(self, function: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        """Call a function in the thread.

        Args:
            function: What to call.
            args: What it gets.

        Returns:
            A future of the running event loop.
        """
        future = asyncio.get_running_loop().create_future()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()
        self._calls.put((future, function, args))
        return future

    def busy_for(self) -> float:
        """Return for how many seconds the call that runs has run; 0 where none does."""
        since = self._since
        return time.monotonic() - since if since else 0.0

    def waiting(self) -> int:
        """Return how many calls wait for their turn."""
        return self._calls.qsize()

    def stop(self, timeout: float) -> None:
        """End the thread when it has done what was submitted.

        Args:
            timeout: Seconds to wait for it; it does not keep the process from ending.
        """
        thread, self._thread = self._thread, None
        if thread is not None:
            self._calls.put(None)
            thread.join(timeout)

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            future, function, args = call
            result, error = None, None
            self._since = time.monotonic()
            try:
                result = function(*args)
            except Exception as raised:
                error = raised
            self._since = 0.0
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
                future.get_loop().call_soon_threadsafe(_resolve, future, result, error)
            del call, future, function, args, result, error


def _resolve(future: asyncio.Future[Any], result: Any, error: Exception | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
