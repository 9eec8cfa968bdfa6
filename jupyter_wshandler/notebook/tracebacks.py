"""What callbacks raise, as a notebook shows its own errors."""

from __future__ import annotations

import contextlib
import copy
import sysconfig
import traceback
from types import TracebackType
from typing import Any

from ..callbacks import results
from ..callbacks.errorlog import on_one_line, place_of, users_part


def format_error(shell: Any, error: BaseException) -> str:
    """Return a traceback as the notebook shows its own, from the first line of the user's code.

    What libraries have called among themselves is left out: in a deep one the user's own line, and
    what has gone wrong, would be hard to find.

    Args:
        shell: What ``IPython.get_ipython()`` returned, or None.
        error: What was raised.
    """
    return _bounded(_formatted(shell, error))


def _bounded(text: str) -> str:
    """Return a text with long lines cut, and no end where it has too many of them.

    What comes at once takes the place of the notebook's other output: see
    ``c.ServerApp.iopub_data_rate_limit``.
    """
    if len(text) <= LINE:
        return text
    reset = "\x1b[0m" if "\x1b" in text else ""  # a colour must not run on
    lines = [f"{line[:LINE]}{reset}..." if line[LINE:] else line for line in text.split("\n")]
    size = 0
    for number, line in enumerate(lines):
        size += len(line) + 1
        if size > SHOWN:
            return "\n".join([*lines[:number], "(the rest is not shown)"])
    return "\n".join(lines)


def _formatted(shell: Any, error: BaseException) -> str:
    start = users_part(error.__traceback__)
    if start is None and place_of(error).rpartition(":")[0] == results.__file__:
        # What is wrong is said in words, and none of the lines that say it is the user's.
        return "".join(traceback.format_exception_only(error)).rstrip()
    if shell is not None:
        with contextlib.suppress(Exception):
            return _as_the_notebook(shell, error, start or error.__traceback__)
    return "".join(traceback.format_exception(type(error), error, start or error.__traceback__))


def _as_the_notebook(shell: Any, error: BaseException, start: TracebackType | None) -> str:
    # A copy: the formatter remembers what it has formatted, and %debug looks there.
    formatter = copy.copy(shell.InteractiveTB)
    parts_of = getattr(formatter, "get_parts_of_chained_exception", None)
    left_out = 0

    def folded(found: TracebackType | None) -> TracebackType | None:
        nonlocal left_out
        kept, count = without_libraries(found)
        left_out += count
        return kept

    def parts(one: BaseException | None) -> Any:
        found = parts_of(one) if parts_of is not None else None
        return found and (*found[:2], folded(found[2]))

    if parts_of is not None:
        formatter.get_parts_of_chained_exception = parts
    lines = formatter.structured_traceback(type(error), error, folded(start))
    text = str(formatter.stb2text(lines))
    if not left_out:
        return text
    first = on_one_line("".join(traceback.format_exception_only(error)).strip(), SUMMARY)
    return (
        f"{first}\n{text}\n({left_out} lines of libraries are left out; bot.errors[-1].exception "
        "has them all)"
    )


def without_libraries(
    found: TracebackType | None,
) -> tuple[TracebackType | None, int]:
    """Return a traceback without the frames of libraries but the last one, and how many those are.

    Args:
        found: A traceback; it stays as it is.
    """
    frames = []
    while found is not None:
        frames.append(found)
        found = found.tb_next
    kept = [tb for tb in frames[:-1] if not _is_librarys(tb)] + frames[-1:]
    new: TracebackType | None = None
    for tb in reversed(kept):
        new = TracebackType(new, tb.tb_frame, tb.tb_lasti, tb.tb_lineno)
    return new, len(frames) - len(kept)


def _is_librarys(tb: TracebackType) -> bool:
    name = tb.tb_frame.f_code.co_filename.replace("\\", "/")
    if name.startswith("<frozen ") or "/site-packages/" in name or "/dist-packages/" in name:
        return True
    return name.startswith(_STANDARD)


_STANDARD = tuple(
    f"{place}/".replace("\\", "/")
    for place in {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")}
    if place
)
"""Folders of Python's own library."""

LINE = 2000
"""Characters that are shown of one line of a traceback."""

SHOWN = 100_000
"""Characters that are shown of a whole one."""

SUMMARY = 300
"""Characters of an error that stand above its traceback."""
