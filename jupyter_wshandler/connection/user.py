"""A user as callbacks see them: with attributes, as Jupyter's, and with keys, as Gramex's."""

from __future__ import annotations

import copy
from functools import lru_cache
from types import SimpleNamespace
from typing import Any

GRAMEX_KEYS = {"id": "username", "user": "username"}
"""What Gramex calls things of a user, and where they are here."""


_HAS_A_SAY = {
    *("__copy__", "__reduce__", "__reduce_ex__", "__getstate__", "__setstate__", "__slots__"),
    *("__new__", "__getnewargs__", "__getnewargs_ex__", "__getattribute__", "__setattr__"),
}
"""What a class may have that says how its objects are copied."""


def with_keys(user: Any) -> Any:
    """Return a copy of a user whose attributes can be read as keys, too: ``user["name"]``.

    ``user["id"]`` is the username, as in Gramex. The copy is still of the user's own class.

    Args:
        user: A user as the identity provider knows them, or None. One that has keys already, or
            whose class allows no copy, is returned as it is.
    """
    if user is None or hasattr(type(user), "__getitem__"):
        return user
    try:
        kind: Any = type(user)
        if _is_simple(kind):
            found: Any = object.__new__(_keyed(kind))
            found.__dict__.update(user.__dict__)
            return found
        if isinstance(user, SimpleNamespace):  # as in a kernel; its class cannot be changed
            return _keyed(type(user))(**vars(user))  # type: ignore[arg-type]
        found = copy.copy(user)
        found.__class__ = _keyed(type(user))  # type: ignore[arg-type] # classes are hashable
    except Exception:  # whatever a class of somebody else's raises; it works without
        return user
    return found


@lru_cache(maxsize=64)
def _is_simple(kind: type) -> bool:
    """Return whether `copy.copy` would do no more for a class than copy the attributes."""
    return type(kind) is type and not any(
        _HAS_A_SAY & base.__dict__.keys() for base in kind.__mro__ if base is not object
    )


@lru_cache(maxsize=64)
def _keyed(kind: type) -> type:
    """Return a class like another one, with keys."""

    def getitem(self: Any, key: str) -> Any:
        name = GRAMEX_KEYS.get(key, key)
        known = _names(self)
        if name not in known:
            raise KeyError(f"current_user has no {key!r}; it has {', '.join(sorted(known))}")
        return getattr(self, name)

    def get(self: Any, key: str, default: Any = None) -> Any:
        name = GRAMEX_KEYS.get(key, key)
        return getattr(self, name) if name in _names(self) else default

    def contains(self: Any, key: object) -> bool:
        return isinstance(key, str) and GRAMEX_KEYS.get(key, key) in _names(self)

    members = {
        "__slots__": (),
        "__getitem__": getitem,
        "__contains__": contains,
        "__module__": kind.__module__,
        "__qualname__": kind.__qualname__,
        "__doc__": kind.__doc__,
    }
    if not hasattr(kind, "get"):
        members["get"] = get
    return type(kind.__name__, (kind,), members)


def _names(user: Any) -> set[str]:
    """Return the names of what is known of a user."""
    return {name for name in vars(user) if not name.startswith("_")}
