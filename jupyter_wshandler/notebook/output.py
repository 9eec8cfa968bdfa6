"""Where the output of a bot goes: below the cell that serves it, whatever cell runs meanwhile.

An ipykernel keeps, in context variables, the request that output belongs to. A callback runs in
a context of its own, in which that is the cell that has served the bot.
"""

from __future__ import annotations

import contextlib
import contextvars
import copy
import functools
import logging
import sys
import sysconfig
import threading
import traceback
import uuid
from collections.abc import Callable
from types import TracebackType
from typing import Any

from ..callbacks import run
from ..callbacks.errorlog import on_one_line, place_of, users_part
from ..engine.texts import printable


def cell_context(shell: Any) -> contextvars.Context:
    """Return an empty context whose output belongs to the cell that runs now.

    Args:
        shell: What ``IPython.get_ipython()`` returned.
    """
    context = contextvars.Context()
    parent = getattr(shell, "parent_header", None) or {}
    header = parent.get("header", parent)
    for owner, value in (
        (shell, parent),
        (shell.displayhook, header),
        (shell.display_pub, header),
        (sys.stdout, header),
        (sys.stderr, header),
    ):
        # The variable is what every release since ipykernel 6.26 has; its setters come and go,
        # and set the parent of other threads, too.
        variable = getattr(owner, "_parent_header", None)
        if isinstance(variable, contextvars.ContextVar):
            context.run(variable.set, value)
    return context


class LiveOutput:
    """What the running cell shows, to be replaced later in its place, from any thread.

    Args:
        kernel: The ipykernel.
        data: Texts by MIME type.
    """

    def __init__(self, kernel: Any, data: dict[str, str]) -> None:
        publisher, parent = kernel.shell.display_pub, kernel.shell.parent_header or {}
        content = {"metadata": {}, "transient": {"display_id": uuid.uuid4().hex}}
        # Before ipykernel 7 the publisher has one parent for all threads: that of the last message.
        self._send = functools.partial(
            _send_output, kernel, content, parent.get("header", parent), publisher.topic
        )
        publisher.publish(data, {}, transient=content["transient"])

    def replace(self, data: dict[str, str]) -> None:
        """Show something else in the same place.

        Args:
            data: Texts by MIME type.
        """
        self._send(data)


def _send_output(
    kernel: Any, content: dict[str, Any], parent: Any, topic: bytes, data: dict[str, str]
) -> None:
    kernel.session.send(
        kernel.iopub_socket,
        "update_display_data",
        {**content, "data": data},
        parent=parent,
        ident=topic,
    )


def keep_to_itself(kernel: Any, is_ours: Callable[[Any], bool]) -> None:
    """Let the bridge's messages leave no trace in what the kernel says of its cells.

    Three habits of ipykernel are kept away from them. Each message that it gets is announced as
    busy and idle, and Jupyter takes that for the kernel's state: the culler would end a kernel
    that computes, because a bot was talked to meanwhile. It becomes, for all threads that have no
    request of their own, the one that their output belongs to: a thread that a cell has started
    and that prints while a bot is talked to would print nowhere. And all output is flushed after
    it, whoever is in the middle of a line.

    Args:
        kernel: The kernel.
        is_ours: Says whether a message is one of the bridge.
    """
    publish = kernel._publish_status

    def publish_status(status: str, channel: str, parent: Any = None) -> None:
        if not (channel == "shell" and is_ours(parent or kernel.get_parent(channel))):
            publish(status, channel, parent)

    kernel._publish_status = publish_status
    _keep_parents(kernel, is_ours)


def _keep_parents(kernel: Any, is_ours: Callable[[Any], bool]) -> None:
    variables = [getattr(kernel, name, None) for name in ("_shell_parent_ident", "_shell_parent")]
    if not all(isinstance(v, contextvars.ContextVar) for v in variables):
        return  # before ipykernel 7 a bridge has no thread of its own, so it interferes with none
    ident_variable, parent_variable = variables
    original = kernel.set_parent
    here = threading.local()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "pub_thread"):
            _flush_not_for(here, stream)

    def set_parent(ident: Any, parent: Any, channel: str = "shell") -> None:
        here.ours = channel == "shell" and is_ours(parent)
        if here.ours:
            # What it is answered with must still carry its own name.
            ident_variable.set(ident)  # type: ignore[union-attr]
            parent_variable.set(parent)  # type: ignore[union-attr]
        else:
            original(ident, parent, channel)

    kernel.set_parent = set_parent


def _flush_not_for(here: threading.local, stream: Any) -> None:
    """Leave a stream as it is where a thread that handles one of our messages flushes it."""
    flush = stream.flush

    def flush_others() -> None:
        if not getattr(here, "ours", False):
            flush()

    stream.flush = flush_others


def write_below(text: str) -> None:
    """Write to the standard error of the cell whose context this is.

    A stream of ipykernel takes what UTF-8 cannot write, and loses all it holds as it sends it.
    """
    sys.stderr.write(printable(text))


class CellHandler(logging.Handler):
    """Write log records to the output of the bot that they are about, or that they come from.

    Much of what is said about a bot comes from a clock, whose own cell is that of the first bot.

    Attributes:
        context_of: Returns the context of a route's cell by the route's name, or None.
    """

    context_of: Callable[[str], contextvars.Context | None]

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record as a line of standard error."""
        with contextlib.suppress(Exception):  # a log line must not break what it is about
            line = self.format(record) + "\n"
            context = self._context(record)
            # A copy: a callback may be running in it.
            (context.copy() if context else contextvars.copy_context()).run(write_below, line)

    def _context(self, record: logging.LogRecord) -> contextvars.Context | None:
        # What is about a route begins with its name, in all of this package.
        if not str(record.msg).startswith("Route %s") or not isinstance(record.args, tuple):
            return None
        return self.context_of(str(record.args[0]))


def bot_logger(
    context_of: Callable[[str], contextvars.Context | None] | None = None,
) -> logging.Logger:
    """Return the logger of the bots of this kernel; its lines go to their cells.

    Args:
        context_of: Says from now on where that is; see `CellHandler`.
    """
    log = logging.getLogger("jupyter_wshandler.notebook")
    known = [handler for handler in log.handlers if isinstance(handler, CellHandler)]
    handler = known[0] if known else CellHandler()
    if context_of is not None or not known:
        handler.context_of = context_of or (lambda name: None)
    if not known:
        log.addHandler(handler)
        log.propagate = False
        log.setLevel(logging.WARNING)
    return log


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
    if start is None and place_of(error).rpartition(":")[0] == run.__file__:
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
