"""What is known of a session that is in use."""

from __future__ import annotations

import asyncio

from .session import Session

UNKNOWN = "?"
"""Stands for what the store holds where that is not known; it is no JSON text."""

_NOTHING: frozenset[object] = frozenset()  # one for all: Python makes each anew


class LiveSession:
    """One session that is in use, and what is known of its place in the store.

    Attributes:
        session: What callbacks get.
        user: Whose it is, for log lines.
        references: How many connections have it.
        loading: Done when the store has been read; None where that is not under way.
        storable: Whether it may be saved. What the store holds must have been read before, or a
            store that could not be read for a moment would be overwritten.
        saving: How many encodings and writes of it are under way.
        again: Whether it changed, or may have, while one was; it is saved once more then.
        saved: The text that the store holds; None for nothing, `UNKNOWN` after a failure.
        mark: What `values.mark_of` said of the values that were encoded last.
        watched_until: Until when each `flush` looks for changes; afterwards only some do.
        rest_until: Before this a heavy one is not encoded again.
        warned: Keys of which a line in the log has said that they are not saved.
    """

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
        "watched_until",
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
        self.warned = _NOTHING
        self.mark: tuple[int, int] | None = None
        self.watched_until = 0.0
        self.rest_until = 0.0
