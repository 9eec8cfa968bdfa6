"""What a child process that was forked here keeps of a server: no socket, and no loop that runs.

A fork copies the descriptors and the one thread that forked. A copy of a socket keeps it open
when the server closes its own, so a client would never learn that it was disconnected; and a copy
of an epoll set is the same set, so that a child which tidies up would deafen its parent.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import selectors
import signal
import stat
import sys
import threading
import traceback
import weakref
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn, Protocol

SHOWN = 16_000
"""Characters that are shown of the exception that ended a child."""

_OUTSIDE = ("jupyter", "tornado", "asyncio")


class Guarded(Protocol):
    """What is told, in a child process, that this is one."""

    def forked(self) -> None:
        """Let go of what is the parent's."""


_guarded: weakref.WeakSet[Guarded] = weakref.WeakSet()


def guard(guarded: Guarded) -> None:
    """Tell an object, in each child that is forked from now on, that it is a copy."""
    _guarded.add(guarded)


def unguard(guarded: Guarded) -> None:
    """Tell it no longer."""
    _guarded.discard(guarded)


def let_go(descriptors: Iterable[int]) -> None:
    """Close a child's copies of descriptors; what was a socket is /dev/null from now on.

    The numbers stay taken: the objects that hold them close them once more when they are
    collected, and must not hit what the child has opened since.

    Args:
        descriptors: Their numbers; those that are not open are left out.
    """
    null = os.open(os.devnull, os.O_RDWR)
    try:
        for descriptor in descriptors:
            with contextlib.suppress(OSError):
                os.fstat(descriptor)
                os.dup2(null, descriptor, inheritable=False)
    finally:
        os.close(null)


def end_loop(loop: asyncio.AbstractEventLoop, thread: int) -> None:
    """Let go of the sockets of a child's copy of an event loop, and see that it never runs.

    Args:
        loop: The copy. What it watches is left alone in the parent: nothing is unregistered.
        thread: The thread that the loop runs in. Where that is the one that forked, the child
            ends as soon as it comes back to the loop.
    """
    selector = getattr(loop, "_selector", None)
    if isinstance(selector, selectors.BaseSelector):
        watched = [key.fd for key in list((selector.get_map() or {}).values())]
        pair = [getattr(loop, name, None) for name in ("_ssock", "_csock")]
        own = [
            end.fileno() for end in (*pair, selector) if end is not None and hasattr(end, "fileno")
        ]
        let_go([*filter(_is_socket, watched), *own])
        loop._selector = _End()  # type: ignore[attr-defined]
    _forget_signals()
    if threading.get_ident() != thread:
        return
    asyncio._set_running_loop(None)  # the child may run a loop of its own
    ready = getattr(loop, "_ready", None)
    if ready is not None:
        # Other callbacks of this turn are the parent's to run.
        ready.clear()
        getattr(loop, "_scheduled", []).clear()
    loop.call_soon(leave)
    # A SystemExit or KeyboardInterrupt in a task ends the loop. What the parent would do at its
    # end (shut its kernels down, remove its runtime file) is not this child's to do.
    loop._set_coroutine_origin_tracking = _loop_ended  # type: ignore[attr-defined]
    atexit.register(leave)


def leave_if_copy(process: int, error: BaseException | None = None) -> None:
    """End this process if it is a fork of the one that a callback began in.

    Args:
        process: Where the callback began.
        error: What it raised.
    """
    if os.getpid() != process:
        leave(error)


def leave(error: BaseException | None = None) -> NoReturn:
    """End a forked child whose callback has come to its end, and say so on stderr.

    Its exit code is 0, that of a `SystemExit`, or 1 where something else was raised.

    Args:
        error: What the callback raised in the child.
    """
    code = 0
    text = (
        f"jupyter_wshandler: the child process {os.getpid()} that a callback forked came back "
        "from it, and ends here: only the parent serves. A child ends itself with os._exit(), "
        "or is a multiprocessing.Process\n"
    )
    try:
        if isinstance(error, SystemExit):
            code = error.code if isinstance(error.code, int) else int(error.code is not None)
        elif error is not None:
            code = 1
            text = "".join(traceback.format_exception(error, limit=-50))[-SHOWN:] + text
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        os.write(2, text.encode("utf-8", "replace"))
    finally:
        os._exit(code & 0xFF)


def _loop_ended(enabled: bool) -> NoReturn:
    leave(sys.exc_info()[1])


class _End(selectors.BaseSelector):
    """What stands where a loop's selector was: a child that comes to wait here ends."""

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return selectors.SelectorKey(fileobj, -1, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        raise KeyError(fileobj)

    def select(self, timeout: float | None = None) -> NoReturn:
        leave()

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return {}


def _is_socket(descriptor: int) -> bool:
    try:
        return stat.S_ISSOCK(os.fstat(descriptor).st_mode)
    except OSError:
        return False


def _forget_signals() -> None:
    """Let a child end by the usual signals: the server's handlers wait for a loop to act."""
    with contextlib.suppress(ValueError):
        signal.set_wakeup_fd(-1)
        for number, default in (
            (signal.SIGTERM, signal.SIG_DFL),
            (signal.SIGINT, signal.default_int_handler),
        ):
            module = getattr(signal.getsignal(number), "__module__", None) or ""
            if module.startswith(_OUTSIDE):
                signal.signal(number, default)


class _Masked(threading.local):
    signals: set[signal.Signals | int] | None = None


_masked = _Masked()


def _before() -> None:
    """Hold signals back until the child has its own handlers: one may follow the fork at once."""
    if _guarded:
        _masked.signals = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGINT))


def _after() -> None:
    mask, _masked.signals = _masked.signals, None
    if mask is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _in_child() -> None:
    for guarded in list(_guarded):
        with contextlib.suppress(Exception):  # a child must never fail for what it is not
            guarded.forked()
    _guarded.clear()
    _after()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_after, after_in_child=_in_child)
