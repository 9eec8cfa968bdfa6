"""Which connection the code that runs belongs to."""

from __future__ import annotations

import contextvars
from typing import Any

current_connection: contextvars.ContextVar[Any] = contextvars.ContextVar("current_connection")
"""The `Connection` whose callback, or whose timer or task, is running in this context."""


def naming(connection: Any, context: contextvars.Context) -> contextvars.Context:
    """Return a copy of a context that names a connection.

    Args:
        connection: A `Connection`.
        context: What to copy.
    """
    copy = context.copy()
    copy.run(current_connection.set, connection)
    return copy
