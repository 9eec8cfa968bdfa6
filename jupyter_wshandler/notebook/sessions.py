"""The sessions of a kernel's bots: the server keeps them, the kernel has copies."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Callable, Mapping
from typing import Any

from ..engine.texts import is_writable, unwritable
from ..kernels.batches import MAX_CHANGES
from ..sessions.manager import Session
from ..sessions.sqlitefile import Log
from ..sessions.thread import StoreThread
from ..sessions.values import (
    MAX_REST,
    TooLarge,
    is_heavy,
    mark_of,
    to_json,
    to_json_in_pieces,
    why_not_json,
)

_RETRIES = 20


class KernelSessions:
    """One live object of each session, while connections of it are open.

    What a callback has changed goes to the server before it hears that the message was handled,
    and where it takes long to encode (in a thread), within a second, and before the server hears
    that the connection has ended. While much waits for the server, changes wait where they are, in
    the session: timers go on, and each turn could add a version of it to what waits.

    Args:
        changed: Sends a session's id, the values that have changed (each as JSON text) and the
            keys that are gone to the server.
        log: Takes a line about what cannot be kept.
        has_room: Says whether the server takes what it is sent.
    """

    def __init__(
        self,
        changed: Callable[[str, dict[str, str], list[str]], object],
        log: Log,
        has_room: Callable[[], bool] = lambda: True,
    ) -> None:
        self._changed = changed
        self._log = log
        self._has_room = has_room
        self._live: dict[str, tuple[Session, int]] = {}
        self._known: dict[str, dict[str, str]] = {}
        self._touched: set[str] = set()
        self._warned: set[object] = set()
        self._marks: dict[str, tuple[int, int] | None] = {}
        self._encoder = StoreThread("wshandler-sessions-json")
        # Heavy ones that are being encoded, with what is to be called afterwards.
        self._encoding: dict[str, list[Callable[[], object]]] = {}
        self._again: set[str] = set()
        self._rest_until: dict[str, float] = {}
        self.hangs = 0

    @property
    def is_away(self) -> bool:
        """False: the server has the store."""
        return False

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
        self._live[session.id] = session, max(0, count - 1)
        self.send(session)
        self._settle(session)

    def _settle(self, session: Session) -> None:
        """Forget a session that no connection has, once what was in it is sent."""
        found, count = self._live.get(session.id, (None, 0))
        if found is session and not count and session.id not in self._encoding:
            del self._live[session.id]
            self._known.pop(session.id, None)
            self._marks.pop(session.id, None)
            self._rest_until.pop(session.id, None)
            self._touched.discard(session.id)

    def when_sent(self, session_id: str, function: Callable[[], object]) -> None:
        """Call a function once what has changed in a session is sent; mostly at once."""
        if session_id in self._encoding:
            self._encoding[session_id].append(function)
        else:
            function()

    def touch(self, session: Session) -> None:
        """Note that a callback has the session in hands; may be called in any thread."""
        self._touched.add(session.id)

    async def flush(self, *, wait: bool = True) -> None:
        """Send what has changed."""
        now = time.monotonic()
        for session, _ in tuple(self._live.values()):
            if wait or now >= self._rest_until.get(session.id, 0.0):
                self.send(session)

    async def stop(self, timeout: float = 0.0) -> None:
        """End the thread; connections have sent theirs as they ended."""
        self._encoder.stop(0)

    def send_light(self, session: Session) -> None:
        """Send what has changed in a session, unless that takes long: then `flush` does."""
        if session.id in self._touched and not is_heavy(session):
            self.send(session)

    def send(self, session: Session) -> None:
        """Send to the server what has changed in a session, the heavy ones a moment later."""
        name = session.id
        if name not in self._touched:
            return
        _, count = self._live.get(name, (None, 0))
        if count and not self._has_room():  # with its last connection goes what there is
            return
        if name in self._encoding:
            self._again.add(name)
        elif is_heavy(session):
            self._encoding[name] = []
            texts = self._encoder.submit(self._texts_of_heavy, session)
            texts.add_done_callback(functools.partial(self._encoded, session))
        else:
            mark = mark_of(session)
            if mark is None or mark != self._marks.get(name):
                self._marks[name] = mark
                self._tell(session, self._texts(session, to_json))

    def _encoded(
        self, session: Session, future: asyncio.Future[tuple[dict[str, str] | None, float]]
    ) -> None:
        name = session.id
        waiting = self._encoding.pop(name)
        if future.exception() is None:
            texts, taken = future.result()
            self._rest_until[name] = time.monotonic() + min(MAX_REST, 10 * taken)
            self._marks.pop(name, None)
            self._tell(session, texts)
        if name in self._again:
            self._again.discard(name)
            self.send(session)
        for function in waiting:
            self.when_sent(name, function)
        self._settle(session)

    def _texts_of_heavy(self, session: Session) -> tuple[dict[str, str] | None, float]:
        """Encode a session in the encoder's thread; say how many seconds that took."""
        began = time.monotonic()
        for _ in range(_RETRIES):
            try:
                return self._texts(session, to_json_in_pieces), time.monotonic() - began
            except RuntimeError:  # a callback in a thread has changed it meanwhile
                continue
        return None, time.monotonic() - began

    def _texts(self, session: Session, encode: Callable[[object], str]) -> dict[str, str] | None:
        """Return each value as JSON; None where they are too large to be kept."""
        now: dict[str, str] = {}
        for key, value in session.copy().items():
            if key == "id":
                continue
            try:
                reason = why_not_json(key, value, encode)
                if reason is None:
                    text = encode(value)
                    if not is_writable(key) or ("\\ud" in text and unwritable(value, "")):
                        # No message between the server and a kernel can hold it.
                        reason = "it has half of a pair of surrogates, which UTF-8 cannot write"
                    else:
                        now[key] = text
            except TooLarge:
                self._warn_too_large(f"over {MAX_CHANGES}")
                return None
            if reason is not None and key not in self._warned:
                self._warned.add(key)
                self._log.warning("session[%.100r] is not kept: %s", key, reason)
        size = sum(len(key.encode()) + len(text.encode()) for key, text in now.items())
        if size > MAX_CHANGES:
            self._warn_too_large(str(size))
            return None
        return now

    def _tell(self, session: Session, now: dict[str, str] | None) -> None:
        known = self._known.get(session.id)
        if now is None or known is None:
            return
        changed = {key: text for key, text in now.items() if known.get(key) != text}
        removed = [key for key in known if key not in now]
        if changed or removed:
            self._known[session.id] = now
            self._changed(session.id, changed, removed)

    def _warn_too_large(self, size: str) -> None:
        if None not in self._warned:
            self._warned.add(None)
            self._log.warning(
                "A session takes %s bytes, of %d at most: what has changed in it is not kept",
                size,
                MAX_CHANGES,
            )
