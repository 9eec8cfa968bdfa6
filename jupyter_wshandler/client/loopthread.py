"""An event loop in a thread of its own, for those who wait for each step."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class LoopThread:
    """A thread that runs an event loop until it is ended.

    Args:
        name: The thread's name.
    """

    def __init__(self, name: str) -> None:
        self._begun = threading.Event()
        self._loop: asyncio.AbstractEventLoop
        self._over: asyncio.Event
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()
        self._begun.wait()

    def _run(self) -> None:
        asyncio.run(self._stay())

    async def _stay(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._over = asyncio.Event()
        self._begun.set()
        await self._over.wait()

    @property
    def is_over(self) -> bool:
        """Whether nothing can be run any more."""
        return not self._thread.is_alive()

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine and return what it returns; cancel it where nobody waits any more.

        Raises:
            RuntimeError: The thread has ended.
        """
        try:
            future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        except RuntimeError:
            coroutine.close()
            raise
        try:
            return future.result()
        except BaseException:  # Ctrl-C, too
            future.cancel()
            raise

    def soon(self, function: Any) -> None:
        """Call a function on the loop, soon, without waiting for it."""
        self._loop.call_soon_threadsafe(function)

    def end(self, *, wait: bool = True) -> None:
        """End the loop and what runs on it.

        Args:
            wait: Whether to wait for that; never in the thread itself.
        """
        if self._thread.is_alive():
            try:
                self._loop.call_soon_threadsafe(self._over.set)
            except RuntimeError:
                return  # it has just ended
        if wait and self._thread is not threading.current_thread():
            self._thread.join(5)
