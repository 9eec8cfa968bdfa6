"""An answer of somebody else's code, awaited in the task of who asks.

Most identity providers and Authorizers answer without waiting for anything. A task of its own for
each question would cost more than the answer: here it is asked in the task that needs it, and
nothing else is made unless it waits. Where it does, it has an end: `Waiting` stops waiting when
its time is over, or nobody wants the answer any more, whether the code that was asked lets itself
be cancelled or not.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Coroutine, Generator
from contextlib import suppress
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class GivenUp(Exception):
    """The answer is not waited for any longer; `Waiting.leave` deals with who still works on it."""


class Waiting(Awaitable[T], Generic[T]):
    """A coroutine that runs in the task that awaits this, for as long as its answer is wanted.

    Args:
        coroutine: What to run; must not have begun.
        patience: Seconds that it may take.
        gone: Done when nobody waits for the answer any more.

    Attributes:
        is_over: Whether it has been given up.
    """

    __slots__ = ("_coroutine", "_gone", "_patience", "_step", "_wake", "is_over")

    def __init__(
        self,
        coroutine: Coroutine[Any, Any, T],
        patience: float,
        gone: asyncio.Future[None] | None = None,
    ) -> None:
        self._coroutine = coroutine
        self._patience = patience
        self._gone = gone
        self._step: Any = None  # what the coroutine waits for
        self._wake: asyncio.Future[None] | None = None
        self.is_over = False

    def __await__(self) -> Generator[Any, Any, T]:
        """Run it; raise `GivenUp` where its end has come before its answer."""
        try:
            self._step = self._coroutine.send(None)
        except StopIteration as end:
            answer: T = end.value
            return answer
        return (yield from self._wait())

    def give_up(self, *_: object) -> None:
        """Wait no longer; what it is called with does not matter, as it is a callback."""
        self.is_over = True
        self._woken()

    async def leave(self) -> None:
        """Cancel what was given up, and see it to its end: it need not let itself be cancelled."""
        if asyncio.isfuture(self._step):
            self._step.cancel()
        with suppress(StopIteration, asyncio.CancelledError):
            step = self._coroutine.throw(asyncio.CancelledError())
            await Begun(self._coroutine, step)

    def _wait(self) -> Generator[Any, Any, T]:
        loop = asyncio.get_running_loop()
        timer = loop.call_later(self._patience, self.give_up)
        if self._gone is not None:
            self._gone.add_done_callback(self.give_up)
        try:
            while True:
                thrown: BaseException | None = None
                try:
                    thrown = yield from self._one_step(loop)
                except asyncio.CancelledError as error:
                    thrown = error
                except GeneratorExit:
                    self._coroutine.close()
                    raise
                if self.is_over:
                    raise GivenUp
                try:
                    if thrown is None:
                        self._step = self._coroutine.send(None)
                    else:
                        self._step = self._coroutine.throw(thrown)
                except StopIteration as end:
                    answer: T = end.value
                    return answer
        finally:
            timer.cancel()
            if self._gone is not None:
                self._gone.remove_done_callback(self.give_up)

    def _one_step(self, loop: asyncio.AbstractEventLoop) -> Generator[Any, Any, Exception | None]:
        """Wait for what the coroutine waits for; return what a task would throw into it instead."""
        step = self._step
        if step is None:  # as `asyncio.sleep(0)` does
            yield
            return None
        if not asyncio.isfuture(step) or step.get_loop() is not loop:
            return RuntimeError(f"cannot wait for {type(step).__name__} on this event loop")
        while not step.done() and not self.is_over:
            self._wake = loop.create_future()
            step.add_done_callback(self._woken)
            try:
                yield from self._wake
            except asyncio.CancelledError:
                # As a task does: what it waits for is cancelled, and may take its time for that.
                if not step.cancel() or step.done():
                    raise
            finally:
                self._wake = None
                step.remove_done_callback(self._woken)
        return None

    def _woken(self, *_: object) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)


class Begun(Awaitable[T], Generic[T]):
    """A coroutine that has begun elsewhere, and goes on in the task that awaits this.

    Args:
        coroutine: The coroutine.
        step: What it waits for.
    """

    __slots__ = ("_coroutine", "_step")

    def __init__(self, coroutine: Coroutine[Any, Any, T], step: Any) -> None:
        self._coroutine = coroutine
        self._step = step

    def __await__(self) -> Generator[Any, Any, T]:
        """Run it to its end."""
        coroutine, step = self._coroutine, self._step
        while True:
            thrown: BaseException | None = None
            try:
                yield step
            except GeneratorExit:
                coroutine.close()
                raise
            except BaseException as error:
                thrown = error
            try:
                step = coroutine.send(None) if thrown is None else coroutine.throw(thrown)
            except StopIteration as end:
                answer: T = end.value
                return answer


def begin(coroutine: Coroutine[Any, Any, T]) -> asyncio.Future[T]:
    """Run a coroutine at once, and in a task only from where it waits for something.

    Not for code that asks, before it waits for the first time, which task it is in: as everything
    does that uses `asyncio.timeout`.

    Args:
        coroutine: What to run; must not have begun.

    Returns:
        Its result: of a task, or at hand.
    """
    loop, context = asyncio.get_running_loop(), contextvars.copy_context()
    try:
        step = context.run(coroutine.send, None)
    except StopIteration as end:
        done: asyncio.Future[T] = loop.create_future()
        done.set_result(end.value)
        return done
    return loop.create_task(_go_on(coroutine, step), context=context)


async def _go_on(coroutine: Coroutine[Any, Any, T], step: Any) -> T:
    return await Begun(coroutine, step)
