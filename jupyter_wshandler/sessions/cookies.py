"""The names of sessions, and the cookies that hold them; knows no cookie jar."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence

_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")


def new_id() -> str:
    """Return a name for a new session that nobody can guess."""
    return secrets.token_urlsafe(24)


def cookie_value(session_id: str, user_key: str) -> str:
    """Return what the cookie holds; the server signs it.

    Args:
        session_id: The session's name.
        user_key: The user whom it belongs to.
    """
    return f"{session_id}.{_binding(session_id, user_key)}"


def id_from_cookie(value: str, user_keys: Sequence[str]) -> str | None:
    """Return the session that a cookie names, if it belongs to this user.

    Another user's cookie, planted in this browser, names no session.

    Args:
        value: The cookie, its signature checked.
        user_keys: All names of the user who asks.
    """
    session_id, _, binding = value.rpartition(".")
    if not _ID.fullmatch(session_id):
        return None
    found = binding.encode("utf-8", "replace")
    for user_key in user_keys:
        if hmac.compare_digest(found, _binding(session_id, user_key).encode()):
            return session_id
    return None


def _binding(session_id: str, user_key: str) -> str:
    text = f"{session_id}\0{user_key}".encode("utf-8", "surrogatepass")
    return hashlib.sha256(text).hexdigest()[:32]
