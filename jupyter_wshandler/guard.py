"""Keep what the user's code raises from ending the event loop that it runs on.

asyncio raises SystemExit and KeyboardInterrupt out of `run_forever` (see the notes on exceptions
in the documentation of `asyncio.Task`), so that one `sys.exit()` would end the server of all.
"""

from __future__ import annotations

import asyncio
import dis
import signal
import threading
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

T = TypeVar("T")

_RAISE = dis.opmap["RAISE_VARARGS"]


class Escaped(RuntimeError):
    """Stand for something raised that is no Exception; it is the `__cause__`.

    Args:
        label: The function of the user's.
        error: What it raised.
    """

    def __init__(self, label: str, error: BaseException) -> None:
        super().__init__(f"{label} raised {type(error).__name__}")
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
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    if traceback is None:
        return True
    return traceback.tb_frame.f_code.co_code[traceback.tb_lasti] != _RAISE


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
    try:
        return await awaitable
    except (Exception, asyncio.CancelledError):
        raise
    except BaseException as error:
        if is_interrupt(error):
            raise
        raise Escaped(label, error) from error


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
