"""Who asks: origins, user keys and the session cookie of an opening request."""

from __future__ import annotations

import hashlib
from typing import Any

from jupyter_server.base.handlers import JupyterHandler

from ..sessions import SessionManager

SESSION_DAYS = 31
"""Days after which a browser forgets its session."""

SEPARATOR = "|"
"""Stands in the cookie between the bindings of one session to several names of its user."""


def user_keys(handler: JupyterHandler) -> list[str]:
    """Return the names that a session may be bound to for this request, the best one first.

    A token without a login cookie makes a new random user for every request on a plain server,
    so there the token itself, hashed, stands for the user.

    Args:
        handler: A handler whose identity is known.
    """
    user = handler.current_user
    if user is None:
        return ["anonymous"]
    keys = [f"user:{user.username}"]
    provider = handler.identity_provider
    if provider.is_token_authenticated(handler):
        token = provider.get_token(handler) if hasattr(provider, "get_token") else None
        if token:
            digest = hashlib.sha256(f"wshandler:{token}".encode()).hexdigest()
            has_login = handler.get_signed_cookie(provider.get_cookie_name(handler)) is not None
            keys.insert(1 if has_login else 0, f"token:{digest}")
    return keys


def cookie_name(handler: JupyterHandler) -> str:
    """Return the session cookie's name: one per port, as browsers share cookies between ports."""
    host = handler.request.host
    port = host.rpartition(":")[2] if ":" in host.rpartition("]")[2] else ""
    return f"wshandler-session-{port}" if port.isdigit() else "wshandler-session"


def is_secure(handler: JupyterHandler, override: bool | None) -> bool:
    """Return whether the browser reached us over TLS, so that the cookie must stay on it.

    Args:
        handler: Any handler.
        override: The administrator's word, where given.
    """
    if override is not None:
        return override
    if handler.request.protocol == "https":
        return True
    app = handler.settings.get("serverapp")
    if app is None or not app.trust_xheaders:
        return False
    # With several proxies in a row the browser's hop is one of the list, not always the first.
    hops = handler.request.headers.get("X-Forwarded-Proto", "").split(",")
    return any(hop.strip().lower() == "https" for hop in hops)


def session_id(handler: JupyterHandler, *, secure: bool | None) -> tuple[str, bool]:
    """Return the id of the request's session; a new one is set as a cookie on the answer.

    Args:
        handler: A handler whose identity is known and whose headers are not written yet.
        secure: Overrides the cookie's Secure attribute.

    Returns:
        The id, and whether it is new.
    """
    name = cookie_name(handler)
    keys = user_keys(handler)
    raw = handler.get_signed_cookie(name, max_age_days=SESSION_DAYS)
    if raw is not None:
        for value in raw.decode("ascii", "replace").split(SEPARATOR):
            known = SessionManager.id_from_cookie(value, keys)
            if known is not None:
                return known, False
    new = SessionManager.new_id()
    options: dict[str, Any] = {
        "path": handler.base_url,
        "httponly": True,
        "samesite": "Lax",
        "expires_days": SESSION_DAYS,
    }
    if is_secure(handler, secure):
        options["secure"] = True
    # A token that has just been answered with a login cookie may be followed by either alone.
    value = SEPARATOR.join(SessionManager.cookie_value(new, key) for key in keys)
    handler.set_signed_cookie(name, value, **options)
    return new, True


def is_member(user: Any, membership: tuple[dict[str, tuple[Any, ...]], ...]) -> bool:
    """Return whether a user matches one of a route's `membership` rules, or there is none.

    Args:
        user: The user, with attributes or keys.
        membership: Rules; in a rule every key must match, and any of its values does.
    """
    return not membership or any(
        all(_has(user, key, values) for key, values in rule.items()) for rule in membership
    )


def _has(user: Any, key: str, values: tuple[Any, ...]) -> bool:
    """Return whether a user's attribute is, or holds, one of the values."""
    found = getattr(user, key, None)
    if found is None and hasattr(user, "get"):
        found = user.get(key)
    if found is None:
        return False
    if isinstance(found, (list, tuple, set, frozenset)):
        return any(value in found for value in values)
    return found in values
