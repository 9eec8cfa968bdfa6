"""The sessions of a kernel's bots: the server keeps them, the kernel has copies."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..kernels.batches import MAX_CHANGES
from ..sessions import Session
from ..sessionstore import Log, to_json, why_not_json


class KernelSessions:
    """Hold one live object of each session while connections of it are open.

    What a callback has changed goes to the server within seconds, and before it hears that the
    connection has ended.

    Args:
        changed: Sends a session's id, the values that have changed (each as JSON text) and the
            keys that are gone to the server.
        log: Takes a line about what cannot be kept.
    """

    def __init__(
        self, changed: Callable[[str, dict[str, str], list[str]], object], log: Log
    ) -> None:
        self._changed = changed
        self._log = log
        self._live: dict[str, tuple[Session, int]] = {}
        self._known: dict[str, dict[str, str]] = {}
        self._touched: set[str] = set()
        self._warned: set[object] = set()

    def open(self, session_id: str, values: Mapping[str, Any]) -> Session:
        """Return the live object of a session, for one more connection.

        Args:
            session_id: The session's name.
            values: What the server has stored; a live object knows better.
        """
        session, count = self._live.get(session_id, (None, 0))
        if session is None:
            session = Session(session_id)
            session.update(values)
            self._known[session_id] = {key: to_json(value) for key, value in values.items()}
        self._live[session_id] = session, count + 1
        return session

    async def attach(self, session_id: str, user_key: str, *, new: bool = False) -> Session:
        """Return the live object of a session; see `open`."""
        return self.open(session_id, {})

    def detach(self, session: Session) -> None:
        """Let one connection go; what it has changed is sent first."""
        found, count = self._live.get(session.id, (None, 0))
        if found is not session:
            return
        self.send(session)
        if count > 1:
            self._live[session.id] = session, count - 1
        else:
            del self._live[session.id]
            self._known.pop(session.id, None)
            self._touched.discard(session.id)

    def touch(self, session: Session) -> None:
        """Note that a callback has the session in hands; may be called in any thread."""
        self._touched.add(session.id)

    async def flush(self, *, wait: bool = True) -> None:
        """Send what has changed."""
        for session, _ in tuple(self._live.values()):
            self.send(session)

    async def stop(self, timeout: float = 0.0) -> None:
        """Do nothing: connections have sent theirs as they ended."""

    def send(self, session: Session) -> None:
        """Send to the server what has changed in a session."""
        if session.id not in self._touched:
            return
        now: dict[str, str] = {}
        for key, value in session.copy().items():
            if key != "id":
                reason = why_not_json(key, value)
                if reason is None:
                    now[key] = to_json(value)
                elif key not in self._warned:
                    self._warned.add(key)
                    self._log.warning("session[%.100r] is not kept: %s", key, reason)
        if not self._is_small(now):
            return
        known = self._known[session.id]
        changed = {key: text for key, text in now.items() if known.get(key) != text}
        removed = [key for key in known if key not in now]
        if changed or removed:
            self._known[session.id] = now
            self._changed(session.id, changed, removed)

    def _is_small(self, values: dict[str, str]) -> bool:
        """Say whether a session is small enough to be kept, and warn once where it is not."""
        size = sum(len(key.encode()) + len(text.encode()) for key, text in values.items())
        if size > MAX_CHANGES and None not in self._warned:
            self._warned.add(None)
            self._log.warning(
                "A session takes %d bytes, of %d at most: what has changed in it is not kept",
                size,
                MAX_CHANGES,
            )
        return size <= MAX_CHANGES
