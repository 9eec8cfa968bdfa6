"""The thread that this kernel's bots live on, with an event loop that nothing of theirs ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Awaitable, Callable
from typing import TypeVar

from ..guard import run_to_its_end

T = TypeVar("T")

START = 10.0
"""Seconds for the thread to start."""


class BotLoop:
    """A thread with an event loop, on which callbacks run while cells have the main one.

    It belongs to the process that has made it: in a fork there is no such thread, and who calls it
    there gets an error instead of waiting for ever.

    Args:
        begin: Called on the loop before anything else.
        survived: Hears of what has tried to end the loop, which goes on: an exception, or None for
            a call of its `stop`.
    """

    loop: asyncio.AbstractEventLoop

    def __init__(
        self,
        begin: Callable[[], Awaitable[None]],
        survived: Callable[[BaseException | None], None],
    ) -> None:
        self._begin = begin
        self._survived = survived
        self._process = os.getpid()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="wshandler bots", daemon=True)

    def start(self) -> None:
        """Start the thread, and wait for its loop.

        Raises:
            RuntimeError: It does not start.
        """
        self._thread.start()
        if not self._ready.wait(START):
            raise RuntimeError("the thread of this kernel's bots has not started")

    def _run(self) -> None:
        with contextlib.suppress(RuntimeError):  # the interpreter ends with a loop that runs
            run_to_its_end(self._main(), self._survived)

    async def _main(self) -> None:
        self.loop = asyncio.get_running_loop()
        await self._begin()
        self._ready.set()
        await asyncio.Event().wait()

    def call(self, function: Callable[[], T], timeout: float = 10.0) -> T:
        """Call a function on the loop and return its result; from any thread.

        Args:
            function: What to call.
            timeout: Seconds to wait.

        Raises:
            TimeoutError: The loop is busy: a callback with ``run: loop`` holds it.
            RuntimeError: This process is a fork of the kernel.
        """
        self.check_process()
        if self.is_here:
            return function()
        done = threading.Event()
        result: list[T] = []
        error: list[BaseException] = []

        def run() -> None:
            try:
                result.append(function())
            except BaseException as raised:
                error.append(raised)
            done.set()

        self.loop.call_soon_threadsafe(run)
        if not done.wait(timeout):
            raise TimeoutError(
                f"the bots' event loop has been busy for {timeout:g} s: a callback blocks it; "
                "callbacks that take their time are `def` without run='loop', or await"
            )
        if error:
            raise error[0]
        return result[0]

    def check_process(self) -> None:
        """Refuse to work in a fork: the thread of the bots is not in it.

        Raises:
            RuntimeError: This process is a fork of the kernel.
        """
        if os.getpid() != self._process:
            raise RuntimeError("this process is a fork of the kernel, and the bots live there")

    @property
    def alive(self) -> bool:
        """Whether the thread runs; in a fork it does not, and yet is not dead."""
        return self._thread.is_alive() or os.getpid() != self._process

    @property
    def is_here(self) -> bool:
        """Whether the calling thread is the loop's own."""
        return threading.get_ident() == self._thread.ident
