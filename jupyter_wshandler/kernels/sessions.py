"""The sessions of a kernel's connections, as the server has them."""

from __future__ import annotations

import json
from collections.abc import Callable

import msgspec

from ..sessions.manager import Session
from .batches import read_changes
from .events import SessionChange


class HeldSessions:
    """The sessions that a kernel's open connections have, and that the kernel may change.

    Args:
        touch: Remembers that a session may have changed, so that it is saved.
    """

    def __init__(self, touch: Callable[[Session], object]) -> None:
        self._touch = touch
        self._held: dict[str, tuple[Session, int]] = {}

    def __len__(self) -> int:
        return len(self._held)

    def hold(self, session: Session | None) -> None:
        """Take note of one more connection with a session."""
        if session is not None:
            _, count = self._held.get(session.id, (session, 0))
            self._held[session.id] = session, count + 1

    def let_go(self, session: Session | None) -> None:
        """Take note that one of its connections has ended."""
        if session is not None and session.id in self._held:
            held, count = self._held.pop(session.id)
            if count > 1:
                self._held[session.id] = held, count - 1

    def change(self, change: SessionChange[msgspec.Raw, msgspec.Raw]) -> None:
        """Do what a kernel says of a session; its other keys stay as they are.

        Raises:
            ValueError: It is no change of a session, or too large.
        """
        session, _ = self._held.get(change.name, (None, 0))
        if session is None:
            return
        changed, removed = read_changes(change)
        try:
            values = {key: json.loads(text) for key, text in changed.items() if key != "id"}
        except RecursionError:
            raise ValueError("a session's value is nested too deeply") from None
        session.update(values)
        for key in removed:
            if key != "id":
                session.pop(key, None)
        self._touch(session)
