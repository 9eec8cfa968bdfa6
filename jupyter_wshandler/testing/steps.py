"""Write what a client does once, for those who block and for those who await.

An operation is a generator: it yields a `Wait` wherever it has to wait, is told whether what it
waits for came true in time, and returns its result.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import math
import threading
from collections.abc import Callable, Generator
from typing import TypeAlias, TypeVar

T = TypeVar("T")

# pytest leaves the frames of this module out of its reports.
__tracebackhide__ = True


class Watch:
    """The conditions that are waited for, looked at whenever something has changed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waits: list[Wait] = []
        self.thread: int | None = None
        """Identity of the thread in which things change: nobody may block there."""

    def changed(self) -> None:
        """Wake those whose condition has come true."""
        with self._lock:
            come = [wait for wait in self._waits if wait.condition()]
            self._waits = [wait for wait in self._waits if wait not in come]
        for wait in come:
            wait.wake()

    def add(self, wait: Wait) -> None:
        """Begin to look at a condition."""
        # Under the lock: what changes from here on is followed by a `changed` that finds it.
        with self._lock:
            if not wait.condition():
                self._waits.append(wait)
                return
        wait.wake()

    def remove(self, wait: Wait) -> None:
        """Look at a condition no more."""
        with self._lock:
            if wait in self._waits:
                self._waits.remove(wait)


class Wait:
    """One wait until a condition is true, at most for a time.

    Args:
        watch: Tells when to look.
        condition: May be called in any thread.
        seconds: How long; `math.inf` for no limit.
    """

    def __init__(self, watch: Watch, condition: Callable[[], object], seconds: float) -> None:
        self.condition = condition
        self._watch = watch
        self._seconds = None if math.isinf(seconds) else max(0.0, seconds)
        self._come: concurrent.futures.Future[None] = concurrent.futures.Future()

    def wake(self) -> None:
        """Tell who waits that the condition is true."""
        with contextlib.suppress(concurrent.futures.InvalidStateError):  # given up in this moment
            self._come.set_result(None)

    def block(self) -> bool:
        """Wait in this thread; return whether the condition came true."""
        if threading.get_ident() == self._watch.thread:
            raise RuntimeError(
                "this code runs on the bot's own event loop, and would wait for itself; talk to a "
                "Chat from the test, not from an `async def` callback"
            )
        self._watch.add(self)
        try:
            self._come.result(self._seconds)
        except TimeoutError:
            return bool(self.condition())
        finally:
            self._watch.remove(self)
        return True

    async def pause(self) -> bool:
        """Wait on the running event loop; return whether the condition came true."""
        self._watch.add(self)
        try:
            async with asyncio.timeout(self._seconds):
                await asyncio.wrap_future(self._come)
        except TimeoutError:
            return bool(self.condition())
        finally:
            self._watch.remove(self)
        return True


Steps: TypeAlias = Generator[Wait, bool, T]


def run(steps: Steps[T]) -> T:
    """Do an operation and block while it waits."""
    try:
        wait = next(steps)
        while True:
            wait = steps.send(wait.block())
    except StopIteration as end:
        result: T = end.value
        return result
    finally:
        steps.close()


async def run_async(steps: Steps[T]) -> T:
    """Do an operation and give the running event loop its turns while it waits."""
    try:
        wait = next(steps)
        while True:
            wait = steps.send(await wait.pause())
    except StopIteration as end:
        result: T = end.value
        return result
    finally:
        steps.close()
