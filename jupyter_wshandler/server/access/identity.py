"""Who asks: the user, what a route's `auth` says of them, and the session of a request."""

from __future__ import annotations

import contextlib
import hashlib
from typing import Any

from jupyter_server.base.handlers import JupyterHandler

from ...config.model import AuthConfig
from ...sessions import cookies
from ...shares.share import Guest
from .asking import IDENTITY, at_once

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

    Raises:
        Unanswered: The identity provider cannot say whether it was a token.
    """
    user = handler.current_user
    if user is None:
        return ["anonymous"]
    keys = [user_key(user)]
    if isinstance(user, Guest):
        return keys  # whose credential is none of the identity provider's
    provider = handler.identity_provider
    # The Hub knows the user of every token.
    if hub_auth_of(provider) is None and is_by_token(handler):
        token = token_of(handler)
        if token:
            digest = hashlib.sha256(f"wshandler:{token}".encode()).hexdigest()
            keys.insert(1 if _has_login(handler) else 0, f"token:{digest}")
    return keys


def _has_login(handler: JupyterHandler) -> bool:
    if not handler.request.cookies:
        return False
    cookie = at_once(IDENTITY, handler.identity_provider.get_cookie_name, handler)
    return handler.get_signed_cookie(cookie) is not None


def is_by_token(handler: JupyterHandler) -> bool:
    """Return whether a token has proved who asks.

    Args:
        handler: A handler whose identity is known.

    Raises:
        Unanswered: The identity provider cannot say.
    """
    return bool(at_once(IDENTITY, handler.identity_provider.is_token_authenticated, handler))


def token_of(handler: JupyterHandler) -> str | None:
    """Return the request's token; None where there is none, or the provider knows of none.

    Args:
        handler: Any handler.

    Raises:
        Unanswered: The identity provider cannot say.
    """
    memo: dict[str, str | None] = getattr(handler, "memo", {})
    if "token" not in memo:
        provider = handler.identity_provider
        if not hasattr(provider, "get_token"):
            return None
        memo["token"] = at_once(IDENTITY, provider.get_token, handler)
    return memo["token"]


def user_key(user: Any) -> str:
    """Return a name for a user that no other user has, and no service.

    Args:
        user: Jupyter's user.
    """
    return f"{getattr(user, 'kind', None) or 'user'}:{user.username}"


def cookie_name(handler: JupyterHandler) -> str:
    """Return the session cookie's name: one per port, as browsers share cookies between ports."""
    return f"wshandler-session{cookie_port(handler)}"


def cookie_port(handler: JupyterHandler) -> str:
    """Return what ends the name of a cookie that another port must not overwrite: "-" and ours."""
    host = handler.request.host
    port = host.rpartition(":")[2] if ":" in host.rpartition("]")[2] else ""
    return f"-{port}" if port.isdigit() else ""


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
    return any(hop.strip().lower() in ("https", "wss") for hop in hops)


def session_id(
    handler: JupyterHandler, keys: list[str], *, secure: bool | None
) -> tuple[str, bool]:
    """Return the id of the request's session; a new one is set as a cookie on the answer.

    Args:
        handler: A handler whose identity is known and whose headers are not written yet.
        keys: The names that it may be bound to, from `user_keys`.
        secure: Overrides the cookie's Secure attribute.

    Returns:
        The id, and whether it is new.
    """
    name = cookie_name(handler)
    raw = handler.get_signed_cookie(name, max_age_days=SESSION_DAYS)
    if raw is not None:
        for value in raw.decode("ascii", "replace").split(SEPARATOR):
            known = cookies.id_from_cookie(value, keys)
            if known is not None:
                return known, False
    new = cookies.new_id()
    options: dict[str, Any] = {
        "path": handler.base_url,
        "httponly": True,
        "samesite": "Lax",
        "expires_days": SESSION_DAYS,
    }
    if is_secure(handler, secure):
        options["secure"] = True
    # A token that has just been answered with a login cookie may be followed by either alone.
    value = SEPARATOR.join(cookies.cookie_value(new, key) for key in keys)
    handler.set_signed_cookie(name, value, **options)
    return new, True


def hub_auth_of(provider: Any) -> Any:
    """Return what asks JupyterHub for an identity provider, or None on any other server."""
    hub_auth = getattr(provider, "hub_auth", None)
    parts = ("user_for_token", "clear_cookie", "cookie_name")
    return hub_auth if all(hasattr(hub_auth, part) for part in parts) else None


def complete(user: Any) -> Any:
    """Give a user the attributes that callbacks and `auth` count on, and return it.

    These are `groups` and `scopes`, lists of names, and `kind`: "user", or "service" for a
    service of JupyterHub. JupyterHub keeps them beside the user; other servers have no groups.

    Args:
        user: Jupyter's user, or None.
    """
    known = getattr(user, "hub_user", None) or {}
    values = {
        # Copies: the Hub's answer is kept, and a callback may change what it is given.
        "groups": list(known.get("groups") or ()),
        "scopes": list(known.get("scopes") or ()),
        "kind": known.get("kind") or "user",
    }
    for name, value in values.items():
        if user is not None and getattr(user, name, None) is None:
            with contextlib.suppress(AttributeError):  # a user of one's own may take none
                setattr(user, name, value)
    return user


def is_allowed(user: Any, auth: AuthConfig) -> bool:
    """Return whether a user matches all that a route's `auth` says, but for its `condition`.

    Args:
        user: The user, with attributes or keys; None matches no rule.
        auth: What the route says.
    """
    if auth.users and not (_kind(user) == "user" and _has(user, "username", auth.users)):
        return False
    if auth.groups and not _has(user, "groups", auth.groups):
        return False
    if auth.scopes and not _has_scope(user, auth.scopes):
        return False
    return not auth.membership or any(
        all(_has(user, key, values) for key, values in rule.items())
        # Whoever names a user does not mean a service of that name.
        and ("kind" in rule or "username" not in rule or _kind(user) == "user")
        for rule in auth.membership
    )


def _kind(user: Any) -> str:
    return _attribute(user, "kind") or "user"


def _has_scope(user: Any, scopes: tuple[str, ...]) -> bool:
    """Return whether one of the scopes, or the same one without its filter, is a user's."""
    own = set(_attribute(user, "scopes") or ())
    return any(scope in own or scope.partition("!")[0] in own for scope in scopes)


def _attribute(user: Any, key: str) -> Any:
    found = getattr(user, key, None)
    if found is None and hasattr(user, "get"):
        found = user.get(key)
    return found


def _has(user: Any, key: str, values: tuple[Any, ...]) -> bool:
    """Return whether a user's attribute is, or holds, one of the values."""
    found = _attribute(user, key)
    if found is None:
        return False
    if isinstance(found, (list, tuple, set, frozenset)):
        return any(value in found for value in values)
    return found in values
