"""Where the output of a bot goes: below the cell that serves it, whatever cell runs meanwhile.

An ipykernel keeps, in context variables, the request that output belongs to. A callback runs in
a context of its own, in which that is the cell that has served the bot.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import logging
import sys
import uuid
from collections.abc import Callable
from typing import Any

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


def write_below(text: str) -> None:
    """Write to the standard error of the cell whose context this is.

    A stream of ipykernel takes what UTF-8 cannot write, and loses all it holds as it sends it.
    """
    sys.stderr.write(printable(text))


class CellHandler(logging.Handler):
    """A handler that writes a record to the output of the bot that it is about, or comes from.

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
