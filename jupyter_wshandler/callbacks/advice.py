"""What to do where a library says that it is in the wrong thread, below its own words."""

from __future__ import annotations

from ..guard import is_interrupt

WRONG_THREAD = "can only be used in that same thread"
"""A part of what `sqlite3` says of an object that another thread has made."""

ADVICE = (
    (
        WRONG_THREAD,
        "A `def` callback runs in a thread of a pool, an `async def` or a `@gen.coroutine` on the "
        "event loop. Open it with sqlite3.connect(..., check_same_thread=False), keep it in "
        "handler.state and make the callbacks that use it all plain `def`, or write `run: loop` "
        "for the route",
    ),
    (
        "signal only works in main thread",
        "A `def` callback runs in a thread of a pool; signals belong to the whole process, so set "
        "them where the server is started",
    ),
    (
        "annot switch to a different thread",  # greenlet's, which Playwright's sync API uses
        "A `def` callback runs in a thread of a pool. Make it and use it in one callback, or "
        "write `threads: 1` for the route: its callbacks then share one thread",
    ),
)
"""What to do where a library says that it is in the wrong thread: a part of its message, advice."""

CHAIN = 20
"""Causes and members of groups that are looked at."""


_cause_of = BaseException.__dict__["__cause__"].__get__
_context_of = BaseException.__dict__["__context__"].__get__
_args_of = BaseException.__dict__["args"].__get__
_members_of = BaseExceptionGroup.__dict__["exceptions"].__get__


def advise(error: BaseException) -> None:
    """Add to a library's words about threads what to do here; a traceback shows it below them.

    Args:
        error: What a callback, a task or a timer has raised; its causes are looked at, too.
    """
    waiting: list[BaseException | None] = [error]
    for _ in range(CHAIN):
        one = waiting.pop() if waiting else None
        if one is None:
            if not waiting:
                return
            continue
        try:
            # As Python has them: a class of the user's may raise SystemExit for each attribute.
            waiting += (_cause_of(one), _context_of(one))
            if issubclass(type(one), BaseExceptionGroup):
                waiting += _members_of(one)[:CHAIN]
            words = " ".join(part for part in _args_of(one) if type(part) is str)
            for part, advice in ADVICE:
                if part in words:
                    if advice not in getattr(one, "__notes__", ()):
                        one.add_note(advice)
                    return
        except BaseException as unreadable:
            if is_interrupt(unreadable):
                raise
            return  # an exception that cannot be looked at is shown as such
