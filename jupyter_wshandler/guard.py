"""Keep what the user's code raises from ending the event loop that it runs on.

asyncio raises SystemExit and KeyboardInterrupt out of `run_forever` (see the notes on exceptions
in the documentation of `asyncio.Task`), so that one `sys.exit()` would end the server of all.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import dis
import os
import signal
import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from .forks import leave_if_copy

T = TypeVar("T")

GRACE = 1.0
"""Seconds for what still runs on an event loop to end, before it is closed."""

_RAISE = dis.opmap["RAISE_VARARGS"]


class Escaped(RuntimeError):
    """What stands for something raised that is no Exception; it is the `__cause__`.

    Args:
        label: The function of the user's.
        error: What it raised; None where that cannot be looked at.
        kind: The name of its class, then.
    """

    def __init__(self, label: str, error: BaseException | None, kind: str = "") -> None:
        super().__init__(f"{label} raised {kind if error is None else kind_of(error)}")
        self.__cause__ = error


def is_interrupt(error: BaseException) -> bool:
    """Return whether somebody has pressed Ctrl-C, and no code of the user's raised it.

    Only the main thread is interrupted, and only where Python's own handler, or the one that
    `asyncio.Runner` puts in front of it, takes the signal. What a `raise` statement raised came
    from no signal.

    Args:
        error: What was raised.
    """
    if not isinstance(error, KeyboardInterrupt):
        return False
    if threading.current_thread() is not threading.main_thread():
        return False
    handler = signal.getsignal(signal.SIGINT)
    asyncios = getattr(handler, "func", handler)
    if handler is not signal.default_int_handler and not isinstance(
        getattr(asyncios, "__self__", None), asyncio.Runner
    ):
        return False
    return not _was_raised(error)


def is_being_closed(error: BaseException) -> bool:
    """Return whether Python ends a coroutine with `close`, and no code raised it.

    Such a coroutine may await nothing more, and must let GeneratorExit out.

    Args:
        error: What was raised.
    """
    return isinstance(error, GeneratorExit) and not _was_raised(error)


def _was_raised(error: BaseException) -> bool:
    """Return whether a `raise` statement raised it, and not Python itself."""
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    if traceback is None:
        return False
    return traceback.tb_frame.f_code.co_code[traceback.tb_lasti] == _RAISE


_real_name = type.__dict__["__name__"].__get__
"""Reads the name of a class, whatever its metaclass has to say."""


def kind_of(error: BaseException) -> str:
    """Return the name of an exception's class; runs no code of the user's."""
    name: str = _real_name(type(error))
    return name


def place_of(error: BaseException) -> str:
    """Return the file and line that an exception comes from."""
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    if traceback is None:
        return "an unknown place"
    return f"{traceback.tb_frame.f_code.co_filename}:{traceback.tb_lineno}"


def tamed(error: BaseException, label: str) -> BaseException:
    """Return an exception that can be looked at: another one where looking at it raises.

    Args:
        error: What was raised.
        label: The function that raised it.
    """
    try:
        _ = error.__class__, error.__traceback__, error.__cause__, error.__context__, error.args
        return error
    except BaseException:
        return Escaped(label, None, f"{kind_of(error)}, which cannot be looked at")


async def guarded(awaitable: Awaitable[T], label: str) -> T:
    """Await something of the user's; what is no Exception becomes one.

    Args:
        awaitable: What to await.
        label: Its name, for the error.

    Raises:
        Exception: Whatever it raises.
        Escaped: It raised something that is no Exception.
        asyncio.CancelledError: It was cancelled.
    """
    process = os.getpid()
    try:
        return await awaitable
    except (Exception, asyncio.CancelledError) as error:
        # Another one where this cannot be looked at: `gather` and TaskGroup do so in a callback of
        # the loop's own, where what it raises would be nobody's.
        instead = tamed(error, label)
        if instead is error:
            # An exception knows this frame by its traceback: the two would be a cycle, and hold all
            # that the user's code had in its hands, the connection too, until garbage is collected.
            del instead
            raise
    except BaseException as error:
        if not is_being_closed(error):
            leave_if_copy(process, error)  # sys.exit() in a forked child is what it says
        if is_interrupt(error) or is_being_closed(error):
            raise
        raise Escaped(label, error) from error
    raise instead  # out here, as its `__context__` would be what cannot be looked at


def guard_tasks(
    loop: asyncio.AbstractEventLoop,
    ours: contextvars.ContextVar[Any],
    claim: Callable[[asyncio.Task[Any], contextvars.Context | None, str], object] | None = None,
) -> None:
    """Guard the tasks that the user's code makes with asyncio's own functions, too.

    An event loop that has a task factory keeps it, and such tasks are as asyncio makes them.

    Args:
        loop: The event loop.
        ours: Is set in every context that the user's code runs in; tasks of others are left alone.
        claim: Hears of each task of the user's, with the context that was made for it, and the
            name of its function.
    """

    def factory(
        loop: asyncio.AbstractEventLoop,
        coroutine: Any,
        *,
        context: contextvars.Context | None = None,
        **options: Any,
    ) -> asyncio.Task[Any]:
        # A context that was made for the task says whose it is; else it is the caller's copy.
        is_ours = ours.get(None) is not None if context is None else ours in context
        if not is_ours or not isinstance(coroutine, Coroutine):
            return asyncio.Task(coroutine, loop=loop, context=context, **options)
        label = getattr(coroutine, "__qualname__", type(coroutine).__name__)
        guard = guarded(coroutine, label)
        task = asyncio.Task(guard, loop=loop, context=context, **options)
        task.add_done_callback(lambda _: coroutine.close())  # one that was never begun
        if claim is not None:
            claim(task, context, label)
        return task

    if loop.get_task_factory() is None:
        loop.set_task_factory(factory)


def sheltered(label: str, function: Callable[..., T], *args: Any) -> T:
    """Call something of the user's; what is no Exception becomes one.

    Args:
        label: Its name, for the error.
        function: What to call.
        args: What it gets.

    Raises:
        Exception: Whatever it raises.
        Escaped: It raised something that is no Exception.
    """
    try:
        return function(*args)
    except Exception:
        raise
    except BaseException as error:
        if is_interrupt(error):
            raise
        raise Escaped(label, error) from error


def run_to_its_end(
    main: Coroutine[Any, Any, None],
    survived: Callable[[BaseException | None], None],
    loop: asyncio.AbstractEventLoop | None = None,
) -> None:
    """Run a coroutine on an event loop of its own, in this thread, until it ends.

    Where `asyncio.run` ends with what a function given to `call_soon` or `call_later` raises, or
    with `loop.stop()`, this loop goes on: nothing that waits on it is lost.

    Args:
        main: What to run.
        survived: Told of each SystemExit and KeyboardInterrupt, and with None of a `stop`.
        loop: The loop to run and to close; a new one where None.

    Raises:
        Exception: Whatever `main` raises.
    """
    loop = asyncio.new_event_loop() if loop is None else loop
    asyncio.set_event_loop(loop)
    task = loop.create_task(main)
    task.add_done_callback(lambda _: loop.stop())
    try:
        while not task.done():
            try:
                loop.run_forever()
            except (SystemExit, KeyboardInterrupt) as error:
                survived(error)
            else:
                if not task.done():
                    survived(None)
        if not task.cancelled():
            task.result()
    finally:
        asyncio.set_event_loop(None)
        _close(loop)


def _close(loop: asyncio.AbstractEventLoop) -> None:
    """End what still runs on a loop; what does not end in time is left to itself."""

    async def end() -> None:
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        last = [loop.shutdown_asyncgens(), loop.shutdown_default_executor()]
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.wait([*tasks, *map(loop.create_task, last)], timeout=GRACE)

    with contextlib.suppress(SystemExit, KeyboardInterrupt):
        loop.run_until_complete(end())
    loop.close()
