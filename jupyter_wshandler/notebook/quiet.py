"""What keeps the bridge's messages out of what a kernel says of its cells."""

from __future__ import annotations

import contextvars
import sys
import threading
from collections.abc import Callable
from typing import Any


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
