"""What is known of a session that is in use."""

from __future__ import annotations

import asyncio

from .session import Session

UNKNOWN = "?"
"""Stands for what the store holds where that is not known; it is no JSON text."""


class LiveSession:
    """One session that is in use, and what is known of its place in the store."""

    __slots__ = (
        "again",
        "loading",
        "mark",
        "references",
        "rest_until",
        "saved",
        "saving",
        "session",
        "storable",
        "user",
        "warned",
    )

    def __init__(self, session: Session, user: str) -> None:
        self.session = session
        self.user = user
        self.references = 0
        self.loading: asyncio.Future[str | None] | None = None
        self.saving = 0
        self.again = False
        self.storable = False
        self.saved: str | None = None
        self.warned: set[object] = set()
        self.mark: tuple[int, int] | None = None  # of what was last encoded
        self.rest_until = 0.0  # a heavy one is not encoded again at once
