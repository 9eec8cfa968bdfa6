"""The way of our events to Jupyter's event logger."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from threading import get_ident
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jupyter_events.logger import EventLogger

    from ...manager.manager import WebSocketManager

SCHEMAS = Path(__file__).parents[1] / "events"
"""Describe the events."""


class EventWriter:
    """What sends events to those who record them; on the event loop, whoever has something to tell.

    Args:
        manager: Has the event loop and the log.
        events: Jupyter's event logger; the administrator says where events go
            (``c.EventLogger.handlers``). None for a server without.
    """

    def __init__(self, manager: WebSocketManager, events: EventLogger | None) -> None:
        self._manager = manager
        self._events = events
        if events is None:
            return
        for path in sorted(SCHEMAS.glob("*.yaml")):
            if f"urn:jupyter-wshandler:{path.stem}" not in events.schemas:
                events.register_event_schema(path)

    def emit(self, event: str, data: dict[str, Any]) -> None:
        """Send an event, where the server has somebody who takes it; safe from any thread.

        Args:
            event: The id of its schema.
            data: What the schema describes.
        """
        if self._events is None:
            return
        io = getattr(self._manager, "io", None)  # there once it has started
        if io is not None and get_ident() != io.thread:
            # Who listens is called in a task, which is made on the loop only.
            io.call_from_thread(self._emit, event, data)
        else:
            self._emit(event, data)

    def _emit(self, event: str, data: dict[str, Any]) -> None:
        assert self._events is not None
        try:
            # Jupyter's own time has an offset and a Z behind it, which is no date (RFC 3339).
            now = datetime.now(UTC).replace(tzinfo=None)
            self._events.emit(schema_id=event, data=data, timestamp_override=now)
        except Exception:
            # A listener of somebody else's must not decide who is refused.
            self._manager.log.exception("The event %s could not be recorded", event)
