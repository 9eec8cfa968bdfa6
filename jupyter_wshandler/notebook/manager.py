"""The manager that runs the callbacks of a kernel's bots."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context

from ..backplane.base import Backplane
from ..callbacks.errorlog import ErrorSink
from ..kernels.events import Event
from ..manager.manager import WebSocketManager
from ..rooms.parts import ManagersRooms
from ..sessions.manager import Sessions
from .output import bot_logger
from .rooms import ServerRooms
from .sessions import KernelSessions


class NotebookManager(WebSocketManager):
    """The manager that runs the callbacks of this kernel's bots.

    Args:
        sessions: Keeps what survives reconnects.
        errors: Takes what callbacks raise; None writes it to the log.
        put: Sends an event to the server, with a buffer and the bytes that it counts for; returns
            whether there is one.
    """

    knows_all = False  # other routes are those of its server

    def __init__(
        self,
        sessions: KernelSessions,
        errors: ErrorSink | None,
        put: Callable[[Event, bytes | None, int], bool],
    ) -> None:
        self.server_rooms = ServerRooms(put)
        super().__init__(log=bot_logger(self._cell_of), errors=errors)
        self._kept = sessions

    def _cell_of(self, name: str) -> Context | None:
        route = self.table.get(name)
        return None if route is None else route.context

    def _make_rooms(self, limit: int, backplane: Backplane | None) -> ManagersRooms:
        return self.server_rooms

    def _open_sessions(self) -> Sessions:
        return self._kept
