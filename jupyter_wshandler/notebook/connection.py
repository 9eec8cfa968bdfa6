"""The kernel's side of a connection, and the manager that runs the callbacks of its bots."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextvars import Context

from ..callbacks.errorlog import ErrorSink
from ..connection.connection import Connection
from ..connection.observer import Observer
from ..manager.manager import WebSocketManager
from ..sessions.manager import Sessions
from .output import bot_logger
from .sessions import KernelSessions


class NotebookManager(WebSocketManager):
    """Run the callbacks of this kernel's bots.

    Args:
        sessions: Keeps what survives reconnects.
        ended: Called when a connection's last callback has run.
        errors: Takes what callbacks raise; None writes it to the log.
    """

    def __init__(
        self,
        sessions: KernelSessions,
        ended: Callable[[Connection], object],
        errors: ErrorSink | None,
    ) -> None:
        super().__init__(log=bot_logger(self._cell_of), errors=errors)
        self.observers.add(Handled())
        self._kept = sessions
        self._ended = ended

    def _cell_of(self, name: str) -> Context | None:
        route = self.table.get(name)
        return None if route is None else route.context

    def _open_sessions(self) -> Sessions:
        return self._kept

    def finished(self, connection: Connection) -> None:
        """Forget a connection whose last callback has run."""
        session = connection.attached_session
        super().finished(connection)  # sends what has changed in the session
        if session is None:
            self._ended(connection)
        else:
            self._kept.when_sent(session.id, functools.partial(self._ended, connection))


class BotConnection(Connection):
    """A connection whose client is at the server; what is handled makes room there."""

    __slots__ = ("on_handled",)
    on_handled: Callable[[], object]


class Handled(Observer):
    """What tells the server that a message is done with."""

    def message_done(self, connection: BotConnection) -> None:
        """Tell the server."""
        connection.on_handled()
