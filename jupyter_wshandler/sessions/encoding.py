"""Sessions as JSON text, with a warning about each value that has none."""

from __future__ import annotations

import time
from typing import Any

from ..guard import is_interrupt
from .live import LiveSession
from .sqlitefile import Log
from .values import MAX_REST, MAX_SIZE, TooLarge, to_json_in_pieces, why_not_json
from .values import to_json as to_json_at_once

_RETRIES = 20
"""Attempts to read a session that a thread changes at the same time."""


class SessionEncoder:
    """What turns sessions into the JSON text that is stored.

    Args:
        log: Takes a line about what cannot be stored.
    """

    def __init__(self, log: Log) -> None:
        self._log = log

    def dump_heavy(self, live: LiveSession) -> str | None:
        """Do what `dump` does; runs in the encoder's thread, at most a tenth of the time."""
        began = time.monotonic()
        try:
            return self.dump(live, True)
        finally:
            now = time.monotonic()
            live.rest_until = now + min(MAX_REST, 10 * (now - began))

    def dump(self, live: LiveSession, heavy: bool = False) -> str | None:
        """Return what is to be stored: JSON text, or None for nothing at all."""
        text = live.saved
        for _ in range(_RETRIES):
            try:
                values = dict(live.session)
                values.pop("id", None)  # a callback may have removed it
                text = self._encode(live, values, heavy)
                break
            except RuntimeError:  # a callback in a thread changed it meanwhile
                continue
            except TooLarge:
                self.warn(live, None, f"takes more than {MAX_SIZE} characters of JSON")
                return live.saved
        if text is not None and len(text) > MAX_SIZE:
            self.warn(live, None, f"takes {len(text)} characters of JSON, of {MAX_SIZE} at most")
            return live.saved
        if live.warned:
            live.warned -= {None}
        return text

    def _encode(self, live: LiveSession, values: dict[str, Any], heavy: bool) -> str | None:
        to_json = to_json_in_pieces if heavy else to_json_at_once
        if not values:
            return None
        if all(isinstance(key, str) for key in values):
            try:
                return to_json(values)
            except RecursionError:
                pass
            except (RuntimeError, TooLarge):
                raise
            except BaseException as error:  # it is told apart key by key
                if is_interrupt(error):
                    raise
        storable = {}
        for key, value in values.items():
            reason = why_not_json(key, value, to_json)
            if reason is None:
                storable[key] = value
            else:
                self.warn(live, key, reason)
        return to_json(storable) if storable else None

    def warn(self, live: LiveSession, key: object, reason: str) -> None:
        """Write that a session, or one value of it, is not saved; once for each.

        Args:
            live: The session.
            key: The value's key; None for the session as a whole.
            reason: Why, to follow "it" or "is not saved:".
        """
        if key in live.warned or len(live.warned) >= 100:
            return
        live.warned |= {key}
        if key is None:
            self._log.warning("The session of %s is not saved: it %s", live.user, reason)
            return
        self._log.warning(
            "The value of session[%.100r] of %s is not saved: %s", key, live.user, reason
        )
